"""Outputs appear whole or not at all, and results reach whoever waits for them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from argparse import ArgumentTypeError
from pathlib import Path

import outputs
import pytest
from outputs import ProgramError, published


def make(target: Path, text: str) -> None:
    with published(target, "made.json") as staging:
        (staging / "part").write_text(text)
        outputs.describe(staging, "made.json", {"text": text})


def everything_beside(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir())


def test_an_output_appears_with_all_its_files(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "out"
    with published(target, "made.json") as staging:
        (staging / "part").write_text("a")
        assert not target.exists()
        outputs.describe(staging, "made.json", {})
    assert sorted(path.name for path in target.iterdir()) == ["made.json", "part"]
    assert everything_beside(target) == ["out"]


def test_a_rerun_replaces_the_whole_output(tmp_path: Path) -> None:
    target = tmp_path / "out"
    make(target, "first")
    (target / "of the first only").touch()
    make(target, "second")
    assert (target / "part").read_text() == "second"
    assert not (target / "of the first only").exists()
    assert everything_beside(target) == ["out"]


def test_a_failure_leaves_the_former_output_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "out"
    make(target, "first")

    def fail() -> None:
        with published(target, "made.json") as staging:
            (staging / "part").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert (target / "part").read_text() == "first"
    assert everything_beside(target) == ["out"]


def test_an_output_without_its_description_is_not_published(tmp_path: Path) -> None:
    def forget() -> None:
        with published(tmp_path / "out", "made.json"):
            pass

    with pytest.raises(RuntimeError, match=r"made\.json was not written"):
        forget()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_attempt_leaves_is_never_taken_for_complete_and_removed_by_the_next(tmp_path: Path) -> None:
    target = tmp_path / "out"
    program = f"""
import os, signal, sys
from pathlib import Path
sys.path.append({str(Path(outputs.__file__).parent)!r})
from outputs import describe, published
with published(Path({str(target)!r}), "made.json") as staging:
    describe(staging, "made.json", {{}})
    os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", program], check=False)
    assert killed.returncode == -9
    assert not target.exists()
    assert len(everything_beside(target)) == 1
    with pytest.raises(ProgramError, match=r"no made\.json in .*make it with maker\.py --output"):
        outputs.described(target, "made.json", "maker.py")
    make(target, "next")
    assert everything_beside(target) == ["out"]


def test_a_foreign_directory_is_not_replaced(tmp_path: Path) -> None:
    target = tmp_path / "home"
    target.mkdir()
    (target / "thesis.txt").touch()
    with pytest.raises(ProgramError, match=r"home exists and is no output of this program"):
        make(target, "x")
    assert (target / "thesis.txt").exists()


def test_a_place_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ProgramError, match=r"cannot write to .*file"):
        make(tmp_path / "file" / "out", "x")


def test_a_description_that_is_no_json(tmp_path: Path) -> None:
    (tmp_path / "made.json").write_text("{")
    with pytest.raises(ProgramError, match=r"cannot read .*made\.json"):
        outputs.described(tmp_path, "made.json", "maker.py")


@pytest.mark.parametrize("text", ["/data/a:b", "/data/*", "/data/[x]", "/data/a%2Bb", "/data/{a,b}"])
def test_paths_that_spark_would_read_otherwise(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="Spark does not take"):
        outputs.storage_path(text)


def test_paths_are_made_absolute_and_uris_keep_their_characters() -> None:
    assert outputs.storage_path("a/../b+c") == Path.cwd() / "b+c"
    assert outputs.uri(Path("/data/b+c d")) == "file:///data/b+c d"
    with pytest.raises(ArgumentTypeError, match="is the root"):
        outputs.storage_path("/")


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (outputs.positive_int, "0"),
        (outputs.non_negative_int, "-1"),
        (outputs.non_negative_float, "-0.1"),
        (outputs.non_negative_float, "nan"),
        (outputs.non_negative_float, "inf"),
    ],
)
def test_numbers_out_of_range(parse: object, text: str) -> None:
    with pytest.raises(ArgumentTypeError, match=text):
        parse(text)  # type: ignore[operator]


# --- old runs ---


def test_only_marked_runs_that_are_old_are_removed(tmp_path: Path) -> None:
    long_ago = time.time() - 8 * 86400
    for name in ("old", "young", "foreign"):
        (tmp_path / name / "dataset").mkdir(parents=True)
    for name in ("old", "young"):
        outputs.mark_run(tmp_path / name)
    os.utime(tmp_path / "old" / outputs.RUN_MARKER, (long_ago, long_ago))
    os.utime(tmp_path / "foreign", (long_ago, long_ago))
    assert outputs.remove_expired(tmp_path, 7) == ["old"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["foreign", "young"]


def test_a_run_that_is_used_again_is_young_again(tmp_path: Path) -> None:
    outputs.mark_run(tmp_path / "run")
    os.utime(tmp_path / "run" / outputs.RUN_MARKER, (0, 0))
    outputs.mark_run(tmp_path / "run")
    assert outputs.remove_expired(tmp_path, 1) == []


# --- results ---


def test_the_result_goes_to_the_named_file_and_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SPARKML_RESULT_PATH", str(tmp_path / "result"))
    outputs.write_result({"auc": 0.7})
    assert json.loads((tmp_path / "result").read_text()) == {"auc": 0.7}
    assert capsys.readouterr().out == 'result: {"auc":0.7}\n'


def test_by_hand_the_result_is_only_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SPARKML_RESULT_PATH", raising=False)
    monkeypatch.setattr(outputs, "TERMINATION_LOG", tmp_path / "absent")
    outputs.write_result({"auc": 0.7})
    assert not (tmp_path / "absent").exists()


def test_in_a_pod_the_result_goes_to_the_termination_log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SPARKML_RESULT_PATH", raising=False)
    log = tmp_path / "termination-log"
    log.touch()
    monkeypatch.setattr(outputs, "TERMINATION_LOG", log)
    outputs.write_result({"auc": 0.7})
    assert log.read_text() == '{"auc":0.7}'


def test_a_named_file_that_cannot_be_written_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARKML_RESULT_PATH", str(tmp_path / "absent" / "result"))
    with pytest.raises(ProgramError, match="cannot write the result"):
        outputs.write_result({})


def test_a_result_is_never_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARKML_RESULT_PATH", str(tmp_path / "result"))
    with pytest.raises(ProgramError, match="bytes; Kubernetes keeps 4096"):
        outputs.write_result({"text": "ü" * 2048})
    assert not (tmp_path / "result").exists()


def test_an_error_ends_the_program_with_its_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SPARKML_RESULT_PATH", str(tmp_path / "result"))

    def main(argv: list[str]) -> None:
        raise ProgramError("no flights in /data: make them")

    with pytest.raises(SystemExit) as ended:
        outputs.run(main)
    assert ended.value.code == 1
    assert capsys.readouterr().err == "error: no flights in /data: make them\n"
    assert (tmp_path / "result").read_text() == "error: no flights in /data: make them"
