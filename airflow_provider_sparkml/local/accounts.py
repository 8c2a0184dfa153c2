"""The accounts that a local cluster begins with, Airflow's and the drivers': as the package ships them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import yaml

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.resources.base import ApiResource, Manifest
from airflow_provider_sparkml.resources.core import ROLE, ROLE_BINDING, SERVICE_ACCOUNT

AIRFLOW = "airflow"
"""Airflow's service account."""
TOKEN_SECONDS = 10 * 365 * 24 * 3600
"""Each start of the cluster issues a new token; this is for one that is never stopped."""
FIELD_MANAGER = "sparkml"

_FILES = Path(__file__).parents[1] / "rbac"
_APIS = {api.kind: api for api in (SERVICE_ACCOUNT, ROLE, ROLE_BINDING)}


def shipped() -> Iterator[Manifest]:
    """Yield every object of the files in ``airflow_provider_sparkml/rbac``."""
    for file in sorted(_FILES.glob("*.yaml")):
        yield from yaml.safe_load_all(file.read_text())


async def apply_accounts(client: KubernetesClient, namespace: str) -> None:
    """Give a namespace the service accounts with their roles; roles that were changed are as shipped again.

    :param client: the administrator's.
    """
    for manifest in shipped():
        await client.apply(_APIS[manifest["kind"]], manifest, namespace, field_manager=FIELD_MANAGER, force=True)


async def airflow_token(client: KubernetesClient, namespace: str) -> str:
    """Return a token of Airflow's service account, good for as long as anybody runs a local cluster."""
    request = ApiResource("", "v1", f"serviceaccounts/{AIRFLOW}/token", "TokenRequest")
    body: Manifest = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": TOKEN_SECONDS},
    }
    return str((await client.create(request, body, namespace))["status"]["token"])
