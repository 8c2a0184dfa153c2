"""Schemas of the Apache Spark operator's kinds, which no Python package has models of.

Fields, enumerations and defaults as in ``spark-operator-api`` of apache/spark-kubernetes-operator 1.0; pod templates
are those of Kubernetes itself.
"""

from __future__ import annotations

from airflow_provider_sparkml.local.api.types import Schema

_TEXT: Schema = {"type": "string"}
_COUNT: Schema = {"type": "integer"}
_ANY: Schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
_FOREVER: Schema = _COUNT | {"default": -1}
STATES = (
    "DriverEvicted", "DriverReady", "DriverReadyTimedOut", "DriverRequested", "DriverStartTimedOut", "DriverStarted",
    "ExecutorsStartTimedOut", "Failed", "InitializedBelowThresholdExecutors", "ResourceReleased", "RunningHealthy",
    "RunningWithBelowThresholdExecutors", "RunningWithPartialCapacity", "ScheduledToRestart", "SchedulingFailure",
    "Submitted", "Succeeded", "TerminatedWithoutReleaseResources",
)  # fmt: skip


def _object(*required: str, **properties: Schema) -> Schema:
    schema: Schema = {"type": "object", "properties": properties}
    return schema | {"required": sorted(required)} if required else schema


def _map(value: Schema) -> Schema:
    return {"type": "object", "additionalProperties": value}


def _list(item: Schema) -> Schema:
    return {"type": "array", "items": item}


def _one_of(*words: str) -> Schema:
    return {"type": "string", "enum": list(words)}


_RESTART = _object(
    maxRestartAttempts=_COUNT,
    maxRestartOnFailure=_COUNT,
    maxRestartOnSchedulingFailure=_COUNT,
    restartBackoffMillis=_COUNT,
    restartBackoffMillisForFailure=_COUNT,
    restartBackoffMillisForSchedulingFailure=_COUNT,
    restartCounterResetMillis=_FOREVER,
    restartPolicy=_one_of("Always", "Never", "OnFailure", "OnInfrastructureFailure"),
)
_TOLERATIONS = _object(
    applicationTimeoutConfig=_object(
        driverReadyTimeoutMillis=_COUNT,
        driverStartTimeoutMillis=_COUNT,
        executorStartTimeoutMillis=_COUNT,
        forceTerminationGracePeriodMillis=_COUNT,
        terminationRequeuePeriodMillis=_COUNT,
    ),
    instanceConfig=_object(initExecutors=_COUNT, maxExecutors=_COUNT, minExecutors=_COUNT),
    resourceRetainDurationMillis=_FOREVER,
    resourceRetainPolicy=_one_of("Always", "Never", "OnFailure"),
    restartConfig=_RESTART,
    ttlAfterStopMillis=_FOREVER,
)
_VERSIONS = _object("sparkVersion", jdkVersion=_TEXT, scalaVersion=_TEXT, sparkVersion=_TEXT)
_ATTEMPT = _object(
    attemptInfo=_object(
        failureRestartCounter=_COUNT, id=_COUNT, restartCounter=_COUNT, schedulingFailureRestartCounter=_COUNT
    ),
    stateTransitionHistory=_map(_ANY),
)


_CLUSTER_STATES = ("Failed", "ResourceReleased", "RunningHealthy", "SchedulingFailure", "Submitted")


def spark_cluster(template: Schema) -> Schema:
    """Return the schema of a SparkCluster.

    :param template: schema of a PodTemplateSpec; of a StatefulSet's other fields none is looked into.
    """
    workload = _ANY | {"properties": {"template": template}}
    role = {"serviceMetadata": _ANY, "serviceSpec": _ANY, "statefulSetMetadata": _ANY, "statefulSetSpec": workload}
    instances = _object(
        "initWorkers", "maxWorkers", "minWorkers", initWorkers=_COUNT, maxWorkers=_COUNT, minWorkers=_COUNT
    )
    spec = _object(
        "clusterTolerations",
        "runtimeVersions",
        clusterTolerations=_object("instanceConfig", instanceConfig=instances),
        masterSpec=_object(**role),
        runtimeVersions=_VERSIONS,
        sparkConf=_map(_TEXT),
        workerSpec=_object(horizontalPodAutoscalerSpec=_ANY, **role),
    )
    state = _object(currentStateSummary=_one_of(*_CLUSTER_STATES), lastTransitionTime=_TEXT, message=_TEXT)
    status = _object(
        currentAttemptSummary=_ATTEMPT,
        currentState=state,
        previousAttemptSummary=_ATTEMPT,
        stateTransitionHistory=_map(state),
    )
    return _object(apiVersion=_TEXT, kind=_TEXT, metadata=_ANY, spec=spec, status=status)


def apache_spark_application(template: Schema) -> Schema:
    """Return the schema of a SparkApplication.

    :param template: schema of a PodTemplateSpec.
    """
    state = _object(
        currentStateSummary=_one_of(*STATES), lastObservedDriverStatus=_ANY, lastTransitionTime=_TEXT, message=_TEXT
    )
    maps = _list(_object("name", annotations=_map(_TEXT), data=_map(_TEXT), labels=_map(_TEXT), name=_TEXT))
    spec = _object(
        "runtimeVersions",
        applicationTolerations=_TOLERATIONS,
        configMapSpecs=maps,
        deploymentMode=_one_of("ClientMode", "ClusterMode"),
        driverArgs=_list(_TEXT),
        driverGrpcRouteList=_list(_ANY),
        driverHttpRouteList=_list(_ANY),
        driverServiceIngressList=_list(_ANY),
        driverSpec=_object(podTemplateSpec=template),
        executorSpec=_object(podTemplateSpec=template),
        files=_TEXT,
        jars=_TEXT,
        mainClass=_TEXT,
        proxyUser=_TEXT,
        pyFiles=_TEXT,
        runtimeVersions=_VERSIONS,
        sparkConf=_map(_TEXT),
        sparkRFiles=_TEXT,
    )
    status = _object(
        currentAttemptSummary=_ATTEMPT,
        currentState=state,
        previousAttemptSummary=_ATTEMPT,
        stateTransitionHistory=_map(state),
    )
    return _object(apiVersion=_TEXT, kind=_TEXT, metadata=_ANY, spec=spec, status=status)
