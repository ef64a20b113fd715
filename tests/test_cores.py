"""Cores that this process may use: affinity, and quotas of control groups of both versions."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from fer_edge import cores
from fer_edge.cores import engine_threads, physical_cores, times_throttled, usable_cores

ALL = 8
Lay = Callable[[str, Mapping[str, str]], None]


@pytest.fixture
def lay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lay:
    """Return a function that lays out control groups on a machine of eight cores."""
    monkeypatch.setattr(cores, "cores_of_the_machine", lambda: ALL)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(ALL)), raising=False)
    monkeypatch.setattr(cores, "_OWN_GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(cores, "_GROUPS", tmp_path / "groups")

    def write(own: str, files: Mapping[str, str]) -> None:
        (tmp_path / "cgroup").write_text(own, "utf-8")
        for name, text in files.items():
            (tmp_path / "groups" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "groups" / name).write_text(text, "utf-8")

    return write


V1 = "9:name=systemd:/\n4:memory:/x\n1:cpu,cpuacct:/docker/abc\n"


@pytest.mark.parametrize(
    ("own", "files", "usable"),
    [
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "max 100000\n"}, ALL),
        ("0::/\n", {"cpu.max": "250000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "6400000 100000\n"}, ALL),
        ("0::/\n", {}, ALL),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000", "a/cpu.max": "300000 100000"}, 3),
        ("0::/a/b\n", {"a/b/cpu.max": "200000 100000", "a/cpu.max": "300000 100000"}, 2),
        ("0::/../x y:z\n", {"cpu.max": "400000 100000"}, 4),
        (V1, {"cpu/cpu.cfs_quota_us": "300000\n"}, ALL),
        (V1, {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "9"}, ALL),
        (
            V1,
            {
                "cpu/docker/abc/cpu.cfs_quota_us": "150000\n",
                "cpu/docker/abc/cpu.cfs_period_us": "50000\n",
            },
            3,
        ),
        (  # a container sees its own group as the root
            "4:cpuacct,cpu:/docker/abc\n",
            {
                "cpu/cpu.cfs_quota_us": "50000\n",
                "cpu/cpu.cfs_period_us": "25000\n",
            },
            2,
        ),
        (  # the same, of a group inside the container's
            "1:cpu:/docker/abc/x\n",
            {"cpu/x/cpu.cfs_quota_us": "50000\n", "cpu/x/cpu.cfs_period_us": "25000\n"},
            2,
        ),
        (  # a group of the same name beside the own one does not count
            "0::/a/b\n",
            {"a/b/cpu.max": "max 100000", "b/cpu.max": "100000 100000"},
            ALL,
        ),
        ("1:cpuset:/\n", {"cpuset/cpu.max": "100000 100000"}, ALL),
        ("nonsense\n", {"cpu.max": "100000 100000"}, ALL),
        ("0::/\n", {"cpu.max": "one two three"}, ALL),
        ("0::/\n", {"cpu.max": "100000 0"}, ALL),
        ("0::/\n", {"cpu.max": ""}, ALL),
    ],
)
def test_the_smallest_quota_counts_in_whole_cores(
    lay: Lay, own: str, files: Mapping[str, str], usable: int
) -> None:
    lay(own, files)
    assert usable_cores() == usable
    assert engine_threads(None) == (usable if usable < ALL else None)
    assert engine_threads(5) == 5


def test_the_affinity_counts_too(lay: Lay, monkeypatch: pytest.MonkeyPatch) -> None:
    lay("0::/\n", {"cpu.max": "400000 100000"})
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3}, raising=False)
    assert usable_cores() == engine_threads(None) == 2


def test_a_system_without_control_groups_has_all_cores(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(cores, "_OWN_GROUPS", tmp_path / "none")
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert usable_cores() == os.cpu_count()
    assert engine_threads(None) is None
    assert times_throttled() == 0


def test_a_number_of_cores_that_python_is_told_limits_engines_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """PYTHON_CPU_COUNT (Python 3.13) changes os.cpu_count(), which engines do not read."""
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    monkeypatch.setattr(cores, "usable_cores", lambda: 1)
    many = (os.sysconf("SC_NPROCESSORS_ONLN") if hasattr(os, "sysconf") else 1) > 1
    assert engine_threads(None) == (1 if many else None)


def test_stops_of_all_groups_are_counted(lay: Lay) -> None:
    lay(
        "0::/a\n",
        {
            "a/cpu.stat": "usage_usec 5\nnr_periods 9\nnr_throttled 4\nthrottled_usec 7\n",
            "cpu.stat": "nr_throttled 2\n",
        },
    )
    assert times_throttled() == 6


@pytest.fixture
def group_of_a_hundredth() -> Iterator[Path]:
    """Make a real control group that allows a hundredth of a core."""
    group = Path("/sys/fs/cgroup/cpu") / f"fer_edge_test_{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"control groups of version 1 cannot be made here: {error}")
    try:
        (group / "cpu.cfs_quota_us").write_text("1000")
        yield group
    finally:
        with suppress(OSError):
            group.rmdir()


def test_a_real_quota_is_seen(group_of_a_hundredth: Path) -> None:
    """A child joins the group and computes for longer than the quota allows in a period."""
    script = f"""
import time
from pathlib import Path
from fer_edge.cores import times_throttled, usable_cores
Path({str(group_of_a_hundredth / "cgroup.procs")!r}).write_text("0")
begun = time.process_time()
while time.process_time() < begun + 0.01: pass
print(usable_cores(), times_throttled())
"""
    done = subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.PIPE)
    usable, stops = map(int, done.stdout.split())
    assert usable == 1
    assert stops >= 1


@pytest.mark.parametrize(
    ("threads_of_cores", "count"),
    [
        (["0,4", "1,5", "2,6", "3,7", "0,4", "1,5", "2,6", "3,7"], 4),
        (["0-1", "0-1", "2", "3"], 3),  # cores of two kinds
        (["0"], 1),
        ([], None),
    ],
)
def test_threads_of_one_core_count_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads_of_cores: list[str], count: int | None
) -> None:
    monkeypatch.setattr(cores, "_CORES", tmp_path)
    (tmp_path / "cpufreq").mkdir()
    for i, threads in enumerate(threads_of_cores):
        folder = tmp_path / f"cpu{i}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{threads}\n", "utf-8")
    assert physical_cores() == count
