"""What containers on the local cluster take from a Dockerfile."""

from __future__ import annotations

from airflow_provider_sparkml.local.dockerfile import Dockerfile, parse_dockerfile


def test_dockerfile_of_the_last_stage() -> None:
    text = """
    FROM one AS first
    ENV LOST=1
    FROM --platform=linux/amd64 two AS last
    # a comment
    ARG BACKEND=cpu
    ARG REQUIRED
    LABEL one="a b" two=c
    ENV A=1 B="two words" \\
        C=3
    ENV PATH=/opt/bin:$PATH
    ENV OLD the whole rest
    WORKDIR /opt/work
    CMD ["lost"]
    RUN lost
    COPY --chown=1:1 rootfs/ /
    RUN make it \\
        so
    ENTRYPOINT ["python", "-m", "x"]
    CMD ["serve"]
    """
    env = {"A": "1", "B": "two words", "C": "3", "OLD": "the whole rest"}
    assert parse_dockerfile(text) == Dockerfile(
        base="two",
        entrypoint=("python", "-m", "x"),
        command=("serve",),
        env=env,
        workdir="/opt/work",
        runs=(("/bin/sh", "-c", "make it          so"),),
        args={"BACKEND": "cpu"},
        labels={"one": "a b", "two": "c"},
    )


def test_dockerfile_shell_form_and_reset_of_cmd() -> None:
    assert parse_dockerfile("FROM x\nCMD echo hi").command == ("/bin/sh", "-c", "echo hi")
    assert parse_dockerfile('FROM x\nCMD ["a"]\nENTRYPOINT ["b"]').command == ()
