"""Names of objects: what the configuration file and the database accept alike."""

import re
from typing import Final

from ostiary.core.error import CallerError, Code

NAME_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"
_NAME: Final = re.compile(NAME_PATTERN)


def check_name(field: str, name: str) -> None:
    """Raise CallerError object.invalid for what is no name."""
    if not _NAME.fullmatch(name):
        raise CallerError(
            Code.OBJECT_INVALID,
            f"{field} must be 1 to 63 letters, digits, dots, dashes or underscores, beginning with a letter or digit.",
            param=field,
        )
