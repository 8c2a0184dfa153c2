"""Which Services an Istio object routes to. Pure.

Fields: ``networking/v1`` of istio/api; host names: https://istio.io/latest/docs/reference/config/networking/virtual-service/
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from typing import Any

from airflow_provider_sparkml.resources.base import ApiResource, Manifest

# v1 came with Istio 1.22 only; v1beta1 is served by all.
VIRTUAL_SERVICE = ApiResource("networking.istio.io", "v1beta1", "virtualservices", "VirtualService")
DESTINATION_RULE = ApiResource("networking.istio.io", "v1beta1", "destinationrules", "DestinationRule")
SERVICE_ENTRY = ApiResource("networking.istio.io", "v1beta1", "serviceentries", "ServiceEntry")

TYPES = (VIRTUAL_SERVICE, DESTINATION_RULE, SERVICE_ENTRY)

_DRIVER_SERVICE = re.compile(r"-[0-9a-f]{16}-driver-svc")


def services_of(api: ApiResource, obj: Manifest) -> frozenset[str]:
    """Return the names of the Services of its own namespace to which an object routes.

    Empty if it does anything else as well: it is not dead then when these Services are gone.
    """
    spec, namespace = obj.get("spec") or {}, obj["metadata"].get("namespace", "")
    if api == VIRTUAL_SERVICE:
        hosts = list(_destinations(spec))
    elif api == DESTINATION_RULE:
        hosts = [spec.get("host")]
    else:
        hosts = list(spec.get("hosts") or ())
    services = [service_of(host, namespace) for host in hosts]
    return frozenset(name for name in services if name) if all(services) else frozenset()


def service_of(host: Any, namespace: str) -> str:
    """Return the Service of a namespace that a host name means there; empty if it means anything else.

    :param host: ``<svc>``, ``<svc>.<namespace>``, or ``<svc>.<namespace>.svc`` with or without the cluster's domain.
    """
    name, _, rest = str(host or "").partition(".")
    place, _, domain = rest.partition(".")
    is_local = not rest or (place == namespace and (not domain or domain == "svc" or domain.startswith("svc.")))
    return name if is_local and name != "*" else ""


def is_spark_service(name: str, applications: AbstractSet[str]) -> bool:
    """Whether a Service's name is one that the operator or Spark gives for one of these applications."""
    if name.endswith("-ui-svc"):
        return name.removesuffix("-ui-svc") in applications
    match = _DRIVER_SERVICE.search(name)
    return match is not None and match.end() == len(name) and name[: match.start()] in applications


def _destinations(spec: Manifest) -> Iterator[Any]:
    """Yield every host to which a VirtualService sends; ``None`` for a delegate, a redirect or an answer of its own."""
    for route in spec.get("http") or ():
        for other in ("delegate", "redirect", "directResponse"):
            if route.get(other):
                yield None
        mirrors = [route.get("mirror") or {}, *(each.get("destination") or {} for each in route.get("mirrors") or ())]
        yield from (mirror["host"] for mirror in mirrors if mirror.get("host"))
    for protocol in ("http", "tcp", "tls"):
        for route in spec.get(protocol) or ():
            yield from ((each.get("destination") or {}).get("host") for each in route.get("route") or ())


__all__ = [
    "DESTINATION_RULE",
    "SERVICE_ENTRY",
    "TYPES",
    "VIRTUAL_SERVICE",
    "is_spark_service",
    "service_of",
    "services_of",
]
