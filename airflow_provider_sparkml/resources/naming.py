"""Names, labels and annotations that follow from a task attempt, and what they say about an object."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PREFIX = "airflow-provider-sparkml"
"""Prefix of the labels and annotations of this package (a valid DNS subdomain), and the value of ``managed-by``."""

CONSUMED = f"{PREFIX}/consumed"
"""Annotation: a task has taken this object's outcome, so it is never adopted again."""

MANAGED_BY = "app.kubernetes.io/managed-by"
TASK = f"{PREFIX}/task"
TENANT = f"{PREFIX}/tenant"
"""Label: which Airflow it is; operators pass labels on to pods, and annotations not."""
ORDINAL = f"{PREFIX}/ordinal"

MAX_NAME = 40
"""Longest name: operators append ``-driver``, ``-ui-svc`` and executor suffixes, which must stay within 63."""
_MAX_LABEL = 63
_LABEL_VALUE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class TaskIdentity:
    """All that makes one chain of attempts of one task instance.

    :param tenant: which Airflow it is (its ``[api] base_url``): two of them may share a namespace.
    :param dag_id: the DAG.
    :param task_id: the task, with its task groups.
    :param run_id: the run.
    :param map_index: index of a mapped task, -1 for one that is not mapped.
    :param try_number: which try this is, from 1.
    :param max_tries: Airflow's own counter. Clearing a task raises it to ``try_number + retries``, a retry leaves it
        alone (``clear_task_instances`` in airflow.models.taskinstance): so it tells a task that was cleared, which must
        run again, from a retry, which goes on with the live job.
    """

    tenant: str
    dag_id: str
    task_id: str
    run_id: str
    map_index: int
    try_number: int
    max_tries: int

    @property
    def key(self) -> str:
        """Return the hash that all attempts of this chain share, and no other chain: 16 hex digits."""
        parts = (self.tenant, self.dag_id, self.task_id, self.run_id, str(self.map_index), str(self.max_tries))
        return _digest("\0".join(parts), 16)


def first_try(max_tries: int, retries: int) -> int:
    """Return which try began a chain of attempts: 1, unless the task was cleared.

    :param max_tries: Airflow's counter; see :class:`TaskIdentity`.
    :param retries: the task's ``retries``.
    """
    return max(1, max_tries - retries + 1)


def job_name(identity: TaskIdentity, ordinal: int, base: str = "") -> str:
    """Return the name of the chain's n-th job: at most 40 characters, a DNS-1035 label (RFC 1035, 2.3.1).

    :param identity: the chain.
    :param ordinal: which job of the chain, from 1.
    :param base: what the name begins with; the DAG and the task when empty.
    """
    suffix = f"-{identity.key[:8]}-{ordinal}"
    # Task groups are the least telling part of a task's id, and what is cut off is the end.
    start = base or f"{identity.dag_id}-{identity.task_id.rpartition('.')[2]}"
    return f"{_slug(start)[: MAX_NAME - len(suffix)].rstrip('-')}{suffix}"


def job_labels(identity: TaskIdentity, ordinal: int) -> dict[str, str]:
    """Return the labels of the chain's n-th job; each value is made safe for a label."""
    labels = {
        MANAGED_BY: PREFIX,
        TASK: identity.key,
        TENANT: _digest(identity.tenant, 16),
        ORDINAL: str(ordinal),
        "dag_id": label_value(identity.dag_id),
        "task_id": label_value(identity.task_id),
        "run_id": label_value(identity.run_id),
        "try_number": str(identity.try_number),
    }
    if identity.map_index >= 0:
        labels["map_index"] = str(identity.map_index)
    return labels


def job_annotations(identity: TaskIdentity) -> dict[str, str]:
    """Return the annotations of a job: the identity in full."""
    return {f"{PREFIX}/{name}": value for name, value in _identifying(identity).items()}


def selector(identity: TaskIdentity) -> str:
    """Return the label selector of all jobs of the chain."""
    return f"{MANAGED_BY}={PREFIX},{TASK}={identity.key}"


def is_ours(obj: Mapping[str, Any], identity: TaskIdentity) -> bool:
    """Whether the object was made by this chain of attempts: its label and the identity in full."""
    metadata = obj["metadata"]
    if (metadata.get("labels") or {}).get(TASK) != identity.key:
        return False
    annotations = metadata.get("annotations") or {}
    return all(annotations.get(f"{PREFIX}/{name}") == value for name, value in _identifying(identity).items())


def ordinal_of(obj: Mapping[str, Any]) -> int:
    """Return which job of its chain the object is; 0 when it carries no ordinal."""
    text = (obj["metadata"].get("labels") or {}).get(ORDINAL, "")
    return int(text) if text.isascii() and text.isdigit() else 0


def is_consumed(obj: Mapping[str, Any]) -> bool:
    """Whether a task has already taken the object's outcome."""
    return CONSUMED in (obj["metadata"].get("annotations") or {})


def label_value(text: str) -> str:
    """Return the text as a label value: as it is if it is one already, else made safe, with a hash of the original."""
    if len(text) <= _MAX_LABEL and _LABEL_VALUE.fullmatch(text):
        return text
    digest = _digest(text, 8)
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[: _MAX_LABEL - len(digest) - 1].rstrip("-._")
    return f"{safe}-{digest}" if safe else digest


def _identifying(identity: TaskIdentity) -> dict[str, str]:
    """Return what tells one chain from another, by the names of the annotations."""
    return {
        "tenant": identity.tenant,
        "dag-id": identity.dag_id,
        "task-id": identity.task_id,
        "run-id": identity.run_id,
        "map-index": str(identity.map_index),
        "max-tries": str(identity.max_tries),
    }


def _slug(text: str) -> str:
    """Return lower-case ASCII letters, digits and single hyphens, beginning with a letter."""
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", ascii_text).strip("-")
    return slug if slug[:1].isalpha() else f"job-{slug}".rstrip("-")


def _digest(text: str, length: int) -> str:
    """Return the first hex digits of the text's SHA-256."""
    # Airflow allows lone surrogates nowhere, but a hash must not be what fails on them.
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:length]


__all__ = [
    "CONSUMED",
    "MANAGED_BY",
    "MAX_NAME",
    "ORDINAL",
    "PREFIX",
    "TASK",
    "TENANT",
    "TaskIdentity",
    "first_try",
    "is_consumed",
    "is_ours",
    "job_annotations",
    "job_labels",
    "job_name",
    "label_value",
    "ordinal_of",
    "selector",
]
