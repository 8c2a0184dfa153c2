"""What `sparkml cluster status` makes of what is in a cluster."""

from __future__ import annotations

from typing import Any

from airflow_provider_sparkml.cli.overview import Workload, read_overview
from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.client.credentials import kubeconfig_file
from airflow_provider_sparkml.resources.core import POD
from airflow_provider_sparkml.resources.serving import INFERENCE_SERVICE
from airflow_provider_sparkml.resources.spark import SPARK_APPLICATION
from tests.conftest import RunningApiServer

CONTAINERS = [{"name": "main", "image": "x"}]


def pod(name: str, **meta: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, **meta}, "spec": {"containers": CONTAINERS}}


async def test_each_workload_is_shown_once_with_its_verdict(api_server: RunningApiServer, namespace: str) -> None:
    async with KubernetesClient(kubeconfig_file(api_server.kubeconfig)) as client:
        app = {
            "metadata": {"name": "pi"},
            "spec": {
                "type": "Python",
                "mode": "cluster",
                "sparkVersion": "4.3.0",
                "mainApplicationFile": "local:///pi.py",
                "driver": {},
                "executor": {},
            },
        }
        created = await client.create(SPARK_APPLICATION.api, app, namespace)
        state = {"state": "FAILED", "errorMessage": "driver\n  exited with 1"}
        status = {"applicationState": state, "driverInfo": {}}
        await client.replace(SPARK_APPLICATION.api, {**created, "status": status}, namespace, subresource="status")
        await client.create(POD, pod("pi-driver", labels={"spark-app-selector": "spark-1"}), namespace)
        isvc = {"metadata": {"name": "model"}, "spec": {"predictor": {"model": {"modelFormat": {"name": "onnx"}}}}}
        owner = await client.create(INFERENCE_SERVICE.api, isvc, namespace)
        reference = {key: owner[key] for key in ("apiVersion", "kind")}
        reference |= {key: owner["metadata"][key] for key in ("name", "uid")}
        await client.create(POD, pod("model-predictor-0", ownerReferences=[reference]), namespace)
        await client.create(POD, pod("alone"), namespace)
        overview = await read_overview(client, api_server.url)
    assert overview.server == api_server.url
    shown = {(w.kind, w.name): w for w in overview.workloads if w.namespace == namespace}
    assert set(shown) == {("SparkApplication", "pi"), ("InferenceService", "model"), ("Pod", "alone")}
    failed: Workload = shown["SparkApplication", "pi"]
    assert failed.state == "FAILED"
    assert failed.detail == "driver exited with 1"  # one line, whatever the status says
    assert shown["Pod", "alone"].state == "Pending"
    assert [(n.state, n.pods) for n in overview.namespaces if n.name == namespace] == [("Active", 3)]
