"""Images of the local cluster: a folder with a Dockerfile and requirements.txt becomes a cached virtual environment.

A cluster builds ``images/<name>`` with Docker; here :class:`ImageStore` reads the same Dockerfile for ``ENTRYPOINT``,
``CMD``, ``ENV`` and ``WORKDIR``, lets uv, or pip, install the same requirements, takes programs from ``rootfs/``, and
carries out those ``RUN`` instructions that stand after ``COPY rootfs/ /``: what stands before is about a system of its
own. Both get the Dockerfile's ``ARG`` as variables; those that are set already count more, as with ``--build-arg``.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import json
import os
import platform
import re
import shlex
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import platformdirs
from uv import find_uv_bin

from airflow_provider_sparkml.exceptions import LocalClusterError
from airflow_provider_sparkml.local.dockerfile import Dockerfile, parse_dockerfile
from airflow_provider_sparkml.local.java import find_java_home
from airflow_provider_sparkml.local.pods.paths import PathMap
from airflow_provider_sparkml.local.processes import TiedProcess

READY = "ready.json"
"""Written last into a built image; an image without it does not exist."""
BUILD_LABEL = "airflow-provider-sparkml.build"
"""``LABEL`` of a Dockerfile; ``on-demand``: too costly to be built before somebody needs it."""
WAITING = "somebody else is building it; waiting"
WHEELS = "SPARKML_WHEELS"
"""Variable of a ``RUN``: a directory of the user's cache for wheels that take long to build."""
MADE = "rootfs"
"""Directory of a built image: what its ``RUN`` instructions made."""
_PASSED = re.compile(
    r"(?i)(PIP_|UV_|SSL_CERT_|REQUESTS_CA_BUNDLE$|(HTTPS?|ALL|NO)_PROXY$|MAKEFLAGS$|CMAKE_BUILD_|(CC|CXX)$)"
)


class ImageNotFoundError(LocalClusterError):
    """No image folder has the name that an image reference ends in."""


class ImageBuildError(LocalClusterError):
    """A step of an image's build failed; the message ends with what it said."""


@dataclass(frozen=True, slots=True)
class Image:
    """An image that a container can be started from.

    :param name: name of its folder.
    :param prefix: its virtual environment.
    :param rootfs: folders whose trees a container sees at ``/``: its own, those of what it is built on, what was made.
    :param entrypoint: ``ENTRYPOINT`` of the Dockerfile.
    :param command: ``CMD`` of the Dockerfile.
    :param env: ``ENV`` of the Dockerfile without ``PATH``, which follows from ``prefix``.
    :param workdir: ``WORKDIR`` of the Dockerfile, or empty.
    """

    name: str
    prefix: Path
    rootfs: tuple[Path, ...] = ()
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


def image_folders(own: Sequence[Path]) -> list[Path]:
    """Return where images are looked for: in the user's own directories, and then in the project's.

    :raises LocalClusterError: one of them has no image folder in it.
    """
    for directory in own:
        if not any(directory.glob("*/Dockerfile")):
            raise LocalClusterError(
                f"--images {directory} has no image in it: give a directory of folders with a Dockerfile each"
            )
    return [*(directory.absolute() for directory in own), *default_folders()]


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
        if (found := self._find(reference)) is not None:
            return found
        name = image_name(reference)
        known = sorted({path.parent.name for parent in self._folders for path in parent.glob("*/Dockerfile")})
        raise ImageNotFoundError(
            f"image {reference!r} not found: no folder {name!r} with a Dockerfile in "
            f"{', '.join(map(str, self._folders)) or 'any place'}; there are {', '.join(known) or 'none'}"
        )

    def _find(self, reference: str) -> Path | None:
        name = image_name(reference)
        folders = (parent / name for parent in self._folders if name not in ("", ".", ".."))
        return next((folder for folder in folders if (folder / "Dockerfile").is_file()), None)

    def is_built(self, reference: str) -> bool:
        """Whether :meth:`pull` would return at once.

        :raises ImageNotFoundError: when there is no such image.
        """
        return self._built(self._base(self._layers(self.folder(reference)))) is not None

    async def pull(self, reference: str, *, progress: Callable[[str], None] = lambda line: None) -> Image:
        """Return an image, building it first if need be.

        :param progress: is called with every line of the build.
        :raises ImageNotFoundError: when there is no such image.
        :raises ImageBuildError: when a step of the build fails.
        """
        layers = self._layers(self.folder(reference))
        base = self._base(layers)
        target = self._built(base)
        if target is None:
            self._cache.mkdir(parents=True, exist_ok=True)
            async with _locked(base.with_name(f"{base.name}.lock"), progress):
                # Another builder may have been faster.
                target = self._built(base) or await self._build(layers, base, progress)
        dockers = [_dockerfile(folder) for folder in layers]
        # An image without a program of its own has that of the image below.
        program = next((docker for docker in reversed(dockers) if docker.entrypoint or docker.command), Dockerfile())
        return Image(
            name=layers[-1].name,
            prefix=target,
            rootfs=(*_rootfs(layers), *_made(target)),
            entrypoint=program.entrypoint,
            command=program.command,
            env={name: value for docker in dockers for name, value in docker.env.items()},
            workdir=next((docker.workdir for docker in reversed(dockers) if docker.workdir), ""),
        )

    def _layers(self, folder: Path) -> list[Path]:
        """Return an image's folder after those of the images here that it is built ``FROM``.

        :raises ImageNotFoundError: an image is built on itself.
        """
        layers = [folder]
        while "/" in (base := _dockerfile(layers[0]).base):  # without one it is Docker's own, such as python:3.11
            below = self._find(base)
            if below is None:
                break
            if below in layers:
                raise ImageNotFoundError(
                    f"image {folder.name!r} is built on itself: see FROM in {layers[0]}/Dockerfile"
                )
            layers.insert(0, below)
        return layers

    def is_on_demand(self, reference: str) -> bool:
        """Whether the image is built only when somebody asks for it.

        :raises ImageNotFoundError: when there is no such image.
        """
        return _dockerfile(self.folder(reference)).labels.get(BUILD_LABEL) == "on-demand"

    def names(self) -> list[str]:
        """Return the names of all images that have something to install, by themselves or ``FROM`` another one here."""
        folders = [path.parent for parent in self._folders for path in parent.glob("*/Dockerfile")]
        return sorted({folder.name for folder in folders if self._installs(folder)})

    def _installs(self, folder: Path) -> bool:
        try:
            return any((layer / "requirements.txt").is_file() for layer in self._layers(folder))
        except ImageNotFoundError:
            return False  # FROM another registry's image of its own name: not for the local cluster

    def _base(self, layers: Sequence[Path]) -> Path:
        return self._cache / f"{layers[-1].name}-{_content_key(layers)}"

    @staticmethod
    def _attempts(base: Path) -> list[Path]:
        """Return the directories of an image's builds, the newest first."""
        numbered = [(int(path.name.rpartition("-")[2]), path) for path in base.parent.glob(f"{base.name}-[0-9]*")]
        return [path for _, path in sorted(numbered, reverse=True)] + [base] * base.is_dir()

    def _built(self, base: Path) -> Path | None:
        """Return the newest build that is whole and works: its base Python may be gone."""
        return next(
            (p for p in self._attempts(base) if (p / READY).is_file() and (p / "bin" / "python").exists()), None
        )

    def _next(self, base: Path) -> Path:
        """Remove what builders left that were killed, and return the directory of the next build."""
        attempts = self._attempts(base)
        for left_over in (path for path in attempts if not (path / READY).is_file()):
            shutil.rmtree(left_over, ignore_errors=True)
        return base.with_name(f"{base.name}-{len(attempts) + 1}") if base.is_dir() else base

    async def _build(self, layers: Sequence[Path], base: Path, progress: Callable[[str], None]) -> Path:
        """Build in a directory of its own, which counts from when :data:`READY` is in it; the caller holds the lock.

        One that was whole is never touched again, even if it is of no use any more: pods may still run from it.
        """
        target = self._next(base)
        log = base.with_name(f"{base.name}.log")
        log.unlink(missing_ok=True)  # of a builder that was killed
        try:
            venv = [find_uv_bin(), "venv", "--quiet", "--python", sys.executable, str(target)]
            await _run(venv, log, progress)
            for number, folder in enumerate(layers, 1):
                await self._add_layer(folder, _rootfs(layers[:number]), target, log, progress)
            # Until this is written there is no image.
            (target / READY).write_text(json.dumps({"image": layers[-1].name, "python": platform.python_version()}))
        except BaseException:
            shutil.rmtree(target, ignore_errors=True)
            raise
        finally:
            log.unlink(missing_ok=True)
        return target

    async def _add_layer(
        self, folder: Path, rootfs: Sequence[Path], target: Path, log: Path, progress: Callable[[str], None]
    ) -> None:
        """Install what one Dockerfile requires, and carry out its instructions."""
        docker = _dockerfile(folder)
        if (folder / "requirements.txt").is_file():
            await _install(folder / "requirements.txt", target, log, progress, {**docker.args, **os.environ})
        if not docker.runs:
            return
        java_home = await asyncio.to_thread(find_java_home, self._java_cache)
        env = {**docker.env, **docker.args, **_run_environment(target, java_home, self._java_cache)}
        paths = PathMap({}, (*rootfs, *_made(target)))
        for command in docker.runs:
            progress(f"running {command[-1]}")
            await _run([paths.rewrite(word) for word in command], log, progress, env)


def _dockerfile(folder: Path) -> Dockerfile:
    return parse_dockerfile((folder / "Dockerfile").read_text())


def _rootfs(layers: Sequence[Path]) -> tuple[Path, ...]:
    return tuple(folder / "rootfs" for folder in reversed(layers) if (folder / "rootfs").is_dir())


def _made(target: Path) -> tuple[Path, ...]:
    return (target / MADE,) if (target / MADE).is_dir() else ()


def _content_key(layers: Sequence[Path]) -> str:
    """Hash all that decides what gets built; other programs in ``rootfs`` are used in place and are no part of it."""
    digest = hashlib.sha256(f"{platform.python_implementation()} {platform.python_version()}".encode())
    for folder in layers:
        requirements, docker = folder / "requirements.txt", _dockerfile(folder)
        digest.update(requirements.read_bytes() if requirements.is_file() else b"")
        digest.update(repr(sorted(docker.args.items())).encode() if docker.args else b"")
        for command in docker.runs:
            digest.update("\0".join(command).encode())
            for word in (word for part in command for word in shlex.split(part)):
                program = folder / "rootfs" / word.lstrip("/")
                digest.update(program.read_bytes() if word.startswith("/") and program.is_file() else b"")
    return digest.hexdigest()[:16]


def _run_environment(target: Path, java_home: Path, cache: Path) -> dict[str, str]:
    """Return the variables of a ``RUN``: little of the user's but what tools and package indexes need."""
    config = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    passed = {name: value for name, value in os.environ.items() if _PASSED.match(name)}
    return {
        **passed,
        "PATH": f"{target / 'bin'}:{java_home / 'bin'}:{os.environ.get('PATH', os.defpath)}",
        "JAVA_HOME": str(java_home),
        "LANG": "C.UTF-8",
        "HOME": str(target),
        # GNU's name for where to install what is to be found at / later.
        "DESTDIR": str(target / MADE),
        "XDG_CONFIG_HOME": config,  # pip's own configuration
        WHEELS: str(cache / "wheels"),
    }


async def _install(
    requirements: Path, target: Path, log: Path, progress: Callable[[str], None], env: Mapping[str, str]
) -> None:
    """Install requirements with uv; where that fails, with pip, which has indexes and links of its own configuration.

    :raises ImageBuildError: when neither can; what both said.
    """
    uv, python = (
        [find_uv_bin(), "pip", "install", "--python", str(target / "bin" / "python")],
        target / "bin" / "python",
    )
    try:
        await _run([*uv, "-r", str(requirements)], log, progress, env)
    except ImageBuildError as error:
        progress(f"uv could not install {requirements}; trying pip")
        try:
            await _run([*uv, "pip"], log, progress, env)
            await _run(
                [str(python), "-m", "pip", "install", "--progress-bar=off", "-r", str(requirements)], log, progress, env
            )
        except ImageBuildError as second:
            raise ImageBuildError(f"{error}\nand pip could not, either: {second}") from None


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
async def _locked(path: Path, progress: Callable[[str], None]) -> AsyncIterator[None]:
    """Hold a lock against other processes and other tasks; the kernel lets go of it when its holder dies."""
    told = False
    with path.open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not told:
                    progress(WAITING)
                told = True
                await asyncio.sleep(0.2)
        yield
