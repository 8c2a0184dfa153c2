"""What a pod asks of its node. Pure."""

from __future__ import annotations

from decimal import Decimal

from airflow_provider_sparkml.resources.base import Manifest
from airflow_provider_sparkml.resources.quantities import parse_quantity


def pod_requests(pod: Manifest) -> dict[str, Decimal]:
    """Return what the scheduler keeps free for a pod: the sum over containers, or one init container if that is more.

    A limit without a request is a request. https://kubernetes.io/docs/concepts/workloads/pods/init-containers/
    """
    total: dict[str, Decimal] = {}
    for container in pod["spec"].get("containers", ()):
        for name, amount in _requests(container).items():
            total[name] = total.get(name, Decimal(0)) + amount
    for container in pod["spec"].get("initContainers") or ():
        for name, amount in _requests(container).items():
            total[name] = max(total.get(name, Decimal(0)), amount)
    return total


def memory_limit(container: Manifest) -> int | None:
    """Return a container's memory limit in bytes, or ``None``."""
    limit = ((container.get("resources") or {}).get("limits") or {}).get("memory")
    return None if limit is None else int(parse_quantity(str(limit), "resources.limits.memory"))


def _requests(container: Manifest) -> dict[str, Decimal]:
    resources = container.get("resources") or {}
    asked = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
    return {name: parse_quantity(str(amount), f"resources.requests.{name}") for name, amount in asked.items()}
