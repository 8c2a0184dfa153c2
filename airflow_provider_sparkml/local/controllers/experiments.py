"""The controller of Katib's Experiments: makes trials until the goal, the number of trials or the end is reached.

Follows kubeflow/katib v0.19, ``pkg/controller.v1beta1/experiment`` and ``pkg/apis/controller/experiments/v1beta1``. The
suggestions of ``random`` and ``grid`` are made here, not by a service; they are shown as a Suggestion all the same.
"""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.exceptions import LocalClusterError
from airflow_provider_sparkml.local.controllers import katib_search as search
from airflow_provider_sparkml.local.controllers.kubeflow_conditions import ENDS, add_condition, is_finished
from airflow_provider_sparkml.local.controllers.objects import (
    Note,
    delete,
    ensure,
    find,
    is_deleting,
    is_true,
    owned,
    tell,
    write_status,
)
from airflow_provider_sparkml.local.controllers.runtime import Controller, Source, now, owner_key
from airflow_provider_sparkml.local.controllers.trials import RUNNABLE, TRIAL, is_completed
from airflow_provider_sparkml.resources.base import ApiResource, Manifest
from airflow_provider_sparkml.resources.katib import API as EXPERIMENT

SUGGESTION = ApiResource("kubeflow.org", "v1beta1", "suggestions", "Suggestion")
NAME = "experiment-controller"
EXPERIMENT_LABEL = "katib.kubeflow.org/experiment"
NUMBER = "airflow-provider-sparkml/trial-number"
"""Annotation of a trial: which suggestion it tries."""

DEFAULT_PARALLEL = 3
LISTS = {
    "Killed": "killed",
    "Failed": "failed",
    "Succeeded": "succeeded",
    "EarlyStopped": "earlyStopped",
    "Running": "running",
    "MetricsUnavailable": "metricsUnavailable",
}
"""Condition of a trial, the first that is true → the list that it is in."""

DONE = ("Succeeded", "Failed", "Killed", "EarlyStopped")
KUBEFLOW_KINDS = ("TFJob", "PyTorchJob", "XGBoostJob", "MPIJob")
META = re.compile(r"\$\{trialSpec\.(.+?)\}")


def experiment_controller(client: KubernetesClient) -> Controller:
    """Return the controller of all Experiments."""
    sources = [Source(EXPERIMENT), Source(TRIAL, owner_key("Experiment"))]
    return Controller(NAME, client, sources, _Experiments(client).reconcile)


class _Experiments:
    def __init__(self, client: KubernetesClient) -> None:
        self._client = client

    async def reconcile(self, namespace: str, name: str) -> float | None:
        """Take an Experiment one step on; see :data:`~.runtime.Reconcile`."""
        experiment = await find(self._client, EXPERIMENT, name, namespace)
        if experiment is None or is_deleting(experiment):
            return None
        status, notes = copy.deepcopy(experiment.get("status") or {}), list[Note]()
        spec = with_defaults(experiment["spec"])
        if is_finished(status) and _is_restartable(spec, status):
            add_condition(status, "Restarting", "ExperimentRestarting", "Experiment is restarted")
            status["conditions"] = [each for each in status["conditions"] if each["type"] not in ENDS]
            status.pop("completionTime", None)
        if not status.get("conditions"):
            status["startTime"] = now()
            add_condition(status, "Created", "ExperimentCreated", "Experiment is created")
        try:
            await self._step(experiment, spec, status)
        except LocalClusterError as error:
            _end(status, "Failed", "ExperimentFailed", str(error))
            notes.append(Note("Warning", "ReconcileError", f"Failed to reconcile: {error}"))
        await write_status(self._client, EXPERIMENT, experiment, status)
        await tell(self._client, experiment, notes, source=NAME)
        return None

    async def _step(self, experiment: Manifest, spec: Mapping[str, Any], status: dict[str, Any]) -> None:
        trials = await owned(self._client, TRIAL, experiment, {EXPERIMENT_LABEL: experiment["metadata"]["name"]})
        trials.sort(key=_number)
        reached = summarize(status, spec["objective"], trials) if trials else False
        if is_finished(status):
            return
        if why := _refusal(spec):
            _end(status, "Failed", "ExperimentFailed", f"Suggestion has failed: {why}")
            return
        exhausted = False
        if not trials or not conclude(status, spec, reached=reached):
            exhausted = not await self._scale(experiment, spec, status, trials)
        if exhausted:
            conclude(status, spec, reached=False, exhausted=True)

    async def _scale(
        self, experiment: Manifest, spec: Mapping[str, Any], status: Mapping[str, Any], trials: Sequence[Manifest]
    ) -> bool:
        """Make the trials that are to run now, or delete those too many; return whether there was a suggestion left."""
        parallel = int(spec["parallelTrialCount"])
        active = status.get("trialsPending", 0) + status.get("trialsRunning", 0)
        done = sum(status.get(f"trials{word}", 0) for word in DONE)
        if active > parallel:
            unfinished = [trial for trial in trials if not is_completed(trial)]
            for trial in unfinished[parallel - active :]:
                await delete(self._client, TRIAL, trial)
            return True
        most = spec.get("maxTrialCount")
        wanted = parallel if most is None else min(parallel, most - done)
        first = max(map(_number, trials), default=-1) + 1
        seed = experiment["metadata"]["uid"]
        suggested = [search.suggest(spec, number, seed) for number in range(first, first + max(0, wanted - active))]
        made = [each for each in suggested if each is not None]
        for number, assignment in enumerate(made, start=first):
            await ensure(self._client, TRIAL, new_trial(experiment, spec, number, assignment), experiment)
        if made:
            await self._show_suggestions(experiment, spec, first + len(made))
        return len(made) == len(suggested) or bool(made)

    async def _show_suggestions(self, experiment: Manifest, spec: Mapping[str, Any], count: int) -> None:
        """Bring the Suggestion up to date, which on a cluster asks the algorithm's service for parameters."""
        meta = experiment["metadata"]
        wanted = {"algorithm": spec["algorithm"], "requests": count, "resumePolicy": spec["resumePolicy"]}
        manifest = {"apiVersion": "kubeflow.org/v1beta1", "kind": "Suggestion", "metadata": {"name": meta["name"]}}
        found = await ensure(self._client, SUGGESTION, manifest | {"spec": wanted}, experiment)
        if found["spec"].get("requests") != count:
            patch = {"metadata": {"uid": found["metadata"]["uid"]}, "spec": {"requests": count}}
            found = await self._client.patch(SUGGESTION, meta["name"], patch, meta["namespace"])
        status = copy.deepcopy(found.get("status") or {"startTime": now()})
        suggestions = [(number, search.suggest(spec, number, meta["uid"])) for number in range(count)]
        status["suggestions"] = [
            {"name": trial_name(experiment, number), "parameterAssignments": _pairs(assignment or {})}
            for number, assignment in suggestions
        ]
        status["suggestionCount"] = count
        add_condition(status, "Created", "SuggestionCreated", "Suggestion is created")
        add_condition(status, "Running", "SuggestionRunning", "Suggestion is running")
        await write_status(self._client, SUGGESTION, found, status)


def with_defaults(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of an Experiment's spec with Katib's defaults in it."""
    spec: dict[str, Any] = copy.deepcopy(dict(given))
    spec["parallelTrialCount"] = spec.get("parallelTrialCount") or DEFAULT_PARALLEL
    spec["resumePolicy"] = spec.get("resumePolicy") or "Never"
    template = spec.setdefault("trialTemplate", {})
    kind = (template.get("trialSpec") or {}).get("kind", "")
    good = "Succeeded" if kind in KUBEFLOW_KINDS else "Complete"
    if kind == "SparkApplication":
        conditions = [f'[status.applicationState]|#(state=="{state}")#' for state in ("COMPLETED", "FAILED")]
    else:
        conditions = [f'status.conditions.#(type=="{each}")#|#(status=="True")#' for each in (good, "Failed")]
    for field, condition in zip(("successCondition", "failureCondition"), conditions, strict=True):
        template[field] = template.get(field) or condition
    if not template.get("primaryPodLabels"):
        if kind == "TrainJob":
            labels = {"jobset.sigs.k8s.io/replicatedjob-name": "node", "batch.kubernetes.io/job-completion-index": "0"}
            template["primaryPodLabels"] = labels
        elif kind in KUBEFLOW_KINDS:
            template["primaryPodLabels"] = {"training.kubeflow.org/job-role": "master"}
    return spec


def _refusal(spec: Mapping[str, Any]) -> str:
    """Return what Katib's webhook or its algorithm refuses an Experiment for, or an empty text."""
    if not (spec.get("objective") or {}).get("objectiveMetricName"):
        return "spec.objective.objectiveMetricName must be specified"
    run = spec["trialTemplate"].get("trialSpec")
    if not run:
        return "spec.trialTemplate.trialSpec must be specified; the local cluster reads no template from a ConfigMap"
    if (run.get("apiVersion"), run.get("kind")) not in RUNNABLE:
        known = ", ".join(sorted(f"{kind} of {version}" for version, kind in RUNNABLE))
        kind = f"{run.get('kind')} of {run.get('apiVersion')}"
        return f"spec.trialTemplate.trialSpec: a {kind} cannot be a trial; {known} can"
    collector = ((spec.get("metricsCollectorSpec") or {}).get("collector") or {}).get("kind", "StdOut")
    if collector != "StdOut":
        return f"spec.metricsCollectorSpec.collector.kind: the local cluster has no {collector}; use StdOut"
    return search.problem(spec)


def trial_name(experiment: Manifest, number: int) -> str:
    """Return the name of a trial: Katib's form, but always the same, so that none is made twice."""
    digest = hashlib.sha256(f"{experiment['metadata']['uid']}/{number}".encode()).hexdigest()
    return f"{experiment['metadata']['name']}-{digest[:8]}"


def _number(trial: Manifest) -> int:
    return int((trial["metadata"].get("annotations") or {}).get(NUMBER, 0))


def _pairs(assignment: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in assignment.items()]


def new_trial(experiment: Manifest, spec: Mapping[str, Any], number: int, assignment: Mapping[str, str]) -> Manifest:
    """Return a trial's manifest.

    :raises LocalClusterError: when the template's parameters and the experiment's do not go together.
    """
    name, meta, template = trial_name(experiment, number), experiment["metadata"], spec["trialTemplate"]
    run = search.substituted(template["trialSpec"], _template_values(template, assignment, name, meta["namespace"]))
    run["metadata"] = {**(run.get("metadata") or {}), "name": name, "namespace": meta["namespace"]}
    given = {
        field: template[field]
        for field in ("successCondition", "failureCondition", "primaryPodLabels", "primaryContainerName")
        if template.get(field)
    }
    return {
        "apiVersion": "kubeflow.org/v1beta1",
        "kind": "Trial",
        "metadata": {
            "name": name,
            "labels": {**(meta.get("labels") or {}), EXPERIMENT_LABEL: meta["name"]},
            "annotations": {NUMBER: str(number)},
        },
        "spec": {
            "objective": spec["objective"],
            "parameterAssignments": _pairs(assignment),
            "runSpec": run,
            "retainRun": bool(template.get("retain")),
            "metricsCollector": spec.get("metricsCollectorSpec") or {"collector": {"kind": "StdOut"}},
            **given,
        },
    }


def _template_values(
    template: Mapping[str, Any], assignment: Mapping[str, str], name: str, namespace: str
) -> dict[str, str]:
    """Return what stands for ``${trialParameters.…}`` in a trial's template."""
    run = template["trialSpec"]
    meta = {"Name": name, "Namespace": namespace, "Kind": run.get("kind"), "APIVersion": run.get("apiVersion")}
    values, used = {}, set()
    for parameter in template.get("trialParameters") or ():
        reference = parameter["reference"]
        if found := META.fullmatch(reference):
            if found[1] not in meta:
                raise LocalClusterError(
                    f"illegal reference of trial metadata: {reference}; known are {', '.join(meta)}"
                )
            values[parameter["name"]] = str(meta[found[1]])
        elif reference in assignment:
            values[parameter["name"]] = assignment[reference]
            used.add(reference)
        else:
            raise LocalClusterError(
                f"spec.trialTemplate.trialParameters: {parameter['name']} refers to {reference}, which is no parameter "
                f"of the experiment; it has {', '.join(assignment)}"
            )
    if unused := assignment.keys() - used:
        raise LocalClusterError(f"spec.trialTemplate.trialParameters has nothing for {', '.join(sorted(unused))}")
    return values


# --- status ----------------------------------------------------------------------------------------------------------


def summarize(status: dict[str, Any], objective: Mapping[str, Any], trials: Sequence[Manifest]) -> bool:
    """Count the trials and find the best; return whether the goal is reached."""
    lists: dict[str, list[str]] = {word: [] for word in (*LISTS.values(), "pending")}
    for trial in trials:
        kind = next((kind for kind in LISTS if is_true(trial.get("status") or {}, kind)), None)
        lists[LISTS[kind] if kind else "pending"].append(trial["metadata"]["name"])
    status["trials"] = len(trials)
    for word, names in lists.items():
        counter = "trialMetricsUnavailable" if word == "metricsUnavailable" else f"trials{word[0].upper()}{word[1:]}"
        for field, value in ((f"{word}TrialList", names), (counter, len(names))):
            status.pop(field, None)
            if value:
                status[field] = value
    metrics = {
        trial["metadata"]["name"]: ((trial.get("status") or {}).get("observation") or {}).get("metrics") or []
        for trial in trials
    }
    name, reached = search.best(objective, {each: search.objective_value(objective, metrics[each]) for each in metrics})
    if name:
        trial = next(each for each in trials if each["metadata"]["name"] == name)
        status["currentOptimalTrial"] = {
            "bestTrialName": name,
            "parameterAssignments": trial["spec"]["parameterAssignments"],
            "observation": {"metrics": metrics[name]},
        }
    return reached


def conclude(status: dict[str, Any], spec: Mapping[str, Any], *, reached: bool, exhausted: bool = False) -> bool:
    """Put the condition that the numbers of trials call for; return whether the Experiment has ended.

    :param exhausted: there are no more parameters to try.
    """
    unavailable, failed = status.get("trialMetricsUnavailable", 0), status.get("trialsFailed", 0)
    done = unavailable + sum(status.get(f"trials{word}", 0) for word in DONE)
    active = status.get("trialsPending", 0) + status.get("trialsRunning", 0)
    most_failed, most = spec.get("maxFailedTrialCount"), spec.get("maxTrialCount")
    because = "Experiment has succeeded because"
    if reached:
        _end(status, "Succeeded", "ExperimentGoalReached", f"{because} Objective goal has reached")
    elif most_failed is not None and failed + unavailable and failed + unavailable >= most_failed:
        _end(status, "Failed", "ExperimentFailed", "Experiment has failed because max failed count has reached")
    elif most is not None and done >= most:
        _end(status, "Succeeded", "ExperimentMaxTrialsReached", f"{because} max trial count has reached")
    elif exhausted and not active:
        text = f"{because} suggestion service has reached the end"
        _end(status, "Succeeded", "ExperimentSuggestionEndReached", text)
    else:
        add_condition(status, "Running", "ExperimentRunning", "Experiment is running")
        return False
    return True


def _end(status: dict[str, Any], kind: str, reason: str, message: str) -> None:
    status["completionTime"] = now()
    add_condition(status, kind, reason, message, ends=("Running",))


def _is_restartable(spec: Mapping[str, Any], status: Mapping[str, Any]) -> bool:
    """Whether an Experiment that ended for its number of trials is now to have more."""
    ended: dict[str, Any] = next((each for each in status["conditions"] if each["type"] == "Succeeded"), {})
    if ended.get("reason") != "ExperimentMaxTrialsReached" or spec["resumePolicy"] == "Never":
        return False
    most = spec.get("maxTrialCount")
    return bool(most is None or most > status.get("trials", 0))
