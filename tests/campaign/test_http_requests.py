"""Requests to a server process: a few thousand here, and all 20,000 by the campaign's command."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode does not add this folder

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.mark.parametrize("count", [300, pytest.param(4_000, marks=pytest.mark.slow)])
def test_hostile_requests_leave_the_server_whole(count: int) -> None:
    report = importlib.import_module("http_requests").run(count, seed=1)
    assert report.faults == []
    assert sum(report.statuses.values()) == count


def test_each_hostile_request_leaves_the_server_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = importlib.import_module("http_requests")
    monkeypatch.setattr(campaign, "HOSTILE_SHARE", 1.0)
    assert campaign.run(150, seed=2).faults == []
