"""What Kueue says of a job that waits for admission: why it waits, and whether it waits in vain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_sparkml.exceptions import ApiError, ForbiddenError, NotFoundError
from airflow_provider_sparkml.jobs.advice import advise
from airflow_provider_sparkml.jobs.log import JobLog
from airflow_provider_sparkml.resources.base import ApiResource, Manifest, ResourceRef

if TYPE_CHECKING:
    from airflow_provider_sparkml.client.client import KubernetesClient

WORKLOAD = ApiResource("kueue.x-k8s.io", "v1beta2", "workloads", "Workload")
JOB_UID = "kueue.x-k8s.io/job-uid"
QUEUE_NAME = "kueue.x-k8s.io/queue-name"
UNNAMED_VISITS = 3
"""How often the workload of a job that names no queue is asked for: Kueue makes one within a second, or none."""
DEACTIVATED = "Deactivated"
"""What the reason of an eviction that nobody takes back begins with."""


@dataclass(frozen=True, slots=True)
class Admission:
    """Where a workload stands.

    :param line: what to tell, empty for nothing.
    :param deactivated: the reason, ``Deactivated…``, when Kueue will not admit it again by itself.
    :param message: Kueue's own words for that.
    """

    line: str = ""
    deactivated: str = ""
    message: str = ""


def read_admission(workload: Manifest) -> Admission:
    """Read a Workload's conditions.

    Evicted and preempted workloads queue again, so these are told and are no failure. A deactivated one stays suspended
    until somebody sets ``spec.active`` again (``WorkloadDeactivated`` in apis/kueue/v1beta2/workload_types.go); the
    condition that told of it outlives that until there is quota.
    """
    conditions = {each.get("type"): each for each in (workload.get("status") or {}).get("conditions") or ()}
    evicted, reserved = conditions.get("Evicted") or {}, conditions.get("QuotaReserved") or {}
    given_up = evicted.get("status") == "True" and str(evicted.get("reason", "")).startswith(DEACTIVATED)
    if (workload.get("spec") or {}).get("active") is False:
        if given_up:
            return Admission(deactivated=str(evicted["reason"]), message=str(evicted.get("message", "")))
        return Admission(deactivated=DEACTIVATED, message="somebody has set spec.active of the workload to false")
    parts = []
    if evicted.get("status") == "True" and not given_up:
        parts.append(f"evicted ({evicted.get('reason')}): {evicted.get('message', '')}; it queues again")
    if reserved.get("status") == "False" and reserved.get("message"):
        parts.append(str(reserved["message"]))
    return Admission(line="; ".join(parts))


class QueueWatch:
    """Asks for one job's Workload now and then, and tells what is new.

    A job in a queue has a label that says so: Kueue's webhook sets that of a default queue, too. Without it Kueue
    leaves a job alone, unless it is set to ``manageJobsWithoutQueueName``: so such a job is asked for a few times, and
    a refusal, which tells nothing where there is no Kueue, is not worth a line.
    """

    __slots__ = ("_client", "_log", "_off", "_ref", "_told", "_vain")

    def __init__(self, client: KubernetesClient, ref: ResourceRef, log: JobLog) -> None:
        self._client = client
        self._ref = ref
        self._log = log
        self._told = ""
        self._vain = 0
        self._off = False

    async def visit(self, queue: str) -> Admission | None:
        """Return where the job's workload stands; ``None`` when there is none, or it cannot be read.

        :param queue: the queue that the job's label names, empty for none.
        """
        if self._off or (not queue and self._vain >= UNNAMED_VISITS):
            return None
        workload = await self._read(queue)
        if workload is None:
            self._vain += 1
            return None
        self._vain = 0
        admission = read_admission(workload)
        if admission.line and admission.line != self._told:
            self._told = admission.line
            self._log.info("Kueue: workload %s: %s", workload["metadata"]["name"], admission.line)
        return admission

    async def _read(self, queue: str) -> Manifest | None:
        """Return the job's workload, ``None`` when there is none, or it cannot be read."""
        try:
            selector = f"{JOB_UID}={self._ref.uid}"
            found = (await self._client.list(WORKLOAD, self._ref.namespace, label_selector=selector)).items
        except ForbiddenError as error:
            self._vain = UNNAMED_VISITS
            if queue:
                self._off = True
                advice = advise(error, "list", WORKLOAD, self._ref.namespace)
                self._log.info("Why Kueue keeps the job waiting will not be shown: %s\n%s", error, advice)
            return None
        except NotFoundError:
            self._off = True  # Kueue is not installed
            return None
        except ApiError:
            return None
        return found[0] if found else None


__all__ = ["DEACTIVATED", "QUEUE_NAME", "WORKLOAD", "Admission", "QueueWatch", "read_admission"]
