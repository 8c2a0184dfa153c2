"""Names and labels: valid for any ids, the same for one chain of attempts, different for any other."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_sparkml.resources import naming
from airflow_provider_sparkml.resources.naming import TaskIdentity

DNS_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
# Airflow allows letters of any script, digits, dash, dot, underscore and, in run ids, nearly anything; 250 characters.
IDS = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=250)
IDENTITIES = st.builds(
    TaskIdentity,
    tenant=IDS,
    dag_id=IDS,
    task_id=IDS,
    run_id=IDS,
    map_index=st.integers(-1, 2**20),
    try_number=st.integers(1, 10**4),
    max_tries=st.integers(0, 10**4),
)
FIRST = TaskIdentity("http://a:8080", "flights", "train", "manual__2026-11-22T10:00:00+00:00", -1, 1, 2)


@given(IDENTITIES, st.integers(1, 10**12), st.one_of(st.just(""), IDS))
@example(FIRST, 1, "9-lives")
@example(FIRST, 1, "---")
@example(replace(FIRST, dag_id="я", task_id="."), 1, "")
def test_every_name_is_a_short_dns_1035_label(identity: TaskIdentity, ordinal: int, base: str) -> None:
    name = naming.job_name(identity, ordinal, base)
    assert len(name) <= naming.MAX_NAME
    assert DNS_1035.fullmatch(name)
    assert name.endswith(f"-{ordinal}")


@given(IDENTITIES, st.integers(1, 10**6))
def test_every_label_is_valid(identity: TaskIdentity, ordinal: int) -> None:
    for value in naming.job_labels(identity, ordinal).values():
        assert LABEL_VALUE.fullmatch(value)


@given(IDENTITIES, st.integers(1, 100))
def test_an_object_is_ours_in_every_try_of_its_chain(identity: TaskIdentity, later: int) -> None:
    obj = {"metadata": {"labels": naming.job_labels(identity, 3), "annotations": naming.job_annotations(identity)}}
    retried = replace(identity, try_number=identity.try_number + later)
    assert naming.is_ours(obj, retried)
    assert naming.ordinal_of(obj) == 3
    assert naming.job_name(identity, 3) == naming.job_name(retried, 3)
    assert naming.selector(identity) == naming.selector(retried)


@pytest.mark.parametrize(
    "change",
    [
        {"tenant": "http://b:8080"},
        {"dag_id": "flight"},
        {"task_id": "trains"},
        {"run_id": "manual__2026-11-22T10:00:01+00:00"},
        {"map_index": 0},
        {"max_tries": 3},
    ],
)
def test_another_chain_has_another_name_and_never_owns_the_object(change: dict[str, object]) -> None:
    other = replace(FIRST, **change)
    obj = {"metadata": {"labels": naming.job_labels(FIRST, 1), "annotations": naming.job_annotations(FIRST)}}
    assert not naming.is_ours(obj, other)
    assert naming.job_name(FIRST, 1) != naming.job_name(other, 1)
    assert naming.selector(FIRST) != naming.selector(other)


def test_ids_that_only_join_alike_are_different_chains() -> None:
    one, two = replace(FIRST, dag_id="a", task_id="bc"), replace(FIRST, dag_id="ab", task_id="c")
    assert one.key != two.key


def test_a_label_alone_does_not_make_an_object_ours() -> None:
    copied = {"metadata": {"labels": naming.job_labels(FIRST, 1), "annotations": {}}}
    assert not naming.is_ours(copied, FIRST)


@given(IDS, IDS)
@example("a+b", "a:b")
@example("x" * 63, "x" * 64)
def test_different_texts_have_different_label_values(one: str, two: str) -> None:
    assert (naming.label_value(one) == naming.label_value(two)) == (one == two)


def test_names_are_readable() -> None:
    assert re.fullmatch(r"flights-train-[0-9a-f]{8}-1", naming.job_name(FIRST, 1))
    assert re.fullmatch(r"spark-pi-[0-9a-f]{8}-2", naming.job_name(FIRST, 2, "spark-pi"))
    assert re.fullmatch(r"flights-fit-[0-9a-f]{8}-1", naming.job_name(replace(FIRST, task_id="group.sub.fit"), 1))


@pytest.mark.parametrize(
    ("labels", "ordinal"), [(None, 0), ({}, 0), ({naming.ORDINAL: "x"}, 0), ({naming.ORDINAL: "7"}, 7)]
)
def test_an_ordinal_is_read_from_any_object(labels: dict[str, str] | None, ordinal: int) -> None:
    assert naming.ordinal_of({"metadata": {"labels": labels}}) == ordinal


def test_consumed_is_an_annotation() -> None:
    assert naming.is_consumed({"metadata": {"annotations": {naming.CONSUMED: "2026-11-22T10:00:00Z"}}})
    assert not naming.is_consumed({"metadata": {"annotations": None}})
