"""The command line: its groups of commands, its version, and how it tells of errors."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from airflow_provider_sparkml import __version__
from airflow_provider_sparkml.cli import cluster, images
from airflow_provider_sparkml.cli.check import check
from airflow_provider_sparkml.cli.plan import plan
from airflow_provider_sparkml.cli.runs import runs
from airflow_provider_sparkml.cli.validate import validate
from airflow_provider_sparkml.exceptions import SparkMLError


class OneLineErrors(TyperGroup):
    """Prints an error of this package as one line, cause and remedy, and exits with 1; a bug keeps its traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command."""
        try:
            return super().invoke(ctx)
        except SparkMLError as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(1) from error


app = typer.Typer(
    name="sparkml",
    cls=OneLineErrors,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Spark and machine learning on Kubernetes: a local cluster, checks, sizes, and runs side by side.",
)
app.add_typer(cluster.app, name="cluster")
app.add_typer(images.app, name="images")
app.command()(check)
app.command()(plan)
app.command()(runs)
app.command()(validate)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sparkml {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Spark and machine learning on Kubernetes: a local cluster, checks, sizes, and runs side by side."""
