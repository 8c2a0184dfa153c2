"""`sparkml plan`: executors that fill nodes, with the arithmetic and the alternatives."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from airflow_provider_sparkml.cli.check import PATIENCE, ContextOption, Format, KubeconfigOption
from airflow_provider_sparkml.cli.nodes import Nodes, read_nodes
from airflow_provider_sparkml.cli.output import print_table
from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.client.credentials import kubeconfig_file
from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.resources.sizing import ExecutorPlan, Language, Node, plan_executors
from airflow_provider_sparkml.resources.sizing_arithmetic import arithmetic
from airflow_provider_sparkml.resources.spark_builders import Driver

HEADINGS = ("cores", "executors", "tasks", "heap", "overhead", "pod cores", "pod memory", "idle cores", "idle memory")


def plan(  # noqa: PLR0917 - a command's options are its interface
    node_cpu: Annotated[str, typer.Option(metavar="QUANTITY", help="Allocatable cores of a node: 15890m.")] = "",
    node_memory: Annotated[str, typer.Option(metavar="QUANTITY", help="Allocatable memory of a node: 59Gi.")] = "",
    nodes: Annotated[
        int | None, typer.Option(min=1, metavar="NUMBER", help="How many nodes; 1, or all of the cluster.")
    ] = None,
    cluster: Annotated[
        bool, typer.Option("--cluster", help="Read the nodes from the cluster; so do the next three options.")
    ] = False,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
    selector: Annotated[
        str, typer.Option("--selector", "-l", metavar="LABELS", help="Only these nodes: pool=spark.")
    ] = "",
    reserved_cpu: Annotated[
        str | None, typer.Option(metavar="QUANTITY", help="Cores for what else runs on each node; the DaemonSets'.")
    ] = None,
    reserved_memory: Annotated[str | None, typer.Option(metavar="QUANTITY", help="Memory for it.")] = None,
    driver_cores: Annotated[
        int | None,
        typer.Option(min=1, metavar="NUMBER", help="The driver lives on one of the nodes, with so many cores."),
    ] = None,
    driver_memory: Annotated[
        str | None, typer.Option(metavar="SIZE", help="The driver lives on one of the nodes, with this heap.")
    ] = None,
    type: Annotated[str, typer.Option(metavar="LANGUAGE", help="Python, R, Java or Scala.")] = "Python",
    executor_cores: Annotated[
        list[int] | None, typer.Option(min=1, metavar="NUMBER", help="Cores per executor, not 2 to 8; may be repeated.")
    ] = None,
    memory: Annotated[str, typer.Option(metavar="SIZE", help="Heap of each executor; as much as fits.")] = "",
    request_per_core: Annotated[
        str, typer.Option(metavar="QUANTITY", help="CPU that is requested for each of an executor's cores.")
    ] = "1",
    output: Annotated[Format, typer.Option("--output", "-o", help="How to print it.")] = Format.TABLE,
) -> None:
    """Plan executors that fill nodes. It says how many, with how many cores and how much memory; nothing is changed."""
    if cluster or kubeconfig is not None or context is not None or selector:
        if node_cpu or node_memory:
            raise InvalidManifestError(
                "--node-cpu and --node-memory are for nodes that are in no cluster: leave them out"
            )
        there = asyncio.run(_read(kubeconfig, context, selector, reserved_cpu, reserved_memory))
    elif node_cpu and node_memory:
        node = Node(
            cpu=node_cpu, memory=node_memory, reserved_cpu=reserved_cpu or "0", reserved_memory=reserved_memory or "0"
        )
        there = Nodes(node, 1, ())
    else:
        raise InvalidManifestError("no nodes: give --node-cpu and --node-memory, or --cluster")
    has_driver = driver_cores is not None or driver_memory is not None
    plans = plan_executors(
        there.node,
        nodes=there.count if nodes is None else nodes,
        driver=Driver(cores=driver_cores or 1, memory=driver_memory or "1g") if has_driver else None,
        type=cast("Language", type),
        executor_cores=executor_cores or None,
        memory=memory,
        request_per_core=request_per_core,
    )
    if output is Format.JSON:
        typer.echo(json.dumps(_to_json(there, plans), indent=2))
    else:
        _print(there, plans)


async def _read(
    kubeconfig: Path | None, context: str | None, selector: str, reserved_cpu: str | None, reserved_memory: str | None
) -> Nodes:
    async with KubernetesClient(kubeconfig_file(kubeconfig, context), timeouts=PATIENCE) as client:
        return await read_nodes(client, selector, reserved_cpu, reserved_memory)


def _to_json(there: Nodes, plans: list[ExecutorPlan]) -> dict[str, Any]:
    """Return all that is printed, as JSON-safe data; the best plan first."""
    lines = [{"what": line.what, "how": line.how, "result": line.result} for line in arithmetic(plans[0])]
    return {"remarks": list(there.remarks), "plans": [each.to_json() for each in plans], "arithmetic": lines}


def _print(there: Nodes, plans: list[ExecutorPlan]) -> None:
    """Print the plans, the arithmetic of the best, and what to write into a DAG."""
    for remark in there.remarks:
        typer.echo(f"note: {remark}", err=True)
    print_table("Plans, the best first", HEADINGS, [_row(each) for each in plans])
    best = plans[0]
    typer.echo()
    print_table("Its arithmetic", ("what", "how", "result"), [(x.what, x.how, x.result) for x in arithmetic(best)])
    typer.echo()
    typer.echo(f"executor={_source(best)}")


def _row(each: ExecutorPlan) -> tuple[str, ...]:
    return (
        str(each.cores),
        str(each.instances),
        str(each.slots),
        f"{each.heap}m",
        f"{each.overhead}m",
        f"{each.request.millicores / 1000:g}",
        f"{each.request.memory_mib}Mi",
        f"{each.idle.millicores / 1000:g}",
        f"{each.idle.memory_mib}Mi",
    )


def _source(each: ExecutorPlan) -> str:
    """Return the Python that makes the executors."""
    executor = each.executor()
    fields = {"instances": executor.instances, "cores": executor.cores, "core_request": executor.core_request}
    fields |= {"memory": executor.memory, "memory_overhead": executor.memory_overhead}
    return f"Executor({', '.join(f'{name}={value!r}' for name, value in fields.items() if value)})"


__all__ = ["plan"]
