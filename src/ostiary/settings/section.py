"""The base of every section of the file, and the words its values are made of."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$", description="letters, digits, . _ -")]


Seconds = Annotated[float, Meta(gt=0, le=86_400)]


Port = Annotated[int, Meta(ge=0, le=65_535)]


Url = Annotated[str, Meta(pattern=r"^https?://", max_length=2_048)]


Placed = Annotated[str, Meta(pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]{0,127}|\$\{.+\})?$")]
"""What fills a placeholder of a URL: one part of a host or path, or a reference to it."""


OmittedField = Annotated[str, Meta(pattern=r"^[a-z_]{1,64}$")]


EnvironmentWord = Literal["sandbox", "staging", "production"]


Day = Annotated[str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$", description="YYYY-MM-DD")]
PriorityWord = Literal["interactive", "standard", "batch"]


Amount = Annotated[str, Meta(pattern=r"^[0-9]{1,9}(\.[0-9]{1,9})?$", description="decimal units of the currency")]


Price = Annotated[str, Meta(pattern=r"^[0-9]{1,9}(\.[0-9]{1,9})?$", description="decimal units per million tokens")]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A mapping of the file."""
