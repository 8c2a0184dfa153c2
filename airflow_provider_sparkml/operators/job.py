"""The operator of every kind of job: submitted exactly once, waited for, finished by policy."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.hooks.kubernetes import Cluster
from airflow_provider_sparkml.operators.attempts import History
from airflow_provider_sparkml.operators.base import task_identity
from airflow_provider_sparkml.operators.deferring import DeferringOperator, timeout_seconds
from airflow_provider_sparkml.operators.lineage import openlineage_of, run_manifest, tell_assets
from airflow_provider_sparkml.params import check_params
from airflow_provider_sparkml.resources import naming
from airflow_provider_sparkml.resources.base import Manifest, Phase, ResourceRef
from airflow_provider_sparkml.resources.code import CodeVolume
from airflow_provider_sparkml.resources.lineage import ENV, EXTRA, MODEL_ENV
from airflow_provider_sparkml.retries import OperatorRetryPolicy

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import Context

    from airflow_provider_sparkml.jobs.outcome import Deadlines, Outcome
    from airflow_provider_sparkml.jobs.submit import Submission

OnFinish = Literal["delete", "delete_on_success", "keep"]
"""What becomes of a job's object after its end."""
RetryOwner = Literal["airflow", "operator"]
"""Who tries a job again that has failed."""
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"


class JobOperator(DeferringOperator):
    """Submits a job, waits for its end without holding a worker, and returns what is worth knowing.

    :param job: the manifest: an object of the kind's builder, a mapping, a path to a YAML or JSON file
        (absolute, or below the DAG's folder or ``template_searchpath``), or YAML text. All of it is templated.
    :param namespace: the Kubernetes namespace; by default the manifest's, else the connection's, else ``default``.
        Templated.
    :param kubernetes_conn_id: an Airflow connection of type ``kubernetes``. Templated.
    :param deferrable: wait in the triggerer. Default: ``AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE`` if it is set, else
        ``True``.
    :param queue_timeout: how long the job may wait for admission (suspended, Kueue; gang schedulers), each time that
        it has to; a ``timedelta`` or seconds. ``None``: for ever.
    :param startup_timeout: how long it may then take until it runs; likewise.
    :param on_finish: what becomes of the job's object: ``delete`` it, ``delete_on_success``, or ``keep`` it.
    :param labels: labels to add to the manifest's. Templated.
    :param queue_name: the Kueue LocalQueue that admits the job, as its label ``kueue.x-k8s.io/queue-name``
        (https://kueue.sigs.k8s.io/docs/tasks/run/). Templated.
    :param checkpoint_uri: where the program keeps its checkpoints; it reads this from ``SPARKML_CHECKPOINT_URI`` in
        every container. On a retry, and only then, ``SPARKML_RESUME_FROM`` has it too: the program goes on from the
        newest whole checkpoint there, or from the start where there is none. A task that was cleared starts anew. In
        the result as ``checkpoint_uri``. Templated.
    :param model_uri: where the program puts the model that it makes; the task then keeps a run manifest
        (:class:`~airflow_provider_sparkml.resources.lineage.RunManifest`): what is known beforehand is in
        ``SPARKML_RUN_MANIFEST`` of every container, for the program to write beside the model with its metrics, inputs
        and parameters; the whole is in the result, and in the events of the task's outlets, as ``run_manifest``. The
        URI is in ``SPARKML_MODEL_URI``. Templated.
    :param retry_owner: who tries a failed job again, so that retries never multiply. ``airflow``: a manifest whose own
        controller would (a ``restartPolicy``, a ``backoffLimit``) is refused, and where that is a mere default it is
        set off. ``operator``: the manifest says how often; a job that its operator has given up is not tried again by
        Airflow, whose ``retries`` then serve for the rest: a refused submission, a worker that died, a deleted job.
    :param code: where the image has the code, and the volume that is mounted there under the profile ``development``
        (Airflow's connection or Variable chooses it). Relative paths of the program begin there. Templated.
    :param locked_env: variables that the image sets and nobody may override: under the profile ``production``, a
        manifest that sets one is refused. Templated.

    In the result, ``attempts`` is how often the kind's operator has run the job, and ``history`` lists this task's
    tries with how each ended; the log of a retry has them, too.

    ``execution_timeout`` of Airflow's is counted from the start of the try, deferred or not, and ends the job too.
    """

    template_fields: Sequence[str] = (
        "job", "namespace", "labels", "queue_name", "checkpoint_uri", "model_uri", "code", "locked_env",
        "kubernetes_conn_id",
    )  # fmt: skip
    template_fields_renderers: ClassVar[dict[str, str]] = {"job": "yaml", "labels": "json"}
    manifest_field = "job"

    def __init__(
        self,
        *,
        job: Any,
        namespace: str | None = None,
        queue_timeout: timedelta | float | None = None,
        on_finish: OnFinish = "delete",
        labels: Mapping[str, str] | None = None,
        queue_name: str | None = None,
        checkpoint_uri: str | None = None,
        model_uri: str | None = None,
        retry_owner: RetryOwner = "airflow",
        code: CodeVolume | None = None,
        locked_env: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(namespace=namespace, labels=labels, **kwargs)
        # Rendering replaces the field: by what it was before, one can tell who has set a variable.
        self._template = self.plain(job)
        setattr(self, self.manifest_field, self._template)
        self.code = code.to_json() if isinstance(code, CodeVolume) else code
        self.locked_env = locked_env
        self.queue_name = queue_name
        self.checkpoint_uri = checkpoint_uri
        self.model_uri = model_uri
        self.queue_timeout = timeout_seconds("queue_timeout", queue_timeout)
        if on_finish not in get_args(OnFinish):
            raise InvalidManifestError(f"on_finish is {on_finish!r}: set it to one of {', '.join(get_args(OnFinish))}")
        self.on_finish = on_finish
        if retry_owner not in get_args(RetryOwner):
            raise InvalidManifestError(f"retry_owner is {retry_owner!r}: set it to 'airflow' or 'operator'")
        self.retry_owner = retry_owner
        if retry_owner == "operator":
            self.retry_policy = OperatorRetryPolicy(self.retry_policy)
        self._history: History | None = None
        self._result: dict[str, Any] | None = None
        self._job_namespace = ""
        self.only_a_path_is_a_file()

    def execute(self, context: Context) -> Any:
        """Start, then defer or wait; the log of a retry begins with how the earlier tries ended.

        :return: the result dict, when it waits itself.
        """
        self._history_of(context).tell()
        return self._recorded(context, functools.partial(super().execute, context))

    def execute_complete(
        self, context: Context, event: dict[str, Any], trigger: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Conclude what the trigger has waited for."""
        conclude = functools.partial(super().execute_complete, context, event, trigger)
        ref = (trigger or {}).get("ref") or {}
        self._history_of(context).job = str(ref.get("name") or "")
        self._job_namespace = str(ref.get("namespace") or "")
        return self._recorded(context, conclude)

    def _history_of(self, context: Context) -> History:
        """Return the tries of this task, of which this one is the last."""
        if self._history is None:
            self._history = History(context, self.retries or 0, self.log)
        return self._history

    def _recorded(self, context: Context, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Do what ends this try, keep how it ended for the next one, and return the result with all tries in it."""
        history = self._history_of(context)
        with history.recorded():
            result = work()
        return {**result, "history": history.to_json()}

    async def start(self, cluster: Cluster, context: Context) -> Submission:
        """Submit the job, or adopt the live one of this chain of attempts."""
        from airflow_provider_sparkml.jobs.submit import submit

        check_params(context.get("params") or {})
        identity = task_identity(context)
        manifest = self._with_checkpoints(self.manifest(), identity)
        if self.model_uri:
            known = json.dumps(run_manifest(context, self.model_uri).before(manifest).to_json())
            manifest = self.resource.with_env(manifest, {MODEL_ENV: self.model_uri, ENV: known})
        manifest = await self._profiled(manifest)
        if self.retry_owner == "airflow":
            manifest = self.resource.without_retries(self.resource.normalize(manifest))
        for warning in self.resource.lint(manifest):
            self.log.warning("%s", warning)
        self._job_namespace = namespace = await self.namespace_of(cluster, manifest)
        if identity.max_tries != self.retries:
            await self._delete_orphans(cluster, identity, namespace)
        submission = await submit(
            cluster.client,
            self.resource,
            manifest,
            identity,
            namespace=namespace,
            log=self.log,
            on_finish=self.on_finish,
        )
        self._history_of(context).job = submission.ref.name
        return submission

    def deadlines(self, context: Context, submission: Submission) -> Deadlines:
        """Return when to give up."""
        return replace(super().deadlines(context, submission), queue_seconds=self.queue_timeout)

    async def conclude(self, cluster: Cluster, context: Context, outcome: Outcome) -> dict[str, Any]:
        """Return the result dict, or raise why there is none; consume and clean up."""
        from airflow_provider_sparkml.jobs.finish import finish

        history = self._history_of(context)
        history.job, history.outcome = outcome.ref.name, outcome
        result = await finish(cluster.client, self.resource, outcome, on_finish=self.on_finish, log=self.log)
        if self.checkpoint_uri:
            result["checkpoint_uri"] = self.checkpoint_uri
        if self.model_uri:
            made = run_manifest(context, self.model_uri).completed(self.resource.api.kind, result).to_json()
            tell_assets(context, made)
            result |= {"model_uri": self.model_uri, EXTRA: made}
        self._result = result
        return result

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any] | None:
        """Return inputs, outputs and facets for OpenLineage; its provider calls this, where it is installed."""
        return None if self._result is None else openlineage_of(self.resource.api.kind, self._result)

    def labelled(self, manifest: Manifest) -> Manifest:
        """Add this task's labels and the queue's to a manifest, and return it."""
        manifest = super().labelled(manifest)
        if self.queue_name:
            metadata = manifest.setdefault("metadata", {})
            metadata["labels"] = {**(metadata.get("labels") or {}), QUEUE_LABEL: self.queue_name}
        return manifest

    def _with_checkpoints(self, manifest: Manifest, identity: naming.TaskIdentity) -> Manifest:
        """Return the manifest with the variables that tell the program where its checkpoints are."""
        if not self.checkpoint_uri:
            return manifest
        env = {"SPARKML_CHECKPOINT_URI": self.checkpoint_uri}
        if identity.try_number > naming.first_try(identity.max_tries, self.retries or 0):
            env["SPARKML_RESUME_FROM"] = self.checkpoint_uri
            self.log.info("This is a retry: the program may go on from %s", self.checkpoint_uri)
        return self.resource.with_env(manifest, env)

    async def _profiled(self, manifest: Manifest) -> Manifest:
        """Return the manifest as the profile wants it that the connection or the Variable chooses."""
        from airflow_provider_sparkml.resources.profiles import apply_profile, names_of

        code = None if self.code is None else CodeVolume.rendered(self.code)
        locked = names_of(self.locked_env, "locked_env")
        profile = await self.profile()
        if code is not None:
            origin = f"volume claim {code.claim}" if profile == "development" else "the image"
            self.log.info("The code at %s is that of %s", code.mount_path, origin)
        return apply_profile(manifest, profile, code=code, locked_env=locked, template=self._template)

    async def abandon(self, cluster: Cluster, context: Context) -> None:
        """Delete this task's job, wherever it was broken off; one that has succeeded is left for a retry to take."""
        identity = task_identity(context)
        namespace = self._job_namespace or await self.namespace_of(cluster, self.manifest())
        for item in await self._items(cluster, namespace, naming.selector(identity)):
            if naming.is_ours(item, identity) and self.resource.read(item).phase is not Phase.SUCCEEDED:
                await self._kill(cluster, item)

    async def _delete_orphans(self, cluster: Cluster, identity: naming.TaskIdentity, namespace: str) -> None:
        """Delete what this task left running before a person cleared it.

        The trigger does so when it is there to learn of the clear; this is for a triggerer that was down just then.
        """
        labels = naming.job_labels(identity, 1)
        keys = (naming.MANAGED_BY, "dag_id", "task_id", "run_id")
        same = naming.job_annotations(identity)
        del same[f"{naming.PREFIX}/max-tries"]
        for item in await self._items(cluster, namespace, ",".join(f"{key}={labels[key]}" for key in keys)):
            annotations = item["metadata"].get("annotations") or {}
            former = not naming.is_ours(item, identity) and same.items() <= annotations.items()
            if former and not (self.on_finish == "keep" and self.resource.read(item).phase.is_terminal):
                await self._kill(cluster, item)

    async def _items(self, cluster: Cluster, namespace: str, selector: str) -> list[Manifest]:
        """Return the jobs that a selector selects, but not those that are consumed, or being deleted already."""
        from airflow_provider_sparkml.jobs.submit import with_type

        resource = self.resource
        found = await cluster.client.list(resource.api, namespace, label_selector=selector)
        return [
            with_type(item, resource)
            for item in found.items
            if not naming.is_consumed(item) and not item["metadata"].get("deletionTimestamp")
        ]

    async def _kill(self, cluster: Cluster, item: Manifest) -> None:
        from airflow_provider_sparkml.jobs.cleanup import kill

        await kill(cluster.client, self.resource.api, ResourceRef.of(item), log=self.log)


__all__ = ["JobOperator", "OnFinish", "RetryOwner"]
