"""Which rank is to blame, told by how the pods ended and by what launchers write."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_sparkml.jobs.ranks import Rank, blamed, first_to_fail, lines_of

HOROVOD_TAIL = "Process {rank} exit with status code {code}."
GLOO_ERROR = (
    "Traceback (most recent call last):",
    '  File "train.py", line 1, in <module>',
    "horovod.common.exceptions.HorovodInternalError: [../gloo/transport/tcp/pair.cc] Connection closed by peer",
)


def torch(rank: int, error: str) -> tuple[str, ...]:
    """A traceback as torch 2.13 writes it once its process group is there."""
    lines = ("Traceback (most recent call last):", '  File "train.py", line 6, in <module>', error)
    return tuple(f"[rank{rank}]: {line}" for line in lines)


def torchrun(rank: int, error: str, code: int = 1) -> tuple[str, ...]:
    """The log of a node whose rank has failed, torchrun's own traceback at its end."""
    return (
        *torch(rank, error),
        "Traceback (most recent call last):",
        '  File "torchrun", line 6, in <module>',
        "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: ",
        "Root Cause (first observed failure):",
        f"  rank      : {rank} (local_rank: 0)",
        f"  exitcode  : {code} (pid: 23024)",
    )


LOST = "RuntimeError: [gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:34697."
OWN_ERROR = ("Traceback (most recent call last):", '  File "train.py", line 1, in <module>', "ValueError: loss is nan")


def rank(
    name: str, code: int | None, log: tuple[str, ...] = (), at: str = "2026-11-23T10:00:00Z", reason: str = ""
) -> Rank:
    state: dict[str, Any] = {"running": {}}
    if code is not None:
        state = {"terminated": {"exitCode": code, "finishedAt": at}}
    status = {"containerStatuses": [{"name": "main", "state": state}], "reason": reason}
    return Rank(name, {"metadata": {"name": name}, "status": status}, "main", log)


@pytest.mark.parametrize(
    ("ranks", "first"),
    [
        ([rank("a", 0), rank("b", None)], None),
        ([rank("a", 0), rank("b", 3)], "b"),
        # The one that ended first, unless its words or its exit code say that another one had failed before.
        ([rank("a", 1, at="2026-11-23T10:00:05Z"), rank("b", 1)], "b"),
        ([rank("a", 1, GLOO_ERROR), rank("b", 1, OWN_ERROR, at="2026-11-23T10:00:09Z")], "b"),
        ([rank("a", 1, GLOO_ERROR), rank("b", 137)], "b"),
        ([rank("a", 143), rank("b", 1, OWN_ERROR)], "b"),
        # As genuine runs of two ranks have ended, all within one second.
        ([rank("a", 1, torch(0, LOST)), rank("b", 1, torch(1, "ValueError: no such column"))], "b"),
        ([rank("a", 1, torch(0, LOST)), rank("b", 137)], "b"),
        ([rank("a", 1, torchrun(0, LOST)), rank("b", 1, torchrun(1, "ValueError: no", -6))], "b"),
        ([rank("a", 1, torchrun(0, LOST)), rank("b", 1, torchrun(1, "x", -9))], "b"),
        ([rank("a", 1, torchrun(0, "x", -15)), rank("b", 1, torchrun(1, "ValueError: no"))], "b"),
        ([rank("a", 134, ("Watchdog caught collective operation timeout",)), rank("b", 1, OWN_ERROR)], "b"),
        ([rank("a", 143), rank("b", 1, GLOO_ERROR)], "a"),
        ([rank("a", 1, GLOO_ERROR), rank("b", 143, reason="Evicted", at="2026-11-23T10:00:09Z")], "b"),
        ([rank("a", 1, OWN_ERROR), rank("b", None, reason="NodeLost")], "b"),
    ],
)
def test_the_rank_that_failed_first(ranks: list[Rank], first: str | None) -> None:
    found = first_to_fail(ranks)
    assert (found.name if found else None) == first


@pytest.mark.parametrize(
    ("log", "told"),
    [
        ((), None),
        (("all is well", "exitcode : 1"), None),
        (("[1]<stderr>:ValueError: no", HOROVOD_TAIL.format(rank=1, code=2)), (1, 2)),
        (("mpirun noticed that process rank 3 with PID 7 on node w-1 exited on signal 9 (Killed).",), (3, 137)),
        (("  Process name: [[57193,1],1]", "  Exit code:    5"), (1, 5)),
        (
            (
                "train.py FAILED",
                "Failures:",
                "  rank      : 0 (local_rank: 0)",
                "  exitcode  : -15 (pid: 8)",
                "Root Cause (first observed failure):",
                "[0]:",
                "  time      : 2026-11-23_10:00:00",
                "  rank      : 1 (local_rank: 1)",
                "  exitcode  : -9 (pid: 9)",
            ),
            (1, 137),
        ),
    ],
)
def test_what_a_launcher_says(log: tuple[str, ...], told: tuple[int, int] | None) -> None:
    blame = blamed(log)
    assert (None if blame is None else (blame.rank, blame.code)) == told


def test_a_ranks_own_lines() -> None:
    log = ("[0]<stdout>:a", "[1]<stderr>:b", "[1,1]<stdout>: c", "[rank1]: d", "[default0]:e", "f")
    assert lines_of(log, 1) == ("b", "c", "d")
    assert lines_of(("x", "y"), 1) == ("x", "y")
