"""What would become of a call that nobody makes: the file's rules and the call as described, explained offline."""

from collections.abc import Mapping
from typing import Final

import msgspec

from ostiary.bootstrap.compile import Declared, compile_file, snapshot_of
from ostiary.bootstrap.data import clients, strategies
from ostiary.bootstrap.expression import conditions_of
from ostiary.bootstrap.offline import opened
from ostiary.core.call import DialectName, Operation
from ostiary.core.capability import Capability, Need
from ostiary.core.decision import Allow, Deny
from ostiary.core.error import CallerError, Code, OperatorError
from ostiary.core.label import Sensitivity
from ostiary.core.principal import EnvironmentName, KeyId, Principal, TeamId, TenantId
from ostiary.core.usage import Usage
from ostiary.gateway.admit.bounds import Metadata, Options
from ostiary.gateway.arrival import Arrival
from ostiary.gateway.dialect import Addressed
from ostiary.gateway.policy.access import Ask, Grant, Grants
from ostiary.gateway.route.condition import Facts, facts_of
from ostiary.gateway.route.explain import Explained, explain
from ostiary.gateway.route.health import Health
from ostiary.gateway.route.plan import Scene
from ostiary.gateway.task.table import TASKS
from ostiary.settings import Loaded
from ostiary.snapshot.index import Index
from ostiary.snapshot.tables import ModelRow, Residency, TeamRow

NOBODY: Final = Principal(TenantId(""), TeamId(""), EnvironmentName(""), KeyId(""), "")


class Described(msgspec.Struct, frozen=True, kw_only=True):
    """A call as an operator describes it. With a `body` in `dialect` its tokens and needs are read out of that; `team`
    is `tenant/team`, or a team's name where one tenant alone has it, or empty: then what a key may use is not asked."""

    model: str
    team: str = ""
    key: str = ""
    operation: Operation = Operation.CHAT
    dialect: DialectName = DialectName.OPENAI
    label: Sensitivity = Sensitivity.INTERNAL
    metadata: Mapping[str, str] = {}
    body: bytes | None = None
    stream: bool = False
    input_tokens: int = 0
    max_tokens: int | None = None
    capabilities: tuple[Capability, ...] = ()
    subject: str = ""


class _Middle:
    """Chance that always says the same, so that an explanation can be repeated."""

    def random(self) -> float:
        return 0.0


def explained(loaded: Loaded, call: Described, now_seconds: int) -> Explained:
    """Where such a call would go by the file. Raises OperatorError for a file that is not taken or a name that is not
    in it, CallerError where the call would be refused before it was planned, or its body."""
    declared = compile_file(loaded, loaded.data_dir / "secrets")
    row, teams = _team(loaded, declared, call.team)
    index = Index(snapshot_of(declared, teams, 0))
    principal = NOBODY if row is None else _principal(declared, row, call.key)
    body = _Body(call, principal)
    model, fallbacks = _allowed(index, principal, call, body) if row is not None else _offered(index, call.model)
    regions, residency = ((), None) if row is None else (row.regions, row.residency)
    scene = Scene(
        _Middle(),
        0.0,
        now_seconds,
        Health(),
        body.bound,
        call.subject or principal.key_id,
        lambda: body.need,
        conditions_of(index).on(lambda: body.facts(call, principal)),
        regions,
        residency is Residency.PRIVATE,
    )
    return explain(
        index,
        model,
        fallbacks,
        operation=call.operation,
        label=call.label,
        strategies=strategies(),
        scene=scene,
    )


class _Body:
    """What a call needs and may consume, read from its body or taken as described."""

    def __init__(self, call: Described, principal: Principal) -> None:
        self.stream, self.tool_depth = call.stream, 0
        self.max_tokens = call.max_tokens
        self.need = Need(call.capabilities, call.input_tokens, call.max_tokens)
        self.bound = Usage(call.input_tokens, call.max_tokens or 0)
        if call.body is None:
            return
        if call.operation not in TASKS or call.dialect not in clients():
            raise CallerError(
                Code.REQUEST_INVALID, f"A body of {call.operation} in {call.dialect} cannot be read here."
            )
        arrival = Arrival(
            "",
            principal,
            call.operation,
            call.dialect,
            Addressed(model=call.model if call.dialect is DialectName.GEMINI else "", stream=call.stream),
            {b"content-type": b"application/json"},
            Options(label=call.label, metadata=Metadata()),
            0.0,
            "POST",
            b"",
            b"",
        )
        task = TASKS[call.operation](clients()[call.dialect], arrival, call.body)
        ask = task.ask(call.model, call.label)
        self.stream, self.max_tokens, self.tool_depth = task.stream, ask.max_tokens, ask.tool_depth
        self.need, self.bound = task.need(), task.bound(None)

    def facts(self, call: Described, principal: Principal) -> Facts:
        """What conditions see."""
        return facts_of(
            principal,
            model=call.model,
            operation=call.operation,
            stream=self.stream,
            label=call.label,
            input_tokens=self.bound.input_tokens,
            need=self.need,
            metadata=call.metadata,
        )


def _team(loaded: Loaded, declared: Declared, wanted: str) -> tuple[TeamRow | None, tuple[TeamRow, ...]]:
    """The team of that name, of the file or of the database, which is looked into only where the file has none."""
    if not wanted:
        return None, ()
    tenant, _, name = wanted.rpartition("/")

    def named(rows: tuple[TeamRow, ...]) -> list[TeamRow]:
        return [row for row in rows if row.name == name and tenant in ("", row.tenant)]

    stored: tuple[TeamRow, ...] = ()
    found = named(declared.teams)
    if not found and loaded.data_dir.is_dir():
        with opened(loaded) as offline:
            stored = tuple(
                TeamRow(
                    tenant=team.tenant,
                    name=team.name,
                    environment=team.environment,
                    models=team.models,
                    max_tokens=team.max_tokens,
                    tool_depth=team.tool_depth,
                    managed_by="api",
                )
                for team in offline.team_store.list()
                if not team.disabled_ns
            )
        found = named(stored)
    if len(found) != 1:
        which = "no team" if not found else "more than one team"
        raise OperatorError(Code.CONFIG_INVALID, f"There is {which} `{wanted}`; name it as tenant/team.")
    return found[0], stored


def _principal(declared: Declared, team: TeamRow, key: str) -> Principal:
    entry = next(
        (one for _, one in declared.keys if (one.tenant, one.team, one.key_name) == (team.tenant, team.name, key)), None
    )
    if key and entry is None:
        raise OperatorError(Code.CONFIG_INVALID, f"The file has no key `{key}` of the team {team.tenant}/{team.name}.")
    return Principal(
        TenantId(team.tenant),
        TeamId(team.name),
        EnvironmentName(team.environment),
        KeyId(entry.key_id if entry else ""),
        key,
        None if entry is None or entry.models is None else frozenset(entry.models),
    )


def _offered(index: Index, name: str) -> tuple[ModelRow, list[tuple[ModelRow, tuple[Code, ...]]]]:
    """A model with its fallbacks, whoever may use them."""
    model = index.model(name)
    if model is None:
        raise OperatorError(Code.CONFIG_INVALID, f"There is no model `{name}` in the file.")
    rows = ((index.model(one.model), one.on) for one in model.fallbacks)
    return model, [(row, on) for row, on in rows if row is not None]


def _allowed(
    index: Index, principal: Principal, call: Described, body: _Body
) -> tuple[ModelRow, list[tuple[ModelRow, tuple[Code, ...]]]]:
    """A model with its fallbacks as policy allows them to the principal."""
    grants = Grants(index)

    def may(name: str) -> Grant | Deny:
        grant = grants.find(principal, name)
        if isinstance(grant, Deny):
            return grant
        verdict = grant.decide(Ask(name, call.label, body.max_tokens, body.tool_depth))
        return grant if isinstance(verdict, Allow) else verdict

    first = may(call.model)
    if isinstance(first, Deny):
        raise CallerError(first.code, f"{first.code}: {first.message}")
    others = ((may(one.model), one.on) for one in first.model.fallbacks)
    return first.model, [(other.model, on) for other, on in others if isinstance(other, Grant)]
