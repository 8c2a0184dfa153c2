"""Every request's way: who asks, for what, may they, and which function answers."""

from __future__ import annotations

import logging
from typing import Any

from aiohttp import web

from airflow_provider_sparkml.local.api import discovery, reviews
from airflow_provider_sparkml.local.api.auth import authenticate
from airflow_provider_sparkml.local.api.call import Call, Target, User, parse_path, verb_of
from airflow_provider_sparkml.local.api.cluster import Cluster
from airflow_provider_sparkml.local.api.codec import decode_object
from airflow_provider_sparkml.local.api.handlers import VERBS, json_response
from airflow_provider_sparkml.local.api.openapi import OpenApi
from airflow_provider_sparkml.local.api.rbac import authorize, authorize_path
from airflow_provider_sparkml.local.api.status import StatusError, bad_request, method_not_allowed
from airflow_provider_sparkml.local.api.subresources import subresource
from airflow_provider_sparkml.local.api.types import ResourceType
from airflow_provider_sparkml.local.store import encode

log = logging.getLogger(__name__)

_OBJECT_VERBS = frozenset({"get", "update", "patch", "delete"})
_COLLECTION_VERBS = frozenset({"list", "watch", "create", "deletecollection"})
_STATUS_VERBS = frozenset({"get", "update", "patch"})


class Dispatcher:
    """Answers every request to one cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._openapi = OpenApi(cluster.registry)

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request."""
        try:
            return await self._answer(request)
        except StatusError as refusal:
            error = refusal
        except web.HTTPRequestEntityTooLarge:
            error = StatusError(413, "RequestEntityTooLarge", f"limit is {request.client_max_size} bytes")
        except ConnectionError:
            raise
        except Exception as problem:
            log.exception("%s %s", request.method, request.path)
            error = StatusError(500, "InternalError", f"Internal error occurred: {problem!r}", {})
        return json_response(error.body(), error.code)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        user = authenticate(self._cluster, request)
        target = parse_path(request.path)
        if target is None:
            return await self._answer_path(request, user)
        verb = verb_of(request.method, target, request.query)
        call = Call(verb, target, user, request.query, _manager(request))
        authorize(self._cluster, call)
        kind = self._cluster.registry.find(target.group, target.version, target.plural)
        if kind is None:
            return await self._answer_review(request, call)
        if target.subresource not in ("", "status"):
            handler = subresource(kind, call)
            return await handler(self._cluster, call, kind, request) if handler else _page_not_found()
        _check_verb(kind, call)
        return await VERBS[call.verb](self._cluster, call, kind, request)

    async def _answer_review(self, request: web.BaseRequest, call: Call) -> web.StreamResponse:
        """Answer a question, or that there is no such resource."""
        target = call.target
        kind = reviews.KINDS.get((target.group, target.plural))
        if kind is None or target.version != "v1" or target.name:
            return _page_not_found()
        if call.verb != "create":
            raise method_not_allowed()
        question = decode_object(await request.read(), request.headers.get("Content-Type", ""), kind)
        question["apiVersion"] = f"{target.group}/v1"
        return json_response(encode(reviews.review(self._cluster, call.user, kind, question)), 201)

    async def _answer_path(self, request: web.BaseRequest, user: User) -> web.StreamResponse:
        """Answer what is no resource: discovery, health, version, schemas."""
        authorize_path(self._cluster, user, request.method.lower(), request.path)
        parts = request.path.strip("/").split("/")
        if parts[:2] == ["openapi", "v3"] and len(parts) > 2:
            document = await self._openapi.document("/".join(parts[2:]))
            return json_response(document) if document else _page_not_found()
        found = self._discover(parts)
        if found is None:
            return _page_not_found()
        if isinstance(found, str):
            return web.Response(text=found)
        return json_response(encode(found))

    def _discover(self, parts: list[str]) -> dict[str, Any] | str | None:
        registry = self._cluster.registry
        found: dict[str, Any] | str | None = None
        match parts:
            case ["version"]:
                found = discovery.VERSION
            case ["healthz" | "livez" | "readyz", *_]:
                found = "ok"
            case ["openapi", "v3"]:
                found = self._openapi.index()
            case ["api"]:
                found = discovery.api_versions()
            case ["api", version]:
                found = discovery.resource_list(registry, "", version)
            case ["apis"]:
                found = discovery.group_list(registry)
            case ["apis", group]:
                found = discovery.group(registry, group)
            case ["apis", group, version]:
                found = discovery.resource_list(registry, group, version)
        return found


def _check_verb(kind: ResourceType, call: Call) -> None:
    """Refuse what cannot be done with a collection, an object, or a status.

    :raises StatusError: 405; 400 for a namespaced object without its namespace.
    """
    target: Target = call.target
    if target.subresource == "status":
        if not kind.status or call.verb not in _STATUS_VERBS:
            raise method_not_allowed()
        return
    if call.verb not in (_OBJECT_VERBS if target.name else _COLLECTION_VERBS) and not (
        call.verb == "watch" and target.name
    ):
        raise method_not_allowed()
    if kind.api.namespaced and not target.namespace and call.verb not in ("list", "watch"):
        raise bad_request("the server could not find the requested resource: a namespace is missing in the path")


def _manager(request: web.BaseRequest) -> str:
    """Return who owns what the request sets: as it says itself, else its program's name."""
    named = request.query.get("fieldManager")
    return named or request.headers.get("User-Agent", "unknown").partition("/")[0][:128] or "unknown"


def _page_not_found() -> web.Response:
    return web.Response(text="404 page not found\n", status=404)
