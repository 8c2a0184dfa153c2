"""How far a Spark application is, read from the driver's REST API through the API server's pod proxy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_sparkml.exceptions import ApiError, ForbiddenError
from airflow_provider_sparkml.jobs.advice import advise
from airflow_provider_sparkml.jobs.log import JobLog
from airflow_provider_sparkml.resources.base import ApiResource

if TYPE_CHECKING:
    from airflow_provider_sparkml.client.client import KubernetesClient

POD_PROXY = ApiResource("", "v1", "pods/proxy", "Pod")


def summarise(jobs: Iterable[Mapping[str, Any]]) -> str:
    """Return one line on the Spark jobs of an application: tasks and stages done, and what runs now.

    :param jobs: the answer of ``/api/v1/applications/<id>/jobs`` (Spark's ``JobData``), newest first. Spark's jobs are
        asked rather than its stages: they carry the same counts in a tenth of the bytes.
    :return: the line, empty while there is no job.
    """
    jobs = list(jobs)
    if not jobs:
        return ""
    tasks = sum(job["numTasks"] - job.get("numSkippedTasks", 0) for job in jobs)
    tasks_done = sum(job["numCompletedTasks"] for job in jobs)
    stages = sum(len(job["stageIds"]) - job.get("numSkippedStages", 0) for job in jobs)
    stages_done = sum(job["numCompletedStages"] for job in jobs)
    tasks_failed = sum(job.get("numFailedTasks", 0) for job in jobs)
    running = [job for job in jobs if job["status"] == "RUNNING"]
    parts = [
        f"{100 * tasks_done // tasks if tasks else 100} %",
        f"{tasks_done}/{tasks} tasks",
        f"{stages_done}/{stages} stages",
        f"{len(jobs) - len(running)}/{len(jobs)} jobs",
    ]
    if tasks_failed:
        parts.append(f"{tasks_failed} failed tasks")
    line = "Spark: " + ", ".join(parts)
    return f"{line}; now: {running[0]['name']}" if running else line


class Progress:
    """Tells one application's progress whenever it has changed since last told."""

    __slots__ = ("_application", "_client", "_log", "_namespace", "_off", "_submission_id", "_told")

    def __init__(self, client: KubernetesClient, namespace: str, log: JobLog) -> None:
        self._client = client
        self._namespace = namespace
        self._log = log
        self._submission_id = ""
        self._application = ""
        self._told = ""
        self._off = False

    async def visit(self, submission_id: str, address: tuple[str, int] | None) -> None:
        """Ask the driver, and write a line if it says something new.

        :param submission_id: identity of the current run; a rerun is another application.
        :param address: pod and port of Spark's REST API, or ``None`` where there is none.
        """
        if address is None or self._off:
            return
        if submission_id != self._submission_id:
            self._submission_id, self._application, self._told = submission_id, "", ""
        pod, port = address
        try:
            if not self._application:
                applications = await self._get(pod, port, "/api/v1/applications")
                self._application = str(applications[0]["id"]) if applications else ""
            if self._application:
                line = summarise(await self._get(pod, port, f"/api/v1/applications/{self._application}/jobs"))
                if line != self._told:
                    self._told = line
                    self._log.info("%s", line)
        except ForbiddenError as error:
            self._off = True
            self._log.info("No progress will be shown: %s\n%s", error, advise(error, "get", POD_PROXY, self._namespace))
        except ApiError:
            # The driver's web server is not up yet, or gone with the driver; the next visit asks again.
            pass
        except (KeyError, TypeError, IndexError, AttributeError) as error:
            self._off = True
            self._log.info(
                "No progress will be shown: pod %s answers on port %d, but not as Spark (%r)", pod, port, error
            )

    async def _get(self, pod: str, port: int, path: str) -> Any:
        return await self._client.pod_proxy_get(self._namespace, pod, port, path)


__all__ = ["Progress", "summarise"]
