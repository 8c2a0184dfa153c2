"""Label and field selectors: the text of a query → a predicate on labels or fields."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_sparkml.local.api.status import StatusError, bad_request

Labels = Mapping[str, str]

_TOKEN = re.compile(r"\s*(==|!=|[=!,()<>]|[^\s=!,()<>]+)")
_LABEL_VALUE = re.compile(r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$")
_LABEL_NAME = re.compile(r"^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$")
_PREFIX = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition of a label selector.

    :param key: the label's key.
    :param operator: ``in``, ``notin``, ``exists``, ``!``, ``gt`` or ``lt``.
    :param values: what its value is compared with.
    """

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def matches(self, labels: Labels) -> bool:
        """Return whether labels meet the condition; a missing label meets ``notin`` and ``!``."""
        value = labels.get(self.key)
        match self.operator:
            case "in":
                return value in self.values
            case "notin":
                return value not in self.values
            case "exists":
                return value is not None
            case "!":
                return value is None
            case _:
                return value is not None and _compare(self.operator, value, next(iter(self.values)))


def _compare(operator: str, value: str, bound: str) -> bool:
    """Return whether an integer label lies on the right side of the bound."""
    try:
        return int(value) > int(bound) if operator == "gt" else int(value) < int(bound)
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class Selector:
    """All conditions of a label selector; none selects everything."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Labels) -> bool:
        """Return whether labels meet every condition."""
        return all(requirement.matches(labels) for requirement in self.requirements)

    def __bool__(self) -> bool:
        return bool(self.requirements)


def parse_labels(text: str) -> Selector:
    """Return the selector that a ``labelSelector`` parameter means.

    :raises StatusError: 400, as apimachinery's ``labels.Parse`` says it.
    """
    tokens = _TOKEN.findall(text)
    if not tokens:
        return Selector()
    requirements: list[Requirement] = []
    position = 0
    while True:
        requirement, position = _requirement(tokens, position)
        requirements.append(requirement)
        if position == len(tokens):
            return Selector(tuple(requirements))
        if tokens[position] != ",":
            raise _unparsable(tokens[position], "',' or 'end of string'")
        position += 1


def _requirement(tokens: list[str], at: int) -> tuple[Requirement, int]:
    """Parse one condition and return it with the place after it."""
    negated = _peek(tokens, at) == "!"
    key = _identifier(tokens, at + negated)
    at += negated + 1
    _check_key(key)
    operator = _peek(tokens, at)
    if negated:
        return Requirement(key, "!"), at
    if operator in ("", ","):
        return Requirement(key, "exists"), at
    if operator in ("in", "notin"):
        values, at = _values(tokens, at + 1)
        return Requirement(key, operator, frozenset(values)), at
    names = {"=": "in", "==": "in", "!=": "notin", ">": "gt", "<": "lt"}
    if operator not in names:
        raise _unparsable(operator, "in, notin, =, ==, !=, gt, lt")
    at += 1
    following = _peek(tokens, at)
    if following in ("", ","):  # an empty value
        return Requirement(key, names[operator], frozenset({""})), at
    value = _identifier(tokens, at)
    _check_value(key, value)
    return Requirement(key, names[operator], frozenset({value})), at + 1


def _values(tokens: list[str], at: int) -> tuple[list[str], int]:
    """Parse ``(a, b)`` and return the values with the place after them."""
    if _peek(tokens, at) != "(":
        raise _unparsable(_peek(tokens, at), "'('")
    values: list[str] = []
    at += 1
    while True:
        value = _peek(tokens, at)
        if value in (",", ")"):
            values.append("")
        else:
            values.append(_identifier(tokens, at))
            at += 1
        follow = _peek(tokens, at)
        if follow == ")":
            return values, at + 1
        if follow != ",":
            raise _unparsable(follow, "',' or ')'")
        at += 1


def _peek(tokens: list[str], at: int) -> str:
    """Return a token, empty behind the last."""
    return tokens[at] if at < len(tokens) else ""


def _identifier(tokens: list[str], at: int) -> str:
    """Return a key or value."""
    token = _peek(tokens, at)
    if not token or token in ("=", "==", "!=", "!", ",", "(", ")", "<", ">"):
        raise _unparsable(token, "identifier")
    return token


def _check_key(key: str) -> None:
    """Refuse what cannot be a label's key."""
    prefix, slash, name = key.rpartition("/")
    if (slash and not _PREFIX.match(prefix)) or not _LABEL_NAME.match(name) or len(name) > 63:
        raise bad_request(
            f'unable to parse requirement: <nil>: Invalid value: "{key}": name part must consist of alphanumeric '
            "characters, '-', '_' or '.', and must start and end with an alphanumeric character"
        )


def _check_value(key: str, value: str) -> None:
    """Refuse what cannot be a label's value."""
    if not _LABEL_VALUE.match(value) or len(value) > 63:
        raise bad_request(
            f'unable to parse requirement: values[0][{key}]: Invalid value: "{value}": a valid label must be an empty '
            "string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
            "alphanumeric character"
        )


def _unparsable(found: str, expected: str) -> StatusError:
    """Return the answer to a selector that is none."""
    return bad_request(f"unable to parse requirement: found '{found}', expected: {expected}")


def from_label_selector(selector: Mapping[str, Any] | None) -> Selector:
    """Return the selector of a ``LabelSelector`` object, as a Deployment or a NetworkPolicy carries it."""
    selector = selector or {}
    names = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}
    labels = (selector.get("matchLabels") or {}).items()
    requirements = [Requirement(key, "in", frozenset({value})) for key, value in labels]
    for expression in selector.get("matchExpressions") or ():
        values = frozenset(expression.get("values") or ())
        requirements.append(Requirement(expression["key"], names[expression["operator"]], values))
    return Selector(tuple(requirements))


def selector_text(selector: Mapping[str, Any] | None) -> str:
    """Return a ``LabelSelector`` object as a query writes it."""
    selector = selector or {}
    terms = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for expression in selector.get("matchExpressions") or ():
        key, values = expression["key"], ",".join(expression.get("values") or ())
        texts = {"In": f"{key} in ({values})", "NotIn": f"{key} notin ({values})", "Exists": key}
        terms.append(texts.get(expression["operator"], f"!{key}"))
    return ",".join(terms)


@dataclass(frozen=True, slots=True)
class FieldSelector:
    """Conditions on fields: ``(field, value, whether equal)``."""

    terms: tuple[tuple[str, str, bool], ...] = ()

    def matches(self, field: Callable[[str], str]) -> bool:
        """Return whether an object meets every condition, given the function that reads its fields."""
        return all((field(name) == value) == equal for name, value, equal in self.terms)

    def value_of(self, name: str) -> str | None:
        """Return the value that the selector demands of a field, if it does."""
        return next((value for field, value, equal in self.terms if field == name and equal), None)

    def __bool__(self) -> bool:
        return bool(self.terms)


def parse_fields(text: str, selectable: frozenset[str]) -> FieldSelector:
    """Return the selector that a ``fieldSelector`` parameter means.

    :param selectable: the fields that the type can be selected by.
    :raises StatusError: 400 when it is malformed or names another field.
    """
    terms: list[tuple[str, str, bool]] = []
    for term in filter(None, text.split(",")):
        for operator in ("!=", "==", "="):
            name, found, value = term.partition(operator)
            if found:
                break
        else:
            raise bad_request(f"invalid selector: '{text}'; can't understand '{term}'")
        if name not in selectable:
            raise bad_request(f"field label not supported: {name}")
        terms.append((name, value, operator != "!="))
    return FieldSelector(tuple(terms))
