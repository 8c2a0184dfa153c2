"""Where a job's life is told: what this layer needs of a logger; Airflow's task log and ``logging`` both have it."""

from __future__ import annotations

from typing import Any, Protocol


class JobLog(Protocol):
    """Takes ``%``-style messages, as :class:`logging.Logger` and Airflow's task log do."""

    def info(self, msg: str, /, *args: Any) -> Any:
        """Tell what happened."""

    def warning(self, msg: str, /, *args: Any) -> Any:
        """Tell what a person may have to act on."""


__all__ = ["JobLog"]
