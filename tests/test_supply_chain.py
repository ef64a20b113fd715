"""Locks, constraints, pyproject.toml and SBOM agree. No test needs the network."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from fer_edge.shipped import MODELS, bundle_path

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
HINT = "Run scripts/lock after a change of constraints.txt or pyproject.toml."


def pins(name: str) -> dict[str, str]:
    """Return package and version of each line ``name==version`` of a file."""
    lines = re.findall(r"^([\w.-]+)==([^\s;]+)", (ROOT / name).read_text("utf-8"), re.MULTILINE)
    return {canonicalize_name(package): version for package, version in lines}


CONSTRAINTS, LOCK = pins("constraints.txt"), pins("requirements/runtime.txt")


def in_the_car() -> list[Requirement]:
    """Requirements of the base and of the extras that the lock is made for."""
    extras = PYPROJECT["project"]["optional-dependencies"]
    lines = [*PYPROJECT["project"]["dependencies"]]
    lines += [*extras["openvino"], *extras["serve"], *extras["sign"]]
    return [Requirement(line) for line in lines]


@pytest.mark.parametrize("name", ["runtime", "build"])
def test_each_locked_version_is_the_one_of_the_constraints(name: str) -> None:
    locked = pins(f"requirements/{name}.txt")
    assert locked
    assert locked == {package: CONSTRAINTS.get(package) for package in locked}, HINT


@pytest.mark.parametrize("name", ["runtime", "build"])
def test_each_locked_version_has_hashes_and_nothing_else_is_in_the_lock(name: str) -> None:
    text = (ROOT / f"requirements/{name}.txt").read_text("utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if not re.match(r"\s*#", line)]
    line_of_lock = re.compile(r"[\w.-]+==[^\s;]+( ; .+?)?( +--hash=sha256:[0-9a-f]{64})+ *")
    assert [line for line in lines if not line_of_lock.fullmatch(line)] == []
    assert len(lines) == len(pins(f"requirements/{name}.txt"))


@pytest.mark.parametrize("requirement", in_the_car(), ids=str)
def test_what_runs_in_the_car_is_locked_at_an_allowed_version(requirement: Requirement) -> None:
    version = LOCK.get(canonicalize_name(requirement.name))
    assert version is not None, HINT
    assert requirement.specifier.contains(version), HINT


def test_build_requirements_are_locked_at_an_allowed_version() -> None:
    locked = pins("requirements/build.txt")
    for requirement in map(Requirement, PYPROJECT["build-system"]["requires"]):
        assert requirement.specifier.contains(locked[canonicalize_name(requirement.name)]), HINT


def test_the_lock_is_what_the_installed_packages_require_and_no_more() -> None:
    """Follow the metadata of the installed packages, as pip does, from pyproject.toml on."""
    reached: set[str] = set()
    todo = [(item, extra) for item in in_the_car() for extra in ["", *item.extras]]
    while todo:
        requirement, extra = todo.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        if name in reached and not requirement.extras:
            continue
        reached.add(name)
        if importlib.metadata.version(name) != CONSTRAINTS.get(name):
            pytest.skip(f"{name} is not installed at the version of constraints.txt")
        children = map(Requirement, importlib.metadata.requires(name) or [])
        todo += [(child, wanted) for child in children for wanted in ["", *requirement.extras]]
    assert reached <= set(LOCK), HINT
    if sys.version_info[:2] == (3, 11):  # the lowest; newer ones need fewer backports
        assert reached == set(LOCK), HINT


@pytest.fixture(scope="module")
def sbom(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    pytest.importorskip("cyclonedx_py", reason="cyclonedx-bom is not installed")
    out = tmp_path_factory.mktemp("sbom") / "fer-edge.cdx.json"
    environment = os.environ | {"FER_EDGE_VENV": sys.prefix}
    command = [sys.executable, str(ROOT / "scripts/sbom"), str(out)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert hashlib.sha256(out.read_bytes()).hexdigest() in done.stdout
    content: dict[str, Any] = json.loads(out.read_bytes())
    return content


def test_sbom_is_valid_cyclonedx(sbom: dict[str, Any]) -> None:
    schema = pytest.importorskip("cyclonedx.schema")
    validation = pytest.importorskip("cyclonedx.validation.json")
    validator = validation.JsonStrictValidator(schema.SchemaVersion.V1_6)
    assert validator.validate_str(json.dumps(sbom)) is None


def test_sbom_lists_the_lock_with_hashes(sbom: dict[str, Any]) -> None:
    libraries = [part for part in sbom["components"] if part["type"] == "library"]
    assert {canonicalize_name(part["name"]): part["version"] for part in libraries} == LOCK
    text = (ROOT / "requirements/runtime.txt").read_text("utf-8")
    hashes = [
        digest["content"]
        for part in libraries
        for reference in part["externalReferences"]
        for digest in reference["hashes"]
    ]
    assert sorted(hashes) == sorted(re.findall(r"sha256:([0-9a-f]{64})", text))


def test_sbom_names_each_shipped_model_its_hash_and_its_terms(sbom: dict[str, Any]) -> None:
    models = [part for part in sbom["components"] if part["type"] == "machine-learning-model"]
    assert [model["name"] for model in models] == [f"{name}.fer" for name in MODELS]
    for model, name in zip(models, MODELS, strict=True):
        manifest = bundle_path(name) / "bundle.json"
        digest = hashlib.sha256(manifest.read_bytes()).hexdigest()
        assert model["hashes"] == [{"alg": "SHA-256", "content": digest}]
        assert "research and benchmark use only" in model["licenses"][0]["license"]["name"]


def test_sbom_connects_the_project_with_what_it_requires(sbom: dict[str, Any]) -> None:
    names = {part["bom-ref"]: canonicalize_name(part["name"]) for part in sbom["components"]}
    root = sbom["metadata"]["component"]
    (node,) = [node for node in sbom["dependencies"] if node["ref"] == root["bom-ref"]]
    direct = {canonicalize_name(requirement.name) for requirement in in_the_car()}
    assert {names[ref] for ref in node["dependsOn"]} == direct | {f"{name}-fer" for name in MODELS}
