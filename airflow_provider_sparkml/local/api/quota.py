"""ResourceQuota: what a namespace uses, whether one more object fits, and the usage shown in the quota's status.

The rules are those of kubernetes' ``pkg/quota``: pods that have ended use nothing but their ``count/pods``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from decimal import Decimal

from airflow_provider_sparkml.local.api.cluster import Cluster
from airflow_provider_sparkml.local.api.status import forbidden
from airflow_provider_sparkml.local.api.storing import save
from airflow_provider_sparkml.local.api.types import ResourceType, dig
from airflow_provider_sparkml.resources.base import Manifest
from airflow_provider_sparkml.resources.quantities import parse_quantity

STORAGE = "/resourcequotas"

Usage = dict[str, Decimal]
"""Resource as quotas name it → amount."""

_COUNTED = frozenset({"configmaps", "persistentvolumeclaims", "resourcequotas", "secrets", "services"})
"""Core types that quotas also count by their bare name."""
_BINARY = (("Ti", 2**40), ("Gi", 2**30), ("Mi", 2**20), ("Ki", 2**10))
_COMPUTE = ("requests.cpu", "requests.memory", "limits.cpu", "limits.memory")
_SHORT = {"cpu": "requests.cpu", "memory": "requests.memory"}


def usage_of(kind: ResourceType, obj: Manifest) -> Usage:
    """Return what one object uses."""
    api = kind.api
    usage: Usage = {f"count/{api.full_name}": Decimal(1)}
    if api.group:
        return usage
    if api.plural in _COUNTED:
        usage[api.plural] = Decimal(1)
    if api.plural == "pods" and dig(obj, "status.phase") not in ("Succeeded", "Failed"):
        usage |= _pod_usage(obj)
    if api.plural == "persistentvolumeclaims":
        usage["requests.storage"] = _amount(dig(obj, "spec.resources.requests.storage") or "0")
    if api.plural == "services" and dig(obj, "spec.type") in ("NodePort", "LoadBalancer"):
        usage["services.nodeports"] = Decimal(len(dig(obj, "spec.ports") or ()))
        if dig(obj, "spec.type") == "LoadBalancer":
            usage["services.loadbalancers"] = Decimal(1)
    return usage


def _pod_usage(pod: Manifest) -> Usage:
    """Return a pod's requests and limits: those of its containers together, or of its largest init container."""
    usage: Usage = {"pods": Decimal(1)}
    for part in ("requests", "limits"):
        together: Usage = defaultdict(Decimal)
        for container in pod["spec"].get("containers") or ():
            for name, text in (dig(container, f"resources.{part}") or {}).items():
                together[name] += _amount(text)
        for container in pod["spec"].get("initContainers") or ():
            for name, text in (dig(container, f"resources.{part}") or {}).items():
                together[name] = max(together[name], _amount(text))
        usage |= {f"{part}.{name}": amount for name, amount in together.items()}
    usage |= {short: usage[full] for short, full in _SHORT.items() if full in usage}
    return usage


def _amount(text: object) -> Decimal:
    return parse_quantity(str(text), "quantity")


def used_in(cluster: Cluster, namespace: str, names: Iterable[str]) -> Usage:
    """Return what a namespace uses of some resources."""
    wanted = set(names)
    used: Usage = dict.fromkeys(wanted, Decimal(0))
    for kind in cluster.registry.stored():
        if not kind.api.namespaced or not wanted & _resources_of(kind):
            continue
        for record in cluster.store.select(kind.storage, namespace):
            for name, amount in usage_of(kind, record.load()).items():
                if name in wanted:
                    used[name] += amount
    return used


def _resources_of(kind: ResourceType) -> set[str]:
    """Return the resources that objects of a type can use, so that other types need not be read."""
    names = {f"count/{kind.api.full_name}"}
    if kind.api.group:
        return names
    names.add(kind.api.plural)
    if kind.api.plural == "pods":
        names |= {*_COMPUTE, *_SHORT, "requests.ephemeral-storage", "limits.ephemeral-storage"}
    if kind.api.plural == "persistentvolumeclaims":
        names.add("requests.storage")
    if kind.api.plural == "services":
        names |= {"services.nodeports", "services.loadbalancers"}
    return names


def check_quota(cluster: Cluster, kind: ResourceType, obj: Manifest, old: Manifest | None) -> None:
    """Refuse an object that the namespace has no room for.

    :param old: what it replaces: only what is asked for on top counts.
    :raises StatusError: 403, in the words of a real server.
    """
    meta = obj["metadata"]
    quotas = cluster.store.select(STORAGE, meta["namespace"])
    if not quotas:
        return
    before = usage_of(kind, old) if old else {}
    wanted = {name: amount - before.get(name, 0) for name, amount in usage_of(kind, obj).items()}
    for record in quotas:
        quota = record.load()
        name = quota["metadata"]["name"]
        hard = {each: _amount(text) for each, text in (dig(quota, "spec.hard") or {}).items()}
        if old is None and kind.api.plural == "pods" and not kind.api.group:
            _check_specified(kind, obj, name, hard)
        asked = {each: amount for each, amount in wanted.items() if each in hard and amount > 0}
        used = used_in(cluster, meta["namespace"], asked) if asked else {}
        exceeded = sorted(each for each, amount in asked.items() if used[each] + amount > hard[each])
        if exceeded:
            texts = [
                ",".join(f"{each}={format_amount(each, amounts[each])}" for each in exceeded)
                for amounts in (asked, used, hard)
            ]
            what = f"exceeded quota: {name}, requested: {texts[0]}, used: {texts[1]}, limited: {texts[2]}"
            raise forbidden(kind.api, meta["name"], what)


def _check_specified(kind: ResourceType, pod: Manifest, quota: str, hard: Usage) -> None:
    """Refuse a pod that does not say what it asks for, where a quota limits that."""
    missing: dict[str, list[str]] = {}
    for name in sorted(hard):
        part, _, resource = _SHORT.get(name, name).partition(".")
        if part not in ("requests", "limits") or resource not in ("cpu", "memory"):
            continue
        lacking = [
            container["name"]
            for container in pod["spec"]["containers"]
            if resource not in (dig(container, f"resources.{part}") or {})
        ]
        if lacking:
            missing[name] = lacking
    if missing:
        texts = "; ".join(f"{name} for: {','.join(containers)}" for name, containers in missing.items())
        raise forbidden(kind.api, pod["metadata"]["name"], f"failed quota: {quota}: must specify {texts}")


def format_amount(resource: str, amount: Decimal) -> str:
    """Return an amount as Kubernetes writes it: cores in thousandths, bytes in powers of 1024, anything else plain."""
    if resource.endswith(("memory", "storage")):
        for unit, size in _BINARY:
            if amount and amount % size == 0:
                return f"{int(amount / size)}{unit}"
    if amount == amount.to_integral_value():
        return str(int(amount))
    return f"{int(amount * 1000)}m"


def show_usage(cluster: Cluster) -> Callable[[ResourceType, Manifest, bool], None]:
    """Return what keeps the status of the quotas in step with what is used."""

    def changed(kind: ResourceType, obj: Manifest, deleted: bool) -> None:
        namespace = obj["metadata"].get("namespace", "")
        quotas = cluster.store.select(STORAGE, namespace) if namespace else []
        types = {kind.storage: kind for kind in cluster.registry.stored()} if quotas else {}
        for record in quotas:
            quota = record.load()
            hard = dig(quota, "spec.hard") or {}
            if kind.storage != STORAGE and not hard.keys() & _resources_of(kind):
                continue
            used = used_in(cluster, namespace, hard)
            shown = {name: format_amount(name, amount) for name, amount in sorted(used.items())}
            status = {"hard": hard, "used": shown}
            if quota.get("status") != status:
                save(cluster, types[STORAGE], quota | {"status": status})

    return changed
