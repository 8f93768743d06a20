"""Conditions in CEL, compiled: by the control plane to check them, by a data worker once for each snapshot.

The engine's package also brings a command line of its own and imports it; only the extension module inside it is loaded
here, and only where there is a condition, so that a worker without conditions carries none of it.
"""

import importlib.util
from collections.abc import Callable, Mapping
from functools import cache
from importlib.machinery import PathFinder
from typing import Final, Protocol, cast

from ostiary.core.call import Operation
from ostiary.core.capability import NO_NEED
from ostiary.core.error import Code, OperatorError
from ostiary.core.label import Sensitivity
from ostiary.core.principal import EnvironmentName, KeyId, Principal, TeamId, TenantId
from ostiary.core.reply import Choice
from ostiary.gateway.judge.quality import ANSWER_FIELDS
from ostiary.gateway.judge.quality import facts_of as answer_facts
from ostiary.gateway.route.condition import Conditions, Program, facts_of, unknown_in
from ostiary.snapshot.index import Index

_PACKAGE: Final = "cel"
_NOBODY: Final = Principal(TenantId(""), TeamId(""), EnvironmentName(""), KeyId(""), "")


class _Compiled(Protocol):
    def execute(self, context: object) -> object: ...


class _Engine(Protocol):
    """The part of the package's `cel.pyi` that is used."""

    def compile(self, expression: str) -> _Compiled: ...
    def Context(self, variables: Mapping[str, object]) -> object: ...  # noqa: N802 - a class of the package


@cache
def _engine() -> _Engine:
    package = importlib.util.find_spec(_PACKAGE)
    found = None if package is None else PathFinder.find_spec("cel.cel", package.submodule_search_locations)
    if found is None or found.loader is None:
        raise OperatorError(
            Code.CONFIG_INVALID, "conditions need the package common-expression-language, which is not installed"
        )
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return cast("_Engine", module)


def _compiled(text: str) -> Program:
    """Raises ValueError for what is no expression."""
    execute: Callable[[object], object] = _engine().compile(text).execute
    return execute


def conditions_of(index: Index) -> Conditions:
    """Every condition of a snapshot, compiled; blocks for as long as that takes. One that cannot be compiled holds for
    no call; the control plane publishes none."""
    models = index.snapshot.models
    texts = {target.when for model in models for target in model.targets if target.when}
    texts |= {one.when for model in models if model.degraded for one in model.degraded.answers if one.when}
    qualities = (model.checks.quality for model in models if model.checks is not None)
    texts |= {one.poor_when for one in qualities if one is not None and one.poor_when}
    if not texts:
        return Conditions()
    programs: dict[str, Program] = {}
    for text in texts:
        try:
            programs[text] = _compiled(text)
        except ValueError:
            continue
    return Conditions(programs, _engine().Context)


def refused(text: str) -> str | None:
    """Why an expression cannot be a condition, or None: a name nobody knows, no expression, or one that gives something
    else than true or false."""
    return unknown_in(text) or _unfit(
        text,
        facts_of(
            _NOBODY,
            model="",
            operation=Operation.CHAT,
            stream=False,
            label=Sensitivity.INTERNAL,
            input_tokens=0,
            need=NO_NEED,
            metadata={},
        ),
    )


def refused_of_answers(text: str) -> str | None:
    """The same of a condition on answers."""
    return unknown_in(text, ANSWER_FIELDS) or _unfit(text, answer_facts(Choice((), None)))


def _unfit(text: str, sample: Mapping[str, object]) -> str | None:
    """Why a text whose names are known gives no answer on facts such as these."""
    try:
        program = _compiled(text)
    except ValueError as error:
        return f"is no expression: {_first_line(error)}"
    try:
        said = program(_engine().Context(sample))
    except TypeError as error:
        return f"compares what cannot be compared: {_first_line(error)}"
    except Exception:  # noqa: BLE001 - what the sample lacks, such as a name in metadata, says nothing
        return None
    return None if isinstance(said, bool) else f"gives `{said}`, not true or false"


def _first_line(error: Exception) -> str:
    text = str(error)
    return text.partition("ERROR: <input>:")[2].partition("\n")[0] or text.partition("\n")[0][:200]
