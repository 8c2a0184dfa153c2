"""What all training kinds promise: valid manifests, types, faults by field, logs, ranks and the environment."""

from __future__ import annotations

import contextlib
import copy
import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.resources.base import LogSource, Manifest, resource_for
from airflow_provider_sparkml.resources.katib import Experiment, Objective, Parameter
from airflow_provider_sparkml.resources.kubeflow_v1 import PyTorchJob, TFJob, XGBoostJob
from airflow_provider_sparkml.resources.mpi import (
    MPIJob,
    Replica,
    RunPolicy,
    Secret,
    Volcano,
    Volume,
    YuniKorn,
    horovod_job,
)
from airflow_provider_sparkml.resources.trainer import Initializer, PodOverrides, Trainer, TrainJob
from airflow_provider_sparkml.resources.training_pods import TrainingPods
from tests.unit.resources.kinds import BY_ID, KINDS, ONE, SEARCH, TWO, Kind

Faults = Callable[[str, str, dict[str, Any]], list[str]]
CRDS = {
    "kubeflow.org/v2beta1": "mpi-operator-v0.8.0_kubeflow.org_mpijobs.yaml",
    "PyTorchJob": "training-operator-v1.9.0_kubeflow.org_pytorchjobs.yaml",
    "TFJob": "training-operator-v1.9.0_kubeflow.org_tfjobs.yaml",
    "XGBoostJob": "training-operator-v1.9.0_kubeflow.org_xgboostjobs.yaml",
    "TrainJob": "trainer-v2.3.0-rc.3_trainer.kubeflow.org_trainjobs.yaml",
}
FULL = Replica(
    image="i:1",
    command=["python", "train.py"],
    args=["--epochs", 5, True],
    replicas="2",
    env={"A": 1},
    secrets=[
        Secret(name="db", env={"PASSWORD": "password"}, env_from=True, prefix="DB_"),
        Secret(name="db.tls", mount_path="/etc/db"),
    ],
    cpu="500m",
    memory="2Gi",
    gpus="1",
    gpu_resource="amd.com/gpu",
    node_selector={"pool": "gpu"},
    tolerations=[{"key": "gpu", "operator": "Exists"}],
    volumes=[Volume.claim("data", "/data"), Volume.claim("data", "/also", sub_path="x"), Volume.empty_dir("/scratch")],
    service_account="trainer",
    image_pull_secrets=["registry"],
    restart_policy="OnFailure",
    labels={"l": "1"},
    annotations={"a": "1"},
    extra={"priorityClassName": "high"},
)
POLICY = RunPolicy(
    clean_pod_policy="All", backoff_limit="2", active_deadline_seconds="60", ttl_seconds_after_finished="600",
    suspend="true", gang=Volcano(queue="q", min_available="3", priority_class="high"),
)  # fmt: skip
COMMON: dict[str, Any] = {"name": "full", "labels": {"team": "a"}, "annotations": {"n": "x"}}
FULLEST = [
    MPIJob(
        launcher=ONE, worker=FULL, slots_per_worker="2", run_policy=POLICY, mpi_implementation="Intel",
        launcher_creation_policy="AtStartup", run_launcher_as_worker="True", ssh_auth_mount_path="/x", **COMMON,
    ),
    horovod_job("i:1", ["python", "t.py"], workers=3, min_workers=2, max_workers=4, slots_per_worker=2, worker=FULL),
    PyTorchJob(
        master=ONE, worker=FULL, nproc_per_node=2, elastic={"minReplicas": 1, "maxReplicas": "3"}, run_policy=POLICY,
        **COMMON,
    ),
    TFJob(
        chief=ONE, worker=FULL, ps=FULL, evaluator=ONE, success_policy="AllWorkers",
        run_policy=RunPolicy(gang=YuniKorn(queue="root.q")), **COMMON,
    ),
    XGBoostJob(master=ONE, worker=FULL, queue="kueue", extra={"runPolicy": {"suspend": True}}, **COMMON),
    TrainJob(
        runtime="mine",
        runtime_kind="TrainingRuntime",
        trainer=Trainer(
            image="i:1", command=["torchrun"], args=[1], env={"A": "1"},
            secrets=[Secret(name="s", env={"P": "k"}, mount_path="/s")],
            num_nodes="2", num_proc_per_node="1", resources_per_node={"cpu": "1", "nvidia.com/gpu": 1},
        ),
        dataset=Initializer(storage_uri="hf://o/n", env={"A": "1"}, secret="hf"),
        model=Initializer(storage_uri="s3://b/p"),
        pods=PodOverrides(
            volumes=[Volume.claim("data", "/data")], node_selector={"pool": "gpu"}, labels={"l": "1"},
            tolerations=[{"key": "gpu", "operator": "Exists"}], service_account="t", image_pull_secrets=["r"],
            annotations={"a": "1"}, volcano_queue="q", jobs=["node", "launcher"],
        ),
        runtime_patches=[{"manager": "me", "trainingRuntimeSpec": {"template": {"metadata": {"labels": {"x": "y"}}}}}],
        suspend="true",
        active_deadline_seconds="60",
        **COMMON,
    ),
]  # fmt: skip
each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.id)


def built(job: Any) -> Manifest:
    """Return what a builder's object becomes before it is created."""
    manifest = job.to_manifest()
    resource = resource_for(manifest["apiVersion"], manifest["kind"])
    normalized = resource.normalize(manifest)
    resource.check(normalized)
    return normalized


@pytest.mark.parametrize("job", [kind.job for kind in KINDS] + FULLEST, ids=lambda job: type(job).__name__)
def test_builders_are_valid_upstream(upstream: Faults, job: Any) -> None:
    manifest = built(job)
    crd = CRDS.get(manifest["kind"]) or CRDS.get(manifest["apiVersion"])
    if crd is not None:  # Katib's CRD has no schema, batch/v1 and the older MPIJob none at hand
        assert upstream(crd, manifest["apiVersion"].partition("/")[2], manifest) == []


@pytest.mark.parametrize("job", [kind.job for kind in KINDS] + FULLEST, ids=lambda job: type(job).__name__)
def test_builders_are_valid_at_the_api_server(api_server: Any, job: Any) -> None:
    manifest = built(job)
    api = resource_for(manifest["apiVersion"], manifest["kind"]).api
    if (api.version, api.kind) == ("v1", "MPIJob"):
        return  # a cluster has one of the two kinds of that name; the local one has the MPI operator's
    manifest["metadata"]["name"] = "example"
    path = f"{api.path('default')}?dryRun=All&fieldValidation=Strict"
    status, answer = api_server.request("POST", path, manifest)
    assert status == 201, answer


@each_kind
def test_a_manifest_is_the_callers_own(kind: Kind) -> None:
    first, second = kind.manifest, kind.manifest
    before = copy.deepcopy(first)
    kind.resource.normalize(first)["spec"].clear()
    kind.resource.with_env(first, {"A": "1"}) if kind.id != "Experiment" else None
    assert first == second == before


@each_kind
def test_what_a_raw_manifest_may_be_is_never_a_crash(kind: Kind) -> None:
    for broken in ({"spec": None}, {"spec": []}, {"spec": {}}, {"spec": {"runPolicy": []}}, {"spec": "x"}):
        with pytest.raises(InvalidManifestError):
            kind.resource.check(kind.resource.normalize({**kind.manifest, "metadata": {}, **broken}))


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
PARTS = SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(st.text(max_size=3), SCALARS, max_size=2)


def replaced(value: Any, path: list[int], part: Any) -> Any:
    """Return a copy of a manifest with one part of it, wherever the path leads, replaced."""
    if not path or not isinstance(value, (dict, list)) or not value:
        return part
    keys = sorted(value) if isinstance(value, dict) else list(range(len(value)))
    key = keys[path[0] % len(keys)]
    changed = replaced(value[key], path[1:], part)
    if isinstance(value, dict):
        return value | {key: changed}
    return [changed if index == key else item for index, item in enumerate(value)]


@each_kind
@given(path=st.lists(st.integers(0, 20), min_size=1, max_size=9), part=PARTS)
def test_a_part_that_is_anything_else_is_refused_or_left_to_the_api_server(
    kind: Kind, path: list[int], part: Any
) -> None:
    """The environment is put in before the check."""
    spec = replaced(kind.manifest["spec"], path, part)
    with contextlib.suppress(InvalidManifestError):
        manifest = {**kind.manifest, "metadata": {}, "spec": spec}
        if kind.id != "Experiment":
            manifest = kind.resource.with_env(manifest, {"A": "1"})
        kind.resource.check(kind.resource.normalize(manifest))


# --- replicas, run policy -------------------------------------------------------------------------------------------

REPLICATED = [kind for kind in KINDS if "runPolicy" in kind.manifest["spec"]]
each_replicated = pytest.mark.parametrize("kind", REPLICATED, ids=lambda kind: kind.id)


def replicas_of(manifest: Manifest) -> dict[str, Any]:
    found: dict[str, Any] = next(value for key, value in manifest["spec"].items() if key.endswith("ReplicaSpecs"))
    return found


@each_replicated
def test_workers_are_freed_at_the_end_whoever_wrote_the_manifest(kind: Kind) -> None:
    raw = kind.manifest
    assert raw["spec"]["runPolicy"]["cleanPodPolicy"] == "Running"
    del raw["spec"]["runPolicy"]
    assert kind.resource.normalize(raw)["spec"]["runPolicy"] == {"cleanPodPolicy": "Running"}
    raw["spec"]["runPolicy"] = {"cleanPodPolicy": "None"}
    assert kind.resource.normalize(raw)["spec"]["runPolicy"] == {"cleanPodPolicy": "None"}


def test_what_templates_render_to_gets_its_type_back() -> None:
    manifest = built(FULLEST[0])
    spec, worker = manifest["spec"], manifest["spec"]["mpiReplicaSpecs"]["Worker"]
    assert (spec["slotsPerWorker"], spec["runLauncherAsWorker"], worker["replicas"]) == (2, True, 2)
    assert spec["runPolicy"] == {
        "cleanPodPolicy": "All", "backoffLimit": 2, "activeDeadlineSeconds": 60, "ttlSecondsAfterFinished": 600,
        "suspend": True, "schedulingPolicy": {"queue": "q", "priorityClass": "high", "minAvailable": 3},
    }  # fmt: skip
    container = worker["template"]["spec"]["containers"][0]
    assert container["args"] == ["--epochs", "5", "true"]
    assert container["env"][0] == {"name": "A", "value": "1"}
    assert container["resources"] == {
        "requests": {"cpu": "500m", "memory": "2Gi", "amd.com/gpu": "1"},
        "limits": {"memory": "2Gi", "amd.com/gpu": "1"},
    }
    volumes = [each["name"] for each in worker["template"]["spec"]["volumes"]]
    assert volumes == ["data", "scratch", "secret-db-tls"], "a volume that is mounted twice is there once"


def space(kind: str, **given: Any) -> dict[str, Any]:
    """Return the search parameter as Katib has it."""
    return {"name": "lr", "parameterType": kind, "feasibleSpace": given}


LISTED = {"name": "lr", "parameterType": "discrete", "feasibleSpace": {"list": ["1"], "min": "0"}}


def test_a_number_says_something_be_it_zero() -> None:
    assert TrainJob(trainer=Trainer(num_nodes=0)).to_manifest()["spec"]["trainer"] == {"numNodes": 0}


def fault(kind: Kind, *path: Any, value: Any) -> str:
    """Return what is said of a kind's manifest with one field changed."""
    manifest = copy.deepcopy(kind.manifest)
    part: Any = manifest
    for step in path[:-1]:
        part = part.setdefault(step, {}) if isinstance(part, dict) else part[step]
    if value is ...:
        del part[path[-1]]
    else:
        part[path[-1]] = value
    with pytest.raises(InvalidManifestError) as raised:
        kind.resource.check(kind.resource.normalize(manifest))
    return str(raised.value)


@each_replicated
def test_a_fault_in_the_replicas_names_field_value_and_fix(kind: Kind) -> None:
    (field,) = (key for key in kind.manifest["spec"] if key.endswith("ReplicaSpecs"))
    container = ("spec", field, "Worker", "template", "spec", "containers")
    first = ("spec", field, "Worker")
    assert fault(kind, *first, "replicas", value=0) == (
        f"spec.{field}.Worker.replicas is 0: set it to a whole number, at least 1"
    )
    assert f"spec.{field}.Worker.replicas is 'two'" in fault(kind, *first, "replicas", value="two")
    assert f"spec.{field}.Wrker is of an unknown type: the types are" in fault(kind, "spec", field, "Wrker", value={})
    assert "restartPolicy is 'Sometimes': set it to one of Never," in fault(
        kind, *first, "restartPolicy", value="Sometimes"
    )
    assert "containers is []: give one" in fault(kind, *container, value=[])
    assert "command is 'python x': it must be a list" in fault(kind, *container, 0, "command", value="python x")
    assert "image is '': set it" in fault(kind, *container, 0, "image", value="")
    assert f"spec.{field} is {{}}: give at least" in fault(kind, "spec", field, value={})
    clean = fault(kind, "spec", "runPolicy", "cleanPodPolicy", value="Some")
    assert clean == "spec.runPolicy.cleanPodPolicy is 'Some': set it to one of Running, All, None"
    assert "at least 0" in fault(kind, "spec", "runPolicy", "backoffLimit", value=-1)
    assert "60 or more" in fault(kind, "spec", "runPolicy", "ttlSecondsAfterFinished", value=5)
    leader = next(iter(replicas_of(kind.manifest)))
    assert "replicas is 2: there is exactly 1" in fault(kind, "spec", field, leader, "replicas", value=2)


@each_kind
@pytest.mark.parametrize("name", ["My_Job", "1job", "job-", "j" * 64, 5])
def test_a_name_that_no_pod_could_have(kind: Kind, name: Any) -> None:
    assert f"metadata.name is {name!r}" in fault(kind, "metadata", "name", value=name)


def test_the_pods_own_names_must_be_names_too() -> None:
    assert "take at most 52 characters" in fault(BY_ID["MPIJob"], "metadata", "name", value="j" * 55)
    assert "take at most 40 characters" in fault(BY_ID["Experiment"], "metadata", "name", value="j" * 41)


@pytest.mark.parametrize(("id", "container"), [("PyTorchJob", "pytorch"), ("TFJob", "tensorflow"), ("MPIJobV1", "mpi")])
def test_a_container_that_the_operator_would_not_find(id: str, container: str) -> None:
    kind = BY_ID[id]
    (field,) = (key for key in kind.manifest["spec"] if key.endswith("ReplicaSpecs"))
    said = fault(kind, "spec", field, "Worker", "template", "spec", "containers", 0, "name", value="main")
    assert f"name is 'main': the operator looks for the container {container!r}; name it so" in said


def test_a_launcher_that_waits_for_workers_is_no_part_of_their_gang() -> None:
    gang = RunPolicy(gang=Volcano(queue="q"))
    assert "launcherCreationPolicy" not in horovod_job("i:1", ["p"], run_policy=gang).to_manifest()["spec"]
    waits = {"launcher": ONE, "worker": TWO, "launcher_creation_policy": "WaitForWorkersReady"}
    with pytest.raises(InvalidManifestError, match="starts with 3 pods, of which the launcher is one"):
        built(MPIJob(**waits, run_policy=gang))
    with pytest.raises(InvalidManifestError, match="starts with 3 pods, of which the launcher is one"):
        built(MPIJob(**waits, run_policy=RunPolicy(gang=Volcano())))
    built(MPIJob(**waits, run_policy=RunPolicy(gang=Volcano(min_available=2))))


def test_the_older_mpijob_has_no_fields_of_the_newer() -> None:
    job = MPIJob(launcher=ONE, worker=TWO, api_version="kubeflow.org/v1", mpi_implementation="Intel")
    with pytest.raises(InvalidManifestError, match="mpiImplementation: the training operator's MPIJob"):
        job.to_manifest()
    with pytest.raises(InvalidManifestError, match="slots_per_worker is '2': give a whole number"):
        horovod_job("i:1", ["p"], slots_per_worker="2")  # type: ignore[arg-type]


@pytest.mark.parametrize("trials", [1, 2, 3])
def test_a_search_may_be_small(trials: int) -> None:
    built(replace(SEARCH, max_trials=trials))


def test_the_queue_of_a_search_is_that_of_its_trials() -> None:
    manifest = SEARCH.to_manifest()
    manifest["metadata"]["labels"] = {"kueue.x-k8s.io/queue-name": "team"}
    trial = BY_ID["Experiment"].resource.normalize(manifest)["spec"]["trialTemplate"]["trialSpec"]
    assert trial["metadata"]["labels"] == {"kueue.x-k8s.io/queue-name": "team"}


@pytest.mark.parametrize("own", ["", "search-${trialParameters.lr}"])
def test_each_trial_of_a_search_is_an_application_of_its_own_for_yunikorn(own: str) -> None:
    gang = YuniKorn(queue="root.q", application_id=own or "dag/task/1")
    worker = Replica(image="i:1", command=["t", "${trialParameters.lr}"], replicas=2)
    trial = PyTorchJob(master=ONE, worker=worker, run_policy=RunPolicy(gang=gang))
    template = built(replace(SEARCH, trial=trial))["spec"]["trialTemplate"]
    replicas = template["trialSpec"]["spec"]["pytorchReplicaSpecs"].values()
    found = {each["template"]["metadata"]["annotations"]["yunikorn.apache.org/app-id"] for each in replicas}
    assert found == {own or "${trialParameters.sparkmlTrialName}"}
    declared = {each["name"]: each["reference"] for each in template["trialParameters"]}
    assert declared == {"lr": "lr"} | ({} if own else {"sparkmlTrialName": "${trialSpec.Name}"})


def test_a_search_that_names_its_trials_itself_does_so_for_yunikorn_as_well() -> None:
    trial = PyTorchJob(master=ONE, run_policy=RunPolicy(gang=YuniKorn(queue="root.q", application_id="dag/task/1")))
    manifest = replace(SEARCH, trial=trial).to_manifest()
    declared = manifest["spec"]["trialTemplate"]["trialParameters"]
    declared.append({"name": "me", "reference": "${trialSpec.Name}"})
    template = BY_ID["Experiment"].resource.normalize(manifest)["spec"]["trialTemplate"]
    assert template["trialParameters"] == declared  # Katib takes no reference twice
    master = template["trialSpec"]["spec"]["pytorchReplicaSpecs"]["Master"]["template"]
    assert master["metadata"]["annotations"]["yunikorn.apache.org/app-id"] == "${trialParameters.me}"


def test_katib_puts_text_into_trials() -> None:
    trial = TrainJob(trainer=Trainer(image="i:1", command=["t"], num_nodes="${trialParameters.n}"))
    search = replace(SEARCH, trial=trial, parameters=[Parameter(name="n", type="int", min=1, max=3)])
    with pytest.raises(InvalidManifestError, match=r"trialSpec.spec.trainer.numNodes is .*: Katib puts text there"):
        built(search)


def test_words_stay_words() -> None:
    obj = {
        "spec": {"parameters": [{"name": "zip", "parameterType": "categorical"}]},
        "status": {
            "currentOptimalTrial": {
                "bestTrialName": "t",
                "parameterAssignments": [{"name": "zip", "value": "007"}, {"name": "n", "value": "1_0"}],
            }
        },
    }
    assert BY_ID["Experiment"].resource.result(obj)["parameters"] == {"zip": "007", "n": "1_0"}


@pytest.mark.parametrize(
    ("parameter", "points"),
    [
        (Parameter(name="lr", type="int", min=1, max=4), 4),
        (Parameter(name="lr", min=0.1, max=0.5, step=0.1), 5),
        (Parameter(name="lr", type="categorical", values=["a", "b", "c"]), 3),
    ],
    ids=lambda value: getattr(value, "type", value),
)
def test_a_grid_has_no_more_trials_than_points(parameter: Parameter, points: int) -> None:
    search = replace(SEARCH, algorithm="grid", parameters=[parameter], max_trials=points)
    assert built(search)["spec"]["maxTrialCount"] == points
    said = f"^spec.maxTrialCount is {points + 1}, and the grid has {points} points only: set it to {points} or less"
    with pytest.raises(InvalidManifestError, match=said):
        built(replace(search, max_trials=points + 1))


@pytest.mark.parametrize("gpus", [-1, 0.5, "1.5", "1500m"])
def test_gpus_are_whole(gpus: Any) -> None:
    one = replace(ONE, gpus=gpus)
    jobs = [PyTorchJob(worker=one), TrainingPods(pods=one), MPIJob(launcher=ONE, worker=one)]
    for job in (*jobs, TrainJob(trainer=Trainer(resources_per_node={"nvidia.com/gpu": gpus}))):
        with pytest.raises(InvalidManifestError, match=r"\['nvidia.com/gpu'\] is .*: set it to a whole number"):
            built(job)


@pytest.mark.parametrize(
    ("name", "amount"),
    [
        ("nvidia.com/gpu", "2"), ("nvidia.com/gpu", "1000m"), ("nvidia.com/gpu", 1.0),
        ("kubernetes.io/batch-memory", "4Gi"), ("rdma/hca", "1k"),
    ],
)  # fmt: skip
def test_whole_numbers_have_many_forms(name: str, amount: Any) -> None:
    built(PyTorchJob(worker=replace(ONE, gpus=amount, gpu_resource=name)))


def test_a_number_of_gpus_is_a_quantity() -> None:
    with pytest.raises(InvalidManifestError, match="is 'half', which is no Kubernetes quantity"):
        built(PyTorchJob(worker=replace(ONE, gpus="half")))


def test_volumes_that_differ_have_different_names() -> None:
    data, models = Volume.claim("data", "/data"), Volume.claim("models", "/models")
    said = r"^volumes has two by the name of 'data', .*'data'.* and .*'models'.*: give one of them another name="
    for job in (
        TrainJob(pods=PodOverrides(volumes=[data, models])),
        PyTorchJob(worker=replace(ONE, volumes=[data, models])),
    ):
        with pytest.raises(InvalidManifestError, match=said):
            job.to_manifest()
    twice = PodOverrides(volumes=[data, replace(data, mount_path="/x")])
    (patch,) = TrainJob(pods=twice).to_manifest()["spec"]["runtimePatches"]
    (job_,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    pod = job_["template"]["spec"]["template"]["spec"]
    assert (len(pod["volumes"]), len(pod["containers"][0]["volumeMounts"])) == (1, 2)


@pytest.mark.parametrize("pods", [None, PodOverrides(), PodOverrides(jobs=["launcher"])])
def test_nothing_changed_in_the_pods_is_no_patch(pods: PodOverrides | None) -> None:
    assert "runtimePatches" not in TrainJob(pods=pods).to_manifest()["spec"]


def test_the_environment_of_a_job_without_trainer() -> None:
    kind = BY_ID["TrainJob"].resource
    spec = {"runtimeRef": {"name": "r"}, "trainer": None}
    assert kind.with_env({"spec": spec}, {"A": "1"})["spec"]["trainer"] == {"env": [{"name": "A", "value": "1"}]}


QUEUE = "runPolicy.schedulingPolicy.queue"
VOLCANO, YUNIKORN = "['scheduling.volcano.sh/queue-name']", "['yunikorn.apache.org/queue']"


@pytest.mark.parametrize(
    ("job", "field"),
    [
        (MPIJob(launcher=ONE, worker=TWO, queue="a", run_policy=RunPolicy(gang=Volcano(queue="b"))), QUEUE),
        (MPIJob(launcher=ONE, worker=TWO, queue="a", run_policy=RunPolicy(gang=YuniKorn(queue="b"))), YUNIKORN),
        (TrainingPods(pods=TWO, queue="a", gang=Volcano(queue="b")), f"spec.template.metadata.annotations{VOLCANO}"),
        (TrainingPods(pods=TWO, queue="a", gang=YuniKorn(queue="b")), YUNIKORN),
        (TrainJob(queue="a", pods=PodOverrides(volcano_queue="b")), VOLCANO),
    ],
    ids=lambda value: type(value).__name__,
)
def test_two_queues_are_refused(job: Any, field: str) -> None:
    said = f"{field} is 'b': Kueue and the gang scheduler would both have to admit it"
    with pytest.raises(InvalidManifestError, match=re.escape(said)):
        built(job)
    built(replace(job, queue=""))


@pytest.mark.parametrize(
    ("id", "path", "value", "said"),
    [
        ("MPIJob", ("spec", "slotsPerWorker"), 0, "spec.slotsPerWorker is 0"),
        ("MPIJob", ("spec", "mpiImplementation"), "LAM", "set it to one of OpenMPI, Intel, MPICH"),
        ("MPIJob", ("spec", "launcherCreationPolicy"), "Later", "set it to one of AtStartup, WaitForWorkersReady"),
        ("MPIJob", ("spec", "mpiReplicaSpecs", "Launcher"), ..., "Launcher is missing: this kind cannot do without"),
        ("MPIJob", ("spec", "mpiReplicaSpecs", "Worker"), ..., "add it, or set spec.runLauncherAsWorker to true"),
        ("XGBoostJob", ("spec", "xgbReplicaSpecs", "Master"), ..., "Master is missing"),
        (
            "TFJob",
            ("spec", "tfReplicaSpecs", "Master"),
            TWO.to_spec("tensorflow") | {"replicas": 1},
            "Chief and a Master",
        ),
        (
            "TFJob",
            ("spec", "tfReplicaSpecs"),
            {"PS": ONE.to_spec("tensorflow")},
            "has PS only, so that it never succeeds",
        ),
        ("PyTorchJob", ("spec", "pytorchReplicaSpecs", "Master", "restartPolicy"), "Always", "would never end"),
        ("PyTorchJob", ("spec", "elasticPolicy"), {"minReplicas": 3, "maxReplicas": 2}, "more than maxReplicas, 2"),
        ("PyTorchJob", ("spec", "elasticPolicy"), {"minReplicas": 0}, "spec.elasticPolicy.minReplicas is 0"),
        ("TFJob", ("spec", "successPolicy"), "All", "set it to 'AllWorkers', or leave it out"),
        ("TrainJob", ("spec", "runtimeRef", "name"), "", "such as 'torch-distributed'"),
        ("TrainJob", ("spec", "runtimeRef", "kind"), "Runtime", "set it to 'ClusterTrainingRuntime' or"),
        ("TrainJob", ("spec", "trainer", "numNodes"), 0, "spec.trainer.numNodes is 0"),
        ("TrainJob", ("spec", "trainer", "command"), "torchrun x", "must be a list"),
        ("TrainJob", ("spec", "runtimePatches"), [{}], "runtimePatches[0].manager is None"),
        ("TrainJob", ("spec", "activeDeadlineSeconds"), 0, "at least 1"),
        ("TrainingPods", ("spec", "completionMode"), ..., "set it to 'Indexed'"),
        ("TrainingPods", ("spec", "completions"), ..., "set it to the number of pods"),
        ("TrainingPods", ("spec", "completionMode"), "NonIndexed", "set it to 'Indexed'"),
        ("TrainingPods", ("spec", "parallelism"), 1, "all must run at once"),
        ("TrainingPods", ("spec", "template", "spec", "restartPolicy"), "Always", "'Never' or 'OnFailure'"),
        ("Experiment", ("spec", "objective", "type"), "best", "'minimize' or 'maximize'"),
        ("Experiment", ("spec", "objective", "objectiveMetricName"), "", "set it to the metric"),
        ("Experiment", ("spec", "objective", "additionalMetricNames"), ["loss"], "which is the objective"),
        ("Experiment", ("spec", "objective", "goal"), "low", "it must be a number"),
        ("Experiment", ("spec", "algorithm"), None, "for example to 'random' or 'grid'"),
        ("Experiment", ("spec", "maxTrialCount"), ..., "a search may never end"),
        ("Experiment", ("spec", "parallelTrialCount"), 9, "more than spec.maxTrialCount, 8"),
        ("Experiment", ("spec", "resumePolicy"), "Sometimes", "set it to one of Never, LongRunning, FromVolume"),
        ("Experiment", ("spec", "parameters"), [], "at least one parameter"),
        ("Experiment", ("spec", "parameters", 0, "parameterType"), "float", "set it to one of double, int"),
        ("Experiment", ("spec", "parameters", 0, "feasibleSpace", "min"), "1", "set it to less"),
        ("Experiment", ("spec", "parameters", 0, "feasibleSpace", "max"), ..., "max is None: set it to a number"),
        ("Experiment", ("spec", "parameters", 0, "feasibleSpace", "max"), "inf", "max is 'inf': set it to a number"),
        ("Experiment", ("spec", "parameters", 0, "feasibleSpace", "step"), "0", "set it to a number above 0"),
        ("Experiment", ("spec", "parameters", 0, "feasibleSpace", "step"), "-1", "set it to a number above 0"),
        ("Experiment", ("spec", "parameters", 0, "feasibleSpace", "step"), "few", "step is 'few': set it to a number"),
        (
            "Experiment",
            ("spec", "parameters", 0),
            space("int", min="1", max="2.5"),
            "max is '2.5': set it to a whole number",
        ),
        ("Experiment", ("spec", "parameters", 0, "feasibleSpace", "distribution"), "cauchy", "set it to one of unif"),
        (
            "Experiment",
            ("spec", "parameters", 0),
            space("double", min="0", max="1", distribution="logNormal"),
            "min is '0', and distribution is 'logNormal': it must begin above 0",
        ),
        ("Experiment", ("spec", "trialTemplate", "trialSpec", "metadata"), {"name": "t"}, "Katib gives each trial its"),
        (
            "Experiment",
            ("spec", "trialTemplate", "trialParameters"),
            [{"name": "lr", "reference": "lr"}, {"name": "again", "reference": "lr"}],
            "trialParameters has the reference 'lr' twice",
        ),
        ("Experiment", ("spec", "parameters", 0, "name"), "rate", "which spec.parameters does not have (rate)"),
        ("Experiment", ("spec", "algorithm"), {"algorithmName": "grid"}, "a grid over doubles needs it"),
        ("Experiment", ("spec", "parameters", 0, "feasibleSpace", "list"), ["1"], "set that to 'discrete' or"),
        ("Experiment", ("spec", "parameters", 0), LISTED, "min is '0', but a discrete parameter has a list"),
        (
            "Experiment",
            ("spec", "trialTemplate", "trialSpec", "spec", "trainer", "command", 1),
            "${trialParameters.zz}",
            "uses ${trialParameters.zz}, which trialParameters do not declare",
        ),
        ("Experiment", ("spec", "trialTemplate", "trialSpec"), ..., "set it to the job of a trial"),
        ("Experiment", ("spec", "trialTemplate", "successCondition"), "", "Katib needs it"),
        ("Experiment", ("spec", "trialTemplate", "trialSpec", "spec", "trainer", "command", 2), "1", "does not use ${"),
        (
            "Experiment",
            ("spec", "trialTemplate", "trialSpec", "spec", "runtimeRef", "name"),
            "",
            "trialSpec: spec.runtime",
        ),
    ],
)
def test_each_kinds_own_faults(id: str, path: tuple[Any, ...], value: Any, said: str) -> None:
    assert said in fault(BY_ID[id], *path, value=value)


# --- logs, ranks, environment ---------------------------------------------------------------------------------------

META = {"metadata": {"name": "j", "namespace": "ns", "uid": "u"}}
JOB = "training.kubeflow.org/job-name=j"
JOB_SET = "jobset.sigs.k8s.io/jobset-name=j"


@pytest.mark.parametrize(
    ("id", "status", "source"),
    [
        ("MPIJob", {}, LogSource("", "", "launcher", f"{JOB},training.kubeflow.org/job-role=launcher")),
        ("MPIJobV1", {}, LogSource("", "mpi", "launcher", f"{JOB},training.kubeflow.org/replica-type=launcher")),
        ("PyTorchJob", {}, None),
        ("PyTorchJob", {"replicaStatuses": {"Worker": {}}}, LogSource("j-worker-0", "pytorch", "worker-0")),
        ("PyTorchJob", {"replicaStatuses": {"Master": {}}}, LogSource("j-master-0", "pytorch", "master-0")),
        ("TFJob", {"replicaStatuses": {"Worker": {}, "PS": {}}}, LogSource("j-worker-0", "tensorflow", "worker-0")),
        ("XGBoostJob", {"replicaStatuses": {"Master": {}}}, LogSource("j-master-0", "xgboost", "master-0")),
        (
            "TrainJob",
            {},
            LogSource(
                "", "node", "node-0",
                f"{JOB_SET},jobset.sigs.k8s.io/replicatedjob-name=node,batch.kubernetes.io/job-completion-index=0",
            ),
        ),
        (
            "TrainJob",
            {"jobsStatus": [{"name": "node"}, {"name": "launcher"}, {"name": "dataset-initializer"}]},
            LogSource(
                "", "node", "launcher",
                f"{JOB_SET},jobset.sigs.k8s.io/replicatedjob-name=launcher,batch.kubernetes.io/job-completion-index=0",
            ),
        ),
        ("Experiment", {}, None),
        (
            "TrainingPods",
            {},
            LogSource(
                "", "worker", "worker-0", "batch.kubernetes.io/job-name=j,batch.kubernetes.io/job-completion-index=0"
            ),
        ),
    ],
)  # fmt: skip
def test_the_log_is_rank_0s(id: str, status: dict[str, Any], source: LogSource | None) -> None:
    assert BY_ID[id].resource.log_source(META | {"spec": {}, "status": status}) == source


@pytest.mark.parametrize(
    ("id", "name", "labels", "rank"),
    [
        ("MPIJob", "j-launcher-x7k2p", {"training.kubeflow.org/job-name": "j"}, "launcher"),
        ("MPIJob", "j-worker-10", {"training.kubeflow.org/job-name": "j"}, "worker-10"),
        ("MPIJobV1", "j-launcher", {"training.kubeflow.org/job-name": "j"}, "launcher"),
        ("PyTorchJob", "j-master-0", {"training.kubeflow.org/job-name": "j"}, "master-0"),
        (
            "TrainJob",
            "j-node-0-1-x7k2p",
            {"jobset.sigs.k8s.io/replicatedjob-name": "node", "batch.kubernetes.io/job-completion-index": "1"},
            "node-1",
        ),
        ("TrainJob", "j-launcher-0-0-x", {"jobset.sigs.k8s.io/replicatedjob-name": "launcher"}, "launcher"),
        ("TrainingPods", "j-1-x7k2p", {"batch.kubernetes.io/job-completion-index": "1"}, "worker-1"),
        ("Experiment", "trial-a-node-0-0-x", {}, "trial-a-node-0-0-x"),
    ],
)
def test_ranks_have_the_names_that_people_use(id: str, name: str, labels: dict[str, str], rank: str) -> None:
    rank_of = BY_ID[id].resource.rank_of
    assert rank_of is not None
    assert rank_of({"metadata": {"name": name, "labels": labels}}) == rank


def containers(value: Any) -> list[dict[str, Any]]:
    """Return all containers anywhere in a manifest; a TrainJob's is its trainer."""
    if isinstance(value, dict):
        own = value.get("containers") or ([value["trainer"]] if "trainer" in value else [])
        return [*own, *(each for item in value.values() for each in containers(item))]
    return [each for item in value for each in containers(item)] if isinstance(value, list) else []


@each_kind
def test_the_environment_reaches_every_container_and_wins(kind: Kind) -> None:
    if kind.id == "Experiment":
        with pytest.raises(InvalidManifestError, match="leave out checkpoint_uri"):
            kind.resource.with_env(kind.manifest, {"A": "1"})
        return
    once = kind.resource.with_env(kind.manifest, {"A": "1", "B": "2"})
    twice = kind.resource.with_env(once, {"A": "3"})
    assert containers(twice)
    for container in containers(twice):
        values = [(each["name"], each.get("value")) for each in container["env"] if each["name"] in "AB"]
        assert values == [("B", "2"), ("A", "3")]
    built_again = kind.resource.normalize(twice)
    kind.resource.check(built_again)


# --- Horovod, gangs, plain pods -------------------------------------------------------------------------------------


def horovodrun(**options: Any) -> str:
    job = horovod_job("i:1", ["python", "t.py"], **options).to_manifest()
    return " ".join(job["spec"]["mpiReplicaSpecs"]["Launcher"]["template"]["spec"]["containers"][0]["command"])


def test_horovodrun_static_and_elastic() -> None:
    static = "horovodrun --gloo -np {} --hostfile /etc/mpi/hostfile python t.py"
    assert horovodrun() == static.format(2)
    assert horovodrun(workers=3, slots_per_worker=2) == static.format(6)
    assert horovodrun(workers="{{ params.workers }}") == static.format("{{ params.workers }}")
    assert horovodrun(workers=2, min_workers=1, max_workers=4, slots_per_worker=2) == (
        "horovodrun --gloo -np 4 --min-np 2 --max-np 8 --host-discovery-script /etc/mpi/discover_hosts.sh --slots 2 "
        "python t.py"
    )


@pytest.mark.parametrize(
    "options",
    [
        {"workers": 2, "min_workers": 3},
        {"workers": 4, "max_workers": 3},
        {"workers": 2, "min_workers": 0},
        {"workers": "{{ n }}", "slots_per_worker": 2},
        {"workers": "{{ n }}", "min_workers": 1},
    ],
)
def test_numbers_of_workers_that_do_not_go_together(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidManifestError, match="workers"):
        horovod_job("i:1", ["python"], **options)


def test_a_program_that_is_no_list() -> None:
    with pytest.raises(InvalidManifestError, match=r"command is 'python t\.py': it must be a list"):
        horovod_job("i:1", "python t.py")
    with pytest.raises(InvalidManifestError, match="give the program of each rank"):
        horovod_job("i:1", [])


def test_the_launcher_of_horovod_has_the_workers_environment_but_not_their_gpus() -> None:
    specs = horovod_job("i:2", ["x"], worker=FULL).to_manifest()["spec"]["mpiReplicaSpecs"]
    launcher, worker = (specs[name]["template"]["spec"]["containers"][0] for name in ("Launcher", "Worker"))
    assert launcher["env"] == worker["env"]
    assert launcher["volumeMounts"] == worker["volumeMounts"]
    assert "resources" not in launcher
    assert launcher["image"] == worker["image"] == "i:2"


def test_volcano_and_yunikorn() -> None:
    gang = YuniKorn(queue="root.q", application_id="app")
    specs = TFJob(worker=FULL, ps=ONE, run_policy=RunPolicy(gang=gang)).to_manifest()["spec"]["tfReplicaSpecs"]
    for name, spec in specs.items():
        annotations = spec["template"]["metadata"]["annotations"]
        assert spec["template"]["spec"]["schedulerName"] == "yunikorn"
        assert annotations["yunikorn.apache.org/task-group-name"] == name.lower()
        assert annotations["yunikorn.apache.org/app-id"] == "app"
        groups = json.loads(annotations["yunikorn.apache.org/task-groups"])
        assert [(each["name"], each["minMember"]) for each in groups] == [("worker", 2), ("ps", 1)]
        assert groups[0]["minResource"] == {"cpu": "500m", "memory": "2Gi", "amd.com/gpu": "1"}
    pods = TrainingPods(pods=TWO, gang=Volcano(queue="q")).to_manifest()["spec"]["template"]
    assert pods["metadata"]["annotations"] == {
        "scheduling.volcano.sh/group-min-member": "2",
        "scheduling.volcano.sh/queue-name": "q",
    }
    assert pods["spec"]["schedulerName"] == "volcano"


def test_plain_pods_find_rank_0_by_a_service_of_the_jobs_name() -> None:
    manifest = TrainingPods(pods=TWO).to_manifest()
    env = {each["name"]: each for each in manifest["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert env["MASTER_ADDR"]["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.labels['batch.kubernetes.io/job-name']"
    assert (env["WORLD_SIZE"]["value"], env["MASTER_PORT"]["value"]) == ("2", "29500")
    ((api, service),) = BY_ID["TrainingPods"].resource.companions(META)
    assert (api.plural, service["metadata"]["name"]) == ("services", "j")
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"] == {
        "batch.kubernetes.io/job-name": "j",
        "batch.kubernetes.io/job-completion-index": "0",
    }


# --- trials ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trial", "container", "condition"),
    [
        (MPIJob(launcher=Replica(image="i", args=["${trialParameters.lr}"]), worker=TWO), "launcher", "Succeeded"),
        (PyTorchJob(worker=Replica(image="i", args=["${trialParameters.lr}"])), "pytorch", "Succeeded"),
        (TrainingPods(pods=Replica(image="i", args=["${trialParameters.lr}"])), "worker", "Complete"),
        (TrainJob(trainer=Trainer(args=["${trialParameters.lr}"])), "node", "Complete"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_katib_is_told_what_it_must_know_of_the_trials_kind(trial: Any, container: str, condition: str) -> None:
    search = Experiment(
        objective=Objective(metric="loss"), parameters=[Parameter(name="lr", min=0.1, max=1)], trial=trial
    )
    template = built(search)["spec"]["trialTemplate"]
    assert template["primaryContainerName"] == container
    assert template["successCondition"] == f'status.conditions.#(type=="{condition}")#|#(status=="True")#'
    assert template["trialParameters"] == [{"name": "lr", "reference": "lr"}]
    assert template["primaryPodLabels"]
    assert template["retain"] is True


def test_numbers_of_a_search_become_katibs_text() -> None:
    given = [
        space("int", min=1.0, max=9, step="2.0"),
        space("double", min=0.1, max=1) | {"name": "b"},
        space("discrete", list=[1, 2.5]) | {"name": "c"},
    ]
    manifest = copy.deepcopy(BY_ID["Experiment"].manifest)
    manifest["spec"]["parameters"] = given
    found = BY_ID["Experiment"].resource.normalize(manifest)["spec"]["parameters"]
    assert [each["feasibleSpace"] for each in found] == [
        {"min": "1", "max": "9", "step": "2"},
        {"min": "0.1", "max": "1"},
        {"list": ["1", "2.5"]},
    ]


def test_limits_of_a_templated_number_of_trials() -> None:
    spec = built(replace(SEARCH, max_trials="1"))["spec"]
    assert (spec["maxTrialCount"], spec["parallelTrialCount"], spec["maxFailedTrialCount"]) == (1, 1, 1)


def test_a_search_that_ends_by_itself_needs_no_limit() -> None:
    for search in (
        replace(SEARCH, algorithm="grid", parameters=[Parameter(name="lr", min=0.1, max=1, step=0.1)]),
        replace(SEARCH, objective=Objective(metric="loss", goal=0.1)),
    ):
        manifest = search.to_manifest()
        del manifest["spec"]["maxTrialCount"]
        kind = BY_ID["Experiment"].resource
        kind.check(kind.normalize(manifest))


def test_an_ordinary_job_is_rank_0() -> None:
    pod = {
        "containers": [{"name": "c", "image": "i", "command": ["p", "${trialParameters.lr}"]}],
        "restartPolicy": "Never",
    }
    job = {"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": {"spec": pod}}}
    kind = BY_ID["TrainingPods"].resource
    normalized = kind.normalize(job)
    kind.check(normalized)
    assert (normalized["spec"]["completionMode"], normalized["spec"]["completions"]) == ("Indexed", 1)
    assert "completionMode" not in job["spec"]
    search = Experiment(
        objective=Objective(metric="loss"), parameters=[Parameter(name="lr", min=0.1, max=1)], trial=job
    )
    assert built(search)["spec"]["trialTemplate"]["primaryContainerName"] == "c"


def test_pods_of_a_trial_could_not_find_each_other() -> None:
    pods = TrainingPods(pods=Replica(image="i", args=["${trialParameters.lr}"], replicas=2))
    search = Experiment(
        objective=Objective(metric="loss"), parameters=[Parameter(name="lr", min=0.1, max=1)], trial=pods
    )
    with pytest.raises(InvalidManifestError, match="completions is 2: pods of a trial could not find each other"):
        built(search)


def test_what_a_raw_manifest_leaves_to_katib_is_filled_in() -> None:
    kind = BY_ID["Experiment"]
    raw = kind.manifest
    template = raw["spec"]["trialTemplate"]
    for name in ("primaryContainerName", "primaryPodLabels", "successCondition", "failureCondition"):
        del template[name]
    assert kind.resource.normalize(raw) == kind.resource.normalize(kind.manifest)
    template["primaryContainerName"] = "mine"
    assert kind.resource.normalize(raw)["spec"]["trialTemplate"]["primaryContainerName"] == "mine"


def test_the_best_trial_has_numbers() -> None:
    kind = BY_ID["Experiment"]
    obj = kind.manifest | {"metadata": {"name": "s"}, "status": kind.ended()}
    assert kind.resource.result(obj) == {
        "trial": "search-a",
        "parameters": {"lr": 0.01, "optimizer": "sgd"},
        "metrics": {"loss": 0.31},
    }
    obj["spec"]["objective"]["type"] = "maximize"
    assert kind.resource.result(obj)["metrics"] == {"loss": 2}
    obj["spec"]["objective"]["metricStrategies"] = [{"name": "loss", "value": "latest"}]
    assert kind.resource.result(obj)["metrics"] == {"loss": 0.4}
    assert kind.resource.facts(obj) == {"trials": 2, "trials_succeeded": 2, "trials_failed": 0}


def test_the_pods_of_failed_trials_are_looked_at() -> None:
    status = {"failedTrialList": ["a", "b"], "metricsUnavailableTrialList": ["c"]}
    select = BY_ID["Experiment"].resource.pod_selector
    assert select(META | {"status": status}) == "katib.kubeflow.org/trial in (a,b,c)"
    assert select(META | {"status": {}}) == ""
