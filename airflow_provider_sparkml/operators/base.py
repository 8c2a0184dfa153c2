"""What all operators have in common: a cluster to run coroutines against, and a manifest as a templated field."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from airflow.sdk import BaseOperator, conf

from airflow_provider_sparkml.exceptions import InvalidManifestError, TaskKilledError
from airflow_provider_sparkml.hooks.kubernetes import Cluster, KubernetesApiHook
from airflow_provider_sparkml.resources import naming
from airflow_provider_sparkml.resources.base import Manifest
from airflow_provider_sparkml.resources.manifests import load_manifest

if TYPE_CHECKING:
    from airflow.sdk import Context

T = TypeVar("T")

_MANIFEST_FILES = (".yaml", ".yml", ".json")


class ClusterOperator(BaseOperator):
    """Runs coroutines against the cluster of an Airflow connection.

    :param namespace: the Kubernetes namespace; by default the manifest's, else the connection's, else ``default``.
    :param kubernetes_conn_id: an Airflow connection of type ``kubernetes``.
    """

    def __init__(
        self,
        *,
        namespace: str | None = None,
        kubernetes_conn_id: str | None = KubernetesApiHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.namespace = namespace
        self.kubernetes_conn_id = kubernetes_conn_id
        self._cancel: Callable[[], object] | None = None
        self._broken_off_by: BaseException | None = None

    @property
    def hook(self) -> KubernetesApiHook:
        """The hook of the connection."""
        return KubernetesApiHook(self.kubernetes_conn_id)

    def run_async(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end; a kill and Airflow's time-out cancel it, and it may still clean up then.

        :raises TaskKilledError: :meth:`on_kill` was called.
        :raises AirflowTaskTimeout: ``execution_timeout`` has passed on this worker.
        """

        async def main() -> T:
            task = asyncio.current_task()
            if task is not None:
                self._cancel = functools.partial(asyncio.get_running_loop().call_soon_threadsafe, task.cancel)
            try:
                return await work
            except asyncio.CancelledError:
                if self._broken_off_by is not None:
                    raise self._broken_off_by from None
                raise
            finally:
                self._cancel = None

        with _alarm_handler(self._on_alarm):
            return asyncio.run(main())

    def on_kill(self) -> None:
        """Break off what runs. Airflow calls this from a signal handler, so the event loop itself does the rest."""
        self._break_off(TaskKilledError(f"task {self.task_id} was told to end while it ran"))

    def _on_alarm(self, *_: object) -> None:
        """Break off what runs, since Airflow's own time-out has passed."""
        from airflow.sdk.exceptions import AirflowTaskTimeout

        self._break_off(AirflowTaskTimeout(f"task {self.task_id} ran longer than its execution_timeout"))

    def _break_off(self, error: BaseException) -> None:
        self._broken_off_by = error
        if self._cancel is not None:
            self._cancel()


@contextmanager
def _alarm_handler(handler: Callable[..., object]) -> Iterator[None]:
    """Take over the alarm that is Airflow's time-out: raised anywhere in an event loop, it would be lost or do harm."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Airflow has no time-out there either
        return
    former = signal.signal(signal.SIGALRM, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGALRM, former)


class ManifestOperator(ClusterOperator):
    """Takes a manifest in the field named by :attr:`manifest_field`: builder's object, mapping, file or YAML text.

    :param labels: labels to add to the manifest's.
    """

    template_ext: Sequence[str] = _MANIFEST_FILES
    manifest_field: ClassVar[str]

    def __init__(self, *, labels: Mapping[str, str] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.labels = labels

    def manifest(self) -> Manifest:
        """Return the manifest that the rendered fields give, a copy of its own.

        :raises InvalidManifestError: naming the field, its value and the fix.
        """
        return self.labelled(load_manifest(getattr(self, self.manifest_field)))

    def labelled(self, manifest: Manifest) -> Manifest:
        """Add this task's labels to a manifest, and return it."""
        if self.labels:
            metadata = manifest.setdefault("metadata", {})
            metadata["labels"] = {**(metadata.get("labels") or {}), **self.labels}
        return manifest

    async def namespace_of(self, cluster: Cluster, manifest: Manifest) -> str:
        """Return where the object goes: this operator's namespace, the manifest's, or the cluster's default."""
        stated = (manifest.get("metadata") or {}).get("namespace")
        return self.namespace or stated or await cluster.default_namespace()

    @staticmethod
    def plain(source: Any) -> Any:
        """Return what Airflow can template and show: a builder's object as a mapping, a path object as text."""
        if hasattr(source, "to_manifest"):
            return source.to_manifest()
        return os.fspath(source) if isinstance(source, os.PathLike) else source

    def only_a_path_is_a_file(self) -> None:
        """Keep Airflow from taking every text that ends in ``.yaml``, deep in a manifest, for a template file."""
        text = getattr(self, self.manifest_field)
        if not (isinstance(text, str) and "\n" not in text and text.endswith(_MANIFEST_FILES)):
            self.template_ext = ()

    def resolve_template_files(self) -> None:
        """Read the file that the field names; Airflow's own loader knows relative paths only."""
        path = getattr(self, self.manifest_field)
        if self.template_ext and isinstance(path, str) and os.path.isabs(path) and Path(path).is_file():
            setattr(self, self.manifest_field, Path(path).read_text(encoding="utf-8"))
            self.only_a_path_is_a_file()
        super().resolve_template_files()

    def prepare_template(self) -> None:
        """Take the content of the file for what it is; Airflow calls this after reading it."""
        self.only_a_path_is_a_file()

    def render_template(self, content: Any, *args: Any, **kwargs: Any) -> Any:
        """Render as Airflow does; a file that is not there is bad input."""
        from jinja2 import TemplateNotFound

        try:
            return super().render_template(content, *args, **kwargs)
        except TemplateNotFound as error:
            raise InvalidManifestError(
                f"{self.manifest_field} is {content!r}, but there is no such file: give an absolute path, or one below "
                f"the folder of the DAG file or template_searchpath ({error.message})"
            ) from None


def task_identity(context: Context) -> naming.TaskIdentity:
    """Return who an object belongs to."""
    ti = context["ti"]
    return naming.TaskIdentity(
        # Two Airflows that share a namespace stay apart by where they are served.
        tenant=conf.get("api", "base_url", fallback=""),
        dag_id=ti.dag_id,
        task_id=ti.task_id,
        run_id=ti.run_id,
        map_index=-1 if ti.map_index is None else ti.map_index,
        try_number=ti.try_number,
        max_tries=ti.max_tries,
    )


__all__ = ["ClusterOperator", "ManifestOperator", "task_identity"]
