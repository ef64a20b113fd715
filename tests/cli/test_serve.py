"""``fer-edge serve``: refusals before the service starts; tests/service has the rest."""

from __future__ import annotations

from typing import Any


def test_an_empty_token_does_not_open_the_service(run: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("FER_EDGE_TOKEN", "")
    result = run("serve")
    assert result.exit_code == 3
    assert "FER_EDGE_TOKEN" in result.stderr


def test_a_wrong_origin_is_a_sentence(run: Any) -> None:
    result = run("serve", "--port", "0", "--allow-origin", "localhost:3000/app")
    assert result.exit_code == 3
    assert "http://localhost:3000" in result.stderr
