"""Write docs/providers.md from the catalogue of providers.

.venv/bin/python dev/providers.py
"""

from pathlib import Path

from ostiary.control.catalogue import CatalogueRow, catalogue, differences
from ostiary.snapshot.tables import Residency

TARGET = Path(__file__).resolve().parent.parent / "docs" / "providers.md"
HEAD = """\
# Providers

Written by `make docs` from `src/ostiary/gateway/provider/catalogue.toml`; do not edit. A provider of this list needs no
more in [the configuration file](configuration.md) than its name and what stands under *to fill in*; its key is read from
the variable unless the file says otherwise. A server that is not here and speaks a known dialect needs `base_url`,
`dialect` and `auth`. `ostiary providers show NAME` prints one row.

```yaml
providers:
  groq: {}
  azure-deployments: {resource: my-resource}
  eu-bedrock: {catalogue: bedrock, region: eu-central-1, auth: {scheme: aws-instance}}
models:
  fast: {targets: [{provider: groq, model: llama-3.3-70b-versatile}]}
  azure: {targets: [{provider: azure-deployments, model: my-deployment}]}
  claude: {targets: [{provider: eu-bedrock, model: eu.anthropic.claude-sonnet-4-5-20250929-v1:0}]}
```

`{model}` in an address stands for the model of each request. A passthrough, which may name none, goes below what stands
before it. An address of Amazon's or Azure's that the file gives itself is known by its host.
"""
KINDS = {
    Residency.HOSTED: ("Hosted", "Someone else runs these: data labelled `regulated` never goes there."),
    Residency.PRIVATE: ("Self-hosted", "Servers one runs oneself, at the address where each usually listens."),
}


def listed(row: CatalogueRow) -> tuple[str, ...]:
    """The cells of a row behind its name."""
    dialects = ", ".join((row.dialect, *row.also))
    auth = ", ".join(f"`{one}`" for one in (row.auth, *row.auth_also))
    return (
        f"`{row.base_url}{'?' + row.query if row.query else ''}`",
        dialects + (f" ({', '.join(row.operations)})" if row.operations else ""),
        auth + (f": `{row.env}`" if row.env else ""),
        ", ".join(row.wanted()) or "-",
        f"[documentation]({row.docs})",
    )


def handling(name: str, row: CatalogueRow) -> str:
    """What a provider publishes of its handling of data, as a row."""
    data = row.data
    assert data is not None
    kept = "not known" if data.retention_days is None else f"at most {data.retention_days} days"
    trained = "not known" if data.trained_on is None else "yes" if data.trained_on else "no"
    said = ", ".join(f"[{number}]({url})" for number, url in enumerate(data.sources, 1))
    return (
        f"| `{name}` | {kept} | {trained} | {', '.join(data.agreements) or 'not known'} | {said} | {data.reviewed} |\n"
    )


def page() -> str:
    """The whole document."""
    rows = catalogue()
    parts = [HEAD]
    for residency, (title, words) in KINDS.items():
        parts.append(f"\n## {title}\n\n{words}\n\n")
        parts.append("| provider | address | dialect | credential | to fill in | |\n|---|---|---|---|---|---|\n")
        for name, row in rows.items():
            if row.residency is residency:
                parts.append(f"| `{name}` | {' | '.join(listed(row))} |\n")
    parts.append(
        "\n## What they differ in\n\nOpenAI-compatible servers differ in small things, which are flags of a row and of "
        "`providers.<name>.profile`. A field a server refuses is refused here by name, so that another target may be "
        "tried, or left out where the caller allows it. `vertex_embeddings` says that models for vectors that are not "
        "Gemini's are asked by Vertex AI's `:predict`.\n\n| provider | flags |\n|---|---|\n"
    )
    for name, row in rows.items():
        if found := differences(row.profile):
            parts.append(f"| `{name}` | {', '.join(f'`{one}`' for one in found)} |\n")
    few = [f"`{name}` {row.embedding_inputs_max}" for name, row in rows.items() if row.embedding_inputs_max]
    parts.append(
        "\n## Texts at once\n\nFor vectors these take fewer texts in one request than OpenAI does: "
        f"{', '.join(few)}. In Cohere's dialect 96 are taken, in Google's 100, by Titan on Bedrock one. A call with more "
        "is put to them in several requests; `providers.<name>.embedding_inputs_max` says otherwise.\n"
    )
    parts.append(
        "\n## What becomes of data\n\nWhat these publish of how they handle what an API call sends, unless something else "
        "was agreed. Of the others it is not known here. Read the sources: they may have changed since.\n\n"
        "| provider | kept | trained on | agreements | sources | read |\n|---|---|---|---|---|---|\n"
    )
    parts += [handling(name, row) for name, row in rows.items() if row.data is not None]
    return "".join(parts)


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
