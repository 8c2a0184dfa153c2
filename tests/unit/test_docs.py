"""The documentation: it builds, its examples run, its messages are the code's, and nothing public is left out."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from airflow_provider_sparkml import exceptions
from airflow_provider_sparkml.get_provider_info import get_provider_info
from airflow_provider_sparkml.resources.base import Manifest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PACKAGE = ROOT / "airflow_provider_sparkml"
PAGES = sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))

FENCE = re.compile(r"^( *)``` ?\{?\.?python\}?\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
SNIPPET = re.compile(r'^--8<-- "(.*)"$', re.MULTILINE)
CODE_BLOCK = re.compile(r"\.\. code-block:: python\n\n((?:    .*\n|\n)+)")


def definitions(module: str) -> ast.Module:
    """Return a module of the package as its source has it: what is only read need not be imported."""
    return ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text())


OPERATORS = [
    (module, node.name)
    for role in ("operators", "sensors")
    for module in sorted({module for entry in get_provider_info()[role] for module in entry["python-modules"]})
    for node in definitions(module).body
    if isinstance(node, ast.ClassDef) and node.name.endswith(("Operator", "Sensor"))
]


def text_of(page: str) -> str:
    """Return a page with the files that it includes."""
    return SNIPPET.sub(lambda found: (ROOT / found[1]).read_text(), (DOCS / page).read_text())


def examples_of(text: str) -> list[str]:
    """Return the Python code in a text."""
    return [textwrap.dedent(found[2]) for found in FENCE.finditer(text)]


EXAMPLES = [
    pytest.param(example, id=f"{page}-{number}")
    for page in [*PAGES, "../README.md"]
    for number, example in enumerate(examples_of(text_of(page)))
]


def examples_in_docstrings(module: str) -> list[Any]:
    """Return module and code of each example in the docstrings of a module's classes."""
    return [
        pytest.param(module, textwrap.dedent(found[1]), id=node.name)
        for node in definitions(module).body
        if isinstance(node, ast.ClassDef)
        for found in CODE_BLOCK.finditer(f"{ast.get_docstring(node) or ''}\n")
    ]


IN_DOCSTRINGS = [
    example
    for role in ("operators", "sensors", "resources")
    for path in sorted((PACKAGE / role).glob("[!_]*.py"))
    for example in examples_in_docstrings(f"airflow_provider_sparkml.{role}.{path.stem}")
]


def imports_of(example: str) -> set[str]:
    """Return the names of the packages that an example imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(example)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").partition(".")[0])
    return names


def run(example: str, namespace: dict[str, Any]) -> list[Any]:
    """Run an example; return the operators that it makes."""
    from airflow.sdk import DAG, BaseOperator

    exec(compile(example, "<example>", "exec"), namespace)
    tasks = [task for dag in namespace.values() if isinstance(dag, DAG) for task in dag.tasks]
    alone = [value for value in namespace.values() if isinstance(value, BaseOperator)]
    return list({id(operator): operator for operator in (*tasks, *alone)}.values())


# --- the site ---


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    built = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stdout + built.stderr
    page = (tmp_path / "operators" / "spark_application" / "index.html").read_text()
    assert "queue_timeout" in page, "the reference is generated from the docstrings"
    for html in tmp_path.rglob("*.html"):
        shown = html.read_text()
        assert ":class:" not in shown, f"a role of reStructuredText in {html.name}"
        assert "code-block::" not in shown, f"a directive of reStructuredText in {html.name}"
        assert not re.search(r'(?:src|href)="https?://[^"]*\.(?:js|css|woff2?)"', shown), "the site fetches something"


def test_the_navigation_has_every_page_once() -> None:
    def pages(nav: Any) -> Iterator[str]:
        for entry in nav:
            for value in entry.values():
                yield from pages(value) if isinstance(value, list) else [value]

    listed = list(pages(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))
    assert sorted(listed) == PAGES


# --- examples ---


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_runs(example: str, api_server: Any) -> None:
    if "pyspark" in imports_of(example):
        compile(example, "<example>", "exec")  # pyspark is in the images, not here
        return
    check_manifests(run(example, {"__name__": "example"}), api_server)


@pytest.mark.parametrize(("module", "example"), IN_DOCSTRINGS)
def test_an_example_in_a_docstring_runs(module: str, example: str, api_server: Any) -> None:
    check_manifests(run(example, dict(vars(importlib.import_module(module)))), api_server)


def check_manifests(operators: list[Any], api_server: Any) -> None:
    """Let the kind itself, and then the API server, check what the operators would create."""
    from airflow_provider_sparkml.operators.base import ManifestOperator

    for operator in operators:
        if not isinstance(operator, ManifestOperator) or not hasattr(
            getattr(operator, "trigger_class", None), "resource"
        ):
            continue  # of any kind, or of none
        resource = operator.trigger_class.resource
        if "spec" not in operator.manifest():
            continue  # of one that is there already
        manifest: Manifest = resource.normalize(operator.manifest())
        metadata = manifest.setdefault("metadata", {})
        if "{{" in str(metadata):
            continue  # a name that only a run has
        resource.check(manifest)
        metadata["name"] = metadata.get("name") or "example"
        path = resource.api.path(metadata.get("namespace", "default"))
        if account := manifest["spec"].get("serviceAccountName"):  # no pod is admitted without
            api_server.request("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": account}})
        status, answer = api_server.request("POST", f"{path}?dryRun=All&fieldValidation=Strict", manifest)
        assert status == 201, answer


@pytest.mark.parametrize(("module", "name"), OPERATORS)
def test_an_operator_has_a_page_with_its_reference_and_an_example_of_its_own(module: str, name: str) -> None:
    pages = [page for page in PAGES if f"::: {module}.{name}\n" in (DOCS / page).read_text()]
    assert len(pages) == 1, f"{module}.{name} has no page"
    made = [
        type(operator).__name__
        for example in examples_of(text_of(pages[0]))
        if "airflow_provider_sparkml" in imports_of(example) and "pyspark" not in imports_of(example)
        for operator in run(example, {"__name__": "example"})
    ]
    assert name in made


# --- exceptions and messages ---


def rows(page: str, columns: int) -> list[tuple[str, ...]]:
    """Return the rows of all tables of a page that have so many columns, without their headings."""
    found = []
    for line in (DOCS / page).read_text().splitlines():
        cells = tuple(cell.strip() for cell in line.strip("|").split(" | "))
        if line.startswith("| ") and len(cells) == columns:
            found.append(cells)
    return [cells for cells in found if cells[0] not in ("class", "message")]


PUBLIC = {
    name: error
    for name, error in vars(exceptions).items()
    if inspect.isclass(error) and issubclass(error, exceptions.SparkMLError)
}
AGAIN = {name.strip("`"): again for name, _, again in rows("exceptions.md", 3)}


@pytest.mark.parametrize("name", PUBLIC)
def test_an_exception_is_explained(name: str) -> None:
    if PUBLIC[name].__subclasses__() and name not in AGAIN:
        assert f"`{name}`" in (DOCS / "exceptions.md").read_text()  # a base is told of in prose
    else:
        retryable, permanent = (
            issubclass(PUBLIC[name], base) for base in (exceptions.RetryableError, exceptions.PermanentError)
        )
        assert AGAIN[name] == ("yes" if retryable else "no" if permanent else "neither")


def test_no_exception_is_explained_that_there_is_not() -> None:
    assert AGAIN.keys() <= PUBLIC.keys()


MESSAGES = [
    message
    for columns in (2, 3)
    for cells in rows("troubleshooting.md", columns)
    for message in re.findall("`([^`]+)`", cells[0])
]


@cache
def templates() -> str:
    """Return every text in the package, one per line, with … for what is filled in."""
    found = []
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if id(node) in documentation:
                continue
            if isinstance(node, ast.JoinedStr):
                parts = (str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
                found.append("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(re.sub(r"%(?:\.0)?[sdgf]|\{\}", "…", node.value))
    return "\n".join(text.replace("\n", " ") for text in found)


@pytest.mark.parametrize("message", sorted(set(MESSAGES)))
def test_a_message_is_one_that_the_code_writes(message: str) -> None:
    words = [re.escape(part) for part in message.strip("…").split("…")]
    assert re.search(".*?".join(words), templates()), "no text in the package reads like this"


def test_there_are_messages() -> None:
    assert len(MESSAGES) > 100


NAMED_TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


NAMED_PATH = re.compile(r"`((?:airflow_provider_sparkml|dags|images|benchmarks)/[\w/.-]+)`")


@pytest.mark.parametrize(
    ("file", "name"),
    sorted({named for page in ("faults.md", "coverage.md") for named in NAMED_TEST.findall((DOCS / page).read_text())}),
)
def test_a_test_that_is_named_as_evidence_exists(file: str, name: str) -> None:
    tree = ast.parse((ROOT / file).read_text())
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_row_of_the_coverage_leads_to_code_and_evidence() -> None:
    text = (DOCS / "coverage.md").read_text()
    rows = [line.strip("|").split("|") for line in text.splitlines() if re.match(r"\| \d+\.\d+ ", line)]
    numbers = [cells[0].strip() for cells in rows]
    assert [n for n in numbers if n.startswith("0.")] == [f"0.{i}" for i in range(1, 18)]
    assert [n for n in numbers if n.startswith("2.")] == [f"2.{i}" for i in range(1, 20)]
    assert [n for n in numbers if n.startswith("3.")] == [f"3.{i}" for i in range(1, 21)]
    assert [n for n in numbers if n.startswith("4.")] == [f"4.{i}" for i in range(1, 21)]
    for cells in rows:
        assert len(cells) == 4, cells
        asks_nothing = re.match(r" (nothing to do|the rows) ", cells[2].replace(":", " "))
        assert asks_nothing if cells[3].strip() == "-" else NAMED_TEST.search(cells[3]), f"{cells[0]} names no test"
    assert [path for path in NAMED_PATH.findall(text) if not (ROOT / path).exists()] == []
