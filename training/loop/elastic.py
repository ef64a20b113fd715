"""Restarts by torchrun, told apart from a new run into an old folder."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import torch
from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]
from torch.distributed.constants import default_pg_timeout
from torch.distributed.distributed_c10d import init_process_group

from fer_edge.errors import TrainingError
from fer_edge.training.loop import run_folder

_CONNECT_S = 60
"""Seconds to wait for torchrun's store; it answers at once unless another machine holds it."""


def claim(folder: Path, resume: bool) -> bool:
    """Return True if a run in the folder is continued.

    torchrun's agent keeps a store for all starts of its workers. The first start leaves the folder
    there; the workers of a later one find it, and continue. TORCHELASTIC_RESTART_COUNT cannot
    decide this. It is above 0 as well after a first start that refused the folder of another run,
    and 0 after a restart because a machine joined or left.

    Raises TrainingError if the folder holds a run that neither ``resume`` nor this launch owns.
    """
    store = _agent_store()
    key = f"fer_edge/run/{folder}"
    resume = resume or (store is not None and store.check([key]))
    run_folder.claim(folder, resume)
    if store is not None:
        store.set(key, "claimed")
    return resume


def join_again() -> None:
    """Connect the processes of a restart under keys of their own.

    torchrun's agent keeps its store between starts (torch 2.13), and torch connects the new
    processes under the keys of the dead ones. Gloo finds their addresses there: the connection is
    refused, or it waits forever.
    """
    restart, processes = (
        int(os.environ.get(name, default))
        for name, default in (("TORCHELASTIC_RESTART_COUNT", 0), ("WORLD_SIZE", 1))
    )
    store = _agent_store() if restart and processes > 1 else None
    if store is None or torch.distributed.is_initialized():
        return
    store.set_timeout(default_pg_timeout)
    init_process_group(
        "nccl" if torch.cuda.is_available() else "gloo",
        store=PrefixStore(f"fer_edge/restart-{restart}", store),
        rank=int(os.environ["RANK"]),
        world_size=processes,
    )


def _agent_store() -> TCPStore | None:
    """Connect to the store of torchrun's agent; None without one."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    host, port = os.environ.get("MASTER_ADDR", ""), os.environ.get("MASTER_PORT", "")
    try:
        return TCPStore(host, int(port), timeout=timedelta(seconds=_CONNECT_S))
    except (RuntimeError, ValueError) as error:
        raise TrainingError(
            f"cannot reach torchrun's store at {host}:{port}: {str(error)[:200]}. Check that the "
            "machines reach each other, and start all of them again with torchrun"
        ) from error
