"""One request to the API server as data: its checked path, its query, its body, and whether it may be sent again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from airflow_provider_sparkml.client.errors import Call
from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.resources.base import ApiResource, Manifest

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Target:
    """What a request is about.

    :param api: the resource type.
    :param namespace: its namespace; ``None`` for cluster-wide types and for all namespaces.
    :param name: the object's name; ``None`` for the collection.
    :param subresource: ``status``, ``log`` …
    """

    api: ApiResource
    namespace: str | None = None
    name: str | None = None
    subresource: str | None = None

    def path(self) -> str:
        """Return the URL path, percent-encoded.

        :raises InvalidManifestError: a name that cannot stand in a path; an empty one would address the collection.
        """
        for field, value in (("namespace", self.namespace), ("name", self.name)):
            if value is not None and (not value or value in (".", "..") or "/" in value):
                raise InvalidManifestError(f"metadata.{field} {value!r} cannot be the {field} of {self.api.full_name}")
        namespace, name = (value and quote(value, safe=":") for value in (self.namespace, self.name))
        return self.api.path(namespace, name, self.subresource)

    def call(self, verb: str) -> Call:
        """Return how to name a request about it in an error."""
        resource = f"{self.api.full_name}/{self.subresource}" if self.subresource else self.api.full_name
        return Call(verb, resource, self.namespace or "", self.name or "")


@dataclass(frozen=True, slots=True)
class Request:
    """One request, ready to be sent any number of times.

    :param call: what it is for.
    :param method: HTTP method.
    :param path: URL path below the server, already percent-encoded.
    :param query: query parameters; empty ones are left out.
    :param body: what to send as JSON, or ``None``.
    :param content_type: media type of the body.
    :param repeatable: whether it may be sent again when nobody knows if the first one was carried out.
    :param retry: whether it is sent again at all.
    """

    call: Call
    method: str
    path: str
    query: Mapping[str, str]
    body: Any = None
    content_type: str = JSON
    repeatable: bool = True
    retry: bool = True


def request(verb: str, method: str, target: Target, query: Mapping[str, str] | None = None, **options: Any) -> Request:
    """Return a request about a target; ``options`` are the further fields of :class:`Request`."""
    return Request(target.call(verb), method, target.path(), query or {}, **options)


def complete(api: ApiResource, manifest: Manifest) -> Manifest:
    """Return a manifest with its apiVersion and kind, which the API server insists on; the given one is not changed."""
    return {"apiVersion": api.api_version, "kind": api.kind, **manifest}


def name_of(manifest: Manifest) -> str:
    """Return ``metadata.name``, empty when absent."""
    return str((manifest.get("metadata") or {}).get("name") or "")
