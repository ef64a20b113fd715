"""Run folder: recipe, environment, metrics and TensorBoard log; errors of writing."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml
from accelerate import Accelerator
from accelerate.utils.memory import should_reduce_batch_size

from fer_edge.atomic import write_file
from fer_edge.errors import TrainingError
from fer_edge.lock import locked
from fer_edge.shown import shown
from fer_edge.training.config.schema import Recipe

BEST, STATE, METRICS, BOARD = "best", "state.pt", "metrics.jsonl", "tensorboard"
FACTS = "run.json"
_LINGER_S = 10
"""Seconds that processes which load faces may outlive a killed training; torch looks every 5."""

_ON_BOARD = {
    "train_loss": "loss/train",
    "held_nll": "loss/held out",
    "held_accuracy": "accuracy/held out",
    "held_balanced_accuracy": "accuracy/held out, balanced",
    "lr": "learning rate",
    "gpu_memory_mib": "GPU memory, MiB",
}

Log = Callable[[dict[str, Any]], None]


@contextmanager
def alone(run: Path, resume: bool) -> Iterator[None]:
    """Make the run folder, and keep other processes from training into it in the block.

    Of several processes of one training, the first holds the lock. A continued run waits a moment
    for it: processes that loaded faces for a killed one hold it until they notice. Folders that
    cannot be locked are used without a lock. Other commands may write into the run folder.

    Raises TrainingError if the folder cannot be made, or another process trains into it.
    """
    try:
        str(run).encode()
    except UnicodeEncodeError:
        raise TrainingError(
            f"the run folder {shown(str(run))} has a name that is not UTF-8, as TensorBoard's log "
            "needs it. Choose another folder with -o"
        ) from None
    try:
        run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(
            f"cannot make the run folder {run}: {error.strerror}. Choose another folder with -o"
        ) from error
    with ExitStack() as stack:
        if os.environ.get("RANK", "0") == "0":
            restarted = resume or "TORCHELASTIC_RUN_ID" in os.environ
            _lock(stack, run, time.monotonic() + (_LINGER_S if restarted else 0))
        yield


def _lock(stack: ExitStack, run: Path, until_s: float) -> None:
    with suppress(OSError):  # a file system without locks
        # locked() takes the folder around a path. Bundles are written into the run folder.
        (run / BOARD).mkdir(exist_ok=True)
        while True:
            try:
                stack.enter_context(locked(run / BOARD / STATE, wait=False))
                return
            except BlockingIOError:
                if time.monotonic() >= until_s:
                    raise TrainingError(
                        f"another process trains into {run}. Wait for its end, or choose another "
                        "folder with -o"
                    ) from None
            time.sleep(0.1)


def claim(run: Path, resume: bool) -> None:
    """Raise TrainingError if the folder holds a run and ``resume`` is False."""
    if (run / STATE).exists() and not resume:
        raise TrainingError(
            f"{run} holds a run already. Continue it with --resume, or choose another folder"
        )


def stated_licence(run: Path) -> str | None:
    """Return the permitted use of the data as run.json states it, or None."""
    try:
        licence = json.loads((run / FACTS).read_bytes())["licences"]["data"]
    except (OSError, ValueError, LookupError, TypeError):  # of an older version, or damaged
        return None
    return licence if isinstance(licence, str) else None


@contextmanager
def writing(
    recipe: Recipe, run: Path, facts: dict[str, Any], accelerator: Accelerator, epochs: int
) -> Iterator[Log]:
    """Write a run's facts; yield a function that logs an epoch.

    The function adds a row to metrics.jsonl and the TensorBoard log. Rows after the first
    ``epochs``, which a resumed run repeats, are dropped. Only the first process writes.

    Raises TrainingError, with the setting to change, if memory or disk space runs out in the
    block.
    """
    with _sentences(recipe, run):
        if not accelerator.is_main_process:
            yield lambda row: None
            return
        _write_facts(recipe, run, facts, accelerator)
        with _metrics_log(run, epochs) as log:
            yield log


def _write_facts(
    recipe: Recipe, run: Path, facts: dict[str, Any], accelerator: Accelerator
) -> None:
    """Write run.json, and recipe.yaml, from which the run can be repeated."""
    environment = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "device": device_name(accelerator.device),
        "processes": accelerator.num_processes,
        **{name: version(name) for name in ("torch", "torchvision", "timm", "accelerate")},
    }
    text = json.dumps({**facts, "environment": environment}, indent=2)
    write_file(run / FACTS, f"{text}\n".encode())
    # JSON turns tuples into lists; YAML would tag them as Python objects.
    plain = json.loads(json.dumps(recipe.as_dict()))
    write_file(run / "recipe.yaml", yaml.safe_dump(plain, sort_keys=False).encode())


def device_name(device: torch.device) -> str:
    """Return the name of the GPU, or ``cpu`` or ``mps``."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


@contextmanager
def _metrics_log(run: Path, epochs: int) -> Iterator[Log]:
    from torch.utils.tensorboard import SummaryWriter  # a second to import

    path = run / METRICS
    lines = path.read_bytes().splitlines()[:epochs] if path.exists() and epochs else []
    write_file(path, b"".join(line + b"\n" for line in lines))
    with SummaryWriter(str(run / BOARD), purge_step=epochs + 1) as board:

        def log(row: dict[str, Any]) -> None:
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            for key, tag in _ON_BOARD.items():
                if key in row:
                    board.add_scalar(tag, row[key], row["epoch"])
            board.flush()

        yield log


@contextmanager
def _sentences(recipe: Recipe, run: Path) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, OSError) as error:
        if sentence := _sentence(error, recipe, run):
            raise TrainingError(f"{sentence}.{best_so_far(run)}") from error
        raise


def _sentence(error: RuntimeError | OSError, recipe: Recipe, run: Path) -> str:
    """Return the cause of an error and what to do, "" if it is unknown."""
    if "DataLoader worker" in str(error):
        cause = str(error).strip().splitlines()[-1].rstrip(".")
        return (
            f"a process that loads faces failed: {cause}. Free memory and continue with --resume, "
            "or train again with --set fit.workers=0"
        )
    if isinstance(error, OSError):
        return (
            f"cannot write in {run}: {error.strerror or error}. Make room and continue with "
            "--resume"
        )
    if isinstance(error, torch.OutOfMemoryError) or should_reduce_batch_size(error):
        return _out_of_memory(recipe)
    return ""


def _out_of_memory(recipe: Recipe) -> str:
    fit = recipe.fit
    parts = next((n for n in range(fit.accumulate + 1, fit.batch // 2 + 1) if not fit.batch % n), 0)
    advice = (
        f"Split each batch into {parts} parts (--set fit.accumulate={parts})"
        if parts
        else "Use a smaller network or smaller images"
    )
    return f"out of memory at {fit.part} faces at once. {advice}"


def best_so_far(run: Path) -> str:
    """Return where the best epoch is, as a sentence, or nothing."""
    return f" The best epoch so far is in {run / BEST}" if (run / BEST).exists() else ""
