"""Manifests as templated fields: what becomes of builder's objects, mappings, files and text."""

from __future__ import annotations

import datetime
import json
import textwrap
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.operators.spark import SparkApplicationOperator
from airflow_provider_sparkml.resources.spark import SparkApplication

MANIFEST = {
    "apiVersion": "sparkoperator.k8s.io/v1beta2",
    "kind": "SparkApplication",
    "metadata": {"name": "{{ name }}", "labels": {"team": "a"}},
    # Texts that look like files, of which a manifest has many.
    "spec": {"mainApplicationFile": "local:///app.yaml", "arguments": ["--config", "/etc/{{ name }}.json", "x.yml"]},
}
RENDERED = {
    **MANIFEST,
    "metadata": {"name": "rendered", "labels": {"team": "a"}},
    "spec": {"mainApplicationFile": "local:///app.yaml", "arguments": ["--config", "/etc/rendered.json", "x.yml"]},
}
YAML = textwrap.dedent(
    """\
    apiVersion: sparkoperator.k8s.io/v1beta2
    kind: SparkApplication
    metadata: {name: "{{ name }}", labels: {team: a}}
    spec:
      mainApplicationFile: local:///app.yaml
      arguments: [--config, "/etc/{{ name }}.json", x.yml]
    """
)


def render(application: Any, folder: Path, **kwargs: Any) -> SparkApplicationOperator:
    """Take an operator through what Airflow does with it: parse the DAG, then render."""
    with DAG("d", start_date=datetime.datetime(2026, 1, 1)) as dag:
        operator = SparkApplicationOperator(task_id="t", application=application, **kwargs)
    dag.fileloc = str(folder / "dag.py")
    dag.resolve_template_files()
    operator.render_template_fields({"name": "rendered"})  # type: ignore[typeddict-item]
    return operator


def test_a_mapping_is_rendered_and_texts_in_it_are_no_files(tmp_path: Path) -> None:
    assert render(MANIFEST, tmp_path).manifest() == RENDERED
    assert MANIFEST["metadata"]["name"] == "{{ name }}"  # type: ignore[index]


def test_what_is_changed_is_a_copy(tmp_path: Path) -> None:
    operator = render(MANIFEST, tmp_path)
    operator.manifest()["spec"]["arguments"].append("changed")
    assert operator.manifest() == RENDERED


def test_yaml_text(tmp_path: Path) -> None:
    assert render(YAML, tmp_path).manifest() == RENDERED


def test_yaml_text_that_ends_like_a_file_name(tmp_path: Path) -> None:
    text = YAML.replace("[--config, ", "\n    [--config, ").rstrip() + "\n  type: a.yaml"
    assert render(text, tmp_path).manifest()["spec"]["type"] == "a.yaml"


@pytest.mark.parametrize("name", ["app.yaml", "app.yml", "app.json"])
@pytest.mark.parametrize("form", ["relative", "absolute", "path object"])
def test_a_file(tmp_path: Path, name: str, form: str) -> None:
    text = json.dumps(MANIFEST) if name.endswith("json") else YAML
    (tmp_path / name).write_text(text)
    given: Any = {"relative": name, "absolute": str(tmp_path / name), "path object": tmp_path / name}[form]
    operator = render(given, tmp_path)
    assert operator.manifest() == RENDERED
    assert "rendered" in operator.application, "the web page shows the content, rendered"


def test_a_file_whose_last_word_is_a_file_name(tmp_path: Path) -> None:
    (tmp_path / "app.yaml").write_text(YAML + "  type: b.yaml")
    assert render("app.yaml", tmp_path).manifest()["spec"]["type"] == "b.yaml"


@pytest.mark.parametrize("path", ["missing.yaml", "/nowhere/missing.json"])
def test_a_missing_file_is_named(tmp_path: Path, path: str) -> None:
    with pytest.raises(InvalidManifestError, match=rf"^application is '{path}', but there is no such file"):
        render(path, tmp_path)


def test_a_builders_object(tmp_path: Path) -> None:
    application = SparkApplication(image="i:1", main_application_file="local:///a.py", name="{{ name }}")
    operator = render(application, tmp_path)
    assert operator.manifest()["metadata"]["name"] == "rendered"
    assert application.name == "{{ name }}"


def test_a_builders_object_may_hold_another_tasks_output() -> None:
    from airflow.sdk import task

    with DAG("d", start_date=datetime.datetime(2026, 1, 1)):

        @task
        def before() -> str:
            return "x"

        application = SparkApplication(
            image="i:1",
            main_application_file="local:///a.py",
            arguments=[before()],  # type: ignore[list-item]
        )
        operator = SparkApplicationOperator(task_id="t", application=application)
    assert operator.upstream_task_ids == {"before"}


def test_labels_are_rendered_and_added(tmp_path: Path) -> None:
    operator = render(MANIFEST, tmp_path, labels={"run": "{{ name }}", "team": "b"})
    assert operator.manifest()["metadata"]["labels"] == {"team": "b", "run": "rendered"}


def test_it_survives_airflows_serialization() -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    with DAG("d", start_date=datetime.datetime(2026, 1, 1)) as dag:
        SparkApplicationOperator(
            task_id="t", application=SparkApplication(image="i", main_application_file="local:///a")
        )
        SparkApplicationOperator.partial(task_id="m").expand(application=[MANIFEST, MANIFEST])
    again = DagSerialization.from_dict(DagSerialization.to_dict(dag))
    assert {link.name for link in again.get_task("t").operator_extra_links} == {"Spark UI", "Spark history"}
    assert again.get_task("m").is_mapped
