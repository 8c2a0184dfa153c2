"""The verbs on resources: one function for each, from request to answer."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from aiohttp import web

from airflow_provider_sparkml.local.api import codec, ownership, tables
from airflow_provider_sparkml.local.api.call import Call
from airflow_provider_sparkml.local.api.cluster import Cluster
from airflow_provider_sparkml.local.api.deletes import Options, delete, delete_record, options_of
from airflow_provider_sparkml.local.api.patches import json_patch, merge_patch, strategic_patch
from airflow_provider_sparkml.local.api.rbac import authorize
from airflow_provider_sparkml.local.api.reads import Page, list_body, list_page, selection_of
from airflow_provider_sparkml.local.api.status import Cause, StatusError, not_found, unsupported_media_type
from airflow_provider_sparkml.local.api.types import ResourceType, Schema
from airflow_provider_sparkml.local.api.watching import Present, present_stored, watch
from airflow_provider_sparkml.local.api.writes import Written, check_identity, create, refuse, update
from airflow_provider_sparkml.local.store import Event, EventType, Record, encode
from airflow_provider_sparkml.resources.base import Manifest


def json_response(body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return an answer in JSON."""
    return web.Response(body=body, status=status, content_type="application/json", headers=headers)


def present(kind: ResourceType, record: Record) -> bytes:
    """Return an object as JSON in the version of the request."""
    return encode(kind.present(record.load())) if kind.present else record.data


def find(cluster: Cluster, call: Call, kind: ResourceType) -> Record:
    """Return the object that a request names.

    :raises StatusError: 404.
    """
    namespace = call.target.namespace if kind.api.namespaced else ""
    record = cluster.store.get(kind.storage, namespace, call.target.name)
    if record is None:
        raise not_found(kind.api, call.target.name)
    return record


async def _get(cluster: Cluster, call: Call, kind: ResourceType, request: web.BaseRequest) -> web.Response:
    record = find(cluster, call, kind)
    if tables.wanted(request):
        return json_response(tables.table(kind, [record], {"resourceVersion": str(record.version)}, call))
    return json_response(present(kind, record))


async def _list(cluster: Cluster, call: Call, kind: ResourceType, request: web.BaseRequest) -> web.Response:
    page = list_page(cluster, call, kind)
    if tables.wanted(request):
        return json_response(tables.table(kind, page.records, _list_meta(page), call))
    return json_response(list_body(kind, page, lambda record: present(kind, record)))


def _list_meta(page: Page) -> dict[str, Any]:
    meta: dict[str, Any] = {"resourceVersion": str(page.version)}
    return meta | ({"continue": page.token} if page.token else {})


def _presenter(kind: ResourceType, call: Call, request: web.BaseRequest) -> Present:
    """Return how a watch shows objects: as stored unless another version, or a table, is asked for."""
    as_table = tables.wanted(request)
    if not as_table and kind.present is None:
        return present_stored

    def line(event_type: EventType, change: Event | Record) -> bytes:
        stored = json.loads(present_stored(event_type, change))
        obj: Manifest = stored["object"]
        shown = kind.present(obj) if kind.present else obj
        if as_table:
            shown = tables.table_of(kind, [shown], {"resourceVersion": obj["metadata"]["resourceVersion"]}, call)
        return encode({"type": event_type, "object": shown}) + b"\n"

    return line


async def _watch(cluster: Cluster, call: Call, kind: ResourceType, request: web.BaseRequest) -> web.StreamResponse:
    return await watch(cluster, call, kind, request, _presenter(kind, call, request))


async def _create(cluster: Cluster, call: Call, kind: ResourceType, request: web.BaseRequest) -> web.Response:
    obj = codec.decode_object(await request.read(), request.headers.get("Content-Type", ""), kind.api.kind)
    schema = await kind.schema()
    return await _respond(cluster, kind, create(cluster, call, kind, schema, obj))


async def _replace(cluster: Cluster, call: Call, kind: ResourceType, request: web.BaseRequest) -> web.Response:
    obj = codec.decode_object(await request.read(), request.headers.get("Content-Type", ""), kind.api.kind)
    schema = await kind.schema()
    written = update(cluster, call, kind, schema, lambda old: obj, must_have_version=True)
    return await _respond(cluster, kind, written)


async def _patch(cluster: Cluster, call: Call, kind: ResourceType, request: web.BaseRequest) -> web.Response:
    media = codec.media_type(request.headers.get("Content-Type", ""))
    accepted = [codec.JSON_PATCH, codec.MERGE_PATCH, codec.APPLY_PATCH]
    if not kind.custom:
        accepted.insert(2, codec.STRATEGIC_PATCH)
    if media not in accepted:
        raise unsupported_media_type(accepted)
    patch = codec.decode_patch(await request.read(), media)
    schema = await kind.schema()
    if media == codec.APPLY_PATCH:
        return await _respond(cluster, kind, _apply(cluster, call, kind, schema, patch))

    def change(obj: Manifest) -> Manifest:
        if media == codec.JSON_PATCH:
            return json_patch(obj, patch)
        if media == codec.STRATEGIC_PATCH:
            patched: Manifest = strategic_patch(obj, patch, schema)
        else:
            patched = merge_patch(obj, patch)
        return patched

    return await _respond(cluster, kind, update(cluster, call, kind, schema, change))


def _apply(cluster: Cluster, call: Call, kind: ResourceType, schema: Schema | None, config: Manifest) -> Written:
    """Apply on the server's side: create what is not there, else merge by ownership."""
    if not call.query.get("fieldManager"):
        cause = Cause("FieldValueRequired", "fieldManager", "Required value: is required for apply patch")
        details = {"group": "meta.k8s.io", "kind": "PatchOptions", "causes": [cause.to_json()]}
        message = f'PatchOptions.meta.k8s.io "" is invalid: fieldManager: {cause.message}'
        raise StatusError(422, "Invalid", message, details)
    check_identity(kind, config, call)
    meta = config["metadata"]
    if meta.get("managedFields"):
        raise StatusError(400, "BadRequest", "metadata.managedFields must be nil")
    force = call.flag("force")
    namespace = call.target.namespace if kind.api.namespaced else ""
    if cluster.store.get(kind.storage, namespace, call.target.name) is None:
        if call.target.subresource:
            raise not_found(kind.api, call.target.name)
        if meta.get("resourceVersion") or meta.get("uid"):
            raise not_found(kind.api, call.target.name)
        authorize(cluster, replace(call, verb="create"))  # an apply that creates needs both verbs
        meta["name"] = meta.get("name") or call.target.name
        return create(cluster, call, kind, schema, config, applied=True)
    found: list[ownership.Applied] = []

    def change(live: Manifest) -> Manifest:
        merged, applied = ownership.apply(live, config, schema, call, force=force)
        found.append(applied)
        return merged

    return update(cluster, call, kind, schema, change, applied=lambda: found[0])


async def _delete(cluster: Cluster, call: Call, kind: ResourceType, request: web.BaseRequest) -> web.Response:
    body = await request.read()
    given = codec.decode_object(body, request.headers.get("Content-Type", ""), "DeleteOptions") if body else {}
    obj = delete(cluster, call, kind, options_of(call, given))
    await durable(cluster)
    if kind.present and obj.get("kind") == kind.api.kind:
        obj = kind.present(obj)
    return json_response(encode(obj))


async def _delete_collection(
    cluster: Cluster, call: Call, kind: ResourceType, request: web.BaseRequest
) -> web.Response:
    body = await request.read()
    given = codec.decode_object(body, request.headers.get("Content-Type", ""), "DeleteOptions") if body else {}
    options = options_of(call, given)
    selection = selection_of(call, kind)
    chosen = [r for r in cluster.store.select(kind.storage, call.target.namespace or None) if selection.matches(r)]
    items = [delete_record(cluster, kind, record, _unconditional(options))[0] for record in chosen]
    await durable(cluster)
    shown = [kind.present(item) if kind.present else item for item in items]
    meta = {"resourceVersion": str(cluster.store.version)}
    answer = {"apiVersion": kind.api.api_version, "items": shown, "kind": f"{kind.api.kind}List", "metadata": meta}
    return json_response(encode(answer))


def _unconditional(options: Options) -> Options:
    """Return the options without preconditions, which make no sense for many objects."""
    return Options(options.propagation, options.grace_seconds, dry_run=options.dry_run)


async def _respond(cluster: Cluster, kind: ResourceType, written: Written) -> web.Response:
    """Answer a write once it is on disk."""
    body = encode(kind.present(written.obj) if kind.present else written.obj)
    await durable(cluster)
    response = json_response(body, 201 if written.created else 200)
    for warning in written.warnings:
        response.headers.add("Warning", f'299 - "{warning.replace(chr(34), chr(92) + chr(34))}"')
    return response


async def durable(cluster: Cluster) -> None:
    """Wait until what was changed is on disk.

    :raises StatusError: 500 when that fails.
    """
    try:
        await cluster.store.durable()
    except OSError as error:
        raise refuse(error) from None


VERBS: dict[str, Callable[[Cluster, Call, ResourceType, web.BaseRequest], Awaitable[web.StreamResponse]]] = {
    "get": _get,
    "list": _list,
    "watch": _watch,
    "create": _create,
    "update": _replace,
    "patch": _patch,
    "delete": _delete,
    "deletecollection": _delete_collection,
}
"""What answers a request for a collection, an object, or its status; raises ``StatusError`` when it is refused."""
