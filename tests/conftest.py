"""Fixtures for everybody: a Kubernetes API server in this process, and a fresh namespace for each test."""

from __future__ import annotations

import asyncio
import functools
import json
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import hypothesis
import pytest
from xdist.scheduler import LoadScopeScheduling

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.client.credentials import kubeconfig_file
from airflow_provider_sparkml.local.accounts import AIRFLOW, shipped
from airflow_provider_sparkml.local.apiserver import ApiServer, write_kubeconfig
from airflow_provider_sparkml.local.controllers.garbage import GarbageCollector
from airflow_provider_sparkml.local.controllers.namespaces import namespace_controller

# On a machine that does other things as well, an example may take any time; in CI Hypothesis has the same by itself.
hypothesis.settings.register_profile("tests", deadline=None, derandomize=hypothesis.settings().derandomize)
hypothesis.settings.load_profile("tests")


class RunningApiServer:
    """An API server in a thread and event loop of its own, so that tests may block and have loops of their own.

    With it run the controllers without which objects do not go: garbage collector and namespaces.

    :param state_dir: its state; the same one again continues where the former server stopped.
    :param port: 0 takes a free one.
    """

    def __init__(self, state_dir: Path, port: int = 0) -> None:
        self.state_dir = state_dir
        self.kubeconfig = state_dir / "kubeconfig"
        self.secure_kubeconfig = state_dir / "secure-kubeconfig"
        self.url = ""
        self.token = ""
        self._port = port
        self._problem: BaseException | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="api server", daemon=True)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.url.rpartition(":")[2])

    def start(self) -> RunningApiServer:
        """Return when it serves."""
        self._thread.start()
        self._ready.wait()
        if self._problem:
            raise self._problem
        return self

    def stop(self) -> None:
        """Return when it has stopped; again does nothing."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._ended.set)
            self._thread.join()

    def log_path(self, uid: str, container: str = "main") -> Path:
        """Return where the kubelet would write a container's log; its directory exists."""
        path = self.state_dir / "pods" / uid / f"{container}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def airflow_kubeconfig(self, namespace: str, *, name: str = AIRFLOW) -> Path:
        """Return a kubeconfig with the rights that the shipped roles give Airflow in a namespace, and with no others.

        :param name: another service account, which has no role yet.
        """
        core = f"/api/v1/namespaces/{namespace}/serviceaccounts"
        if name == AIRFLOW:
            for manifest in _shipped():
                kind, of = manifest["kind"], f"namespaces/{namespace}/{manifest['kind'].lower()}s"
                where = f"/api/v1/{of}" if kind == "ServiceAccount" else f"/apis/rbac.authorization.k8s.io/v1/{of}"
                path = f"{where}/{manifest['metadata']['name']}?fieldManager=test&force=true"
                status, answer = self.request("PATCH", path, manifest, content_type="application/apply-patch+yaml")
                assert status in (200, 201), answer
        else:
            status, answer = self.request("POST", core, {"metadata": {"name": name}})
            assert status == 201, answer
        status, answer = self.request("POST", f"{core}/{name}/token", {"spec": {"expirationSeconds": 36000}})
        assert status == 201, answer
        path = self.state_dir / f"{namespace}-{name}-kubeconfig"
        write_kubeconfig(path, self.url, answer["status"]["token"], namespace=namespace)
        return path

    def grant(
        self,
        namespace: str,
        rules: list[dict[str, Any]],
        *,
        account: str = AIRFLOW,
        role: str = "more",
        everywhere: bool = False,
    ) -> None:
        """Give a service account of a namespace these rights as well; the same role again replaces them.

        :param everywhere: by a ClusterRole, not only in its namespace.
        """
        group, cluster = "rbac.authorization.k8s.io", "Cluster" if everywhere else ""
        where = f"/apis/{group}/v1" if everywhere else f"/apis/{group}/v1/namespaces/{namespace}"
        reference = {"apiGroup": group, "kind": f"{cluster}Role", "name": role}
        subjects = [{"kind": "ServiceAccount", "name": account, "namespace": namespace}]
        for kind, spec in (
            (f"{cluster}Role", {"rules": rules}),
            (f"{cluster}RoleBinding", {"roleRef": reference, "subjects": subjects}),
        ):
            body = {"apiVersion": f"{group}/v1", "kind": kind, "metadata": {"name": role}, **spec}
            path = f"{where}/{kind.lower()}s/{role}?fieldManager=test&force=true"
            status, answer = self.request("PATCH", path, body, content_type="application/apply-patch+yaml")
            assert status in (200, 201), answer

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
        token: str | None = None,
    ) -> tuple[int, Any]:
        """Send one request as the administrator, or with another token; return status and answer, parsed if JSON."""
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        headers = {"Content-Type": content_type} if data is not None else {}
        if bearer := self.token if token is None else token:
            headers["Authorization"] = f"Bearer {bearer}"
        request = Request(self.url + path, data, headers, method=method)
        try:
            with urlopen(request, timeout=30) as response:
                return response.status, _parse(response.read())
        except HTTPError as error:
            with error:
                return error.code, _parse(error.read())

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        try:
            server = ApiServer(self.state_dir)
            self.url = await server.start(port=self._port)
        except BaseException as problem:  # noqa: BLE001 - raised again in the test's thread
            self._problem = problem
            self._ready.set()
            return
        self.token = server.admin_token
        # asyncio of Python 3.11 may leave a cancelled TLS connection unclosed when its loop ends, and warnings are
        # errors here; kubectl sends its token over TLS alone.
        write_kubeconfig(self.kubeconfig, server.url, self.token)
        write_kubeconfig(self.secure_kubeconfig, server.secure_url, self.token, ca=server.ca)
        try:
            async with KubernetesClient(kubeconfig_file(self.kubeconfig)) as client:
                controllers = [namespace_controller(client), GarbageCollector(client)]
                tasks = [asyncio.create_task(controller.run()) for controller in controllers]
                self._ready.set()
                ended = asyncio.create_task(self._ended.wait())
                await asyncio.wait([ended, *tasks], return_when=asyncio.FIRST_COMPLETED)
                if not ended.done():
                    raise RuntimeError("a controller of the test's API server ended by itself")
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            await server.stop()


@functools.cache
def _shipped() -> list[dict[str, Any]]:
    """The shipped roles, read once: hundreds of tests put them into a namespace of their own."""
    return list(shipped())


def _parse(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode(errors="replace")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that no process is left alone with it at the end."""
    folder = Path(__file__).parent
    items.sort(key=lambda item: (folder / "system" not in item.path.parents, "spark" not in item.keywords))


class ByFixtures(LoadScopeScheduling):
    """Keeps together what shares costly fixtures: the system tests their Airflow, a file its module's."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "system" if file.startswith("tests/system/") else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Say how tests are shared out when they run side by side (``--numprocesses``)."""
    return ByFixtures(config, log)


@pytest.fixture(scope="session")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApiServer]:
    """A Kubernetes API server shared by all tests; keep to your own `namespace`. It must stay up."""
    server = RunningApiServer(tmp_path_factory.mktemp("cluster")).start()
    yield server
    server.stop()


@pytest.fixture
def start_api_server(tmp_path: Path) -> Iterator[Callable[..., RunningApiServer]]:
    """Start API servers that a test may stop and start again: ``start_api_server(state_dir=…, port=…)``."""
    started: list[RunningApiServer] = []

    def start(state_dir: Path | None = None, port: int = 0) -> RunningApiServer:
        started.append(RunningApiServer(state_dir or tmp_path / "cluster", port).start())
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def namespace(api_server: RunningApiServer) -> Iterator[str]:
    """A namespace of this test's own."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    status, answer = api_server.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    assert status == 201, answer
    yield name
    api_server.request("DELETE", f"/api/v1/namespaces/{name}")
