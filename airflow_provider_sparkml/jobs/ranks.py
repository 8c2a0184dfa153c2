"""Which rank of a distributed job failed first; the others mostly fail since that one did. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from airflow_provider_sparkml.jobs.endings import container_exit, container_state, disruptions
from airflow_provider_sparkml.jobs.log_errors import error_line
from airflow_provider_sparkml.resources.base import Manifest

_SIGABRT_EXIT, _SIGTERM_EXIT, _SSH_EXIT = 134, 143, 255
# What a rank says that lost another one: Gloo, NCCL, torch.distributed, Horovod, MPI.
_COLLATERAL = re.compile(
    r"[Cc]onnection (was )?(reset|closed|refused)|[Bb]roken pipe|Socket closed|HorovodInternalError|"
    r"Horovod has been shut down|remote process has terminated|"
    r"DistNetworkError|DistStoreError|DistBackendError|Rendezvous\w*Error|"
    r"Timed out waiting .* for (recv|send)|caught collective operation timeout|[Cc]ollective ops is aborted"
)
_SSH_LOST = re.compile(
    r"Connection to \S+ closed by remote host|[Cc]onnection (timed out|reset|closed|refused)|Broken pipe|"
    r"No route to host|Could not resolve hostname|Timeout, server \S+ not responding"
)
# A launcher's word for the rank that ended its job: horovodrun's, mpirun's, mpirun's after a signal.
_BLAMED = (
    re.compile(r"Process (?:name: )?(?P<rank>\d+) exit with status code (?P<code>\d+)"),
    re.compile(r"mpirun noticed that process rank (?P<rank>\d+) .* exited on signal (?P<signal>\d+)"),
)
# Open MPI 4, and from 5 on (PRRTE).
_MPIRUN_NAME = re.compile(r"Process name: \[(?:\[\d+,\d+\],|prterun-\S+@\d+,)\s*(\d+)\]")
_HYDRA_RANK = re.compile(r"=\s+RANK (\d+) PID \d+ RUNNING AT")
_HYDRA_CODE = re.compile(r"=\s+EXIT STATUS: (\d+)")
_HYDRA_SIGNAL = re.compile(r"=\s+KILLED BY SIGNAL: (\d+)")
_MPIRUN_CODE = re.compile(r"Exit code:\s*(\d+)")
_TORCHRUN_ROOT = re.compile(r"Root Cause \(first observed failure\)")
_TORCHRUN_RANK = re.compile(r"rank\s*:\s*(\d+) \(local_rank")
_TORCHRUN_CODE = re.compile(r"exitcode\s*:\s*(-?\d+)")
# horovodrun's and mpirun's, torchrun's, and torch's own.
_PREFIX = re.compile(r"^\[(?:\d+,)?(?P<a>\d+)\]<std(?:err|out)>: ?|^\[(?:default|rank)(?P<b>\d+)\]: ?")


@dataclass(frozen=True, slots=True)
class Rank:
    """One pod of a distributed job.

    :param name: what to call it: ``worker-1``.
    :param pod: its pod.
    :param container: name of its main container.
    :param log: the last lines of that container's log.
    """

    name: str
    pod: Manifest
    container: str
    log: tuple[str, ...] = ()

    @property
    def has_failed(self) -> bool:
        """Whether its container ended with an error, or its pod was taken off its node."""
        ended = container_exit(self.pod, self.container)
        return bool(disruptions(self.pod)) or (ended is not None and ended.code != 0)

    @property
    def is_collateral(self) -> bool:
        """Whether it seems to have failed only since another rank had: told to end, or its peer's connection gone."""
        if disruptions(self.pod):
            return False
        ended = container_exit(self.pod, self.container)
        blame = blamed(self.log)
        if blame is not None and blame.is_lost:
            return True
        codes = [end.code for end in (ended, blame) if end is not None and end.code > 128]
        if codes and _SIGABRT_EXIT not in codes:
            return _SIGTERM_EXIT in codes
        log = self.log if blame is None else blame.log
        said = error_line(log)[0]
        # A process group that is given up ends its process by SIGABRT, after a traceback or without one.
        return bool(_COLLATERAL.search(said if said or not codes else "\n".join(log)))

    @property
    def ended_at(self) -> str:
        """RFC 3339 time at which its container ended; empty when that is not known."""
        return str((container_state(self.pod, self.container).get("terminated") or {}).get("finishedAt") or "")


def first_to_fail(ranks: Iterable[Rank]) -> Rank | None:
    """Return the rank that the job failed with, ``None`` when no rank has failed.

    Times are whole seconds in Kubernetes, and all ranks of a job end within one; so what their logs say comes first.
    """
    failed = [rank for rank in ranks if rank.has_failed]
    return min(failed, key=lambda rank: (rank.is_collateral, rank.ended_at), default=None)


@dataclass(frozen=True, slots=True)
class Blame:
    """What a launcher's log says of the rank that ended its job.

    :param rank: its number.
    :param code: its exit code, 128 + n after signal n.
    :param log: its own lines in the launcher's log, without their prefix; all lines where none has one.
    :param by_ssh: whether the launcher had started it by ssh, and tells the exit code of that.
    """

    rank: int
    code: int
    log: tuple[str, ...]
    by_ssh: bool = False

    @property
    def is_lost(self) -> bool:
        """Whether ssh lost it, since its pod went away: ssh then ends with 255, and says so (ssh(1))."""
        return self.by_ssh and self.code == _SSH_EXIT and any(map(_SSH_LOST.search, self.log))


def blamed(log: Sequence[str]) -> Blame | None:
    """Return the rank that horovodrun, mpirun or torchrun names as the one that failed; ``None`` when none is named."""
    if started := _blamed_by_horovodrun(log):
        return Blame(*started, lines_of(log, started[0]), by_ssh=True)
    found = _blamed_by_mpirun(log) or _blamed_by_hydra(log) or _blamed_by_torchrun(log)
    if found is None:
        return None
    rank, code = found
    return Blame(rank, 128 - code if code < 0 else code, lines_of(log, rank))


def lines_of(log: Sequence[str], rank: int) -> tuple[str, ...]:
    """Return one rank's lines of a log that several ranks write to; all of it where no line tells its rank."""
    own = []
    for line in log:
        prefix = _PREFIX.match(line)
        if prefix and int(prefix["a"] or prefix["b"]) == rank:
            own.append(line[prefix.end() :])
    return tuple(own) or tuple(log)


def _blamed_by_horovodrun(log: Sequence[str]) -> tuple[int, int] | None:
    for line in log:
        for pattern in _BLAMED:
            if found := pattern.search(line):
                groups = found.groupdict()
                return int(groups["rank"]), int(groups.get("code") or 128 + int(groups.get("signal") or 0))
    return None


def _blamed_by_mpirun(log: Sequence[str]) -> tuple[int, int] | None:
    return _pair(log, _MPIRUN_NAME, _MPIRUN_CODE)


def _blamed_by_hydra(log: Sequence[str]) -> tuple[int, int] | None:
    """Intel MPI's ``mpirun``."""
    killed = _pair(log, _HYDRA_RANK, _HYDRA_SIGNAL)
    return _pair(log, _HYDRA_RANK, _HYDRA_CODE) if killed is None else (killed[0], 128 + killed[1])


def _blamed_by_torchrun(log: Sequence[str]) -> tuple[int, int] | None:
    start = next((index for index, line in enumerate(log) if _TORCHRUN_ROOT.search(line)), None)
    return None if start is None else _pair(log[start:], _TORCHRUN_RANK, _TORCHRUN_CODE)


def _pair(log: Sequence[str], rank: re.Pattern[str], code: re.Pattern[str]) -> tuple[int, int] | None:
    """Return the first rank that a pattern finds, and the first code at or after it."""
    for index, line in enumerate(log):
        if found := rank.search(line):
            codes = (code.search(later) for later in log[index:])
            return next(((int(found[1]), int(match[1])) for match in codes if match), None)
    return None


__all__ = ["Blame", "Rank", "blamed", "first_to_fail", "lines_of"]
