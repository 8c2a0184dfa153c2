"""The error is found in the log, wherever it stands among Spark's own chatter."""

from __future__ import annotations

import pytest

from airflow_provider_sparkml.jobs.log_errors import error_line, excerpt

PYTHON = """\
26/11/22 10:00:00 INFO SparkContext: Running Spark version 4.3.0
Traceback (most recent call last):
  File "/opt/sparkml/etl.py", line 3, in <module>
    main()
  File "/opt/sparkml/etl.py", line 2, in main
    raise ValueError("no such column: dep_delay")
ValueError: no such column: dep_delay
26/11/22 10:00:01 INFO ShutdownHookManager: Shutdown hook called""".splitlines()

CHAINED = """\
Traceback (most recent call last):
  File "a.py", line 1, in <module>
KeyError: 'x'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "a.py", line 3, in <module>
my.pkg.LoadFailed: cannot load""".splitlines()

PY4J = """\
Traceback (most recent call last):
  File "a.py", line 1, in <module>
py4j.protocol.Py4JJavaError: An error occurred while calling o58.parquet.
: org.apache.spark.SparkException: Job aborted.
\tat org.apache.spark.sql.errors""".splitlines()

JAVA = """\
Exception in thread "main" org.apache.spark.SparkException: Job aborted due to stage failure
\tat org.apache.spark.scheduler.DAGScheduler
Caused by: java.lang.IllegalStateException: bad state
\tat x.Y.z""".splitlines()


@pytest.mark.parametrize(
    ("log", "said", "advice"),
    [
        (PYTHON, "ValueError: no such column: dep_delay", "program has to be changed"),
        (CHAINED, "my.pkg.LoadFailed: cannot load", ""),
        (
            PY4J,
            "py4j.protocol.Py4JJavaError: An error occurred while calling o58.parquet. "
            "org.apache.spark.SparkException: Job aborted.",
            "",
        ),
        (JAVA, "java.lang.IllegalStateException: bad state", ""),
        (
            ["python3: can't open file '/opt/x.py': [Errno 2] No such file or directory"],
            "python3: can't open file '/opt/x.py': [Errno 2] No such file or directory",
            "mainApplicationFile",
        ),
        (["Error: Failed to load class org.acme.Main."], "Failed to load class org.acme.Main.", "mainClass"),
        (
            ["Traceback (most recent call last):", "ModuleNotFoundError: No module named 'x'"],
            "ModuleNotFoundError: No module named 'x'",
            "in the image",
        ),
        (
            ["usage: train.py [-h] --data DATA", "train.py: error: the following arguments are required: --data"],
            "train.py: error: the following arguments are required: --data",
            "spec.arguments",
        ),
        (["all is well"], "", ""),
        ([], "", ""),
        (["Traceback (most recent call last):"], "", ""),
    ],
)
def test_error_line(log, said, advice):
    found, tip = error_line(log)
    assert found == said
    assert advice in tip


def test_excerpt_is_the_end_and_reaches_back_to_the_traceback():
    log = ["start", *PYTHON[:7], *(f"INFO {i}" for i in range(40))]
    assert excerpt(log, 30, 80)[0] == "Traceback (most recent call last):"
    assert excerpt(log, 30, 44)[0] == "    main()"
    assert excerpt(["a", "b", "c"], 2, 80) == ["b", "c"]
    assert excerpt(["x" * 10_000], 5, 5) == ["x" * 500]


def test_a_programs_own_error_line_is_the_cause() -> None:
    said, _ = error_line(["4/5 writing 24 features", "error: the test part has 0 flights: change --rows"])
    assert said == "the test part has 0 flights: change --rows"
