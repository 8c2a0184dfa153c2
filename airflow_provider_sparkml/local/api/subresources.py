"""What hangs below an object besides its status: binding, eviction, tokens, scale, finalize, logs, proxies."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from airflow_provider_sparkml.local.api import codec
from airflow_provider_sparkml.local.api.auth import issue_token
from airflow_provider_sparkml.local.api.call import Call
from airflow_provider_sparkml.local.api.cluster import Cluster
from airflow_provider_sparkml.local.api.deletes import delete, options_of
from airflow_provider_sparkml.local.api.handlers import durable, find, json_response
from airflow_provider_sparkml.local.api.patches import json_patch, merge_patch
from airflow_provider_sparkml.local.api.podlog import log
from airflow_provider_sparkml.local.api.proxy import proxy
from airflow_provider_sparkml.local.api.selectors import selector_text
from airflow_provider_sparkml.local.api.status import (
    bad_request,
    conflict,
    method_not_allowed,
    modified,
    not_found,
)
from airflow_provider_sparkml.local.api.storing import destroy, is_finished, save
from airflow_provider_sparkml.local.api.types import ResourceType, dig
from airflow_provider_sparkml.local.api.writes import update
from airflow_provider_sparkml.local.store import encode
from airflow_provider_sparkml.resources.base import Manifest
from airflow_provider_sparkml.resources.core import POD

Handler = Callable[[Cluster, Call, ResourceType, web.BaseRequest], Awaitable[web.StreamResponse]]

_SHORTEST_TOKEN_SECONDS = 600
_TOKEN_SECONDS = 3600


async def bind(cluster: Cluster, call: Call, kind: ResourceType, request: web.BaseRequest) -> web.Response:
    """Assign a pod to a node.

    :raises StatusError: 409 when it has one, or is another pod, or goes.
    """
    binding = await _body(request, "Binding")
    pod = find(cluster, call, kind).load()
    meta, node = pod["metadata"], (binding.get("target") or {}).get("name")
    if not node:
        raise bad_request("Binding: target.name must be given")
    wanted = (binding.get("metadata") or {}).get("uid")
    if wanted and wanted != meta["uid"]:
        what = f"Precondition failed: UID in precondition: {wanted}, UID in object meta: {meta['uid']}"
        raise conflict(kind.api, meta["name"], what)
    if meta.get("deletionTimestamp"):
        raise conflict(kind.api, meta["name"], f"pod {meta['name']} is being deleted, cannot be assigned to a host")
    if pod["spec"].get("nodeName"):
        what = f'pod {meta["name"]} is already assigned to node "{pod["spec"]["nodeName"]}"'
        raise conflict(kind.api, meta["name"], what)
    pod["spec"]["nodeName"] = node
    scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": _now()}
    status = pod.setdefault("status", {})
    others = [each for each in status.get("conditions") or () if each["type"] != "PodScheduled"]
    status["conditions"] = [*others, scheduled]
    save(cluster, kind, pod)
    await durable(cluster)
    return json_response(encode(_done()), 201)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _done() -> dict[str, Any]:
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


async def evict(cluster: Cluster, call: Call, kind: ResourceType, request: web.BaseRequest) -> web.Response:
    """Delete a pod as a drain of its node does; how it was ended stays in its status (``addConditionAndDeletePod``)."""
    eviction = await _body(request, "Eviction")
    options = options_of(call, eviction.get("deleteOptions") or {})
    pod = find(cluster, call, kind).load()
    status = pod.setdefault("status", {})
    if status.get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"] and not options.dry_run:
        others = [each for each in status.get("conditions") or () if each["type"] != "DisruptionTarget"]
        disrupted = {
            "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
            "message": "Eviction API: evicting", "lastTransitionTime": _now(),
        }  # fmt: skip
        status["conditions"] = [*others, disrupted]
        save(cluster, kind, pod)
    delete(cluster, call, kind, options)
    await durable(cluster)
    return json_response(encode(_done()), 201)


async def issue(cluster: Cluster, call: Call, kind: ResourceType, request: web.BaseRequest) -> web.Response:
    """Give a token of a ServiceAccount (TokenRequest).

    :raises StatusError: 404 for a missing account or pod, 409 when the pod is another.
    """
    wanted = await _body(request, "TokenRequest")
    account = find(cluster, call, kind)
    spec = wanted.get("spec") or {}
    seconds = int(spec.get("expirationSeconds") or _TOKEN_SECONDS)
    if seconds < _SHORTEST_TOKEN_SECONDS:
        raise bad_request(f"spec.expirationSeconds: may not specify a duration less than 10 minutes, not {seconds} s")
    pod = _bound_pod(cluster, call.target.namespace, spec.get("boundObjectRef"))
    namespace, name = account.key
    token, end = issue_token(
        cluster, namespace, name, account.uid, seconds=seconds, audiences=spec.get("audiences") or [], pod=pod
    )
    expiry = datetime.fromtimestamp(end, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    answer = {
        "kind": "TokenRequest",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {**spec, "expirationSeconds": seconds},
        "status": {"token": token, "expirationTimestamp": expiry},
    }
    return json_response(encode(answer), 201)


def _bound_pod(cluster: Cluster, namespace: str, bound: dict[str, str] | None) -> dict[str, str] | None:
    """Return the pod with which a token ends, or ``None``."""
    if not bound:
        return None
    if bound.get("kind") != "Pod":
        raise bad_request(f"spec.boundObjectRef.kind: tokens can be bound to a Pod, not to {bound.get('kind')!r}")
    record = cluster.store.get("/pods", namespace, bound.get("name", ""))
    if record is None:
        raise not_found(POD, bound.get("name", ""))
    if bound.get("uid") not in (None, "", record.uid):
        what = f"the UID in the bound object reference ({bound['uid']}) does not match the UID in record ({record.uid})"
        raise conflict(POD, record.key[1], what)
    return {"name": record.key[1], "uid": record.uid}


async def finalize(cluster: Cluster, call: Call, kind: ResourceType, request: web.BaseRequest) -> web.Response:
    """Set a namespace's ``spec.finalizers``; without any, it goes when it is to go.

    :raises StatusError: 409 when it changed meanwhile.
    """
    wanted = await _body(request, "Namespace")
    record = cluster.store.get(kind.storage, "", call.target.name)
    if record is None:
        raise not_found(kind.api, call.target.name)
    if (wanted.get("metadata") or {}).get("resourceVersion") not in (None, "", str(record.version)):
        raise modified(kind.api, call.target.name)
    obj = record.load()
    obj["spec"] = {**(obj.get("spec") or {}), "finalizers": (wanted.get("spec") or {}).get("finalizers") or []}
    if not obj["spec"]["finalizers"]:
        del obj["spec"]["finalizers"]
    if is_finished(obj):
        destroy(cluster, kind, obj)
    else:
        save(cluster, kind, obj)
    await durable(cluster)
    return json_response(encode(obj))


async def scale(cluster: Cluster, call: Call, kind: ResourceType, request: web.BaseRequest) -> web.Response:
    """Show, or set, how many replicas there shall be (autoscaling/v1 Scale).

    :raises StatusError: 404 for a type that has no ``scale``, 400 for a number that is none.
    """
    if kind.scale is None:
        raise method_not_allowed()
    obj = find(cluster, call, kind).load()
    shown = _scale_of(kind, obj)
    if call.verb == "get":
        return json_response(encode(shown))
    if call.verb not in ("update", "patch"):
        raise method_not_allowed()
    wanted = await _wanted_scale(call, shown, request)
    if (wanted.get("metadata") or {}).get("resourceVersion") not in (None, "", obj["metadata"]["resourceVersion"]):
        raise modified(kind.api, call.target.name)
    replicas = (wanted.get("spec") or {}).get("replicas", 0)
    if not isinstance(replicas, int) or replicas < 0:
        raise bad_request(f"spec.replicas: must be a number of 0 or more, not {replicas!r}")

    def change(live: Manifest) -> Manifest:
        _put(live, kind.scale[0] if kind.scale else "spec.replicas", replicas)
        return live

    whole = replace(call, target=replace(call.target, subresource=""))
    written = update(cluster, whole, kind, await kind.schema(), change)
    await durable(cluster)
    return json_response(encode(_scale_of(kind, written.obj)))


async def _wanted_scale(call: Call, shown: Manifest, request: web.BaseRequest) -> Manifest:
    body = await request.read()
    media = codec.media_type(request.headers.get("Content-Type", ""))
    if call.verb == "update":
        return codec.decode_object(body, media, "Scale")
    patch = codec.decode_patch(body, media)
    if media == codec.JSON_PATCH:
        return json_patch(shown, patch)
    merged: Manifest = merge_patch(shown, patch)
    return merged


def _scale_of(kind: ResourceType, obj: Manifest) -> Manifest:
    """Return an object as a Scale."""
    replicas, status, selector = kind.scale or ("", "", "")
    meta = obj["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    text = dig(obj, selector) if selector else selector_text(dig(obj, "spec.selector"))
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {name: meta[name] for name in kept if name in meta},
        "spec": {"replicas": dig(obj, replicas) or 0},
        "status": {"replicas": dig(obj, status) or 0, "selector": text or ""},
    }


def _put(obj: Manifest, path: str, value: object) -> None:
    *parents, last = path.split(".")
    for part in parents:
        obj = obj.setdefault(part, {})
    obj[last] = value


async def _body(request: web.BaseRequest, kind: str) -> Manifest:
    body = await request.read()
    return codec.decode_object(body, request.headers.get("Content-Type", ""), kind) if body else {}


_PROXY = frozenset({"create", "delete", "get", "patch", "update"})

_BUILTIN: dict[tuple[str, str], tuple[Handler, frozenset[str]]] = {
    ("pods", "binding"): (bind, frozenset({"create"})),
    ("pods", "eviction"): (evict, frozenset({"create"})),
    ("pods", "log"): (log, frozenset({"get"})),
    ("pods", "proxy"): (proxy, _PROXY),
    ("services", "proxy"): (proxy, _PROXY),
    ("serviceaccounts", "token"): (issue, frozenset({"create"})),
    ("namespaces", "finalize"): (finalize, frozenset({"update"})),
}
"""Resource and subresource → what answers, and for which verbs."""


def subresource(kind: ResourceType, call: Call) -> Handler | None:
    """Return what answers for a subresource, ``None`` when the type does not have it.

    :raises StatusError: 405 for a verb that it does not know.
    """
    name = call.target.subresource
    if name == "scale":
        return scale if kind.scale else None
    handler, verbs = (
        _BUILTIN.get((kind.api.plural, name), (None, frozenset())) if not kind.api.group else (None, frozenset())
    )
    if handler is not None and call.verb not in verbs:
        raise method_not_allowed()
    return handler
