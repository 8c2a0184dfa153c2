"""Waiting for an Experiment whose trials are in Kueue's queue, with this test in the places of Katib and Kueue."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from airflow_provider_sparkml.exceptions import AlreadyExistsError, NotAdmittedError, NotFoundError
from airflow_provider_sparkml.jobs import experiment as experiment_module
from airflow_provider_sparkml.jobs import rounds as rounds_module
from airflow_provider_sparkml.jobs.experiment import wait_for_trials
from airflow_provider_sparkml.jobs.finish import finish
from airflow_provider_sparkml.jobs.kueue import WORKLOAD
from airflow_provider_sparkml.jobs.outcome import Deadlines
from airflow_provider_sparkml.jobs.submit import submit
from airflow_provider_sparkml.resources.base import ApiResource, Phase
from tests.integration.jobs.conftest import identity, now
from tests.unit.resources.kinds import BY_ID, conditions

KIND = BY_ID["Experiment"]
JOB = ApiResource("batch", "v1", "jobs", "Job")
ADMITTED = ("Admitted", "True", "Admitted")
GIVEN_UP = ("Evicted", "True", "DeactivatedDueToAdmissionCheck")
AGAIN = ("Requeued", "True", "Reactivated")
FINISHED = ("Finished", "True", "Succeeded")


class Queue:
    """What Katib and Kueue would write."""

    def __init__(self, client, ref):
        self.client = client
        self.ref = ref

    async def trials(self, *running, **status):
        """Let these trials run, as Katib sees it."""
        names = [f"{self.ref.name}-{each}" for each in running]
        body = {"conditions": conditions(Created="True", Running="True"), "runningTrialList": names, **status}
        return await self.client.patch(
            KIND.resource.api, self.ref.name, {"status": body}, self.ref.namespace, subresource="status"
        )

    async def job(self, trial):
        """Make a trial's job, and its Workload of the same name, or return the name of the one there is."""
        name = f"{self.ref.name}-{trial}"
        with suppress(AlreadyExistsError):
            pod = {"containers": [{"name": "main", "image": "i:1"}], "restartPolicy": "Never"}
            manifest = {"metadata": {"name": name}, "spec": {"suspend": True, "template": {"spec": pod}}}
            job = await self.client.create(JOB, manifest, self.ref.namespace)
            owner = {"apiVersion": JOB.api_version, "kind": JOB.kind, "name": name, "uid": job["metadata"]["uid"]}
            manifest = {"metadata": {"name": name, "ownerReferences": [owner]}, "spec": {"active": True}}
            await self.client.create(WORKLOAD, manifest, self.ref.namespace)
        return name

    async def delete_job(self, trial):
        """Delete a trial's job, and wait until its Workload is gone as well."""
        name = f"{self.ref.name}-{trial}"
        await self.client.delete(JOB, name, self.ref.namespace)
        with suppress(NotFoundError):
            async with asyncio.timeout(20):
                while await self.client.get(WORKLOAD, name, self.ref.namespace):
                    await asyncio.sleep(0.02)

    async def workload(self, trial, *held, active=True):
        """Write what has become of the Workload of a trial's job."""
        name = await self.job(trial)
        await self.client.patch(WORKLOAD, name, {"spec": {"active": active}}, self.ref.namespace)
        written = [
            {"type": kind, "status": status, "reason": reason, "message": "said", "lastTransitionTime": now()}
            for kind, status, reason in held
        ]
        body = {"status": {"conditions": written}}
        await self.client.patch(WORKLOAD, name, body, self.ref.namespace, subresource="status")

    async def refuse(self, trial):
        await self.workload(trial, GIVEN_UP, active=False)

    async def admit(self, trial):
        await self.workload(trial, ADMITTED)


@pytest.fixture
async def waiting(client, airflow, hub, namespace, told):
    """An Experiment of up to four trials, two at once, that a task waits for."""
    manifest = {**KIND.manifest, "spec": {**KIND.manifest["spec"], "maxTrialCount": 4, "parallelTrialCount": 2}}
    job = await submit(client, KIND.resource, manifest, identity(), namespace=namespace, log=told)
    task = asyncio.create_task(wait_for_trials(airflow, hub, KIND.resource, job.ref, Deadlines(), log=told))
    yield Queue(client, job.ref), task
    task.cancel()
    await asyncio.wait([task])


async def ended(queue, task):
    """Let the search succeed, and return what the wait makes of it: so nothing else has ended it before."""
    body = {"status": KIND.ended()}
    await queue.client.patch(KIND.resource.api, queue.ref.name, body, queue.ref.namespace, subresource="status")
    return await asyncio.wait_for(task, 20)


async def test_a_workload_that_is_gone_says_nothing_any_more(waiting, told):
    queue, task = waiting
    await queue.trials("a", "b", trials=2)
    await queue.admit("b")
    await queue.refuse("a")
    await told.until("trial " + f"{queue.ref.name}-a: its workload is deactivated")
    # Somebody deletes the job; Katib makes it anew, and it runs to its end.
    await queue.delete_job("a")
    await queue.admit("a")
    await queue.refuse("b")
    await told.until(f"trial {queue.ref.name}-b: its workload is deactivated")
    await queue.workload("a", ADMITTED, FINISHED)
    await queue.delete_job("a")
    await queue.trials("a", "b", trials=2, trialsRunning=2)
    assert (await ended(queue, task)).verdict.phase is Phase.SUCCEEDED


async def test_katib_is_given_time_to_make_the_next_trial_but_not_for_ever(waiting, airflow, told, monkeypatch):
    monkeypatch.setattr(rounds_module, "INTERVAL", 0.05)
    queue, task = waiting
    await queue.trials("a", "b", trials=2)
    await queue.admit("b")
    await queue.refuse("a")
    await told.until("its workload is deactivated")
    await queue.trials("a", trials=2, trialsSucceeded=1)
    await told.until("QUEUED (Running): 1 of 4 trials succeeded")
    await queue.trials("a", "c", trials=3, trialsSucceeded=1)
    await queue.admit("c")
    await told.until("RUNNING (Running): 1 of 4 trials succeeded")
    await queue.trials("a", trials=3, trialsSucceeded=2)
    await told.until("QUEUED (Running): 2 of 4 trials succeeded")
    assert not task.done()
    # Now the algorithm waits for the one that never ends.
    monkeypatch.setattr(experiment_module, "STALLED_SECONDS", 0.2)
    outcome = await asyncio.wait_for(task, 20)
    assert outcome.expired == "queue"
    said = (
        r"\(DeactivatedDueToAdmissionCheck\): 2 of 4 trials succeeded; trial .*-a: .* Katib makes no other trial meanw"
    )
    with pytest.raises(NotAdmittedError, match=said):
        await finish(airflow, KIND.resource, outcome, on_finish="keep", log=told)


async def test_whoever_is_activated_again_waits_for_quota(waiting, told):
    queue, task = waiting
    await queue.trials("a", "b", trials=2)
    await queue.refuse("a")
    await queue.admit("b")
    await told.until(f"trial {queue.ref.name}-a: its workload is deactivated")
    await queue.workload("a", GIVEN_UP, AGAIN)
    await queue.refuse("b")
    await told.until(f"QUEUED (Running): 0 of 4 trials succeeded; trial {queue.ref.name}-a: waits for Kueue; trial")
    assert (await ended(queue, task)).verdict.phase is Phase.SUCCEEDED
