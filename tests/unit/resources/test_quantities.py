"""Quantities as Kubernetes and as Spark write them."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.resources.quantities import is_jvm_memory, jvm_memory, memory_bytes, parse_quantity


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("512Mi", 512 * 2**20), ("500m", "0.5"), ("0.5", "0.5"), ("2", 2), ("1.5Gi", 3 * 2**29), ("1e3", 1000),
        ("1E", 10**18), ("1E3", 1000), ("100k", 10**5), (".5", "0.5"), ("250u", "0.00025"),
    ],
)  # fmt: skip
def test_kubernetes_quantities(text: str, value: int | str) -> None:
    assert parse_quantity(text, "f") == Decimal(value)


@pytest.mark.parametrize("text", ["", "lots", "1 Gi", "-1", "1KiB", "1g", "0x10", "1.2.3"])
def test_what_is_no_quantity_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidManifestError, match=r"^spec\.driver\.coreLimit is "):
        parse_quantity(text, "spec.driver.coreLimit")


@pytest.mark.parametrize(
    ("text", "spark"),
    [
        ("512Mi", "512m"),
        ("1.5Gi", "1536m"),
        ("512m", "512m"),
        ("2g", "2g"),
        ("1000M", "1000M"),
        ("1e9", "954m"),
        ("3", "3"),
    ],
)
def test_memory_becomes_what_spark_reads(text: str, spark: str) -> None:
    assert jvm_memory(text, "f") == spark


@pytest.mark.parametrize("text", ["much", "0Mi", "-1Mi", "1 Gi"])
def test_what_is_no_memory_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidManifestError, match=r"^spec\.driver\.memory is "):
        jvm_memory(text, "spec.driver.memory")


@given(st.decimals(min_value=1, max_value=10**6, places=2), st.sampled_from(["Mi", "Gi", "Ki"]))
def test_converted_memory_is_never_less_and_at_most_one_mebibyte_more(number: Decimal, unit: str) -> None:
    text = f"{number}{unit}"
    spark = jvm_memory(text, "f")
    assert is_jvm_memory(spark)
    assert 0 <= memory_bytes(spark, "f") - parse_quantity(text, "f") < 2**20
