"""Gives every namespace its ServiceAccount ``default``, in whose name pods run that ask for no other."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.exceptions import AlreadyExistsError, NotFoundError
from airflow_provider_sparkml.local.controllers.runtime import Controller, Key, Source
from airflow_provider_sparkml.resources.base import Manifest
from airflow_provider_sparkml.resources.core import NAMESPACE, SERVICE_ACCOUNT

NAME = "default"


def service_account_controller(client: KubernetesClient) -> Controller:
    """Return the controller; one that is deleted by hand comes back, as on any cluster."""

    async def reconcile(namespace: str, name: str) -> None:
        try:
            found = await client.get(NAMESPACE, namespace)
        except NotFoundError:
            return
        if "deletionTimestamp" not in found["metadata"]:
            with contextlib.suppress(AlreadyExistsError):
                await client.create(SERVICE_ACCOUNT, {"metadata": {"name": name}}, namespace)

    return Controller(
        "service accounts", client, [Source(NAMESPACE, _of_namespace), Source(SERVICE_ACCOUNT, _of_account)], reconcile
    )


def _of_namespace(namespace: Manifest) -> Iterable[Key]:
    yield namespace["metadata"]["name"], NAME


def _of_account(account: Manifest) -> Iterable[Key]:
    if account["metadata"]["name"] == NAME:
        yield account["metadata"]["namespace"], NAME
