"""Run manifests: what they keep, and what is refused when one is read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.resources.lineage import RunManifest, digest_of, parse, parse_text
from airflow_provider_sparkml.resources.spark import Driver, SparkApplication
from airflow_provider_sparkml.resources.spark_apache import ApacheSparkApplication

DIGEST = f"sha256:{'0a' * 32}"
MADE = RunManifest("d", "r", "t", params={"rows": 9}, model_uri="s3://m/1")

texts = st.text(max_size=20)
values = st.dictionaries(texts, st.one_of(st.integers(), st.floats(allow_nan=False), texts, st.booleans()), max_size=3)
manifests = st.builds(
    RunManifest,
    dag_id=st.text(min_size=1, max_size=9),
    run_id=st.text(min_size=1, max_size=9),
    task_id=st.text(min_size=1, max_size=9),
    map_index=st.integers(-1, 9),
    name=texts,
    git_commit=texts,
    params=values,
    metrics=values,
    inputs=values,
    version=st.just(1),
)


@given(manifests)
def test_what_is_written_is_read(made: RunManifest) -> None:
    assert parse_text(json.dumps(made.to_json()), "run.json") == made


@given(manifests, st.integers(1, 400))
def test_a_half_written_file_is_told(made: RunManifest, kept: int) -> None:
    text = json.dumps(made.to_json())
    with pytest.raises(InvalidManifestError, match=r"^run\.json: not JSON .*written whole"):
        parse_text(text[: min(kept, len(text) - 1)], "run.json")


def test_a_field_of_a_later_release_is_left_out() -> None:
    assert parse({**MADE.to_json(), "colour": "red"}, "here") == MADE


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "here: a run manifest is a JSON object, this is list"),
        ({}, "here: version is None, and not 1"),
        ({**MADE.to_json(), "version": 2}, "here: version is 2, and not 1"),
        ({**MADE.to_json(), "metrics": 3}, "here: metrics is 3, and should be of type Mapping"),
        ({**MADE.to_json(), "try_number": True}, "here: try_number is True, and should be of type int"),
        ({**MADE.to_json(), "run_id": ""}, "here: run_id is missing"),
    ],
)
def test_what_is_none_is_refused(data: Any, message: str) -> None:
    with pytest.raises(InvalidManifestError) as refused:
        parse(data, "here")
    assert str(refused.value).startswith(message)


def test_it_is_completed_by_the_job() -> None:
    result = {"name": "j", "namespace": "n", "image": "i:1", "image_digest": DIGEST, "spark_application_id": "spark-1"}
    told = {"metrics": {"auc": 0.7}, "inputs": {"flights": "f"}, "parameters": None, "sample": [1]}
    whole = MADE.completed("SparkApplication", {**result, "result": told})
    assert (whole.name, whole.image_digest, whole.spark_application_id) == ("j", DIGEST, "spark-1")
    assert (whole.metrics, whole.inputs, whole.parameters) == ({"auc": 0.7}, {"flights": "f"}, {})
    assert whole.params == {"rows": 9}
    assert MADE.completed("Job", {"result": "no mapping"}).metrics == {}


def test_before_the_job_only_an_image_named_by_digest_has_one() -> None:
    manifest = {"kind": "SparkApplication", "metadata": {"namespace": "n"}, "spec": {"image": "i:1", "driver": {}}}
    assert (MADE.before(manifest).image, MADE.before(manifest).image_digest) == ("i:1", "")
    pods = {"template": {"spec": {"containers": [{"name": "main", "image": f"i@{DIGEST}"}]}}}
    assert MADE.before({"kind": "Job", "spec": pods}).image_digest == DIGEST


@pytest.mark.parametrize(
    "job",
    [
        SparkApplication(image="app:1", driver=Driver(image=f"driver@{DIGEST}"), main_application_file="local:///a.py"),
        ApacheSparkApplication(image=f"driver@{DIGEST}", main_application_file="local:///a.py"),
    ],
    ids=["driver", "Apache"],
)
def test_the_image_is_the_drivers(job: Any) -> None:
    assert MADE.before(job.to_manifest()).image == f"driver@{DIGEST}"
    assert MADE.before(job.to_manifest()).image_digest == DIGEST


@pytest.mark.parametrize(
    ("image_id", "digest"),
    [
        (f"docker.io/team/spark@{DIGEST}", DIGEST),
        (f"docker-pullable://team/spark@{DIGEST}", DIGEST),
        (DIGEST, DIGEST),
        ("sparkml://spark-bbbc", "sparkml://spark-bbbc"),
        ("", ""),
    ],
)
def test_the_digest_in_an_image_id(image_id: str, digest: str) -> None:
    assert digest_of(image_id) == digest
