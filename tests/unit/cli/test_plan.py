"""`sparkml plan`, for nodes that are told and for those of a cluster."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from airflow_provider_sparkml.cli import app
from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.client.credentials import kubeconfig_file
from airflow_provider_sparkml.resources.core import NODE, POD
from tests.conftest import RunningApiServer

NODE_16 = ("--node-cpu", "16", "--node-memory", "64Gi")


def plan(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["plan", *arguments], env={"COLUMNS": "200"})


def test_the_table_the_arithmetic_and_what_to_write_into_a_dag() -> None:
    result = plan(*NODE_16, "--nodes", "2", "--driver-memory", "1g", "--executor-cores", "5", "--executor-cores", "4")
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0] == "Plans, the best first:"
    assert lines[1].split()[:5] == ["CORES", "EXECUTORS", "TASKS", "HEAP", "OVERHEAD"]
    assert lines[2].split() == ["5", "6", "30", "15262m", "6105m", "5", "21367Mi", "1", "1437Mi"]
    assert lines[3].split()[:3] == ["4", "7", "28"]
    assert any(
        re.fullmatch(r"  executors per other node +cores 16 / 5 = 3; MiB 65536 / 21367 = 3 +3", x) for x in lines
    )
    assert lines[-1] == "executor=Executor(instances=6, cores=5, memory='15262m', memory_overhead='6105m')"


def test_json_has_all_that_the_table_has() -> None:
    found = json.loads(plan(*NODE_16, "--request-per-core", "900m", "--type", "Scala", "-o", "json").output)
    best = found["plans"][0]
    assert best["spec"]["coreRequest"] == best["pod"]["cpu"]
    assert best["spec"]["instances"] == best["instances"] == best["per_node"]
    assert found["arithmetic"][0] == {"what": "a node has", "how": "16, 64Gi", "result": "16 cores and 65536 MiB"}
    assert found["remarks"] == []


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 1, "error: no nodes: give --node-cpu and --node-memory, or --cluster\n"),
        (("--node-cpu", "4"), 1, "error: no nodes: "),
        ((*NODE_16, "--cluster"), 1, "error: --node-cpu and --node-memory are for nodes that are in no cluster"),
        ((*NODE_16, "--memory", "big"), 1, "error: memory is 'big', which is no Kubernetes quantity"),
        ((*NODE_16, "--executor-cores", "17"), 1, "error: no executor fits: "),
        ((*NODE_16, "--type", "Go"), 1, "error: type is 'Go': "),
        ((*NODE_16, "--executor-cores", "0"), 2, "--executor-cores"),
        ((*NODE_16, "--nodes", "none"), 2, "--nodes"),
    ],
)
def test_errors_are_one_line_with_cause_and_remedy(arguments: tuple[str, ...], code: int, said: str) -> None:
    result = plan(*arguments)
    assert result.exit_code == code
    assert said in result.output


# --- nodes of a cluster ---

READY = [{"type": "Ready", "status": "True"}]


def node(name: str, cpu: str, memory: str, *, ready: bool = True, **spec: Any) -> dict[str, Any]:
    conditions = READY if ready else [{"type": "Ready", "status": "Unknown"}]
    status = {"allocatable": {"cpu": cpu, "memory": memory}, "conditions": conditions}
    return {"metadata": {"name": name, "labels": {"pool": "sizing"}}, "spec": spec, "status": status}


def of_daemon_set(name: str, on: str, cpu: str, memory: str, kind: str = "DaemonSet") -> dict[str, Any]:
    owner = {"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": f"uid-{name}"}
    container = {"name": "main", "image": "x", "resources": {"requests": {"cpu": cpu, "memory": memory}}}
    return {
        "metadata": {"name": f"{name}-{on}", "ownerReferences": [owner]},
        "spec": {"nodeName": on, "containers": [container]},
    }


NODES = [
    node("sizing-1", "15890m", "60Gi"),
    node("sizing-2", "16", "64Gi", taints=[{"key": "spark", "value": "only", "effect": "NoSchedule"}]),
    node("sizing-cordoned", "4", "1Gi", unschedulable=True),
    node("sizing-away", "4", "1Gi", ready=False),
]
PODS = [
    of_daemon_set("proxy", "sizing-1", "100m", "128Mi"),
    of_daemon_set("logs", "sizing-1", "150m", "200Mi"),
    of_daemon_set("proxy", "sizing-2", "100m", "1Gi", kind="Node"),
    of_daemon_set("web", "sizing-2", "8", "32Gi", kind="ReplicaSet"),
]


@pytest.fixture
def nodes(start_api_server: Callable[..., RunningApiServer]) -> RunningApiServer:
    """An API server with these nodes and no others; the one that tests share may have a kubelet's."""
    server = start_api_server()

    async def create() -> None:
        async with KubernetesClient(kubeconfig_file(server.kubeconfig)) as client:
            for each in NODES:
                created = await client.create(NODE, {key: each[key] for key in ("metadata", "spec")})
                await client.replace(NODE, {**created, "status": each["status"]}, subresource="status")
            for pod in PODS:
                await client.create(POD, pod, "default")

    asyncio.run(create())
    return server


def test_nodes_are_read_from_the_cluster(nodes: RunningApiServer) -> None:
    options = ("--kubeconfig", str(nodes.kubeconfig), "--selector", "pool=sizing", "-o", "json")
    found = json.loads(plan(*options).output)
    assert found["arithmetic"][:3] == [
        {"what": "a node has", "how": "15890m, 60Gi", "result": "15.89 cores and 61440 MiB"},
        {"what": "- reserved", "how": "250m, 1024Mi", "result": "0.25 cores and 1024 MiB"},
        {"what": "= for Spark", "how": "", "result": "15.64 cores and 60416 MiB"},
    ]
    assert found["plans"][0]["instances"] == 2 * found["plans"][0]["per_node"]
    assert found["remarks"] == [
        "2 of 4 nodes left out",
        "nodes of 15890m to 16 cores: planned for the least of all; choose those of one size with --selector",
        "nodes of 60Gi to 64Gi memory: planned for the least of all; choose those of one size with --selector",
    ]
    told = json.loads(plan(*options, "--reserved-cpu", "1", "--reserved-memory", "0", "--nodes", "1").output)
    assert told["arithmetic"][1]["result"] == "1 core and 0 MiB"
    assert told["plans"][0]["instances"] == told["plans"][0]["per_node"]


def test_without_a_selector_tainted_nodes_are_left_out(nodes: RunningApiServer) -> None:
    result = plan("--kubeconfig", str(nodes.kubeconfig))
    assert result.exit_code == 0, result.output
    assert "note: 3 of 4 nodes left out" in result.output
    assert re.search(r"a node has +15890m, 60Gi", result.output)


def test_no_node_is_an_error_that_says_why(api_server: RunningApiServer) -> None:
    result = plan("--kubeconfig", str(api_server.kubeconfig), "--selector", "pool=none")
    assert result.exit_code == 1
    assert result.output.startswith("error: of 0 nodes with the labels 'pool=none' none can take executors: ")


def test_a_user_with_few_rights_is_told_what_to_give_instead(nodes: RunningApiServer) -> None:
    kubeconfig = nodes.airflow_kubeconfig("default", name="planner")
    options = ("--kubeconfig", str(kubeconfig), "--selector", "pool=sizing", "-o", "json")
    refused = plan(*options)
    assert refused.exit_code == 1
    assert refused.output.startswith("error: nodes is forbidden: ")
    assert refused.output.endswith(": give --node-cpu and --node-memory instead\n")
    nodes.grant(
        "default",
        [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]}],
        account="planner",
        role="planner-nodes",
        everywhere=True,
    )
    found = json.loads(plan(*options).output)
    assert found["arithmetic"][1]["what"] == "executors per node", "nothing is known to be reserved"
    assert found["remarks"][-1].startswith(
        "what DaemonSets request was not read, so give --reserved-cpu and --reserved-memory: pods is forbidden: "
    )
    told = json.loads(plan(*options, "--reserved-cpu", "1", "--reserved-memory", "1Gi").output)
    assert told["arithmetic"][1]["result"] == "1 core and 1024 MiB"
    assert not any("DaemonSets" in remark for remark in told["remarks"]), "pods were not asked for"
