"""Whatever an author gives as a manifest becomes one, or the error says what is wrong with it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.resources.manifests import load_manifest, load_manifests
from airflow_provider_sparkml.resources.spark import Driver, SparkApplication

GOOD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "c"}]}}


POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\n"


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
        ("a: 2026-02-31", r"application: this is not valid YAML: day is out of range"),
        ("[" * 3000, r"application: this is not valid YAML: maximum recursion depth"),
        ("a: 1\n---\nb: 2\n", r"application holds 2 YAML documents: give exactly one"),
        ("", r"holds 0 YAML documents"),
        ("just text", r"application is 'just text': it must be a Kubernetes object"),
        ("- a\n- b", r"it must be a Kubernetes object"),
        ({"kind": "Pod"}, r"apiVersion is None"),
        ({"apiVersion": "v1"}, r"kind is None"),
        ({"apiVersion": "v1", "kind": "Pod", "metadata": "p"}, r"metadata is 'p': it must be a mapping"),
        (7, r"application is a int: give"),
        (SparkApplication, r"application is the class SparkApplication: give an object of it"),
        (f"{POD}spec: {{a: 1}}\nspec: {{b: 2}}\n", r"application, line 5, column 1.*the key 'spec' is there twice"),
        (f"{POD}spec: {{since: 2026-01-01}}\n", r"spec\.since is the date 2026-01-01: quote it"),
        (f"{POD}spec: {{env: [{{1: a}}]}}\n", r"spec\.env\[0\] has the key 1: keys are text; quote it"),
        (f"{POD}spec: {{a: .nan}}\n", r"spec\.a is nan, a float"),
        (f"{POD}spec: &all {{a: *all}}\n", r"application contains itself"),
        ({**GOOD, "spec": {"driver": Driver()}}, r"spec\.driver is Driver\(.*a Driver: a manifest holds text"),
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


def test_yaml_aliases_and_merges_become_values_of_their_own() -> None:
    manifest = load_manifest(
        f"{POD}spec:\n  x: {{y: {{base: &base {{a: 1, b: 2}}, merged: &merged {{<<: *base, b: 3}}}}}}\n"
        "  again: {<<: *merged}\n  same: *base\n"
    )
    spec = manifest["spec"]
    assert spec["again"] == {"a": 1, "b": 3}
    spec["same"]["a"] = "changed"
    assert spec["x"]["y"]["base"] == {"a": 1, "b": 2}


def test_what_is_loaded_can_be_sent() -> None:
    json.dumps(load_manifest({**GOOD, "spec": {"arguments": ("a", 1, 0.5, True, None)}}), allow_nan=False)


def test_describing_kinds_imports_nothing_heavy() -> None:
    """A DAG file pays for this at every parse."""
    code = (
        "import sys, airflow_provider_sparkml.resources as r, pkgutil, importlib\n"
        "for m in pkgutil.iter_modules(r.__path__): importlib.import_module(f'{r.__name__}.{m.name}')\n"
        "print(*sorted({'yaml', 'jsonschema', 'pydantic', 'airflow', 'aiohttp', 'kubernetes'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""


def test_a_text_may_hold_several_where_that_is_wanted(tmp_path: Path) -> None:
    text = "{apiVersion: v1, kind: A}\n---\n\n---\n{apiVersion: v1, kind: B}\n"
    file = tmp_path / "all.yaml"
    file.write_text(text)
    for source in (text, str(file)):
        assert [each["kind"] for each in load_manifests(source)] == ["A", "B"]
    assert load_manifests({"apiVersion": "v1", "kind": "A"}) == [{"apiVersion": "v1", "kind": "A"}]
    with pytest.raises(InvalidManifestError, match="holds no YAML document"):
        load_manifests("---\n---\n")
    with pytest.raises(InvalidManifestError, match=r"document 2: kind is None"):
        load_manifests("{apiVersion: v1, kind: A}\n---\n{apiVersion: v1}\n")
