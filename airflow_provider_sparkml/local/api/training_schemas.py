"""Schemas of the training kinds that no small published package has models of: kubeflow.org/v1, v2beta1 and v1beta1.

Fields, enumerations and defaults as in ``pkg/apis`` of kubeflow/mpi-operator v0.8, kubeflow/training-operator v1.9 and
kubeflow/katib v0.19. Pod templates are those of Kubernetes itself.
"""

from __future__ import annotations

from airflow_provider_sparkml.local.api.types import Schema

_TEXT: Schema = {"type": "string"}
_COUNT: Schema = {"type": "integer"}
_FLAG: Schema = {"type": "boolean"}
_TIME: Schema = {"type": "string", "format": "date-time", "nullable": True}
_ANY_OBJECT: Schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
_QUANTITIES: Schema = {"type": "object", "additionalProperties": {"x-kubernetes-int-or-string": True}}


def _object(*required: str, **properties: Schema) -> Schema:
    schema: Schema = {"type": "object", "properties": properties}
    return schema | {"required": sorted(required)} if required else schema


def _list(item: Schema) -> Schema:
    return {"type": "array", "items": item}


def _map(value: Schema) -> Schema:
    return {"type": "object", "additionalProperties": value}


def _one_of(*words: str) -> Schema:
    return {"type": "string", "enum": list(words)}


def _kind(spec: Schema, status: Schema) -> Schema:
    return _object("metadata", "spec", apiVersion=_TEXT, kind=_TEXT, metadata=_ANY_OBJECT, spec=spec, status=status)


_EMBEDDED_METADATA = _object(
    annotations=_map(_TEXT), finalizers=_list(_TEXT), labels=_map(_TEXT), name=_TEXT, namespace=_TEXT
)
_CONDITION = _object(
    "status", "type",
    type=_TEXT, status=_one_of("True", "False", "Unknown"), reason=_TEXT, message=_TEXT,
    lastTransitionTime=_TIME, lastUpdateTime=_TIME,
)  # fmt: skip
_RUN_POLICY = _object(
    activeDeadlineSeconds=_COUNT,
    backoffLimit=_COUNT,
    cleanPodPolicy=_TEXT,
    managedBy=_TEXT,
    schedulingPolicy=_object(
        minAvailable=_COUNT,
        minResources=_QUANTITIES,
        priorityClass=_TEXT,
        queue=_TEXT,
        scheduleTimeoutSeconds=_COUNT,
    ),
    suspend=_FLAG | {"default": False},
    ttlSecondsAfterFinished=_COUNT,
)
_REPLICA_STATUS = _object(
    active=_COUNT, failed=_COUNT, succeeded=_COUNT, selector=_TEXT, labelSelector=_ANY_OBJECT
)  # fmt: skip
_JOB_STATUS = _object(
    conditions=_list(_CONDITION),
    replicaStatuses=_map(_REPLICA_STATUS),
    startTime=_TIME,
    completionTime=_TIME,
    lastReconcileTime=_TIME,
)


def _replicas(template: Schema) -> Schema:
    return _map(_object(replicas=_COUNT, restartPolicy=_TEXT, template=template))


def _mpi_job(template: Schema) -> Schema:
    spec = _object(
        "mpiReplicaSpecs",
        launcherCreationPolicy=_TEXT | {"default": "AtStartup"},
        mpiImplementation=_one_of("OpenMPI", "Intel", "MPICH") | {"default": "OpenMPI"},
        mpiReplicaSpecs=_replicas(template),
        runLauncherAsWorker=_FLAG | {"default": False},
        runPolicy=_RUN_POLICY,
        slotsPerWorker=_COUNT | {"default": 1},
        sshAuthMountPath=_TEXT | {"default": "/root/.ssh"},
    )
    return _kind(spec, _JOB_STATUS)


def _operator_job(field: str, template: Schema, **others: Schema) -> Schema:
    """Return the schema of a kind of the training operator."""
    return _kind(_object(field, runPolicy=_RUN_POLICY, **{field: _replicas(template)}, **others), _JOB_STATUS)


_METRIC_RULES = _list(_object(name=_TEXT, value=_one_of("min", "max", "latest")))
_OBJECTIVE = _object(
    additionalMetricNames=_list(_TEXT),
    goal={"type": "number"},
    metricStrategies=_METRIC_RULES,
    objectiveMetricName=_TEXT,
    type=_one_of("minimize", "maximize"),
)
_SETTINGS = _list(_object(name=_TEXT, value=_TEXT))
_ALGORITHM = _object(algorithmName=_TEXT, algorithmSettings=_SETTINGS)
_PARAMETERS = _list(
    _object(
        name=_TEXT,
        parameterType=_one_of("double", "int", "discrete", "categorical"),
        feasibleSpace=_object(max=_TEXT, min=_TEXT, step=_TEXT, list=_list(_TEXT), distribution=_TEXT),
    )
)
_ASSIGNMENTS = _list(_object(name=_TEXT, value=_TEXT))
_OBSERVATION = _object(metrics=_list(_object(name=_TEXT, latest=_TEXT, max=_TEXT, min=_TEXT)))
_COLLECTOR = _object(collector=_ANY_OBJECT, source=_ANY_OBJECT)
_TRIAL_TEMPLATE = _object(
    configMap=_object(configMapName=_TEXT, configMapNamespace=_TEXT, templatePath=_TEXT),
    failureCondition=_TEXT,
    primaryContainerName=_TEXT,
    primaryPodLabels=_map(_TEXT),
    retain=_FLAG,
    successCondition=_TEXT,
    trialParameters=_list(_object(description=_TEXT, name=_TEXT, reference=_TEXT)),
    trialSpec=_ANY_OBJECT,
)
_TRIALS = ("succeeded", "failed", "killed", "metricsUnavailable", "pending", "running", "earlyStopped")


def _experiment() -> Schema:
    names = {
        **{f"trials{each[0].upper()}{each[1:]}": _COUNT for each in _TRIALS if each != "metricsUnavailable"},
        **{f"{each}TrialList": _list(_TEXT) for each in _TRIALS},
    }
    status = _object(
        completionTime=_TIME,
        conditions=_list(_CONDITION),
        currentOptimalTrial=_object(
            bestTrialName=_TEXT, observation=_OBSERVATION, parameterAssignments=_ASSIGNMENTS
        ),
        lastReconcileTime=_TIME,
        startTime=_TIME,
        trialMetricsUnavailable=_COUNT,
        trials=_COUNT,
        **names,
    )  # fmt: skip
    spec = _object(
        algorithm=_ALGORITHM,
        earlyStopping=_object(algorithmName=_TEXT, algorithmSettings=_SETTINGS),
        maxFailedTrialCount=_COUNT,
        maxTrialCount=_COUNT,
        metricsCollectorSpec=_COLLECTOR,
        nasConfig=_ANY_OBJECT,
        objective=_OBJECTIVE,
        parallelTrialCount=_COUNT,
        parameters=_PARAMETERS,
        resumePolicy=_one_of("Never", "LongRunning", "FromVolume"),
        trialTemplate=_TRIAL_TEMPLATE,
    )
    return _kind(spec, status)


def _suggestion() -> Schema:
    suggested = _list(_object(name=_TEXT, parameterAssignments=_ASSIGNMENTS, labels=_map(_TEXT)))
    status = _object(
        algorithmSettings=_SETTINGS,
        completionTime=_TIME,
        conditions=_list(_CONDITION),
        lastReconcileTime=_TIME,
        startTime=_TIME,
        suggestionCount=_COUNT,
        suggestions=suggested,
    )
    spec = _object(algorithm=_ALGORITHM, earlyStopping=_ANY_OBJECT, requests=_COUNT, resumePolicy=_TEXT)
    return _kind(spec, status)


def _trial() -> Schema:
    spec = _object(
        earlyStoppingRules=_list(_ANY_OBJECT),
        failureCondition=_TEXT,
        labels=_map(_TEXT),
        metricsCollector=_COLLECTOR,
        objective=_OBJECTIVE,
        parameterAssignments=_ASSIGNMENTS,
        primaryContainerName=_TEXT,
        primaryPodLabels=_map(_TEXT),
        retainRun=_FLAG,
        runSpec=_ANY_OBJECT,
        successCondition=_TEXT,
    )
    status = _object(
        completionTime=_TIME,
        conditions=_list(_CONDITION),
        lastReconcileTime=_TIME,
        observation=_OBSERVATION,
        startTime=_TIME,
    )
    return _kind(spec, status)


def training_schemas(template: Schema) -> dict[str, Schema]:
    """Return the schemas by kind.

    :param template: schema of a PodTemplateSpec.
    """
    template = template | {"properties": template["properties"] | {"metadata": _EMBEDDED_METADATA}}
    elastic = _object(
        maxReplicas=_COUNT, maxRestarts=_COUNT, metrics=_list(_ANY_OBJECT), minReplicas=_COUNT, nProcPerNode=_COUNT,
        rdzvBackend=_TEXT, rdzvConf=_list(_object(key=_TEXT, value=_TEXT)),
        rdzvHost=_TEXT, rdzvId=_TEXT, rdzvPort=_COUNT, standalone=_FLAG,
    )  # fmt: skip
    return {
        "MPIJob": _mpi_job(template),
        "PyTorchJob": _operator_job("pytorchReplicaSpecs", template, elasticPolicy=elastic, nprocPerNode=_TEXT),
        "TFJob": _operator_job("tfReplicaSpecs", template, enableDynamicWorker=_FLAG, successPolicy=_TEXT),
        "XGBoostJob": _operator_job("xgbReplicaSpecs", template),
        "Experiment": _experiment(),
        "Suggestion": _suggestion(),
        "Trial": _trial(),
    }
