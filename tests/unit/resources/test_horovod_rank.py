"""The program that plain pods get to be ranks of Horovod; with Horovod itself it runs in ``make test-training``."""

from __future__ import annotations

import ast
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import jinja2
import pytest

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.resources.horovod_rank import variables
from airflow_provider_sparkml.resources.training import Replica, Volcano
from airflow_provider_sparkml.resources.training_pods import horovod_pods

POD = Replica(image="other", args=["x"], memory="2Gi", env={"A": "b"})
TRAIN = ["python", "train.py", "--epochs", "{{ params.epochs }}"]


def built(**options: Any) -> dict[str, Any]:
    return horovod_pods("horovod:1", TRAIN, pods=POD, **options).to_manifest()


def program() -> str:
    (container,) = built()["spec"]["template"]["spec"]["containers"]
    text: str = container["command"][2]
    return text


def test_the_pods_run_the_program_as_ranks() -> None:
    manifest = built(ranks=4, name="n", master_port=7000, gang=Volcano(), queue="q")
    assert (manifest["metadata"]["name"], manifest["spec"]["completions"]) == ("n", 4)
    assert manifest["metadata"]["labels"] == {"kueue.x-k8s.io/queue-name": "q"}
    pod = manifest["spec"]["template"]["spec"]
    assert pod["schedulerName"] == "volcano"
    (container,) = pod["containers"]
    assert container["image"] == "horovod:1"
    assert container["command"][:2] == ["python", "-c"]
    assert container["command"][3:] == TRAIN
    assert "args" not in container
    assert container["resources"]["limits"] == {"memory": "2Gi"}
    env = {each["name"]: each.get("value") for each in container["env"]}
    assert (env["WORLD_SIZE"], env["MASTER_PORT"], env["A"]) == ("4", "7000", "b")


@pytest.mark.parametrize("command", ["python train.py", [], ()])
def test_a_command_is_a_list(command: Any) -> None:
    with pytest.raises(InvalidManifestError, match=r"^command is .*: give the program of each rank"):
        horovod_pods("horovod:1", command)


def test_the_text_is_no_template_and_runs_on_horovods_own_python() -> None:
    assert jinja2.Environment(autoescape=False).from_string(program()).render() == program().removesuffix("\n")
    ast.parse(program(), feature_version=(3, 8))


def test_a_rank_is_alone_in_its_pod() -> None:
    found = variables(2, 3, "10.0.0.1", 29500)
    assert (found["HOROVOD_RANK"], found["HOROVOD_SIZE"]) == ("2", "3")
    assert (found["HOROVOD_LOCAL_RANK"], found["HOROVOD_LOCAL_SIZE"]) == ("0", "1")
    assert (found["HOROVOD_CROSS_RANK"], found["HOROVOD_CROSS_SIZE"]) == ("2", "3")
    meeting = (found["HOROVOD_GLOO_RENDEZVOUS_ADDR"], found["HOROVOD_GLOO_RENDEZVOUS_PORT"])
    assert meeting == ("10.0.0.1", "29500")


class Store(BaseHTTPRequestHandler):
    """Horovod's rendezvous store as a rank sees it; it lets ranks go the second time that they ask."""

    said: list[str]
    deaf: bool
    asked: threading.Event

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._tell(200)

    def do_GET(self) -> None:
        self.asked.set()
        self._tell(200 if self.requestline in self.said and not self.deaf else 404)

    def _tell(self, status: int) -> None:
        self.said.append(self.requestline)
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


@pytest.fixture
def store() -> Iterator[HTTPServer]:
    Store.said, Store.deaf, Store.asked = [], False, threading.Event()
    with HTTPServer(("127.0.0.1", 0), Store) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def run(*command: str, port: int, host: str = "127.0.0.1", **env: str) -> subprocess.CompletedProcess[str]:
    """Run rank 1 of 2 as a pod does, with a proxy that must not be asked."""
    given = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": host, "MASTER_PORT": str(port), **env}
    return subprocess.run(
        [sys.executable, "-c", program(), *command],
        env={"http_proxy": "http://127.0.0.1:9", **given},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_rank_waits_for_rank_0s_word_and_says_when_it_is_done(store: HTTPServer) -> None:
    show = "import os; print(os.environ['HOROVOD_RANK'], os.environ['HOROVOD_CONTROLLER']); raise SystemExit(5)"
    ended = run(sys.executable, "-c", show, port=store.server_port)
    assert (ended.returncode, ended.stdout) == (5, "1 gloo\n"), ended.stderr
    put, get = "PUT /sparkml/ready-1 HTTP/1.1", "GET /sparkml/go HTTP/1.1"
    assert Store.said == [put, get, put, get, "PUT /sparkml/done-1 HTTP/1.1"]


def test_a_signals_exit_code_is_a_shells(store: HTTPServer) -> None:
    ended = run(sys.executable, "-c", "import os; os.kill(os.getpid(), 9)", port=store.server_port)
    assert ended.returncode == 137


def test_a_rank_that_waits_can_be_ended(store: HTTPServer) -> None:
    Store.deaf = True
    given = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.server_port)}
    with subprocess.Popen([sys.executable, "-c", program(), "true"], env=given) as rank:
        Store.asked.wait(30)
        rank.terminate()
        assert rank.wait(30) == 143


def test_rank_0_that_never_comes(store: HTTPServer) -> None:
    free = store.server_port
    store.server_close()
    ended = run("true", port=free, HOROVOD_START_TIMEOUT="0.5")
    assert ended.returncode == 1
    assert f"rank 1 waited for rank 0 at 127.0.0.1:{free} in vain: " in ended.stderr


def test_a_name_without_an_address() -> None:
    ended = run("true", port=1, host="nowhere.invalid", HOROVOD_START_TIMEOUT="0.5")
    assert ended.returncode == 1
    assert "MASTER_ADDR is 'nowhere.invalid', which has no address" in ended.stderr


def test_no_program() -> None:
    ended = run(port=1)
    assert "usage: horovod_rank PROGRAM ARGUMENT..." in ended.stderr
