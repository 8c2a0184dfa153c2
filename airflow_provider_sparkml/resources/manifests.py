"""What an author may give as a manifest, and how it becomes one: a typed object, a mapping, a file, or YAML text."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.resources.base import Manifest

SUFFIXES = (".yaml", ".yml", ".json")


@runtime_checkable
class Buildable(Protocol):
    """A typed object that knows its manifest."""

    def to_manifest(self) -> Manifest:
        """Return the manifest, new at each call."""


def load_manifest(application: Any, *, search_path: Path | None = None) -> Manifest:
    """Return the manifest that an author meant; the author's own object is never part of it.

    :param application: a typed object with ``to_manifest()``; a mapping; the path of a ``.yaml``, ``.yml`` or
        ``.json`` file; or YAML or JSON text.
    :param search_path: where a relative path is looked for; the working directory when ``None``.
    :raises InvalidManifestError: it is none of these, cannot be parsed (file and line are named), holds several
        documents, or has no apiVersion and kind.
    """
    if isinstance(application, Buildable):
        return application.to_manifest()
    if isinstance(application, Mapping):
        return _checked(copy.deepcopy(dict(application)), "application")
    if isinstance(application, Path):
        return _from_file(application, search_path)
    if isinstance(application, str):
        if "\n" not in application and application.strip().endswith(SUFFIXES):
            return _from_file(Path(application.strip()), search_path)
        return _parse(application, "application")
    raise InvalidManifestError(
        f"application is a {type(application).__name__}: give a SparkApplication or similar object, a dict, "
        f"the path of a {', '.join(SUFFIXES)} file, or YAML text"
    )


def _from_file(path: Path, search_path: Path | None) -> Manifest:
    """Return the manifest in a file."""
    full = path.expanduser() if search_path is None else search_path / path.expanduser()
    try:
        text = full.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidManifestError(f"application is the path {str(path)!r}, which cannot be read: {error}") from error
    return _parse(text, str(path))


def _parse(text: str, where: str) -> Manifest:
    """Return the one document in a YAML or JSON text."""
    import yaml

    try:
        documents = [document for document in yaml.safe_load_all(text) if document is not None]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        raise InvalidManifestError(f"{where}{line}: this is not valid YAML: {problem}") from error
    if len(documents) != 1:
        raise InvalidManifestError(
            f"{where} holds {len(documents)} YAML documents: give exactly one object (separate tasks for several)"
        )
    return _checked(documents[0], where)


def _checked(document: Any, where: str) -> Manifest:
    """Return the document if it looks like a Kubernetes object."""
    if not isinstance(document, dict):
        raise InvalidManifestError(
            f"{where} is {_short(document)}: it must be a Kubernetes object with apiVersion, kind, metadata and spec"
        )
    for field in ("apiVersion", "kind"):
        value = document.get(field)
        if not isinstance(value, str) or not value:
            raise InvalidManifestError(f"{where}: {field} is {value!r}: every manifest names its apiVersion and kind")
    if not isinstance(document.get("metadata", {}) or {}, dict):
        raise InvalidManifestError(f"{where}: metadata is {_short(document['metadata'])}: it must be a mapping")
    return document


def _short(value: Any) -> str:
    """Return a value for a message, cut."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


__all__ = ["Buildable", "load_manifest"]
