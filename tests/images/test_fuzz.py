"""Whatever bytes a file has, it is read or refused in one line: no other error, no hang, and in little memory."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

COUNT = int(os.environ.get("UIT_FUZZ", "60"))  # mutants of each format


@pytest.mark.slow
def test_damaged_and_hostile_files_are_read_or_refused(tmp_path):
    last = tmp_path / "last"
    command = [sys.executable, "-m", "tests.images.fuzz", str(last), str(COUNT)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 0, (done.returncode, last.read_text() if last.exists() else "", done.stderr[-2000:])
    found = json.loads(done.stdout)
    assert not found["failures"], found["failures"][:5]
    assert found["more_memory_mb"]["bombs"] < 300, found
    assert all(sum(outcomes.values()) == COUNT and len(outcomes) == 2 for outcomes in found["counts"].values()), found
    # Nothing is said of single files, by the libraries in C neither.
    assert all("uit data check" in line for line in done.stderr.splitlines()), done.stderr
