"""What hangs below an object besides its status, and the resources that only answer a question."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

SUBRESOURCES: dict[tuple[str, str, str], Callable[..., Awaitable[web.StreamResponse]]] = {}
_ = Any
