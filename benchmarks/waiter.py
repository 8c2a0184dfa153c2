"""The waiting side of the deferral benchmark: N triggers of one contender in one event loop, as in a triggerer.

It reads the names on its first line, prints ``{"kib"}`` when all triggers wait, answers ``measure S`` with what S
seconds of waiting cost, and prints ``{"name", "at"}`` for each trigger that fires.
"""

from __future__ import annotations

import asyncio
import datetime
import functools
import gc
import json
import logging
import sys
import time
from collections.abc import AsyncIterator
from importlib import import_module
from typing import Any

import aiohttp
import psutil
import structlog

from benchmarks.jobs import JOBS

SETTLE_SECONDS = 5.0


class Requests:
    """Counts the HTTP requests of every aiohttp session opened after it: both contenders use aiohttp."""

    def __init__(self) -> None:
        self.count = 0
        original = aiohttp.ClientSession.__init__

        async def started(session: Any, context: Any, params: Any) -> None:
            self.count += 1

        def patched(session: aiohttp.ClientSession, *args: Any, **kwargs: Any) -> None:
            trace = aiohttp.TraceConfig()
            trace.on_request_start.append(started)
            kwargs["trace_configs"] = [*(kwargs.get("trace_configs") or []), trace]
            original(session, *args, **kwargs)

        aiohttp.ClientSession.__init__ = patched  # type: ignore[method-assign]


def trigger_class(kind: str) -> Any:
    """Return this provider's trigger of a kind."""
    return getattr(import_module(JOBS[kind].module), JOBS[kind].trigger)


def our_trigger(kind: str, namespace: str, name: str, uid: str) -> Any:
    """Build the trigger that our operator defers to, with a deadline, as a task with a time-out has it."""
    from airflow_provider_sparkml.resources.base import ResourceRef

    cls = trigger_class(kind)
    ref = ResourceRef(cls.resource.api.api_version, kind, namespace, name, uid)
    deadlines = {"queue_until": None, "startup_seconds": 600.0, "execute_until": time.time() + 3600}
    return cls(ref=ref.to_json(), deadlines=deadlines, kubernetes_conn_id="kubernetes_default")


def cncf_trigger(kind: str, namespace: str, name: str, uid: str) -> Any:
    """Build the trigger that SparkKubernetesOperator defers to, at the poll interval it uses by default."""
    from airflow.providers.cncf.kubernetes.triggers.pod import KubernetesPodTrigger

    return KubernetesPodTrigger(
        pod_name=f"{name}-driver",
        pod_namespace=namespace,
        trigger_start_time=datetime.datetime.now(tz=datetime.UTC),
        base_container_name="spark-kubernetes-driver",
        kubernetes_conn_id="kubernetes_default",
        on_finish_action="keep_pod",
    )


TRIGGERS = {"ours": our_trigger, "cncf": cncf_trigger}


def say(**what: Any) -> None:
    """Write one line of JSON for the benchmark to read."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


async def run(trigger: Any, name: str) -> None:
    """Await one trigger, as the triggerer does, and tell when it fires."""
    events: AsyncIterator[Any] = trigger.run()
    async for event in events:
        at = time.time()
        payload = event.payload
        failed = payload.get("error") or payload.get("status") in ("error", "timeout", "failed")
        say(name=name, at=at, **({"error": str(payload)} if failed else {}))
        return


async def wait(contender: str, kind: str, namespace: str, apps: list[dict[str, str]]) -> None:
    """Start all triggers, then do what the benchmark says."""
    requests = Requests()
    process = psutil.Process()
    build = functools.partial(TRIGGERS[contender], kind, namespace)
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    # The first trigger pays for imports and for the connection; it is no part of the cost per task.
    first = asyncio.create_task(run(build(**apps[0]), apps[0]["name"]))
    await asyncio.sleep(SETTLE_SECONDS)
    gc.collect()
    before = process.memory_info().rss
    tasks = [first]
    for app in apps[1:]:
        tasks.append(asyncio.create_task(run(build(**app), app["name"])))
    await asyncio.sleep(SETTLE_SECONDS)
    await quiet(process)
    gc.collect()
    say(kib=(process.memory_info().rss - before) / 1024)
    seconds = float((await reader.readline()).split()[1])
    count, cpu = requests.count, sum(process.cpu_times()[:2])
    await asyncio.sleep(seconds)
    say(requests=requests.count - count, cpu_seconds=sum(process.cpu_times()[:2]) - cpu)
    await asyncio.gather(*tasks)


async def quiet(process: psutil.Process) -> None:
    """Return when starting up has ended: when a second costs no more than the one before, or after a minute."""
    last = float("inf")
    for _ in range(60):
        cpu = sum(process.cpu_times()[:2])
        await asyncio.sleep(1)
        used = sum(process.cpu_times()[:2]) - cpu
        if used >= 0.9 * last or used < 0.02:
            return
        last = used


def main() -> None:
    """Read the applications from the first line of stdin, and wait for them."""
    contender, kind, namespace = sys.argv[1:]
    logging.disable(logging.CRITICAL)  # the triggerer writes to files; here neither contender writes at all
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    asyncio.run(wait(contender, kind, namespace, json.loads(sys.stdin.readline())))


if __name__ == "__main__":
    main()
