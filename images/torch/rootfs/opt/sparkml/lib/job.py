"""What training programs share that is no model: progress, results, checkpoints, outputs that appear whole."""

from __future__ import annotations

import argparse
import glob
import json
import math
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
from urllib.parse import unquote, urlsplit

import torch

RESULT_LIMIT = 4096
"""Bytes that Kubernetes keeps of a container's termination message."""
TERMINATION_LOG = Path("/dev/termination-log")
CHECKPOINT = "checkpoint.pt"

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


# --- the command line ----------------------------------------------------------------------------------------------


def positive_int(text: str) -> int:
    """Parse a whole number ≥ 1 for argparse."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, is {value}")
    return value


def positive_float(text: str) -> float:
    """Parse a finite number above 0 for argparse."""
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number above 0, is {text}")
    return value


def local_path(text: str) -> Path:
    """Parse a path, or a ``file:`` URI of one, for argparse."""
    parts = urlsplit(text)
    if parts.scheme not in ("", "file"):
        raise argparse.ArgumentTypeError(f"{text!r} is no path: mount the storage, and name a path on it")
    return Path(os.path.abspath(unquote(parts.path) if parts.scheme else text))


# --- checkpoints ---------------------------------------------------------------------------------------------------


def checkpoint_directory(variable: str) -> Path | None:
    """Return the directory that SPARKML_CHECKPOINT_URI or SPARKML_RESUME_FROM names, if it does.

    :raises ProgramError: it names no path.
    """
    named = os.environ.get(variable)
    if not named:
        return None
    try:
        return local_path(named)
    except argparse.ArgumentTypeError as error:
        raise ProgramError(f"{variable}: {error}") from None


def save_checkpoint(state: Mapping[str, Any]) -> None:
    """Put a checkpoint where SPARKML_CHECKPOINT_URI says, if it does; whoever finds one finds it whole."""
    directory = checkpoint_directory("SPARKML_CHECKPOINT_URI")
    if directory is None:
        return
    try:
        directory.mkdir(parents=True, exist_ok=True)
        staging = directory / f".{CHECKPOINT}.{uuid.uuid4().hex}"
        with staging.open("wb") as file:
            torch.save(dict(state), file)
            file.flush()
            os.fsync(file.fileno())
        staging.replace(directory / CHECKPOINT)
        for left_over in directory.glob(f".{CHECKPOINT}.*"):  # of a program that was killed
            left_over.unlink(missing_ok=True)
    except OSError as error:
        raise ProgramError(f"cannot write the checkpoint to {directory}: {error.strerror}") from error


def load_checkpoint() -> dict[str, Any] | None:
    """Return the checkpoint in the directory that SPARKML_RESUME_FROM names; ``None`` where there is none yet."""
    directory = checkpoint_directory("SPARKML_RESUME_FROM")
    if directory is None:
        return None
    if not (directory / CHECKPOINT).is_file():
        say(f"there is no checkpoint in {directory} yet: beginning anew")
        return None
    # Only tensors and plain values: a checkpoint cannot run code.
    state: dict[str, Any] = torch.load(directory / CHECKPOINT, map_location="cpu", weights_only=True)
    say(f"resuming from {directory / CHECKPOINT}: {state['epoch']} epochs are done")
    return state


# --- outputs and results -------------------------------------------------------------------------------------------


@contextmanager
def published(target: Path, description: str) -> Iterator[Path]:
    """Give an empty directory to write into, and put it at ``target`` when the block ends well.

    :param target: where the finished output shall stand; an output of the same program there is replaced.
    :param description: name of the JSON file in it that tells such an output.
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
        former = target.parent / f".{target.name}.{uuid.uuid4().hex}.part"
        if target.exists():
            target.rename(former)
        staging.rename(target)
        shutil.rmtree(former, ignore_errors=True)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


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


def _result_path() -> Path | None:
    """Return where the result goes; ``None`` when nobody waits for one (run by hand, outside of a pod)."""
    named = os.environ.get("SPARKML_RESULT_PATH")
    if named:
        return Path(named)
    return TERMINATION_LOG if TERMINATION_LOG.is_file() and os.access(TERMINATION_LOG, os.W_OK) else None


def write_result(result: Mapping[str, Any]) -> None:
    """Hand the result to whoever started the program: the termination message of the container, or just the log.

    :raises ProgramError: when it is larger than Kubernetes keeps.
    """
    text = json.dumps(result, separators=(",", ":"), allow_nan=False)
    if len(text.encode()) > RESULT_LIMIT:
        raise ProgramError(f"the result has {len(text.encode())} bytes; Kubernetes keeps {RESULT_LIMIT}")
    path = _result_path()
    if path is not None:
        path.write_text(text, encoding="utf-8")
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
            path.write_text(f"error: {error}"[:RESULT_LIMIT], encoding="utf-8")
        sys.exit(1)
