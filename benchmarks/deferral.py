"""What N deferred tasks cost the triggerer and the API server, for this provider and for the cncf provider's trigger.

    python -m benchmarks.deferral --apps 1000 --seconds 30 [--kind MPIJob] [--kubeconfig PATH]

Each contender waits, in a process of its own, for the same N running jobs on the same API server. First the
waiting itself is measured (requests, CPU, memory), then some of the jobs end, one by one, and the time from
the status patch's answer to the trigger's event is taken. JSON on stdout, progress on stderr.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import yaml

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.client.credentials import kubeconfig_file
from airflow_provider_sparkml.local.accounts import airflow_token, apply_accounts
from airflow_provider_sparkml.resources.core import NAMESPACE, POD
from benchmarks import waiter
from benchmarks.jobs import CONTAINER, JOBS, Job, now
from benchmarks.progress import steps

ENDINGS = 100
ENDINGS_SECONDS = 20.0


def main_pod(job: Job, name: str) -> dict[str, Any]:
    """A pod no kubelet will touch: the benchmark writes its status."""
    container = {"name": CONTAINER, "image": "spark:4.3.0"}
    spec = {"schedulerName": "none", "restartPolicy": "Never", "containers": [container]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": job.pod(name), "spec": spec}


def pod_status(phase: str, state: dict[str, Any]) -> dict[str, Any]:
    status = {
        "name": CONTAINER,
        "image": "i",
        "imageID": "i",
        "ready": phase == "Running",
        "restartCount": 0,
        "state": state,
    }
    return {"phase": phase, "containerStatuses": [status]}


async def populate(client: KubernetesClient, kind: str, namespace: str, names: list[str]) -> list[dict[str, str]]:
    """Create the running jobs and their main pods; return the jobs' names and UIDs."""
    job, api = JOBS[kind], waiter.trigger_class(kind).resource.api

    async def one(name: str) -> dict[str, str]:
        manifest = {"apiVersion": api.api_version, "kind": kind, "metadata": {"name": name}, "spec": job.spec}
        created = await client.create(api, manifest, namespace)
        await client.patch(api, name, {"status": job.running(name)}, namespace, subresource="status")
        pod = await client.create(POD, main_pod(job, name), namespace)
        status = {"status": pod_status("Running", {"running": {"startedAt": now()}})}
        await client.patch(POD, pod["metadata"]["name"], status, namespace, subresource="status")
        return {"name": name, "uid": created["metadata"]["uid"]}

    apps: list[dict[str, str]] = []
    for start in steps(range(0, len(names), 50), f"{len(names)} running jobs"):
        apps += await asyncio.gather(*(one(name) for name in names[start : start + 50]))
    return apps


async def end(client: KubernetesClient, contender: str, kind: str, namespace: str, name: str) -> float:
    """End one job, as the contender sees it, and return when the patch was answered (epoch seconds)."""
    if contender == "ours":
        api = waiter.trigger_class(kind).resource.api
        await client.patch(api, name, {"status": JOBS[kind].ended()}, namespace, subresource="status")
    else:
        terminated = {"exitCode": 0, "reason": "Completed", "finishedAt": now()}
        pod = {"status": pod_status("Succeeded", {"terminated": terminated})}
        await client.patch(POD, f"{name}-driver", pod, namespace, subresource="status")
    return time.time()


@contextlib.contextmanager
def local_cluster() -> Iterator[str]:
    """Start a local cluster for the benchmark alone and yield its kubeconfig."""
    with tempfile.TemporaryDirectory(prefix="sparkml-bench-") as folder:
        kubeconfig = str(Path(folder) / "kubeconfig")
        command = [sys.executable, "-m", "airflow_provider_sparkml.cli", "cluster"]
        where = ["--state-dir", str(Path(folder) / "state")]
        up = subprocess.run(
            [*command, "up", "--detach", "--kubeconfig", kubeconfig, *where],
            capture_output=True,
            text=True,
            check=False,
        )
        if up.returncode:
            raise SystemExit(f"the local cluster did not start: {up.stderr or up.stdout}")
        try:
            yield kubeconfig
        finally:
            subprocess.run([*command, "down", *where], check=True, stdout=subprocess.DEVNULL)


class Contender:
    """A waiting process and the lines it prints."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def tell(self, word: str) -> None:
        """Send one word to the waiter."""
        if self._process.stdin is None:
            raise RuntimeError("the waiter has no stdin")
        self._process.stdin.write(f"{word}\n".encode())
        await self._process.stdin.drain()

    async def hear(self) -> dict[str, Any]:
        """Return the waiter's next line, parsed."""
        if self._process.stdout is None:
            raise RuntimeError("the waiter has no stdout")
        while line := await self._process.stdout.readline():
            if line.startswith(b"{"):
                answer: dict[str, Any] = json.loads(line)
                return answer
        raise SystemExit("the waiter ended early: its error output stands above")


@contextlib.asynccontextmanager
async def waiting(
    contender: str, kind: str, kubeconfig: str, namespace: str, apps: list[dict[str, str]]
) -> AsyncIterator[Contender]:
    """Run a waiter process for the contender over all names."""
    connection = {"conn_type": "kubernetes", "extra": {"kube_config_path": kubeconfig, "namespace": namespace}}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        waiter.__name__,
        contender,
        kind,
        namespace,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "AIRFLOW_CONN_KUBERNETES_DEFAULT": json.dumps(connection)},
    )
    speaker = Contender(process)
    try:
        await speaker.tell(json.dumps(apps))
        yield speaker
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def measure(
    contender: str, kind: str, used: str, kubeconfig: str, namespace: str, apps: list[dict[str, str]], seconds: float
) -> dict[str, Any]:
    """Measure one contender: first the waiting, then the endings.

    :param used: the kubeconfig that it waits with.
    :param kubeconfig: the one of whoever ends the jobs.
    """
    async with waiting(contender, kind, used, namespace, apps) as speaker:
        started = await speaker.hear()
        print(f"{contender}: {len(apps)} triggers wait; measuring {seconds:.0f} s", file=sys.stderr)
        await speaker.tell(f"measure {seconds}")
        hearing = asyncio.create_task(speaker.hear())
        for _ in steps(range(100), f"{contender}: waiting"):
            await asyncio.wait([hearing], timeout=seconds / 100)
        cost = await hearing
        chosen = random.Random(7).sample([app["name"] for app in apps], min(ENDINGS, len(apps)))
        ended: dict[str, float] = {}
        async with KubernetesClient(kubeconfig_file(kubeconfig)) as client:
            for name in steps(chosen, f"{contender}: endings"):
                ended[name] = await end(client, contender, kind, namespace, name)
                await asyncio.sleep(ENDINGS_SECONDS / len(chosen))
        delays = []
        for _ in chosen:
            event = await asyncio.wait_for(speaker.hear(), timeout=120)
            if "error" in event:
                raise SystemExit(f"{contender}: a trigger failed: {event['error']}")
            delays.append(max(0.0, event["at"] - ended[event["name"]]))
    delays.sort()
    return {
        "requests_per_min": round(cost["requests"] / seconds * 60, 1),
        "cpu_percent": round(cost["cpu_seconds"] / seconds * 100, 2),
        "kib_per_task": round(started["kib"] / len(apps), 1),
        "p50_s": round(statistics.median(delays), 4),
        "p99_s": round(delays[min(len(delays) - 1, int(len(delays) * 0.99))], 4),
        "max_s": round(delays[-1], 4),
    }


def kubeconfig_of(token: str, kubeconfig: str, place: str) -> str:
    """Return a copy of a kubeconfig, below ``place``, whose users have this token."""
    config = yaml.safe_load(Path(kubeconfig).read_text())
    config["users"] = [{"name": each["name"], "user": {"token": token}} for each in config["users"]]
    path = Path(place) / "airflow-kubeconfig"
    path.touch(mode=0o600)
    path.write_text(json.dumps(config))
    return str(path)


async def compare(kubeconfig: str, kind: str, apps: int, seconds: float) -> dict[str, Any]:
    """Measure the contenders over the same jobs, then delete what was made.

    :param kubeconfig: an administrator's; this provider waits with the rights of the shipped roles, and the peer, for
        which these are not made, with the administrator's.
    """
    namespace = f"bench-{os.getpid()}"
    names = [f"app-{index}" for index in range(apps)]
    result: dict[str, Any] = {"apps": apps, "kind": kind}
    async with KubernetesClient(kubeconfig_file(kubeconfig)) as client:
        await client.create(NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
        try:
            print(f"creating {apps} running jobs of kind {kind}", file=sys.stderr)
            running = await populate(client, kind, namespace, names)
            with tempfile.TemporaryDirectory(prefix="sparkml-bench-") as place:
                await apply_accounts(client, namespace)
                ours = kubeconfig_of(await airflow_token(client, namespace), kubeconfig, place)
                for contender in JOBS[kind].contenders:
                    used = ours if contender == "ours" else kubeconfig
                    result[contender] = await measure(contender, kind, used, kubeconfig, namespace, running, seconds)
                    print(f"{contender}: {json.dumps(result[contender])}", file=sys.stderr)
        finally:
            await client.delete(NAMESPACE, namespace)
    return result


def main() -> None:
    """Parse the command line, run the contenders, and print the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--apps", type=int, default=1000, help="how many tasks wait (default: 1000)")
    parser.add_argument("--kind", choices=list(JOBS), default="SparkApplication", help="what they wait for")
    parser.add_argument("--seconds", type=float, default=30, help="how long the waiting is measured (default: 30)")
    parser.add_argument("--kubeconfig", help="an API server with the kind's CRD; a local cluster by default")
    options = parser.parse_args()
    with contextlib.nullcontext(options.kubeconfig) if options.kubeconfig else local_cluster() as kubeconfig:
        print(json.dumps(asyncio.run(compare(kubeconfig, options.kind, options.apps, options.seconds)), indent=2))


if __name__ == "__main__":
    main()
