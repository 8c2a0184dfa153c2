"""`sparkml cluster` as a person uses it: in processes of its own, with kubectl beside it."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import pty
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

SCRIPTS = Path(sys.executable).parent
SLEEPER: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "sleeper"},
    "spec": {
        "terminationGracePeriodSeconds": 5,
        "containers": [{"name": "main", "image": "sparkml/onnxserver:1", "command": ["sleep", "321"]}],
    },
}

Sparkml = Callable[..., subprocess.CompletedProcess[str]]


def sparkml(*arguments: object, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SCRIPTS / "sparkml", *map(str, arguments)], capture_output=True, text=True, check=check, timeout=60
    )


def kubectl(state: Path, *arguments: str, stdin: str = "") -> str:
    result = subprocess.run(
        [SCRIPTS / "kubectl", f"--kubeconfig={state / 'kubeconfig'}", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def pid_of(state: Path) -> int:
    return int((state / "cluster.pid").read_text())


def server_of(kubeconfig: Path) -> str:
    return str(yaml.safe_load(kubeconfig.read_text())["clusters"][0]["cluster"]["server"])


def port_of(state: Path) -> int:
    return int(server_of(state / "kubeconfig").rpartition(":")[2])


def start_sleeper(state: Path) -> psutil.Process:
    """Start a pod and return its process."""
    kubectl(state, "apply", "-f", "-", stdin=json.dumps(SLEEPER))
    kubectl(state, "wait", "pod/sleeper", "--for=condition=Ready", "--timeout=50s")
    found = [
        process
        for process in psutil.Process(pid_of(state)).children(recursive=True)
        if process.cmdline() == ["sleep", "321"]
    ]
    assert len(found) == 1
    return found[0]


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """A state directory, whose cluster is stopped in the end."""
    yield tmp_path / "state"
    with contextlib.suppress(FileNotFoundError, ProcessLookupError, psutil.NoSuchProcess):
        process = psutil.Process(pid_of(tmp_path / "state"))
        process.terminate()
        process.wait(30)


@pytest.fixture
def running(state: Path) -> Path:
    """The state directory of a running cluster of the test's own."""
    sparkml("cluster", "up", "--detach", "--state-dir", state)
    return state


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The state directory of a running cluster that no test stops."""
    state = tmp_path_factory.mktemp("shared")
    sparkml("cluster", "up", "--detach", "--state-dir", state)
    yield state
    sparkml("cluster", "down", "--state-dir", state)


def test_up_status_down_and_up_again(state: Path, tmp_path: Path) -> None:
    copy, airflow = tmp_path / "elsewhere" / "config", tmp_path / "elsewhere" / "airflow"
    server = ""
    for again in (False, True):  # the second time with a state to be read
        copies = ("--kubeconfig", copy, "--airflow-kubeconfig", airflow)
        first = sparkml("cluster", "up", "--detach", "--state-dir", state, *copies)
        assert "not use it in production" in first.stdout.replace("Do not", "not")
        assert f"export KUBECONFIG={copy}\nfor Airflow, with its rights only: {airflow}\n" in first.stdout
        if not again:
            server = server_of(copy)
            kept = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kept"}, "data": {"a": "b"}}
            kubectl(state, "apply", "-f", "-", stdin=json.dumps(kept))
            assert sparkml("cluster", "down", "--state-dir", state).stdout == "stopped\n"
            assert not (state / "cluster.pid").exists()
    assert server_of(copy) == server  # so that kubeconfigs stay valid
    assert kubectl(state, "get", "configmap", "kept", "-o", "jsonpath={.data.a}") == "b"
    for path in (copy, state / "kubeconfig", airflow, state / "airflow-kubeconfig"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_everything_spark_needs_is_there(shared: Path) -> None:
    assert "serviceaccount/spark" in kubectl(shared, "get", "serviceaccount", "-o", "name")
    assert kubectl(shared, "get", "pvc", "sparkml-data", "-o", "name")
    wanted = [("create", "pods"), ("deletecollection", "services"), ("create", "configmaps"), ("patch", "pods")]
    for verb, kind in wanted:
        resource, _, subresource = kind.partition("/")
        what = {"namespace": "default", "verb": verb, "resource": resource, "subresource": subresource}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": "system:serviceaccount:default:spark", "resourceAttributes": what},
        }
        path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
        answer = json.loads(kubectl(shared, "create", "--raw", path, "-f", "-", stdin=json.dumps(review)))
        assert answer["status"]["allowed"] is True, what
    for namespace in ("default", "kube-system"):
        assert kubectl(shared, "get", "namespace", namespace, "-o", "name")


def test_airflows_kubeconfig_has_its_rights_only(shared: Path) -> None:
    def may(verb: str, what: str, *more: str, namespace: str = "default") -> bool:
        command = [SCRIPTS / "kubectl", f"--kubeconfig={shared / 'airflow-kubeconfig'}", "auth", "can-i", verb, what]
        answer = subprocess.run(
            [*command, *more, "-n", namespace], capture_output=True, text=True, check=False, timeout=30
        )
        return answer.stdout.strip() == "yes"

    assert may("create", "sparkapplications.sparkoperator.k8s.io")
    assert may("get", "pods", "--subresource=log")
    assert not may("create", "configmaps")
    assert not may("create", "pods", "--subresource=exec")
    assert not may("get", "secrets")
    assert not may("create", "sparkapplications.sparkoperator.k8s.io", namespace="kube-system")
    token = yaml.safe_load((shared / "airflow-kubeconfig").read_text())["users"][0]["user"]["token"]
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    assert claims["sub"] == "system:serviceaccount:default:airflow"
    assert claims["exp"] - time.time() > 9 * 365 * 24 * 3600, "a cluster may run for long"


def test_a_role_that_was_changed_is_as_shipped_after_the_next_start(running: Path) -> None:
    kubectl(running, "patch", "role", "airflow", "--type=merge", "-p", '{"rules": []}')
    kubectl(running, "create", "role", "more", "--verb=get", "--resource=secrets")
    sparkml("cluster", "down", "--state-dir", running)
    sparkml("cluster", "up", "--detach", "--state-dir", running)
    rules = json.loads(kubectl(running, "get", "role", "airflow", "-o", "json"))["rules"]
    assert rules[0]["resources"] == ["sparkapplications"]
    assert kubectl(running, "get", "role", "more", "-o", "name")


def test_a_second_up_says_so(shared: Path, tmp_path: Path) -> None:
    pid = pid_of(shared)
    again = sparkml("cluster", "up", "--detach", "--state-dir", shared, "--kubeconfig", tmp_path / "config")
    assert again.stdout.startswith(f"already up (process {pid})")
    assert server_of(tmp_path / "config") == server_of(shared / "kubeconfig")
    attached = sparkml("cluster", "up", "--state-dir", shared, check=False)
    assert attached.returncode == 1
    assert re.match(rf"error: the cluster in .* is already up \(process {pid}\); .*\n$", attached.stderr)
    assert pid_of(shared) == pid


def test_status_for_people_and_for_programs(shared: Path) -> None:
    start_sleeper(shared)
    text = sparkml("cluster", "status", "--state-dir", shared).stdout
    assert re.search(r"^  local +Ready +1$", text, re.MULTILINE)
    assert re.search(r"^  default +Active +1$", text, re.MULTILINE)
    assert re.search(r"^  default +Pod +sleeper +Running +\d+s$", text, re.MULTILINE)
    data = json.loads(sparkml("cluster", "status", "--state-dir", shared, "-o", "json").stdout)
    assert data["running"] is True
    assert data["pid"] == pid_of(shared)
    assert data["nodes"] == [{"name": "local", "state": "Ready", "pods": 1}]
    assert [(w["kind"], w["name"], w["state"]) for w in data["workloads"]] == [("Pod", "sleeper", "Running")]


def test_status_on_a_terminal_is_a_table(shared: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [SCRIPTS / "sparkml", "cluster", "status", "--state-dir", shared],
        stdout=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # the end of a terminal is an error on Linux
        while chunk := os.read(ours, 4096):
            shown += chunk
    os.close(ours)
    assert process.wait(30) == 0
    assert "┃" in shown.decode()
    assert b"\x1b[" in shown


def test_only_the_token_opens_and_only_on_loopback(shared: Path) -> None:
    config = yaml.safe_load((shared / "kubeconfig").read_text())
    token = config["users"][0]["user"]["token"]
    assert len(token) >= 32
    server = server_of(shared / "kubeconfig").replace("https://", "http://")
    for headers in ({}, {"Authorization": "Bearer " + "x" * len(token)}, {"Authorization": f"Basic {token}"}):
        assert httpx.get(f"{server}/api/v1/namespaces", headers=headers).status_code in (401, 403)
    assert httpx.get(f"{server}/api/v1/namespaces", headers={"Authorization": f"Bearer {token}"}).status_code == 200
    listening = [c for c in psutil.Process(pid_of(shared)).net_connections("inet") if c.status == psutil.CONN_LISTEN]
    assert listening
    assert all(c.laddr.ip.startswith("127.") for c in listening)


def test_a_taken_port_is_said(state: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = sparkml("cluster", "up", "--state-dir", state, "--port", port, check=False)
        detached = sparkml("cluster", "up", "--detach", "--state-dir", state, "--port", port, check=False)
    for each in (result, detached):
        assert each.returncode == 1
        assert re.match(rf"error: .*127\.0\.0\.1:{port}: .*; choose another --port\n$", each.stderr)


def test_the_last_port_is_left_to_whoever_has_it_now(running: Path) -> None:
    port = port_of(running)
    sparkml("cluster", "down", "--state-dir", running)
    with socket.create_server(("127.0.0.1", port)):
        sparkml("cluster", "up", "--detach", "--state-dir", running)
    assert port_of(running) != port
    assert "default" in kubectl(running, "get", "namespaces")


def test_down_ends_the_pods_and_leaves_nothing(running: Path) -> None:
    cluster = psutil.Process(pid_of(running))
    pod = start_sleeper(running)
    sparkml("cluster", "down", "--state-dir", running)
    assert psutil.wait_procs([cluster, pod], timeout=10)[1] == []
    assert sparkml("cluster", "status", "--state-dir", running, check=False).returncode == 1


def test_kill_9_ends_the_pods_and_the_next_up_goes_on(running: Path) -> None:
    cluster = psutil.Process(pid_of(running))
    pod = start_sleeper(running)
    cluster.kill()
    assert psutil.wait_procs([cluster, pod], timeout=10)[1] == []
    assert (running / "cluster.pid").exists()  # stale, and nobody is misled
    assert sparkml("cluster", "status", "--state-dir", running, check=False).returncode == 1
    assert sparkml("cluster", "down", "--state-dir", running).stdout.startswith("not running")
    sparkml("cluster", "up", "--detach", "--state-dir", running)
    assert pid_of(running) != cluster.pid
    assert "sleeper" in kubectl(running, "get", "pods", "-o", "name")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_signals_stop_an_attached_cluster_in_order(state: Path, number: signal.Signals, code: int) -> None:
    process = subprocess.Popen(
        [SCRIPTS / "sparkml", "cluster", "up", "--state-dir", state], stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("export KUBECONFIG"):
                break
        pod = start_sleeper(state)
        process.send_signal(number)
        rest = process.stdout.read()
        assert process.wait(30) == code
    assert rest.endswith("stopped\n")
    assert psutil.wait_procs([pod], timeout=5)[1] == []
    assert not (state / "cluster.pid").exists()


def test_a_detached_cluster_survives_its_terminal(state: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [SCRIPTS / "sparkml", "cluster", "up", "--detach", "--state-dir", state],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    assert process.wait(30) == 0
    os.close(ours)  # hangs up
    assert os.getsid(pid_of(state)) == pid_of(state)
    assert "default" in kubectl(state, "get", "namespaces")
