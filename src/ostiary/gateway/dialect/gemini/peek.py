"""What admission needs of a request, read off the parsed tree without building anything.

Only what is read here is checked here; on the way to a provider of the same dialect the rest is the provider's to
judge. Bounds of core/limit.py hold on every way. The model stands in the path.
"""

from typing import Final

from ostiary.core.limit import (
    CHOICES_MAX,
    EMBEDDING_INPUTS_MAX,
    MAX_TOKENS_MAX,
    MESSAGES_MAX,
    PARTS_MAX,
    STOP_SEQUENCES_MAX,
    TOOL_SCHEMA_BYTES_MAX,
    TOOLS_MAX,
)
from ostiary.gateway.dialect import Addressed, ChatPeek, EmbeddingsPeek
from ostiary.gateway.dialect.gemini.members import Members, member
from ostiary.gateway.wire.field import beyond, invalid, model_name
from ostiary.gateway.wire.json import Document, encode, raw_members

_INNER: Final = ("generateContentRequest", "generate_content_request")


def peek_chat(document: Document, addressed: Addressed) -> ChatPeek:
    """See gateway/dialect."""
    asked, path = generate_request(document)
    tree = asked.tree
    contents = member(tree, "contents", "contents")
    where = _at(path, "contents")
    if type(contents) is not list or not contents:
        invalid(where, "must be an array that is not empty")
    if len(contents) > MESSAGES_MAX:
        beyond(where, MESSAGES_MAX, "items")
    media = inline = 0
    for index, content in enumerate(contents):
        if type(content) is not dict:
            invalid(f"{where}[{index}]", "must be an object")
        more, size = _media(content.get("parts"), f"{where}[{index}].parts")
        media += more
        inline += size
    config = config_of(tree, path)
    stop = config.tree.get("stopSequences")
    if type(stop) is list and len(stop) > STOP_SEQUENCES_MAX:
        beyond(config.at("stopSequences"), STOP_SEQUENCES_MAX, "items")
    return ChatPeek(
        model_name({"model": addressed.model}),
        addressed.stream,
        # This form always reports usage in a stream.
        True,
        config.integer("maxOutputTokens", 1, MAX_TOKENS_MAX),
        config.integer("candidateCount", 1, CHOICES_MAX) or 1,
        len(contents),
        tool_count(asked, path),
        _tool_depth(contents),
        len(document.raw) - inline,
        None,
        media,
    )


def generate_request(document: Document) -> tuple[Document, str]:
    """The request for content and its path: a request to count tokens may hold one as a member."""
    for name in _INNER:
        value = document.tree.get(name)
        if value is not None:
            if type(value) is not dict:
                invalid(name, "must be an object")
            return Document(bytes(raw_members(document)[name]), value), name
    return document, ""


def config_of(tree: dict[str, object], path: str) -> Members:
    """The generation config, empty where there is none."""
    for name in ("generationConfig", "generation_config"):
        if tree.get(name) is not None:
            return Members(tree[name], _at(path, name))
    return Members({}, _at(path, "generationConfig"))


def tool_count(document: Document, path: str) -> int:
    """The number of tools, each declared function being one, after checking it and the size of each as sent."""
    tools = document.tree.get("tools")
    where = _at(path, "tools")
    if tools is None:
        return 0
    if type(tools) is not list:
        invalid(where, "must be an array")
    count = 0
    for index, tool in enumerate(tools):
        if type(tool) is not dict:
            invalid(f"{where}[{index}]", "must be an object")
        functions = member(tool, "functionDeclarations", "function_declarations")
        if functions is None:
            count += 1
            continue
        if type(functions) is not list:
            invalid(f"{where}[{index}].functionDeclarations", "must be an array")
        count += len(functions)
        if len(document.raw) > TOOL_SCHEMA_BYTES_MAX:
            for number, function in enumerate(functions):
                if len(encode(function)) > TOOL_SCHEMA_BYTES_MAX:
                    beyond(f"{where}[{index}].functionDeclarations[{number}]", TOOL_SCHEMA_BYTES_MAX, "bytes")
    if count > TOOLS_MAX:
        beyond(where, TOOLS_MAX, "items")
    return count


def _at(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _media(parts: object, path: str) -> tuple[int, int]:
    """How many media parts, functions' responses' own included, and the bytes of inline data in them."""
    if type(parts) is not list:
        return 0, 0
    if len(parts) > PARTS_MAX:
        beyond(path, PARTS_MAX, "items")
    media = inline = 0
    for part in parts:
        if type(part) is not dict:
            continue
        response = member(part, "functionResponse", "function_response")
        if type(response) is dict:
            more, size = _media(response.get("parts"), path)
            media += more
            inline += size
            continue
        blob = member(part, "inlineData", "inline_data")
        if type(blob) is dict:
            media += 1
            data = blob.get("data")
            inline += len(data) if type(data) is str else 0
        elif member(part, "fileData", "file_data") is not None:
            media += 1
    return media, inline


def _tool_depth(contents: list[object]) -> int:
    """Consecutive rounds, at the end, of the model's function calls answered by responses."""
    depth = 0
    answered = False
    for content in reversed(contents):
        if type(content) is not dict:
            break
        if content.get("role") != "model" and _holds(content, "functionResponse", "function_response"):
            answered = True
        elif answered and content.get("role") == "model" and _holds(content, "functionCall", "function_call"):
            depth += 1
            answered = False
        else:
            break
    return depth


def _holds(content: dict[str, object], name: str, snake: str) -> bool:
    parts = content.get("parts")
    return type(parts) is list and any(type(part) is dict and member(part, name, snake) is not None for part in parts)


def peek_embeddings(document: Document, addressed: Addressed) -> EmbeddingsPeek:
    """See gateway/dialect."""
    inputs = 1
    if addressed.batch:
        requests = document.tree.get("requests")
        if type(requests) is not list or not requests:
            invalid("requests", "must be an array that is not empty")
        if len(requests) > EMBEDDING_INPUTS_MAX:
            beyond("requests", EMBEDDING_INPUTS_MAX, "items")
        inputs = len(requests)
    return EmbeddingsPeek(model_name({"model": addressed.model}), inputs, len(document.raw), None)
