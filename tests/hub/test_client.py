"""Environment variables that the Hub's client cannot use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("huggingface_hub")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("HF_HUB_ETAG_TIMEOUT", "10s", "'10s'"),
        ("HF_HUB_DOWNLOAD_TIMEOUT", "10.5", "'10.5'"),
        ("HF_ENDPOINT", "http://[bad", "name begins with HF_"),
        ("HF_TOKEN", "\u00fc", "Set HF_TOKEN again"),
        ("HTTPS_PROXY", "foo://bar", "cannot use the proxy"),
        ("SSL_CERT_FILE", "/nowhere", "Check SSL_CERT_FILE"),
    ],
    ids=lambda value: value if str(value).isupper() else "",
)
def test_a_variable_that_cannot_be_used_is_a_sentence(
    name: str, value: str, words: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fer_edge", "pull", "someone/driver", "-o", str(tmp_path / "x.fer")],
        # Nobody listens at this address.
        env={**os.environ, "HF_ENDPOINT": "https://127.0.0.1:9", name: value},
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=100,
    )
    assert (done.returncode, done.stdout) == (3, "")
    assert words in done.stderr
    assert "Traceback" not in done.stderr
