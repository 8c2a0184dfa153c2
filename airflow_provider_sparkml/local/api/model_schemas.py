"""Schemas of types whose models are in published Python packages: made once per version, then read from the cache.

Importing those packages takes seconds and hundreds of megabytes, so a process of its own does it, at the first use.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import platformdirs

from airflow_provider_sparkml.local.api.status import StatusError
from airflow_provider_sparkml.local.api.types import Schema

_GENERATOR = Path(__file__).with_name("schema_generation.py")
_PARTS = ("schema_markers", "training_schemas", "apache_spark_schemas")
_SOURCES = (_GENERATOR, *(Path(__file__).with_name(f"{name}.py") for name in _PARTS))
_loaded: dict[tuple[str, str], Schema] = {}


async def builtin_schema(model: str) -> Schema | None:
    """Return the schema of a built-in type, by the name of its class in the ``kubernetes`` package."""
    return await schema_from_models("kubernetes", model)


async def schema_from_models(package: str, model: str) -> Schema | None:
    """Return the schema that a class of a package describes.

    :param package: name of an installed distribution.
    :param model: name of the class.
    :raises StatusError: 500 when the package is missing or its models cannot be read.
    """
    if (package, model) not in _loaded:
        directory = _directory(package)
        if not directory.exists():
            await _generate(package, directory)
        schema: Schema = json.loads((directory / f"{model}.json").read_bytes())
        _loaded[(package, model)] = schema
    return _loaded[(package, model)]


@cache
def _directory(package: str) -> Path:
    """Return where a package's schemas are kept, by its version and that of the code that makes them."""
    try:
        installed = version(package)
    except PackageNotFoundError:
        message = f"the Python package {package} is missing: install airflow-provider-sparkml[local]"
        raise StatusError(500, "InternalError", message, {}) from None
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in _SOURCES)).hexdigest()[:12]
    cached = Path(platformdirs.user_cache_dir("airflow-provider-sparkml"))
    return cached / "schemas" / f"{package}-{installed}-{digest}"


async def _generate(package: str, directory: Path) -> None:
    """Make the schemas of a package; whoever else does it meanwhile makes the same ones."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", f"{__package__}.{_GENERATOR.stem}", package, str(directory),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, errors = await process.communicate()
    if process.returncode != 0:
        last = (errors.decode(errors="replace").strip().splitlines() or ["no message"])[-1]
        raise StatusError(500, "InternalError", f"the schemas of {package} cannot be made: {last}", {})
