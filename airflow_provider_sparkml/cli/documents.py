"""YAML files as documents that know on which line each of their fields is."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.resources.manifests import strict_loader

_LAST_STEP = re.compile(r"\.+[^.\[\]]*$|\[[^\[\]]*\]$")
_FIELD = re.compile(r"\.?([A-Za-z][\w.\[\]/'\"-]*)")


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a file.

    :param file: the file's name, as given.
    :param line: where it begins, counted from 1.
    :param content: what was parsed.
    :param lines: line of each field by its path: ``spec.volumes[0].name``.
    """

    file: str
    line: int
    content: Any
    lines: dict[str, int]

    def line_of(self, path: str) -> int:
        """Return the line of a field; of one that is not there, that of the nearest field around it."""
        path = path.removeprefix(".")
        while path and path not in self.lines:
            shorter = _LAST_STEP.sub("", path)
            if shorter == path:
                return self.line
            path = shorter
        return self.lines.get(path, self.line)

    def at(self, path: str, message: str) -> str:
        """Return a message with file and line, as compilers write them."""
        return f"{self.file}:{self.line_of(path)}: {message}"


def field_of(message: str) -> str:
    """Return the path of a field that a message begins with, as all of this package's do that are about one."""
    found = _FIELD.match(message)
    return found[1].rstrip(".") if found else ""


def read_documents(file: Path) -> list[Document]:
    """Return the documents of a YAML or JSON file, but not empty ones; ``-`` is the standard input.

    :raises InvalidManifestError: it cannot be read or parsed; with file and line.
    """
    name = str(file)
    try:
        text = sys.stdin.read() if name == "-" else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidManifestError(f"{name}: it cannot be read: {error}") from error
    try:
        return list(_parse(name, text))
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a 31st of February, ten thousand brackets
        mark = getattr(error, "problem_mark", None)
        where = f"{name}:{mark.line + 1}" if mark else name
        problem = getattr(error, "problem", None) or str(error)
        raise InvalidManifestError(f"{where}: this is not valid YAML: {problem}") from error


def _parse(name: str, text: str) -> Iterator[Document]:
    loader = strict_loader()(text)
    try:
        while loader.check_node():
            node = loader.get_node()
            content = loader.construct_document(node)
            if content is not None:
                # Only now are the nodes of merge keys (<<) where their fields are.
                yield Document(name, node.start_mark.line + 1, content, dict(_lines(node, "", ())))
    finally:
        loader.dispose()


def _lines(node: Any, path: str, around: tuple[int, ...]) -> Iterator[tuple[str, int]]:
    """Yield path and line of each field below a node."""
    if id(node) in around:
        return  # an alias within its own anchor
    around = (*around, id(node))
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = f"{path}.{key.value}" if path else str(key.value)
            yield here, key.start_mark.line + 1
            yield from _lines(value, here, around)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            here = f"{path}[{index}]"
            yield here, item.start_mark.line + 1
            yield from _lines(item, here, around)


__all__ = ["Document", "field_of", "read_documents"]
