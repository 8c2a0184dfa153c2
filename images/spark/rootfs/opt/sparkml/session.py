"""The Spark session of the programs in this folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pyspark.sql import SparkSession


@contextmanager
def spark_session(name: str) -> Iterator[SparkSession]:
    """Give a session under the master and settings of ``spark-submit``, and stop it at the end.

    :param name: application name shown in Spark's UI; one given to ``spark-submit`` counts more.
    """
    # UTC everywhere: the data's time_hour is UTC, and a driver's own zone must not change the features.
    spark = SparkSession.builder.appName(name).config("spark.sql.session.timeZone", "UTC").getOrCreate()
    try:
        spark.sparkContext.setLogLevel("WARN")
        if not spark.sparkContext.getConf().contains("spark.sql.shuffle.partitions"):
            # 200, Spark's default, is for far larger data; two waves of tasks per core suffice here.
            spark.conf.set("spark.sql.shuffle.partitions", str(2 * spark.sparkContext.defaultParallelism))
        yield spark
    finally:
        spark.stop()
