"""``@task.spark_application`` and its kin: the function says what to run, and the task runs it as the operator does."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk.bases.decorator import DecoratedOperator, TaskDecorator, determine_kwargs, task_decorator_factory
from airflow.sdk.definitions._internal.types import SET_DURING_EXECUTION

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.operators import training
from airflow_provider_sparkml.operators.job import JobOperator
from airflow_provider_sparkml.operators.spark import SparkApplicationOperator
from airflow_provider_sparkml.resources.base import ResourceRef

if TYPE_CHECKING:
    from airflow.sdk import Context


class _JobTask(DecoratedOperator, JobOperator):
    """Calls the function when the task runs, and takes what it returns for the operator's manifest.

    :param python_callable: returns a builder's object, a mapping, an absolute path or YAML text; templates in it are
        not rendered, since the function has the context.
    :param op_args: its positional arguments. Templated.
    :param op_kwargs: its keyword arguments. Templated.
    """

    overwrite_rtif_after_execution: bool = True
    python_callable: Callable[..., Any]
    op_args: Collection[Any]
    op_kwargs: Mapping[str, Any]

    def __init__(self, *, python_callable: Callable[..., Any], **kwargs: Any) -> None:
        manifest = {self.manifest_field: SET_DURING_EXECUTION}
        super().__init__(python_callable=python_callable, kwargs_to_upstream=manifest, **kwargs)

    def execute(self, context: Context) -> Any:
        """Call the function, then do as the operator does.

        :raises InvalidManifestError: the function returned nothing.
        """
        arguments = determine_kwargs(self.python_callable, self.op_args, {**context, **self.op_kwargs})
        manifest = self.python_callable(*self.op_args, **arguments)
        if manifest is None:
            raise InvalidManifestError(
                f"{self.python_callable.__name__} returned None: let it return the manifest of the "
                f"{self.resource.api.kind}, as a builder's object, a mapping, a path or YAML text"
            )
        # Not rendered: what a run's parameters say would be taken for a template, which may read any Variable.
        setattr(self, self.manifest_field, self.plain(manifest))
        return super().execute(context)

    def execute_complete(
        self, context: Context, event: dict[str, Any], trigger: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Conclude as the operator does; the rendered field names the job, since the function is not called again."""
        if trigger is not None:
            setattr(self, self.manifest_field, str(ResourceRef(**trigger["ref"])))
        return super().execute_complete(context, event, trigger)


def _decorator(name: str, operator: type[JobOperator]) -> Callable[..., TaskDecorator]:
    """Return the decorator ``@task.<name>``, whose tasks are the operator's."""
    own: dict[str, Any] = {
        "__doc__": _JobTask.__doc__,
        "__module__": __name__,
        "custom_operator_name": f"@task.{name}",
        "template_fields": (*DecoratedOperator.template_fields, *operator.template_fields),
        "template_fields_renderers": {
            **DecoratedOperator.template_fields_renderers,
            **operator.template_fields_renderers,
        },
    }
    task_class = type(f"_{operator.__name__.removesuffix('Operator')}Task", (_JobTask, operator), own)

    def decorator(python_callable: Callable[..., Any] | None = None, **options: Any) -> TaskDecorator:
        # The function returns a manifest, and the task its result: an annotation says nothing of XComs.
        options.setdefault("multiple_outputs", False)
        return task_decorator_factory(python_callable=python_callable, decorated_operator_class=task_class, **options)

    decorator.__name__ = name
    decorator.__doc__ = f"""Make a task of a function that returns a manifest for :class:`{operator.__name__}`.

    :param python_callable: the function; its arguments may be other tasks' results and keys of Airflow's context.
    :param options: the operator's parameters, but for its manifest.
    """
    return decorator


spark_application = _decorator("spark_application", SparkApplicationOperator)
mpi_job = _decorator("mpi_job", training.MPIJobOperator)
train_job = _decorator("train_job", training.TrainJobOperator)
pytorch_job = _decorator("pytorch_job", training.PyTorchJobOperator)
tf_job = _decorator("tf_job", training.TFJobOperator)
xgboost_job = _decorator("xgboost_job", training.XGBoostJobOperator)
training_pods = _decorator("training_pods", training.TrainingPodsOperator)

__all__ = [
    "mpi_job",
    "pytorch_job",
    "spark_application",
    "tf_job",
    "train_job",
    "training_pods",
    "xgboost_job",
]
