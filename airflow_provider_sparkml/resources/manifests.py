"""What an author may give as a manifest, and how it becomes one: a typed object, a mapping, a file, or YAML text."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date
from functools import cache
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
        documents, has no apiVersion and kind, or has a value that JSON does not know (its field is named).
    """
    if isinstance(application, type):
        raise InvalidManifestError(
            f"application is the class {application.__name__}: give an object of it, {application.__name__}(…)"
        )
    if isinstance(application, Buildable):
        return check_document(application.to_manifest(), "application")
    if isinstance(application, Mapping):
        return check_document(application, "application")
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


def load_manifests(source: Any) -> list[Manifest]:
    """Return the manifests that an author meant: as :func:`load_manifest`, but a text or file may hold several.

    :raises InvalidManifestError: as there; or there is none.
    """
    if not isinstance(source, str) or isinstance(source, Buildable):
        return [load_manifest(source)]
    if "\n" not in source and source.strip().endswith(SUFFIXES):
        path = Path(source.strip())
        text, where = _read(path, None), str(path)
    else:
        text, where = source, "manifest"
    documents = _documents(text, where)
    if not documents:
        raise InvalidManifestError(f"{where} holds no YAML document: give at least one object")
    several = len(documents) > 1
    return [
        check_document(document, f"{where}, document {number}" if several else where)
        for number, document in enumerate(documents, 1)
    ]


def _from_file(path: Path, search_path: Path | None) -> Manifest:
    """Return the manifest in a file."""
    return _parse(_read(path, search_path), str(path))


def _read(path: Path, search_path: Path | None) -> str:
    """Return the text of a file."""
    full = path.expanduser() if search_path is None else search_path / path.expanduser()
    try:
        return full.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidManifestError(f"application is the path {str(path)!r}, which cannot be read: {error}") from error


def _parse(text: str, where: str) -> Manifest:
    """Return the one document in a YAML or JSON text."""
    documents = _documents(text, where)
    if len(documents) != 1:
        raise InvalidManifestError(
            f"{where} holds {len(documents)} YAML documents: give exactly one object (separate tasks for several)"
        )
    return check_document(documents[0], where)


def _documents(text: str, where: str) -> list[Any]:
    """Return the documents in a YAML or JSON text, but not empty ones."""
    import yaml

    try:
        # A subclass of SafeLoader.
        loaded = yaml.load_all(text, Loader=strict_loader())
        return [document for document in loaded if document is not None]
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a 31st of February, ten thousand brackets
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        # Not from the error, which quotes the lines around: there may be secrets in them.
        raise InvalidManifestError(f"{where}{line}: this is not valid YAML: {problem}") from None


@cache
def strict_loader() -> Any:
    """Return YAML's safe loader, which here refuses a key that is there twice instead of dropping the first."""
    import yaml

    class Loader(yaml.SafeLoader):
        def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
            node = super().compose_mapping_node(anchor)
            seen = set()
            for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
                if key.value in seen:
                    raise yaml.MarkedYAMLError(
                        problem=f"the key {key.value!r} is there twice", problem_mark=key.start_mark
                    )
                seen.add(key.value)
            return node

    return Loader


def check_document(document: Any, where: str) -> Manifest:
    """Return a copy of a parsed document if it looks like a Kubernetes object.

    :param where: how messages name it.
    :raises InvalidManifestError: it does not, or has a value that JSON does not know (its field is named).
    """
    if not isinstance(document, Mapping):
        raise InvalidManifestError(
            f"{where} is {_short(document)}: it must be a Kubernetes object with apiVersion, kind, metadata and spec"
        )
    try:
        manifest: Manifest = _plain(document, where, "")
    except RecursionError:
        raise InvalidManifestError(f"{where} contains itself: look for a YAML alias within its own anchor") from None
    for field in ("apiVersion", "kind"):
        value = manifest.get(field)
        if not isinstance(value, str) or not value:
            raise InvalidManifestError(f"{where}: {field} is {value!r}: every manifest names its apiVersion and kind")
    if not isinstance(manifest.get("metadata", {}) or {}, dict):
        raise InvalidManifestError(f"{where}: metadata is {_short(manifest['metadata'])}: it must be a mapping")
    return manifest


def _plain(value: Any, where: str, field: str) -> Any:
    """Return a copy made of what JSON knows; YAML aliases and the author's objects become values of their own.

    :raises InvalidManifestError: there is something else in it.
    """
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise InvalidManifestError(f"{where}: {field or 'it'} has the key {key!r}: keys are text; quote it")
        return {key: _plain(item, where, f"{field}.{key}" if field else key) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, where, f"{field}[{index}]") for index, item in enumerate(value)]
    if value is None or isinstance(value, (str, int)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, date):
        raise InvalidManifestError(f"{where}: {field} is the date {value}: quote it, so that it stays text")
    raise InvalidManifestError(
        f"{where}: {field} is {_short(value)}, a {type(value).__name__}: a manifest holds text, numbers, true, false, "
        "null, lists and mappings only"
    )


def _short(value: Any) -> str:
    """Return a value for a message, cut; bytes, as somebody may have read a secret, are not shown."""
    text = "b'***'" if isinstance(value, (bytes, bytearray)) else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


__all__ = ["Buildable", "check_document", "load_manifest", "load_manifests", "strict_loader"]
