"""Whatever an author gives as a manifest becomes one, or the error says what is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.resources.manifests import load_manifest
from airflow_provider_sparkml.resources.spark import SparkApplication

GOOD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "c"}]}}


def test_every_form_gives_the_same(tmp_path: Path) -> None:
    for suffix, text in (
        (".json", json.dumps(GOOD)),
        (".yaml", json.dumps(GOOD)),
        (".yml", "---\n" + json.dumps(GOOD)),
    ):
        (tmp_path / f"pod{suffix}").write_text(text)
        assert load_manifest(tmp_path / f"pod{suffix}") == GOOD
        assert load_manifest(f"pod{suffix}", search_path=tmp_path) == GOOD
    assert load_manifest(GOOD) == GOOD
    assert load_manifest(json.dumps(GOOD)) == GOOD
    assert load_manifest("apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c}]}\n") == GOOD


def test_a_typed_object_builds_itself() -> None:
    application = SparkApplication(image="i:1", main_application_file="local:///x.py")
    assert load_manifest(application) == application.to_manifest()


def test_the_authors_dict_is_never_part_of_the_manifest() -> None:
    manifest = load_manifest(GOOD)
    manifest["spec"]["containers"][0]["name"] = "changed"
    assert GOOD["spec"]["containers"][0]["name"] == "c"  # type: ignore[index]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("a: [1\nb: 2", r"application, line 2, column 2: this is not valid YAML"),
        ("a: 1\n---\nb: 2\n", r"application holds 2 YAML documents: give exactly one"),
        ("", r"holds 0 YAML documents"),
        ("just text", r"application is 'just text': it must be a Kubernetes object"),
        ("- a\n- b", r"it must be a Kubernetes object"),
        ({"kind": "Pod"}, r"apiVersion is None"),
        ({"apiVersion": "v1"}, r"kind is None"),
        ({"apiVersion": "v1", "kind": "Pod", "metadata": "p"}, r"metadata is 'p': it must be a mapping"),
        (7, r"application is a int: give"),
        ("absent.yaml", r"the path 'absent\.yaml', which cannot be read"),
    ],
)
def test_what_is_no_manifest_is_refused(given: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidManifestError, match=message):
        load_manifest(given, search_path=tmp_path)


def test_a_fault_in_a_file_names_the_file_and_the_line(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("apiVersion: v1\nkind: Pod\nspec: {a: [}\n")
    with pytest.raises(InvalidManifestError, match=r"bad\.yaml, line 3, column 12"):
        load_manifest("bad.yaml", search_path=tmp_path)


def test_yaml_cannot_run_code() -> None:
    with pytest.raises(InvalidManifestError, match="not valid YAML"):
        load_manifest("!!python/object/apply:os.system\n- echo\n")
