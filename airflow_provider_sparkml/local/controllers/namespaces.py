"""The namespace controller: a ServiceAccount for every namespace, and an orderly end with all that is in it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.exceptions import AlreadyExistsError, ForbiddenError, NotFoundError
from airflow_provider_sparkml.local.controllers.collectable import namespaced_types
from airflow_provider_sparkml.local.controllers.runtime import Controller, Source
from airflow_provider_sparkml.resources.base import ApiResource, Manifest
from airflow_provider_sparkml.resources.core import NAMESPACE, SERVICE_ACCOUNT

FINALIZER = "kubernetes"
FIRST_LOOK_SECONDS, LAST_LOOK_SECONDS = 0.25, 5.0
"""While a namespace ends: objects with finalizers, and pods that still run, take their time, or all of it."""


def namespace_controller(client: KubernetesClient) -> Controller:
    """Return the controller; it ends with its task."""
    namespaces = _Namespaces(client)
    return Controller("namespaces", client, [Source(NAMESPACE)], namespaces.reconcile)


@dataclass(frozen=True, slots=True)
class _Ending:
    """How far a namespace has ended.

    :param uid: the namespace's.
    :param types: of what there still is something; of all else nothing can come any more.
    :param seconds: until the next look.
    """

    uid: str
    types: list[ApiResource]
    seconds: float = FIRST_LOOK_SECONDS


class _Namespaces:
    def __init__(self, client: KubernetesClient) -> None:
        self._client = client
        self._endings: dict[str, _Ending] = {}

    async def reconcile(self, _: str, name: str) -> float | None:
        """Give a namespace what belongs in it, or empty it and let it go."""
        try:
            namespace = await self._client.get(NAMESPACE, name)
        except NotFoundError:
            self._endings.pop(name, None)
            return None
        if not namespace["metadata"].get("deletionTimestamp"):
            await self._ensure_account(name)
            return None
        if FINALIZER not in (namespace["spec"].get("finalizers") or ()):
            return None
        ending, uid = self._endings.get(name), namespace["metadata"]["uid"]
        if ending is None or ending.uid != uid:
            ending = _Ending(uid, await namespaced_types(self._client))
        counts = await asyncio.gather(*(self._empty(api, name) for api in ending.types))
        left = [api for api, count in zip(ending.types, counts, strict=True) if count]
        if left:
            self._endings[name] = _Ending(uid, left, min(1.5 * ending.seconds, LAST_LOOK_SECONDS))
            return ending.seconds
        self._endings.pop(name, None)
        await self._let_go(namespace)
        return None

    async def _ensure_account(self, namespace: str) -> None:
        """Create the ServiceAccount ``default``, under which pods run that name none."""
        try:
            await self._client.get(SERVICE_ACCOUNT, "default", namespace)
        except NotFoundError:
            try:
                await self._client.create(SERVICE_ACCOUNT, {"metadata": {"name": "default"}}, namespace)
            except (AlreadyExistsError, ForbiddenError, NotFoundError):
                return  # somebody was quicker, or the namespace is going already: its next change calls us again

    async def _empty(self, api: ApiResource, namespace: str) -> int:
        """Delete a type's objects in a namespace; return how many there still were."""
        try:
            objects = (await self._client.list(api, namespace)).items
        except NotFoundError:
            return 0  # the type went meanwhile
        for obj in objects:
            meta = obj["metadata"]
            if not meta.get("deletionTimestamp"):
                await self._client.delete(api, meta["name"], namespace, uid=meta["uid"], propagation="Background")
        return len(objects)

    async def _let_go(self, namespace: Manifest) -> None:
        """Take our finalizer off; the API server then deletes the namespace."""
        finalizers = [each for each in namespace["spec"]["finalizers"] if each != FINALIZER]
        namespace["spec"] = {**namespace["spec"], "finalizers": finalizers}
        try:
            await self._client.replace(NAMESPACE, namespace, subresource="finalize")
        except NotFoundError:
            return
