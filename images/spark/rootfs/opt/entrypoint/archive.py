"""Loads the classes that Spark's JVMs on Kubernetes load, so that they can be archived when an image is made."""

from __future__ import annotations

import contextlib

from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession, functions

ALSO = (
    "org.apache.spark.executor.CoarseGrainedExecutorBackend",
    "org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend",
    "org.apache.spark.scheduler.cluster.k8s.KubernetesClusterSchedulerBackend",
    "org.apache.spark.scheduler.cluster.k8s.ExecutorPodsAllocator",
    "org.apache.spark.scheduler.cluster.k8s.ExecutorPodsWatchSnapshotSource",
    "org.apache.spark.scheduler.cluster.k8s.ExecutorPodsPollingSnapshotSource",
    "org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBuilder",
)


def main() -> None:
    """Run a little of everything."""
    spark = SparkSession.builder.getOrCreate()
    java = spark.sparkContext._jvm
    frame = spark.range(100).withColumn("group", functions.col("id") % 7)
    frame.groupBy("group").agg(functions.sum("id")).orderBy("group").collect()
    spark.sparkContext.parallelize(range(10), 2).map(lambda x: x * x).sum()
    for name in ALSO:
        java.java.lang.Class.forName(name)
    conf = java.org.apache.spark.SparkConf()
    for key, value in {
        "spark.master": "k8s://http://127.0.0.1:1",
        "spark.app.name": "archive",
        "spark.submit.deployMode": "cluster",
        "spark.kubernetes.namespace": "default",
        "spark.kubernetes.container.image": "none",
    }.items():
        conf.set(key, value)
    arguments = spark.sparkContext._gateway.new_array(java.java.lang.String, 4)
    for place, word in enumerate(
        ("--primary-py-file", "local:///none.py", "--main-class", "org.apache.spark.deploy.PythonRunner")
    ):
        arguments[place] = word
    # There is no API server at that address; up to there all classes of a submission are loaded.
    with contextlib.suppress(Py4JJavaError):
        java.org.apache.spark.deploy.k8s.submit.KubernetesClientApplication().start(arguments, conf)
    spark.stop()


if __name__ == "__main__":
    main()
