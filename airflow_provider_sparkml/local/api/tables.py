"""``Table`` answers, which kubectl prints as they are."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from airflow_provider_sparkml.local.api.call import Call
from airflow_provider_sparkml.local.api.types import AGE, Column, ResourceType
from airflow_provider_sparkml.local.store import Record, encode
from airflow_provider_sparkml.resources.base import Manifest

NAME = Column("Name", lambda obj: obj["metadata"]["name"], description="Name of the object.")


def wanted(request: web.BaseRequest) -> bool:
    """Return whether a client would rather have a table."""
    accept = request.headers.get("Accept", "")
    return "as=Table" in accept and "g=meta.k8s.io" in accept


def table(kind: ResourceType, records: list[Record], meta: dict[str, Any], call: Call) -> bytes:
    """Return a table of objects as JSON."""
    shown = [kind.present(record.load()) if kind.present else record.load() for record in records]
    return encode(table_of(kind, shown, meta, call))


def table_of(kind: ResourceType, objects: list[Manifest], meta: dict[str, Any], call: Call) -> Manifest:
    """Return a table of objects.

    :param meta: metadata of the list.
    """
    columns = (NAME, *(kind.columns or (AGE,)))
    include = call.query.get("includeObject", "Metadata")
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": meta,
        "columnDefinitions": [
            {
                "name": column.name,
                "type": "string" if column.type == "date" else column.type,
                "format": "name" if column is NAME else "",
                "description": column.description or column.name,
                "priority": column.priority,
            }
            for column in columns
        ],
        "rows": [
            {"cells": [column.value(obj) for column in columns], "object": _object(obj, include)} for obj in objects
        ],
    }


def _object(obj: Manifest, include: str) -> Manifest | None:
    if include == "None":
        return None
    if include == "Object":
        return obj
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}
