"""`sparkml validate`: file and line of what is wrong, without a cluster and by an API server's dry run."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from airflow_provider_sparkml.cli import app
from airflow_provider_sparkml.cli.documents import read_documents
from airflow_provider_sparkml.exceptions import InvalidManifestError

GOOD = """\
# a comment
apiVersion: sparkoperator.k8s.io/v1beta2
kind: SparkApplication
metadata: {name: pi}
spec:
  type: Python
  mode: cluster
  image: example.com/spark:1
  sparkVersion: 4.0.0
  mainApplicationFile: local:///a.py
  driver:
    memory: 512m
  executor: {instances: 1}
"""
CONFIG_MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: cm}\ndata: {a: b}\n"


@pytest.fixture
def file(tmp_path: Path) -> Any:
    """Write a file, and return its path."""

    def write(text: str, name: str = "m.yaml") -> Path:
        path = tmp_path / name
        path.write_text(textwrap.dedent(text))
        return path

    return write


def validate(*arguments: object, stdin: str | None = None) -> tuple[int, list[str]]:
    result = CliRunner().invoke(app, ["validate", *map(str, arguments)], input=stdin)
    return result.exit_code, result.output.splitlines()


@pytest.mark.parametrize("server", [False, True])
def test_what_is_valid(file: Any, api_server: Any, namespace: str, server: bool) -> None:
    path = file(f"{GOOD}---\n{CONFIG_MAP}---\n")
    options = ["--kubeconfig", api_server.kubeconfig, "-n", namespace] if server else []
    assert validate(path, *options) == (
        0, [f"{path}:2: SparkApplication pi is valid", f"{path}:15: ConfigMap cm is valid"]
    )  # fmt: skip
    status, found = api_server.request("GET", f"/api/v1/namespaces/{namespace}/configmaps")
    assert (status, found["items"]) == (200, []), "a dry run stores nothing"


@pytest.mark.parametrize("server", [False, True])
@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("memory: 512m", "memori: 512m", 12, "spec.driver.memori: unknown field"),
        ("instances: 1", "instances: one", 13, "spec.executor.instances is 'one': set it to a whole number"),
        ("type: Python", "type: Pyton", 6, "spec.type"),
        ("mode: cluster", "mode: {}", 7, "spec.mode"),
        ("executor: {instances: 1}", "executor: {instances: 1, tolerations: 3}", 13, "must be of type array"),
        ("  mainApplicationFile: local:///a.py\n", "", 5, "spec.mainApplicationFile is None: set it to the program"),
        ("memory: 512m", "memory: 10m", 12, "Spark does not start with less than"),
        ("metadata: {name: pi}", "metadata: {name: pi, lables: {}}", 4, "lables: unknown field"),
    ],
)
def test_file_and_line_of_what_is_wrong(
    file: Any, api_server: Any, namespace: str, server: bool, old: str, new: str, line: int, said: str
) -> None:
    assert old in GOOD
    path = file(f"{CONFIG_MAP}---\n{GOOD.replace(old, new)}")
    code, lines = validate(path, *(["--kubeconfig", api_server.kubeconfig, "-n", namespace] if server else []))
    assert code == 1
    assert lines[0] == f"{path}:1: ConfigMap cm is valid"
    assert any(each.startswith(f"{path}:{line + 5}: ") and said in each for each in lines[1:]), lines


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\na: 2\n", ":2: this is not valid YAML: the key 'a' is there twice"),
        ("a: [1\n", ":2: this is not valid YAML: "),
        ("a: 2026-02-31\n", ": this is not valid YAML: day is out of range"),
        ("kind: X\n", ":1: apiVersion is None: every manifest names"),
        ("just text\n", ":1: manifest is 'just text': it must be a Kubernetes object"),
        ("apiVersion: v1\nkind: X\nspec:\n  day: 2026-01-01\n", ":4: spec.day is the date 2026-01-01"),
        ("apiVersion: v1\nkind: X\nspec: &a\n  b: *a\n", "contains itself"),
        ("apiVersion: ray.io/v1\nkind: RayJob\n", ":2: kind 'RayJob' of apiVersion 'ray.io/v1' is not known here"),
        ("apiVersion: v1\nkind: ConfigMap\n", ":1: metadata.name: give a name"),
        ("---\n---\n", ": there is no object in it"),
    ],
)
def test_what_is_no_manifest(file: Any, text: str, said: str) -> None:
    path = file(text)
    code, (line,) = validate(path)
    assert code == 1
    assert line.startswith(str(path))
    assert said in line


def test_a_bad_file_does_not_keep_the_others_from_being_checked(file: Any) -> None:
    code, lines = validate(file("[", "bad.yaml"), file(GOOD, "good.yaml"), "no-such-file.yaml")
    assert code == 1
    assert [any(said in line for line in lines) for said in ("not valid YAML", "pi is valid", "it cannot be read")] == [
        True
    ] * 3


def test_a_job_may_be_left_to_its_task_to_name(file: Any, api_server: Any, namespace: str) -> None:
    path = file(GOOD.replace("metadata: {name: pi}\n", ""))
    for options in ([], ["--kubeconfig", api_server.kubeconfig, "-n", namespace]):
        assert validate(path, *options) == (0, [f"{path}:2: SparkApplication (to be named by its task) is valid"])


def test_the_values_of_a_secret_are_not_told(file: Any) -> None:
    secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ntype: [hushhush]\ndata: {k: hushhush}\n"
    code, lines = validate(file(secret))
    assert code == 1
    assert lines
    assert "hushhush" not in "\n".join(lines)


def test_standard_input() -> None:
    assert validate("-", stdin=CONFIG_MAP) == (0, ["-:1: ConfigMap cm is valid"])


def test_a_server_checks_what_exists_and_what_nobody_knows(
    file: Any, api_server: Any, namespace: str, widgets: Any
) -> None:
    options = ["--kubeconfig", api_server.kubeconfig, "-n", namespace]
    path = file("apiVersion: example.test/v1\nkind: Widget\nmetadata: {name: w}\nspce: {}\n")
    code, lines = validate(path, *options)
    assert (code, lines) == (1, [f"{path}:4: spce: unknown field"])
    api_server.request("POST", f"/api/v1/namespaces/{namespace}/configmaps", {"metadata": {"name": "cm"}})
    assert validate(file(CONFIG_MAP), *options)[0] == 0
    assert validate(file("apiVersion: no.such/v1\nkind: X\nmetadata: {name: x}\n"), *options)[0] == 1


def test_a_server_that_is_away_is_an_error(file: Any, tmp_path: Path) -> None:
    code, lines = validate(file(GOOD), "--kubeconfig", tmp_path / "none")
    assert code == 1
    assert lines[0].startswith("error: kubeconfig")


def test_lines_of_fields(file: Any) -> None:
    text = """\
    base: &base
      a: 1
    list:
      - x: 1
        y: 2
      - {z: 3}
    merged:
      <<: *base
      b: {"c.d": 4}
    """
    (document,) = read_documents(file(text))
    expected = {"base.a": 2, "list": 3, "list[0]": 4, "list[0].y": 5, "list[1].z": 6, "merged.a": 2, "merged.b": 9}
    assert {path: document.line_of(path) for path in expected} == expected
    assert document.line_of("list[0].nothing.there[2]") == 4
    assert document.line_of("merged.b.c.d") == 9
    assert document.line_of("nothing") == 1
    with pytest.raises(InvalidManifestError, match="cannot be read"):
        read_documents(Path("/no/such/file"))


def test_what_production_refuses(file: Any) -> None:
    path = file(GOOD.replace("spark:1", "spark").replace("local:///a.py", "s3a://b/a.py"))
    assert validate(path)[0] == 0
    assert validate(path, "--profile", "development")[0] == 0
    status, (image, program) = validate(path, "--profile", "production")
    assert status == 1
    assert image.startswith(f"{path}:8: spec.image is 'example.com/spark', which can be another image tomorrow")
    assert program.startswith(f"{path}:10: spec.mainApplicationFile is 's3a://b/a.py', which is not in the image")
    assert validate(path, "--profile", "prod")[0] == 2
    status, lines = validate(file(GOOD.replace("spark:1", "Spark:1")), "--profile", "production")
    assert (status, len(lines)) == (1, 1)
    assert "spec.image is 'example.com/Spark:1', which is no image" in lines[0]


def test_what_is_valid_and_yet_may_do_nothing_is_told(file: Any) -> None:
    path = file(
        GOOD.replace("memory: 512m", "memory: 512m\n    env: [{name: A, value: b}]")
        + "  sparkConf:\n    spark.executor.instancs: '3'\n    spark.executor.secrt: hidden\n"
    )
    assert validate(path) == (
        0,
        [
            f"{path}:2: SparkApplication pi is valid",
            f"{path}:15: warning: spec.sparkConf['spark.executor.instancs'] is no property of Spark 4.3, and perhaps "
            "of 4.0.0, which ignores it; did you mean 'spark.executor.instances'?",
            f"{path}:15: warning: spec.sparkConf['spark.executor.secrt'] is no property of Spark 4.3, and perhaps "
            "of 4.0.0, which ignores it; see if a plug-in of yours reads it",
            f"{path}:13: note: spec.driver.env: without the Spark operator's webhook these are ignored, and nobody "
            "says so",
        ],
    )
