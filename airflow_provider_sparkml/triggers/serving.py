"""The trigger that waits until an InferenceService serves."""

from __future__ import annotations

from airflow_provider_sparkml.resources.serving import INFERENCE_SERVICE
from airflow_provider_sparkml.triggers.job import JobTrigger, Waiter


class InferenceServiceTrigger(JobTrigger):
    """Waits until the version last applied serves, or cannot."""

    resource = INFERENCE_SERVICE

    def waiter(self) -> Waiter:
        """Return the wait for a rollout."""
        from airflow_provider_sparkml.jobs.rollout import wait_for_rollout

        return wait_for_rollout


__all__ = ["InferenceServiceTrigger"]
