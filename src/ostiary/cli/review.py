"""`ostiary review`: calls that were handed over to a person, and what a person says to them."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from ostiary.bootstrap.offline import Offline, opened
from ostiary.bootstrap.recording import record_review
from ostiary.bootstrap.reviewing import take_up
from ostiary.cli.config import AsJson, ConfigFile, command, fail, loaded
from ostiary.cli.output import print_json, print_table, when
from ostiary.core.error import Code, OperatorError
from ostiary.core.limit import REVIEW_ANSWER_CHARS_MAX
from ostiary.core.review import Verdict
from ostiary.govern.reviews.model import Queued

app = typer.Typer(no_args_is_help=True, help="Calls handed over to a person: what waits, and what a person says.")

_NANO = 1_000_000_000
_BYTES_OF_A_CHARACTER = 4

Ticket = Annotated[str, typer.Argument(metavar="TICKET", help="The ticket, or the id of the request it stands for.")]


@app.command("list")
@command
def list_(
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's.")] = None,
    *,
    decided: Annotated[
        bool, typer.Option("--decided", help="Those that are decided, in place of those that wait.")
    ] = False,
    count: Annotated[int, typer.Option(min=1, max=1_000, help="How many, the oldest first.")] = 100,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """List calls on the queue, without what is asked in them."""
    with opened(loaded(config)) as offline:
        take_up(offline.review_files, offline.review_store)
        found = offline.reviews.list(offline.actor, tenant=tenant, waiting=not decided, count_max=count)
    if as_json:
        print_json([_fields(one) for one in found])
        return
    print_table(
        ("request", "since", "until", "tenant", "team", "model", "instead of", "state", "by"),
        [
            (
                one.review.request_id,
                when(one.review.at_ns),
                when(one.review.until * _NANO),
                one.review.tenant,
                one.review.team,
                one.review.model,
                one.review.reason,
                one.state,
                one.decided_by or "-",
            )
            for one in found
        ],
    )


@app.command("show")
@command
def show(ticket: Ticket, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show a call and the request as its caller sent it. That you read it goes on record; once it is decided, the request
    is gone."""
    with opened(loaded(config)) as offline:
        take_up(offline.review_files, offline.review_store)
        found, question = offline.reviews.show(offline.actor, ticket)
    if as_json:
        print_json({**_fields(found), "request": question.decode() or None})
        return
    for name, value in _fields(found).items():
        typer.echo(f"{name}: {value}")
    typer.echo("")
    typer.echo(msgspec.json.format(question, indent=2).decode() if question else "the request is no longer kept")


@app.command("answer")
@command
def answer(
    ticket: Ticket,
    *,
    text: Annotated[str | None, typer.Option(help="The answer.")] = None,
    file: Annotated[Path | None, typer.Option(help="The file that holds the answer, in UTF-8.")] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Answer a call: whoever polls its ticket gets this as the model's answer would have come."""
    if (text is None) is (file is None):
        fail("an answer is given with --text or with --file")
    said = text if text is not None else _read(file)
    with opened(loaded(config)) as offline:
        _decide(offline, ticket, Verdict.ANSWERED, said, as_json=as_json)


@app.command("decline")
@command
def decline(
    ticket: Ticket,
    *,
    reason: Annotated[str, typer.Option(help="Why; whoever asked is told.")],
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Decline to answer a call: whoever polls its ticket is told so, and why."""
    with opened(loaded(config)) as offline:
        _decide(offline, ticket, Verdict.DECLINED, reason, as_json=as_json)


def _decide(offline: Offline, ticket: str, verdict: Verdict, text: str, *, as_json: bool) -> None:
    """Decide, put it on record, and only then let it be told."""
    take_up(offline.review_files, offline.review_store)
    decided, said = offline.reviews.decide(offline.actor, ticket, verdict, text)
    recorded = record_review(offline, decided, said)
    offline.reviews.record(offline.actor, decided)
    if as_json:
        print_json({**_fields(decided), "state": verdict, "recorded_in": recorded})
        return
    typer.echo(f"request {decided.review.request_id} {verdict}; recorded in the journal {recorded} of this machine")


def _fields(one: Queued) -> dict[str, object]:
    review = one.review
    fields = {name: getattr(review, name) for name in review.__struct_fields__}
    return {
        "ticket": fields.pop("id"),
        "state": one.state,
        **fields,
        "decided_by": one.decided_by,
        "decided_ns": one.decided_ns,
    }


def _read(file: Path | None) -> str:
    assert file is not None
    try:
        data = file.read_bytes()[: REVIEW_ANSWER_CHARS_MAX * _BYTES_OF_A_CHARACTER + 1]
        return data.decode()
    except OSError as error:
        raise OperatorError(Code.CONFIG_INVALID, f"{file} cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise OperatorError(Code.CONFIG_INVALID, f"{file} is not UTF-8, or too long.") from error
