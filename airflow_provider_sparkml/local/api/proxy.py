"""Requests forwarded to pods and services (``…/proxy/…``): the way to Spark's REST API and to model servers."""

from __future__ import annotations

from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar, web
from yarl import URL

from airflow_provider_sparkml.local.api.call import Call
from airflow_provider_sparkml.local.api.cluster import Cluster
from airflow_provider_sparkml.local.api.selectors import Requirement, Selector
from airflow_provider_sparkml.local.api.status import StatusError, bad_request, not_found
from airflow_provider_sparkml.local.api.types import ResourceType
from airflow_provider_sparkml.resources.base import ApiResource, Manifest
from airflow_provider_sparkml.resources.core import POD, SERVICE

_CONNECT_SECONDS = 5.0
_CHUNK_BYTES = 64 * 1024
_NOT_FORWARDED = frozenset(
    {
        "authorization", "connection", "host", "keep-alive", "proxy-authenticate", "proxy-authorization", "te",
        "trailer", "transfer-encoding", "upgrade", "content-length", "content-encoding",
    }
)  # fmt: skip
"""Headers of one hop; and the token, which is for the API server alone."""


async def proxy(cluster: Cluster, call: Call, kind: ResourceType, request: web.BaseRequest) -> web.StreamResponse:
    """Answer ``pods/…/proxy`` and ``services/…/proxy``.

    :raises StatusError: 404 for a missing object, 503 when nothing answers there.
    """
    scheme, name, port = _split(call.target.name)
    if kind.api.plural == "pods":
        host, number = _pod_address(cluster, call.target.namespace, name, port)
    else:
        host, number = _service_address(cluster, call.target.namespace, name, port)
    path = request.rel_url.raw_path.partition("/proxy")[2] or "/"
    url = URL.build(
        scheme=scheme,
        authority=f"{host}:{number}",
        encoded=True,
        path=path,
        query_string=request.rel_url.raw_query_string,
    )
    return await _forward(request, url, prefix=request.rel_url.raw_path.partition("/proxy")[0] + "/proxy")


def _split(text: str) -> tuple[str, str, str]:
    """Split ``[scheme:]name[:port]``."""
    parts = text.split(":")
    if len(parts) == 3 and parts[0] in ("http", "https", ""):
        return parts[0] or "http", parts[1], parts[2]
    if len(parts) <= 2:
        return "http", parts[0], parts[1] if len(parts) == 2 else ""
    raise bad_request(f"invalid name {text!r}: it must be [scheme:]name[:port]")


def _load(cluster: Cluster, api: ApiResource, namespace: str, name: str) -> Manifest:
    record = cluster.store.get(f"{api.group}/{api.plural}", namespace, name)
    if record is None:
        raise not_found(api, name)
    return record.load()


def _pod_address(cluster: Cluster, namespace: str, name: str, port: str) -> tuple[str, int]:
    pod = _load(cluster, POD, namespace, name)
    address = (pod.get("status") or {}).get("podIP")
    if not address:
        raise bad_request(f'pod "{name}" has no address yet: it is not running')
    return address, _pod_port(pod, port or "80", fallback=not port)


def _pod_port(pod: Manifest, port: str | int, *, fallback: bool = False) -> int:
    """Return a pod's port by number or name; with ``fallback`` its first."""
    ports = [each for container in pod["spec"]["containers"] for each in container.get("ports") or ()]
    if fallback and ports:
        return int(ports[0]["containerPort"])
    if str(port).isdigit():
        return int(port)
    for each in ports:
        if each.get("name") == port:
            return int(each["containerPort"])
    raise bad_request(f'pod "{pod["metadata"]["name"]}" has no port named {port!r}')


def _service_address(cluster: Cluster, namespace: str, name: str, port: str) -> tuple[str, int]:
    """Return where a ready pod of a service listens."""
    service = _load(cluster, SERVICE, namespace, name)
    ports: list[dict[str, Any]] = service["spec"].get("ports") or []
    chosen = [each for each in ports if not port or port in (each.get("name"), str(each["port"]))]
    if not chosen or (not port and len(ports) > 1):
        raise StatusError(
            503, "ServiceUnavailable", f'no endpoints available for service "{name}": no port {port!r}', {}
        )
    selector = service["spec"].get("selector")
    if selector:
        requirements = tuple(Requirement(key, "in", frozenset({value})) for key, value in selector.items())
        for record in cluster.store.select("/pods", namespace):
            if Selector(requirements).matches(record.labels) and record.fields.get("status.podIP"):
                pod = record.load()
                if _is_ready(pod):
                    return record.fields["status.podIP"], _pod_port(pod, chosen[0].get("targetPort", chosen[0]["port"]))
    raise StatusError(503, "ServiceUnavailable", f'no endpoints available for service "{name}"', {})


def _is_ready(pod: Manifest) -> bool:
    if pod["metadata"].get("deletionTimestamp"):
        return False
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


async def _forward(request: web.BaseRequest, url: URL, prefix: str) -> web.StreamResponse:
    """Send a request on, and its answer back, both piece by piece."""
    headers = [(name, value) for name, value in request.headers.items() if name.lower() not in _NOT_FORWARDED]
    timeout = ClientTimeout(total=None, connect=_CONNECT_SECONDS)
    async with ClientSession(timeout=timeout, cookie_jar=DummyCookieJar()) as session:
        body = request.content if request.body_exists else None
        try:
            answer = await session.request(request.method, url, headers=headers, data=body, allow_redirects=False)
        except (TimeoutError, ClientError, OSError) as error:
            message = f"error trying to reach service: {error or type(error).__name__}"
            raise StatusError(503, "ServiceUnavailable", message, {}) from None
        async with answer:
            response = web.StreamResponse(status=answer.status, reason=answer.reason)
            for name, value in answer.headers.items():
                if name.lower() not in _NOT_FORWARDED:
                    response.headers.add(name, prefix + value if name == "Location" and value[:1] == "/" else value)
            await response.prepare(request)
            async for chunk in answer.content.iter_chunked(_CHUNK_BYTES):
                await response.write(chunk)
            await response.write_eof()
            return response
