"""Restarts by torchrun, told apart from a new run into an old folder."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

from torch.distributed import TCPStore

from fer_edge.errors import TrainingError
from fer_edge.training.loop import run_folder

_CONNECT_S = 60
"""Seconds to wait for torchrun's store; it answers at once unless another machine holds it."""


def claim(folder: Path, resume: bool) -> bool:
    """Make the run folder; return True if a run in it is continued.

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
