"""What streaming programs share: they end when an Airflow task asks them to, and fail when a query of theirs fails.

The task annotates the driver's pod with ``airflow-provider-sparkml/stop``. The program reads that by Spark's own
Kubernetes client and the driver's service account, which may read pods anyway: Spark cannot do without. An annotation
goes with its pod, so it never stops a later run.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from outputs import say
from py4j.protocol import Py4JError
from pyspark.sql import SparkSession
from pyspark.sql.streaming import StreamingQuery

STOP = "airflow-provider-sparkml/stop"
POLL_SECONDS = 2.0
PATIENCE_SECONDS = 60.0
"""For how long a batch that runs is waited for; a checkpoint bears a query that is stopped in the middle of one."""


def stop_when_asked(*queries: StreamingQuery) -> bool:
    """Wait for queries, and stop them when an Airflow task asks for it.

    :param queries: all queries of the program.
    :return: whether it was asked; ``False``: all queries have ended by themselves.
    :raises StreamingQueryException: a query has failed. Let it out: only a program that fails is started again.
    """
    asked = asker()
    while any(query.isActive for query in queries):
        if asked():
            say("asked to stop: each query ends its batch")
            for query in queries:
                _stop(query)
            return True
        for query in queries:
            query.awaitTermination(POLL_SECONDS / len(queries))
    for query in queries:
        query.awaitTermination(0)  # raises what it has failed with
    return False


def asker() -> Callable[[], bool]:
    """Return a function that tells whether this driver was asked to stop; always ``False`` outside of Kubernetes."""
    spark = SparkSession.getActiveSession()
    conf = spark.sparkContext.getConf() if spark else None
    pod = conf.get("spark.kubernetes.driver.pod.name") if conf else None
    if spark is None or conf is None or not pod:
        return lambda: False
    namespace = conf.get("spark.kubernetes.namespace", "default")
    client = spark.sparkContext._jvm.io.fabric8.kubernetes.client.KubernetesClientBuilder().build()
    unread = False

    def asked() -> bool:
        nonlocal unread
        try:
            found = client.pods().inNamespace(namespace).withName(pod).get()
            return found is not None and (found.getMetadata().getAnnotations() or {}).get(STOP) is not None
        except Py4JError as error:
            if not unread:
                say(f"pod {pod} cannot be read now, so whether to stop is not known: {str(error).splitlines()[0]}")
            unread = True
            return False

    return asked


def _stop(query: StreamingQuery) -> None:
    """Stop a query between two batches, if one ends in time."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while query.isActive and query.status["isTriggerActive"] and time.monotonic() < deadline:
        time.sleep(0.02)
    query.stop()
