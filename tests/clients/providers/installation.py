"""A gateway before providers of every dialect, with keys that may do less than others."""

from ostiary.simulator import bedrock, gemini
from ostiary.simulator.behaviour import of_header
from ostiary.simulator.server import SimulatedProvider
from tests.clients import house

SPENT_KEY = "a-key-whose-budget-holds-one-token"
LIMITED_KEY = "a-key-that-may-ask-for-one-token-a-minute"
DIALECTS = {
    "openai": "sim-gpt",
    "anthropic": "sim-claude",
    "openai-responses": "sim-gpt",
    "gemini": "sim-gemini",
    "bedrock": "sim-claude",
    "cohere": "sim-command",
}
"""The dialects of the providers, each of which is also the name of a model here: → the model at the provider.

`openai/…` and the like offer all models of that provider. Name those that fail apart from test to test: a target that has
failed rests for a while.
"""

KNOWN = dict(
    zip(
        DIALECTS,
        (
            ("gpt-4o", "claude-sonnet-4-5"),
            ("gpt-4o-mini", "claude-haiku-4-5"),
            ("gpt-4.1", "claude-opus-4-1"),
            ("gpt-4.1-mini", "claude-opus-4-5"),
            ("gpt-4.1-nano", "claude-3-haiku-20240307"),
            ("gpt-4-turbo", "claude-sonnet-4-20250514"),
        ),
        strict=True,
    )
)
"""For clients that take no name which they do not know: a name of OpenAI's and one of Anthropic's for each dialect."""

_PROVIDERS = {
    "openai": ("/v1", "scheme: bearer"),
    "anthropic": ("", "scheme: x-api-key"),
    "openai-responses": ("/v1", "scheme: bearer"),
    "gemini": ("/v1beta", "scheme: header, header: x-goog-api-key"),
    "bedrock": ("", "scheme: bearer"),
    "cohere": ("", "scheme: bearer"),
}
"""Of each dialect: where its API begins, and how it takes the key."""

PROVIDER = """\
  {name}: {{dialect: {name}, base_url: "{url}", auth: {{{auth}, secret: "${{file:provider.key}}"}}}}"""
CONFIGURATION = """\
data_dir: ./data
server: {{port: 0, drain_seconds: 2}}
admin:  {{port: 0}}
log:    {{level: warning}}
providers:
{providers}
models:
{models}
tenants:
  - name: acme
    teams:
      - name: search
        models: ["*"]
        passthrough: [cohere]
        keys:
          - {{name: clients, secret: {key}}}
          - {{name: narrow, secret: {narrow}, models: [openai]}}
          - {{name: spent, secret: {spent}, budget: {{tokens: 1}}}}
          - {{name: limited, secret: {limited}, limits: {{tokens_per_minute: 1}}}}
"""


def configuration(upstream):
    """The file of a gateway before the simulated provider at `upstream`."""
    lines = [
        line
        for name, model in DIALECTS.items()
        for line in (
            f"  {name}: {{targets: [{{provider: {name}, model: {model}}}]}}",
            *(f"  {known}: {{targets: [{{provider: {name}, model: {model}}}]}}" for known in KNOWN[name]),
            f'  "{name}/*": {{targets: [{{provider: {name}, model: "*"}}], retries: {{attempts: 1}}}}',
        )
    ]
    return CONFIGURATION.format(
        providers="\n".join(
            PROVIDER.format(name=name, url=upstream + path, auth=auth) for name, (path, auth) in _PROVIDERS.items()
        ),
        models="\n".join(lines),
        key=house.KEY,
        narrow=house.NARROW_KEY,
        spent=SPENT_KEY,
        limited=LIMITED_KEY,
    )


def _asked(request):
    """What a model named like `fault=cut; after=3` asks of the simulator, wherever the vendor names models."""
    named = gemini.model_of(request.path) if gemini.addressed(request) else bedrock.model_of(request.path)
    name = named or house._named(request)
    return of_header(name) if "=" in name else None


class Upstream(house.Upstream):
    """The simulated provider, told by models' names in paths as well."""

    def __init__(self):
        super().__init__()
        self.provider = SimulatedProvider(script=_asked)
