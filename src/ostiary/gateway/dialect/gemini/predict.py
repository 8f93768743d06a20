"""Vectors from Vertex AI's models that are not Gemini's own, in the form of its prediction service.

https://docs.cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api. Which models are asked so
is Google's own client's rule: those whose name says neither `gemini` nor `maas`. No client speaks this form: a call in
Google's usual one is translated like any other.
"""

import re
from typing import Final

import msgspec

from ostiary.core.call import DialectName, EmbeddingsCall
from ostiary.core.error import Code, UpstreamError
from ostiary.core.reply import EmbeddingsReply
from ostiary.core.usage import Usage
from ostiary.gateway.dialect import Encoded
from ostiary.gateway.dialect.gemini.members import camel
from ostiary.gateway.dialect.gemini.request_encode import model_path
from ostiary.gateway.wire.count import NOT_TRUE, tokens
from ostiary.gateway.wire.field import unsupported
from ostiary.gateway.wire.json import decode_as, encode
from ostiary.gateway.wire.leave import Leave

_PREDICT: Final = b":predict"
INPUTS_MAX: Final = 250
"""Instances that the service takes at once."""

_MEMBERS: Final = {"taskType": "task_type", "title": "title"}
"""What Google's usual form says of one text, and how it is called here."""

_MEMBER: Final = re.compile(r"(?:requests\[(\d{1,9})\]\.)?(taskType|task_type|title)")


class _Statistics(msgspec.Struct):
    token_count: float | None = None


class _Embeddings(msgspec.Struct):
    values: msgspec.Raw
    statistics: _Statistics | None = None


class _Prediction(msgspec.Struct):
    embeddings: _Embeddings


class _Predictions(msgspec.Struct):
    predictions: list[_Prediction]


_DECODER: Final = msgspec.json.Decoder(_Predictions)


def predicted(model: str) -> bool:
    """Whether a model of Vertex AI is asked in this form."""
    name = model.rpartition("/")[2]
    return "gemini" not in name and "maas" not in name


def encode_embeddings(call: EmbeddingsCall, model: str, *, drop: bool) -> Encoded:
    """See gateway/dialect."""
    leave = Leave({}, drop=drop)
    instances: list[dict[str, object]] = []
    for index, text in enumerate(call.inputs):
        if type(text) is not str:
            unsupported(f"input[{call.first + index}]", "is a list of another model's tokens")
        instances.append({"content": text})
    if call.end_user is not None:
        leave.hint("user")
    for path, value in call.extensions.items():
        found = _own(path, alone=len(instances) == 1) if call.dialect is DialectName.GEMINI else None
        if found is None:
            leave.place(path)
        elif 0 <= found[0] - call.first < len(instances):  # else it is of a text of another part
            instances[found[0] - call.first][found[1]] = msgspec.Raw(value)
    body: dict[str, object] = {"instances": instances}
    if call.dimensions is not None:
        body["parameters"] = {"outputDimensionality": call.dimensions}
    return Encoded(model_path(model) + _PREDICT, encode(body), (), tuple(leave.dropped))


def _own(path: str, *, alone: bool) -> tuple[int, str] | None:
    """Which text a member is said of, and how it is called here; None where it has no place here."""
    match = _MEMBER.fullmatch(path)
    if match is None or not (match[1] or alone):
        return None
    return int(match[1] or 0), _MEMBERS[camel(match[2])]


def decode_embeddings_reply(body: bytes) -> EmbeddingsReply:
    """See gateway/dialect. Raises UpstreamError."""
    wire = decode_as(_DECODER, body, UpstreamError, Code.UPSTREAM_PROTOCOL)
    counts: list[int] = []
    for prediction in wire.predictions:
        told = prediction.embeddings.statistics
        count = NOT_TRUE if told is None or told.token_count is None else tokens(told.token_count)
        if count != NOT_TRUE:
            counts.append(count)
    # A sum over some of the texts would be charged as if it were over all.
    usage = Usage(input_tokens=sum(counts)) if len(counts) == len(wire.predictions) else None
    return EmbeddingsReply("", tuple(bytes(one.embeddings.values) for one in wire.predictions), usage)
