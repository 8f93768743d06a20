"""What admission needs of a completion request, read off the parsed tree without building anything.

Only what is read here is checked here; on the way to a provider of the same form the rest is the provider's to judge.
Bounds of core/limit.py hold on every way.
"""

from typing import Final

from ostiary.core.limit import CHOICES_MAX, COMPLETION_PROMPTS_MAX, STOP_SEQUENCES_MAX
from ostiary.gateway.dialect import ChatPeek
from ostiary.gateway.wire.field import beyond, invalid, model_name, token_bound, whole_number
from ostiary.gateway.wire.json import Document

# A token that is sent as a number is at least a digit and a comma; estimates count bytes of text.
_BYTES_PER_TOKEN: Final = 4


def peek_chat(document: Document) -> ChatPeek:
    """See gateway/dialect. `messages` counts the prompts, `choices` every text that is produced: those of `best_of` that
    are not shown are paid for too."""
    tree = document.tree
    prompts, numbers = _prompts(tree.get("prompt"))
    stream, options = tree.get("stream"), tree.get("stream_options")
    if stream is not None and type(stream) is not bool:
        invalid("stream", "must be true or false")
    if options is not None and type(options) is not dict:
        invalid("stream_options", "must be an object")
    include_usage = None if options is None else options.get("include_usage")
    if include_usage is not None and type(include_usage) is not bool:
        invalid("stream_options.include_usage", "must be true or false")
    stop = tree.get("stop")
    if type(stop) is list and len(stop) > STOP_SEQUENCES_MAX:
        beyond("stop", STOP_SEQUENCES_MAX, "items")
    user = tree.get("user")
    if user is not None and type(user) is not str:
        invalid("user", "must be a string")
    return ChatPeek(
        model_name(tree),
        bool(stream),
        bool(include_usage),
        token_bound(tree, "max_tokens", 0),
        prompts * max(_count(tree, "n"), _count(tree, "best_of")),
        prompts,
        0,
        0,
        len(document.raw) + _BYTES_PER_TOKEN * numbers,
        user,
    )


def _count(tree: dict[str, object], key: str) -> int:
    value = tree.get(key)
    return 1 if value is None else whole_number(value, key, 1, CHOICES_MAX)


def _prompts(prompt: object) -> tuple[int, int]:
    """How many prompts there are, and how many tokens sent as numbers."""
    if type(prompt) is str:
        return 1, 0
    if type(prompt) is not list or not prompt:
        invalid("prompt", "must be a string or an array that is not empty")
    if type(prompt[0]) is int:  # one text in tokens
        return 1, len(prompt)
    if len(prompt) > COMPLETION_PROMPTS_MAX:
        beyond("prompt", COMPLETION_PROMPTS_MAX, "items")
    return len(prompt), sum(len(item) for item in prompt if type(item) is list)
