"""What a preflight check has found: its status, what it saw, and what to do about it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum

from airflow_provider_sparkml.exceptions import ApiError


class Status(StrEnum):
    """How a check ended. ``UNKNOWN`` is what these credentials may not see; only ``FAILED`` stands in a job's way."""

    OK = "ok"
    WARNING = "warning"
    UNKNOWN = "unknown"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """The end of one check.

    :param check: what was checked, in a word or two.
    :param status: how it ended.
    :param detail: what was seen.
    :param fix: what to do, with a command; empty where nothing needs doing.
    """

    check: str
    status: Status
    detail: str
    fix: str = ""

    def to_json(self) -> dict[str, str]:
        """Return a JSON-safe dict."""
        return asdict(self) | {"status": str(self.status)}


def unseen(check: str, error: ApiError, fix: str) -> Finding:
    """Return the finding of a check that these credentials do not allow."""
    return Finding(check, Status.UNKNOWN, f"may not be seen: {str(error).splitlines()[0]}", fix)


__all__ = ["Finding", "Status", "unseen"]
