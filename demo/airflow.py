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
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import psutil

START_SECONDS = 180.0
STOP_SECONDS = 60.0
USER = "admin"
SESSIONS = "sessions.json"
PASSWORDS = "simple_auth_manager_passwords.json.generated"


class DemoError(Exception):
    """The demo cannot go on; the message says why and where to look."""


class Airflow:
    """`airflow standalone` in a folder of its own, on free ports of loopback.

    :param home: its AIRFLOW_HOME.
    :param dags: folder of the DAGs.
    :param connections: connections of type ``kubernetes``: id → extra.
    :param settings: further settings: ``SECTION__KEY`` → value.
    """

    def __init__(
        self,
        home: Path,
        dags: Path,
        connections: Mapping[str, Mapping[str, str]],
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.home = home
        self.log = home / "standalone.log"
        self._dags = dags
        self._connections = connections
        self._settings = dict(settings or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._started: list[subprocess.Popen[bytes]] = []
        self._env: dict[str, str] = {}
        self.url = ""
        self.password = ""

    def start(self) -> None:
        """Start it, in a session of its own, and return at once."""
        self.password = secrets.token_urlsafe(9)
        self.home.mkdir(parents=True, exist_ok=True)
        _write_private(self.home / PASSWORDS, json.dumps({USER: self.password}))
        self._env = self._environment()
        self._process = self.start_component("standalone")

    def _environment(self) -> dict[str, str]:
        api, worker_log, trigger_log = free_ports(3)
        self.url = f"http://127.0.0.1:{api}"
        settings = {
            "API__BASE_URL": self.url,
            "API__HOST": "127.0.0.1",
            "API__PORT": str(api),
            "API__WORKERS": "1",
            # To import Airflow's own pod operator takes seconds of a core, and JVMs want the same two.
            "CORE__DAGBAG_IMPORT_TIMEOUT": "120",
            "CORE__DAGS_FOLDER": str(self._dags),
            "CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "CORE__LOAD_EXAMPLES": "False",
            "CORE__PARALLELISM": "4",
            # SQLite has one writer at a time; the five seconds that others wait by default are few on a busy machine.
            # Not many more: now and then Airflow's API server waits for itself, until this ends it.
            "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.home}/airflow.db?timeout=20",
            "LOGGING__WORKER_LOG_SERVER_PORT": str(worker_log),
            "LOGGING__TRIGGER_LOG_SERVER_PORT": str(trigger_log),
            "USAGE_DATA_COLLECTION__ENABLED": "False",
            # How soon things are noticed: the defaults are made for a thousand tasks, and not for one run. Above all,
            # the end of a worker is noticed late when another was forked meanwhile; a deferred task that is already
            # resumed by then is taken for a failed one.
            "WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
            "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
            **self._settings,
        }
        connections = {
            f"AIRFLOW_CONN_{name.upper()}": json.dumps({"conn_type": "kubernetes", "extra": extra})
            for name, extra in self._connections.items()
        }
        # A person's own Airflow settings are for his own Airflow.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
        scripts = str(Path(sys.executable).parent)
        return {
            **inherited,
            **{f"AIRFLOW__{name}": value for name, value in settings.items()},
            **connections,
            "AIRFLOW_HOME": str(self.home),
            "PATH": f"{scripts}{os.pathsep}{os.environ.get('PATH', '')}",  # standalone starts `airflow`
            "NO_COLOR": "1",
            "PYTHONUNBUFFERED": "1",
        }

    def start_component(self, *command: str) -> subprocess.Popen[bytes]:
        """Start ``airflow <command>`` of this Airflow in a session of its own, and return at once."""
        with (self.home / f"{command[0]}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "airflow", *command],
                env=self._env,
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._started.append(process)
        sessions = [each.pid for each in self._started]
        (self.home / SESSIONS).write_text(json.dumps({"sessions": sessions, "booted": psutil.boot_time()}))
        return process

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

    def stop(self) -> list[str]:
        """Stop it, whoever started it, and all it started; what does not end by itself in time is killed.

        SIGINT is the way ``standalone`` ends its components (SIGTERM leaves them behind).

        :return: what had to be killed.
        """
        processes, leaders = self.processes(), self._sessions()
        for leader in [process for process in processes if process.pid in leaders]:
            with contextlib.suppress(psutil.NoSuchProcess):
                leader.send_signal(signal.SIGINT)
        psutil.wait_procs(processes, timeout=STOP_SECONDS)
        left = self.processes()
        told = [str(process) for process in left]
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=5)
        for started in self._started:
            started.wait()
        (self.home / SESSIONS).unlink(missing_ok=True)
        return told

    def processes(self, *words: str) -> list[psutil.Process]:
        """Return its processes, whoever started them, whose command lines have all the words.

        They are the members of the sessions that were started: Airflow writes its process titles over what the system
        tells of their environment.
        """
        sessions, found = self._sessions(), []
        for pid in psutil.pids() if sessions else ():
            with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
                process = psutil.Process(pid)
                if os.getsid(pid) in sessions and all(word in " ".join(process.cmdline()) for word in words):
                    found.append(process)
        return found

    def _sessions(self) -> list[int]:
        """Return the numbers of the sessions that were started; none if that was before the last boot."""
        try:
            known = json.loads((self.home / SESSIONS).read_text())
        except FileNotFoundError:
            return []
        # Otherwise the numbers may be anybody's by now.
        return list(known["sessions"]) if known["booted"] == psutil.boot_time() else []


class AirflowApi:
    """The part of Airflow's REST API that the demo needs.

    :param airflow: a healthy Airflow.
    """

    def __init__(self, airflow: Airflow) -> None:
        self._http = client(airflow)

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


def client(airflow: Airflow, *, seconds: float = 30) -> httpx.Client:
    """Return an HTTP client of a healthy Airflow that is logged in."""
    http = httpx.Client(base_url=airflow.url, timeout=seconds)
    answer = http.post("/auth/token", json={"username": USER, "password": airflow.password}).raise_for_status()
    http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
    return http


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
