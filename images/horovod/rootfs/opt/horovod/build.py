"""Builds Horovod for the torch that is installed, with Gloo and without MPI, and installs it; some six minutes.

The wheel is kept in the directory that SPARKML_WHEELS names, under the versions that it was built for: pip alone would
take one that was compiled against another torch.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path

HOROVOD = "horovod==0.28.1"
TOOLCHAIN = Path(__file__).with_name("toolchain.cmake")
SETTINGS = {
    "HOROVOD_WITH_PYTORCH": "1",
    "HOROVOD_WITHOUT_TENSORFLOW": "1",
    "HOROVOD_WITHOUT_MXNET": "1",
    "HOROVOD_WITH_GLOO": "1",
    "HOROVOD_WITHOUT_MPI": "1",
    # Its CMakeLists and those of its third parties are of a time before CMake 3.5.
    "CMAKE_POLICY_VERSION_MINIMUM": "3.5",
}
TOOLS = ("g++", "make", "cmake")
"""Programs that the build needs; Debian's packages have the same names."""
PERCENT = re.compile(r"\[ *(\d+)%\]")
TAIL = 30


class BuildError(Exception):
    """Horovod cannot be built; the message says what to do."""


def main() -> None:
    """Build, unless a wheel is there, and install."""
    wheels = Path(os.environ.get("SPARKML_WHEELS") or tempfile.mkdtemp()) / f"horovod-{build_key()}"
    wheel = next(iter(sorted(wheels.glob("*.whl"))), None) or build(wheels)
    print(f"installing {wheel.name}", flush=True)
    pip("install", "--no-deps", "--force-reinstall", str(wheel))
    subprocess.run([sys.executable, "-c", "import horovod.torch"], check=True)


def build_key() -> str:
    """Return what tells wheels apart that fit different things."""
    parts = (HOROVOD, version("torch"), platform.python_version(), platform.machine(), TOOLCHAIN.read_text(), SETTINGS)
    return (
        f"torch{version('torch')}-py{platform.python_version()}-{hashlib.sha256(repr(parts).encode()).hexdigest()[:8]}"
    )


def build(wheels: Path) -> Path:
    """Build the wheel, and put it whole into the directory.

    :raises BuildError: a tool is missing, or the compiler failed.
    """
    check_tools(os.environ)
    print(f"building {HOROVOD} for torch {version('torch')}: some six minutes on two cores", flush=True)
    wheels.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=wheels.parent, prefix=f".{wheels.name}.") as scratch:
        staging = Path(scratch, "wheels")
        command = ("wheel", "--verbose", "--no-deps", "--no-build-isolation", "--no-cache-dir", "--wheel-dir")
        show(pip_lines(*command, str(staging), HOROVOD, env=settings()))
        shutil.rmtree(wheels, ignore_errors=True)
        staging.rename(wheels)
    return next(wheels.glob("*.whl"))


def settings() -> dict[str, str]:
    """Return the variables of the build."""
    cores = {"MAKEFLAGS": f"-j{os.cpu_count() or 1}"} if "MAKEFLAGS" not in os.environ else {}
    return {**SETTINGS, **cores, "CMAKE_TOOLCHAIN_FILE": str(TOOLCHAIN)}


def check_tools(environ: Mapping[str, str]) -> None:
    """Look for what the build needs.

    :raises BuildError: naming what is missing, and how to get it.
    """
    missing = [tool for tool in TOOLS if shutil.which(tool, path=environ.get("PATH")) is None]
    if missing:
        raise BuildError(
            f"Horovod is compiled, and {', '.join(missing)} is missing on this machine: install it, for example with: "
            f"apt-get install {' '.join(missing)}"
        )


def show(lines: Iterator[str]) -> None:
    """Print how far the compiler is, and in case of failure what it said last."""
    shown, tail = -1, list[str]()
    try:
        for line in lines:
            tail = [*tail[-TAIL:], line]
            found = PERCENT.search(line)
            if found and int(found[1]) > shown:
                shown = int(found[1])
                print(f"building Horovod: {shown} %", flush=True)
    except subprocess.CalledProcessError as error:
        raise BuildError(f"Horovod could not be built (exit code {error.returncode}):\n" + "\n".join(tail)) from None


def pip(*arguments: str) -> None:
    """Run pip."""
    subprocess.run([sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments], check=True)


def pip_lines(*arguments: str, env: Mapping[str, str]) -> Iterator[str]:
    """Run pip with further variables, and yield its lines.

    :raises subprocess.CalledProcessError: when it fails.
    """
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    with subprocess.Popen(
        command,
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        yield from (line.rstrip() for line in process.stdout or ())
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)


if __name__ == "__main__":
    try:
        main()
    except BuildError as error:
        sys.exit(f"error: {error}")
