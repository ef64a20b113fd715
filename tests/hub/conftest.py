"""A stand-in of the Hub for huggingface_hub's real client."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from hub_server import Hub, running


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A running stand-in that HF_ENDPOINT names, with an empty cache and no token."""
    constants = pytest.importorskip("huggingface_hub.constants")
    with running() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        # Xet is the Hub's own protocol for storage; the stand-in speaks git LFS, its other one.
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        yield hub
