"""What the programs of this folder share: outputs that appear whole or not at all, results, errors, progress."""

from __future__ import annotations

import argparse
import glob
import json
import os
import shutil
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULT_LIMIT = 4096
"""Bytes that Kubernetes keeps of a container's termination message."""

TERMINATION_LOG = Path("/dev/termination-log")
RUN_MARKER = ".sparkml-run"

_started = time.monotonic()


class ProgramError(Exception):
    """The program cannot do its work; the message says why, and what to do about it."""


def tell(line: str) -> None:
    """Print a line in one write: others write to the same log, and ``print`` writes the line's end by itself."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def say(text: str) -> None:
    """Print a line of progress with the seconds since the program started."""
    tell(f"[{time.monotonic() - _started:6.1f} s] {text}")


def elapsed() -> float:
    """Return the seconds since the program started, to a tenth."""
    return round(time.monotonic() - _started, 1)


def positive_int(text: str) -> int:
    """Parse a whole number ≥ 1 for argparse."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, is {value}")
    return value


def non_negative_int(text: str) -> int:
    """Parse a whole number ≥ 0 for argparse."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must be 0 or more, is {value}")
    return value


def non_negative_float(text: str) -> float:
    """Parse a finite number ≥ 0 for argparse."""
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number of 0 or more, is {text}")
    return value


def storage_path(text: str) -> Path:
    """Parse the path of a directory for argparse and make it absolute.

    :raises argparse.ArgumentTypeError: when it has characters that mean something else to Hadoop, which reads and
        writes it, or when it is the root.
    """
    if odd := sorted(set(text) & set(":*?[]{}\\%,\n")):
        raise argparse.ArgumentTypeError(f"{text!r} has {' '.join(odd)} in it, which Spark does not take in a path")
    path = Path(os.path.abspath(text))
    if not path.name:
        raise argparse.ArgumentTypeError(f"{text!r} is the root: name a directory of its own")
    return path


def uri(path: Path) -> str:
    """Return an absolute path as Hadoop wants it; it takes ``%2B`` literally, so ``Path.as_uri`` will not do."""
    return f"file://{path}"


@contextmanager
def published(target: Path, description: str) -> Iterator[Path]:
    """Give an empty directory to write into, and put it at ``target`` when the block ends well.

    The directory stands beside ``target``, on the same file system, so that a rename publishes it: whoever finds
    ``target`` finds it whole. What an earlier attempt at the same target left half-written is removed first.

    :param target: where the finished output shall stand; an output of the same program there is replaced.
    :param description: name of the JSON file that the block writes to describe the output.
    :raises ProgramError: when the place cannot be written to, or holds something that is no such output.
    """
    if target.exists() and not (target / description).is_file():
        raise ProgramError(f"{target} exists and is no output of this program (no {description} in it): name another")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for left_over in target.parent.glob(f".{glob.escape(target.name)}.*.part"):
            shutil.rmtree(left_over)
        staging = target.parent / f".{target.name}.{uuid.uuid4().hex}.part"
        staging.mkdir()
    except OSError as error:
        raise ProgramError(f"cannot write to {target.parent}: {error.strerror} ({error.filename})") from error
    try:
        yield staging
        if not (staging / description).is_file():
            raise RuntimeError(f"{description} was not written")
        _replace(target, staging)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _replace(target: Path, staging: Path) -> None:
    """Put ``staging`` in the place of ``target``; in between ``target`` may be absent, but never half-written."""
    former = target.parent / f".{target.name}.{uuid.uuid4().hex}.part"
    if target.exists():
        target.rename(former)
    staging.rename(target)
    shutil.rmtree(former, ignore_errors=True)


def describe(directory: Path, name: str, facts: Mapping[str, Any]) -> None:
    """Write the JSON file that describes an output."""
    (directory / name).write_text(json.dumps(facts, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def write_run_manifest(directory: Path, **facts: Any) -> None:
    """Write ``run.json`` beside a model, if a task waits for it: what that knew of the run, and what is told here.

    :param facts: ``metrics``, ``parameters``, ``inputs`` (data set → fingerprint), ``spark_application_id``.
    """
    known = os.environ.get("SPARKML_RUN_MANIFEST")
    if known:
        now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        text = json.dumps({**json.loads(known), "finished_at": now, **facts}, indent=2, allow_nan=False)
        (directory / "run.json").write_text(f"{text}\n", encoding="utf-8")


def described(directory: Path, name: str, made_by: str) -> dict[str, Any]:
    """Read the JSON file that describes an earlier program's output.

    :raises ProgramError: when the output is not there.
    """
    try:
        facts: dict[str, Any] = json.loads((directory / name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ProgramError(f"no {name} in {directory}: make it with {made_by} --output {directory}") from None
    except (OSError, ValueError) as error:
        raise ProgramError(f"cannot read {directory / name}: {error}") from error
    return facts


def mark_run(directory: Path) -> None:
    """Mark a directory as one run's own, so that :func:`remove_expired` may remove it one day."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / RUN_MARKER).touch()
    except OSError as error:
        raise ProgramError(f"cannot write to {directory}: {error.strerror} ({error.filename})") from error


def remove_expired(runs: Path, days: int) -> list[str]:
    """Remove the directories of runs that began more than ``days`` days ago; return their names.

    Only directories that :func:`mark_run` marked are touched.
    """
    oldest = time.time() - days * 86400
    removed = []
    for marker in sorted(runs.glob(f"*/{RUN_MARKER}")):
        if marker.stat().st_mtime < oldest:
            shutil.rmtree(marker.parent, ignore_errors=True)
            removed.append(marker.parent.name)
    return removed


def _result_path() -> Path | None:
    """Return where the result goes; ``None`` when nobody waits for one (run by hand, outside of a pod)."""
    named = os.environ.get("SPARKML_RESULT_PATH")
    if named:
        return Path(named)
    # A kubelet makes the file before the container starts; by hand there is none, and /dev is no place to make one.
    return TERMINATION_LOG if TERMINATION_LOG.is_file() and os.access(TERMINATION_LOG, os.W_OK) else None


def write_result(result: Mapping[str, Any]) -> None:
    """Hand the result to whoever started the program: the termination message of the container, or just the log.

    :param result: JSON-safe facts, at most :data:`RESULT_LIMIT` bytes as compact JSON.
    :raises ProgramError: when it is larger, or the file that SPARKML_RESULT_PATH names cannot be written.
    """
    text = json.dumps(result, separators=(",", ":"), allow_nan=False)
    if len(text.encode()) > RESULT_LIMIT:
        raise ProgramError(f"the result has {len(text.encode())} bytes; Kubernetes keeps {RESULT_LIMIT}")
    path = _result_path()
    if path is not None:
        try:
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise ProgramError(f"cannot write the result to {path}: {error.strerror}") from error
    tell(f"result: {text}")


def run(main: Callable[[list[str]], None]) -> None:
    """Run a program's ``main`` with the command line; a :class:`ProgramError` ends it with 1 and its message."""
    try:
        main(sys.argv[1:])
    except ProgramError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.stderr.flush()
        path = _result_path()
        if path is not None:
            # Kubernetes shows the termination message beside the exit code: the cause, without reading the log.
            path.write_text(f"error: {error}"[:RESULT_LIMIT], encoding="utf-8")
        sys.exit(1)
