"""Cleaning up what Spark jobs have left behind: one list per type, a pure decision, deletes by UID, and a report."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_sparkml.exceptions import ApiError, ForbiddenError, ResourceTypeNotFoundError
from airflow_provider_sparkml.jobs.advice import advise
from airflow_provider_sparkml.jobs.log import JobLog
from airflow_provider_sparkml.resources.base import ApiResource, Manifest
from airflow_provider_sparkml.resources.leftovers import TYPES, Leftover, Objects, Scope, decide

if TYPE_CHECKING:
    from airflow_provider_sparkml.client.client import KubernetesClient

_DELETES_AT_ONCE = 8
_TOLD = 100
"""How many objects the log and the report name; the counts have all."""


@dataclass(slots=True)
class Report:
    """What a clean-up has found and done.

    :param namespace: where.
    :param dry_run: whether nothing was to be deleted.
    :param found: the leftovers, in the order of deletion.
    :param deleted: those that were deleted here; what they own goes with them.
    :param skipped: types that could not be looked at or deleted, and why: ``not installed`` or ``not allowed``.
    :param failed: what failed otherwise, cause first; another run may succeed.
    """

    namespace: str
    dry_run: bool = False
    found: list[Leftover] = field(default_factory=list)
    deleted: list[Leftover] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return the report as a JSON-safe dict, bounded in size."""
        return {
            "namespace": self.namespace,
            "dry_run": self.dry_run,
            "found": count(self.found),
            "deleted": count(self.deleted),
            "objects": [str(each) for each in self.found[:_TOLD]],
            "skipped": dict(self.skipped),
            "failed": self.failed[:_TOLD],
        }


def count(leftovers: Iterable[Leftover]) -> dict[str, int]:
    """Return how many there are of each kind."""
    return dict(Counter(each.api.kind for each in leftovers))


async def clean_up(client: KubernetesClient, scope: Scope, *, dry_run: bool, log: JobLog) -> Report:
    """Delete what is left in a scope; never raises for what the API server refuses, and may be run again at any time.

    :param scope: whose, and how old.
    :param dry_run: only look.
    :return: what was found and done.
    """
    report = Report(scope.namespace, dry_run)
    report.found = decide(await _list_all(client, report, log), scope)
    _tell(report, log)
    if dry_run:
        return report
    for api in TYPES:
        # Type after type: what routes to a Service goes before it, owners before what they own.
        await _delete_all(client, report, [each for each in report.found if each.api is api], log)
    log.info(
        "Deleted %d of %d leftovers in namespace %s; %d go with their owners",
        len(report.deleted),
        len(report.found),
        scope.namespace,
        sum(each.collected for each in report.found),
    )
    return report


async def _list_all(client: KubernetesClient, report: Report, log: JobLog) -> Objects:
    """Return the objects of the namespace by type, without the types that are not there or may not be seen."""
    found: dict[ApiResource, list[Manifest]] = {}

    async def one(api: ApiResource, selector: str) -> None:
        try:
            found[api] = (await client.list(api, report.namespace, label_selector=selector)).items
        except ResourceTypeNotFoundError:
            report.skipped[api.full_name] = "not installed"
        except ForbiddenError as error:
            _forbidden(report, "list", api, error, log)
        except ApiError as error:
            _failed(report, f"{api.full_name}: {error}", log)

    await asyncio.gather(*(one(api, selector) for api, selector in TYPES.items()))
    absent = sorted(name for name, why in report.skipped.items() if why == "not installed")
    if absent:
        log.info("Not installed, so nothing of it is left: %s", ", ".join(absent))
    return found


async def _delete_all(client: KubernetesClient, report: Report, leftovers: list[Leftover], log: JobLog) -> None:
    """Delete objects of one type that nothing else takes along, a few at a time."""
    slots = asyncio.Semaphore(_DELETES_AT_ONCE)

    async def one(leftover: Leftover) -> None:
        async with slots:
            if leftover.api.full_name in report.skipped:
                return
            try:
                # The UID: never a namesake that has come meanwhile. In the foreground the owner goes last, so that
                # whoever looks again finds what is left of it.
                if await client.delete(
                    leftover.api, leftover.name, report.namespace, propagation="Foreground", uid=leftover.uid
                ):
                    report.deleted.append(leftover)
            except ForbiddenError as error:
                _forbidden(report, "delete", leftover.api, error, log)
            except ApiError as error:
                _failed(report, f"{leftover}: {error}", log)

    await asyncio.gather(*(one(each) for each in leftovers if not each.collected and not each.going))


def _forbidden(report: Report, verb: str, api: ApiResource, error: ForbiddenError, log: JobLog) -> None:
    """Leave a type out, and say so once."""
    if api.full_name not in report.skipped:
        report.skipped[api.full_name] = "not allowed"
        first, *_ = str(error).splitlines()
        log.warning("%s are left as they are: %s %s", api.full_name, first, advise(error, verb, api, report.namespace))


def _failed(report: Report, what: str, log: JobLog) -> None:
    """Note what the API server failed at."""
    first, *_ = what.splitlines()
    report.failed.append(first)
    log.warning("Not cleaned up: %s", first)


def _tell(report: Report, log: JobLog) -> None:
    """Write a table of what was found."""
    log.info("%d leftovers in namespace %s", len(report.found), report.namespace)
    if report.found:
        log.info("  %-20s %-60s %-21s %s", "KIND", "NAME", "CREATED", "DELETED")
    for each in report.found[:_TOLD]:
        how = "with its owner" if each.collected else "already" if each.going else "no" if report.dry_run else "by name"
        log.info("  %-20s %-60s %-21s %s", each.api.kind, each.name, each.created, how)
    if len(report.found) > _TOLD:
        log.info("  … and %d more", len(report.found) - _TOLD)


__all__ = ["Report", "clean_up", "count"]
