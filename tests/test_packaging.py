"""The wheel holds fer_edge, with the three mapped folders inside it, and nothing else."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAPPED = ("converters", "training", "benchmarks")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tracked() -> list[str]:
    """Files that git tracks and that are there."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("this is no git checkout, so there is no list of what belongs to the project")
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    names = [name for name in listing.stdout.split("\0") if name]
    return [name for name in names if (ROOT / name).exists()]


@pytest.fixture(scope="module")
def source(tracked: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy of the tracked files, without the checkout's rest."""
    source = tmp_path_factory.mktemp("source")
    for name in tracked:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, source / name, follow_symlinks=False)
    return source


def build_wheel(source: Path, folder: Path) -> Path:
    """Build from a copy of the source, without network."""
    shutil.copytree(source, folder / "copy", symlinks=True, copy_function=shutil.copy)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "wheel", *options, "-w", str(folder), "."]
    environment = os.environ | {"SOURCE_DATE_EPOCH": "1700000000"}
    built = subprocess.run(
        command, cwd=folder / "copy", env=environment, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stdout[-2000:] + built.stderr[-2000:]
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(source, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_only_fer_edge_comes_into_site_packages(names: set[str], wheel: Path) -> None:
    project, version = wheel.name.split("-")[:2]
    assert {name.split("/")[0] for name in names} == {"fer_edge", f"{project}-{version}.dist-info"}
    assert not [name for name in names if name.startswith("/") or ".." in name.split("/")]


def test_an_editable_install_is_a_plain_path_for_type_checkers(
    source: Path, tmp_path: Path
) -> None:
    """mypy and editors follow a path in a .pth file, and no import hook."""
    shutil.copytree(source, tmp_path / "copy", symlinks=True)
    build = "import sys; from setuptools.build_meta import build_editable as b; b(sys.argv[1])"
    command = [sys.executable, "-c", build, str(tmp_path)]
    built = subprocess.run(
        command, cwd=tmp_path / "copy", capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr[-2000:]
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (path,) = (name for name in archive.namelist() if name.startswith("__editable__"))
        assert archive.read(path).decode().strip() == str((tmp_path / "copy").resolve())
    assert (tmp_path / "copy" / "fer_edge" / "py.typed").is_file()


def test_each_module_is_in_the_wheel_once_and_in_its_place(
    names: set[str], tracked: list[str]
) -> None:
    expected = {
        f"fer_edge/{name}" if name.startswith(MAPPED) else name
        for name in tracked
        if name.endswith(".py") and name.split("/")[0] in ("fer_edge", *MAPPED)
    }
    assert {name for name in names if name.endswith(".py")} == expected
    for folder in MAPPED:
        assert f"fer_edge/{folder}/__init__.py" in names


def test_type_marker_recipes_licence_and_command_are_in_the_wheel(
    names: set[str], tracked: list[str], wheel: Path
) -> None:
    assert "fer_edge/py.typed" in names
    recipes = [name for name in tracked if name.startswith("training/recipes/")]
    assert recipes
    assert {f"fer_edge/{name}" for name in recipes} <= names
    (commands,) = [name for name in names if name.endswith(".dist-info/entry_points.txt")]
    assert any(name.endswith("/LICENSE") for name in names)
    with zipfile.ZipFile(wheel) as archive:
        assert b"fer-edge = fer_edge.cli:main" in archive.read(commands)


def test_each_file_that_ships_with_the_package_is_in_the_wheel(
    names: set[str], tracked: list[str]
) -> None:
    ships = ("fer_edge/models/", "fer_edge/service/static/")
    assert {name for name in tracked if name.startswith(ships)} <= names


def test_no_test_data_or_byte_code_is_in_the_wheel(names: set[str]) -> None:
    assert not [name for name in names if name.endswith((".pyc", ".log"))]
    assert not [name for name in names if {"tests", "docs"} & set(name.split("/"))]


def test_the_wheel_is_below_20_mb(wheel: Path) -> None:
    """Two models: 12 MB for the default one, 3 MB for the fast one."""
    assert wheel.stat().st_size < 20_000_000


def test_the_wheel_alone_can_be_imported(wheel: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); "
        "import fer_edge.converters, fer_edge.training; "
        "print(fer_edge.__file__, fer_edge.training.__file__)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-B", "-c", code, str(wheel)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(wheel.name) == 2


def test_a_second_build_has_the_same_bytes(source: Path, wheel: Path, tmp_path: Path) -> None:
    hashes = [
        hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (wheel, build_wheel(source, tmp_path))
    ]
    assert hashes[0] == hashes[1]
