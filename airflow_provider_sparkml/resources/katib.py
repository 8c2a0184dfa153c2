"""Experiment of Katib (``kubeflow.org/v1beta1``): its typed builder and how its status is read.

The status: ``pkg/apis/controller/experiments/v1beta1`` and ``pkg/controller.v1beta1/experiment`` of kubeflow/katib
v0.19.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from airflow_provider_sparkml.resources.base import (
    ApiResource,
    Manifest,
    Phase,
    Resource,
    Verdict,
    present,
    register,
)
from airflow_provider_sparkml.resources.conditions import read_conditions
from airflow_provider_sparkml.resources.fields import convert, integer, number, text, texts
from airflow_provider_sparkml.resources.katib_check import check, known_kind
from airflow_provider_sparkml.resources.katib_trials import known_facts, name_applications, trial_template
from airflow_provider_sparkml.resources.replicas import part_of
from airflow_provider_sparkml.resources.training import QUEUE_LABEL, manifest_of, metadata_of

API = ApiResource("kubeflow.org", "v1beta1", "experiments", "Experiment")
TRIAL = "katib.kubeflow.org/trial"
"""Label of a trial's pods: its name."""
_TRIALS_TOLD = 10
"""Of how many failed trials the pods are looked at when an experiment has failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """What the trials are compared by.

    :param metric: the metric that the program prints as ``metric=value``.
    :param type: whether less or more of it is better.
    :param goal: stop as soon as a trial is that good.
    :param additional_metrics: metrics to collect, too.
    """

    metric: str
    type: Literal["minimize", "maximize"] = "minimize"
    goal: float | str | None = None
    additional_metrics: Sequence[str] = ()

    def to_spec(self) -> dict[str, Any]:
        """Return ``spec.objective``."""
        spec = {"type": self.type, "objectiveMetricName": self.metric}
        goal = {} if self.goal is None else {"goal": self.goal}
        return spec | goal | present({"additionalMetricNames": list(self.additional_metrics)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A parameter to search, which the trial uses as ``${trialParameters.<name>}``.

    :param name: its name.
    :param type: ``double`` and ``int`` have ``min`` and ``max``; ``discrete`` and ``categorical`` have ``values``.
    :param min: the least.
    :param max: the most.
    :param step: between two values; a grid over ``double`` needs it.
    :param values: all values.
    :param distribution: ``uniform``, ``logUniform``, ``normal`` or ``logNormal``.
    """

    name: str
    type: Literal["double", "int", "discrete", "categorical"] = "double"
    min: float | str | None = None
    max: float | str | None = None
    step: float | str | None = None
    values: Sequence[Any] = ()
    distribution: str = ""

    def to_spec(self) -> dict[str, Any]:
        """Return an entry of ``spec.parameters``; Katib writes all numbers as text."""
        bounds = {"min": self.min, "max": self.max, "step": self.step}
        space = {name: str(value) for name, value in bounds.items() if value is not None}
        space |= present({"list": [text(value) for value in self.values], "distribution": self.distribution})
        return {"name": self.name, "parameterType": self.type, "feasibleSpace": space}


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """A search for the best parameters of a training job.

    .. code-block:: python

        from airflow_provider_sparkml.resources.trainer import Trainer, TrainJob

        Experiment(
            objective=Objective(metric="loss", type="minimize"),
            parameters=[Parameter(name="lr", min=0.001, max=0.1)],
            trial=TrainJob(
                trainer=Trainer(image="torch:1", command=["python", "train.py", "--lr", "${trialParameters.lr}"]),
            ),
            max_trials=8,
        )

    :param objective: what the trials are compared by.
    :param parameters: what to search.
    :param trial: the job of each trial, with ``${trialParameters.<name>}`` in it: a builder's object or a manifest. By
        default Katib takes TrainJob, Job, PyTorchJob, TFJob, XGBoostJob and the training operator's MPIJob; others,
        such as the MPI operator's, only where ``trialResources`` of its KatibConfig names them.
    :param algorithm: ``random``, ``grid``, ``bayesianoptimization``, ``tpe`` …
    :param algorithm_settings: settings of the algorithm.
    :param max_trials: how many trials at most.
    :param parallel_trials: how many at once; 2, or fewer where there are fewer trials, or a template says how many.
    :param max_failed_trials: with how many failed trials the experiment fails; 3, or fewer likewise.
    :param name: what the experiment's name begins with; the DAG and the task when empty.
    :param primary_container: the trial's container whose metrics count; by default that of the kind.
    :param primary_pod_labels: labels of the trial's pod whose metrics count; by default rank 0 of the kind.
    :param success_condition: GJSON that finds a condition in a trial's job that has succeeded; by default the kind's.
    :param failure_condition: likewise, in one that has failed.
    :param retain: whether the trials' pods stay until the experiment is deleted, so that a failure can be explained.
    :param early_stopping: ``spec.earlyStopping``, as in the CRD.
    :param metrics_collector: ``spec.metricsCollectorSpec``; by default the standard output is read.
    :param labels: labels of the experiment.
    :param annotations: annotations of the experiment.
    :param extra: further fields of ``spec``, merged in last.
    """

    objective: Objective
    parameters: Sequence[Parameter]
    trial: Any
    algorithm: str = "random"
    algorithm_settings: Mapping[str, Any] = field(default_factory=dict)
    max_trials: int | str = 8
    parallel_trials: int | str | None = None
    max_failed_trials: int | str | None = None
    name: str = ""
    primary_container: str = ""
    primary_pod_labels: Mapping[str, str] = field(default_factory=dict)
    success_condition: str = ""
    failure_condition: str = ""
    retain: bool = True
    early_stopping: Mapping[str, Any] = field(default_factory=dict)
    metrics_collector: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    def to_manifest(self) -> Manifest:
        """Return the manifest, new at each call.

        :raises InvalidManifestError: the trial is no manifest.
        """
        settings = [{"name": name, "value": text(value)} for name, value in self.algorithm_settings.items()]
        stated = present(
            {
                "primaryContainerName": self.primary_container,
                "primaryPodLabels": self.primary_pod_labels,
                "successCondition": self.success_condition,
                "failureCondition": self.failure_condition,
            }
        )
        spec = {
            "objective": self.objective.to_spec(),
            "algorithm": {"algorithmName": self.algorithm} | present({"algorithmSettings": settings}),
            "parameters": [parameter.to_spec() for parameter in self.parameters],
            "maxTrialCount": self.max_trials,
            "parallelTrialCount": self._at_most(2) if self.parallel_trials is None else self.parallel_trials,
            "maxFailedTrialCount": self._at_most(3) if self.max_failed_trials is None else self.max_failed_trials,
            # LongRunning and FromVolume leave the suggestion service, or its volume, behind.
            "resumePolicy": "Never",
            "trialTemplate": trial_template(self.trial, [each.name for each in self.parameters], retain=self.retain)
            | stated,
            **present({"earlyStopping": self.early_stopping, "metricsCollectorSpec": self.metrics_collector}),
            **self.extra,
        }
        return manifest_of(API.api_version, API.kind, metadata_of(self.name, "", self.labels, self.annotations), spec)

    def _at_most(self, count: int) -> int:
        """Return a default, which must not be more than there are trials; 1 where a template says how many."""
        return min(count, self.max_trials) if isinstance(self.max_trials, int) else 1


def read(obj: Manifest) -> Verdict:
    """Return the verdict of an Experiment.

    ``Succeeded`` for the reason ``ExperimentMaxTrialsReached`` may mean that no trial has a usable metric: without a
    best trial it has failed.
    """
    verdict = read_conditions(obj, progress=_progress(obj))
    if verdict.phase is not Phase.SUCCEEDED:
        return verdict
    if _best(obj).get("bestTrialName"):
        return replace(verdict, message=_progress(obj))
    metric = ((obj.get("spec") or {}).get("objective") or {}).get("objectiveMetricName") or "<metric>"
    return replace(
        verdict,
        phase=Phase.FAILED,
        reason="NoBestTrial",
        message=f"no trial has told a usable {metric} ({_progress(obj)}; {verdict.reason}): "
        f"does the program print {metric}=<number> on a line of its own?",
    )


def _progress(obj: Manifest) -> str:
    """Return how far the search has come: ``3 of 8 trials succeeded, 1 failed, best loss=0.31``."""
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    total = spec.get("maxTrialCount") or status.get("trials") or 0
    parts = [f"{status.get('trialsSucceeded') or 0} of {total} trials succeeded"]
    counts = {
        "failed": "trialsFailed",
        "without metrics": "trialMetricsUnavailable",
        "stopped early": "trialsEarlyStopped",
        "killed": "trialsKilled",
    }
    parts += [f"{status[name]} {word}" for word, name in counts.items() if status.get(name)]
    metric = (spec.get("objective") or {}).get("objectiveMetricName")
    found = metrics(obj)
    if metric in found:
        parts.append(f"best {metric}={found[metric]}")
    return ", ".join(parts)


def _best(obj: Manifest) -> Mapping[str, Any]:
    """Return ``status.currentOptimalTrial``, empty when absent."""
    best: Mapping[str, Any] = (obj.get("status") or {}).get("currentOptimalTrial") or {}
    return best


def metrics(obj: Manifest) -> dict[str, Any]:
    """Return the metrics of the best trial by name: of each the value that Katib compares by, as a number.

    That is the least or the most there was for the objective (``metricStrategies`` may say otherwise), and the latest
    of all others.
    """
    objective = (obj.get("spec") or {}).get("objective") or {}
    direction = {"minimize": "min", "maximize": "max"}.get(str(objective.get("type")), "latest")
    strategies = {objective.get("objectiveMetricName"): direction}
    strategies |= {each.get("name"): each.get("value") for each in objective.get("metricStrategies") or []}
    observed = (_best(obj).get("observation") or {}).get("metrics") or []
    return {
        str(each.get("name")): number(each.get(strategies.get(each.get("name")) or "latest", each.get("latest")))
        for each in observed
    }


def result(obj: Manifest) -> Any:
    """Return the best trial: ``trial``, ``parameters`` and ``metrics``, numbers as numbers; ``None`` while none is."""
    best = _best(obj)
    if not best.get("bestTrialName"):
        return None
    searched = (obj.get("spec") or {}).get("parameters") or ()
    words = {each.get("name") for each in searched if each.get("parameterType") == "categorical"}
    parameters = {
        str(each.get("name")): each.get("value") if each.get("name") in words else number(each.get("value"))
        for each in best.get("parameterAssignments") or []
    }
    return {"trial": best["bestTrialName"], "parameters": parameters, "metrics": metrics(obj)}


def facts(obj: Manifest) -> dict[str, Any]:
    """Return how many trials there were, and how many of them succeeded and failed."""
    status = obj.get("status") or {}
    return {
        "trials": status.get("trials") or 0,
        "trials_succeeded": status.get("trialsSucceeded") or 0,
        "trials_failed": (status.get("trialsFailed") or 0) + (status.get("trialMetricsUnavailable") or 0),
    }


def normalize(manifest: Manifest) -> Manifest:
    """Return a copy in the types that Katib asks for; the trial becomes what its own kind makes of it.

    What Katib must know of the trial's kind, and a manifest leaves out, is filled in.
    """
    result = copy.deepcopy(manifest)
    spec = result.get("spec")
    if not isinstance(spec, dict):
        return result
    convert(spec, ("maxTrialCount", "parallelTrialCount", "maxFailedTrialCount"), integer)
    for parameter in spec["parameters"] if isinstance(spec.get("parameters"), list) else ():
        _normalize_space(part_of(parameter, "feasibleSpace"), part_of(parameter).get("parameterType"))
    convert(spec.get("objective"), ("goal",), number)
    spec.setdefault("resumePolicy", "Never")
    template = spec.get("trialTemplate")
    trial = template.get("trialSpec") if isinstance(template, dict) else None
    kind = known_kind(trial)
    queue = part_of(result, "metadata", "labels").get(QUEUE_LABEL)
    if isinstance(trial, dict) and queue:
        # Kueue knows no Experiments: it admits the trials, each by itself.
        metadata = trial["metadata"] = dict(part_of(trial, "metadata"))
        metadata["labels"] = {QUEUE_LABEL: queue, **part_of(metadata, "labels")}
    if isinstance(template, dict) and isinstance(trial, dict):
        for name, value in known_facts(trial).items():
            template.setdefault(name, value)
        template["trialSpec"] = kind.normalize(trial) if kind is not None else trial
        name_applications(template)
    return result


def _normalize_space(space: dict[str, Any], kind: Any) -> None:
    """Bring a feasible space into Katib's types, in place: all numbers are text, and those of ``int`` have no point."""
    for name in ("min", "max", "step"):
        value = number(space.get(name))
        if kind == "int" and isinstance(value, float) and value.is_integer():
            space[name] = int(value)
    convert(space, ("min", "max", "step"), text)
    convert(space, ("list",), texts)


def pod_selector(obj: Manifest) -> str:
    """Return the label selector of the pods of trials that have failed; empty while none has."""
    status = obj.get("status") or {}
    failed = [*(status.get("failedTrialList") or ()), *(status.get("metricsUnavailableTrialList") or ())]
    return f"{TRIAL} in ({','.join(failed[:_TRIALS_TOLD])})" if failed else ""


def rank_of(pod: Manifest) -> str:
    """Return what to call a pod of a trial: its name, which begins with the trial's."""
    return str(pod["metadata"]["name"])


EXPERIMENT = register(
    Resource(
        api=API,
        read=read,
        normalize=normalize,
        check=check,
        facts=facts,
        pod_selector=pod_selector,
        rank_of=rank_of,
        result=result,
        # No with_env: the trials, side by side, would overwrite each other's checkpoints.
    )
)

__all__ = [
    "API",
    "EXPERIMENT",
    "TRIAL",
    "Experiment",
    "Objective",
    "Parameter",
    "metrics",
    "read",
    "result",
]
