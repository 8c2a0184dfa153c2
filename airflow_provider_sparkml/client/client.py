"""The Kubernetes API as Python calls: one method per verb, for any resource type, with the package's own exceptions."""

from __future__ import annotations

import builtins
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, Self
from urllib.parse import parse_qsl, quote

from airflow_provider_sparkml.client.credentials import CredentialsSource
from airflow_provider_sparkml.client.errors import Call
from airflow_provider_sparkml.client.requests import Request, Target, complete, name_of, request
from airflow_provider_sparkml.client.streams import log_lines, watch_events
from airflow_provider_sparkml.client.transport import Timeouts, Transport
from airflow_provider_sparkml.exceptions import ConflictError, GoneError, InvalidManifestError, NotFoundError
from airflow_provider_sparkml.resources.base import ApiResource, Manifest

FieldValidation = Literal["Strict", "Warn", "Ignore"]
Propagation = Literal["Foreground", "Background", "Orphan"]

PODS = ApiResource("", "v1", "pods", "Pod")
EVENTS = ApiResource("", "v1", "events", "Event")
ACCESS_REVIEWS = ApiResource("authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", False)

_MERGE_PATCH = "application/merge-patch+json"
_STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"
_JSON_PATCH = "application/json-patch+json"
_APPLY_PATCH = "application/apply-patch+yaml"
_PAGED_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class ObjectList:
    """The objects of a collection at one moment.

    :param items: the objects.
    :param resource_version: where a watch goes on from.
    """

    items: list[Manifest]
    resource_version: str


class KubernetesClient:
    """An async client of one API server; belongs to one event loop. Use it as ``async with``, or :meth:`close` it.

    Every method raises :class:`~airflow_provider_sparkml.exceptions.ApiError` or a subclass, and
    ``InvalidConnectionError`` where the credentials cannot be used. Calls answered by 429 or 5xx, or by a lost
    connection, are repeated with jittered back-off until ``timeouts.total``; then ``ApiUnavailableError``. A namespace
    of ``None`` is the object's own, else that of the credentials, else ``default``; for ``list`` and ``watch`` it is
    all namespaces.

    :param credentials: from :mod:`airflow_provider_sparkml.client.credentials`.
    :param timeouts: limits in seconds; :class:`Timeouts`'s defaults when not given.
    :param tcp_keepalive: whether idle connections are probed.
    """

    def __init__(
        self, credentials: CredentialsSource, *, timeouts: Timeouts | None = None, tcp_keepalive: bool = True
    ) -> None:
        self._transport = Transport(credentials, timeouts or Timeouts(), tcp_keepalive=tcp_keepalive)

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def default_namespace(self) -> str:
        """Return the namespace of the credentials' context, else ``default``."""
        return (await self._transport.credentials()).namespace or "default"

    async def get(self, api: ApiResource, name: str, namespace: str | None = None) -> Manifest:
        """Return one object.

        :raises NotFoundError: it does not exist.
        """
        return await self._send(request("get", "GET", Target(api, await self._namespace(api, namespace), name)))

    async def list(
        self,
        api: ApiResource,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        page_size: int = 500,
    ) -> ObjectList:
        """Return all objects of a type, read page by page.

        :param page_size: objects per request.
        """
        query = {"labelSelector": label_selector, "fieldSelector": field_selector}
        for _ in range(_PAGED_ATTEMPTS):
            try:
                return await self._list(api, namespace, query | {"limit": str(page_size)})
            except GoneError:
                continue  # the snapshot was compacted away between two pages: begin anew
        # Reading in pages takes longer than the server keeps snapshots; client-go then asks for all at once, too.
        return await self._list(api, namespace, query)

    async def _list(self, api: ApiResource, namespace: str | None, query: dict[str, str]) -> ObjectList:
        items: builtins.list[Manifest] = []
        target = Target(api, namespace if api.namespaced else None)
        token = ""
        while True:
            page = await self._send(request("list", "GET", target, query | {"continue": token}))
            items += page.get("items") or []
            token = page["metadata"].get("continue") or ""
            if not token:
                break
        for item in items:
            # Built-in types leave these out of a list's items, though not of a get's or a watch's objects.
            item.setdefault("apiVersion", api.api_version)
            item.setdefault("kind", api.kind)
        return ObjectList(items, str(page["metadata"].get("resourceVersion", "")))

    async def create(
        self,
        api: ApiResource,
        manifest: Manifest,
        namespace: str | None = None,
        *,
        dry_run: bool = False,
        field_validation: FieldValidation = "Strict",
    ) -> Manifest:
        """Create an object and return it as stored.

        A create whose connection was lost is repeated, so ``AlreadyExistsError`` may mean that the first one got
        through: the caller, who knows the object's labels, decides.

        :param dry_run: check and admit it as if, and store nothing.
        :param field_validation: what the server does about fields that the type does not have.
        :raises AlreadyExistsError: an object of that name exists.
        :raises InvalidObjectError: the server does not accept it; the message names the fields.
        """
        name = name_of(manifest)
        target = Target(api, await self._namespace(api, namespace, manifest))
        sent = request(
            "create",
            "POST",
            target,
            {"dryRun": "All" if dry_run else "", "fieldValidation": field_validation},
            body=complete(api, manifest),
            repeatable=bool(name),  # the server would make up a second name for a second generateName
        )
        return await self._send(replace(sent, call=replace(sent.call, name=name)))

    async def replace(
        self, api: ApiResource, manifest: Manifest, namespace: str | None = None, *, subresource: str | None = None
    ) -> Manifest:
        """Replace an object and return it as stored.

        :raises ConflictError: its ``resourceVersion`` is no longer the newest.
        """
        target = Target(api, await self._namespace(api, namespace, manifest), name_of(manifest), subresource)
        return await self._send(request("replace", "PUT", target, body=complete(api, manifest)))

    async def patch(
        self,
        api: ApiResource,
        name: str,
        patch: dict[str, Any] | builtins.list[dict[str, Any]],
        namespace: str | None = None,
        *,
        subresource: str | None = None,
        strategic: bool = False,
    ) -> Manifest:
        """Patch an object and return it as stored.

        :param patch: a mapping is a merge patch (RFC 7396), a list a JSON patch (RFC 6902).
        :param strategic: the mapping is a strategic merge patch, which only built-in types know.
        """
        target = Target(api, await self._namespace(api, namespace), name, subresource)
        merge = _STRATEGIC_MERGE_PATCH if strategic else _MERGE_PATCH
        if isinstance(patch, dict):
            return await self._send(request("patch", "PATCH", target, body=patch, content_type=merge))
        # Not repeatable: what a JSON patch adds to a list it would add twice.
        return await self._send(
            request("patch", "PATCH", target, body=patch, content_type=_JSON_PATCH, repeatable=False)
        )

    async def apply(
        self,
        api: ApiResource,
        manifest: Manifest,
        namespace: str | None = None,
        *,
        field_manager: str,
        force: bool = False,
        dry_run: bool = False,
        field_validation: FieldValidation = "Strict",
        subresource: str | None = None,
    ) -> Manifest:
        """Apply an object on the server's side and return it as stored.

        :param field_manager: who owns the applied fields.
        :param force: take over fields that others own.
        :raises ConflictError: others own fields of it; the message names them.
        """
        target = Target(api, await self._namespace(api, namespace, manifest), name_of(manifest), subresource)
        query = {
            "fieldManager": field_manager,
            "force": "true" if force else "",
            "dryRun": "All" if dry_run else "",
            "fieldValidation": field_validation,
        }
        body = complete(api, manifest)
        return await self._send(request("apply", "PATCH", target, query, body=body, content_type=_APPLY_PATCH))

    async def delete(
        self,
        api: ApiResource,
        name: str,
        namespace: str | None = None,
        *,
        propagation: Propagation | None = "Foreground",
        uid: str | None = None,
        grace_seconds: int | None = None,
    ) -> bool:
        """Delete an object; with finalizers, or in the foreground, it is gone some time after this returns.

        :param propagation: what happens to the objects it owns; ``None`` leaves it as a former delete said.
        :param uid: delete only the object of this UID.
        :param grace_seconds: seconds its pod has to end by itself.
        :returns: ``False`` when there was nothing to delete: it is absent, or the name is another object's.
        """
        options: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if propagation is not None:
            options["propagationPolicy"] = propagation
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        target = Target(api, await self._namespace(api, namespace), name)
        try:
            await self._send(request("delete", "DELETE", target, body=options))
        except NotFoundError:
            return False
        except ConflictError as error:
            if uid is not None and "UID in the precondition" in str(error):
                return False
            raise
        return True

    async def delete_collection(self, api: ApiResource, namespace: str, *, label_selector: str) -> None:
        """Delete all objects of a type in a namespace that a selector selects.

        :param label_selector: must not be empty, since that would be everything.
        """
        if not label_selector:
            raise InvalidManifestError(f"label_selector is empty: that would delete all {api.plural} in {namespace}")
        query = {"labelSelector": label_selector}
        await self._send(request("deletecollection", "DELETE", Target(api, namespace), query))

    def watch(
        self,
        api: ApiResource,
        namespace: str | None,
        *,
        resource_version: str,
        label_selector: str = "",
        field_selector: str = "",
        timeout_seconds: int = 300,
        on_open: Callable[[], None] | None = None,
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Yield ``{"type": "ADDED" | "MODIFIED" | "DELETED" | "BOOKMARK", "object": …}`` until the server ends it.

        :param resource_version: of the list or the event after which to begin.
        :param timeout_seconds: after how long the server ends the watch.
        :param on_open: called when the server has accepted the watch, which may be long before the first event.
        :raises GoneError: the version is too old: list anew.
        :raises ApiUnavailableError: the connection was lost; go on from the last version seen.
        """
        query = {
            "watch": "1",
            "resourceVersion": resource_version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(timeout_seconds),
            "labelSelector": label_selector,
            "fieldSelector": field_selector,
        }
        sent = request("watch", "GET", Target(api, namespace if api.namespaced else None), query)
        return watch_events(self._transport, sent, timeout_seconds, on_open)

    def pod_log(
        self,
        namespace: str,
        pod: str,
        *,
        container: str | None = None,
        follow: bool = False,
        since_seconds: int | None = None,
        since_time: str | None = None,
        tail_lines: int | None = None,
        limit_bytes: int | None = None,
        timestamps: bool = False,
        previous: bool = False,
    ) -> AsyncGenerator[str, None]:
        """Yield the lines of a container's log, without their line ends; none while the container has not started.

        :param follow: go on until the container ends.
        :param since_time: RFC 3339 time to begin at.
        :param tail_lines: begin at most so many lines before the end.
        :param limit_bytes: end after so many bytes.
        :param timestamps: begin each line with its RFC 3339 time and a space.
        :param previous: of the container's former instance.
        :raises ApiUnavailableError: the connection was lost.
        """
        given = {
            "container": container,
            "sinceSeconds": since_seconds,
            "sinceTime": since_time,
            "tailLines": tail_lines,
            "limitBytes": limit_bytes,
        }
        flags = {"follow": follow, "timestamps": timestamps, "previous": previous}
        query = {key: str(value) for key, value in given.items() if value is not None}
        query |= {key: "true" for key, value in flags.items() if value}
        return log_lines(
            self._transport, request("get", "GET", Target(PODS, namespace, pod, "log"), query), follow=follow
        )

    async def pod_proxy_get(self, namespace: str, pod: str, port: int, path: str) -> Any:
        """Return the JSON that a pod serves, fetched through the API server; tried once.

        :param path: path on the pod's server, with a query where needed.
        """
        path, _, query = path.lstrip("/").partition("?")
        sent = request(
            "proxy", "GET", Target(PODS, namespace, f"{pod}:{port}", "proxy"), dict(parse_qsl(query)), retry=False
        )
        return await self._transport.send(replace(sent, path=f"{sent.path}/{quote(path, safe='/%')}"))

    async def events(self, namespace: str, uid: str) -> builtins.list[Manifest]:
        """Return the events about one object, oldest first.

        :param uid: the object's UID.
        """
        # Events about cluster-wide objects are in namespace default.
        found = await self.list(EVENTS, namespace or "default", field_selector=f"involvedObject.uid={uid}")
        return sorted(found.items, key=_event_time)

    async def can_i(
        self, verb: str, api: ApiResource, namespace: str | None, *, subresource: str = "", name: str = ""
    ) -> bool:
        """Return whether these credentials may do something (``SelfSubjectAccessReview``).

        :param namespace: ``None`` asks for all namespaces.
        """
        wanted = {
            "verb": verb,
            "group": api.group,
            "resource": api.plural,
            "subresource": subresource,
            "namespace": namespace or "",
            "name": name,
        }
        review = await self.create(ACCESS_REVIEWS, {"spec": {"resourceAttributes": wanted}})
        return bool(review["status"].get("allowed"))

    async def read_path(self, path: str) -> dict[str, Any]:
        """Return what the API server says about itself at a path: ``/version``, ``/apis``, ``/apis/<group>/<version>``.

        :raises NotFoundError: there is nothing at that path.
        """
        return await self._send(Request(Call("get", path), "GET", path, {}))

    async def _namespace(self, api: ApiResource, namespace: str | None, manifest: Manifest | None = None) -> str | None:
        """Return where an object belongs, ``None`` for types without namespaces."""
        if not api.namespaced:
            return None
        own = ((manifest or {}).get("metadata") or {}).get("namespace")
        return namespace or own or await self.default_namespace()

    async def _send(self, sent: Request) -> dict[str, Any]:
        answer: dict[str, Any] = await self._transport.send(sent)
        return answer


def _event_time(event: Manifest) -> str:
    """Return when an event last happened: old and new API fill different fields; RFC 3339 in UTC sorts as text."""
    series = event.get("series") or {}
    moments = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    return str(next(filter(None, moments), None) or event["metadata"].get("creationTimestamp", ""))
