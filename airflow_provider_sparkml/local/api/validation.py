"""Manifests against the schemas that the local API server has, without any server: unknown fields, wrong values."""

from __future__ import annotations

import copy

from airflow_provider_sparkml.local.api.builtin import BUILTIN
from airflow_provider_sparkml.local.api.bundled import DEFINITIONS
from airflow_provider_sparkml.local.api.definitions import types_of
from airflow_provider_sparkml.local.api.schema import apply_schema
from airflow_provider_sparkml.local.api.types import ResourceType
from airflow_provider_sparkml.resources.base import Manifest

Problem = tuple[str, str]
"""Path of a field, and what is wrong with it."""


def local_type(api_version: str, kind: str) -> ResourceType | None:
    """Return the type of a kind that the local cluster knows from its first start on, ``None`` for others."""
    known = (*BUILTIN, *(each for definition in DEFINITIONS for each in types_of(definition)))
    return next((each for each in known if (each.api.api_version, each.api.kind) == (api_version, kind)), None)


async def problems_of(kind: ResourceType, manifest: Manifest) -> list[Problem]:
    """Return what a type's schema has against a manifest; the manifest is not changed."""
    obj = copy.deepcopy(manifest)
    obj["metadata"] = obj.get("metadata") or {}
    unknown, causes = apply_schema(obj, await kind.schema(), custom=kind.custom)
    return [*((field, "unknown field") for field in unknown), *((cause.field, cause.message) for cause in causes)]


__all__ = ["Problem", "local_type", "problems_of"]
