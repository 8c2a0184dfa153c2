"""The controller of the Apache Spark operator's SparkApplications, with the genuine spark-submit underneath.

Follows ``SparkAppReconciler`` of apache/spark-kubernetes-operator 1.0, which makes driver pods by Spark's own classes;
spark-submit makes the same ones. An application is never submitted twice: a driver pod of its attempt is adopted.
"""

from __future__ import annotations

import asyncio
import copy
import logging
from collections.abc import Iterable
from pathlib import Path

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.exceptions import InvalidManifestError, LocalClusterError, NotFoundError
from airflow_provider_sparkml.local.controllers import apache_spark_state as states
from airflow_provider_sparkml.local.controllers.runtime import Controller, Key, Source, controller_of, owner_reference
from airflow_provider_sparkml.local.controllers.spark_properties import LOCAL_DEFAULTS, Target, authentication
from airflow_provider_sparkml.local.controllers.spark_state import utc_now
from airflow_provider_sparkml.local.controllers.spark_submission import Submission, Submitter
from airflow_provider_sparkml.local.controllers.spark_templates import EXECUTOR_CONTAINER
from airflow_provider_sparkml.resources.base import Manifest
from airflow_provider_sparkml.resources.core import POD
from airflow_provider_sparkml.resources.replicas import containers_of, part_of
from airflow_provider_sparkml.resources.spark_apache import (
    API,
    APP_NAME,
    ENDS,
    application_id,
    driver_container,
    driver_pod,
    state_of,
)

log = logging.getLogger(__name__)

NAME = "apache-spark-application-controller"
PARALLEL_SUBMISSIONS = 2  # each is a JVM of its own, busy for seconds
GONE_RETRY_SECONDS = 0.3
PYTHON_RUNNER = "org.apache.spark.deploy.PythonRunner"


def apache_spark_controller(client: KubernetesClient, submitter: Submitter) -> Controller:
    """Return the controller.

    :param client: the API server.
    :param submitter: runs spark-submit.
    """
    sources = [Source(API), Source(POD, _application_of)]
    return Controller(NAME, client, sources, ApacheSparkReconciler(client, submitter).reconcile, workers=16)


class ApacheSparkReconciler:
    """Takes applications from state to state; see :func:`apache_spark_controller`."""

    def __init__(self, client: KubernetesClient, submitter: Submitter) -> None:
        self._client = client
        self._submitter = submitter
        self._submissions = asyncio.Semaphore(PARALLEL_SUBMISSIONS)

    async def reconcile(self, namespace: str, name: str) -> float | None:
        """Take an application one step on; see :data:`~.runtime.Reconcile`."""
        try:
            app = await self._client.get(API, name, namespace)
        except NotFoundError:
            return None
        # What is being deleted takes its pods with it.
        return None if app["metadata"].get("deletionTimestamp") else await self._step(app)

    async def _step(self, app: Manifest) -> float | None:
        state, moment = state_of(app), utc_now()
        if state == states.NEW:
            await self._write(app, states.enter(app, "Submitted", moment))
            return None
        if state in states.INITIAL:
            wait = states.seconds_to_restart(app, moment)
            return wait if wait > 0 else await self._request(app)
        if state in states.STOPPING:
            return await self._stop(app)
        if state in ENDS:
            return await self._outlive(app)
        return await self._observe(app)

    async def _observe(self, app: Manifest) -> float | None:
        """Bring the status up to what the pods say."""
        changed = states.observe(app, await self._driver(app), await self._ready_executors(app), utc_now())
        if changed is None:
            return states.seconds_left(app, utc_now())
        await self._write(app, changed)
        return None

    async def _request(self, app: Manifest) -> float | None:
        """Submit the application, unless the driver of this attempt is there already."""
        pod = await self._driver(app)
        try:
            if pod is None:
                await self._submit(app)
            elif pod["metadata"].get("deletionTimestamp"):
                return GONE_RETRY_SECONDS  # of the attempt before, where the pod's name is the author's
        except (LocalClusterError, InvalidManifestError) as error:
            text = f"Failed to request driver from scheduler backend. StackTrace: {error}"
            await self._write(app, states.enter(app, "SchedulingFailure", utc_now(), text))
        else:
            await self._write(app, states.enter(app, "DriverRequested", utc_now()))
        return None

    async def _submit(self, app: Manifest) -> None:
        def progress(line: str) -> None:
            log.info("installing Spark: %s", line)

        target = self._submitter.target
        async with self._submissions:
            await self._submitter.run(
                Submission(
                    properties=lambda templates: submission_properties(app, target, templates),
                    template=lambda role: pod_template(app, role),
                    arguments=lambda properties: submission_arguments(app, properties, target),
                ),
                progress=progress,
            )

    async def _stop(self, app: Manifest) -> float | None:
        """Decide between another attempt and the end; the driver goes before, unless it is to be kept."""
        status, released = states.conclude(app, utc_now())
        pod = await self._driver(app) if released else None
        if pod is not None:
            meta = pod["metadata"]
            await self._client.delete(POD, meta["name"], meta["namespace"], propagation="Background", uid=meta["uid"])
        await self._write(app, status)
        return None

    async def _outlive(self, app: Manifest) -> float | None:
        """Delete the ended application when its time is up."""
        left, meta = states.seconds_to_live(app, utc_now()), app["metadata"]
        if left is not None and left <= 0:
            await self._client.delete(API, meta["name"], meta["namespace"], propagation="Background", uid=meta["uid"])
            return None
        return left

    async def _write(self, app: Manifest, status: states.Status) -> None:
        """Store the status; somebody else's change meanwhile is a conflict: look anew."""
        namespace = app["metadata"]["namespace"]
        await self._client.replace(API, {**app, "status": status}, namespace, subresource="status")

    async def _driver(self, app: Manifest) -> Manifest | None:
        try:
            pod = await self._client.get(POD, driver_pod(app), app["metadata"]["namespace"])
        except NotFoundError:
            return None
        owner = controller_of(pod)
        return pod if owner is not None and owner["uid"] == app["metadata"]["uid"] else None

    async def _ready_executors(self, app: Manifest) -> int:
        selector = f"{APP_NAME}={app['metadata']['name']},spark-role=executor"
        pods = (await self._client.list(POD, app["metadata"]["namespace"], label_selector=selector)).items
        return sum((pod.get("status") or {}).get("phase") == "Running" for pod in pods)


def submission_properties(app: Manifest, target: Target, templates: dict[str, Path]) -> dict[str, str]:
    """Return all Spark properties of a submission; see ``SparkAppSubmissionWorker.buildDriverConf``.

    :raises InvalidManifestError: it is for another master, which spark-submit in cluster mode cannot do.
    """
    name, version = app["metadata"]["name"], app["spec"]["runtimeVersions"]["sparkVersion"]
    stated = {key: str(value) for key, value in part_of(app, "spec", "sparkConf").items()}
    if not stated.get("spark.master", "k8s").startswith("k8s"):
        raise InvalidManifestError(
            f"spec.sparkConf['spark.master'] is {stated['spark.master']!r}: the local cluster runs applications on "
            "pods of their own only; leave it out, or run spark-submit in a pod"
        )
    for key, value in stated.items():
        if key.startswith("spark.kubernetes.") and key.endswith("container.image"):
            stated[key] = value.replace("{{SPARK_VERSION}}", version)
    properties = {
        **LOCAL_DEFAULTS,
        **authentication(target),
        "spark.app.id": application_id(app),
        "spark.kubernetes.executor.deleteOnTermination": "false",
        **stated,
        "spark.kubernetes.namespace": app["metadata"]["namespace"],
        "spark.kubernetes.submission.waitAppCompletion": "false",
        "spark.kubernetes.driver.master": target.server,
        "spark.kubernetes.driver.pod.name": driver_pod(app),
    }
    for role, container in (("driver", driver_container(app)), ("executor", EXECUTOR_CONTAINER)):
        properties[f"spark.kubernetes.{role}.label.{APP_NAME}"] = name
        properties[f"spark.kubernetes.{role}.podTemplateFile"] = str(templates[role])
        properties.setdefault(f"spark.kubernetes.{role}.podTemplateContainerName", container)
    return properties


def submission_arguments(app: Manifest, properties_file: Path, target: Target) -> list[str]:
    """Return spark-submit's arguments."""
    spec = app["spec"]
    program, further = spec.get("jars") or "", ""
    main_class = spec.get("mainClass") or ""
    if not program and main_class == PYTHON_RUNNER:
        (program, _, further), main_class = spec.get("pyFiles", "").partition(","), ""
    program = program or spec.get("pyFiles") or spec.get("sparkRFiles") or "spark-internal"
    arguments = ["--master", f"k8s://{target.server}", "--deploy-mode", "cluster", "--name", app["metadata"]["name"]]
    arguments += ["--properties-file", str(properties_file)]
    for option, value in (
        ("--class", main_class),
        ("--py-files", further),
        ("--files", spec.get("files")),
        ("--proxy-user", spec.get("proxyUser")),
    ):
        if value:
            arguments += [option, value]
    return [*arguments, program, *map(str, spec.get("driverArgs") or ())]


def pod_template(app: Manifest, role: str) -> Manifest:
    """Return the pod template of a role; the driver pod belongs to the application, executors to their driver."""
    template: Manifest = copy.deepcopy(part_of(app, "spec", f"{role}Spec", "podTemplateSpec"))
    template |= {"apiVersion": "v1", "kind": "Pod"}
    metadata, pod = template.setdefault("metadata", {}), template.setdefault("spec", {})
    if role == "driver":
        metadata["ownerReferences"] = [owner_reference(app)]
    # Servers in the pod, as the Spark UI, listen on the pod's own address: pods of one machine share all others.
    address = {"name": "SPARK_LOCAL_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    wanted = driver_container(app) if role == "driver" else EXECUTOR_CONTAINER
    containers = containers_of(template)
    if not containers:
        containers = [{"name": wanted}]
        pod["containers"] = containers
    main = next((each for each in containers if each.get("name") == wanted), containers[0])
    main["env"] = [address, *(main.get("env") or [])]
    return template


def _application_of(pod: Manifest) -> Iterable[Key]:
    """Yield the key of the application that a pod is of."""
    name = (pod["metadata"].get("labels") or {}).get(APP_NAME)
    if name:
        yield pod["metadata"]["namespace"], name


__all__ = ["ApacheSparkReconciler", "apache_spark_controller"]
