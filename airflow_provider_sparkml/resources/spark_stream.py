"""A streaming application: a SparkApplication with a lasting name, its versions, and how its status is read. Pure.

All that upgrades and roll-backs need to know stands on the object itself, in one annotation: whoever comes next, after
whatever has died, goes on from there.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.resources.base import Manifest, Phase, Verdict
from airflow_provider_sparkml.resources.fields import mapping
from airflow_provider_sparkml.resources.naming import MAX_NAME, PREFIX
from airflow_provider_sparkml.resources.spark import SPARK_APPLICATION, read
from airflow_provider_sparkml.resources.spark_retries import DEFAULT_INTERVAL_SECONDS

STREAM = f"{PREFIX}/stream"
"""Annotation of the application: its :class:`Record` as JSON."""
START = f"{PREFIX}/stream-start"
"""Annotation of the driver: which start of the stream it is. A new number is a change of the spec, which is what makes
the operator run an ended application again."""
STOP = f"{PREFIX}/stop"
"""Annotation of the driver's pod: the program is asked to stop its queries and to end."""

CHECKPOINT_CONF = "spark.sql.streaming.checkpointLocation"
CHECKPOINT_ENV = "SPARKML_CHECKPOINT_URI"
STATE_STORE_CONF = "spark.sql.streaming.stateStore.providerClass"

_NAME = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?")
_INTERVALS = ("onFailureRetryInterval", "onSubmissionFailureRetryInterval")


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a stream.

    :param hash: tells it from others.
    :param checkpoint: where its queries keep their checkpoints.
    :param spec: ``spec`` as its author wants it.
    """

    hash: str
    checkpoint: str
    spec: dict[str, Any]

    @classmethod
    def of(cls, manifest: Manifest) -> Version:
        """Return the version that a manifest describes; it must have been prepared."""
        spec = copy.deepcopy(manifest["spec"])
        digest = hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:16]
        return cls(digest, spec["sparkConf"][CHECKPOINT_CONF], spec)

    @property
    def executors(self) -> int:
        """How many executors it asks for."""
        return int(self.spec["executor"].get("instances") or 1)


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of a stream beyond its spec and its status.

    :param current: the version in force.
    :param by: key of the chain of attempts that has put it into force.
    :param start: which start this is, from 1.
    :param started_at: epoch seconds of it.
    :param superseded: the submission before it, whose status may still be seen and does not count.
    :param healthy: the submission that was last found healthy.
    :param proven: whether the current version has ever been.
    :param following: the version to put into force as soon as the current one has stopped.
    :param former: the last version that was healthy before the current one.
    :param failed: ``hash``, ``by`` and ``why`` of the version that was last rolled back.
    :param stop_until: epoch seconds until which the stream, asked to stop, may do so by itself.
    """

    current: Version
    by: str = ""
    start: int = 1
    started_at: float = 0.0
    superseded: str = ""
    healthy: str = ""
    proven: bool = False
    following: Version | None = None
    former: Version | None = None
    failed: dict[str, str] | None = None
    stop_until: float | None = None

    @classmethod
    def of(cls, obj: Manifest) -> Record | None:
        """Return the record of an application; ``None`` for one that is no stream of ours."""
        text = (obj["metadata"].get("annotations") or {}).get(STREAM)
        if text is None:
            return None
        data = json.loads(text)
        for name in ("current", "following", "former"):
            data[name] = data[name] and Version(**data[name])
        return cls(**data)

    def to_text(self) -> str:
        """Return it as the annotation has it."""
        return json.dumps(asdict(self), sort_keys=True)

    def spec(self) -> dict[str, Any]:
        """Return the ``spec`` that puts the current version, and this start of it, into force."""
        spec = copy.deepcopy(self.current.spec)
        driver = spec["driver"]
        driver["annotations"] = {**(driver.get("annotations") or {}), START: str(self.start)}
        return spec

    def restarted(self, submission: str, by: str, now: float) -> Record:
        """Return the record of another start of the current version.

        :param submission: the submission that it follows.
        """
        return replace(
            self, by=by, start=self.start + 1, started_at=now, superseded=submission, healthy="",
            following=None, stop_until=None,
        )  # fmt: skip

    def upgraded(self, version: Version, submission: str, by: str, now: float) -> Record:
        """Return the record with another version in force."""
        former = self.current if self.proven else self.former
        if former is not None and former.hash == version.hash:
            former = None  # a roll-back by hand from a version that was never healthy: nothing is behind it
        changed = replace(self, current=version, proven=False, former=former, failed=None)
        return changed.restarted(submission, by, now)

    def rolled_back(self, why: str, submission: str, now: float) -> Record:
        """Return the record with the former version in force again.

        :param why: what was wrong with the current one.
        """
        if self.former is None:
            raise ValueError("there is no former version")
        failed = {"hash": self.current.hash, "by": self.by, "why": why}
        changed = replace(self, current=self.former, former=None, proven=True, failed=failed)
        return changed.restarted(submission, self.by, now)


def prepare(manifest: Manifest, checkpoint: str | None) -> Manifest:
    """Return a stream's manifest in the CRD's types, with its checkpoint location and back-off set.

    :param manifest: the rendered manifest; it is not changed.
    :param checkpoint: the checkpoint location; by default what ``sparkConf`` has.
    :raises InvalidManifestError: what could not work as a stream: field, value and fix.
    """
    prepared = copy.deepcopy(SPARK_APPLICATION.normalize(manifest))
    spec = mapping(prepared.get("spec"), "spec")
    conf = dict(mapping(spec.get("sparkConf"), "spec.sparkConf"))
    stated = conf.get(CHECKPOINT_CONF)
    if checkpoint and stated not in (None, checkpoint):
        raise InvalidManifestError(
            f"spec.sparkConf[{CHECKPOINT_CONF!r}] is {stated!r}, and checkpoint_location is {checkpoint!r}: "
            "leave one of them out"
        )
    location = checkpoint or stated
    if not location:
        raise InvalidManifestError(
            "checkpoint_location is not set: without a checkpoint a stream begins anew at every restart, and loses or "
            "repeats rows; give a directory that all its pods reach and that outlives them"
        )
    policy = dict(mapping(spec.get("restartPolicy"), "spec.restartPolicy"))
    prepared["spec"] = {
        **spec,
        "sparkConf": {**conf, CHECKPOINT_CONF: location},
        # Without the operator's webhook nobody else would fill these in, and the operator would hang.
        "restartPolicy": dict.fromkeys(_INTERVALS, DEFAULT_INTERVAL_SECONDS) | policy,
    }
    return SPARK_APPLICATION.with_env(prepared, {CHECKPOINT_ENV: str(location)})


def check_stream(manifest: Manifest) -> None:
    """Refuse what could not work as a stream.

    :param manifest: of :func:`prepare`, with its namespace.
    :raises InvalidManifestError: the first fault found: field, value and fix.
    """
    for fault in _faults(manifest):
        raise InvalidManifestError(fault)
    # The rest is as for any application; it refuses Always, since a job's end is waited for, and a stream's is not.
    spec = manifest["spec"]
    policy = {**spec["restartPolicy"], "type": "OnFailure"}
    SPARK_APPLICATION.check({**manifest, "spec": {**spec, "restartPolicy": policy}})


def _faults(manifest: Manifest) -> Iterator[str]:
    """Yield what is wrong with a stream, beyond what is wrong with any application."""
    spec, name = manifest["spec"], (manifest.get("metadata") or {}).get("name") or ""
    if not _NAME.fullmatch(name) or len(name) > MAX_NAME:
        yield (
            f"metadata.name is {name!r}: a stream keeps its name, so give one; lower-case letters, digits and "
            f"hyphens, beginning with a letter, at most {MAX_NAME}"
        )
    kind = spec["restartPolicy"].get("type", "Never")
    if kind not in ("Always", "OnFailure"):
        yield (
            f"spec.restartPolicy.type is {kind!r}: nobody would start the stream again when its driver is lost; "
            "set it to 'Always' or 'OnFailure'"
        )
    elif kind == "OnFailure" and not spec["restartPolicy"].get("onFailureRetries"):
        yield (
            "spec.restartPolicy.onFailureRetries is not set: with 'OnFailure' the operator would not start the stream "
            "again; set how often it may, or take 'Always'"
        )
    dynamic = mapping(spec.get("dynamicAllocation"), "spec.dynamicAllocation").get("enabled")
    if dynamic or str(spec["sparkConf"].get("spark.dynamicAllocation.enabled")).lower() == "true":
        yield (
            "dynamic allocation is on, which is for batches: between two of a stream's, executors look idle and are "
            "taken away; leave out spec.dynamicAllocation and set spec.executor.instances"
        )
    if spec.get("timeToLiveSeconds") is not None:
        yield (
            f"spec.timeToLiveSeconds is {spec['timeToLiveSeconds']!r}: the operator would delete a stream that has "
            "stopped, and with it what is known of its versions; leave it out"
        )
    if spec.get("suspend"):
        yield "spec.suspend is True: such a stream does not start; leave it out"


def check_upgrade(current: Version, wanted: Version, *, compatible: bool) -> list[str]:
    """Refuse a version that cannot follow another one from its checkpoint, so far as can be known.

    What may change between two versions: https://spark.apache.org/docs/latest/streaming/apis-on-dataframes-and-datasets.html
    ("Recovery Semantics after Changes in a Streaming Query"). Only its author knows whether the queries still fit.

    :param current: the version in force.
    :param wanted: the one to follow it.
    :param compatible: whether the author says that it can go on from the checkpoint.
    :return: warnings: what is accepted and does not do what it looks like.
    :raises InvalidManifestError: the location contradicts what the author says.
    """
    moved = wanted.checkpoint != current.checkpoint
    if moved and compatible:
        raise InvalidManifestError(
            f"checkpoint_location is {wanted.checkpoint!r}, and the stream's is {current.checkpoint!r}: at another one "
            "it begins anew and repeats rows; keep the location, or, if that is meant, set compatible=False"
        )
    if not compatible and not moved:
        raise InvalidManifestError(
            f"compatible is False, and checkpoint_location is still {current.checkpoint!r}: a query that does not fit "
            "its checkpoint fails, or computes nonsense; give another location, where the stream begins anew"
        )
    if moved:
        return [f"The stream begins anew, at {wanted.checkpoint}; rows that were read before may come again"]
    warnings = []
    before, after = (version.spec["sparkConf"].get(STATE_STORE_CONF) for version in (current, wanted))
    if before != after:
        warnings.append(
            f"spec.sparkConf[{STATE_STORE_CONF!r}] is {after!r}, and was {before!r}: a checkpoint keeps the state "
            "store that it was begun with, so this changes nothing"
        )
    old, new = (_numbers(version.spec.get("sparkVersion")) for version in (current, wanted))
    if new < old:
        warnings.append(
            f"spec.sparkVersion goes back from {current.spec['sparkVersion']} to {wanted.spec['sparkVersion']}: an "
            "older Spark may not read the checkpoint of a newer one"
        )
    return warnings


def _numbers(version: Any) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", str(version or ""))][:3]


def differences(current: Version, wanted: Version) -> list[str]:
    """Return the fields in which two versions differ."""
    return sorted(_differences(current.spec, wanted.spec, "spec"))


def _differences(one: Any, other: Any, field: str) -> Iterator[str]:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in {*one, *other}:
            yield from _differences(
                one.get(key), other.get(key), f"{field}.{key}" if "." not in key else f"{field}[{key!r}]"
            )
    elif one != other:
        yield field


StopStep = Literal["ask", "suspend", "wait", "done"]


def stop_step(obj: Manifest, record: Record) -> StopStep:
    """Return what is to be done next so that a stream stops, and does not start again.

    ``ask`` its driver; ``suspend`` it, where there is no driver to be asked, or where the operator is about to start an
    ended one again; ``wait``; or nothing, for it is ``done``.
    """
    state = ((obj.get("status") or {}).get("applicationState") or {}).get("state") or ""
    spec = obj.get("spec") or {}
    suspended = bool(spec.get("suspend"))
    if is_down(obj, record):
        return "done"
    if suspended or state in ("SUSPENDING", "UNKNOWN"):
        return "wait"
    if state == "RUNNING":
        return "ask"
    if state == "SUCCEEDING" and (spec.get("restartPolicy") or {}).get("type") != "Always":
        return "wait"
    return "suspend"


def is_down(obj: Manifest, record: Record) -> bool:
    """Return whether a stream has ended, or is suspended, and stays so."""
    state = ((obj.get("status") or {}).get("applicationState") or {}).get("state") or ""
    if state == "SUSPENDED":
        return bool((obj.get("spec") or {}).get("suspend"))
    # The end of the run before: the operator has yet to see that the spec asks for another.
    stale = bool(record.superseded) and submission_of(obj) == record.superseded
    return state in ("COMPLETED", "FAILED") and not stale


def submission_of(obj: Manifest) -> str:
    """Return the identity of the submission that the status is about."""
    return str((obj.get("status") or {}).get("submissionID") or "")


def attempts_of(obj: Manifest) -> int:
    """Return how often the operator has run this start of the application."""
    return int((obj.get("status") or {}).get("executionAttempts") or 0)


def read_stream(obj: Manifest, record: Record, *, attempts: int, max_restarts: int) -> Verdict:
    """Return the verdict on a stream that is to run: ``RUNNING`` with all its executors, on the way there, or failed.

    A stream never succeeds: a program that ends by itself has failed as one.

    :param record: its record.
    :param attempts: the attempts that do not count.
    :param max_restarts: how many restarts are borne beyond these.
    """
    verdict = read(obj)
    if record.superseded and verdict.submission_id == record.superseded:
        return Verdict(Phase.PENDING, state="Restarting", message="the run before it is going")
    if verdict.phase is Phase.FAILED:
        return verdict
    if verdict.phase is Phase.SUCCEEDED:
        return replace(verdict, phase=Phase.FAILED, reason="EndedByItself", message=ENDED)
    restarts = verdict.attempt - attempts - 1
    ending = verdict.state in ("FAILING", "SUCCEEDING")
    if restarts + ending > max_restarts:
        said = verdict.message or (ENDED if verdict.state == "SUCCEEDING" else "see the log of the driver's last run")
        return replace(verdict, phase=Phase.FAILED, reason="Restarts", message=f"run {verdict.attempt}: {said}")
    return verdict


ENDED = "the program ended with exit code 0: a stream's waits for its queries (awaitTermination)"


def missing(obj: Manifest, record: Record) -> str:
    """Return what a stream lacks to be complete; empty when it runs with all its executors."""
    status = obj.get("status") or {}
    state = (status.get("applicationState") or {}).get("state") or ""
    if state != "RUNNING":
        return f"it is {state or 'new'}"
    wanted = record.current.executors
    running = list((status.get("executorState") or {}).values()).count("RUNNING")
    return "" if running >= wanted else f"{running} of {wanted} executors run"


SPARK_STREAM = replace(SPARK_APPLICATION, check=check_stream)
"""SparkApplications as streams."""

__all__ = [
    "CHECKPOINT_CONF",
    "SPARK_STREAM",
    "START",
    "STOP",
    "STREAM",
    "Record",
    "Version",
    "attempts_of",
    "check_stream",
    "check_upgrade",
    "differences",
    "is_down",
    "missing",
    "prepare",
    "read_stream",
    "stop_step",
    "submission_of",
]
