"""Upstreams and how the gateway authenticates to them."""

from typing import Annotated, Literal

from msgspec import Meta

from ostiary.core.limit import CREDENTIALS_KEYS_MAX, EMBEDDING_INPUTS_MAX
from ostiary.settings.overload import CapacitySettings
from ostiary.settings.section import Name, OmittedField, Placed, Section, Url


class KeySecretSettings(Section, frozen=True, kw_only=True):
    """One of several secrets of a provider."""

    secret: str
    name: Name | None = None
    weight: Annotated[int, Meta(ge=1, le=1_000)] = 1


class AuthSettings(Section, frozen=True, kw_only=True):
    """How the gateway authenticates to a provider: the scheme, its secret, and what else the scheme needs."""

    scheme: Literal[
        "bearer",
        "x-api-key",
        "header",
        "none",
        "aws-sigv4",
        "aws-profile",
        "aws-web-identity",
        "aws-container",
        "aws-instance",
        "google-service-account",
        "google-workload-identity",
        "google-metadata",
        "azure-entra",
        "azure-workload-identity",
        "azure-managed-identity",
    ] = "bearer"
    secret: str | None = None
    secrets: Annotated[list[str | KeySecretSettings], Meta(max_length=CREDENTIALS_KEYS_MAX)] = []
    header: Annotated[str, Meta(pattern=r"^([A-Za-z0-9-]{1,64})?$")] = ""
    region: Annotated[str, Meta(pattern=r"^([a-z0-9-]{1,32})?$")] = ""
    service: Annotated[str, Meta(pattern=r"^([a-z0-9-]{1,64})?$")] = ""
    key_id: str = ""
    session_token: str | None = None
    profile: str = ""
    file: str = ""
    role_arn: Annotated[str, Meta(pattern=r"^(arn:[\x21-\x7e]{1,2000})?$")] = ""
    token_file: str = ""
    endpoint: str = ""
    scopes: list[str] = []
    tenant: Annotated[str, Meta(pattern=r"^[A-Za-z0-9.-]{0,128}$")] = ""
    client_id: str = ""


class UpstreamTlsSettings(Section, frozen=True, kw_only=True):
    """TLS towards a provider."""

    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""
    minimum_version: Literal["1.2", "1.3"] = "1.3"


class ProfileSettings(Section, frozen=True, kw_only=True):
    """How a server differs from the one its dialect is named after; what is left out comes from the catalogue."""

    max_tokens_field: Literal["max_completion_tokens", "max_tokens"] | None = None
    stream_usage: bool | None = None
    developer_role: bool | None = None
    tool_choice_required: Literal["required", "any"] | None = None
    seed_field: Literal["seed", "random_seed"] | None = None
    omit: list[OmittedField] | None = None
    reasoning_field: Literal["reasoning_content", "reasoning"] | None = None
    json_schema: bool | None = None
    vertex_embeddings: bool | None = None


class ProviderSettings(Section, frozen=True, kw_only=True):
    """One upstream. What is left out comes from the catalogue's row of the same name, or of `catalogue`."""

    catalogue: str = ""
    dialect: Literal["openai", "anthropic", "openai-responses", "gemini", "bedrock", "cohere"] | None = None
    also: list[Literal["openai", "anthropic", "openai-responses", "openai-completions"]] = []
    base_url: Url | None = None
    auth: AuthSettings | None = None
    residency: Literal["hosted", "private"] | None = None
    tls: UpstreamTlsSettings = UpstreamTlsSettings()
    proxy: Annotated[str, Meta(pattern=r"^http://")] | None = None
    headers: dict[str, str] = {}
    prices: str = ""
    count_tokens: bool | None = None
    operations: list[Literal["chat", "embeddings"]] = []
    profile: ProfileSettings = ProfileSettings()
    query: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._~{}&=%+-]*$", max_length=1_024)] = ""
    region: Placed = ""
    resource: Placed = ""
    project: Placed = ""
    account: Placed = ""
    api_version: Placed = ""
    capacity: CapacitySettings | None = None
    embedding_inputs_max: Annotated[int, Meta(ge=1, le=EMBEDDING_INPUTS_MAX)] | None = None
