"""What a wait is given and what it returns: absolute deadlines and the outcome, both JSON-safe for triggers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from airflow_provider_sparkml.resources.base import Phase, ResourceRef, Verdict

Expired = Literal["", "queue", "startup", "execution"]
"""Which deadline passed, or empty."""


def epoch(timestamp: str) -> float | None:
    """Return the epoch seconds of an RFC 3339 time, or ``None`` when there is none to be read."""
    try:
        return datetime.fromisoformat(timestamp).timestamp()
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Deadlines:
    """When a wait gives up. Wall-clock times, so that a restart of the waiting process resets nothing.

    :param queue_seconds: how long the job may be QUEUED, counted from ``Verdict.queued_since``.
    :param startup_seconds: how long the job may be PENDING, counted from ``Verdict.pending_since``.
    :param startup_until: epoch seconds until which it may be PENDING, where its object does not say since when it is.
    :param execute_until: epoch seconds after which the job is not wanted any more, whatever its phase.
    """

    queue_seconds: float | None = None
    startup_seconds: float | None = None
    startup_until: float | None = None
    execute_until: float | None = None

    def next(self, verdict: Verdict) -> tuple[float, Expired] | None:
        """Return the deadline in force for a verdict, as epoch seconds and its name; ``None`` when there is none.

        QUEUED and PENDING have their own; ``execute_until`` bounds them all.
        """
        found: list[tuple[float, Expired]] = []
        if self.execute_until is not None:
            found.append((self.execute_until, "execution"))
        queued = epoch(verdict.queued_since)
        if verdict.phase is Phase.QUEUED and self.queue_seconds is not None and queued is not None:
            found.append((queued + self.queue_seconds, "queue"))
        since = epoch(verdict.pending_since)
        if verdict.phase is Phase.PENDING and self.startup_seconds is not None and since is not None:
            found.append((since + self.startup_seconds, "startup"))
        if verdict.phase is Phase.PENDING and self.startup_until is not None:
            found.append((self.startup_until, "startup"))
        return min(found, default=None)

    def to_json(self) -> dict[str, float | None]:
        """Return a JSON-safe dict; ``Deadlines(**data)`` is its inverse."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a wait ended; the payload of the trigger's event.

    Exactly one holds: the verdict's phase is terminal, ``deleted`` is true, or ``expired`` names a deadline.

    :param ref: the job.
    :param verdict: the last verdict seen.
    :param expired: the deadline that passed.
    :param deleted: whether the object vanished before a terminal phase was seen.
    :param log_shown: whether the job's whole log is in the task's log already, or may not be read.
    :param earlier: what was said of each run before the last, where the kind's operator has run the job again.
    """

    ref: ResourceRef
    verdict: Verdict
    expired: Expired = ""
    deleted: bool = False
    log_shown: bool = False
    earlier: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-safe dict; :meth:`from_json` is its inverse."""
        return {
            "ref": self.ref.to_json(),
            "verdict": self.verdict.to_json(),
            "expired": self.expired,
            "deleted": self.deleted,
            "log_shown": self.log_shown,
            "earlier": list(self.earlier),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Outcome:
        """Rebuild an outcome from :meth:`to_json`."""
        return cls(
            ref=ResourceRef(**data["ref"]),
            verdict=Verdict.from_json(data["verdict"]),
            expired=data["expired"],
            deleted=data["deleted"],
            log_shown=data["log_shown"],
            # A trigger of a former version, still waiting, does not tell it.
            earlier=tuple(data.get("earlier", ())),
        )


__all__ = ["Deadlines", "Expired", "Outcome", "epoch"]
