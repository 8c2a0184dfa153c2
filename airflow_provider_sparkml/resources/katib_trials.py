"""The trial template of an Experiment: what Katib must know of each kind that a trial may be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_sparkml.resources.base import Manifest, present
from airflow_provider_sparkml.resources.manifests import load_manifest
from airflow_provider_sparkml.resources.replicas import containers_of, part_of
from airflow_provider_sparkml.resources.training import APPLICATION_ID


@dataclass(frozen=True, slots=True)
class TrialKind:
    """How Katib follows a trial of one kind.

    :param succeeded: the condition that is its success.
    :param failed: the condition that is its failure.
    :param container: name of the container whose metrics count; empty where it is the template's first.
    :param pod_labels: labels of its rank 0, whose metrics count.
    :param template: path to the pod template of rank 0.
    """

    succeeded: str
    failed: str = "Failed"
    container: str = ""
    pod_labels: Mapping[str, str] = field(default_factory=dict)
    template: tuple[str, ...] = ()


_TRIAL_NAME = "sparkmlTrialName"
_OWN_NAME = "${trialSpec.Name}"
_MASTER = {"training.kubeflow.org/job-role": "master"}
_LAUNCHER = {"training.kubeflow.org/job-role": "launcher"}
_INDEX_0 = {"batch.kubernetes.io/job-completion-index": "0"}
_WORKER_0 = {"training.kubeflow.org/replica-type": "worker", "training.kubeflow.org/replica-index": "0"}
_KINDS = {
    ("trainer.kubeflow.org/v1alpha1", "TrainJob"): TrialKind(
        "Complete", container="node", pod_labels={"jobset.sigs.k8s.io/replicatedjob-name": "node", **_INDEX_0}
    ),
    ("batch/v1", "Job"): TrialKind("Complete", pod_labels=_INDEX_0, template=("template",)),
    ("kubeflow.org/v1", "PyTorchJob"): TrialKind("Succeeded", container="pytorch", pod_labels=_MASTER),
    ("kubeflow.org/v1", "TFJob"): TrialKind("Succeeded", container="tensorflow", pod_labels=_MASTER),
    ("kubeflow.org/v1", "XGBoostJob"): TrialKind("Succeeded", container="xgboost", pod_labels=_MASTER),
    ("kubeflow.org/v1", "MPIJob"): TrialKind("Succeeded", container="mpi", pod_labels=_MASTER),
    ("kubeflow.org/v2beta1", "MPIJob"): TrialKind(
        "Succeeded", pod_labels=_LAUNCHER, template=("mpiReplicaSpecs", "Launcher", "template")
    ),
}


def trial_template(trial: Any, parameters: Iterable[str], *, retain: bool) -> dict[str, Any]:
    """Return ``spec.trialTemplate``, with what Katib must know where the kind is known.

    :param trial: the job of each trial: a builder's object or a manifest.
    :param parameters: names of the parameters, which the trial uses by the same names.
    :param retain: whether a trial's pods stay when it has ended.
    :raises InvalidManifestError: the trial is no manifest.
    """
    manifest = load_manifest(trial)
    template: dict[str, Any] = {
        "retain": retain,
        "trialParameters": [{"name": name, "reference": name} for name in parameters],
        "trialSpec": manifest,
    }
    return template | known_facts(manifest)


def known_facts(trial: Manifest) -> dict[str, Any]:
    """Return what Katib must know of a trial, as far as its kind tells; nothing for a kind that is not known here."""
    kind = _KINDS.get((str(trial.get("apiVersion")), str(trial.get("kind"))))
    if kind is None:
        return {}
    return present(
        {
            "primaryContainerName": kind.container or _first_container(trial, kind.template),
            "primaryPodLabels": _pod_labels(trial, kind),
            "successCondition": _condition(kind.succeeded),
            "failureCondition": _condition(kind.failed),
        }
    )


def name_applications(template: dict[str, Any]) -> None:
    """Let each trial be an application of its own for YuniKorn, by its name, in place; else all would have one id.

    :param template: ``spec.trialTemplate``.
    """
    found = [
        each for each in _annotations(template.get("trialSpec")) if "${" not in str(each.get(APPLICATION_ID, "${"))
    ]
    declared = template.setdefault("trialParameters", []) if found else None
    if not isinstance(declared, list):
        return
    # Katib takes a name that two parameters refer to for one parameter, and refuses the Experiment.
    names = [part_of(each).get("name") for each in declared if part_of(each).get("reference") == _OWN_NAME]
    if not names:
        declared.append({"name": _TRIAL_NAME, "reference": _OWN_NAME})
    for each in found:
        each[APPLICATION_ID] = f"${{trialParameters.{names[0] if names else _TRIAL_NAME}}}"


def _annotations(value: Any) -> Iterator[dict[str, Any]]:
    """Yield the annotations anywhere in a manifest."""
    if isinstance(value, dict):
        for key, each in value.items():
            if key == "annotations" and isinstance(each, dict):
                yield each
            else:
                yield from _annotations(each)
    elif isinstance(value, list):
        for each in value:
            yield from _annotations(each)


def _condition(name: str) -> str:
    """Return GJSON that finds a condition which holds."""
    return f'status.conditions.#(type=="{name}")#|#(status=="True")#'


def _pod_labels(manifest: Manifest, kind: TrialKind) -> Mapping[str, str]:
    """Return the labels of a trial's rank 0."""
    spec = part_of(manifest, "spec")
    if manifest["kind"] == "PyTorchJob" and "Master" not in part_of(spec, "pytorchReplicaSpecs"):
        return _WORKER_0
    if manifest["kind"] == "Job" and spec.get("completionMode") != "Indexed":
        return {}
    return kind.pod_labels


def _first_container(manifest: Manifest, path: tuple[str, ...]) -> str:
    """Return the name of the first container of the pod template at a path; empty when there is none."""
    containers = containers_of(part_of(manifest, "spec", *path))
    return str(part_of(containers[0]).get("name") or "") if containers else ""


__all__ = ["known_facts", "name_applications", "trial_template"]
