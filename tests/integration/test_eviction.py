"""A pod that is really evicted, by the API that a drain of its node uses: the next try runs and succeeds."""

from __future__ import annotations

import logging
from typing import Any

import pytest
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
from tests.integration.conftest import ClusterProcess, evict, until

LOG = logging.getLogger(__name__)
WAITS = "import time; print('waiting', flush=True); time.sleep(300)"


async def test_an_evicted_pod_is_tried_again(
    local_cluster: ClusterProcess, airflow_client: KubernetesClient, cluster_namespace: str
) -> None:
    hub = WatchHub(airflow_client)

    async def attempt(number: int, program: str, evicted: bool) -> Any:
        identity = TaskIdentity("test", "d", "t", "r", -1, number, 2)
        pods = Replica(image="python:1", command=["python", "-c", program], extra={"terminationGracePeriodSeconds": 1})
        job = await submit(
            airflow_client, TRAINING_PODS, TrainingPods(pods=pods).to_manifest(), identity,
            namespace=cluster_namespace, log=LOG,
        )  # fmt: skip
        if evicted:
            selector = TRAINING_PODS.pod_selector(job.obj)
            name = ""
            while not name:
                listed = await airflow_client.list(POD, cluster_namespace, label_selector=selector)
                name = next((each["metadata"]["name"] for each in listed.items), "")
            await until(
                airflow_client, POD, cluster_namespace, name,
                lambda pod: (pod or {}).get("status", {}).get("phase") == "Running", seconds=60,
            )  # fmt: skip
            await evict(local_cluster, cluster_namespace, name)
        outcome = await wait(airflow_client, hub, TRAINING_PODS, job.ref, Deadlines(), log=LOG)
        return await finish(airflow_client, TRAINING_PODS, outcome, on_finish="delete", log=LOG)

    try:
        with pytest.raises(RetryableError) as failed:
            await attempt(1, WAITS, evicted=True)
        assert InfrastructureRetryPolicy().evaluate(failed.value, 1, 2).action is RetryAction.RETRY
        result = await attempt(2, "print('done')", evicted=False)
        assert result["phase"] == "SUCCEEDED"
    finally:
        await hub.close()
