"""Conversion environment: LiteRT's converter with its own torch, in a folder of the user."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_edge.atomic import write_folder
from fer_edge.cache_folder import cache_folder
from fer_edge.child import ending_command, python_command
from fer_edge.errors import ConversionError, InputError, MissingDependencyError, SourceError
from fer_edge.lock import locked
from fer_edge.progress import Step, silent

PINS = (
    "torch==2.13.0",
    "litert-torch==0.10.0",
    "litert-converter==0.5.0",
    "litert-quantizer==0.11.0",
    "ai-edge-litert==2.3.0",
    "ai-edge-quantizer==0.10.0",
    "torchao==0.18.0",
    "jax==0.10.2",
    "jaxlib==0.10.2",
    "transformers==5.24.0",
    "flatbuffers==25.12.19",
    "numpy==2.4.6",
    "protobuf==7.36.2",
)
"""Versions that were tested together. What they require besides is pip's choice."""
COMMAND = "fer-edge setup-converter litert"
_INSTALL_S, _CONVERT_S = 3600, 1800
"""Seconds until an installation, and a conversion, count as hung."""
_SCRIPT = Path(__file__).with_name("in_environment.py")
_READY = "ready.json"
_CHECK = "import litert_torch, litert_quantizer, ai_edge_litert.interpreter"


def default_folder() -> Path:
    """Return the folder of the environment, which is named by its versions.

    It is below ``~/.cache/fer_edge``, or below ``XDG_CACHE_HOME``. A user without a home folder has
    it below ``/var/cache``.
    """
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    name = hashlib.sha256(" ".join((*PINS, python)).encode()).hexdigest()[:12]
    return cache_folder() / "fer_edge" / f"litert-converter-{name}"


def is_ready(folder: Path) -> bool:
    """Report whether an environment is there and complete."""
    return (folder / _READY).is_file() and _python(folder).exists()


def check_environment(folder: Path) -> None:
    """Raise MissingDependencyError if an environment is not there or not complete."""
    if not is_ready(folder):
        raise MissingDependencyError("litert-torch", "litert", command=COMMAND)


def set_up(folder: Path, torch_index: str | None = None, step: Step = silent) -> bool:
    """Make the environment, unless it is there.

    It is made under a temporary name and renamed, so that a broken download leaves nothing.

    Args:
        folder: Path of the environment.
        torch_index: Address of the index that torch comes from; None takes pip's own.
        step: Receives progress.

    Returns:
        True if it was made.

    Raises:
        SourceError: A package could not be downloaded or installed.
        InputError: The folder cannot be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with locked(folder):
            if is_ready(folder):
                return False
            write_folder(folder, lambda new: _fill(new, torch_index, step), durable=False)
    except OSError as error:
        raise InputError(
            f"cannot write {folder}: {error.strerror or error}. Free 3 GB there, or set "
            "XDG_CACHE_HOME to another folder"
        ) from error
    return True


@dataclass(frozen=True)
class Converted:
    """Result of a conversion.

    Attributes:
        model: The .tflite file of the variant.
        plain: The float .tflite file that it was made from.
        answer: Facts that the script states.
    """

    model: bytes
    plain: bytes
    answer: Mapping[str, Any]


def convert(folder: Path, job: Mapping[str, Any], files: Mapping[str, bytes]) -> Converted:
    """Run a conversion in the environment.

    Args:
        folder: Path of the environment.
        job: Plain values for the script.
        files: Further files for the script, by name.

    Raises:
        MissingDependencyError: The environment is not there.
        ConversionError: The conversion failed or hung.
    """
    check_environment(folder)
    with tempfile.TemporaryDirectory(prefix="fer_edge_") as name:
        work = Path(name)
        for path, data in {**files, "job.json": json.dumps(job).encode()}.items():
            (work / path).write_bytes(data)
        try:
            command = [str(_python(folder)), "-I", str(_SCRIPT), name, str(os.getpid())]
            done = _finished(command, _CONVERT_S, cwd=name, env=_environment(work))
        except (subprocess.TimeoutExpired, OSError) as error:
            raise ConversionError(f"LiteRT's converter gave no answer: {error}") from error
        if done.returncode != 0 or not (work / "answer.json").is_file():
            raise ConversionError(f"LiteRT's converter failed: {_last(done.stderr)}")
        model, plain, answer = (
            (work / path).read_bytes() for path in ("model.tflite", "plain.tflite", "answer.json")
        )
        return Converted(model, plain, json.loads(answer))


def _fill(folder: Path, torch_index: str | None, step: Step) -> None:
    python = str(_python(folder))
    install = [python, "-I", "-m", "pip", "install", "--quiet", "--no-input"]
    install.append("--disable-pip-version-check")
    torch, *others = PINS
    index = ["--index-url", torch_index] if torch_index else []
    steps = (
        ("Making the environment", python_command("-m", "venv", str(folder))),
        ("Installing torch", [*install, *index, torch]),
        ("Installing LiteRT's converter", [*install, torch, *others]),
        ("Trying it", [python, "-I", "-c", _CHECK]),
    )
    for number, (what, command) in enumerate(steps):
        step(what, number, len(steps))
        _run(command, what)
    step("Ready", len(steps), len(steps))
    (folder / _READY).write_text(json.dumps({"pins": PINS}))


def _run(command: list[str], what: str) -> None:
    try:
        done = _finished(ending_command(command), _INSTALL_S)
    except subprocess.TimeoutExpired as error:
        raise SourceError(f"{what}: no answer within {_INSTALL_S} s. Try again") from error
    if done.returncode != 0:
        raise SourceError(
            f"{what}: {_last(done.stderr or done.stdout)}. Nothing was left behind. Check the "
            f"network and run {COMMAND} again"
        )


def _finished(
    command: list[str], timeout_s: float, **where: Any
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, without input, and return what it printed."""
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout_s,
        check=False,
        **where,
    )


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "rror" in line]
    return (errors or lines or ["no message"])[-1][:400]


def _python(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _environment(work: Path) -> dict[str, str]:
    """Return a conversion's environment: its own home, and no Python settings."""
    kept = ("PATH", "LD_LIBRARY_PATH", "LANG", "OMP_NUM_THREADS", "SYSTEMROOT")
    home = {"HOME": str(work), "TMPDIR": str(work), "HF_HUB_OFFLINE": "1"}
    return {**{key: os.environ[key] for key in kept if key in os.environ}, **home}
