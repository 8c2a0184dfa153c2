"""Answers as real API servers give them → exceptions."""

import json
import pickle

import pytest

from airflow_provider_sparkml import exceptions
from airflow_provider_sparkml.client.errors import Call, error_from_answer

CREATE = Call("create", "sparkapplications.sparkoperator.k8s.io", "team", "pi")
GET = Call("get", "sparkapplications.sparkoperator.k8s.io", "team", "pi")


def status(code, reason, message, **details):
    return json.dumps(
        {"kind": "Status", "status": "Failure", "message": message, "reason": reason, "details": details, "code": code}
    ).encode()


def cause(reason, field, message):
    return {"reason": reason, "field": field, "message": message}


@pytest.mark.parametrize(
    ("call", "code", "body", "expected", "begins"),
    [
        (GET, 401, status(401, "Unauthorized", "Unauthorized"), "UnauthorizedError", "Unauthorized"),
        (CREATE, 403, status(403, "Forbidden", 'User "u" cannot create'), "ForbiddenError", 'User "u" cannot create'),
        (
            CREATE,
            403,
            status(403, "Forbidden", 'sparkapplications "pi" is forbidden: exceeded quota: q, requested: count=1'),
            "QuotaExceededError",
            'sparkapplications "pi" is forbidden: exceeded quota',
        ),
        (
            GET,
            404,
            status(404, "NotFound", 'sparkapplications "pi" not found', name="pi", kind="sparkapplications"),
            "NotFoundError",
            'sparkapplications "pi" not found',
        ),
        (
            CREATE,
            404,
            status(404, "NotFound", 'namespaces "team" not found', name="team", kind="namespaces"),
            "NamespaceNotFoundError",
            'namespaces "team" not found',
        ),
        (
            CREATE,
            404,
            b"404 page not found\n",
            "ResourceTypeNotFoundError",
            "the API server does not know the resource type sparkapplications.sparkoperator.k8s.io",
        ),
        (
            CREATE,
            404,
            status(404, "NotFound", "the server could not find the requested resource"),
            "ResourceTypeNotFoundError",
            "the API server does not know the resource type",
        ),
        (
            CREATE,
            409,
            status(409, "AlreadyExists", 'sparkapplications "pi" already exists', name="pi"),
            "AlreadyExistsError",
            'sparkapplications "pi" already exists',
        ),
        (CREATE, 409, status(409, "Conflict", "the object has been modified"), "ConflictError", "the object has been"),
        (GET, 410, status(410, "Expired", "too old resource version: 1 (415)"), "GoneError", "too old resource"),
        (GET, 429, status(429, "TooManyRequests", "please try again later"), "ApiUnavailableError", "please try"),
        (GET, 503, b"upstream connect error", "ApiUnavailableError", "upstream connect error"),
        (GET, 418, b"", "ApiError", "no message"),
        (GET, 400, status(400, "BadRequest", "field label not supported: x"), "ApiError", "field label not supported"),
        (CREATE, 400, status(400, "BadRequest", "json parse error"), "InvalidObjectError", "json parse error"),
        (CREATE, 413, b"too large", "InvalidObjectError", "too large"),
        (Call("proxy", "pods/proxy", "team", "p:4040"), 404, b"<html>no</html>", "NotFoundError", "<html>"),
    ],
)
def test_each_refusal_becomes_its_own_exception_with_the_cause_first(call, code, body, expected, begins):
    error = error_from_answer(call, code, body)
    assert type(error).__name__ == expected
    assert str(error).startswith(begins)
    assert error.status == code
    assert str(call) in str(error).splitlines()[0]


def test_an_invalid_object_names_every_field_in_the_first_line():
    body = status(
        422,
        "Invalid",
        'SparkApplication "pi" is invalid: […]',
        causes=[
            cause("FieldValueRequired", "spec.driver", "Required value"),
            cause("FieldValueNotSupported", "spec.type", 'Unsupported value: "Pyton"'),
        ],
    )
    error = error_from_answer(CREATE, 422, body)
    assert isinstance(error, exceptions.InvalidObjectError)
    assert isinstance(error, exceptions.PermanentError)
    assert str(error) == (
        'spec.driver: Required value; spec.type: Unsupported value: "Pyton" '
        "(create sparkapplications.sparkoperator.k8s.io pi in namespace team: HTTP 422 Invalid)"
    )
    assert error.causes[0] == ("FieldValueRequired", "spec.driver", "Required value")


def test_strict_decoding_names_unknown_and_duplicate_fields():
    message = (
        'SparkApplication in version "v1beta2" cannot be handled as a SparkApplication: strict decoding error: '
        'unknown field "spec.imagee", duplicate field "spec.type"'
    )
    error = error_from_answer(CREATE, 400, status(400, "BadRequest", message))
    assert isinstance(error, exceptions.InvalidObjectError)
    assert str(error).startswith("spec.imagee: unknown field; spec.type: duplicate field (create ")
    assert [field for _, field, _ in error.causes] == ["spec.imagee", "spec.type"]


def test_apply_conflicts_tell_the_fields_in_one_line():
    message = 'Apply failed with 2 conflicts: conflicts with "airflow":\n- .metadata.labels\n- .spec.image'
    body = status(409, "Conflict", message, causes=[cause("FieldManagerConflict", ".spec.image", "conflict")])
    error = error_from_answer(Call("apply", "sparkapplications", "team", "pi"), 409, body)
    assert isinstance(error, exceptions.ConflictError)
    assert "\n" not in str(error)
    assert ".spec.image" in str(error)
    assert error.causes == (("FieldManagerConflict", ".spec.image", "conflict"),)


def test_errors_survive_pickling_as_task_processes_pass_them_on():
    error = error_from_answer(CREATE, 422, status(422, "Invalid", "no", causes=[cause("r", "f", "m")]))
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.status, copy.causes) == (str(error), 422, (("r", "f", "m"),))


@pytest.mark.parametrize("body", [b"[]", b"null", b'"text"', b'{"kind": "Other"}', b"\xff\xfe", b'{"kind": "Status"}'])
def test_any_body_is_borne(body):
    assert error_from_answer(GET, 500, body).status == 500
