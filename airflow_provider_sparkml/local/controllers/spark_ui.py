"""The service of a Spark application's web UI. Pure."""

from __future__ import annotations

import hashlib

from airflow_provider_sparkml.local.controllers.runtime import owner_reference
from airflow_provider_sparkml.local.controllers.spark_properties import APP_NAME
from airflow_provider_sparkml.resources.base import Manifest
from airflow_provider_sparkml.resources.spark import UI_PORT


def ui_service_name(app: Manifest) -> str:
    """Return the name of the Spark UI's service: ``<app>-ui-svc``, shortened to 63 characters with a hash."""
    name = f"{app['metadata']['name']}-ui-svc"
    if len(name) <= 63:
        return name
    digest = hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()[:8]
    return f"{app['metadata']['name'][: 63 - len('ui-svc') - 10]}-{digest}-ui-svc"


def ui_service(app: Manifest) -> Manifest:
    """Return the service of the Spark UI."""
    spec, options = app["spec"], app["spec"].get("sparkUIOptions") or {}
    target = int((spec.get("sparkConf") or {}).get("spark.ui.port", UI_PORT))
    port = {
        "name": options.get("servicePortName", "spark-driver-ui-port"),
        "port": options.get("servicePort", UI_PORT if options else target),
        "targetPort": target,
    }
    labels = {APP_NAME: app["metadata"]["name"]}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": ui_service_name(app),
            "labels": options.get("serviceLabels") or labels,
            "annotations": options.get("serviceAnnotations") or {},
            "ownerReferences": [owner_reference(app)],
        },
        "spec": {
            "type": options.get("serviceType", "ClusterIP"),
            "selector": labels | {"spark-role": "driver"},
            "ports": [port],
        },
    }
