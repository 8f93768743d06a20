"""An operator's YAML file as plain values, with the line of each, so that every mistake can be told with its place.

Duplicate keys, aliases and tags that stand for objects are refused; so is a file of more than NODES_MAX values.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import yaml

from ostiary.core.error import Code, OperatorError

NODES_MAX: Final = 200_000

Lines = Mapping[tuple[str | int, ...], int]
"""The line of each value by its path."""


def compose(file: Path, data: bytes) -> tuple[object, dict[tuple[str | int, ...], int]]:
    """The value in `data` and the lines. Raises OperatorError config.invalid."""
    try:
        node = yaml.compose(data.decode("utf-8"), Loader=yaml.SafeLoader)
    except UnicodeDecodeError as error:
        raise OperatorError(Code.CONFIG_INVALID, f"{file}: not UTF-8 at byte {error.start}") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = "" if mark is None else f"{mark.line + 1}:"
        raise OperatorError(Code.CONFIG_INVALID, f"{file}:{where} not valid YAML: {error.problem or error}") from error
    except yaml.YAMLError as error:
        raise OperatorError(Code.CONFIG_INVALID, f"{file}: not valid YAML: {error}") from error
    except RecursionError as error:
        raise OperatorError(Code.CONFIG_INVALID, f"{file}: nested too deep") from error
    composer = _Composer(file)
    return ({} if node is None else composer.value(node, ())), composer.lines


def misplaced(file: Path | None, lines: Lines, path: tuple[str | int, ...], reason: str) -> OperatorError:
    """The error for a mistake at `path`: file, line, path and reason."""
    line = None
    for length in range(len(path), -1, -1):
        line = lines.get(path[:length])
        if line is not None:
            break
    dotted = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")
    where = f"{file}:{line}: " if file is not None and line is not None else (f"{file}: " if file is not None else "")
    return OperatorError(Code.CONFIG_INVALID, f"{where}{dotted + ': ' if dotted else ''}{reason}")


class _Composer:
    """Turns YAML nodes into plain values and remembers lines; refuses duplicate keys, aliases and odd tags."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.lines: dict[tuple[str | int, ...], int] = {}
        self.nodes = 0
        self.seen: set[int] = set()

    def value(self, node: yaml.Node, path: tuple[str | int, ...]) -> object:
        self.nodes += 1
        line = node.start_mark.line + 1
        self.lines.setdefault(path, line)
        if self.nodes > NODES_MAX:
            raise misplaced(self.file, self.lines, path, f"more than {NODES_MAX} values")
        if id(node) in self.seen:
            raise misplaced(self.file, self.lines, path, "YAML aliases are not used here; write the value out")
        self.seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            found: dict[str, object] = {}
            for key_node, value_node in node.value:
                if not isinstance(key_node, yaml.ScalarNode):
                    raise misplaced(self.file, {path: key_node.start_mark.line + 1}, path, "a key must be a plain name")
                key = key_node.value
                here = (*path, key)
                if key in found:
                    raise misplaced(self.file, {here: key_node.start_mark.line + 1}, here, f"`{key}` is there twice")
                self.lines[here] = key_node.start_mark.line + 1
                found[key] = self.value(value_node, here)
            return found
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, i)) for i, item in enumerate(node.value)]
        assert isinstance(node, yaml.ScalarNode)
        return self._scalar(node, path)

    def _scalar(self, node: yaml.ScalarNode, path: tuple[str | int, ...]) -> object:
        tag = node.tag.removeprefix("tag:yaml.org,2002:")
        if tag in ("str", "null", "bool", "int", "float"):
            value: object = yaml.SafeLoader("").construct_object(node)
            return value
        if tag == "timestamp":  # a date such as valid_from: its own text
            return node.value
        raise misplaced(self.file, self.lines, path, f"the YAML tag {node.tag} is not used here")
