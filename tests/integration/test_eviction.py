"""A pod that is really evicted, by the API that a drain of its node uses: the next try runs and succeeds."""

from __future__ import annotations

import logging
from typing import Any

import aiohttp
import pytest
import yaml
from airflow.sdk.definitions.retry_policy import RetryAction

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.client.watch import WatchHub
from airflow_provider_sparkml.exceptions import RetryableError
from airflow_provider_sparkml.jobs.finish import finish
from airflow_provider_sparkml.jobs.outcome import Deadlines
from airflow_provider_sparkml.jobs.submit import submit
from airflow_provider_sparkml.jobs.wait import wait
from airflow_provider_sparkml.resources.core import POD
from airflow_provider_sparkml.resources.naming import TaskIdentity
from airflow_provider_sparkml.resources.training_pods import TRAINING_PODS, Replica, TrainingPods
from airflow_provider_sparkml.retries import InfrastructureRetryPolicy
from tests.integration.conftest import ClusterProcess, until

LOG = logging.getLogger(__name__)
WAITS = "import time; print('waiting', flush=True); time.sleep(300)"


async def evict(cluster: ClusterProcess, namespace: str, pod: str) -> None:
    """Do what ``kubectl drain`` does to each pod of a node."""
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    url, token = config["clusters"][0]["cluster"]["server"], config["users"][0]["user"]["token"]
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": namespace}}
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session,
        session.post(f"{url}/api/v1/namespaces/{namespace}/pods/{pod}/eviction", json=eviction, ssl=False) as answer,
    ):
        assert answer.status == 201, await answer.text()


async def test_an_evicted_pod_is_tried_again(
    local_cluster: ClusterProcess, cluster_client: KubernetesClient, cluster_namespace: str
) -> None:
    hub = WatchHub(cluster_client)

    async def attempt(number: int, program: str, evicted: bool) -> Any:
        identity = TaskIdentity("test", "d", "t", "r", -1, number, 2)
        pods = Replica(image="python:1", command=["python", "-c", program], extra={"terminationGracePeriodSeconds": 1})
        job = await submit(
            cluster_client, TRAINING_PODS, TrainingPods(pods=pods).to_manifest(), identity,
            namespace=cluster_namespace, log=LOG,
        )  # fmt: skip
        if evicted:
            selector = TRAINING_PODS.pod_selector(job.obj)
            name = ""
            while not name:
                listed = await cluster_client.list(POD, cluster_namespace, label_selector=selector)
                name = next((each["metadata"]["name"] for each in listed.items), "")
            await until(
                cluster_client, POD, cluster_namespace, name,
                lambda pod: (pod or {}).get("status", {}).get("phase") == "Running", seconds=60,
            )  # fmt: skip
            await evict(local_cluster, cluster_namespace, name)
        outcome = await wait(cluster_client, hub, TRAINING_PODS, job.ref, Deadlines(), log=LOG)
        return await finish(cluster_client, TRAINING_PODS, outcome, on_finish="delete", log=LOG)

    try:
        with pytest.raises(RetryableError) as failed:
            await attempt(1, WAITS, evicted=True)
        assert InfrastructureRetryPolicy().evaluate(failed.value, 1, 2).action is RetryAction.RETRY
        result = await attempt(2, "print('done')", evicted=False)
        assert result["phase"] == "SUCCEEDED"
    finally:
        await hub.close()
