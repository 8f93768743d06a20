"""A client's completion request, in our terms: its text is what a user says.

What only a server of this form can do is kept in `extensions` under its name, where another dialect meets it: a suffix,
an echo, the best of several, probabilities in the old form. A prompt of several texts or of tokens has no place in a
conversation and is refused at once. The bound of 16 tokens that OpenAI's own server sets where a caller sets none is
that server's and is not carried.
"""

from typing import Final

from ostiary.core.call import ChatCall, DialectName
from ostiary.core.limit import CHOICES_MAX
from ostiary.core.message import Message, Role, TextPart
from ostiary.gateway.dialect.completions.peek import peek_chat
from ostiary.gateway.wire.field import Fields, stop_sequences, unsupported
from ostiary.gateway.wire.json import Document, raw_members

NAMES: Final = {"choices": "n", "end_user": "user"}
"""This form's words for fields of ours that have another name."""

# Values at which a field nobody else has changes nothing.
_NO_OPS: Final[dict[str, tuple[object, ...]]] = {"echo": (False,), "suffix": ("",), "logit_bias": ({},)}


def decode_chat(document: Document) -> ChatCall:
    """See gateway/dialect."""
    tree = document.tree
    peek = peek_chat(document)
    fields = Fields(tree, "")
    for key, values in _NO_OPS.items():
        if tree.get(key) in values and type(tree.get(key)) is not int:
            fields.take(key)
    extensions: dict[str, bytes] = {}
    message = _message(fields.take("prompt"))
    choices = fields.integer("n", 1, CHOICES_MAX) or 1
    if fields.tree.get("best_of") == choices:
        fields.take("best_of")
    options = fields.members("stream_options")
    if options is not None:
        options.flag("include_usage")
        # Padding against side channels is between the client and the server it speaks to.
        options.flag("include_obfuscation")
        options.rest(extensions)
    stop = fields.take("stop")
    call = ChatCall(
        original_model=peek.model,
        messages=(message,),
        stream=peek.stream,
        include_usage=peek.include_usage,
        max_tokens=peek.max_tokens,
        temperature=fields.number("temperature", 0, 2),
        top_p=fields.number("top_p", 0, 1),
        stop=(stop,) if type(stop) is str else stop_sequences(stop, "stop"),
        seed=fields.integer("seed", -(2**63)),
        choices=choices,
        frequency_penalty=fields.number("frequency_penalty", -2, 2),
        presence_penalty=fields.number("presence_penalty", -2, 2),
        end_user=peek.end_user,
        extensions=extensions,
        dialect=DialectName.COMPLETIONS,
        names=NAMES,
    )
    for key in ("model", "max_tokens", "stream", "user"):
        fields.take(key)
    rest: dict[str, bytes] = {}
    fields.rest(rest)
    raws = raw_members(document)
    extensions.update({key: bytes(raws[key]) for key in rest})
    return call


def _message(prompt: object) -> Message:
    path = "prompt"
    if type(prompt) is list:
        if len(prompt) > 1 and type(prompt[0]) is str:
            unsupported("prompt", "holds several texts, which can only be carried to a server of this form")
        prompt, path = prompt[0], "prompt[0]"
    if type(prompt) is not str:
        unsupported("prompt", "holds tokens, which can only be carried to a server of this form")
    return Message(Role.USER, (TextPart(prompt),), "", path, (path,))
