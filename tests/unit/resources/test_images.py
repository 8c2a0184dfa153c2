"""Image references: what container runtimes make of them, and which of them can change."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.resources.images import ImageReference, parse_image

SHA = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "registry", "repository", "tag", "digest"),
    [
        ("spark", "docker.io", "library/spark", "", ""),
        ("spark:4.3.0", "docker.io", "library/spark", "4.3.0", ""),
        ("apache/spark:4.3.0", "docker.io", "apache/spark", "4.3.0", ""),
        ("ghcr.io/kubeflow/a/b", "ghcr.io", "kubeflow/a/b", "", ""),
        ("localhost/spark:1", "localhost", "spark", "1", ""),
        # The port of a registry is no tag, and a tag of digits is no port.
        ("localhost:5000/spark", "localhost:5000", "spark", "", ""),
        ("registry:5000/team/spark:5000", "registry:5000", "team/spark", "5000", ""),
        ("team/spark:5000", "docker.io", "team/spark", "5000", ""),
        ("Registry/spark:1", "Registry", "spark", "1", ""),
        ("[::1]:5000/spark:1", "[::1]:5000", "spark", "1", ""),
        (f"spark@{SHA}", "docker.io", "library/spark", "", SHA),
        (f"r.example.com:443/a/b:latest@{SHA}", "r.example.com:443", "a/b", "latest", SHA),
        ("a.b/c__d-e--f.g:v1_x-Y.2", "a.b", "c__d-e--f.g", "v1_x-Y.2", ""),
    ],
)
def test_parts(text: str, registry: str, repository: str, tag: str, digest: str) -> None:
    assert parse_image(text) == ImageReference(registry, repository, tag, digest)


@pytest.mark.parametrize(
    ("text", "versioned"),
    [
        ("spark", False),
        ("spark:latest", False),
        ("localhost:5000/spark", False),
        ("localhost:5000/spark:latest", False),
        ("spark:4.3.0", True),
        ("spark:latest-4.3.0", True),
        (f"spark@{SHA}", True),
        (f"spark:latest@{SHA}", True),
    ],
)
def test_which_can_change(text: str, versioned: bool) -> None:
    assert parse_image(text).is_versioned is versioned


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' is no repository"),
        ("Spark:1", "'Spark' is no repository, which has lower-case letters"),
        ("team/Spark:1", "'team/Spark' is no repository"),
        ("spark:", "'' is no tag"),
        ("spark:a b", "'a b' is no tag"),
        ("spark:-1", "'-1' is no tag"),
        (f"spark:{'a' * 129}", "is no tag"),
        ("spark@", "'' is no digest"),
        ("spark@sha256:abc", "'sha256:abc' is no digest"),
        (f"spark@{SHA.upper()}", "is no digest"),
        (f"spark@{SHA}0", "is no digest"),
        ("a//b:1", "'a//b' is no repository"),
        ("bad_host.example:1/a", "is no registry"),
        ("r.example.com/:1", "'' is no repository"),
        (" spark:1", "is no repository"),
        ("spark:1\n", "is no tag"),
        ("s" * 256, "longer than 255"),
        ("{{ params.image }}", "is no repository"),
    ],
)
def test_what_is_none(text: str, message: str) -> None:
    with pytest.raises(InvalidManifestError, match=message) as error:
        parse_image(text, "spec.image")
    assert str(error.value).startswith(f"spec.image is {text!r}, which is no image: ")


LABEL = st.from_regex(r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,8}[a-zA-Z0-9])?", fullmatch=True)
PART = st.from_regex(r"[a-z0-9]{1,6}((\.|_|__|-{1,3})[a-z0-9]{1,6}){0,2}", fullmatch=True)
TAG = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True)
REGISTRY = st.one_of(
    st.just("localhost"),
    st.builds(lambda host, port: f"{host}:{port}", LABEL, st.integers(0, 65535)),
    st.builds(lambda *labels: ".".join(labels), LABEL, LABEL),
)


@given(
    registry=st.one_of(st.just(""), REGISTRY),
    path=st.lists(PART, min_size=1, max_size=4),
    tag=st.one_of(st.just(""), TAG),
    digest=st.sampled_from(["", SHA]),
)
@example(registry="localhost:5000", path=["spark"], tag="", digest="")
@example(registry="", path=["localhost"], tag="5000", digest="")
def test_what_is_put_together_comes_apart(registry: str, path: list[str], tag: str, digest: str) -> None:
    # The first part of a path is the registry when it looks like one.
    if not registry and len(path) > 1 and ("." in path[0] or path[0] == "localhost"):
        return
    name = "/".join([*filter(None, [registry]), *path])
    found = parse_image(name + (f":{tag}" if tag else "") + (f"@{digest}" if digest else ""))
    official = "library/" if not registry and len(path) == 1 else ""
    assert found == ImageReference(registry or "docker.io", official + "/".join(path), tag, digest)
    assert found.is_versioned is (bool(digest) or tag not in ("", "latest"))
    assert parse_image(str(found)) == found


@given(st.text(alphabet="aZ0.:/@-_[] \n", max_size=40))
def test_any_text_is_an_image_or_is_refused(text: str) -> None:
    with suppress(InvalidManifestError):
        assert parse_image(str(parse_image(text))) == parse_image(text)
