"""Prints the properties that the Spark of the running Python knows, one a line; run it by the Python of an image.

JAVA_HOME=… <image>/bin/python scripts/spark_keys.py > airflow_provider_sparkml/resources/spark_keys_4.3.txt

They are those of Spark's own registry (``ConfigEntry``), filled by loading each class that declares properties, and
the constants of Spark's classes that look like one: not all that Spark reads is in the registry.
"""

from __future__ import annotations

import re
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pyspark  # noqa: TID253 -- it runs in an image
from pyspark.java_gateway import launch_gateway  # noqa: TID253

JARS = Path(pyspark.__file__).parent / "jars"
KEY = re.compile(rb"spark\.[A-Za-z][\w.-]*\w\Z")
BUILDER = b"org/apache/spark/internal/config/ConfigBuilder"
# The Java Virtual Machine Specification, 4.4: how many bytes follow the tag of a constant that is no text.
SIZES = {3: 4, 4: 4, 5: 8, 6: 8, 7: 2, 8: 2, 9: 4, 10: 4, 11: 4, 12: 4, 15: 3, 16: 2, 17: 4, 18: 4, 19: 2, 20: 2}
TEXT, WIDE = 1, (5, 6)


def classes() -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each of Spark's own classes."""
    for jar in sorted(JARS.glob("spark-*.jar")):
        with zipfile.ZipFile(jar) as archive:
            for name in archive.namelist():
                if name.endswith(".class"):
                    yield name.removesuffix(".class").replace("/", "."), archive.read(name)


def constants(content: bytes) -> Iterator[bytes]:
    """Yield the texts in a class's constant pool."""
    count, at, index = int.from_bytes(content[8:10], "big"), 10, 1
    while index < count:
        tag = content[at]
        if tag == TEXT:
            end = at + 3 + int.from_bytes(content[at + 1 : at + 3], "big")
            yield content[at + 3 : end]
            at = end
        else:
            at += 1 + SIZES[tag]
        index += 2 if tag in WIDE else 1


def registered(declaring: list[str]) -> Iterator[str]:
    """Yield what Spark has registered when these classes are loaded."""
    gateway = launch_gateway()
    try:
        java = gateway.jvm.java.lang
        loader = java.Thread.currentThread().getContextClassLoader()
        for name in declaring:
            java.Class.forName(name, True, loader)
        entries = java.Class.forName("org.apache.spark.internal.config.ConfigEntry$")
        yield from entries.getField("MODULE$").get(None).knownConfigs().keySet()
    finally:
        gateway.shutdown()


def main() -> None:
    """Print them."""
    declaring, keys = [], set()
    for name, content in classes():
        if BUILDER in content:
            declaring.append(name)
        if b"spark." in content:
            keys |= {text.decode() for text in constants(content) if KEY.match(text)}
    keys |= {key for key in registered(declaring) if key.startswith("spark.")}
    sys.stdout.write("".join(f"{key}\n" for key in sorted(keys)))


if __name__ == "__main__":
    main()
