"""Pulling an image for a container, with the events, waiting reasons and pauses of a kubelet."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from time import monotonic

from airflow_provider_sparkml.local.images import Image, ImageBuildError, ImageNotFoundError
from airflow_provider_sparkml.local.pods.context import PodContext

FIRST_SECONDS = 10.0
LAST_SECONDS = 300.0
ERROR_SHOWN_SECONDS = 1.0  # how long ErrImagePull stands before it becomes ImagePullBackOff


class BackOff:
    """Pauses that double from 10 s to 300 s, as a kubelet makes them for restarts and pulls."""

    def __init__(self) -> None:
        self._seconds: float | None = None

    def next(self, *, first: float = FIRST_SECONDS) -> float:
        """Return the next pause in seconds.

        :param first: the very first one.
        """
        before, self._seconds = self._seconds, first
        if before is not None:
            self._seconds = min(max(2 * before, FIRST_SECONDS), LAST_SECONDS)
        return self._seconds


async def pull_image(
    context: PodContext, reference: str, wait_for: Callable[[str, str], None], stopping: asyncio.Event
) -> Image | None:
    """Return a container's image, trying for ever; ``None`` when the pod is stopped meanwhile.

    :param wait_for: is told for what the container waits: reason and message.
    """
    back_off = BackOff()
    while True:
        try:
            return await _pull(context, reference, wait_for, stopping)
        except (ImageNotFoundError, ImageBuildError) as error:
            problem = str(error)
        context.tell("Warning", "Failed", f'Failed to pull image "{reference}": {problem}')
        context.tell("Warning", "Failed", "Error: ErrImagePull")
        wait_for("ErrImagePull", problem)
        if await _stops_within(ERROR_SHOWN_SECONDS, stopping):
            return None
        context.tell("Normal", "BackOff", f'Back-off pulling image "{reference}"')
        context.tell("Warning", "Failed", "Error: ImagePullBackOff")
        wait_for("ImagePullBackOff", f'Back-off pulling image "{reference}": {problem}')
        if await _stops_within(back_off.next(), stopping):
            return None


async def _pull(
    context: PodContext, reference: str, wait_for: Callable[[str, str], None], stopping: asyncio.Event
) -> Image | None:
    tell, store = context.tell, context.images
    if store.is_built(reference):
        tell("Normal", "Pulled", f'Container image "{reference}" already present on machine')
        return await store.pull(reference)
    tell("Normal", "Pulling", f'Pulling image "{reference}"')
    began = monotonic()

    def progress(line: str) -> None:
        wait_for("ContainerCreating", f'pulling image "{reference}": {line}')

    pulling = asyncio.ensure_future(store.pull(reference, progress=progress))
    stopped = asyncio.ensure_future(stopping.wait())
    try:
        await asyncio.wait((pulling, stopped), return_when=asyncio.FIRST_COMPLETED)
        if not pulling.done():
            return None
        image = pulling.result()
    finally:
        pulling.cancel()
        stopped.cancel()
        await asyncio.gather(pulling, stopped, return_exceptions=True)
    tell("Normal", "Pulled", f'Successfully pulled image "{reference}" in {monotonic() - began:.1f}s')
    return image


async def _stops_within(seconds: float, stopping: asyncio.Event) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stopping.wait()
    return stopping.is_set()
