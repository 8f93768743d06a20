"""Conditions of targets: what an expression may speak of, whether it keeps to that, and what it says of a call. Pure.

The language is CEL (https://github.com/google/cel-spec), without its macros over lists and without regular expressions:
what is left looks at each part of an expression once, so that its length bounds its time. The engine is handed in.

`principal` is what the gateway knows of the caller, `request` what the caller says of the call: a rule that must hold
against the caller's will stands on `principal` alone.
"""

import difflib
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, Protocol

from ostiary.core.call import Operation
from ostiary.core.capability import Need
from ostiary.core.label import Sensitivity
from ostiary.core.limit import CONDITION_CHARS_MAX
from ostiary.core.principal import Principal

Fact = str | int | bool | list[str] | dict[str, str]
Facts = dict[str, dict[str, Fact]]

FIELDS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "principal": ("tenant", "team", "environment", "key"),
        "request": ("model", "operation", "stream", "input_tokens", "max_tokens", "label", "needs", "metadata"),
    }
)
"""Every name an expression may use."""

FUNCTIONS: Final = ("has", "size", "int", "double", "string")
METHODS: Final = ("contains", "startsWith", "endsWith", "size")
_WORDS: Final = ("true", "false", "null", "in")
_OPEN: Final = "metadata"
"""The field whose own names are the caller's."""

_TOKEN: Final = re.compile(
    r"""(?P<space>\s+)"""
    r"""|(?P<text>[rRbB]{0,2}(?:\"{3}.*?\"{3}|'{3}.*?'{3}|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'))"""
    r"""|(?P<number>[0-9][0-9A-Za-z_.]*)"""
    r"""|(?P<name>[A-Za-z_][A-Za-z0-9_]*)"""
    r"""|(?P<mark>.)""",
    re.DOTALL,
)


class Program(Protocol):
    """A compiled expression: what it says of facts that were prepared for it. Raises whatever it likes."""

    def __call__(self, prepared: object, /) -> object: ...


def unknown_in(text: str, fields: Mapping[str, tuple[str, ...]] = FIELDS) -> str | None:
    """What in an expression nobody knows or may use, `fields` being every name, told with the nearest name; None where
    there is nothing. Whether it is an expression at all, the engine says."""
    if len(text) > CONDITION_CHARS_MAX:
        return f"a condition has at most {CONDITION_CHARS_MAX} characters, this one {len(text)}"
    tokens = [(match.lastgroup, match[0]) for match in _TOKEN.finditer(text) if match.lastgroup != "space"]
    for i, (kind, word) in enumerate(tokens):
        if kind != "name":
            continue
        follows = tokens[i + 1][1] if i + 1 < len(tokens) else ""
        if i and tokens[i - 1][1] == ".":
            reason = _unknown_member([one for _, one in tokens[:i]], word, fields, call=follows == "(")
        elif follows == "(" and word not in _WORDS:
            reason = None if word in FUNCTIONS else f"no function `{word}`{_near(word, FUNCTIONS)}"
        elif word in fields:
            reason = None if follows == "." else f"`{word}` is used by its fields: {', '.join(fields[word])}"
        else:
            reason = None if word in _WORDS else f"no name `{word}`{_near(word, fields)}"
        if reason is not None:
            return reason
    return None


def _unknown_member(before: list[str], word: str, known: Mapping[str, tuple[str, ...]], *, call: bool) -> str | None:
    """What is wrong with a name behind a dot, `before` being all that stands before it."""
    if call:
        return None if word in METHODS else f"no method `{word}`{_near(word, METHODS)}"
    owner = before[-2] if len(before) > 1 else ""
    rooted = len(before) < 3 or before[-3] != "."
    if rooted and owner in known:
        fields = known[owner]
        return None if word in fields else f"`{owner}` has no `{word}`{_near(word, fields)}"
    if owner == _OPEN and before[-4:-2] == ["request", "."]:
        return None
    return f"`{owner}` has no fields, so no `{word}`"


def _near(word: str, known: Mapping[str, object] | tuple[str, ...]) -> str:
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean `{near[0]}`?" if near else f"; known here: {', '.join(known)}"


def said_by_caller(text: str) -> tuple[str, ...]:
    """The names of the caller's metadata that an expression looks at."""
    return tuple(re.findall(r"request\s*\.\s*metadata\s*(?:\.\s*|\[\s*[\"'])([A-Za-z0-9_.-]+)", text))


def facts_of(
    principal: Principal,
    *,
    model: str,
    operation: Operation,
    stream: bool,
    label: Sensitivity,
    input_tokens: int,
    need: Need,
    metadata: Mapping[str, str],
) -> Facts:
    """What expressions see of a call. `max_tokens` is 0 where the caller set no bound."""
    return {
        "principal": {
            "tenant": principal.tenant,
            "team": principal.team,
            "environment": principal.environment,
            "key": principal.key_name,
        },
        "request": {
            "model": model,
            "operation": str(operation),
            "stream": stream,
            "input_tokens": input_tokens,
            "max_tokens": need.max_tokens or 0,
            "label": str(label),
            "needs": [str(one) for one in need.capabilities],
            "metadata": dict(metadata),
        },
    }


class Conditions:
    """The compiled conditions of one snapshot, by their text. `prepare` makes of facts what programs look at."""

    def __init__(
        self,
        programs: Mapping[str, Program] = MappingProxyType({}),
        prepare: Callable[[Mapping[str, object]], object] = lambda facts: facts,
    ) -> None:
        self._programs = programs
        self._prepare = prepare

    @property
    def empty(self) -> bool:
        """Whether there is no condition at all."""
        return not self._programs

    def on(self, facts: Callable[[], Mapping[str, object]]) -> Callable[[str], bool | None]:
        """Whether a condition holds for one call: True, False, or None where that cannot be said, which counts as
        False. The facts are asked for once, where there is a condition at all."""
        prepared: object = None

        def holds(text: str) -> bool | None:
            nonlocal prepared
            program = self._programs.get(text)
            if program is None:
                return None
            try:
                if prepared is None:
                    prepared = self._prepare(facts())
                said = program(prepared)
            except Exception:  # noqa: BLE001 - whatever the engine cannot answer: the target is not chosen
                return None
            return said if isinstance(said, bool) else None

        return holds
