"""`sparkml check`: whether a cluster is ready for jobs, as a table of what is well, what is not, and the fix."""

from __future__ import annotations

import asyncio
import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from airflow_provider_sparkml.cli.output import in_columns
from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.client.credentials import kubeconfig_file
from airflow_provider_sparkml.client.transport import Timeouts
from airflow_provider_sparkml.jobs.findings import Finding, Status
from airflow_provider_sparkml.jobs.preflight import SPARK, Wanted, check_wanted, preflight

PATIENCE = Timeouts(total=10.0, request=10.0, connect=5.0)
"""A person waits for the answer."""
_COLOURS = {Status.OK: "green", Status.WARNING: "yellow", Status.UNKNOWN: "yellow", Status.FAILED: "red"}

KubeconfigOption = Annotated[
    Path | None, typer.Option(metavar="PATH", help="The kubeconfig; $KUBECONFIG or ~/.kube/config when not given.")
]
ContextOption = Annotated[str | None, typer.Option(metavar="NAME", help="The kubeconfig's context to use.")]
NamespaceOption = Annotated[
    str | None, typer.Option("--namespace", "-n", metavar="NAME", help="The namespace; the context's when not given.")
]


class Format(StrEnum):
    """How the findings are printed."""

    TABLE = "table"
    JSON = "json"


def check(  # noqa: PLR0917 - a command's options are its interface
    kind: Annotated[
        list[str], typer.Option(metavar="KIND", help="A kind of jobs that has to work; may be repeated.")
    ] = [SPARK],  # noqa: B006 - typer reads defaults from the signature
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
    namespace: NamespaceOption = None,
    service_account: Annotated[str, typer.Option(metavar="NAME", help="The drivers' service account.")] = "spark",
    image_pull_secret: Annotated[str, typer.Option(metavar="NAME", help="A Secret that jobs name.")] = "",
    output: Annotated[Format, typer.Option("--output", "-o", help="How to print it.")] = Format.TABLE,
) -> None:
    """Check whether a cluster is ready for jobs; nothing is changed. Ends with 1 when something stands in their way."""
    wanted = Wanted(namespace or "", check_wanted(kind), service_account, image_pull_secret)
    findings = asyncio.run(_check(kubeconfig, context, wanted))
    if output is Format.JSON:
        typer.echo(json.dumps([finding.to_json() for finding in findings], indent=2))
    else:
        print_findings(findings)
    if any(finding.status is Status.FAILED for finding in findings):
        raise typer.Exit(1)


async def _check(kubeconfig: Path | None, context: str | None, wanted: Wanted) -> list[Finding]:
    async with KubernetesClient(kubeconfig_file(kubeconfig, context), timeouts=PATIENCE) as client:
        namespace = wanted.namespace or await client.default_namespace()
        return await preflight(
            client, Wanted(namespace, wanted.kinds, wanted.service_account, wanted.image_pull_secret)
        )


def print_findings(findings: list[Finding]) -> None:
    """Print a coloured table on a terminal, else lines in columns, each fix below its finding."""
    console = Console()
    if not console.is_terminal:
        lines = in_columns([[str(each.status).upper(), each.check, each.detail] for each in findings])
        for finding, line in zip(findings, lines, strict=True):
            typer.echo(line)
            if finding.fix:
                typer.echo(f"    fix: {finding.fix}")
        return
    table = Table("Status", "Check", "Found", "Fix", header_style="bold")
    for finding in findings:
        cells = (finding.check, finding.detail, finding.fix)
        shown = (cell.replace("[", r"\[") for cell in cells)
        table.add_row(f"[{_COLOURS[finding.status]}]{finding.status}[/]", *shown)
    console.print(table)
