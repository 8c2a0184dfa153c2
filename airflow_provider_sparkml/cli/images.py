"""`sparkml images`: the local cluster's images, made before they are needed."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated

import typer

from airflow_provider_sparkml.cli.output import progress_line
from airflow_provider_sparkml.local.images import ImageStore, default_cache, default_folders

app = typer.Typer(no_args_is_help=True, help="The local cluster's images: virtual environments in the user's cache.")


@app.command()
def build(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Names of image folders; all when none is given.")
    ] = None,
) -> None:
    """Build images that are not built yet, so that the first pod need not wait for the downloads."""
    store = ImageStore(default_folders(), default_cache())
    asyncio.run(_build(store, names or installable()))


def installable() -> list[str]:
    """Return the names of the images that have something to install."""
    return sorted({path.parent.name for folder in default_folders() for path in folder.glob("*/requirements.txt")})


async def _build(store: ImageStore, names: list[str]) -> None:
    for name in names:
        if store.is_built(name):
            typer.echo(f"image {name}: built already")
            continue
        began = time.monotonic()
        with progress_line(f"image {name}") as progress:
            await store.pull(name, progress=progress)
        typer.echo(f"image {name}: built in {time.monotonic() - began:.0f} s")
