"""The short form of `scripts/torture.py`; calls that fail in this process are in `test_disk.py`."""

import os
import subprocess
import sys

import pytest
from helpers import ROOT

SCRIPT = os.path.join(ROOT, "scripts", "torture.py")


@pytest.mark.skipif(sys.platform != "linux", reason="its processes are found in /proc")
def test_nothing_is_lost():
    command = [sys.executable, SCRIPT, "--kills", "6", "--faults", "1", "--steps", "import"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Lost, damaged or left behind: 0\n" in done.stdout
    assert "| import |" in done.stdout
