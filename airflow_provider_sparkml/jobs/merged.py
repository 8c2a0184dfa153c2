"""Following several objects as one: what a kind's own status does not say is often in the status of another object."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import TYPE_CHECKING

from airflow_provider_sparkml.jobs.advice import explained
from airflow_provider_sparkml.resources.base import ApiResource, Manifest

if TYPE_CHECKING:
    from airflow_provider_sparkml.client.watch import WatchHub

Watched = tuple[ApiResource, str]
"""Type and name of an object."""


async def merged(
    hub: WatchHub, namespace: str | None, watched: Iterable[Watched]
) -> AsyncGenerator[tuple[Watched, Manifest | None], None]:
    """Yield the changes of several objects as they come, none older than this call; a fault of one ends it.

    :param hub: the shared watch.
    :param namespace: where they are.
    :param watched: which objects.
    :return: which one, and the object; ``None`` where there is none.
    :raises ForbiddenError: one may not be read.
    """
    queue: asyncio.Queue[tuple[Watched, Manifest | None] | asyncio.Task[None]] = asyncio.Queue()

    async def copy(which: Watched) -> None:
        api, name = which
        changes = hub.follow(api, namespace, name, fresh=True)
        with explained("list", api, namespace or ""):
            async with aclosing(changes):
                async for obj in changes:
                    queue.put_nowait((which, obj))

    copies = [asyncio.create_task(copy(which)) for which in watched]
    for task in copies:
        task.add_done_callback(queue.put_nowait)
    try:
        while True:
            item = await queue.get()
            if isinstance(item, asyncio.Task):
                item.result()
                return
            yield item
    finally:
        for task in copies:
            task.cancel()
        await asyncio.wait(copies)


__all__ = ["Watched", "merged"]
