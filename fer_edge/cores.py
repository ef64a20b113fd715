"""Processor cores that this process may use: its affinity and the quota of its control groups."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from pathlib import Path, PurePosixPath

_OWN_GROUPS = Path("/proc/self/cgroup")
_GROUPS = Path("/sys/fs/cgroup")
_CORES = Path("/sys/devices/system/cpu")
_THROTTLED = "nr_throttled "


def usable_cores() -> int:
    """Return the number of cores that this process may use.

    All cores, if the system does not report fewer. The quota of a container counts in whole cores,
    rounded down, at least one: threads that a quota cannot run stop the others with them.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quota = min((_quota(group) for group in _cpu_groups()), default=math.inf)
    return max(1, int(min(cores or 1, quota)))


def engine_threads(asked: int | None) -> int | None:
    """Return the number of threads that an engine is told to use.

    Engines count the machine's cores, and do not see the quota of a container.

    Args:
        asked: Number that the user chose, or None.

    Returns:
        The user's number, else the usable cores. None if all cores may be used: engines then choose
        better, since they know which cores are alike.
    """
    cores = usable_cores()
    return asked or (cores if cores < cores_of_the_machine() else None)


def cores_of_the_machine() -> int:
    """Return the number of cores that engines count, whatever this process may use."""
    if hasattr(os, "sysconf") and "SC_NPROCESSORS_ONLN" in os.sysconf_names:
        return os.sysconf("SC_NPROCESSORS_ONLN")  # os.cpu_count() obeys PYTHON_CPU_COUNT
    return os.cpu_count() or 1


def physical_cores() -> int | None:
    """Return the number of cores, without the further threads of each; None if unknown."""
    together = set()
    with suppress(OSError):
        for threads in _CORES.glob("cpu[0-9]*/topology/thread_siblings_list"):
            together.add(threads.read_text("utf-8"))
        return len(together) or None
    return None


def times_throttled() -> int:
    """Return how often a CPU quota stopped this process's control groups, since their start."""
    count = 0
    for group in _cpu_groups():
        with suppress(OSError, ValueError):
            lines = (group / "cpu.stat").read_text("utf-8").splitlines()
            count += sum(int(line.split()[1]) for line in lines if line.startswith(_THROTTLED))
    return count


def _cpu_groups() -> list[Path]:
    """Return the folders that may hold the limits of this process, of both versions of cgroups.

    A container may see its own group as the root, while its path is that on the host.
    """
    folders = []
    with suppress(OSError, ValueError):
        for line in _OWN_GROUPS.read_text("utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and "cpu" not in controllers.split(","):
                continue
            # Version 1 mounts cpu with cpuacct, in either order, and links cpu to it.
            root = _GROUPS / ("cpu" if controllers else "")
            parts = PurePosixPath(path.lstrip("/")).parts
            seen = (root.joinpath(*parts[i:]) for i in range(len(parts)))
            own = next((folder for folder in seen if folder.is_dir()), root)
            folders += [own, *(above for above in own.parents if above.is_relative_to(root))]
    return folders


def _quota(group: Path) -> float:
    """Return the CPU seconds per second of a control group; infinite without a limit."""
    with suppress(OSError, ValueError, ZeroDivisionError):  # cpu.max may say "max"
        if (group / "cpu.max").exists():  # version 2
            quota, period = (group / "cpu.max").read_text("utf-8").split()
        else:
            quota = (group / "cpu.cfs_quota_us").read_text("utf-8")  # -1 without a limit
            period = (group / "cpu.cfs_period_us").read_text("utf-8")
        share = float(quota) / float(period)
        return share if share > 0 else math.inf
    return math.inf
