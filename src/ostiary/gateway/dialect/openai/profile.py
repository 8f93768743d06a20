"""What a server that calls itself OpenAI-compatible wants otherwise than OpenAI: named edits of a request, both of one
that passes and of one that was encoded from our terms.

A field the server refuses is refused here by name, so that another target may be tried, or left out by name where the
caller allowed it. It goes without a word where it says only what holds anyway (`n: 1`), and so does `stream_options`:
what it asks for, the gateway adds by itself or the server reports unasked.
"""

from typing import Final

import msgspec

from ostiary.gateway.wire.json import Document, encode, raw_members, splice
from ostiary.gateway.wire.leave import Leave
from ostiary.snapshot.tables import ProfileRow

PLAIN: Final = ProfileRow()
"""OpenAI itself."""
_SAYS_NOTHING: Final[dict[str, object]] = {
    "n": 1,
    "logprobs": False,
    "top_logprobs": 0,
    "frequency_penalty": 0,
    "presence_penalty": 0,
    "logit_bias": {},
    "parallel_tool_calls": True,
    "service_tier": "auto",
    "store": False,
}
_OURS: Final = {"n": "choices", "user": "end_user"}
_UNKNOWN: Final = "is not known to this model's server"


class Fit(msgspec.Struct, frozen=True):
    """The edits of a document that passes: raw JSON by member, and the members to leave out."""

    members: dict[str, bytes]
    without: frozenset[str]


def touched(profile: ProfileRow) -> frozenset[str]:
    """The members of a request that the server may want otherwise: one that has none of them is fit as it is."""
    names = set(profile.omit)
    differs = {
        "stream_options": not profile.stream_usage,
        "max_completion_tokens": profile.max_tokens_field == "max_tokens",
        "seed": profile.seed_field != "seed",
        "tool_choice": profile.tool_choice_required != "required",
        "response_format": not profile.json_schema,
        "messages": not profile.developer_role,
    }
    return frozenset(names.union(name for name, wanted in differs.items() if wanted))


def fit_document(profile: ProfileRow, document: Document, leave: Leave) -> Fit:
    """The edits for a request in this dialect. Raises CallerError request.unsupported naming what the server refuses,
    where it may not be left out."""
    tree = document.tree
    members: dict[str, bytes] = {}
    without = _refused(profile, tree, leave)
    if profile.max_tokens_field == "max_tokens" and "max_completion_tokens" in tree:
        asked = tree["max_completion_tokens"]
        if asked is not None and tree.get("max_tokens") is None:
            members["max_tokens"] = encode(asked)
        without.add("max_completion_tokens")
    if profile.seed_field != "seed" and tree.get("seed") is not None:
        members[profile.seed_field] = encode(tree["seed"])
        without.add("seed")
    if profile.tool_choice_required != "required" and tree.get("tool_choice") == "required":
        members["tool_choice"] = encode(profile.tool_choice_required)
    form = tree.get("response_format")
    if not profile.json_schema and type(form) is dict and form.get("type") == "json_schema":
        leave.place("response_format", _UNKNOWN)
        without.add("response_format")
    messages = tree.get("messages")
    if not profile.developer_role and type(messages) is list:
        told: dict[tuple[str | int, ...], bytes] = {
            (index, "role"): b'"system"'
            for index, message in enumerate(messages)
            if type(message) is dict and message.get("role") == "developer"
        }
        if told:
            members["messages"] = splice(raw_members(document)["messages"], told)
    return Fit(members, frozenset(without))


def fit_body(profile: ProfileRow, body: dict[str, object], leave: Leave) -> None:
    """The same of a body built from our terms, in place; fields are named in the caller's words."""
    for name in _refused(profile, body, leave, ours=True):
        body.pop(name, None)
    if profile.seed_field != "seed" and "seed" in body:
        body[profile.seed_field] = body.pop("seed")
    if body.get("tool_choice") == "required":
        body["tool_choice"] = profile.tool_choice_required
    form = body.get("response_format")
    if not profile.json_schema and type(form) is dict and form.get("type") == "json_schema":
        leave.out("response_format", _UNKNOWN)
        del body["response_format"]
    messages = body["messages"]
    assert type(messages) is list
    for message in messages:
        if not profile.developer_role and message["role"] == "developer":
            message["role"] = "system"
        if profile.reasoning_field == "reasoning" and "reasoning_content" in message:
            message["reasoning"] = message.pop("reasoning_content")


def _refused(profile: ProfileRow, tree: dict[str, object], leave: Leave, *, ours: bool = False) -> set[str]:
    """The members that must not be sent. Raises CallerError for one that says something, unless it may be dropped."""
    without: set[str] = set()
    if not profile.stream_usage and "stream_options" in tree:
        without.add("stream_options")
    for name in profile.omit:
        if name not in tree:
            continue
        value = tree[name]
        if value is not None and value != _SAYS_NOTHING.get(name):
            if ours:
                leave.out(_OURS.get(name, name), _UNKNOWN)
            else:
                leave.place(name, _UNKNOWN)
        without.add(name)
    return without
