"""A pod's status from the states of its containers: phase, conditions, and the words a kubelet uses. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from airflow_provider_sparkml.resources.base import Manifest

State = dict[str, Any]


def now() -> str:
    """Return the present time as Kubernetes writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def waiting(reason: str, message: str = "") -> State:
    """Return a container state."""
    return {"waiting": {"reason": reason, **({"message": message} if message else {})}}


def running() -> State:
    """Return the state of a container that starts now."""
    return {"running": {"startedAt": now()}}


def terminated(exit_code: int, reason: str, *, started_at: str | None, message: str = "") -> State:
    """Return the state of a container that ends now.

    :param exit_code: as a shell counts: 128 + n for signal n.
    """
    ended: State = {"exitCode": exit_code, "reason": reason, "finishedAt": now()}
    ended["startedAt"] = started_at or ended["finishedAt"]
    if message:
        ended["message"] = message
    return {"terminated": ended}


@dataclass
class ContainerStatus:
    """What is known of one container; :attr:`state` is one of the three above.

    :param name: its name.
    :param image: its image reference.
    """

    name: str
    image: str
    state: State = field(default_factory=lambda: waiting("ContainerCreating"))
    last_state: State = field(default_factory=dict)
    restart_count: int = 0
    ready: bool = False
    started: bool = False
    container_id: str = ""
    image_id: str = ""

    @property
    def exit_code(self) -> int | None:
        """Exit code of a container that has ended, else ``None``."""
        ended = self.state.get("terminated")
        return None if ended is None else int(ended["exitCode"])

    @property
    def has_run(self) -> bool:
        """Whether its program was started at least once."""
        return bool(self.last_state) or "waiting" not in self.state

    @property
    def is_running(self) -> bool:
        """Whether its program runs."""
        return "running" in self.state

    @property
    def started_at(self) -> str | None:
        """When its program started, while it runs."""
        started: str | None = self.state.get("running", {}).get("startedAt")
        return started

    def to_json(self) -> dict[str, Any]:
        """Return an entry of ``containerStatuses``."""
        return {
            "name": self.name,
            "image": self.image,
            "imageID": self.image_id,
            "containerID": self.container_id,
            "ready": self.ready,
            "started": self.started,
            "restartCount": self.restart_count,
            "state": self.state,
            "lastState": self.last_state,
        }

    @classmethod
    def from_json(cls, data: Manifest) -> ContainerStatus:
        """Rebuild what :meth:`to_json` wrote before the kubelet was restarted."""
        return cls(
            name=data["name"],
            image=data.get("image", ""),
            state=data.get("state") or {},
            last_state=data.get("lastState") or {},
            restart_count=data.get("restartCount", 0),
            ready=data.get("ready", False),
            started=data.get("started") or False,
            container_id=data.get("containerID", ""),
            image_id=data.get("imageID", ""),
        )


def will_restart(policy: str, exit_code: int) -> bool:
    """Whether a container that ended is started again."""
    return policy == "Always" or (policy == "OnFailure" and exit_code != 0)


def init_done(inits: Sequence[ContainerStatus]) -> bool:
    """Whether every init container has ended well."""
    return all(each.exit_code == 0 for each in inits)


def pod_phase(policy: str, inits: Sequence[ContainerStatus], containers: Sequence[ContainerStatus]) -> str:
    """Return the phase that follows from restart policy and container states.

    https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-phase
    """
    if any(each.exit_code not in (None, 0) for each in inits) and policy == "Never":
        return "Failed"
    if not init_done(inits):
        return "Pending"
    ended = [each.exit_code for each in containers if each.exit_code is not None]
    final = [code for code in ended if not will_restart(policy, code)]
    if len(final) == len(containers):
        return "Failed" if any(final) else "Succeeded"
    never_ran = [each for each in containers if "waiting" in each.state and not each.last_state]
    if never_ran:
        return "Pending"
    return "Running"


def pod_conditions(
    phase: str, inits: Sequence[ContainerStatus], containers: Sequence[ContainerStatus], before: Sequence[Manifest]
) -> list[Manifest]:
    """Return the conditions of a scheduled pod; a condition that stays keeps the time of its last transition."""
    not_ready = [each.name for each in containers if not each.ready]
    ready: Manifest = {"status": "True"}
    if phase in ("Succeeded", "Failed"):
        ready = {"status": "False", "reason": "PodCompleted" if phase == "Succeeded" else "PodFailed"}
    elif not_ready:
        message = f"containers with unready status: [{' '.join(not_ready)}]"
        ready = {"status": "False", "reason": "ContainersNotReady", "message": message}
    initialized: Manifest = {"status": "True"}
    if not init_done(inits):
        names = " ".join(each.name for each in inits if each.exit_code != 0)
        message = f"containers with incomplete status: [{names}]"
        initialized = {"status": "False", "reason": "ContainersNotInitialized", "message": message}
    wanted = {
        "PodScheduled": {"status": "True"},
        "Initialized": initialized,
        "ContainersReady": ready,
        "Ready": ready,
    }
    return merge_conditions(before, wanted)


def merge_conditions(before: Sequence[Manifest], wanted: dict[str, Manifest]) -> list[Manifest]:
    """Return the conditions of ``before`` with those of ``wanted`` put over them.

    :param wanted: type → the rest of the condition but its time.
    """
    old = {condition["type"]: condition for condition in before}
    merged = dict(old)
    for kind, condition in wanted.items():
        same = kind in old and old[kind].get("status") == condition["status"]
        when = old[kind].get("lastTransitionTime") or now() if same else now()
        merged[kind] = {"type": kind, **condition, "lastTransitionTime": when}
    return list(merged.values())
