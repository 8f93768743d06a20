"""Convert the price lists of the genai-prices package into the table shipped with Ostiary.

    .venv/bin/python dev/prices.py

Writes src/ostiary/gateway/provider/prices.json: nano-USD per million tokens, per provider and model, with the day
from which each holds and tiers by input size; per image, minute, character, search and request where that is how it
is sold, from LiteLLM's list where genai-prices has no row (see dev/published.py). Discounts by time of day are left out,
so that the shipped figure is never below the list price. What a batch, or another class of service, costs stands in
rows of its own (`variant`): calls are priced by the standard rows; the operator can override any row in the
configuration file.
"""

import datetime as dt
import json
import re
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path

import published
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
    "input_image": "input_image_mtok",
    "output_image": "output_image_mtok",
    "character": "input_mchars",
    "request": "requests_kcount",
    "audio_minute": "audio_hours",
}
PER = {"request": 1_000, "audio_minute": 60}
"""How many of our units one of theirs has: prices are per thousand requests and per hour there."""
INPUTS = ("input_audio", "input_image")
OUTPUTS = ("output_image", "output_audio", "reasoning")
VARIANTS = {
    ("processing", "batch"): "batch",
    ("service_tier", "flex"): "flex",
    ("service_tier", "priority"): "priority",
    ("speed", "fast"): "fast",
}
MEDIA = {
    "output_cost_per_image": ("image", "image_generation", 1),
    "input_cost_per_second": ("audio_minute", "audio_transcription", 60),
    "input_cost_per_character": ("character", "audio_speech", 1_000_000),
    "input_cost_per_query": ("search_unit", "rerank", 1),
}
"""LiteLLM's prices of media: our kind, the mode of its models, how many of its units one of ours has."""
NANO = 1_000_000_000
NO_SPEECH = "^(?!.*-[tT][tT][sS](?:$|-))"
VERSIONS = ("-0", "-1", "-exp", "-preview-0", "-preview-1", "-latest")
"""How the names of a model's own versions go on, where other models' names begin with its own."""

DATE_PATTERN = re.compile(r"\(?(?:-|\[-@\])\\d\{(?:8\}|4\}-\\d\{2\}-\\d\{2\})(?:\)\?)?$")


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
        case types.ClauseEndsWith(ends_with=text):
            return [("equals", text.rpartition("/")[2])]  # what goes before it is the path of a cloud's own
        case types.ClauseRegex(regex=text):
            return spelt_out(text)
        case types.ClauseAnd(and_=[types.ClauseStartsWith(starts_with=text), types.ClauseRegex(regex=kept_out)]) if (
            kept_out == NO_SPEECH
        ):
            return [("equals", text), *(("prefix", text + more) for more in VERSIONS)]
        case types.ClauseOr(or_=clauses):
            return [pair for one in clauses for pair in matches(one)]
    raise SystemExit(f"how {clause} names models is not known to this converter")


def spelt_out(regex: str) -> list[tuple[str, str]]:
    """What a pattern of one model's names comes to. The date of a release at the end is no matter: a name is looked up
    without it, too."""
    body = regex.removeprefix("^").removesuffix("$")
    optional = re.fullmatch(r"\((?P<before>[^()|]+)\)\?(?P<rest>.+)", body)
    bodies = [optional["before"] + optional["rest"], optional["rest"]] if optional else [body]
    found = []
    for one in bodies:
        name = DATE_PATTERN.sub("", one)
        open_end = name.endswith(r"-\d") and not regex.endswith("$")
        name = re.sub(r"\\(\W)", r"\1", name.removesuffix(r"\d") if open_end else name)
        if re.search(r"[\\^$*+?(){}|]", name):
            raise SystemExit(f"the pattern {regex} is not known to this converter")
        found += [("prefix", name + digit) for digit in "01"] if open_end else [("equals", name)]
    return found


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
        found[kind] = nano(value / PER.get(kind, 1))
    return found


def whole(found: dict[str, int]) -> dict[str, int]:
    """Rates in which every token has one: where text has none of its own, the dearest of its side."""
    if not found or set(found) <= {"request"}:
        return {}  # priced by what we do not meter: unknown here rather than free
    dearest_in = max((found[kind] for kind in INPUTS if kind in found), default=0)
    dearest_out = max((found[kind] for kind in OUTPUTS if kind in found), default=0)
    return {"input": dearest_in, "output": dearest_out, **found}


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


def priced(model):
    """(day, variant, price) of a model: the standard prices first."""
    for day, price in periods(model.prices):
        yield day, "", price
    for variant in model.price_variants or ():
        names = [VARIANTS.get(pair, "") for pair in (variant.when or {}).items()]
        constraint = variant.constraint
        if len(names) == 1 and names[0] and (constraint is None or isinstance(constraint, types.StartDateConstraint)):
            yield ("1970-01-01" if constraint is None else constraint.start_date.isoformat()), names[0], variant.prices


def add_media(table) -> None:
    """The models sold by the image, minute, character or search that genai-prices has no row for."""
    for provider, name, entry in published.litellm():
        rows = table.setdefault(provider, [])
        if any(row["id"] == name or ["equals", name] in map(list, row["match"]) for row in rows):
            continue
        per_token = [
            entry.get(f"{side}_cost_per_{kind}") for side in ("input", "output") for kind in ("token", "image_token")
        ]
        if any(per_token) or (0 in per_token and entry.get("mode") != "rerank"):
            continue  # sold by the token, or for nothing
        for key, (kind, mode, units) in MEDIA.items():
            value = entry.get(key)
            if value and entry.get("mode") == mode:
                base = {"input": 0, "output": 0, kind: nano(Decimal(str(value)) * units)}
                rows.append({"id": name, "match": [("equals", name)], "valid_from": 0, "rates": base})
                break


def seconds(day: str) -> int:
    return int(dt.datetime.fromisoformat(day).replace(tzinfo=dt.UTC).timestamp())


def main() -> None:
    table = {}
    for provider in providers:
        rows = []
        for model in provider.models:
            for day, variant, price in priced(model):
                base = whole(rates(price))
                match = list(dict.fromkeys(matches(model.match)))
                if not base or not match:
                    continue
                tiers = [[start, {**base, **rates(price, start)}] for start in tier_starts(price)]
                row = {"id": model.id, "match": match, "valid_from": seconds(day), "rates": base}
                if tiers:
                    row["tiers"] = tiers
                if variant:
                    row["variant"] = variant
                rows.append(row)
        if rows:
            table[provider.id] = rows
    add_media(table)
    name = f"genai-prices-{version('genai-prices')}+litellm-{published.LITELLM}"
    document = {"version": name, "providers": table}
    lines = [f'{{"version": {json.dumps(document["version"])}, "providers": {{']
    for i, (name, rows) in enumerate(table.items()):
        lines.append(f"{json.dumps(name)}: [")
        lines += [json.dumps(row, separators=(",", ":")) + ("," if row is not rows[-1] else "") for row in rows]
        lines.append("]" + ("," if i < len(table) - 1 else ""))
    lines.append("}}")
    TARGET.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{sum(map(len, table.values()))} rows of {len(table)} providers, {TARGET.stat().st_size // 1024} KB")


main()
