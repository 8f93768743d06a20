"""Secrets by reference: read from the environment or from files when a snapshot arrives, then only from memory."""

import os
from pathlib import Path

from ostiary.core.secret import Secret
from ostiary.snapshot.index import Index
from ostiary.snapshot.tables import SecretRef

_Stamp = tuple[int, int, int]


class LoadedSecrets:
    """Implements the port `Secrets`. `load` reads files; call it off the loop."""

    def __init__(self) -> None:
        self._secrets: dict[SecretRef, Secret] = {}
        self._stamps: dict[str, _Stamp] = {}

    def load(self, index: Index) -> list[str]:
        """Read every secret a snapshot refers to; gives what could not be read, in words without secrets."""
        found: dict[SecretRef, Secret] = {}
        missing: list[str] = []
        stamps: dict[str, _Stamp] = {}
        for provider, ref in ((one, ref) for one in index.providers.values() for ref in one.auth.secrets()):
            if ref in found:
                continue
            if ref.kind == "file":
                stamps[ref.name] = _stamp(ref.name)  # before it is read: what changes meanwhile is read again
            text = _read(ref)
            if text:
                found[ref] = Secret(text)
            else:
                missing.append(f"provider {provider.name}: {ref.kind} {ref.name} holds no secret")
        self._secrets, self._stamps = found, stamps
        return missing

    def changed(self) -> bool:
        """Whether a file with a secret is another than the one that was read: a secret may be replaced in its place."""
        return any(_stamp(name) != seen for name, seen in self._stamps.items())

    def get(self, ref: SecretRef) -> Secret | None:
        """As the port says."""
        return self._secrets.get(ref)


def _stamp(name: str) -> _Stamp:
    try:
        stat = Path(name).stat()
    except OSError:
        return (0, 0, 0)
    return stat.st_mtime_ns, stat.st_ino, stat.st_size


def _read(ref: SecretRef) -> str:
    if ref.kind == "env":
        return os.environ.get(ref.name, "").strip()
    try:
        return Path(ref.name).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
