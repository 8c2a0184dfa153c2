"""Following several objects as one: what a kind's own status does not say is often in the status of another object."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, NamedTuple

from airflow_provider_sparkml.jobs.advice import explained
from airflow_provider_sparkml.resources.base import ApiResource, Manifest

if TYPE_CHECKING:
    from airflow_provider_sparkml.client.watch import WatchHub


class Watched(NamedTuple):
    """What to follow.

    :param api: the type.
    :param name: of the object; empty for all that match.
    :param matching: a text that they have in them; see ``WatchHub.follow_matching``.
    """

    api: ApiResource
    name: str = ""
    matching: str = ""


async def merged(
    hub: WatchHub, namespace: str | None, watched: Sequence[Watched]
) -> AsyncGenerator[tuple[Watched, Manifest | None], None]:
    """Yield the changes of several objects as they come; a fault of one ends it.

    :param hub: the shared watch.
    :param namespace: where they are.
    :param watched: which objects. Of the first nothing is yielded that is older than this call.
    :return: which one, and the object; ``None`` where there is none. All that match are the ``items`` of one object.
    :raises ForbiddenError: one may not be read.
    """
    queue: asyncio.Queue[tuple[Watched, Manifest | None] | asyncio.Task[None]] = asyncio.Queue()

    async def copy(which: Watched) -> None:
        api, name, text = which
        with explained("list", api, namespace or ""):
            if not name:
                async with aclosing(hub.follow_matching(api, namespace, text)) as found:
                    async for items in found:
                        queue.put_nowait((which, {"items": items}))
            async with aclosing(hub.follow(api, namespace, name, fresh=which == watched[0])) as changes:
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
