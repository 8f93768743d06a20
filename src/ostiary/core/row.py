"""A row of a table as a database driver gives it."""

from decimal import Decimal

Value = str | int | float | bytes | Decimal | None
Row = tuple[Value, ...]
