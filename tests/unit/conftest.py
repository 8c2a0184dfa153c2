"""Airflow's side of a task without Airflow: its supervisor, doubled at the wire, and the Spark operator's part."""

from __future__ import annotations

import datetime
import json
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_sparkml.resources import base


@dataclass
class Supervisor:
    """Answers what a task, or a trigger, asks the process that runs it.

    :param xcoms: what was stored, by key.
    :param states: ``{run_id: {task_id: state}}``, the task instances' states.
    :param kept: the task's state, which outlives its tries.
    """

    xcoms: dict[str, Any] = field(default_factory=dict)
    states: dict[str, dict[str, Any]] = field(default_factory=dict)
    kept: dict[str, Any] = field(default_factory=dict)
    failing: bool = False

    def send(self, msg: Any) -> Any:
        if self.failing:
            raise RuntimeError("Airflow's API is away")
        match type(msg).__name__:
            case "SetXCom":
                self.xcoms[msg.key] = msg.value
            case "GetTaskStates":
                return SimpleNamespace(task_states=self.states)
            case "SetTaskStateStore":
                self.kept[msg.key] = json.loads(json.dumps(msg.value))
            case "GetTaskStateStore" if msg.key in self.kept:
                from airflow.sdk.execution_time.comms import TaskStateStoreResult

                return TaskStateStoreResult(value=self.kept[msg.key])
            case "GetConnection":
                from airflow.sdk.exceptions import ErrorType
                from airflow.sdk.execution_time.comms import ErrorResponse

                return ErrorResponse(error=ErrorType.CONNECTION_NOT_FOUND)
        return None

    async def asend(self, msg: Any) -> Any:
        return self.send(msg)


@pytest.fixture(scope="module", autouse=True)
def kinds_of_ones_own() -> Iterator[None]:
    """Forget the kinds that a module's tests, or the examples that they run, have registered."""
    before = set(base._REGISTRY)
    yield
    for key in set(base._REGISTRY) - before - set(base._MODULES):
        del base._REGISTRY[key]


@pytest.fixture(autouse=True)
def secrets_of_ones_own() -> Iterator[None]:
    """Forget which secrets a test has masked: Airflow compiles one expression of all of them for each new one."""
    yield
    if "airflow.sdk.log" in sys.modules:
        from airflow.sdk._shared.secrets_masker import reset_secrets_masker

        reset_secrets_masker()


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> Supervisor:
    """The supervisor of the task under test."""
    from airflow.sdk.execution_time import task_runner

    double = Supervisor()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", double, raising=False)
    return double


@pytest.fixture
def nothing_left_open() -> Iterator[None]:
    """Whoever opens a cluster closes it."""
    yield
    from airflow_provider_sparkml.hooks.kubernetes import _CLUSTERS

    assert not [key for clusters in _CLUSTERS.values() for key in clusters]


@pytest.fixture
def connection(api_server: Any, namespace: str, monkeypatch: pytest.MonkeyPatch, nothing_left_open: None) -> str:
    """``kubernetes_default`` points at the API server, and at this test's namespace; with the shipped roles."""
    return _connect(monkeypatch, api_server.airflow_kubeconfig(namespace), namespace)


@pytest.fixture
def administrator(api_server: Any, namespace: str, connection: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The same with all rights, for what only such a user gets to see: anybody else is refused before."""
    return _connect(monkeypatch, api_server.kubeconfig, namespace)


def _connect(monkeypatch: pytest.MonkeyPatch, kubeconfig: Any, namespace: str) -> str:
    extra = {"kube_config_path": str(kubeconfig), "namespace": namespace}
    monkeypatch.setenv("AIRFLOW_CONN_KUBERNETES_DEFAULT", json.dumps({"conn_type": "kubernetes", "extra": extra}))
    return "kubernetes_default"


@dataclass
class Objects:
    """The objects of one type in this test's namespace, and the part of whoever writes their status."""

    api_server: Any
    path: str

    def all(self) -> list[dict[str, Any]]:
        """Return all but those being deleted: in the foreground an object stays until the garbage collector came."""
        status, answer = self.api_server.request("GET", self.path)
        assert status == 200, answer
        return [item for item in answer["items"] if "deletionTimestamp" not in item["metadata"]]

    def one(self) -> dict[str, Any]:
        (item,) = self.all()
        return item

    def create(self, manifest: dict[str, Any]) -> dict[str, Any]:
        status, answer = self.api_server.request("POST", self.path, manifest)
        assert status == 201, answer
        created: dict[str, Any] = answer
        return created

    def set_status(self, name: str, **status: Any) -> None:
        code, answer = self.api_server.request(
            "PATCH",
            f"{self.path}/{name}/status",
            {"status": status},
            content_type="application/merge-patch+json",
        )
        assert code == 200, answer

    def set_state(self, name: str, state: str, **status: Any) -> None:
        """Write a SparkApplication's state as the Spark operator does."""
        error = status.pop("error", "")
        required = {"driverInfo": {}}  # by the CRD
        self.set_status(name, **{**required, "applicationState": {"state": state, "errorMessage": error}, **status})

    def delete(self, name: str) -> None:
        self.api_server.request("DELETE", f"{self.path}/{name}")


@pytest.fixture
def applications(api_server: Any, namespace: str) -> Objects:
    """The SparkApplications of this test's namespace; nobody but the test acts on them."""
    return Objects(api_server, f"/apis/sparkoperator.k8s.io/v1beta2/namespaces/{namespace}/sparkapplications")


@pytest.fixture
def apache_applications(api_server: Any, namespace: str) -> Objects:
    """The Apache Spark operator's SparkApplications of this test's namespace; nobody but the test acts on them."""
    return Objects(api_server, f"/apis/spark.apache.org/v1/namespaces/{namespace}/sparkapplications")


@pytest.fixture
def schedules(api_server: Any, namespace: str) -> Objects:
    """The ScheduledSparkApplications of this test's namespace; nobody but the test acts on them."""
    return Objects(api_server, f"/apis/sparkoperator.k8s.io/v1beta2/namespaces/{namespace}/scheduledsparkapplications")


@pytest.fixture
def connects(api_server: Any, namespace: str) -> Objects:
    """The SparkConnects of this test's namespace; nobody but the test acts on them."""
    return Objects(api_server, f"/apis/sparkoperator.k8s.io/v1alpha1/namespaces/{namespace}/sparkconnects")


@pytest.fixture
def spark_clusters(api_server: Any, namespace: str) -> Objects:
    """The SparkClusters of this test's namespace; nobody but the test acts on them."""
    return Objects(api_server, f"/apis/spark.apache.org/v1/namespaces/{namespace}/sparkclusters")


@pytest.fixture
def stateful_sets(api_server: Any, namespace: str) -> Objects:
    """The StatefulSets of this test's namespace; nobody but the test acts on them."""
    return Objects(api_server, f"/apis/apps/v1/namespaces/{namespace}/statefulsets")


@pytest.fixture
def services(api_server: Any, namespace: str) -> Objects:
    """The InferenceServices of this test's namespace; nobody but the test acts on them."""
    return Objects(api_server, f"/apis/serving.kserve.io/v1beta1/namespaces/{namespace}/inferenceservices")


@pytest.fixture
def deployments(api_server: Any, namespace: str) -> Objects:
    """The Deployments of this test's namespace."""
    return Objects(api_server, f"/apis/apps/v1/namespaces/{namespace}/deployments")


def _widgets(scope: str, plural: str, kind: str) -> dict[str, Any]:
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {
        "name": "v1", "served": True, "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": anything, "status": anything}}},
        "subresources": {"status": {}},
    }  # fmt: skip
    names = {"kind": kind, "listKind": f"{kind}List", "plural": plural, "singular": kind.lower()}
    return {
        "metadata": {"name": f"{plural}.example.test"},
        "spec": {"group": "example.test", "names": names, "scope": scope, "versions": [version]},
    }


@pytest.fixture
def widgets(api_server: Any, namespace: str) -> Objects:
    """Objects of a kind that this package knows nothing of: ``Widget``; there is a cluster-wide ``Gadget`` as well.

    Airflow's account has the rights on them that the documentation names.
    """
    for definition in (_widgets("Namespaced", "widgetry", "Widget"), _widgets("Cluster", "gadgetry", "Gadget")):
        status, answer = api_server.request(
            "POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition
        )
        assert status in (201, 409), answer
    rule = {"apiGroups": ["example.test"], "verbs": ["create", "get", "list", "watch", "patch", "delete"]}
    api_server.grant(namespace, [{**rule, "resources": ["widgetry"]}], role="widgets")
    api_server.grant(namespace, [{**rule, "resources": ["gadgetry"]}], role=f"gadgets-{namespace}", everywhere=True)
    return Objects(api_server, f"/apis/example.test/v1/namespaces/{namespace}/widgetry")


def task_context(
    *, try_number: int = 1, max_tries: int = 0, map_index: int = -1, run_id: str = "r", task_id: str = "t"
) -> dict[str, Any]:
    """Return what of Airflow's context a task of this package reads."""
    from airflow.sdk._shared.state import TaskScope
    from airflow.sdk.execution_time.context import TaskStateStoreAccessor

    ti = SimpleNamespace(
        dag_id="d",
        task_id=task_id,
        run_id=run_id,
        map_index=map_index,
        try_number=try_number,
        max_tries=max_tries,
        start_date=datetime.datetime.now(datetime.UTC),
    )
    scope = TaskScope(dag_id=ti.dag_id, run_id=run_id, task_id=task_id, map_index=map_index)
    return {"ti": ti, "task_state_store": TaskStateStoreAccessor(ti_id=uuid.UUID(int=1), scope=scope)}


@pytest.fixture(name="task_context")
def task_context_fixture() -> Any:
    """Make contexts of tasks."""
    return task_context
