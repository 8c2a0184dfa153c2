"""A namespace that ends: what keeps it is looked for less and less often, and nothing else is."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.client.credentials import kubeconfig_file
from airflow_provider_sparkml.exceptions import NotFoundError
from airflow_provider_sparkml.local.controllers.namespaces import LAST_LOOK_SECONDS, _Namespaces
from airflow_provider_sparkml.resources.core import CONFIG_MAP, NAMESPACE, SECRET


async def test_only_what_is_left_is_listed_again(
    api_server: Any, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed: list[str] = []
    async with KubernetesClient(kubeconfig_file(api_server.kubeconfig)) as client:
        held = {"metadata": {"name": "held", "finalizers": ["example.com/hold"]}}
        await client.create(CONFIG_MAP, held, namespace)
        await client.create(SECRET, {"metadata": {"name": "free"}}, namespace)
        await client.delete(NAMESPACE, namespace, propagation="Background")
        real = client.list

        async def listing(api: Any, *args: Any, **options: Any) -> Any:
            listed.append(api.plural)
            return await real(api, *args, **options)

        monkeypatch.setattr(client, "list", listing)
        namespaces = _Namespaces(client)
        waits = []
        while "".join(listed) != "configmaps":
            listed.clear()
            waits.append(await namespaces.reconcile("", namespace) or 0.0)
        for _ in range(12):
            waits.append(await namespaces.reconcile("", namespace) or 0.0)
        assert waits == sorted(waits)
        assert 0 < waits[0] < waits[1]
        assert waits[-1] == LAST_LOOK_SECONDS
        assert set(listed) == {"configmaps"}

        await client.patch(CONFIG_MAP, "held", {"metadata": {"finalizers": None}}, namespace)
        assert await namespaces.reconcile("", namespace) is None
        with pytest.raises(NotFoundError):
            await client.get(NAMESPACE, namespace)
