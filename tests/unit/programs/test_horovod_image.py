"""The programs of image ``horovod`` that need no Horovod: what builds it, and what hands on rank 0's result."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

OPT = Path(__file__).resolve().parents[3] / "images" / "horovod" / "rootfs" / "opt"
LAUNCH = OPT / "sparkml" / "launch.py"


@pytest.fixture
def build() -> ModuleType:
    spec = importlib.util.spec_from_file_location("horovod_build", OPT / "horovod" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_missing_compiler_is_named_with_what_installs_it(build: ModuleType, tmp_path: Path) -> None:
    for tool in ("make", "cmake"):
        (tmp_path / tool).touch(mode=0o755)
    with pytest.raises(build.BuildError, match=r"g\+\+ is missing on this machine: install it.*apt-get install g\+\+$"):
        build.check_tools({"PATH": str(tmp_path)})
    (tmp_path / "g++").touch(mode=0o755)
    build.check_tools({"PATH": str(tmp_path)})


def test_the_percentage_is_shown_when_it_grows(build: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    build.show(iter(["[  1%] Building", "noise", "[  1%] Building", "[ 10%] Built", "[  9%] Built"]))
    assert capsys.readouterr().out == "building Horovod: 1 %\nbuilding Horovod: 10 %\n"


def test_a_failing_compiler_is_quoted(build: ModuleType) -> None:
    def lines() -> Iterator[str]:
        yield "fatal error: no room"
        raise subprocess.CalledProcessError(2, ["pip"])

    with pytest.raises(build.BuildError, match=r"could not be built \(exit code 2\):\nfatal error: no room"):
        build.show(lines())


def launch(result: Path, script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, LAUNCH, "sh", "-c", script],
        env={"PATH": "/bin:/usr/bin", "SPARKML_RESULT_PATH": str(result)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_result_of_a_rank_becomes_the_launchers(tmp_path: Path) -> None:
    line = "[0]<stdout>:result: " + json.dumps({"auc": 0.7})
    done = launch(tmp_path / "result", f"echo '[1]<stdout>:step=1 loss=2'; echo '{line}'; echo end")
    assert json.loads((tmp_path / "result").read_text()) == {"auc": 0.7}
    assert done.stdout.splitlines() == ["[1]<stdout>:step=1 loss=2", line, "end"]
    assert done.returncode == 0


@pytest.mark.parametrize(("script", "code"), [("exit 3", 3), ("kill -9 $$", 137)])
def test_a_job_that_failed_has_no_result(tmp_path: Path, script: str, code: int) -> None:
    done = launch(tmp_path / "result", f"echo 'result: {{}}'; {script}")
    assert done.returncode == code
    assert not (tmp_path / "result").exists()
