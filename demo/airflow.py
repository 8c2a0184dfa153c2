"""A real Airflow of the demo's own: started, asked through its REST API, and stopped without leaving a process."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import psutil

START_SECONDS = 180.0
STOP_SECONDS = 25.0
USER = "admin"
SESSION = "session.json"
PASSWORDS = "simple_auth_manager_passwords.json.generated"


class DemoError(Exception):
    """The demo cannot go on; the message says why and where to look."""


class Airflow:
    """`airflow standalone` in a folder of its own, on free ports.

    :param home: its AIRFLOW_HOME.
    :param dags: folder of the DAGs.
    :param kubeconfig: kubeconfig of the connection ``kubernetes_default``.
    """

    def __init__(self, home: Path, dags: Path, kubeconfig: Path) -> None:
        self.home = home
        self.log = home / "standalone.log"
        self._dags = dags
        self._kubeconfig = kubeconfig
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""
        self.password = ""

    def start(self) -> None:
        """Start it, in a session of its own, and return at once."""
        api, worker_log, trigger_log = free_ports(3)
        self.url = f"http://127.0.0.1:{api}"
        self.password = secrets.token_urlsafe(9)
        self.home.mkdir(parents=True)
        _write_private(self.home / PASSWORDS, json.dumps({USER: self.password}))
        settings = {
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(api),
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__CORE__DAGS_FOLDER": str(self._dags),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__PARALLELISM": "4",
            # SQLite has one writer at a time; the five seconds that others wait by default are few on a busy machine.
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.home}/airflow.db?timeout=60",
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(worker_log),
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(trigger_log),
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            # How soon things are noticed: the defaults are made for a thousand tasks, and not for one run. Above all,
            # the end of a worker is noticed late when another was forked meanwhile; a deferred task that is already
            # resumed by then is taken for a failed one.
            "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
            "AIRFLOW_CONN_KUBERNETES_DEFAULT": json.dumps(
                {"conn_type": "kubernetes", "extra": {"kube_config_path": str(self._kubeconfig)}}
            ),
        }
        # A person's own Airflow settings are for his own Airflow.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
        scripts = str(Path(sys.executable).parent)
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "airflow", "standalone"],
                env={
                    **inherited,
                    **settings,
                    "AIRFLOW_HOME": str(self.home),
                    "PATH": f"{scripts}{os.pathsep}{os.environ.get('PATH', '')}",
                    "NO_COLOR": "1",
                    "PYTHONUNBUFFERED": "1",
                },
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        (self.home / SESSION).write_text(json.dumps([self._process.pid, psutil.boot_time()]))

    def wait_until_healthy(self) -> None:
        """Wait until every component is up.

        :raises DemoError: when it ends, or is not up in time.
        """
        deadline = time.monotonic() + START_SECONDS
        while not self._is_healthy():
            if self._process is not None and self._process.poll() is not None:
                raise DemoError(f"airflow standalone ended with code {self._process.returncode}:\n{tail(self.log)}")
            if time.monotonic() > deadline:
                raise DemoError(f"Airflow was not up after {START_SECONDS:.0f} s:\n{tail(self.log)}")
            time.sleep(0.3)

    def _is_healthy(self) -> bool:
        with contextlib.suppress(httpx.HTTPError, ValueError):
            answer = httpx.get(f"{self.url}/api/v2/monitor/health", timeout=5)
            parts = answer.json()
            return all(
                (parts.get(name) or {}).get("status") == "healthy"
                for name in ("metadatabase", "scheduler", "triggerer", "dag_processor")
            )
        return False

    def stop(self) -> None:
        """Stop it, whoever started it, and all it started; what does not end by itself in time is killed.

        SIGINT to ``standalone`` is the way it ends its components (SIGTERM leaves them behind).
        """
        processes = self.processes()
        for leader in [process for process in processes if process.pid == self._session()]:
            with contextlib.suppress(psutil.NoSuchProcess):
                leader.send_signal(signal.SIGINT)
        _, alive = psutil.wait_procs(processes, timeout=STOP_SECONDS)
        for process in [*alive, *self.processes()]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(alive, timeout=5)
        if self._process is not None:
            self._process.wait()
        (self.home / SESSION).unlink(missing_ok=True)

    def processes(self) -> list[psutil.Process]:
        """Return its processes, whoever started them: the members of the session it was started in."""
        session, found = self._session(), []
        for pid in psutil.pids() if session else ():
            with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
                if os.getsid(pid) == session:
                    found.append(psutil.Process(pid))
        return found

    def _session(self) -> int | None:
        """Return the number of the session it was started in; ``None`` if it was not, or before the last boot."""
        try:
            session, booted = json.loads((self.home / SESSION).read_text())
        except FileNotFoundError:
            return None
        return int(session) if booted == psutil.boot_time() else None  # the number may be anybody's by now


class AirflowApi:
    """The part of Airflow's REST API that the demo needs.

    :param airflow: a healthy Airflow.
    """

    def __init__(self, airflow: Airflow) -> None:
        self._http = httpx.Client(base_url=airflow.url, timeout=30)
        answer = self._http.post("/auth/token", json={"username": USER, "password": airflow.password})
        answer.raise_for_status()
        self._http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def wait_for_dag(self, dag_id: str, *, seconds: float = 120.0) -> None:
        """Wait until the DAG is known.

        :raises DemoError: when its file does not import, or it does not appear in time.
        """
        deadline = time.monotonic() + seconds
        while self._http.get(f"/api/v2/dags/{dag_id}").status_code != httpx.codes.OK:
            errors = self._get("/api/v2/importErrors")["import_errors"]
            if errors:
                raise DemoError(f"{errors[0]['filename']} does not import:\n{errors[0]['stack_trace']}")
            if time.monotonic() > deadline:
                raise DemoError(f"DAG {dag_id} did not appear within {seconds:.0f} s")
            time.sleep(0.5)

    def trigger(self, dag_id: str, conf: dict[str, Any]) -> str:
        """Start a run and return its id."""
        self._send("PATCH", f"/api/v2/dags/{dag_id}", {"is_paused": False})
        run = self._send("POST", f"/api/v2/dags/{dag_id}/dagRuns", {"logical_date": None, "conf": conf})
        return str(run["dag_run_id"])

    def run_state(self, dag_id: str, run_id: str) -> str:
        """Return the state of a run: ``queued``, ``running``, ``success``, ``failed``."""
        return str(self._get(f"/api/v2/dags/{dag_id}/dagRuns/{run_id}")["state"])

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Return the task instances of a run."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances"
        return list(self._get(path, {"limit": 100})["task_instances"])

    def task_log(self, instance: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the entries of a task's log so far: each has ``event``, most ``level`` and ``timestamp``."""
        path = (
            f"/api/v2/dags/{instance['dag_id']}/dagRuns/{instance['dag_run_id']}"
            f"/taskInstances/{instance['task_id']}/logs/{max(1, instance['try_number'])}"
        )
        answer = self._http.get(path, params={"map_index": instance["map_index"]})
        if answer.status_code != httpx.codes.OK:
            return []  # a task has no log before it starts
        entries = answer.json()["content"]
        return [entry if isinstance(entry, dict) else {"event": entry} for entry in entries]

    def result(self, dag_id: str, run_id: str, task_id: str) -> Any:
        """Return what a task returned."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/return_value"
        value = self._get(path)["value"]
        return json.loads(value) if isinstance(value, str) and value[:1] in '{["' else value

    def _get(self, path: str, params: dict[str, Any] | None = None) -> Any:
        answer = self._http.get(path, params=params)
        if answer.is_error:
            raise DemoError(f"GET {path} answered {answer.status_code}: {answer.text[:500]}")
        return answer.json()

    def _send(self, method: str, path: str, body: dict[str, Any]) -> Any:
        answer = self._http.request(method, path, json=body)
        if answer.is_error:
            raise DemoError(f"{method} {path} answered {answer.status_code}: {answer.text[:500]}")
        return answer.json()


def free_ports(count: int) -> list[int]:
    """Return ports of 127.0.0.1 that nobody listens on, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


def tail(path: Path, lines: int = 15) -> str:
    """Return the last lines of a file."""
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])


def _write_private(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
