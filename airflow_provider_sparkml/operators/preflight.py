"""The operator that checks, before any job, whether the cluster is ready for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_sparkml.exceptions import PreflightFailedError
from airflow_provider_sparkml.operators.base import ClusterOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_sparkml.jobs.findings import Finding


class PreflightOperator(ClusterOperator):
    """Checks whether the cluster is ready for jobs, and changes nothing; fails with the fix of each check that failed.

    It looks at the API server, the kinds' CRDs and versions, the Spark operator's controller, webhook and namespaces,
    the namespace, every verb that this package uses, the service account, quotas and image pull secrets: the same as
    ``sparkml check``. What is optional, and what these credentials may not see, is told in the log only.

    It returns the findings: a list of ``check``, ``status`` (``ok``, ``warning``, ``unknown``), ``detail`` and ``fix``.

    :param kinds: kinds of jobs that have to work.
    :param service_account: the drivers' service account; ``None`` to leave it out. Templated.
    :param image_pull_secret: a Secret that jobs name. Templated.
    :param namespace: where jobs go; by default the connection's, else ``default``. Templated.
    :param kubernetes_conn_id: an Airflow connection of type ``kubernetes``. Templated.

    .. code-block:: python

        from airflow_provider_sparkml.operators.preflight import PreflightOperator

        ready = PreflightOperator(task_id="ready", kinds=["SparkApplication", "InferenceService"], namespace="data")
    """

    template_fields = ("service_account", "image_pull_secret", "namespace", "kubernetes_conn_id")

    def __init__(
        self,
        *,
        kinds: Sequence[str] = ("SparkApplication",),
        service_account: str | None = "spark",
        image_pull_secret: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.kinds = tuple(kinds)
        self.service_account = service_account
        self.image_pull_secret = image_pull_secret

    def execute(self, context: Context) -> list[dict[str, str]]:
        """Check.

        :return: the findings.
        :raises PreflightFailedError: one of them stands in a job's way.
        """
        findings = self.run_async(self._check())
        for finding in findings:
            tell = self.log.info if finding.status == "ok" else self.log.warning
            tell(
                "%s: %s: %s%s",
                finding.status,
                finding.check,
                finding.detail,
                f" - {finding.fix}" if finding.fix else "",
            )
        failed = [finding for finding in findings if finding.status == "failed"]
        if failed:
            first = f"the cluster is not ready: {'; '.join(f'{each.check}: {each.detail}' for each in failed)}"
            raise PreflightFailedError(
                "\n".join([first, *(f"{each.check}: {each.fix}" for each in failed if each.fix)])
            )
        return [finding.to_json() for finding in findings]

    async def _check(self) -> list[Finding]:
        from airflow_provider_sparkml.jobs.preflight import Wanted, check_wanted, preflight

        kinds = check_wanted(self.kinds)
        async with self.hook.connect() as cluster:
            namespace = self.namespace or await cluster.default_namespace()
            wanted = Wanted(namespace, kinds, self.service_account or "", self.image_pull_secret or "")
            return await preflight(cluster.client, wanted)


__all__ = ["PreflightOperator"]
