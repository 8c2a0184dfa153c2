"""How the tries of one task ended, told by the next: kept in Airflow's task state, since their objects may be gone."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_sparkml.exceptions import JobFailedError
from airflow_provider_sparkml.resources.naming import first_try

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.types import Logger

    from airflow_provider_sparkml.jobs.outcome import Outcome

KEY = "sparkml_try_{}"
"""Key of a try in the task's state store (``context["task_state_store"]``), which all tries of a task share."""
SUCCEEDED = "SUCCEEDED"
NO_RECORD = "NoRecord"
"""How a try ended that could not say so: its worker died."""
_LONGEST_CAUSE = 500


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of a task, and how it ended.

    :param try_number: which try, as Airflow counts.
    :param ended: ``SUCCEEDED``, ``NoRecord``, or the class of the exception.
    :param name: name of its job; empty when there was none.
    :param cause: first line of the exception.
    :param exit_code: the main container's; ``None`` where it is not known.
    :param seconds: how long the job ran, or the try where the job does not say.
    :param runs: what was said of the earlier runs of this try's job, where its operator has run it again.
    """

    try_number: int
    ended: str
    name: str = ""
    cause: str = ""
    exit_code: int | None = None
    seconds: float | None = None
    runs: Sequence[str] = ()

    def __str__(self) -> str:
        if self.ended == NO_RECORD:
            return f"try {self.try_number}: it left no record, as when its worker dies; its job is adopted if it lives"
        parts = [self.name] if self.name else []
        parts.append(f"{self.ended}: {self.cause}" if self.cause else self.ended)
        if self.exit_code is not None and "exit code" not in self.cause:
            parts.append(f"exit code {self.exit_code}")
        parts += [] if self.seconds is None else [f"after {self.seconds:.0f} s"]
        parts += [f"which its operator had run before ({'; '.join(self.runs)})"] if self.runs else []
        return f"try {self.try_number}: {', '.join(parts)}"


@dataclass(slots=True)
class History:
    """The tries of a task since it was first run or last cleared.

    :param context: the task's context.
    :param retries: the task's ``retries``.
    :param log: the task's log.
    :param job: name of this try's job, once there is one.
    :param outcome: how the wait for it ended, once it has.
    """

    context: Context
    retries: int
    log: Logger
    job: str = ""
    outcome: Outcome | None = None

    @property
    def first(self) -> int:
        """Which try was the first."""
        return first_try(int(self.context["ti"].max_tries), self.retries)

    def earlier(self) -> list[Attempt]:
        """Return the tries before this one; of one that has left no record, that."""
        try:
            return [self._stored(number) for number in range(self.first, self.context["ti"].try_number)]
        except Exception as error:  # noqa: BLE001 - whatever Airflow's API says, a record is not worth a job
            self.log.warning("How the earlier tries ended could not be read: %s: %s", type(error).__name__, error)
            return []

    def tell(self) -> None:
        """Say in the log of a retry which try this is, and how the earlier ones ended."""
        earlier = self.earlier()
        if earlier:
            ti = self.context["ti"]
            self.log.info("This is try %d of %d. The earlier ones:", ti.try_number, ti.max_tries + 1)
        for attempt in earlier:
            self.log.info("  %s", attempt)

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Keep how this try ends, if it ends by an exception; deferring is no end."""
        from airflow.sdk.exceptions import TaskDeferred

        try:
            yield
        except TaskDeferred:
            raise
        except BaseException as error:
            self._store(self._failed(error))
            raise

    def to_json(self) -> list[dict[str, Any]]:
        """Return all tries, this one a success, as they stand in the result."""
        this = Attempt(self.context["ti"].try_number, SUCCEEDED, self.job, seconds=self._seconds(), runs=self._runs())
        return [asdict(each) for each in (*self.earlier(), this)]

    def _failed(self, error: BaseException) -> Attempt:
        """Return this try, which an exception ends."""
        from airflow.providers.common.compat.sdk import redact

        # It goes into Airflow's database and an XCom, which Airflow does not mask.
        lines = str(redact(str(error))).splitlines()
        return Attempt(
            self.context["ti"].try_number,
            type(error).__name__,
            self.job,
            cause=lines[0][:_LONGEST_CAUSE] if lines else "",
            exit_code=error.exit_code if isinstance(error, JobFailedError) else None,
            seconds=self._seconds(),
            runs=self._runs(),
        )

    def _runs(self) -> list[str]:
        """Return what was said of the earlier runs of this try's job."""
        return [] if self.outcome is None else list(self.outcome.earlier)

    def _seconds(self) -> float:
        """Return how long the job ran, or else how long this try has been going on."""
        from airflow_provider_sparkml.jobs.outcome import epoch

        verdict = None if self.outcome is None else self.outcome.verdict
        started = epoch(verdict.started_at) if verdict else None
        finished = epoch(verdict.finished_at) if verdict else None
        begun = self.context["ti"].start_date.timestamp() if started is None else started
        return round(max(0.0, (time.time() if finished is None else finished) - begun), 1)

    def _stored(self, number: int) -> Attempt:
        kept: Any = self.context["task_state_store"].get(KEY.format(number))
        return Attempt(number, NO_RECORD) if kept is None else Attempt(**kept)

    def _store(self, attempt: Attempt) -> None:
        try:
            self.context["task_state_store"].set(KEY.format(attempt.try_number), asdict(attempt))
        except Exception as error:  # noqa: BLE001 - whatever Airflow's API says, a record is not worth a job
            self.log.warning("How this try ended could not be kept: %s: %s", type(error).__name__, error)


__all__ = ["KEY", "NO_RECORD", "SUCCEEDED", "Attempt", "History"]
