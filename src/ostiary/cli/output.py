"""How commands print: a table for people, JSON or CSV for programs."""

import csv
import datetime as dt
import io
import re
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ostiary.core.error import CallerError, Code
from ostiary.core.usage import NANO_PER_UNIT

_DURATION: Final = re.compile(r"(\d{1,9})([smhd])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def print_json(value: object) -> None:
    """One JSON document."""
    typer.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, optional: frozenset[str] = frozenset()
) -> None:
    """A table; numbers to the right. Texts are printed as they are, never as markup, each row on one line however
    narrow the terminal is: it wraps less confusingly than columns do. An `optional` column that holds nothing but
    zeros is left out."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    cells = [[_cell(value) for value in row] for row in rows]
    shown = [
        index
        for index, column in enumerate(columns)
        if column not in optional or any(row[index] not in ("0", "-") for row in cells)
    ]
    for index in shown:
        numeric = bool(cells) and all(_is_number(row[index]) for row in cells)
        table.add_column(columns[index], justify="right" if numeric else "left", no_wrap=True)
    for row in cells:
        table.add_row(*(Text(row[index]) for index in shown))
    console = Console()
    console.width = max(console.width, console.measure(table, options=console.options.update(width=10_000)).maximum)
    console.print(table)


def print_csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """CSV with a head. A text that a spreadsheet would take for a formula is led by an apostrophe."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([neutral(value) if isinstance(value, str) else value for value in row])
    typer.echo(out.getvalue(), nl=False)


def neutral(text: str) -> str:
    """A cell that no spreadsheet computes."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def when(at_ns: int) -> str:
    """A wall-clock time in UTC, "-" for none."""
    if not at_ns:
        return "-"
    return dt.datetime.fromtimestamp(at_ns // NANO_PER_UNIT, dt.UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def money(nano: int) -> str:
    """Nano-units as a decimal with two to nine places, exactly."""
    units, rest = divmod(nano, NANO_PER_UNIT)
    places = f"{rest:09d}".rstrip("0").ljust(2, "0")
    return f"{units}.{places}"


def duration(text: str) -> int:
    """Seconds in `90d`, `12h`, `30m` or `45s`. Raises CallerError object.invalid."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise CallerError(Code.OBJECT_INVALID, f"{text!r} is no duration; write 45s, 30m, 12h or 90d.")
    return int(match[1]) * _SECONDS[match[2]]


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.1f}"
    return str(value)


def _is_number(text: str) -> bool:
    return text == "-" or text.replace(".", "", 1).isdigit()
