"""Dockerfiles, compose file and systemd unit, as far as they can be checked without an engine."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "examples/deploy"
DOCKERFILES = sorted(DEPLOY.glob("*.Dockerfile"))
UNIT = DEPLOY / "fer-edge-in-car.service"

each_dockerfile = pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)


def instructions(path: Path) -> list[tuple[str, str]]:
    """Return the instructions of a Dockerfile, continued lines joined."""
    rows = [row for row in path.read_text("utf-8").splitlines() if not row.startswith("#")]
    text = re.sub(r"\\\n\s*", "", "\n".join(rows))
    return [(name, rest) for name, _, rest in (r.partition(" ") for r in text.splitlines() if r)]


def last(path: Path, name: str) -> str:
    return [rest for key, rest in instructions(path) if key == name][-1]


def test_there_are_two_dockerfiles() -> None:
    assert [path.name for path in DOCKERFILES] == ["runtime.Dockerfile", "service.Dockerfile"]


@each_dockerfile
def test_instructions_are_known(path: Path) -> None:
    known = {
        "FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK",
        "ENTRYPOINT", "CMD",
    }  # fmt: skip
    names = [name for name, _ in instructions(path)]
    assert names[0] == "FROM"
    assert set(names) <= known


@each_dockerfile
def test_every_copied_source_exists_and_reaches_the_builder(path: Path) -> None:
    ignore = Path(f"{path}.dockerignore").read_text("utf-8").splitlines()
    assert "*" in ignore
    admitted = [row[1:] for row in ignore if row.startswith("!")]
    copied = [rest.split()[:-1] for name, rest in instructions(path) if name == "COPY"]
    sources = [word for words in copied if not words[0].startswith("--from") for word in words]
    assert len(sources) >= 9
    for source in sources:
        assert (ROOT / source).exists(), source
        assert any(fnmatch.fnmatch(source, pattern) for pattern in admitted), source
    assert set(admitted) == set(sources)


@each_dockerfile
def test_the_package_is_copied_completely(path: Path) -> None:
    copied = {word for name, rest in instructions(path) if name == "COPY" for word in rest.split()}
    links = [entry for entry in (ROOT / "fer_edge").iterdir() if entry.is_symlink()]
    folders = {"fer_edge", "setup.cfg", *(link.resolve().name for link in links)}
    assert len(folders) == 5
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert folders | {project["readme"], *project["license-files"]} <= copied


@each_dockerfile
def test_the_extras_of_pip_exist(path: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    (line,) = [
        rest
        for name, rest in instructions(path)
        if name == "RUN" and " install " in rest and "pip" in rest
    ]
    match = re.search(r"-c constraints\.txt '\.\[([a-z,]+)\]'$", line)
    assert match is not None
    assert set(match[1].split(",")) <= set(project["optional-dependencies"])


@each_dockerfile
def test_the_container_is_not_root_and_ends_on_sigterm(path: Path) -> None:
    names = [name for name, _ in instructions(path)]
    assert int(last(path, "USER")) >= 1000
    assert names.index("USER") < names.index("ENTRYPOINT")
    assert f"--uid {last(path, 'USER')}" in " ".join(rest for _, rest in instructions(path))
    assert last(path, "STOPSIGNAL") == "SIGTERM"
    # The exec form: a shell as process 1 passes no signal on.
    assert all(isinstance(json.loads(last(path, name)), list) for name in ["ENTRYPOINT"])


def check_of(path: Path) -> list[str]:
    """Return the words of a health check, with this Python."""
    words = json.loads(last(path, "HEALTHCHECK").partition("CMD ")[2])
    assert words[0] == "/opt/fer-edge/bin/python"
    return [sys.executable, *words[1:]]


def test_the_health_check_of_the_runtime_works(tmp_path: Path) -> None:
    path = DEPLOY / "runtime.Dockerfile"
    place = "/run/fer-edge/alive"
    entry = json.loads(last(path, "ENTRYPOINT"))
    assert entry[entry.index("--alive") + 1] == place
    alive = tmp_path / "alive"
    command = [word.replace(place, str(alive)) for word in check_of(path)]
    assert str(alive) in command[-1]

    def status() -> int:
        return subprocess.run(command, capture_output=True, timeout=30).returncode

    assert status() == 1  # no file yet
    alive.touch()
    assert status() == 0
    os.utime(alive, (time.time() - 60,) * 2)
    assert status() == 1


def test_the_health_check_of_the_service_asks_its_port() -> None:
    path = DEPLOY / "service.Dockerfile"
    command = check_of(path)
    assert "127.0.0.1:8000/healthz" in command[-1]
    assert json.loads(last(path, "ENTRYPOINT"))[-2:] == ["--port", "8000"]
    compile(command[-1], "HEALTHCHECK", "exec")


@each_dockerfile
def test_the_entry_point_knows_its_words(path: Path) -> None:
    program, *words = json.loads(last(path, "ENTRYPOINT"))
    start = [sys.executable, "-m", "fer_edge.cli"]
    if program.endswith("python"):
        script = words.pop(0)
        assert f"examples/in_car.py {script}" in [
            rest for name, rest in instructions(path) if name == "COPY"
        ]
        start = [sys.executable, str(ROOT / "examples/in_car.py")]
    else:
        assert program.endswith("/fer-edge")
    done = subprocess.run([*start, *words, "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_containers_are_read_only_and_without_privileges() -> None:
    content: Any = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
    dockerfiles = set()
    for service in content["services"].values():
        build = service["build"]
        context = (DEPLOY / build["context"]).resolve()
        assert context == ROOT
        dockerfiles.add(context / build["dockerfile"])
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in service["security_opt"]
    assert dockerfiles == set(DOCKERFILES)


# systemd -----------------------------------------------------------------------------------------


def unit() -> dict[str, str]:
    rows = [row.partition("=") for row in UNIT.read_text("utf-8").splitlines() if "=" in row]
    return {key: value for key, _, value in rows if not key.startswith("#")}


def test_the_unit_is_not_root_and_writes_nothing() -> None:
    settings = unit()
    assert (settings["DynamicUser"], settings["ProtectSystem"]) == ("yes", "strict")
    assert settings["CapabilityBoundingSet"] == ""
    assert settings.get("KillSignal", "SIGTERM") == "SIGTERM"
    assert settings["Type"] == "notify"  # the application sends READY=1 and WATCHDOG=1
    assert "MemoryDenyWriteExecute" not in settings


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    text = UNIT.read_text("utf-8")
    assert "ExecStart=/opt/fer-edge/bin/python " in text
    copy = tmp_path / UNIT.name
    copy.write_text(text.replace("=/opt/fer-edge/bin/python ", f"={sys.executable} "), "utf-8")
    command = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    complaints = [row for row in done.stderr.splitlines() if UNIT.name in row]
    assert complaints == []
    assert done.returncode == 0, done.stderr
