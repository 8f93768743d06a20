"""Write docs/models.md from the shipped tables of models and prices.

.venv/bin/python dev/models.py
"""

from collections.abc import Iterable
from pathlib import Path

from ostiary.control.catalogue import catalogue, price_rows, price_version
from ostiary.control.models import RETIREMENT_NEAR_DAYS, KnownModel, model_sources, models
from ostiary.core.capability import Capability
from ostiary.gateway.route.fitness import CODES

TARGET = Path(__file__).resolve().parent.parent / "docs" / "models.md"
HEAD = """\
# Models

Written by `make docs` from `src/ostiary/gateway/provider/models.json` and `prices.json`; do not edit. What is published of
{models} models behind the providers of [the catalogue](providers.md) is shipped with Ostiary; nothing is fetched.

    ostiary models list --provider gemini --can thinking --not-retired
    ostiary models explain openai/gpt-4o
    ostiary models compare openai/gpt-4o anthropic/claude-sonnet-4-5
    ostiary models whatif anthropic/claude-sonnet-4-5 --by team

A name is `provider/model`, the provider by its row in the catalogue, its price list, or, for `whatif`, the configuration
file. Of each capability the answer is yes, no, or not known. It is known where the sources that speak of it agree; where
they contradict one another it is not known. Of two limits the higher one is taken. A release's date at the end of a name
may be one that is not listed: what is known of `name` holds for `name-2025-01-31` too. Sources: {sources}; what the
providers say themselves goes before them.

## What is checked before a call

A target whose model certainly cannot do what a call needs is left out of the plan, and another one is used: of the same
model first, then a fallback, whatever failures that stands for (`x-ostiary-fallback` tells the reason). Where none can,
the caller gets status 400 in its own dialect with the reason below, and nothing is sent or charged. What is not known
refuses nothing, and an entry whose targets are unknown costs nothing.

| a call needs it when | reason |
|---|---|
{reasons}
Tokens are counted from below, one for every eight characters of the request without its media: what is refused certainly
does not fit, and what is near the window is the provider's to judge (`upstream.context_window`, after which a fallback
may stand ready). The operator's word goes before the shipped one, for a target or for all targets of an entry:

```yaml
providers:
  onsite: {{dialect: openai, base_url: "http://127.0.0.1:9000/v1", auth: {{scheme: none}}}}
models:
  chat:
    context_window: 128000
    targets:
      - {{provider: onsite, model: tiny, capabilities: {{images: false, tools: true}}, max_output_tokens: 4096}}
```

## Prices

Lists are those of {version}: per million tokens of each kind, by tiers of input size and from the day they hold; per
image, request, minute of sound, million characters and search where a model is sold so. Calls are priced by the standard
rows. What a batch or another class of service costs is shown by `explain`, and used by `whatif --class`. What a call
consumed but the list has no rate for is charged at the operator's ceiling and marked as estimated, never at nothing; where
`pricing.unknown` is `refuse`, such a call does not go out. The output of an answer of images is priced as images unless the provider tells its text apart.

Not in the lists, and so not charged: searches a chat model makes on the provider's side, storage, pages of documents, and
discounts by the time of day.

## What would it have cost?

`whatif` prices each recorded call by its own tokens as another model's list would have on its day, in whole nano-units,
rounded up once a call as calls are. Prices of the file (`pricing.prices`) and of `--prices FILE`, a YAML list of the same
form, go before the shipped ones. What cannot be priced is counted on neither side and told with its reason: no price on
that day, no rate for what was consumed, another kind of model, another currency. Also told is how many calls were
estimated, longer than the model's context window, or kept by a version that did not keep every kind of usage, and how
many tokens came from a cache. That another model counts tokens, caches and answers otherwise no list can say. A call that
took several attempts is priced as one.

## Retirement

`ostiary check` warns of configured models whose published day of retirement is past or at most {days} days away.

## What is known of whom

| price list | providers | models | limits | capabilities | retirement | prices |
|---|---|---|---|---|---|---|
"""
WORDS = {
    Capability.IMAGES: "it holds an image",
    Capability.FILES: "it holds a PDF",
    Capability.AUDIO: "it holds sound",
    Capability.VIDEO: "it holds video",
    Capability.IMAGE_OUTPUT: "it asks for images in the answer",
    Capability.AUDIO_OUTPUT: "it asks for sound in the answer",
    Capability.TOOLS: "it offers tools that the caller runs",
    Capability.STRUCTURED_OUTPUT: "it asks for an answer by a JSON schema",
    Capability.THINKING: "it asks for thinking",
    Capability.LOGPROBS: "it asks for log probabilities",
}
LIMITS = (
    ("it holds more tokens than the context window", "capability.context_window"),
    ("it asks for more output tokens than the model has", "capability.max_tokens"),
)


def counted(rows: Iterable[KnownModel]) -> tuple[int, ...]:
    """How many rows there are, and of how many limits, capabilities and a day of retirement are known."""
    all_rows = tuple(rows)
    return (
        len(all_rows),
        sum(row.context_window is not None for row in all_rows),
        sum(bool(row.can or row.cannot) for row in all_rows),
        sum(bool(row.retires) for row in all_rows),
    )


def page() -> str:
    """The whole document."""
    reasons = "".join(f"| {WORDS[one]} | `{code}` |\n" for one, code in CODES.items())
    reasons += "".join(f"| {words} | `{code}` |\n" for words, code in LIMITS)
    parts = [
        HEAD.format(
            models=sum(map(len, models().values())),
            sources=", ".join(f"{name} {version}" for name, version in model_sources().items()),
            version=price_version().replace("+", " and "),
            reasons=reasons,
            days=RETIREMENT_NEAR_DAYS,
        )
    ]
    for name, rows in models().items():
        providers = ", ".join(f"`{one}`" for one, row in catalogue().items() if row.prices == name)
        figures = " | ".join(map(str, counted(rows)))
        parts.append(f"| `{name}` | {providers} | {figures} | {len({row.model for row in price_rows(name)})} |\n")
    return "".join(parts)


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
