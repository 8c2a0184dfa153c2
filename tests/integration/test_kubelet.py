"""Pods as a user sees them through the API, run by a real kubelet as real processes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.client.credentials import kubeconfig_dict
from airflow_provider_sparkml.exceptions import NotFoundError
from airflow_provider_sparkml.local.images import ImageStore
from airflow_provider_sparkml.local.kubelet import Kubelet
from airflow_provider_sparkml.resources.base import Manifest
from airflow_provider_sparkml.resources.core import CONFIG_MAP, NODE, PERSISTENT_VOLUME_CLAIM, POD, SECRET

SECONDS = 30


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImageStore:
    folders = tmp_path_factory.mktemp("images")
    box = folders / "box"
    (box / "rootfs" / "opt" / "box").mkdir(parents=True)
    (box / "rootfs" / "opt" / "box" / "greet.py").write_text("import sys; print('hello', *sys.argv[1:])")
    (box / "Dockerfile").write_text(
        'FROM python\nENV COLOR=red TOOL=/opt/box/greet.py\nENTRYPOINT ["python", "/opt/box/greet.py"]\nCMD ["you"]\n'
    )
    (box / "requirements.txt").write_text("")
    return ImageStore([folders], tmp_path_factory.mktemp("cache"))


@dataclass
class Cluster:
    """A client, a kubelet that may be stopped and started, and a namespace."""

    client: KubernetesClient
    namespace: str
    state_dir: Path
    make_kubelet: Callable[[], Kubelet]
    task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        kubelet = self.make_kubelet()
        self.task = asyncio.create_task(kubelet.run())
        await kubelet.ready.wait()

    async def stop(self) -> None:
        if self.task:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)

    async def run(self, name: str = "p", /, *, script: str = "", **spec: Any) -> Manifest:
        """Create a pod; ``script`` is a Python program for its one container."""
        if script:
            spec["containers"] = [python(script, **spec.pop("container", {}))]
        spec = {"restartPolicy": "Never", "automountServiceAccountToken": False, **spec}
        return await self.client.create(POD, {"metadata": {"name": name}, "spec": spec}, self.namespace)

    async def until(self, predicate: Callable[[Manifest], Any], name: str = "p") -> Manifest:
        """Return the pod as soon as it satisfies the predicate."""
        seen: Manifest = {}
        try:
            async with asyncio.timeout(SECONDS):
                selector = f"metadata.name={name}"
                while True:
                    listing = await self.client.list(POD, self.namespace, field_selector=selector)
                    for seen in listing.items:
                        if predicate(seen):
                            return seen
                    async for event in self.client.watch(
                        POD, self.namespace, resource_version=listing.resource_version, field_selector=selector
                    ):
                        seen = event["object"]
                        if event["type"] in ("ADDED", "MODIFIED") and predicate(seen):
                            return seen
        except TimeoutError:
            pytest.fail(f"not within {SECONDS} s: {json.dumps(seen.get('status'), indent=1)}")

    async def ended(self, name: str = "p") -> Manifest:
        return await self.until(lambda pod: pod["status"]["phase"] in ("Succeeded", "Failed"), name)

    async def gone(self, uid: str, name: str = "p") -> None:
        """Wait until the object and the pod's directory are gone."""
        async with asyncio.timeout(SECONDS):
            while True:
                with contextlib.suppress(NotFoundError):
                    if (await self.client.get(POD, name, self.namespace))["metadata"]["uid"] == uid:
                        await asyncio.sleep(0.02)
                        continue
                if not (self.state_dir / "pods" / uid).exists():
                    return
                await asyncio.sleep(0.02)

    async def event(self, pod: Manifest, reason: str, text: str = "") -> Manifest:
        """Return the pod's event of that reason, as soon as there is one."""
        events: list[Manifest] = []
        try:
            async with asyncio.timeout(SECONDS):
                while True:
                    events = await self.client.events(self.namespace, pod["metadata"]["uid"])
                    for event in events:
                        if event["reason"] == reason and text in event["message"]:
                            return event
                    await asyncio.sleep(0.02)
        except TimeoutError:
            pytest.fail(f"no event {reason} {text!r} among {[(e['reason'], e['message']) for e in events]}")

    def log(self, pod: Manifest, container: str = "main", *, previous: bool = False) -> str:
        name = f"{container}.previous.log" if previous else f"{container}.log"
        return (self.state_dir / "pods" / pod["metadata"]["uid"] / name).read_text()

    async def logged(self, pod: Manifest, text: str, container: str = "main") -> str:
        async with asyncio.timeout(SECONDS):
            while True:
                with contextlib.suppress(FileNotFoundError):
                    if text in self.log(pod, container):
                        return self.log(pod, container)
                await asyncio.sleep(0.01)


@pytest.fixture
async def cluster(api_server: Any, namespace: str, images: ImageStore) -> AsyncIterator[Cluster]:
    # Without TLS: asyncio (3.11) leaves a transport open, with a warning, if it is cancelled early in the handshake.
    kubeconfig = api_server.kubeconfig.read_text().replace("https://", "http://")
    async with KubernetesClient(kubeconfig_dict(kubeconfig)) as client:

        def make_kubelet() -> Kubelet:
            home, state = Path("/no/java"), api_server.state_dir
            return Kubelet(client, images, java_home=home, state_dir=state, server=api_server.url)

        cluster = Cluster(client, namespace, api_server.state_dir, make_kubelet)
        await cluster.start()
        yield cluster
        await cluster.stop()


def python(script: str, name: str = "main", **fields: Any) -> dict[str, Any]:
    return {"name": name, "image": "registry/box:1", "command": ["python", "-u", "-c", script], **fields}


def state(pod: Manifest, container: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = (pod["status"].get("containerStatuses") or [{}])[container].get("state") or {}
    return found


def is_running(pod: Manifest) -> bool:
    return "running" in state(pod)


def waiting_reason(pod: Manifest) -> str:
    return str(state(pod).get("waiting", {}).get("reason", ""))


def processes_of(uid: str) -> list[psutil.Process]:
    """Return processes that work in the pod's directory."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if uid in " ".join(process.environ().values()):
                found.append(process)
    return found


# --- programs --------------------------------------------------------------------------------------------------------


async def test_entrypoint_of_the_image_runs(cluster: Cluster) -> None:
    pod = await cluster.run(containers=[{"name": "main", "image": "registry/box:1"}])
    pod = await cluster.ended()
    assert pod["status"]["phase"] == "Succeeded"
    assert cluster.log(pod) == "hello you\n"
    ended = state(pod)["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (0, "Completed")
    assert ended["startedAt"] <= ended["finishedAt"]
    conditions = {each["type"]: each["status"] for each in pod["status"]["conditions"]}
    assert conditions == {"PodScheduled": "True", "Initialized": "True", "ContainersReady": "False", "Ready": "False"}
    for reason in ("Scheduled", "Pulled", "Created", "Started"):
        await cluster.event(pod, reason)
    assert processes_of(pod["metadata"]["uid"]) == []


async def test_arguments_and_variables(cluster: Cluster) -> None:
    script = "import os, json; print(json.dumps(dict(os.environ)))"
    os.environ["SECRET_OF_THE_HOST"] = "1"
    try:
        env = [
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "GREETING", "value": "$(COLOR) at $(IP), run $(TOOL)"},
        ]
        await cluster.run(
            initContainers=[{"name": "args", "image": "box", "args": ["a $(IP)", "b"], "env": env}],
            containers=[python(script, env=env)],
        )
        pod = await cluster.ended()
    finally:
        del os.environ["SECRET_OF_THE_HOST"]
    address = pod["status"]["podIP"]
    assert address.startswith("127.")
    assert address != "127.0.0.1"
    assert cluster.log(pod, "args") == f"hello a {address} b\n"
    found = json.loads(cluster.log(pod))
    greeting, _, tool = found["GREETING"].rpartition(" ")
    assert greeting == f"red at {address}, run"
    assert Path(tool).read_text().startswith("import sys")
    assert "SECRET_OF_THE_HOST" not in found
    assert found["HOSTNAME"] == "p"


async def test_error_and_the_message_it_left(cluster: Cluster) -> None:
    await cluster.run("a", script="import os; open(os.environ['SPARKML_RESULT_PATH'], 'w').write('x' * 5000); exit(3)")
    script = "for i in range(100): print('line', i)\nraise SystemExit(4)"
    await cluster.run("b", script=script, container={"terminationMessagePolicy": "FallbackToLogsOnError"})
    await cluster.run(
        "c",
        containers=[python("import sys; open(sys.argv[1], 'w').write('{}')") | {"args": ["/dev/termination-log"]}],
    )
    first, second, third = [await cluster.ended(name) for name in "abc"]
    assert first["status"]["phase"] == second["status"]["phase"] == "Failed"
    ended = state(first)["terminated"]
    assert (ended["exitCode"], ended["reason"], ended["message"]) == (3, "Error", "x" * 4096)
    lines = state(second)["terminated"]["message"].splitlines()
    assert (lines[0], lines[-1], len(lines)) == ("line 20", "line 99", 80)
    assert state(third)["terminated"]["message"] == "{}"


async def test_signals(cluster: Cluster) -> None:
    for name, number in (("a", 9), ("b", 15)):
        await cluster.run(name, script=f"import os; os.kill(os.getpid(), {number})")
    codes = [state(await cluster.ended(name))["terminated"] for name in "ab"]
    assert [(each["exitCode"], each["reason"]) for each in codes] == [(137, "Error"), (143, "Error")]


async def test_a_program_that_does_not_exist(cluster: Cluster) -> None:
    await cluster.run(containers=[{"name": "main", "image": "box", "command": ["no-such-program"]}])
    pod = await cluster.ended()
    ended = state(pod)["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (128, "StartError")
    assert "No such file or directory: no-such-program" in ended["message"]


async def test_memory_limit(cluster: Cluster) -> None:
    """A child of the program takes the memory; the whole container is killed."""
    script = (
        "import subprocess, sys, time\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; x = bytearray(200 << 20); time.sleep(300)'])\n"
        "time.sleep(300)"
    )
    pod = await cluster.run(script=script, container={"resources": {"limits": {"memory": "100Mi"}}})
    pod = await cluster.ended()
    ended = state(pod)["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (137, "OOMKilled")
    assert processes_of(pod["metadata"]["uid"]) == []


async def test_memory_shared_by_forks_counts_once(cluster: Cluster) -> None:
    script = (
        "import os, time\n"
        "x = bytearray(60 << 20)\n"
        "for i in range(3):\n"
        "    if os.fork() == 0:\n"
        "        time.sleep(1.5); os._exit(0)\n"
        "time.sleep(1.5)"
    )
    await cluster.run(script=script, container={"resources": {"limits": {"memory": "150Mi"}}})
    assert (await cluster.ended())["status"]["phase"] == "Succeeded"


async def test_deadline(cluster: Cluster) -> None:
    pod = await cluster.run(
        script="import time; time.sleep(300)", activeDeadlineSeconds=1, terminationGracePeriodSeconds=1
    )
    pod = await cluster.ended()
    assert (pod["status"]["phase"], pod["status"]["reason"]) == ("Failed", "DeadlineExceeded")
    await cluster.until(lambda pod: "terminated" in state(pod))
    assert processes_of(pod["metadata"]["uid"]) == []


# --- volumes ---------------------------------------------------------------------------------------------------------


async def test_volumes(cluster: Cluster, tmp_path: Path) -> None:
    """Init containers run in order; all kinds of volumes are where the container expects them."""
    client, namespace = cluster.client, cluster.namespace
    await client.create(
        CONFIG_MAP,
        {"metadata": {"name": "conf"}, "data": {"a.txt": "A", "spark.properties": "x=/scratch/y\n"}},
        namespace,
    )
    await client.create(SECRET, {"metadata": {"name": "keys"}, "stringData": {"key": "s3cret"}}, namespace)
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    await client.create(PERSISTENT_VOLUME_CLAIM, {"metadata": {"name": "data"}, "spec": claim}, namespace)
    volumes = [
        {"name": "scratch", "emptyDir": {}},
        {"name": "conf", "configMap": {"name": "conf", "items": [{"key": "a.txt", "path": "deep/b.txt"}]}},
        {"name": "props", "configMap": {"name": "conf"}},
        {"name": "keys", "secret": {"secretName": "keys"}},
        {"name": "data", "persistentVolumeClaim": {"claimName": "data"}},
        {"name": "host", "hostPath": {"path": str(tmp_path / "made"), "type": "DirectoryOrCreate"}},
        {
            "name": "all",
            "projected": {
                "sources": [
                    {"secret": {"name": "keys"}},
                    {"downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
                ]
            },
        },
    ]
    mounts = [
        {"name": "scratch", "mountPath": "/scratch"},
        {"name": "conf", "mountPath": "/etc/conf"},
        {"name": "props", "mountPath": "/opt/props"},
        {"name": "keys", "mountPath": "/keys/one", "subPath": "key"},
        {"name": "data", "mountPath": "/data"},
        {"name": "data", "mountPath": "/data-part", "subPath": "part/one"},
        {"name": "host", "mountPath": "/host"},
        {"name": "all", "mountPath": "/all"},
    ]
    read = "import sys, pathlib; [print(pathlib.Path(p).read_text().strip()) for p in sys.argv[1:]]"
    paths = ["/scratch/order", "/etc/conf/deep/b.txt", "/keys/one", "/all/key", "/all/name"]
    append = (
        "open('/scratch/order', 'a').write('%s'); open('/data-part/f', 'a').write('%s'); open('/host/f', 'w').write('')"
    )
    await cluster.run(
        volumes=volumes,
        initContainers=[python(append % (n, n), name=f"init-{n}", volumeMounts=mounts) for n in "12"],
        containers=[
            python(read, volumeMounts=mounts) | {"args": [*paths, "/data/part/one/f"]},
            python(read, name="props", volumeMounts=mounts)
            | {"args": ["/opt/props/spark.properties", "/opt/props/a.txt"]},
        ],
    )
    pod = await cluster.ended()
    assert pod["status"]["phase"] == "Succeeded", cluster.log(pod)
    assert cluster.log(pod).split() == ["12", "A", "s3cret", "s3cret", "p", "12"]
    properties, text = cluster.log(pod, "props").split()
    assert properties.endswith("/scratch/y")
    assert Path(properties.removeprefix("x=")).parent.joinpath("order").read_text() == "12"
    assert text == "A"
    assert (tmp_path / "made" / "f").exists()
    bound = await client.get(PERSISTENT_VOLUME_CLAIM, "data", namespace)
    assert bound["status"]["phase"] == "Bound"

    # What a claim holds outlives the pod, the rest does not.
    await client.delete(POD, "p", namespace, propagation="Background")
    await cluster.gone(pod["metadata"]["uid"])
    await cluster.run(
        "q", volumes=volumes[4:5], containers=[python(read, volumeMounts=mounts[4:5]) | {"args": ["/data/part/one/f"]}]
    )
    pod = await cluster.ended("q")
    assert cluster.log(pod) == "12\n"
    (volume,) = (cluster.state_dir / "volumes" / namespace).iterdir()
    await client.delete(PERSISTENT_VOLUME_CLAIM, "data", namespace, propagation="Background")
    async with asyncio.timeout(SECONDS):
        while volume.exists():
            await asyncio.sleep(0.02)


async def test_a_pod_waits_for_what_it_mounts_and_refers_to(cluster: Cluster) -> None:
    client, namespace = cluster.client, cluster.namespace
    pod = await cluster.run(
        volumes=[{"name": "conf", "configMap": {"name": "late"}}],
        containers=[
            python(
                "import os; print(os.environ['KEY'])",
                volumeMounts=[{"name": "conf", "mountPath": "/conf"}],
                env=[{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "late", "key": "k"}}}],
            )
        ],
    )
    await cluster.event(pod, "FailedMount", 'configmap "late" not found')
    assert waiting_reason(await client.get(POD, "p", namespace)) == "ContainerCreating"
    await client.create(CONFIG_MAP, {"metadata": {"name": "late"}, "data": {}}, namespace)
    await cluster.until(lambda pod: waiting_reason(pod) == "CreateContainerConfigError")
    await cluster.event(pod, "Failed", 'secret "late" not found')
    await client.create(SECRET, {"metadata": {"name": "late"}, "stringData": {"k": "v"}}, namespace)
    assert cluster.log(await cluster.ended()) == "v\n"


async def test_service_account(cluster: Cluster, api_server: Any) -> None:
    """A program in the pod reaches the API server as its service account, by the files and by KUBECONFIG."""
    token_path = "/var/run/secrets/kubernetes.io/serviceaccount"
    script = (
        "import json, os, pathlib, sys, urllib.error, urllib.request\n"
        "directory = pathlib.Path(sys.argv[1])\n"
        "config = json.loads(pathlib.Path(os.environ['KUBECONFIG']).read_text())\n"
        "url = config['clusters'][0]['cluster']['server'] + '/api/v1/namespaces/default/secrets'\n"
        "headers = {'Authorization': 'Bearer ' + (directory / 'token').read_text()}\n"
        "print((directory / 'namespace').read_text())\n"
        "try: urllib.request.urlopen(urllib.request.Request(url, headers=headers))\n"
        "except urllib.error.HTTPError as error: print(json.load(error)['message'])\n"
    )
    await cluster.run(containers=[python(script) | {"args": [token_path]}], automountServiceAccountToken=True)
    pod = await cluster.ended()
    namespace, refusal = cluster.log(pod).splitlines()
    assert namespace == cluster.namespace
    assert f'User "system:serviceaccount:{namespace}:default" cannot list resource "secrets"' in refusal


# --- images ----------------------------------------------------------------------------------------------------------


async def test_unknown_image(cluster: Cluster) -> None:
    pod = await cluster.run(containers=[{"name": "main", "image": "registry/no-such-image:1"}])
    await cluster.until(lambda pod: waiting_reason(pod) == "ErrImagePull")
    pod = await cluster.until(lambda pod: waiting_reason(pod) == "ImagePullBackOff")
    assert pod["status"]["phase"] == "Pending"
    assert "no folder 'no-such-image' with a Dockerfile" in state(pod)["waiting"]["message"]
    await cluster.event(pod, "Failed", "Error: ErrImagePull")
    await cluster.event(pod, "BackOff")
    await cluster.client.delete(POD, "p", cluster.namespace, propagation="Background")
    await cluster.gone(pod["metadata"]["uid"])


# --- restarts and probes ---------------------------------------------------------------------------------------------


async def test_restart_on_failure(cluster: Cluster) -> None:
    script = (
        "import pathlib, sys\n"
        "runs = pathlib.Path('/scratch/runs'); runs.touch()\n"
        "runs.write_text(runs.read_text() + 'x')\n"
        "print('run', len(runs.read_text())); sys.exit(len(runs.read_text()) < 2)\n"
    )
    scratch = [{"name": "scratch", "mountPath": "/scratch"}]
    await cluster.run(
        restartPolicy="OnFailure",
        volumes=[{"name": "scratch", "emptyDir": {}}],
        containers=[python(script, volumeMounts=scratch)],
    )
    pod = await cluster.ended()
    assert pod["status"]["phase"] == "Succeeded"
    (status,) = pod["status"]["containerStatuses"]
    assert status["restartCount"] == 1
    assert status["lastState"]["terminated"]["exitCode"] == 1
    assert (cluster.log(pod, previous=True), cluster.log(pod)) == ("run 1\n", "run 2\n")


async def test_crash_loop(cluster: Cluster) -> None:
    await cluster.run(script="exit(1)", restartPolicy="Always")
    pod = await cluster.until(lambda pod: waiting_reason(pod) == "CrashLoopBackOff")
    assert pod["status"]["phase"] == "Running"
    (status,) = pod["status"]["containerStatuses"]
    assert status["restartCount"] == 1
    assert status["lastState"]["terminated"]["exitCode"] == 1
    await cluster.client.delete(POD, "p", cluster.namespace, propagation="Background")
    await cluster.gone(pod["metadata"]["uid"])


async def test_failed_init_container(cluster: Cluster) -> None:
    await cluster.run(initContainers=[python("exit(5)", name="init")], containers=[python("print('never')")])
    pod = await cluster.ended()
    assert pod["status"]["phase"] == "Failed"
    assert pod["status"]["initContainerStatuses"][0]["state"]["terminated"]["exitCode"] == 5
    assert waiting_reason(pod) == "PodInitializing"


async def test_sidecar(cluster: Cluster) -> None:
    """It has started before the others begin, and is ended when they are done."""
    scratch = {"volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}]}
    serve = "open('/scratch/ready', 'w'); print('serving'); import time; time.sleep(300)"
    probe = {
        "exec": {"command": ["python", "-c", "open('/scratch/ready')"]},
        "periodSeconds": 1,
        "failureThreshold": 30,
    }
    pod = await cluster.run(
        volumes=[{"name": "scratch", "emptyDir": {}}],
        terminationGracePeriodSeconds=1,
        initContainers=[python(serve, name="side", restartPolicy="Always", startupProbe=probe, **scratch)],
        containers=[python("print(open('/scratch/ready').closed)", **scratch)],
    )
    pod = await cluster.ended()
    assert pod["status"]["phase"] == "Succeeded"
    assert cluster.log(pod) == "False\n"
    assert cluster.log(pod, "side") == "serving\n"
    assert processes_of(pod["metadata"]["uid"]) == []


SERVER = """
import http.server, os, pathlib
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if pathlib.Path('/scratch' + self.path).exists() else 503)
        self.end_headers()
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer((os.environ['IP'], 8080), Handler)
print('listening', flush=True)
server.serve_forever()
"""


async def test_probes(cluster: Cluster) -> None:
    """Started, then ready, then not ready, then killed by its liveness probe and started anew."""
    quick = {"periodSeconds": 1, "failureThreshold": 1}
    pod = await cluster.run(
        restartPolicy="Always",
        terminationGracePeriodSeconds=1,
        volumes=[{"name": "scratch", "emptyDir": {}}],
        containers=[
            python(
                SERVER,
                volumeMounts=[{"name": "scratch", "mountPath": "/scratch"}],
                env=[{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
                ports=[{"name": "web", "containerPort": 8080}],
                startupProbe={"tcpSocket": {"port": 8080}, "periodSeconds": 1, "failureThreshold": 20},
                readinessProbe={"httpGet": {"path": "/ready", "port": "web"}, **quick},
                livenessProbe={
                    "exec": {"command": ["python", "-c", "import os; exit(os.path.exists('/scratch/dead'))"]},
                    **quick,
                },
            )
        ],
    )
    scratch = cluster.state_dir / "pods" / pod["metadata"]["uid"] / "volumes" / "scratch"

    def is_ready(pod: Manifest) -> bool:
        return any(each["type"] == "Ready" and each["status"] == "True" for each in pod["status"].get("conditions", ()))

    pod = await cluster.until(lambda pod: is_running(pod) and pod["status"]["containerStatuses"][0]["started"])
    assert not is_ready(pod)
    await cluster.event(pod, "Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 503")
    (scratch / "ready").touch()
    await cluster.until(is_ready)
    (scratch / "ready").unlink()
    await cluster.until(lambda pod: not is_ready(pod))
    (scratch / "dead").touch()
    await cluster.event(pod, "Killing", "failed liveness probe, will be restarted")
    (scratch / "dead").unlink()
    pod = await cluster.until(
        lambda pod: is_running(pod) and pod["status"]["containerStatuses"][0]["restartCount"] == 1
    )
    assert pod["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 143


# --- deletion --------------------------------------------------------------------------------------------------------

PATIENT = """
import signal, sys, time
def leave(*_):
    print('leaving', flush=True); time.sleep(0.2); print('left', flush=True); sys.exit(0)
signal.signal(signal.SIGTERM, leave)
print('ready', flush=True)
time.sleep(300)
"""


async def test_deletion_lets_the_program_end_first(cluster: Cluster) -> None:
    pod = await cluster.run(script=PATIENT)
    await cluster.logged(pod, "ready")
    log = cluster.state_dir / "pods" / pod["metadata"]["uid"] / "main.log"
    with log.open() as file:  # the file is gone in the end, what was written is not
        await cluster.client.delete(POD, "p", cluster.namespace, propagation="Background")
        await cluster.gone(pod["metadata"]["uid"])
        assert file.read().split() == ["ready", "leaving", "left"]
    assert processes_of(pod["metadata"]["uid"]) == []


async def test_deletion_kills_the_deaf(cluster: Cluster) -> None:
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready'); time.sleep(300)"
    pod = await cluster.run(script=deaf, terminationGracePeriodSeconds=1)
    await cluster.logged(pod, "ready")
    await cluster.client.delete(POD, "p", cluster.namespace, propagation="Background")
    await cluster.gone(pod["metadata"]["uid"])
    assert processes_of(pod["metadata"]["uid"]) == []


async def test_forced_deletion_and_a_successor_of_the_same_name(cluster: Cluster) -> None:
    pod = await cluster.run(script=PATIENT)
    await cluster.logged(pod, "ready")
    await cluster.client.delete(POD, "p", cluster.namespace, propagation="Background", grace_seconds=0)
    successor = await cluster.run(script="print('successor')")
    await cluster.gone(pod["metadata"]["uid"])
    assert processes_of(pod["metadata"]["uid"]) == []
    assert cluster.log(await cluster.ended()) == "successor\n"
    assert successor["metadata"]["uid"] != pod["metadata"]["uid"]


# --- the node --------------------------------------------------------------------------------------------------------


async def test_node(cluster: Cluster) -> None:
    (node,) = (await cluster.client.list(NODE)).items
    assert node["status"]["capacity"]["cpu"] == str(os.cpu_count())
    assert any(each["type"] == "Ready" and each["status"] == "True" for each in node["status"]["conditions"])


async def test_what_does_not_fit_waits_for_room(cluster: Cluster) -> None:
    (node,) = (await cluster.client.list(NODE)).items
    most = {"requests": {"memory": f"{int(node['status']['allocatable']['memory'].removesuffix('Ki')) * 2 // 3}Ki"}}
    await cluster.run("first", script=PATIENT, container={"resources": most})
    await cluster.until(is_running, "first")
    await cluster.run("second", script="print('at last')", container={"resources": most})
    await cluster.run("other", script="print('never')", schedulerName="volcano")

    def condition(pod: Manifest) -> dict[str, Any]:
        return next((c for c in pod["status"].get("conditions") or () if c["type"] == "PodScheduled"), {})

    pod = await cluster.until(lambda pod: condition(pod).get("status") == "False", "second")
    assert condition(pod)["reason"] == "Unschedulable"
    assert condition(pod)["message"] == "0/1 nodes are available: 1 Insufficient memory."
    await cluster.event(pod, "FailedScheduling", "Insufficient memory")
    await cluster.client.delete(POD, "first", cluster.namespace, propagation="Background")
    assert cluster.log(await cluster.ended("second")) == "at last\n"
    other = await cluster.client.get(POD, "other", cluster.namespace)
    assert other["status"]["phase"] == "Pending"
    assert "nodeName" not in other["spec"]


async def test_a_node_that_comes_up_again_tells_the_truth(cluster: Cluster) -> None:
    once = await cluster.run("once", script=PATIENT)
    always = await cluster.run("always", script=PATIENT, restartPolicy="Always")
    done = await cluster.run("done", script="exit(3)")
    await cluster.ended("done")
    for pod in (once, always):
        await cluster.logged(pod, "ready")
    await cluster.stop()
    assert [process for pod in (once, always) for process in processes_of(pod["metadata"]["uid"])] == []
    assert is_running(await cluster.client.get(POD, "once", cluster.namespace))

    deleted = await cluster.client.delete(POD, "done", cluster.namespace, propagation="Background")
    assert deleted
    await cluster.start()
    lost = await cluster.ended("once")
    assert (lost["status"]["phase"], lost["status"]["reason"]) == ("Failed", "NodeLost")
    ended = state(lost)["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (137, "ContainerStatusUnknown")
    again = await cluster.until(
        lambda pod: is_running(pod) and pod["status"]["containerStatuses"][0]["restartCount"] == 1, "always"
    )
    assert again["status"]["containerStatuses"][0]["lastState"]["terminated"]["reason"] == "ContainerStatusUnknown"
    await cluster.gone(done["metadata"]["uid"], "done")
