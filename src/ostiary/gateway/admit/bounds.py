"""The cheap refusals: what a call may hold at most, checked before anything dearer. Pure."""

from collections.abc import Mapping
from typing import Final

import msgspec

from ostiary.core.error import CallerError, Code
from ostiary.core.label import Sensitivity
from ostiary.core.limit import METADATA_BYTES_MAX, METADATA_KEYS_MAX, METADATA_VALUE_BYTES_MAX
from ostiary.core.principal import Deployment

_KNOWN: Final = ("feature", "prompt_id", "prompt_version", "service", "version", "commit")


class Metadata(msgspec.Struct, frozen=True):
    """What a caller says of its call in `x-ostiary-metadata`: the feature, prompt and deployment it belongs to, and
    all of it (`fields`) for conditions."""

    feature: str = ""
    prompt_id: str = ""
    prompt_version: str = ""
    deployment: Deployment | None = None
    fields: Mapping[str, str] = {}


class Options(msgspec.Struct, frozen=True):
    """The caller's wishes in headers of ours."""

    label: Sensitivity = Sensitivity.INTERNAL
    drop_unsupported: bool = False
    metadata: Metadata = Metadata()


DEFAULT: Final = Options()
"""What holds where a caller sends none of our headers."""

_decoder: Final = msgspec.json.Decoder(dict[str, str])


def options(headers: Mapping[bytes, bytes]) -> Options:
    """The options in the headers. Raises CallerError request.invalid or request.limit naming the header."""
    label = headers.get(b"x-ostiary-sensitivity")
    drop = headers.get(b"x-ostiary-drop-unsupported")
    metadata = headers.get(b"x-ostiary-metadata")
    if label is None and drop is None and metadata is None:
        return DEFAULT
    return Options(
        label=Sensitivity.INTERNAL if label is None else _label(label),
        drop_unsupported=drop is not None and _flag(drop),
        metadata=Metadata() if metadata is None else _metadata(metadata),
    )


def _label(value: bytes) -> Sensitivity:
    try:
        return Sensitivity(value.decode("ascii"))
    except ValueError:
        raise CallerError(
            Code.REQUEST_INVALID,
            "x-ostiary-sensitivity must be public, internal or regulated.",
            param="x-ostiary-sensitivity",
        ) from None


def _flag(value: bytes) -> bool:
    if value not in (b"true", b"false"):
        raise CallerError(
            Code.REQUEST_INVALID,
            "x-ostiary-drop-unsupported must be true or false.",
            param="x-ostiary-drop-unsupported",
        )
    return value == b"true"


def _metadata(value: bytes) -> Metadata:
    if len(value) > METADATA_BYTES_MAX:
        raise CallerError(
            Code.REQUEST_LIMIT, f"x-ostiary-metadata is at most {METADATA_BYTES_MAX} bytes.", param="x-ostiary-metadata"
        )
    try:
        fields = _decoder.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise CallerError(
            Code.REQUEST_INVALID, "x-ostiary-metadata must be a JSON object of strings.", param="x-ostiary-metadata"
        ) from None
    if len(fields) > METADATA_KEYS_MAX or any(
        len(text.encode()) > METADATA_VALUE_BYTES_MAX for text in fields.values()
    ):
        raise CallerError(
            Code.REQUEST_LIMIT,
            f"x-ostiary-metadata holds at most {METADATA_KEYS_MAX} keys with values of {METADATA_VALUE_BYTES_MAX} bytes.",
            param="x-ostiary-metadata",
        )
    feature, prompt_id, prompt_version, service, version, commit = (fields.get(name, "") for name in _KNOWN)
    stated = Deployment(service=service, version=version, commit=commit) if service or version or commit else None
    return Metadata(
        feature=feature, prompt_id=prompt_id, prompt_version=prompt_version, deployment=stated, fields=fields
    )
