"""Which parameters of a search the templates of its trials use, as far as that can be seen before they are rendered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import nodes

PARAMS = "trial"
"""A trial's parameters are this entry of its ``params``: one entry, so that no DAG parameter comes between."""


def used_parameters(value: Any, parameters: Mapping[str, Any]) -> Iterator[str | None]:
    """Yield the parameters that templates anywhere in a value use; ``None`` for what might be a use of any.

    :param value: a manifest, or an operator's options.
    :param parameters: the parameters of the search, by name.
    """
    if isinstance(value, Mapping):
        for each in value.values():
            yield from used_parameters(each, parameters)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from used_parameters(each, parameters)
    elif isinstance(value, str):
        yield from _used_by(value, parameters)
    elif hasattr(value, "resolve"):  # what another task returns
        yield None


def _used_by(text: str, parameters: Mapping[str, Any]) -> Iterator[str | None]:
    """Yield what one template uses."""
    if "params" not in text:
        return
    from jinja2 import Environment, TemplateSyntaxError

    try:
        tree = Environment(autoescape=False).parse(text)  # noqa: S701
    except TemplateSyntaxError:
        yield None
        return
    yield from _used_in(tree, parameters)


def _used_in(node: nodes.Node, parameters: Mapping[str, Any]) -> Iterator[str | None]:
    path = _path(node)
    if path[:1] == ["params"]:
        # Other parameters are the DAG's; ``params.trial | tojson`` and ``params.get("trial")`` may use all.
        if len(path) == 1 or path[1] == PARAMS or hasattr(dict, path[1]):
            yield path[2] if len(path) > 2 and path[1] == PARAMS and path[2] in parameters else None
        return
    if "params" in path:
        yield None  # task.params
    for child in node.iter_child_nodes():
        yield from _used_in(child, parameters)


def _path(node: nodes.Node) -> list[str]:
    """Return ``["params", "trial", "x"]`` of ``params.trial.x`` and ``params["trial"]["x"]``; else an empty list."""
    from jinja2 import nodes

    if isinstance(node, nodes.Name):
        return [node.name]
    if isinstance(node, nodes.Getattr):
        return [*before, node.attr] if (before := _path(node.node)) else []
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str):
        return [*before, node.arg.value] if (before := _path(node.node)) else []
    return []


__all__ = ["PARAMS", "used_parameters"]
