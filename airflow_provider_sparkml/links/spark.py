"""The links of a SparkApplication's task: *Spark UI* while it runs, *Spark history* afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from airflow.sdk import BaseOperatorLink

from airflow_provider_sparkml.triggers.spark import HISTORY_KEY, UI_KEY

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey


class _StoredLink(BaseOperatorLink):
    """A link that the operator and its trigger keep in an XCom, since it is known only while the job lives."""

    key: ClassVar[str]

    @property
    def xcom_key(self) -> str:
        """XCom key under which the web page finds the link."""
        return self.key

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return what was stored; empty when there is nothing to link to."""
        from airflow.sdk.execution_time.xcom import XCom

        return XCom.get_value(ti_key=ti_key, key=self.key) or ""


class SparkUILink(_StoredLink):
    """The driver's web page, where the Spark operator makes an ingress for it (``driverInfo.webUIIngressAddress``)."""

    name = "Spark UI"
    key = UI_KEY


class SparkHistoryLink(_StoredLink):
    """The application's page on the History Server of ``[sparkml] history_server_url``."""

    name = "Spark history"
    key = HISTORY_KEY


__all__ = ["SparkHistoryLink", "SparkUILink"]
