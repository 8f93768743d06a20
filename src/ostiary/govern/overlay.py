"""What the configuration file defines. It never becomes rows: it lies over them, and is read-only here."""

from collections.abc import Iterable

import msgspec

from ostiary.core.error import CallerError, Code, OperatorError


class FileTeam(msgspec.Struct, frozen=True):
    """A team of the file: what a key made for it needs to know."""

    environment: str
    models: tuple[str, ...]
    key_names: frozenset[str] = frozenset()
    max_tokens: int | None = None
    tool_depth: int | None = None


class Overlay(msgspec.Struct, frozen=True):
    """The file's name for messages, its tenants, and its teams by tenant and name."""

    file: str = ""
    tenants: frozenset[str] = frozenset()
    teams: dict[tuple[str, str], FileTeam] = {}

    def refuse(self, what: str) -> CallerError:
        """The error for an attempt to change an object of the file."""
        return CallerError(
            Code.OBJECT_FILE_OWNED, f"{what} is defined in {self.file or 'the configuration file'}; change it there."
        )


def check_overlay(
    overlay: Overlay,
    tenants: Iterable[str],
    teams: Iterable[tuple[str, str]],
    keys: Iterable[tuple[str, str, str]],
) -> None:
    """For the publisher, at each load: no name stands in the file and among the rows.

    Raises OperatorError config.invalid naming every object that does.
    """
    twice = [f"tenant {tenant}" for tenant in tenants if tenant in overlay.tenants]
    twice += [f"team {tenant}/{team}" for tenant, team in teams if (tenant, team) in overlay.teams]
    twice += [
        f"key {tenant}/{team}/{name}"
        for tenant, team, name in keys
        if (found := overlay.teams.get((tenant, team))) is not None and name in found.key_names
    ]
    if twice:
        raise OperatorError(
            Code.CONFIG_INVALID,
            f"{overlay.file or 'the configuration file'} and the database both define: {', '.join(sorted(twice))}. "
            "Rename or remove one of each.",
        )
