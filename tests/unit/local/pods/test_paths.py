"""Paths of a container become paths of the host, and only those."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_provider_sparkml.local.pods.paths import PathMap


@pytest.fixture
def paths(tmp_path: Path) -> PathMap:
    for name in ("opt/spark/pi.py", "opt/spark/lib/x.py", "usr/bin/tool", "opt/entrypoint.sh", "data/x.csv"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("")
    mounts = {
        "/data": Path("/host/data"),
        "/data/inner": Path("/host/inner"),
        "/opt/spark/conf": Path("/host/conf"),
        "/dev/termination-log": Path("/host/message"),
    }
    return PathMap(mounts, [tmp_path])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/data", "/host/data"),
        ("/data/", "/host/data/"),
        ("/data/x.csv", "/host/data/x.csv"),
        ("/data/inner/x", "/host/inner/x"),
        ("/data/inner-not/x", "/host/data/inner-not/x"),
        ("a=/data:/data/y", "a=/host/data:/host/data/y"),
        ("local:///data/z.py", "local:///host/data/z.py"),
        ("file:/data/z,file:///data/y", "file:/host/data/z,file:///host/data/y"),
        (
            r"spark.jars=local\:///data/a.jar,local\:///data/b.jar",
            r"spark.jars=local\:///host/data/a.jar,local\:///host/data/b.jar",
        ),
        ("-Dx=/opt/spark/conf/log4j.properties", "-Dx=/host/conf/log4j.properties"),
        ("it is in /data.", "it is in /host/data."),
        ('{"path": "/data/run=2024-01-01/ü"}', '{"path": "/host/data/run=2024-01-01/ü"}'),
        ("/opt/spark/pi.py", "ROOT/opt/spark/pi.py"),
        ("local:///opt/spark/pi.py", "local:///ROOT/opt/spark/pi.py"),
        ("/opt/spark/lib", "ROOT/opt/spark/lib"),
        ("/opt/spark/lib/not-there.py", "ROOT/opt/spark/lib/not-there.py"),
        ("/usr/bin/tool", "ROOT/usr/bin/tool"),
        ("/opt/entrypoint.sh", "ROOT/opt/entrypoint.sh"),
    ],
)
def test_rewritten(paths: PathMap, text: str, expected: str) -> None:
    expected = expected.replace("///ROOT", "//ROOT").replace("ROOT", str(paths.rootfs[0]))
    assert paths.rewrite(text) == expected


def test_an_argument_that_says_where_executors_mount_something_stays(paths: PathMap) -> None:
    mounted = "spark.kubernetes.executor.volumes.persistentVolumeClaim.data.mount.path=/data"
    assert paths.rewrite_argument(mounted) == mounted
    assert paths.rewrite_argument("/data/x.csv") == "/host/data/x.csv"


@pytest.mark.parametrize(
    "text",
    [
        "/database",
        "/data.csv",
        "/x/data",
        "s3a://bucket/data",
        "http://host/data/x",
        "./data",
        "~/data",
        "/usr/bin:/usr/bin/env:/opt",
        "/opt/entrypoint.sh.bak",
        "/opt/sparkling",
    ],
)
def test_left_alone(paths: PathMap, text: str) -> None:
    assert paths.rewrite(text) == text


def test_properties_about_other_pods_are_left_alone(paths: PathMap) -> None:
    text = (
        "spark.executor.extraJavaOptions=-Da=/data/x\n"
        "spark.kubernetes.executor.volumes.persistentVolumeClaim.d.mount.path=/data\n"
        "spark.kubernetes.driver.secrets.s=/data\n"
    )
    assert paths.rewrite_properties(text) == text.replace("-Da=/data/x", "-Da=/host/data/x")


def test_host_path(paths: PathMap) -> None:
    assert paths.host_path("/data/inner/a/b") == Path("/host/inner/a/b")
    assert paths.host_path("/srv") is None


def test_no_mounts_no_rootfs() -> None:
    assert PathMap({}).rewrite("/data") == "/data"
