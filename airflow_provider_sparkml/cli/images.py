"""`sparkml images`: the local cluster's images, made before they are needed."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Annotated

import typer

from airflow_provider_sparkml.cli.output import progress_line
from airflow_provider_sparkml.local.images import ImageStore, default_cache, image_folders

ImagesOption = Annotated[
    list[Path],
    typer.Option(
        "--images",
        metavar="DIR",
        help="A directory with image folders of your own, which come before those that are shipped; may be repeated.",
        show_default=False,
    ),
]

app = typer.Typer(
    no_args_is_help=True, help="Build the local cluster's images. They are virtual environments in the user's cache."
)


@app.command()
def build(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...", help="Names of image folders; when none is given, all but the costly ones."
        ),
    ] = None,
    images: ImagesOption = [],  # noqa: B006 - typer reads defaults from the signature
) -> None:
    """Build images that are not built yet. The first pod need not wait for the downloads then."""
    store = ImageStore(image_folders(images), default_cache())
    asyncio.run(_build(store, names or usual(store)))


def usual(store: ImageStore) -> list[str]:
    """Return the names of the images that are built without being asked for by name."""
    return [name for name in store.names() if not store.is_on_demand(name)]


async def _build(store: ImageStore, names: list[str]) -> None:
    for name in names:
        if store.is_built(name):
            typer.echo(f"image {name}: built already")
            continue
        began = time.monotonic()
        with progress_line(f"image {name}") as progress:
            await store.pull(name, progress=progress)
        typer.echo(f"image {name}: built in {time.monotonic() - began:.0f} s")
