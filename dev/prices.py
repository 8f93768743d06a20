"""Convert the price lists of the genai-prices package into the table shipped with Ostiary.

    .venv/bin/python dev/prices.py

Writes src/ostiary/gateway/provider/prices.json: nano-USD per million tokens, per provider and model, with the day
from which each holds and tiers by input size. Left out, so that the shipped figure is never below the list price:
discounts by time of day, batch and flex variants. Dearer variants (priority tiers) are left out too and priced at
the standard rate; the operator can override any row in the configuration file.
"""

import datetime as dt
import json
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path

from genai_prices import types
from genai_prices.data import providers

TARGET = Path(__file__).resolve().parent.parent / "src/ostiary/gateway/provider/prices.json"
KINDS = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cached": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "cache_write_1h": "cache_write_1h_mtok",
    "reasoning": "output_reasoning_mtok",
    "input_audio": "input_audio_mtok",
    "output_audio": "output_audio_mtok",
}
NANO = 1_000_000_000


def nano(value: Decimal) -> int:
    scaled = value * NANO
    whole = int(scaled.to_integral_value(rounding="ROUND_CEILING"))
    return whole


def matches(clause) -> list[tuple[str, str]]:
    match clause:
        case types.ClauseEquals(equals=text):
            return [("equals", text)]
        case types.ClauseStartsWith(starts_with=text):
            return [("prefix", text)]
        case types.ClauseContains(contains=text):
            return [("contains", text)]
        case types.ClauseOr(or_=clauses):
            return [pair for one in clauses for pair in matches(one)]
        case _:
            return []


def rates(price, above: int | None = None) -> dict[str, int]:
    found = {}
    for kind, key in KINDS.items():
        value = getattr(price, key, None)
        if value is None:
            continue
        if isinstance(value, types.TieredPrices):
            rate = value.base
            for tier in value.tiers:
                if above is not None and tier.start <= above:
                    rate = tier.price
            value = rate
        found[kind] = nano(value)
    return found


def tier_starts(price) -> list[int]:
    starts = set()
    for key in KINDS.values():
        value = getattr(price, key, None)
        if isinstance(value, types.TieredPrices):
            starts |= {tier.start for tier in value.tiers}
    return sorted(starts)


def periods(prices) -> list[tuple[str, object]]:
    if not isinstance(prices, list):
        return [("1970-01-01", prices)]
    found = []
    for one in prices:
        if one.constraint is None:
            found.append(("1970-01-01", one.prices))
        elif isinstance(one.constraint, types.StartDateConstraint):
            found.append((one.constraint.start_date.isoformat(), one.prices))
    return found


def seconds(day: str) -> int:
    return int(dt.datetime.fromisoformat(day).replace(tzinfo=dt.UTC).timestamp())


def main() -> None:
    table = {}
    for provider in providers:
        rows = []
        for model in provider.models:
            for day, price in periods(model.prices):
                base = rates(price)
                if "input" not in base and "output" not in base:
                    continue  # priced by the hour, page or request only: unknown here rather than free
                base.setdefault("input", 0)
                base.setdefault("output", 0)
                tiers = [[start, {**base, **rates(price, start)}] for start in tier_starts(price)]
                row = {"id": model.id, "match": matches(model.match), "valid_from": seconds(day), "rates": base}
                if tiers:
                    row["tiers"] = tiers
                if row["match"]:
                    rows.append(row)
        if rows:
            table[provider.id] = rows
    document = {"version": f"genai-prices-{version('genai-prices')}", "providers": table}
    lines = [f'{{"version": {json.dumps(document["version"])}, "providers": {{']
    for i, (name, rows) in enumerate(table.items()):
        lines.append(f"{json.dumps(name)}: [")
        lines += [json.dumps(row, separators=(",", ":")) + ("," if row is not rows[-1] else "") for row in rows]
        lines.append("]" + ("," if i < len(table) - 1 else ""))
    lines.append("}}")
    TARGET.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{sum(map(len, table.values()))} rows of {len(table)} providers, {TARGET.stat().st_size // 1024} KB")


main()
