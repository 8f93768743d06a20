"""`ostiary audit`: proving the journal, and looking into it."""

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from ostiary.bootstrap.offline import JOURNAL_DIR, opened
from ostiary.bootstrap.retirement import record_retirement
from ostiary.bootstrap.system import SystemClock
from ostiary.cli.config import NOT_HELD, AsJson, ConfigFile, command, loaded
from ostiary.cli.output import print_json, print_table, when
from ostiary.core.error import CallerError, Code, OperatorError
from ostiary.core.event import Kind
from ostiary.gateway.audit import record
from ostiary.govern.origins.model import Retirement
from ostiary.store.journal import checkpoint
from ostiary.store.journal.disk import OsDisk
from ostiary.store.journal.layout import LOCK_NAME, SET_ASIDE_NAME, START, origins
from ostiary.store.journal.reader import read
from ostiary.store.journal.verify import OriginReport, verify

app = typer.Typer(no_args_is_help=True, help="The audit journal.")


@app.command("verify")
@command
def verify_(
    file: Annotated[
        Path | None, typer.Option("--checkpoint", metavar="FILE", help="A checkpoint kept elsewhere.")
    ] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Check every record of every journal; exit code 1 where something does not hold."""
    anchors = None
    if file is not None:
        anchors = checkpoint.decode(_read(file)).origins
    reports = verify(_root(config), anchors)
    if as_json:
        print_json(reports)
    else:
        for report in reports:
            _print_report(report)
        problems = sum(len(report.problems) for report in reports)
        compared = "" if file is None else f", compared with {file}"
        typer.echo(f"{len(reports)} journals, {problems} problems{compared}")
    if any(report.problems for report in reports):
        raise typer.Exit(NOT_HELD)


@app.command("checkpoint")
@command
def checkpoint_(
    file: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Where to write it; else printed.")] = None,
    config: ConfigFile = None,
) -> None:
    """Verify, then take a checkpoint. Keep it where nobody who can write the journal can write."""
    kept = checkpoint.take(verify(_root(config)), SystemClock().now_ns())
    data = checkpoint.encode(kept)
    if file is None:
        typer.echo(data.decode(), nl=False)
        return
    try:
        file.write_bytes(data)
    except OSError as error:
        raise OperatorError(Code.CONFIG_INVALID, f"{file} cannot be written: {error.strerror or error}.") from error
    records = sum(anchor.records for anchor in kept.origins.values())
    typer.echo(f"checkpoint of {len(kept.origins)} journals with {records} records written to {file}")


@app.command("show")
@command
def show(
    origin: Annotated[str | None, typer.Option(help="Only this journal.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only this kind of record.")] = None,
    request: Annotated[str | None, typer.Option(help="Only this request id.")] = None,
    config: ConfigFile = None,
) -> None:
    """Print records, one JSON object a line: journal, number, kind, what it holds."""
    root = _root(config)
    names = {one.name.lower(): one for one in Kind}
    if kind is not None and kind not in names:
        raise CallerError(Code.OBJECT_INVALID, f"There is no kind {kind!r}; there are: {', '.join(names)}.")
    for name in _origins(root, origin):
        for entry in read(root / name, START):
            if kind is not None and entry.kind != names[kind]:
                continue
            value: Any = record.decode(entry.kind, entry.payload)
            if request is not None and getattr(value, "request_id", None) != request:
                continue
            word = Kind(entry.kind).name.lower() if value is not None else f"unknown {entry.kind}"
            line = {"origin": name, "sequence": entry.sequence, "kind": word, "record": value}
            typer.echo(msgspec.json.encode(line).decode())


@app.command("set-aside")
@command
def set_aside(
    origin: Annotated[str, typer.Argument(help="The damaged journal.")],
    config: ConfigFile = None,
) -> None:
    """Take a damaged journal out of use, so that its worker starts a new one beside it. Its files stay, and
    verification goes on reporting them. There is no way back."""
    root = _root(config)
    (name,) = _origins(root, origin)
    try:
        fd = OsDisk().lock(root / name / LOCK_NAME)
    except BlockingIOError:
        raise OperatorError(Code.STORE_UNAVAILABLE, f"A running worker writes {root / name}; stop it first.") from None
    try:
        (root / name / SET_ASIDE_NAME).touch(mode=0o600)
        OsDisk().sync_dir(root / name)
    finally:
        OsDisk().close(fd)
    typer.echo(f"journal {name} set aside")


@app.command("origins")
@command
def origins_(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """List the journals that project into the database: when their replica was last seen, and which are lost."""
    with opened(loaded(config)) as offline:
        found = offline.origins.list(offline.actor)
    if as_json:
        print_json(found)
        return
    print_table(
        ["journal", "records", "last seen", "declared lost", "by", "why"],
        [
            (
                one.name,
                one.records,
                when(one.seen_ns),
                *(("-",) * 3 if one.retirement is None else _told(one.retirement)),
            )
            for one in found
        ],
    )


@app.command("retire-origin")
@command
def retire_origin(
    origin: Annotated[str, typer.Argument(help="The journal that will never return.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; recorded for good.")],
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Declare lost a journal whose replica and disk are gone: its open calls are closed as aborted in the database, and a
    record in this journal says who did it and why. There is no way back."""
    settings = loaded(config)
    with opened(settings) as offline:
        done = offline.origins.retire(offline.actor, origin, reason, frozenset(origins(offline.journal_root)))
        recorded = record_retirement(offline, done)
    if as_json:
        print_json({"retired": done, "recorded_in": recorded})
        return
    again = " (it had been before)" if done.again else ""
    typer.echo(f"journal {origin} declared lost{again}; {done.aborted} open calls closed as aborted")
    typer.echo(f"recorded in the journal {recorded} of this machine, and in the outbox of changes")


def _told(retirement: Retirement) -> tuple[str, str, str]:
    return when(retirement.at_ns), retirement.by, retirement.reason


def _root(config: Path | None) -> Path:
    return loaded(config).data_dir / JOURNAL_DIR


def _origins(root: Path, wanted: str | None) -> list[str]:
    known = origins(root)
    if wanted is None:
        return known
    if wanted not in known:
        raise CallerError(Code.OBJECT_NOT_FOUND, f"There is no journal {wanted!r} in {root}.")
    return [wanted]


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise OperatorError(Code.CONFIG_INVALID, f"{file} cannot be read: {error.strerror or error}.") from error


def _print_report(report: OriginReport) -> None:
    state = "does not hold" if report.problems else "holds"
    typer.echo(
        f"{report.origin}: {state}; {report.records} records in {report.segments} files, {report.open_calls} calls "
        f"open, {report.unfinished_bytes} bytes unfinished"
    )
    for problem in report.problems:
        typer.echo(f"  {problem.file}, byte {problem.offset}: {problem.reason}")
    for note in report.notes:
        typer.echo(f"  note: {note}")
