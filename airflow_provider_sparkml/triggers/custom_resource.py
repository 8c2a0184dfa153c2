"""The triggers of custom resources: of any kind, read by rules that the trigger carries with it."""

from __future__ import annotations

from typing import Any

from airflow_provider_sparkml.resources.custom import Rules
from airflow_provider_sparkml.triggers.job import JobTrigger
from airflow_provider_sparkml.triggers.sensor import JobSensorTrigger


class CustomResourceTrigger(JobTrigger):
    """Waits for the custom resource that its task has created.

    :param rules: the kind and when it has ended, as ``Rules.to_json`` gives it.
    """

    def __init__(self, *, rules: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rules = rules
        self.resource = Rules.from_json(rules).resource()

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments that rebuild this trigger."""
        path, arguments = super().serialize()
        return path, {**arguments, "rules": self.rules}


class CustomResourceSensorTrigger(JobSensorTrigger):
    """Waits until a custom resource of a name exists and has ended.

    :param rules: the kind and when it has ended, as ``Rules.to_json`` gives it.
    """

    def __init__(self, *, rules: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rules = rules
        self.resource = Rules.from_json(rules).resource()

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments that rebuild this trigger."""
        path, arguments = super().serialize()
        return path, {**arguments, "rules": self.rules}


__all__ = ["CustomResourceSensorTrigger", "CustomResourceTrigger"]
