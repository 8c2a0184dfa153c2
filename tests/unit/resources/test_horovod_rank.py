"""The program that plain pods get to be ranks of Horovod; with Horovod itself it runs in ``make test-training``."""

from __future__ import annotations

import ast
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
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
    """Horovod's rendezvous store as a rank sees it; it lets a rank go the second time that it asks."""

    said: list[str]
    has: dict[str, bytes]
    deaf: bool
    asked: threading.Event

    def do_PUT(self) -> None:
        self.has[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        self._tell(200)

    def do_GET(self) -> None:
        self.asked.set()
        again = self.requestline in self.said and not self.deaf
        self._tell(200 if again else 404, self.has[self.path.replace("go", "ready")] if again else b"")

    def _tell(self, status: int, value: bytes = b"") -> None:
        self.said.append(self.requestline)
        self.send_response(status)
        self.send_header("Content-Length", str(len(value)))
        self.end_headers()
        self.wfile.write(value)

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


@pytest.fixture
def store() -> Iterator[HTTPServer]:
    Store.said, Store.has, Store.deaf, Store.asked = [], {}, False, threading.Event()
    with HTTPServer(("127.0.0.1", 0), Store) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def start(*command: str, port: int, rank: int = 1, host: str = "127.0.0.1", **env: str) -> subprocess.Popen[str]:
    """Start a rank of two as a pod does, with a proxy that must not be asked."""
    given = {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": host, "MASTER_PORT": str(port), **env}
    return subprocess.Popen(
        [sys.executable, "-c", program(), *command],
        env={"http_proxy": "http://127.0.0.1:9", "HOSTNAME": "127.0.0.1", **given},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(rank: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for a rank; return its exit code, and what it has written."""
    with rank:
        out, err = rank.communicate(timeout=60)
        return rank.returncode, out, err


SHOW = "import os; print(os.environ['HOROVOD_RANK'], os.environ['HOROVOD_GLOO_RENDEZVOUS_ADDR'])"


def test_a_rank_waits_for_rank_0s_word_and_says_when_it_is_done(store: HTTPServer) -> None:
    code, out, err = ended(start(sys.executable, "-c", f"{SHOW}; raise SystemExit(5)", port=store.server_port))
    assert (code, out, err) == (5, "1 127.0.0.1\n", "")
    put, get = "PUT /sparkml/ready-1 HTTP/1.1", "GET /sparkml/go-1 HTTP/1.1"
    assert Store.said == [put, get, put, get, "PUT /sparkml/done-1 HTTP/1.1"]


def test_a_store_of_before_lets_nobody_go(store: HTTPServer) -> None:
    class Old(Store):
        def do_GET(self) -> None:
            self._tell(200, b"what another process has said")

    store.RequestHandlerClass = Old  # type: ignore[assignment]
    code, _, err = ended(start("true", port=store.server_port, HOROVOD_START_TIMEOUT="0.5"))
    assert (code, "in vain: it still waits for other ranks" in err) == (1, True)


def test_a_signals_exit_code_is_a_shells(store: HTTPServer) -> None:
    kill = "import os; os.kill(os.getpid(), 9)"
    assert ended(start(sys.executable, "-c", kill, port=store.server_port))[0] == 137


def test_a_rank_that_waits_can_be_ended(store: HTTPServer) -> None:
    Store.deaf = True
    rank = start("true", port=store.server_port)
    assert Store.asked.wait(30)
    rank.terminate()
    assert ended(rank)[0] == 143


def test_a_signal_goes_to_the_program(store: HTTPServer) -> None:
    catch = "signal.signal(15, lambda *_: sys.exit(7)); print('there', flush=True); signal.pause()"
    rank = start(sys.executable, "-c", f"import signal, sys; {catch}", port=store.server_port)
    assert rank.stdout is not None
    assert rank.stdout.readline() == "there\n"
    rank.terminate()
    assert ended(rank)[0] == 7


def test_rank_0_that_never_comes(store: HTTPServer) -> None:
    free = store.server_port
    store.server_close()
    code, _, err = ended(start("true", port=free, HOROVOD_START_TIMEOUT="0.5"))
    assert (code, f"rank 1 waited for rank 0 at 127.0.0.1:{free} in vain: " in err) == (1, True)


def test_a_name_without_an_address() -> None:
    code, _, err = ended(start("true", port=1, host="nowhere.invalid", HOROVOD_START_TIMEOUT="0.5"))
    assert (code, "rank 1 waited for rank 0 at nowhere.invalid:1 in vain: " in err) == (1, True)


# --- rank 0, with as much of Horovod as it needs ---------------------------------------------------------------------

HOSTS = "class SlotInfo:\n    def __init__(self, *slot):\n        self.slot = slot\n"
SERVER = """
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class RendezvousHTTPServer(ThreadingHTTPServer):
    def __init__(self, address, handler, verbose):
        super().__init__(address, handler)
        self.cache, self.cache_lock = {}, threading.Lock()

    def init(self, plan):
        print([slot.slot for slot in plan], flush=True)

class RendezvousHandler(BaseHTTPRequestHandler):
    def do_PUT(self):
        _, scope, key = self.path.split("/")
        value = self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.cache_lock:
            self.server.cache.setdefault(scope, {})[key] = value
        self.answer(200, b"")

    def do_GET(self):
        _, scope, key = self.path.split("/")
        with self.server.cache_lock:
            value = self.server.cache.get(scope, {}).get(key)
        self.answer(404 if value is None else 200, value or b"")

    def answer(self, status, value):
        self.send_response(status)
        self.send_header("Content-Length", str(len(value)))
        self.end_headers()
        self.wfile.write(value)

    def log_message(self, *_):
        pass
"""


@pytest.fixture
def horovod(tmp_path: Path) -> str:
    """A package that has what rank 0 takes of Horovod's."""
    for name, text in (("common/util/hosts", HOSTS), ("http/http_server", SERVER)):
        module = tmp_path / "horovod/runner" / f"{name}.py"
        module.parent.mkdir(parents=True)
        module.write_text(text)
    return str(tmp_path)


def free_port() -> int:
    with HTTPServer(("127.0.0.1", 0), Store) as server:
        return server.server_port


def test_two_ranks_meet_and_rank_0_serves_until_the_other_has_ended(horovod: str) -> None:
    port = free_port()
    first = start(sys.executable, "-c", SHOW, port=port, rank=0, PYTHONPATH=horovod)
    second = start(sys.executable, "-c", f"import time; time.sleep(0.5); {SHOW}", port=port)
    assert ended(second) == (0, "1 127.0.0.1\n", "")
    plan = "[('rank-0', 0, 0, 0, 2, 1, 2), ('rank-1', 1, 0, 1, 2, 1, 2)]"
    assert ended(first) == (0, f"{plan}\n0 127.0.0.1\n", "")


def test_a_failed_rank_0_waits_for_nobody(horovod: str, tmp_path: Path) -> None:
    port, there, gone = free_port(), tmp_path / "there", tmp_path / "gone"
    wait = "import os, sys, time\nwhile not os.path.exists(sys.argv[1]): time.sleep(0.02)\n"
    fail = f"{wait}sys.exit(3)"
    first = start(sys.executable, "-c", fail, str(there), port=port, rank=0, PYTHONPATH=horovod)
    second = start(sys.executable, "-c", f"open(r'{there}', 'w').close()\n{wait}", str(gone), port=port)
    assert ended(first)[0] == 3
    gone.touch()
    code, _, err = ended(second)
    assert (code, "rank 1: rank 0 is gone: " in err) == (0, True)


def test_rank_0_names_who_never_came(horovod: str) -> None:
    first = start("true", port=free_port(), rank=0, PYTHONPATH=horovod, HOROVOD_START_TIMEOUT="0.5", WORLD_SIZE="4")
    code, _, err = ended(first)
    assert (code, "rank 0 waited for these ranks in vain: 1, 2, 3" in err) == (1, True)


def test_no_program() -> None:
    assert "usage: horovod_rank PROGRAM ARGUMENT..." in ended(start(port=1))[2]
