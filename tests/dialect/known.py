"""Every dialect there is, for tests that hold for each of them. A dialect in both parts stands in both tables."""

from ostiary.gateway.dialect.anthropic import Anthropic
from ostiary.gateway.dialect.bedrock import Bedrock
from ostiary.gateway.dialect.cohere import Cohere
from ostiary.gateway.dialect.gemini import Gemini
from ostiary.gateway.dialect.openai import OpenAI
from ostiary.gateway.dialect.responses import Responses
from tests.dialect import write_bedrock, write_cohere

BOTH = {"openai": OpenAI(), "anthropic": Anthropic(), "openai-responses": Responses(), "gemini": Gemini()}
"""Spoken by clients and by providers."""

CLIENTS = {**BOTH}
PROVIDERS = {**BOTH, "bedrock": Bedrock(), "cohere": Cohere()}

PAIRS = [(provider, client) for provider in PROVIDERS for client in CLIENTS]
"""Every way through the gateway."""


WRITERS = {"bedrock": write_bedrock, "cohere": write_cohere}
"""What writes the answers of dialects without a client part."""


def write_reply(provider, reply):
    """A plain answer as this provider sends it."""
    if provider in WRITERS:
        return WRITERS[provider].write_reply(reply)
    return PROVIDERS[provider].encode_chat_reply(reply, created=7)


def write_stream(provider, events):
    """The same as a stream."""
    if provider in WRITERS:
        return WRITERS[provider].write_stream(events)
    encoder = PROVIDERS[provider].stream_encoder(include_usage=True, created=7)
    return b"".join(encoder.encode(event) for event in events)
