"""Plans of executors: none exceeds a node, and trying out all that is possible finds no better one."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.resources.sizing import ExecutorPlan, Node, plan_executors
from airflow_provider_sparkml.resources.sizing_arithmetic import arithmetic
from airflow_provider_sparkml.resources.spark import SPARK_APPLICATION, Driver, SparkApplication
from airflow_provider_sparkml.resources.spark_requests import PodRequest, overhead_mib, pod_request

LARGE = Node(cpu="16", memory="64Gi")


def rooms(plan: ExecutorPlan) -> list[tuple[PodRequest, int]]:
    """Return what is free on each node, and how many executors are planned there."""
    nodes = [(plan.node.free, plan.per_node)] * plan.nodes
    nodes[0] = (plan.node.free - (plan.driver or PodRequest(0, 0)), plan.beside_driver)
    return nodes


def assert_fits(plan: ExecutorPlan) -> None:
    assert sum(count for _, count in rooms(plan)) == plan.instances > 0
    for room, count in rooms(plan):
        assert plan.request.millicores * count <= room.millicores
        assert plan.request.memory_mib * count <= room.memory_mib


def requested_by(plan: ExecutorPlan, language: str) -> PodRequest:
    """Return what Spark would request for an executor of an application made from the plan."""
    app = SparkApplication(
        image="spark:4.3.0",
        main_application_file="local:///a.jar",
        type=language,  # type: ignore[arg-type]
        main_class="" if language == "Python" else "example.Main",
        executor=plan.executor(),
        spark_conf=plan.spark_conf,
    )
    manifest = SPARK_APPLICATION.normalize(app.to_manifest())
    SPARK_APPLICATION.check(manifest)
    return pod_request(manifest["spec"], "executor")


nodes = st.builds(
    Node,
    cpu=st.integers(1000, 64000).map("{}m".format),
    memory=st.integers(2**21, 2**28).map("{}Ki".format),
    reserved_cpu=st.sampled_from(["0", "250m", "0.9"]),
    reserved_memory=st.sampled_from(["0", "100Mi", "500M", "1Gi"]),
)


@given(
    node=nodes,
    count=st.integers(1, 5),
    driver=st.none() | st.builds(Driver, cores=st.integers(1, 4), memory=st.sampled_from(["512m", "2Gi", "7g"])),
    language=st.sampled_from(["Python", "Scala"]),
    parameters=st.fixed_dictionaries(
        {},
        optional={
            "executor_cores": st.integers(1, 20) | st.lists(st.integers(1, 8), min_size=1),
            "memory": st.sampled_from(["512Mi", "3g", "8Gi"]),
            "request_per_core": st.sampled_from(["900m", "0.333", "1"]),
            "overhead_factor": st.floats(0, 2),
            "off_heap": st.sampled_from(["100Mi", "1g"]),
        },
    ),
)
@settings(deadline=None)
def test_nothing_that_is_planned_exceeds_a_node(
    node: Node, count: int, driver: Driver | None, language: Any, parameters: dict[str, Any]
) -> None:
    try:
        plans = plan_executors(node, nodes=count, driver=driver, type=language, **parameters)
    except InvalidManifestError as error:
        plans = []
        assert str(error).startswith(("no executor fits", "driver requests"))  # noqa: PT017 - it may as well not be raised
    for plan in plans:
        assert_fits(plan)
        assert requested_by(plan, language) == plan.request
        factor = parameters.get("overhead_factor", 0.4 if language == "Python" else 0.1)
        assert plan.overhead >= overhead_mib(plan.heap, factor)
        assert arithmetic(plan)[-1].result == str(plan.idle)


@given(
    cpu=st.integers(2, 9),
    memory=st.integers(1500, 8000),
    count=st.integers(1, 3),
    driver=st.none() | st.sampled_from([PodRequest(1000, 896), PodRequest(500, 1433)]),
)
@settings(deadline=None, max_examples=60)
def test_no_other_plan_leaves_less_idle(cpu: int, memory: int, count: int, driver: PodRequest | None) -> None:
    builder = driver and Driver(
        core_request=f"{driver.millicores}m", memory={896: "512m", 1433: "1g"}[driver.memory_mib]
    )
    try:
        plans = plan_executors(
            Node(cpu=str(cpu), memory=f"{memory}Mi"), nodes=count, driver=builder, executor_cores=range(1, 9)
        )
    except InvalidManifestError:
        plans = []
    least = 450 + 384
    beside = PodRequest(cpu * 1000, memory) - (driver or PodRequest(0, 0))
    total = PodRequest(cpu * 1000, memory) * count - (driver or PodRequest(0, 0))
    found: dict[int, Fraction] = {}
    for cores in range(1, 9):
        for here, there in product(range(10), range(10 if count > 1 else 1)):
            if not here + there:
                continue
            # Larger pods waste less, so the largest that fits stands for all of one number of executors.
            size = min(room // number for room, number in ((beside.memory_mib, here), (memory, there)) if number)
            if size < least or here * cores * 1000 > beside.millicores or there * cores > cpu:
                continue
            instances = here + there * (count - 1)
            waste = (
                2 - Fraction(instances * cores * 1000, total.millicores) - Fraction(instances * size, total.memory_mib)
            )
            found[cores] = min(waste, found.get(cores, waste))
    assert {plan.cores: plan.waste for plan in plans} == found
    if plans:
        assert int(plans[0].waste * 100) == int(min(found.values()) * 100)


def test_a_whole_node_is_used_to_the_last_core_and_mib() -> None:
    best, *others = plan_executors(LARGE)
    assert (best.cores, best.instances, best.slots) == (4, 4, 16)
    assert (best.heap, best.overhead) == (11703, 4681)
    assert best.idle == PodRequest(0, 0)
    assert [plan.cores for plan in others][:2] == [2, 8], "they waste nothing either, but are further from five cores"
    assert others[-1].cores == 6


def test_the_driver_takes_its_part_of_one_node() -> None:
    driver = Driver(cores=1, memory="2Gi")
    best = plan_executors(LARGE, nodes=3, driver=driver)[0]
    assert best.driver == PodRequest(1000, 2048 + 819)
    assert (best.cores, best.per_node, best.beside_driver, best.instances) == (2, 8, 7, 23)
    alone = plan_executors(LARGE, driver=driver)[0]
    assert (alone.cores, alone.instances) == (5, 3)
    assert alone.idle == PodRequest(0, 2)


def test_a_node_that_the_driver_nearly_fills_does_not_make_all_executors_small() -> None:
    best = plan_executors(LARGE, nodes=3, driver=Driver(cores=2, memory="46000m"), executor_cores=4)[0]
    assert best.beside_driver == 0
    assert best.per_node == 4
    assert best.request.memory_mib == 16384


def test_cores_that_are_not_whole_are_used_by_requesting_less_for_each() -> None:
    node = Node(cpu="3920m", memory="15Gi", reserved_cpu="310m")
    whole = plan_executors(node, executor_cores=4, request_per_core="900m")[0]
    assert (whole.instances, whole.slots, whole.request.millicores) == (1, 4, 3600)
    spec = whole.executor(labels={"team": "a"}).to_spec()
    assert (spec["cores"], spec["coreRequest"], spec["labels"]) == (4, "3600m", {"team": "a"})
    assert "coreRequest" not in plan_executors(node, executor_cores=3)[0].executor().to_spec()


def test_heaps_above_32_gib_come_last_among_equals() -> None:
    plans = plan_executors(Node(cpu="16", memory="200Gi"), type="Scala")
    assert (plans[0].cores, plans[0].heap < 32 * 1024) == (2, True)


def test_memory_off_the_heap_and_of_python_is_set_as_properties() -> None:
    plan = plan_executors(LARGE, executor_cores=4, off_heap="1Gi", pyspark_memory="2g")[0]
    assert plan.spark_conf == {
        "spark.memory.offHeap.enabled": "true",
        "spark.memory.offHeap.size": "1024m",
        "spark.executor.pyspark.memory": "2048m",
    }
    assert requested_by(plan, "Python") == plan.request == PodRequest(4000, 16384)


def test_a_small_node_gets_executors_of_one_core_only_when_nothing_else_fits() -> None:
    assert plan_executors(Node(cpu="1900m", memory="4Gi"))[0].cores == 1
    assert 1 not in {plan.cores for plan in plan_executors(Node(cpu="2", memory="4Gi"))}


def test_the_arithmetic_is_told_line_by_line() -> None:
    node = Node(cpu="16", memory="64Gi", reserved_cpu="500m", reserved_memory="1Gi")
    plan = plan_executors(node, nodes=2, driver=Driver(memory="1g"), executor_cores=5)[0]
    assert [(line.what, line.how, line.result) for line in arithmetic(plan)] == [
        ("a node has", "16, 64Gi", "16 cores and 65536 MiB"),
        ("- reserved", "500m, 1Gi", "0.5 cores and 1024 MiB"),
        ("= for Spark", "", "15.5 cores and 64512 MiB"),
        ("- driver", "on one node; memory + overhead", "1 core and 1433 MiB"),
        ("= beside the driver", "", "14.5 cores and 63079 MiB"),
        ("executors per other node", "cores 15.5 / 5 = 3; MiB 64512 / 21504 = 3", "3"),
        ("executors beside the driver", "cores 14.5 / 5 = 2; MiB 63079 / 21504 = 2", "2"),
        ("an executor requests", "5 cores of 1; heap 15360 + overhead 6144", "5 cores and 21504 MiB"),
        ("executors", "3 x 1 + 2", "5"),
        ("tasks at once", "5 x 5", "25"),
        ("left idle", "of 30 cores and 127591 MiB", "5 cores and 20071 MiB"),
    ]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"nodes": 0}, "nodes is 0: set it to a whole number, at least 1"),
        ({"type": "Go"}, "type is 'Go': set it to one of Python, R, Java, Scala"),
        ({"executor_cores": 0}, "executor_cores is 0: set it to a whole number, at least 1"),
        ({"executor_cores": []}, r"executor_cores is \[\]"),
        ({"executor_cores": 20}, "no executor fits: the smallest requests 20 cores .*; lower executor_cores"),
        ({"memory": "80Gi"}, "no executor fits: .* lower memory"),
        ({"memory": "100m"}, "memory is '100m': Spark does not start with less than 450m"),
        ({"memory": "big"}, "memory is 'big'"),
        ({"request_per_core": "2"}, "request_per_core is '2': write more than 0 and at most 1"),
        ({"overhead_factor": -0.1}, "overhead_factor is -0.1"),
        ({"driver": Driver(memory="100g")}, "driver requests 1 core and 143360 MiB, but a node has 16 cores"),
        ({"driver": Driver(cores=16, memory="1g")}, "no executor fits: .* a node has 0 cores"),
        ({"type": "Scala", "pyspark_memory": "1g"}, "pyspark_memory is '1g', but type is 'Scala'"),
    ],
)
def test_wrong_parameters_are_named(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidManifestError, match=message):
        plan_executors(LARGE, **parameters)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"cpu": "many", "memory": "1Gi"}, "node cpu is 'many'"),
        ({"cpu": "4", "memory": "16g"}, "node memory is '16g', which is no Kubernetes quantity"),
        ({"cpu": "4", "memory": "1Gi", "reserved_memory": "2Gi"}, "node memory is '1Gi' and reserved memory '2Gi'"),
        ({"cpu": "4", "memory": "1000"}, "node memory is '1000', less than one MiB"),
    ],
)
def test_wrong_nodes_are_named(fields: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidManifestError, match=message):
        Node(**fields)
