"""Images of the local cluster: a folder with a Dockerfile and requirements.txt becomes a cached virtual environment.

A cluster builds ``images/<name>`` with Docker; here :class:`ImageStore` reads the same Dockerfile for ``ENTRYPOINT``,
``CMD``, ``ENV`` and ``WORKDIR``, lets uv install the same requirements, takes programs from ``rootfs/``, and carries
out those ``RUN`` instructions that stand after ``COPY rootfs/ /``: what stands before is about a system of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import json
import os
import platform
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import platformdirs
from uv import find_uv_bin

from airflow_provider_sparkml.exceptions import LocalClusterError
from airflow_provider_sparkml.local.dockerfile import parse_dockerfile
from airflow_provider_sparkml.local.java import find_java_home
from airflow_provider_sparkml.local.pods.paths import PathMap
from airflow_provider_sparkml.local.processes import TiedProcess

READY = "ready.json"
"""Written last into a built image; an image without it does not exist."""


class ImageNotFoundError(LocalClusterError):
    """No image folder has the name that an image reference ends in."""


class ImageBuildError(LocalClusterError):
    """An image's requirements could not be installed; the message ends with what uv said."""


@dataclass(frozen=True, slots=True)
class Image:
    """An image that a container can be started from.

    :param name: name of its folder.
    :param prefix: its virtual environment.
    :param rootfs: folder whose tree a container sees at ``/``, or ``None``.
    :param entrypoint: ``ENTRYPOINT`` of the Dockerfile.
    :param command: ``CMD`` of the Dockerfile.
    :param env: ``ENV`` of the Dockerfile without ``PATH``, which follows from ``prefix``.
    :param workdir: ``WORKDIR`` of the Dockerfile, or empty.
    """

    name: str
    prefix: Path
    rootfs: Path | None = None
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    workdir: str = ""


def default_cache() -> Path:
    """Return the user's cache directory for images; it is shared by all local clusters of the user."""
    return Path(platformdirs.user_cache_dir("airflow-provider-sparkml"))


def default_folders() -> list[Path]:
    """Return where the project's own image folders are: ``images/`` of a checkout, or the copy inside the wheel."""
    here = Path(__file__).resolve().parent
    checkout = here.parents[1]
    if (checkout / "pyproject.toml").is_file():
        return [checkout / "images"]
    return [here / "images_data"]


def image_name(reference: str) -> str:
    """Return the folder name an image reference stands for: ``docker.io/me/spark:4.3@sha256:…`` → ``spark``."""
    return reference.partition("@")[0].rpartition("/")[2].partition(":")[0]


class ImageStore:
    """Finds image folders and builds what they ask for, each once per content and Python version.

    :param folders: directories that hold image folders, searched in order.
    :param cache: directory in which built images are kept, also between clusters.
    """

    def __init__(self, folders: Sequence[Path], cache: Path) -> None:
        self._folders = tuple(folders)
        self._cache = cache / "images"
        self._java_cache = cache

    def folder(self, reference: str) -> Path:
        """Return the folder of an image.

        :raises ImageNotFoundError: when there is none of that name.
        """
        name = image_name(reference)
        for parent in self._folders:
            folder = parent / name
            if name not in ("", ".", "..") and (folder / "Dockerfile").is_file():
                return folder
        known = sorted({path.parent.name for parent in self._folders for path in parent.glob("*/Dockerfile")})
        raise ImageNotFoundError(
            f"image {reference!r} not found: no folder {name!r} with a Dockerfile in "
            f"{', '.join(map(str, self._folders)) or 'any place'}; there are {', '.join(known) or 'none'}"
        )

    def is_built(self, reference: str) -> bool:
        """Whether :meth:`pull` would return at once.

        :raises ImageNotFoundError: when there is no such image.
        """
        return self._ready(self._target(self.folder(reference)))

    async def pull(self, reference: str, *, progress: Callable[[str], None] = lambda line: None) -> Image:
        """Return an image, building it first if need be.

        :param progress: is called with every line that uv writes while it installs.
        :raises ImageNotFoundError: when there is no such image.
        :raises ImageBuildError: when its requirements cannot be installed.
        """
        folder = self.folder(reference)
        target = self._target(folder)
        if not self._ready(target):
            self._cache.mkdir(parents=True, exist_ok=True)
            async with _locked(target.with_name(f"{target.name}.lock")):
                if not self._ready(target):  # another builder may have been faster
                    await self._build(folder, target, progress)
        docker = parse_dockerfile((folder / "Dockerfile").read_text())
        rootfs = folder / "rootfs"
        return Image(
            name=folder.name,
            prefix=target,
            rootfs=rootfs if rootfs.is_dir() else None,
            entrypoint=docker.entrypoint,
            command=docker.command,
            env=docker.env,
            workdir=docker.workdir,
        )

    def _target(self, folder: Path) -> Path:
        return self._cache / f"{folder.name}-{_content_key(folder)}"

    def _ready(self, target: Path) -> bool:
        return (target / READY).is_file() and (target / "bin" / "python").exists()  # its base Python may be gone

    async def _carry_out_runs(self, folder: Path, target: Path, log: Path, progress: Callable[[str], None]) -> None:
        runs = parse_dockerfile((folder / "Dockerfile").read_text()).runs
        if not runs:
            return
        java_home = await asyncio.to_thread(find_java_home, self._java_cache)
        path = f"{target / 'bin'}:{java_home / 'bin'}:{os.defpath}"
        env = {"PATH": path, "JAVA_HOME": str(java_home), "LANG": "C.UTF-8", "HOME": str(target)}
        paths = PathMap({}, folder / "rootfs")
        for command in runs:
            progress(f"running {command[-1]}")
            await _run([paths.rewrite(word) for word in command], log, progress, env)

    async def _build(self, folder: Path, target: Path, progress: Callable[[str], None]) -> None:
        """Build beside the target and rename, so that a half-built image is never seen; the caller holds the lock."""
        for left_over in self._cache.glob(f"{target.name}.building-*"):
            shutil.rmtree(left_over, ignore_errors=True)
        building = target.with_name(f"{target.name}.building-{os.getpid()}")
        log = building.with_name(f"{building.name}.log")
        uv = find_uv_bin()
        python = str(building / "bin" / "python")
        requirements = folder / "requirements.txt"
        try:
            # Relocatable, as the scripts in it must run from the final place.
            await _run(
                [uv, "venv", "--quiet", "--relocatable", "--python", sys.executable, str(building)], log, progress
            )
            if requirements.is_file():
                await _run([uv, "pip", "install", "--python", python, "-r", str(requirements)], log, progress)
            shutil.rmtree(target, ignore_errors=True)
            building.rename(target)
            await self._carry_out_runs(folder, target, log, progress)
            # Until this is written there is no image.
            (target / READY).write_text(json.dumps({"image": folder.name, "python": platform.python_version()}))
        except BaseException:
            shutil.rmtree(target, ignore_errors=True)
            raise
        finally:
            shutil.rmtree(building, ignore_errors=True)
            log.unlink(missing_ok=True)


def _content_key(folder: Path) -> str:
    """Hash all that decides what gets installed; programs in ``rootfs`` are used in place and are no part of it."""
    digest = hashlib.sha256(f"{platform.python_implementation()} {platform.python_version()}".encode())
    requirements = folder / "requirements.txt"
    digest.update(requirements.read_bytes() if requirements.is_file() else b"")
    for command in parse_dockerfile((folder / "Dockerfile").read_text()).runs:
        digest.update("\0".join(command).encode())
    return digest.hexdigest()[:16]


async def _run(
    argv: list[str], log: Path, progress: Callable[[str], None], env: Mapping[str, str] = os.environ
) -> None:
    """Run a step of a build to its end, tied to this process, and hand on its lines while it works."""
    seen = start = len(_lines(log))  # of the former steps
    program = await TiedProcess.start(argv, env=env, cwd=log.parent, log=log)
    try:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.5):
                    await program.wait()
            ended = program.returncode is not None
            lines = _lines(log)
            for line in lines[seen:]:
                progress(line.strip())
            seen = len(lines)
            if ended:
                break
    except BaseException:
        await program.stop(grace_seconds=0)
        raise
    if program.returncode != 0:
        tail = "\n".join(lines[start:][-20:])
        raise ImageBuildError(f"{' '.join(argv[:3])} failed with exit code {program.returncode}: {tail}")


def _lines(log: Path) -> list[str]:
    if not log.exists():
        return []
    return log.read_text(errors="replace").splitlines()


@contextlib.asynccontextmanager
async def _locked(path: Path) -> AsyncIterator[None]:
    """Hold a lock against other processes and other tasks; the kernel lets go of it when its holder dies."""
    with path.open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await asyncio.sleep(0.2)
        yield
