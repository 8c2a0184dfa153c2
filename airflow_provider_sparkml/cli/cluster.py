"""`sparkml cluster`: starts, stops and shows the local cluster."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from airflow_provider_sparkml.cli.images import ImagesOption
from airflow_provider_sparkml.cli.output import print_table
from airflow_provider_sparkml.cli.overview import Overview, read_overview
from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.client.credentials import kubeconfig_file
from airflow_provider_sparkml.exceptions import LocalClusterError
from airflow_provider_sparkml.local.cluster import BANNER, JOB_NAMESPACES, STOP_SECONDS, local_cluster, refuse_foreign
from airflow_provider_sparkml.local.statedir import StateDir, default_state_dir, write_private

START_SECONDS = 30.0
"""A cluster that is not ready after so long says why in its log; it should need three."""
INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 + SIGINT, as shells count."""

app = typer.Typer(
    no_args_is_help=True, help="Run a local cluster. It is a Kubernetes API on this machine, with processes for pods."
)

StateDirOption = Annotated[
    Path, typer.Option("--state-dir", metavar="DIR", help="Where the cluster keeps everything.", show_default=False)
]


class Format(StrEnum):
    """How `status` prints."""

    TABLE = "table"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Copies:
    """Where the user wants kubeconfigs besides the state directory.

    :param admin: the administrator's.
    :param airflow: Airflow's.
    """

    admin: Path | None = None
    airflow: Path | None = None


@app.command()
def up(
    *,
    kubeconfig: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Write the administrator's kubeconfig here, too (mode 0600).")
    ] = None,
    airflow_kubeconfig: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Write Airflow's kubeconfig here, too (mode 0600).")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port of the API; as last time, or any free one.")
    ] = None,
    state_dir: StateDirOption = default_state_dir(),  # noqa: B008 - typer reads defaults from the signature
    job_namespace: Annotated[
        list[str], typer.Option(metavar="NAME", help="Run SparkApplications here; may be repeated; '*' for everywhere.")
    ] = list(JOB_NAMESPACES),  # noqa: B006 - typer reads defaults from the signature
    images: ImagesOption = [],  # noqa: B006 - typer reads defaults from the signature
    detach: Annotated[bool, typer.Option("--detach", help="Return when it is ready and leave it running.")] = False,
) -> None:
    """Start the cluster. It runs until Ctrl-C; its state is kept for the next time."""
    state = StateDir(state_dir)
    copies = Copies(*(path.expanduser().absolute() if path else None for path in (kubeconfig, airflow_kubeconfig)))
    if detach:
        _start_detached(state, copies, port, job_namespace, images)
        return
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    interrupted = asyncio.run(_serve(state, copies, port, job_namespace, images))
    if interrupted:
        raise typer.Exit(INTERRUPTED)


async def _serve(
    state: StateDir, copies: Copies, port: int | None, job_namespaces: list[str], images: list[Path]
) -> bool:
    """Run the cluster until a signal comes; return whether it was Ctrl-C."""
    loop = asyncio.get_running_loop()
    received: asyncio.Future[int] = loop.create_future()

    def stop(number: int) -> None:
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.remove_signal_handler(each)  # the second Ctrl-C does not wait for anything
        received.set_result(number)

    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(each, stop, each)
    everywhere = "*" in job_namespaces
    async with local_cluster(
        state,
        port=port,
        kubeconfig=copies.admin,
        airflow_kubeconfig=copies.airflow,
        job_namespaces=None if everywhere else job_namespaces,
        images=images,
    ) as cluster:
        state.announce()
        typer.echo(f"{BANNER}\nKubernetes API: {cluster.server}\n{_kubeconfigs(state, copies)}")
        number = await cluster.run_until(received)
        again = "; once more Ctrl-C ends them at once" if number == signal.SIGINT else ""
        typer.echo(f"stopping the pods{again}")
    typer.echo("stopped")
    return number == signal.SIGINT


def _kubeconfigs(state: StateDir, copies: Copies) -> str:
    """Return which kubeconfig is whose: on a line for the shell, and on one for Airflow's connection."""
    admin, airflow = copies.admin or state.kubeconfig, copies.airflow or state.airflow_kubeconfig
    return f"export KUBECONFIG={admin}\nfor Airflow, with its rights only: {airflow}"


def _start_detached(
    state: StateDir, copies: Copies, port: int | None, job_namespaces: list[str], images: list[Path]
) -> None:
    """Start the cluster in a session of its own, and wait until it is ready."""
    pid = state.running()
    if pid is not None:
        for copy, original in ((copies.admin, state.kubeconfig), (copies.airflow, state.airflow_kubeconfig)):
            if copy:
                refuse_foreign(copy)
                write_private(copy, original.read_text())
        typer.echo(f"already up (process {pid})\n{_kubeconfigs(state, copies)}")
        return
    state.prepare()
    command = [sys.executable, "-m", "airflow_provider_sparkml.cli", "cluster", "up", f"--state-dir={state.path}"]
    command += [f"--kubeconfig={copies.admin}"] if copies.admin else []
    command += [f"--airflow-kubeconfig={copies.airflow}"] if copies.airflow else []
    command += [f"--port={port}"] if port else []
    command += [f"--job-namespace={name}" for name in job_namespaces]
    command += [f"--images={directory}" for directory in images]
    with state.log.open("a") as log:
        written = log.tell()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        _wait_until_ready(state, process, written)
    except BaseException:
        process.terminate()  # it would come up although nobody waits for it any more
        process.wait()
        raise
    with state.log.open() as log:
        log.seek(written)
        typer.echo(log.read().strip())
    typer.echo(f"process {process.pid}, log {state.log}; stop it with: sparkml cluster down --state-dir {state.path}")


def _wait_until_ready(state: StateDir, process: subprocess.Popen[bytes], written: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while state.running() != process.pid:
        if process.poll() is not None:
            raise LocalClusterError(_last_words(state.log, written) or f"the cluster ended at once; see {state.log}")
        if time.monotonic() > deadline:
            raise LocalClusterError(f"the cluster was not ready after {START_SECONDS:.0f} s; see {state.log}")
        time.sleep(0.02)


def _last_words(log: Path, start: int) -> str:
    with log.open(errors="replace") as file:
        file.seek(start)
        lines = [line.strip() for line in file if line.strip()]
    return lines[-1].removeprefix("error: ") if lines else ""


@app.command()
def down(state_dir: StateDirOption = default_state_dir()) -> None:  # noqa: B008
    """Stop the cluster and its pods; its state is kept."""
    state = StateDir(state_dir)
    deadline = time.monotonic() + START_SECONDS
    while (pid := state.running()) is None and state.is_held():  # it is just starting, or stopping
        if time.monotonic() > deadline:
            raise LocalClusterError(f"the cluster in {state.path} neither starts nor stops; see {state.log}")
        time.sleep(0.02)
    if pid is None:
        typer.echo(f"not running (state directory {state.path})")
        return
    with contextlib.suppress(ProcessLookupError):  # it ended just now
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while state.is_held():
        if time.monotonic() > deadline:
            raise LocalClusterError(
                f"process {pid} did not stop within {STOP_SECONDS:.0f} s; end it with: kill -9 {pid}"
            )
        time.sleep(0.02)
    typer.echo("stopped")


@app.command()
def status(
    state_dir: StateDirOption = default_state_dir(),  # noqa: B008
    output: Annotated[Format, typer.Option("--output", "-o", help="For people, or for programs.")] = Format.TABLE,
) -> None:
    """Show nodes, namespaces and workloads. Exits with 1 when the cluster is not running."""
    state = StateDir(state_dir)
    pid = state.running()
    if pid is None:
        if output is Format.JSON:
            typer.echo(json.dumps({"running": False, "stateDir": str(state.path)}))
            raise typer.Exit(1)
        raise LocalClusterError(f"not running (state directory {state.path}); start it with: sparkml cluster up")
    overview = asyncio.run(_overview(state))
    if output is Format.JSON:
        about = {"running": True, "pid": pid, "stateDir": str(state.path), "kubeconfig": str(state.kubeconfig)}
        about["airflowKubeconfig"] = str(state.airflow_kubeconfig)
        typer.echo(json.dumps({**about, **overview.to_json()}, indent=2))
        return
    typer.echo(f"running: process {pid}, {overview.server}\n{_kubeconfigs(state, Copies())}")
    for title, headings, rows in overview.tables():
        print_table(title, headings, rows)


async def _overview(state: StateDir) -> Overview:
    credentials = kubeconfig_file(state.kubeconfig)
    async with KubernetesClient(credentials) as client:
        return await read_overview(client, (await credentials.load()).server)
