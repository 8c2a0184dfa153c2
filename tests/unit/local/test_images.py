"""Image folders: found by name, read from their Dockerfile, built once and whole."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from uv import find_uv_bin

from airflow_provider_sparkml.exceptions import LocalClusterError
from airflow_provider_sparkml.local.dockerfile import parse_dockerfile
from airflow_provider_sparkml.local.images import (
    WAITING,
    ImageBuildError,
    ImageNotFoundError,
    ImageStore,
    default_folders,
    image_folders,
    image_name,
)
from airflow_provider_sparkml.local.pods.paths import PathMap


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    return tmp_path / "folders"


@pytest.fixture
def store(folders: Path, tmp_path: Path) -> ImageStore:
    return ImageStore([folders], tmp_path / "cache")


def make_folder(folders: Path, name: str, requirements: str | None = None, dockerfile: str = "FROM x\n") -> Path:
    folder = folders / name
    folder.mkdir(parents=True)
    (folder / "Dockerfile").write_text(dockerfile)
    if requirements is not None:
        (folder / "requirements.txt").write_text(requirements)
    return folder


def make_package(directory: Path) -> Path:
    """Write a package that installs without any index, with a script."""
    package = directory / "greeter"
    (package / "greeter").mkdir(parents=True)
    (package / "greeter" / "__init__.py").write_text("def main():\n    print('hello')\n")
    (package / "pyproject.toml").write_text(
        "[build-system]\nrequires = []\nbackend-path = ['.']\nbuild-backend = 'backend'\n"
        "[project]\nname = 'greeter'\nversion = '1'\n"
    )
    (package / "backend.py").write_text(
        "import zipfile, pathlib\n"
        "def build_wheel(directory, config_settings=None, metadata_directory=None):\n"
        "    name = 'greeter-1-py3-none-any.whl'\n"
        "    with zipfile.ZipFile(pathlib.Path(directory) / name, 'w') as wheel:\n"
        "        wheel.write('greeter/__init__.py')\n"
        "        info = 'greeter-1.dist-info/'\n"
        "        wheel.writestr(info + 'METADATA', 'Metadata-Version: 2.1\\nName: greeter\\nVersion: 1\\n')\n"
        "        about = 'Wheel-Version: 1.0\\nGenerator: x\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n'\n"
        "        wheel.writestr(info + 'WHEEL', about)\n"
        "        wheel.writestr(info + 'entry_points.txt', '[console_scripts]\\ngreet = greeter:main\\n')\n"
        "        wheel.writestr(info + 'RECORD', '')\n"
        "    return name\n"
    )
    return package


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("spark", "spark"),
        ("spark:4.3.0", "spark"),
        ("docker.io/apache/spark:4.3.0", "spark"),
        ("registry.example:5000/team/spark@sha256:abc", "spark"),
        ("registry.example:5000/spark:1@sha256:abc", "spark"),
    ],
)
def test_image_name(reference: str, name: str) -> None:
    assert image_name(reference) == name


@pytest.mark.parametrize("reference", ["absent:1", "..", "no-dockerfile", ""])
async def test_unknown_image(store: ImageStore, folders: Path, reference: str) -> None:
    make_folder(folders, "known")
    (folders / "no-dockerfile").mkdir()
    with pytest.raises(ImageNotFoundError, match=r"not found: no folder .*; there are known"):
        await store.pull(reference)


async def test_build_installs_what_is_required(store: ImageStore, folders: Path, tmp_path: Path) -> None:
    package = make_package(tmp_path)
    folder = make_folder(folders, "greet", f"{package}\n", 'FROM x\nENTRYPOINT ["greet"]\n')
    (folder / "rootfs" / "opt").mkdir(parents=True)
    lines: list[str] = []
    assert not store.is_built("greet")
    image = await store.pull("registry/greet:1", progress=lines.append)
    assert store.is_built("greet:2")
    assert image.entrypoint == ("greet",)
    assert image.rootfs == (folder / "rootfs",)
    # The script runs from the final place, though it was installed in another.
    assert (
        subprocess.run([image.prefix / "bin" / "greet"], capture_output=True, text=True, check=True).stdout == "hello\n"
    )
    assert any("greeter" in line for line in lines)
    assert sorted(path.name for path in image.prefix.parent.iterdir()) == [
        image.prefix.name,
        f"{image.prefix.name}.lock",
    ]


async def test_instructions_after_the_programs_are_carried_out(store: ImageStore, folders: Path) -> None:
    """They find the programs, the environment's Python and a Java, where the image will be."""
    dockerfile = "FROM x\nRUN exit 9\nCOPY rootfs/ /\nRUN python /opt/x/make.py\n"
    folder = make_folder(folders, "made", "", dockerfile)
    (folder / "rootfs" / "opt" / "x").mkdir(parents=True)
    program = folder / "rootfs" / "opt" / "x" / "make.py"
    program.write_text("import os, sys; open(sys.prefix + '/made', 'w').write(os.environ['JAVA_HOME'])")
    image = await store.pull("made")
    assert Path((image.prefix / "made").read_text(), "bin", "java").exists()

    (folder / "Dockerfile").write_text(dockerfile + "RUN echo broken && exit 3\n")
    with pytest.raises(ImageBuildError, match="exit code 3: broken"):
        await store.pull("made")
    assert not store.is_built("made")


async def test_other_requirements_are_another_image(store: ImageStore, folders: Path, tmp_path: Path) -> None:
    folder = make_folder(folders, "plain", "")
    before = await store.pull("plain")
    (folder / "rootfs").mkdir()
    (folder / "rootfs" / "program.py").write_text("pass")
    assert (await store.pull("plain")).prefix == before.prefix
    (folder / "requirements.txt").write_text(f"{make_package(tmp_path)}\n")
    assert not store.is_built("plain")
    assert (await store.pull("plain")).prefix != before.prefix


async def test_failed_build_leaves_nothing_and_says_why(store: ImageStore, folders: Path, tmp_path: Path) -> None:
    make_folder(folders, "broken", "/no/such/package\n")
    with pytest.raises(ImageBuildError, match="uv pip install failed with exit code"):
        await store.pull("broken")
    assert not store.is_built("broken")
    assert [path.suffix for path in (tmp_path / "cache" / "images").iterdir()] == [".lock"]


async def test_two_builders_build_once(store: ImageStore, folders: Path, tmp_path: Path) -> None:
    make_folder(folders, "greet", f"{make_package(tmp_path)}\n")
    other = ImageStore([folders], tmp_path / "cache")
    lines: list[list[str]] = [[], []]
    first, second = await asyncio.gather(
        store.pull("greet", progress=lines[0].append), other.pull("greet", progress=lines[1].append)
    )
    assert first == second
    assert [WAITING] in lines
    assert any("greeter" in line for said in lines for line in said)


async def test_what_pods_may_run_from_is_never_touched_again(
    store: ImageStore, folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The base Python of a built image goes away, as after an upgrade: another is built, beside the first."""
    make_folder(folders, "plain", "")
    first = await store.pull("plain")
    (first.prefix / "bin" / "python").rename(first.prefix / "bin" / "gone")
    assert not store.is_built("plain")
    half = first.prefix.with_name(f"{first.prefix.name}-2")
    half.mkdir()  # of a builder that was killed
    (half / "trace").touch()
    second = await store.pull("plain")
    assert (first.prefix / "bin" / "gone").exists()
    assert second.prefix != first.prefix
    assert not (half / "trace").exists()
    assert (await store.pull("plain")).prefix == second.prefix


async def test_arguments_of_the_dockerfile_are_variables_of_the_build(
    store: ImageStore, folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dockerfile = "FROM x\nARG UV_WORD=default\nENV WORD=image\nCOPY rootfs/ /\nRUN echo $UV_WORD $WORD >$HOME/words\n"
    folder = make_folder(folders, "made", "", dockerfile)
    image = await store.pull("made")
    assert (image.prefix / "words").read_text() == "default image\n"
    monkeypatch.setenv("UV_WORD", "mine")
    (folder / "Dockerfile").write_text(dockerfile.replace("default", "other"))
    assert not store.is_built("made")
    assert ((await store.pull("made")).prefix / "words").read_text() == "mine image\n"


async def test_a_program_that_makes_the_image_is_a_part_of_it(store: ImageStore, folders: Path) -> None:
    folder = make_folder(folders, "made", "", "FROM x\nCOPY rootfs/ /\nRUN python /make.py\n")
    (folder / "rootfs").mkdir()
    (folder / "rootfs" / "make.py").write_text("")
    await store.pull("made")
    (folder / "rootfs" / "make.py").write_text("pass")
    assert not store.is_built("made")


async def test_what_a_build_makes_below_destdir_is_in_the_image(store: ImageStore, folders: Path) -> None:
    """Docker leaves ``DESTDIR`` unset, so the same instruction writes to /opt there."""
    run = "RUN mkdir -p $DESTDIR/opt/made && cp /opt/given $DESTDIR/opt/made/file\n"
    folder = make_folder(folders, "made", "", f"FROM x\nCOPY rootfs/ /\n{run}")
    (folder / "rootfs" / "opt").mkdir(parents=True)
    (folder / "rootfs" / "opt" / "given").write_text("given")
    image = await store.pull("made")
    paths = PathMap({}, image.rootfs)
    assert Path(paths.rewrite("/opt/made/file")).read_text() == "given"
    assert paths.rewrite("local:///opt/made/file") == f"local://{image.prefix}/rootfs/opt/made/file"
    assert paths.rewrite("/opt/given") == str(folder / "rootfs" / "opt" / "given")


async def test_what_uv_cannot_install_pip_may(
    store: ImageStore, folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link that only pip's own configuration knows, and none of uv's."""
    subprocess.run(
        [find_uv_bin(), "build", "--quiet", "--wheel", "--out-dir", tmp_path / "wheels", make_package(tmp_path)],
        check=True,
    )
    (tmp_path / "pip.conf").write_text(f"[install]\nfind-links = {tmp_path / 'wheels'}\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    make_folder(folders, "greet", "greeter==1\n")
    lines: list[str] = []
    image = await store.pull("greet", progress=lines.append)
    assert subprocess.run([image.prefix / "bin" / "greet"], check=True).returncode == 0
    assert any("trying pip" in line for line in lines)


async def test_an_image_has_all_of_what_it_is_built_from(store: ImageStore, folders: Path, tmp_path: Path) -> None:
    base = 'FROM python:3\nARG UV_A=1\nENV A=1 B=1\nCOPY rootfs/ /\nRUN cp /opt/a $HOME/a\nENTRYPOINT ["greet"]\n'
    below = make_folder(folders, "below", f"{make_package(tmp_path)}\n", base)
    above = make_folder(folders, "above", "", "FROM me/below:1\nENV B=2\nCOPY rootfs/ /\nRUN cp /opt/b $HOME/b\n")
    for folder, name in ((below, "a"), (above, "a"), (above, "b")):
        (folder / "rootfs" / "opt").mkdir(parents=True, exist_ok=True)
        (folder / "rootfs" / "opt" / name).write_text(folder.name)
    image = await store.pull("above")
    assert (image.entrypoint, image.env) == (("greet",), {"A": "1", "B": "2"})
    assert image.rootfs == (above / "rootfs", below / "rootfs")
    assert [(image.prefix / name).read_text() for name in "ab"] == ["below", "above"]
    assert subprocess.run([image.prefix / "bin" / "greet"], check=True).returncode == 0
    (below / "requirements.txt").write_text("")
    assert not store.is_built("above")
    (below / "Dockerfile").write_text("FROM me/above\n")
    with pytest.raises(ImageNotFoundError, match="image 'above' is built on itself"):
        store.is_built("above")


def test_the_users_own_folders_come_first(folders: Path, tmp_path: Path) -> None:
    make_folder(folders, "spark", "")
    store = ImageStore(image_folders([folders]), tmp_path / "cache")
    assert store.folder("sparkml/spark:1") == folders / "spark"
    assert store.folder("sparkml/onnxserver:1").parent in default_folders()
    with pytest.raises(LocalClusterError, match=f"--images {tmp_path} has no image in it"):
        image_folders([tmp_path])


def test_costly_images_are_built_only_when_asked_for(folders: Path, tmp_path: Path) -> None:
    make_folder(folders, "light", "")
    make_folder(folders, "heavy", "", "FROM x\nLABEL airflow-provider-sparkml.build=on-demand\n")
    for name, base in (("words", "sparkml/light:1"), ("plain", "python:3.11"), ("airflow", "apache/airflow:3.3")):
        (folders / name).mkdir()
        (folders / name / "Dockerfile").write_text(f"FROM {base}\n")
    store = ImageStore([folders], tmp_path / "cache")
    assert store.names() == ["heavy", "light", "words"]
    assert [name for name in store.names() if store.is_on_demand(name)] == ["heavy"]


def test_a_builder_killed_midway_leaves_a_buildable_image(folders: Path, tmp_path: Path) -> None:
    """Kill -9 in the middle of an installation: uv ends with it, the half image is never used, the lock is free."""
    package = make_package(tmp_path)
    marker = tmp_path / "building"
    backend = package / "backend.py"
    good = backend.read_text()
    backend.write_text(
        f"import pathlib, time, os\npathlib.Path({str(marker)!r}).write_text(str(os.getpid()))\ntime.sleep(300)\n"
    )
    make_folder(folders, "greet", f"{package}\n")
    script = (
        "import asyncio, pathlib, sys\n"
        "from airflow_provider_sparkml.local.images import ImageStore\n"
        f"store = ImageStore([pathlib.Path({str(folders)!r})], pathlib.Path({str(tmp_path / 'cache')!r}))\n"
        "asyncio.run(store.pull('greet'))\n"
    )
    builder = subprocess.Popen([sys.executable, "-c", script])
    for _ in range(1000):
        if marker.exists() and marker.read_text():
            break
        subprocess.run(["sleep", "0.02"], check=True)
    builder.send_signal(signal.SIGKILL)
    builder.wait()
    backend_pid = int(marker.read_text())
    for _ in range(500):
        if not Path(f"/proc/{backend_pid}").exists():
            break
        subprocess.run(["sleep", "0.02"], check=True)
    with pytest.raises(ProcessLookupError):
        os.kill(backend_pid, 0)

    backend.write_text(good)
    store = ImageStore([folders], tmp_path / "cache")
    assert not store.is_built("greet")
    image = asyncio.run(store.pull("greet"))
    assert subprocess.run([image.prefix / "bin" / "greet"], check=True).returncode == 0


def test_the_projects_own_images_have_what_a_pod_needs() -> None:
    for parent in default_folders():
        for dockerfile in parent.glob("*/Dockerfile"):
            if (dockerfile.parent / "requirements.txt").exists():
                entrypoint = parse_dockerfile(dockerfile.read_text()).entrypoint
                programs = [word for word in entrypoint if word.startswith("/opt/")]
                assert programs or not entrypoint, dockerfile
                assert all((dockerfile.parent / "rootfs" / word.lstrip("/")).is_file() for word in programs)
