"""Objects as Spark and its operator make them, for tests of what is left of an application."""

from __future__ import annotations

import hashlib
import itertools
from typing import Any

from airflow_provider_sparkml.resources import istio_routes, naming
from airflow_provider_sparkml.resources.base import ApiResource, Manifest
from airflow_provider_sparkml.resources.core import CONFIG_MAP, PERSISTENT_VOLUME_CLAIM, POD, SERVICE
from airflow_provider_sparkml.resources.leftovers import (
    APP_ID,
    APP_NAME,
    APPLICATION,
    CREATED_BY_OPERATOR,
    DISRUPTION_BUDGET,
    INGRESS,
    NETWORK_POLICY,
    SCHEDULER_POD_GROUP,
    VOLCANO_POD_GROUP,
)
from airflow_provider_sparkml.resources.naming import TaskIdentity

NAMESPACE = "data"
LONG_AGO = "2026-01-01T00:00:00Z"
IDENTITY = TaskIdentity("http://airflow", "dag", "task", "run-1", -1, 1, 0)
_SPECS: dict[str, dict[str, Any]] = {
    "Pod": {"containers": [{"name": "c", "image": "i"}]},
    "Service": {"ports": [{"port": 4040}]},
    "Ingress": {"rules": [{"host": "h.example.com"}]},
    "PersistentVolumeClaim": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    "NetworkPolicy": {"podSelector": {}, "policyTypes": ["Ingress"]},
    "PodDisruptionBudget": {"minAvailable": 1},
}
_uids = itertools.count(1)

Made = tuple[ApiResource, Manifest]


def thing(api: ApiResource, name: str, *owners: Manifest, **labels: str) -> Made:
    """Return an object with owners; ``spark_app_selector=…`` stands for the label of that name."""
    spelled = {"app_id": APP_ID, "app_name": APP_NAME, "managed_by": naming.MANAGED_BY}
    references = [
        {
            "apiVersion": owner["apiVersion"],
            "kind": owner["kind"],
            "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"],
        }
        for owner in owners
    ]
    manifest: Manifest = {
        "apiVersion": api.api_version,
        "kind": api.kind,
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "uid": f"uid-{next(_uids)}",
            "creationTimestamp": LONG_AGO,
            "labels": {spelled.get(key, key): value for key, value in labels.items()},
            "ownerReferences": references,
        },
    }
    if api.kind in _SPECS:
        manifest["spec"] = dict(_SPECS[api.kind])
    return api, manifest


def application(name: str, state: str = "COMPLETED", app_id: str = "", identity: TaskIdentity | None = None) -> Made:
    """Return a SparkApplication, with the marks of a task or without."""
    api, app = thing(APPLICATION, name)
    app["spec"] = {
        "type": "Python",
        "mode": "cluster",
        "sparkVersion": "4.0.1",
        "image": "i",
        "mainApplicationFile": "local:///a.py",
        "driver": {},
        "executor": {},
    }
    if identity is not None:
        app["metadata"]["labels"] = naming.job_labels(identity, 1)
        app["metadata"]["annotations"] = naming.job_annotations(identity)
    app["status"] = {"applicationState": {"state": state}, "driverInfo": {}}
    if state in ("COMPLETED", "FAILED"):
        app["status"]["terminationTime"] = LONG_AGO
    if app_id:
        app["status"]["sparkApplicationId"] = app_id
    return api, app


def whole(name: str, app_id: str, state: str = "COMPLETED", identity: TaskIdentity | None = None) -> list[Made]:
    """Return an application and all that Spark, its operator and a scheduler can make for it, with owners and labels.

    As of semantics of kubeflow/spark-operator v2.5 (``web_ui.go``, ``driveringress.go``, ``monitoring_config.go``,
    ``driver_pdb.go``, ``scheduler/``) and Spark 4.2 (``DriverServiceFeatureStep``, ``KubernetesClientUtils``).
    """
    api, app = application(name, state, app_id, identity)
    passed = dict(app["metadata"]["labels"])
    pod_labels = {APP_NAME: name, APP_ID: app_id, **passed}
    _, driver = thing(POD, f"{name}-driver", app, **{**pod_labels, "spark-role": "driver"})
    driver["status"] = {"phase": {"COMPLETED": "Succeeded", "FAILED": "Failed"}.get(state, "Running")}
    prefix, digest = f"{name}-0123456789abcdef", hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()[:16]
    objects = [
        (api, app),
        (POD, driver),
        *(thing(POD, f"{prefix}-exec-{n}", driver, app, **{**pod_labels, "spark-role": "executor"}) for n in (1, 2)),
        thing(SERVICE, f"{prefix}-driver-svc", driver, app_id=app_id),
        thing(CONFIG_MAP, f"spark-drv-{digest}-conf-map", driver),
        thing(CONFIG_MAP, f"spark-exec-{digest}-conf-map", driver, **{APP_ID: app_id, "spark-role": "executor"}),
        thing(PERSISTENT_VOLUME_CLAIM, f"{prefix}-exec-1-pvc-0", driver, app_id=app_id),
        thing(NETWORK_POLICY, f"{prefix}-policy", driver, app_id=app_id),
        thing(SERVICE, f"{name}-ui-svc", app, team="a"),  # sparkUIOptions.serviceLabels replaced the operator's
        thing(INGRESS, f"{name}-ui-ingress", app, app_name=name),
        thing(CONFIG_MAP, f"{name}-prom-conf", app, **{CREATED_BY_OPERATOR: "true"}),
        thing(DISRUPTION_BUDGET, f"{name}-driver", app, app_name=name),
        thing(VOLCANO_POD_GROUP, f"spark-{name}-pg", app),
        thing(SCHEDULER_POD_GROUP, f"{name}-pg", app),
    ]
    for kind, made in objects:
        if kind is SERVICE and made["metadata"]["name"].endswith("-ui-svc"):
            made["spec"] = {**made["spec"], "selector": {APP_NAME: name, "spark-role": "driver"}}
        if kind is CONFIG_MAP and "-drv-" in made["metadata"]["name"]:
            made["data"] = {"spark.properties": f"a=b\nspark.kubernetes.driver.label.{APP_NAME}={name}\nc=d\n"}
    return objects


def orphaned(objects: list[Made]) -> list[Made]:
    """Return the objects as they are left when their application was deleted with ``propagationPolicy: Orphan``."""
    for _, made in objects:
        made["metadata"]["ownerReferences"] = []
    return objects[1:]


def route(*hosts: str, name: str = "route", **labels: str) -> Made:
    """Return a VirtualService that sends to these hosts."""
    api, made = thing(istio_routes.VIRTUAL_SERVICE, name, **labels)
    made["spec"] = {
        "hosts": ["h.example.com"],
        "http": [{"route": [{"destination": {"host": host}} for host in hosts]}],
    }
    return api, made


def by_type(objects: list[Made]) -> dict[ApiResource, list[Manifest]]:
    """Return the objects as lists of the API server's are."""
    found: dict[ApiResource, list[Manifest]] = {}
    for api, made in objects:
        found.setdefault(api, []).append(made)
    return found
