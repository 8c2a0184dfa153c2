"""How far a benchmark is, on stderr: stdout is for its JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from rich.console import Console
from rich.progress import track

T = TypeVar("T")


def steps(sequence: Sequence[T], description: str) -> Iterable[T]:
    """Yield each, with a bar that shows how many are done and how long the rest may take."""
    return track(sequence, description, console=Console(stderr=True))
