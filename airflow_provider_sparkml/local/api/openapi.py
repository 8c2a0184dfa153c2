"""``/openapi/v3``: what kubectl reads before it validates, merges or explains; one document for each group version."""

from __future__ import annotations

import secrets
from typing import Any

from airflow_provider_sparkml.local.api.types import Registry, ResourceType, Schema
from airflow_provider_sparkml.local.store import encode

_WRITE_PARAMETERS = [
    {"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": True}}
    for name in ("dryRun", "fieldManager", "fieldValidation", "force")
]
_TYPE_META: dict[str, Schema] = {
    "apiVersion": {"type": "string", "description": "Version of the schema of this object."},
    "kind": {"type": "string", "description": "What this object is."},
}
_METADATA: Schema = {"type": "object", "description": "Standard object's metadata."}


class OpenApi:
    """The documents of one API server; made when asked for, and kept until a type comes or goes."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._boot = secrets.token_hex(4)
        self._generation = -1
        self._documents: dict[str, bytes] = {}

    def index(self) -> dict[str, Any]:
        """Return what ``/openapi/v3`` answers."""
        tag = f"{self._boot}-{self._registry.generation}"
        paths = dict.fromkeys(_path(kind) for kind in self._registry.all())
        return {"paths": {path: {"serverRelativeURL": f"/openapi/v3/{path}?hash={tag}"} for path in paths}}

    async def document(self, path: str) -> bytes | None:
        """Return the document of a group version as JSON, ``None`` for an unknown one.

        :param path: ``api/v1`` or ``apis/<group>/<version>``.
        """
        if self._generation != self._registry.generation:
            self._generation = self._registry.generation
            self._documents.clear()
        if path not in self._documents:
            kinds = [kind for kind in self._registry.all() if _path(kind) == path]
            if not kinds:
                return None
            self._documents[path] = encode(await _document(path, kinds))
        return self._documents[path]


def _path(kind: ResourceType) -> str:
    return f"apis/{kind.api.api_version}" if kind.api.group else f"api/{kind.api.version}"


async def _document(path: str, kinds: list[ResourceType]) -> dict[str, Any]:
    paths: dict[str, Any] = {}
    schemas: dict[str, Schema] = {}
    for kind in kinds:
        api = kind.api
        identity = {"group": api.group, "version": api.version, "kind": api.kind}
        name = f"{'.'.join(reversed(api.group.split('.'))) or 'core'}.{api.version}.{api.kind}"
        where = f"/{path}/namespaces/{{namespace}}" if api.namespaced else f"/{path}"
        reference = {"$ref": f"#/components/schemas/{name}"}
        content = {"200": {"description": "OK", "content": {"application/json": {"schema": reference}}}}
        operation = {"parameters": _WRITE_PARAMETERS, "responses": content, "x-kubernetes-group-version-kind": identity}
        paths[f"{where}/{api.plural}"] = {"post": operation | {"x-kubernetes-action": "post"}}
        paths[f"{where}/{api.plural}/{{name}}"] = {"patch": operation | {"x-kubernetes-action": "patch"}}
        schemas[name] = _schema(await kind.schema(), identity)
    info = {"title": "Kubernetes", "version": "v1.36.0"}
    return {"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": schemas}}


def _schema(schema: Schema | None, identity: dict[str, str]) -> Schema:
    """Return a type's schema with what every object has."""
    schema = schema or {"type": "object"}
    properties = schema.get("properties") or {}
    metadata = {**_METADATA, **(properties.get("metadata") or {})}
    own = {name: value for name, value in properties.items() if name not in ("apiVersion", "kind", "metadata")}
    whole = {**schema, "properties": {**_TYPE_META, "metadata": metadata, **own}}
    return whole | {"x-kubernetes-group-version-kind": [identity]}
