"""Starts what Spark asks a container for: `driver …`, `executor`, `submit …`, `class …`, or any other command.

Spark sets the SPARK_* variables on the pods that it makes. Every JVM is started as Spark's own scripts start it, by
what `org.apache.spark.launcher.Main` says, with one addition: an archive of parsed classes (CDS), which halves the
processor time that a JVM needs to start. `archive` makes it, once for an image and a Java.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

SPARK_HOME = next(Path(sys.prefix).glob("lib/python3*/site-packages/pyspark"))
JAVA = Path(os.environ["JAVA_HOME"], "bin", "java") if "JAVA_HOME" in os.environ else Path("/usr/bin/java")
JARS = sorted(str(path) for path in (SPARK_HOME / "jars").glob("*.jar"))
SUBMIT = "org.apache.spark.deploy.SparkSubmit"
EXECUTOR = "org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend"

# A JVM that lives for a second or a few: no time for the optimizing compiler, no second collector thread.
SHORT_LIVED = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]

# Two kinds of archive, by their file's suffix: the way to write one, and to use it. One that does not fit, as after an
# update of Java, is left aside without a word.
ARCHIVES = {
    ".aot": ("-XX:AOTCacheOutput=", ["-Xlog:aot*=off", "-Xlog:cds*=off", "-XX:AOTCache="]),
    ".jsa": ("-XX:ArchiveClassesAtExit=", ["-Xshare:auto", "-Xlog:cds*=off", "-XX:SharedArchiveFile="]),
}
AOT_SINCE = 25  # https://openjdk.org/jeps/514


def main(words: list[str]) -> None:
    """Become the program that is asked for."""
    os.environ.setdefault("SPARK_HOME", str(SPARK_HOME))
    os.environ.setdefault("PYSPARK_PYTHON", "python")
    match words:
        case ["driver", *arguments]:
            address = os.environ["SPARK_DRIVER_BIND_ADDRESS"]
            conf = [f"spark.driver.bindAddress={address}", f"spark.executorEnv.SPARK_DRIVER_POD_IP={address}"]
            options = [word for setting in conf for word in ("--conf", setting)]
            become(with_archive(launch([SUBMIT, *options, "--deploy-mode", "client", *arguments])))
        case ["submit", *arguments]:
            become(with_archive(launch([SUBMIT, *arguments]), SHORT_LIVED))
        case ["executor"]:
            become(with_archive(executor()))
        case ["class", *arguments]:
            become(with_archive(launch(arguments)))
        case ["archive"]:
            make_archive()
        case _:
            os.execvp(words[0], words)


def launch(arguments: list[str]) -> list[str]:
    """Return the command that Spark's launcher makes of a class and its arguments, as `bin/spark-class` runs it."""
    classpath = [jar for jar in JARS if Path(jar).name.startswith(("spark-launcher", "spark-common-utils-java"))]
    # As in spark-launcher_2.13-4.3.0.jar; a standalone worker's executors are started by its own launcher, too.
    os.environ["SPARK_SCALA_VERSION"] = Path(classpath[0]).name.partition("_")[2].partition("-")[0]
    answer = subprocess.run(
        [JAVA, *SHORT_LIVED, "-cp", ":".join(classpath), "org.apache.spark.launcher.Main", *arguments],
        stdout=subprocess.PIPE,
        check=False,
    )
    begin, _, command = answer.stdout.rpartition(b"\0\n")  # before it stands what is meant for people
    if answer.returncode != 0 or not command:
        sys.exit((begin or answer.stdout).decode(errors="replace"))
    return command.decode().split("\0")[:-1]


def executor() -> list[str]:
    """Return an executor's command."""
    env = os.environ
    options = sorted((name for name in env if name.startswith("SPARK_JAVA_OPT_")), key=lambda name: int(name[15:]))
    before = [env[name] for name in ("SPARK_EXTRA_CLASSPATH", "HADOOP_CONF_DIR") if env.get(name)]
    after = [env[name] for name in ("SPARK_CONF_DIR", "SPARK_DIST_CLASSPATH") if env.get(name)]
    return [
        str(JAVA),
        *(env[name] for name in options),
        f"-Xms{env['SPARK_EXECUTOR_MEMORY']}",
        f"-Xmx{env['SPARK_EXECUTOR_MEMORY']}",
        "-cp",
        ":".join([*before, *JARS, *after]),
        EXECUTOR,
        *("--driver-url", env["SPARK_DRIVER_URL"]),
        *("--executor-id", env["SPARK_EXECUTOR_ID"]),
        *("--cores", env["SPARK_EXECUTOR_CORES"]),
        *("--app-id", env["SPARK_APPLICATION_ID"]),
        *("--hostname", env["SPARK_EXECUTOR_POD_IP"]),
        *("--bind-address", env["SPARK_EXECUTOR_POD_IP"]),
        *("--resourceProfileId", env["SPARK_RESOURCE_PROFILE_ID"]),
        *("--podName", env["SPARK_EXECUTOR_POD_NAME"]),
    ]


def with_archive(command: list[str], options: list[str] | None = None) -> list[str]:
    """Return a java command that uses the archive, where there is one and the classpath allows it.

    The archive holds for classpaths that begin with Spark's jars. Configuration directories may stand behind them, as
    no jar has such files; what a user put before them stays before them.
    """
    at = command.index("-cp")
    entries = [entry for entry in command[at + 1].split(":") if entry]
    conf_dirs = {os.environ.get("SPARK_CONF_DIR", "").rstrip("/"), f"{SPARK_HOME}/conf"}
    conf = [entry for entry in entries if entry.rstrip("/") in conf_dirs]
    others = [entry for entry in entries if entry not in conf]
    first = next(place for place, entry in enumerate(others) if entry in JARS)
    extra, behind = others[:first], [entry for entry in others[first:] if entry not in JARS]
    classpath = ":".join([*extra, *JARS, *behind, *conf])
    flags = [] if extra else archive_flags()
    return [*command[:at], *(options or []), *flags, "-cp", classpath, *command[at + 2 :]]


def archive_flags() -> list[str]:
    """Return the options by which a JVM uses the archive, none where there is no archive for this Java."""
    for suffix, (_, flags) in ARCHIVES.items():
        archive = archive_path(suffix)
        if archive.exists():
            return [*flags[:-1], f"{flags[-1]}{archive}"]
    return []


def archive_path(suffix: str) -> Path:
    """Return the archive's place, another one for each Java."""
    java = JAVA.resolve()
    identity = hashlib.sha256(f"{java} {java.stat().st_mtime_ns}".encode()).hexdigest()[:16]
    return Path(sys.prefix) / f"spark-{identity}{suffix}"


def make_archive() -> None:
    """Run a small Spark program that loads what drivers, executors and submissions load, and keep its classes."""
    suffix = ".aot" if java_version() >= AOT_SINCE else ".jsa"
    archive = archive_path(suffix)
    new = archive.with_name(f"new-{os.getpid()}-{archive.name}")
    program = Path(__file__).with_name("archive.py")
    os.environ |= {"SPARK_LOCAL_IP": "127.0.0.1", "KUBERNETES_REQUEST_RETRY_BACKOFFLIMIT": "0"}
    command = launch([SUBMIT, "--master", "local[1]", "--conf", "spark.ui.port=0", str(program)])
    try:
        subprocess.run(with_archive(command, [*SHORT_LIVED, f"{ARCHIVES[suffix][0]}{new}"]), check=True)
        if new.exists():
            new.replace(archive)
        else:
            print("this Java cannot archive classes; Spark works without, and starts slower")
    finally:
        new.unlink(missing_ok=True)


def java_version() -> int:
    """Return the version of Java, such as 17."""
    answer = subprocess.run(
        [JAVA, "-XshowSettings:properties", "-version"], capture_output=True, text=True, check=True
    ).stderr
    return int(answer.partition("java.specification.version = ")[2].split()[0])


def become(command: list[str]) -> None:
    """Be replaced by another program, so that signals reach it."""
    sys.stdout.flush()
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
