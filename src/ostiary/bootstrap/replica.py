"""Replicas that share a database: each has a name and a journal of its own, and no two may have the same name.

How far a journal has been read is kept under its origin's name, `<replica>.<slot>`. Two replicas of one name would each
be taken to have read what the other has. So a journal has an identity, made once and kept beside its origins, and the
database remembers whose a name is.
"""

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from ostiary.core.error import Code, OperatorError
from ostiary.core.port import Ids
from ostiary.govern.ports import Installation
from ostiary.store.journal.layout import origins

IDENTITY_FILE: Final = "identity"
NAME_FILE: Final = "replica"
_ANY: Final = "*"
_WORD_CHARS: Final = 6


def claim(installation: Installation, journal_root: Path, ids: Ids, replicas: Iterable[str] = ()) -> None:
    """Make sure that these names, and those in the journal, are this journal's.

    Raises OperatorError config.invalid where another journal has one of them, store.unavailable.
    """
    names = {*replicas, *(origin.rpartition(".")[0] for origin in origins(journal_root))}
    if not names:
        return
    own = _identity(journal_root, ids)
    for name in sorted(names):
        fact = f"replica/{name}"
        known = installation.recall(fact) or installation.remember(fact, own)
        if known != own:
            raise OperatorError(
                Code.CONFIG_INVALID,
                f"The database knows the replica {name} with another journal than {journal_root} (identity {known}, this "
                f"one is {own}). Every replica needs a name of its own in OSTIARY_REPLICA; one that lost its journal "
                "needs a new name.",
            )


def replica_name(journal_root: Path, asked: str, ids: Ids) -> str:
    """The replica's name. Where what was asked for ends in `*`, that stands for a word of the journal's own: made once,
    kept beside it, and so another one where the journal was lost. Raises OperatorError config.invalid."""
    if not asked.endswith(_ANY):
        return asked
    return asked.removesuffix(_ANY) + _kept(journal_root / NAME_FILE, ids.new().replace("-", "")[-_WORD_CHARS:])


def _identity(journal_root: Path, ids: Ids) -> str:
    return _kept(journal_root / IDENTITY_FILE, ids.new())


def _kept(path: Path, made: str) -> str:
    """What stands in the file; `made`, where it is not there. The link decides between two processes that make it at
    once."""
    journal_root = path.parent
    try:
        if not path.exists():
            journal_root.mkdir(mode=0o700, parents=True, exist_ok=True)
            temporary = path.with_name(f".{path.name}.{os.getpid()}")
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(made)
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):
                os.link(temporary, path)
            temporary.unlink()
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise OperatorError(Code.CONFIG_INVALID, f"{path} cannot be used: {error}.") from error
