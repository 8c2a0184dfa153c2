"""CustomResourceDefinitions: a definition → the types it makes, and what follows from its coming and going."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any

from airflow_provider_sparkml.local.api.cluster import Cluster
from airflow_provider_sparkml.local.api.deletes import Options, delete_record
from airflow_provider_sparkml.local.api.metadata import now
from airflow_provider_sparkml.local.api.model_schemas import schema_from_models
from airflow_provider_sparkml.local.api.storing import destroy, save
from airflow_provider_sparkml.local.api.types import AGE, Column, ResourceType, Schema, age
from airflow_provider_sparkml.resources.base import ApiResource, Manifest

log = logging.getLogger(__name__)

STORAGE = "apiextensions.k8s.io/customresourcedefinitions"
CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
MODELS = "airflow-provider-sparkml/schema-models"
"""Annotation of a definition that leaves its schema to the models of a Python package: ``package:Model``."""


def types_of(definition: Manifest) -> list[ResourceType]:
    """Return the types that a definition makes, one for each version served; the stored version's is the first."""
    spec = definition["spec"]
    versions = [version for version in spec["versions"] if version.get("served", True)]
    stored = next(version["name"] for version in spec["versions"] if version.get("storage"))
    return [_type_of(definition, version, stored) for version in versions]


def _type_of(definition: Manifest, version: dict[str, Any], stored: str) -> ResourceType:
    spec, names = definition["spec"], definition["spec"]["names"]
    group, name = spec["group"], version["name"]
    subresources = version.get("subresources") or {}
    selectable = [field["jsonPath"].lstrip(".") for field in version.get("selectableFields") or ()]
    return ResourceType(
        ApiResource(group, name, names["plural"], names["kind"], spec["scope"] == "Namespaced"),
        singular=names["singular"],
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        status="status" in subresources,
        scale=_scale(subresources.get("scale")),
        selectable={path: path for path in selectable},
        schema=_schema_source(definition, version),
        columns=tuple(map(_column, version.get("additionalPrinterColumns") or ())) or (AGE,),
        generation=True,
        unconditional_update=False,
        custom=True,
        present=None if name == stored else _as_version(f"{group}/{name}"),
        absorb=_as_version(f"{group}/{stored}"),
    )


def _as_version(api_version: str) -> Callable[[Manifest], Manifest]:
    """Return the conversion ``None``: only ``apiVersion`` differs."""
    return lambda obj: obj | {"apiVersion": api_version}


def _scale(scale: dict[str, str] | None) -> tuple[str, str, str] | None:
    if scale is None:
        return None
    paths = ("specReplicasPath", "statusReplicasPath", "labelSelectorPath")
    replicas, status, selector = (scale.get(path, "").lstrip(".") for path in paths)
    return replicas, status, selector


def _schema_source(definition: Manifest, version: dict[str, Any]) -> Callable[[], Awaitable[Schema | None]]:
    """Return what gives a version's schema: the definition itself, or the models that it names."""
    schema: Schema = version["schema"]["openAPIV3Schema"]
    models = (definition["metadata"].get("annotations") or {}).get(MODELS, "")
    if models and not schema.get("properties"):
        package, _, model = models.partition(":")
        return lambda: schema_from_models(package, model)

    async def own() -> Schema | None:
        return schema

    return own


def _column(column: dict[str, Any]) -> Column:
    read = _json_path(column["jsonPath"])
    if column["type"] == "date":
        return Column(column["name"], lambda obj: age(read(obj)), "string", column.get("priority", 0))
    return Column(column["name"], read, column["type"], column.get("priority", 0), column.get("description", ""))


_STEP = re.compile(r"\.([^.\[\]]+)|\[\?\(@\.([^=]+)==\s*['\"]([^'\"]*)['\"]\)\]|\[(\d+|\*|-1:)\]|\['([^']+)'\]")


def _json_path(path: str) -> Callable[[Manifest], Any]:
    """Return a reader of the JSONPath subset that printer columns use: fields, indexes and ``[?(@.type=="x")]``."""
    steps = _STEP.findall(path.replace("\\.", "\0"))

    def read(obj: Any) -> Any:
        for name, key, wanted, index, quoted in steps:
            if name or quoted:
                obj = obj.get((name or quoted).replace("\0", ".")) if isinstance(obj, dict) else None
            elif not isinstance(obj, list):
                return None
            elif key:
                obj = next((item for item in obj if str(item.get(key)) == wanted), None)
            elif index == "-1:":
                obj = obj[-1] if obj else None
            else:
                obj = obj[int(index)] if index.isdigit() and int(index) < len(obj) else None
            if obj is None:
                return None
        return obj

    return read


def follow(cluster: Cluster, kind: ResourceType, obj: Manifest, deleted: bool) -> None:
    """Keep the registry in step with the definitions, and end a definition when its last object is gone."""
    if kind.storage == STORAGE:
        register(cluster, obj, deleted=deleted)
    elif kind.custom and deleted:
        name = f"{kind.api.plural}.{kind.api.group}"
        record = cluster.store.get(STORAGE, "", name)
        if record is not None and not cluster.store.select(kind.storage, None):
            definition = record.load()
            if definition["metadata"].get("deletionTimestamp"):
                _end(cluster, definition)


def register(cluster: Cluster, definition: Manifest, *, deleted: bool) -> None:
    """Serve what a definition says; establish it when it is new, and delete its objects when it is to go."""
    spec, meta = definition["spec"], definition["metadata"]
    cluster.registry.remove(spec["group"], spec["names"]["plural"])
    if deleted:
        return
    for each in types_of(definition):
        cluster.registry.add(each)
    if meta.get("deletionTimestamp"):
        _clean_up(cluster, definition)
    elif not _is_established(definition):
        _establish(cluster, definition)


def _is_established(definition: Manifest) -> bool:
    return CLEANUP in (definition["metadata"].get("finalizers") or ()) and any(
        condition["type"] == "Established" for condition in (definition.get("status") or {}).get("conditions") or ()
    )


def _establish(cluster: Cluster, definition: Manifest) -> None:
    """Say that the names are taken and the type is served; its objects are to be deleted before it goes."""
    meta, spec = definition["metadata"], definition["spec"]
    if CLEANUP not in meta.setdefault("finalizers", []):
        meta["finalizers"].append(CLEANUP)
    facts = {
        "NamesAccepted": ("NoConflicts", "no conflicts found"),
        "Established": ("InitialNamesAccepted", "the initial names have been accepted"),
    }
    definition["status"] = {
        "acceptedNames": spec["names"],
        "storedVersions": [version["name"] for version in spec["versions"] if version.get("storage")],
        "conditions": [
            {"type": name, "status": "True", "reason": reason, "message": message, "lastTransitionTime": now()}
            for name, (reason, message) in facts.items()
        ],
    }
    _save(cluster, definition)


def _save(cluster: Cluster, definition: Manifest) -> None:
    kind = cluster.registry.find("apiextensions.k8s.io", "v1", "customresourcedefinitions")
    if kind is not None:
        save(cluster, kind, definition)


def _clean_up(cluster: Cluster, definition: Manifest) -> None:
    """Delete the objects of a definition that is to go; it goes with the last of them."""
    kind = next(each for each in types_of(definition) if each.present is None)
    for record in cluster.store.select(kind.storage, None):
        if "deletionTimestamp" not in record.load()["metadata"]:
            delete_record(cluster, kind, record, Options())
    if not cluster.store.select(kind.storage, None) and CLEANUP in (definition["metadata"].get("finalizers") or ()):
        _end(cluster, definition)


def _end(cluster: Cluster, definition: Manifest) -> None:
    """Take our finalizer off a definition, and so perhaps the definition itself."""
    meta = definition["metadata"]
    meta["finalizers"] = [each for each in meta["finalizers"] if each != CLEANUP]
    if meta["finalizers"]:
        _save(cluster, definition)
        return
    del meta["finalizers"]
    kind = cluster.registry.find("apiextensions.k8s.io", "v1", "customresourcedefinitions")
    if kind is not None:
        destroy(cluster, kind, definition)
