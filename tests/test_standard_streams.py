"""A closed standard stream is replaced by the null device, also for children."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import os, subprocess, sys
from fer_edge.standard_streams import open_missing
open_missing()
file = open(sys.argv[1], "w")
child = "import sys; sys.exit(None in (sys.stdin, sys.stdout, sys.stderr))"
file.write(f"{file.fileno()} {subprocess.run([sys.executable, '-c', child]).returncode}")
"""


@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_no_file_gets_the_number_of_a_closed_stream(tmp_path: Path, closed: str) -> None:
    command = [sys.executable, "-c", CODE, str(tmp_path / "file")]
    done = subprocess.run(["sh", "-c", f'exec "$@" {closed}', "sh", *command], check=False)
    assert done.returncode == 0
    number, code = map(int, (tmp_path / "file").read_text().split())
    assert number > 2
    assert code == 0
