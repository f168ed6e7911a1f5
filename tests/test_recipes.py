"""The recipes of the documentation, taken from its pages and run as they are printed: under cron's bare environment, and by Slurm."""

import os
import re
import shutil
import subprocess
import sys

import pytest
from helpers import ROOT, call, names_in, photo

from imgret.cli import help as pages

RUNNING = pages.read()["running"]


def blocks(title):
    """The shell scripts of a section of the page on running."""
    section = re.search(rf"^## {title}$(.*?)^## ", RUNNING, re.MULTILINE | re.DOTALL)[1]
    return re.findall(r"```bash\n(.*?)```", section, re.DOTALL)


@pytest.fixture
def tool(tmp_path):
    """The folder of an `imgret` as it would be installed; it needs nothing of the environment."""
    folder = tmp_path / "bin"
    folder.mkdir()
    path = os.pathsep.join(filter(None, (ROOT, os.environ.get("PYTHONPATH"))))
    (folder / "imgret").write_text(f'#!/bin/sh\nPYTHONPATH="{path}" exec {sys.executable} -m imgret "$@"\n')
    (folder / "imgret").chmod(0o755)
    return folder


@pytest.mark.parametrize("recipe", [0, 1], ids=["build", "steps"])
def test_cron(tmp_path, tool, stores, recipe):
    script, index = blocks("cron")[recipe], ("originals.imgret/index.h5", "index.h5")[recipe]
    shutil.copy(stores.kmeans, tmp_path / "words.h5")
    originals = tmp_path / "originals"
    os.makedirs(originals / "with space")
    for number, name in enumerate(("é.png", "with space/a'b.png", b"\xff.png")):
        photo(os.path.join(os.fsencode(originals), os.fsencode(name)), number)
    nightly = tmp_path / "nightly"
    nightly.write_text(script.replace("/srv/photos", str(tmp_path)).replace("/opt/imgret/bin", str(tool)))
    nightly.chmod(0o755)
    environment = {"HOME": str(tmp_path), "LOGNAME": "somebody", "SHELL": "/bin/sh", "PATH": "/usr/bin:/bin"}

    def night():
        done = subprocess.run(["/bin/sh", "-c", str(nightly)], cwd="/", env=environment, capture_output=True, check=False, timeout=300)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        return names_in(tmp_path / index)

    assert night() == [b"with space/a'b.png", "é.png".encode(), b"\xff.png"]
    photo(originals / "b.png", 7)
    assert night() == [b"b.png", b"with space/a'b.png", "é.png".encode(), b"\xff.png"]


@pytest.fixture
def slurm():
    """Slurm, where there is one that takes jobs."""
    if not shutil.which("sbatch"):
        pytest.skip("there is no Slurm")
    try:
        states = subprocess.run(["sinfo", "-h", "-o", "%t"], capture_output=True, text=True, check=False, timeout=10).stdout
    except subprocess.TimeoutExpired:
        states = ""
    if not re.search("idle|mix", states):
        pytest.skip("Slurm has no node that is free")


def test_slurm(tmp_path, tool, photos, stores, slurm):
    """One task is cancelled before it has done its share, another is queued again: the join waits for it, and makes what is missing."""
    script, submission = blocks("Slurm")
    here = {"/data/photos": str(photos), "/scratch": str(tmp_path), "--cpus-per-task=8": "--cpus-per-task=1"}
    for old, new in here.items():
        assert old in script
        script = script.replace(old, new)
    (tmp_path / "extract.sh").write_text(script)
    # the first time that it is its turn, the first task finds its time limit near
    command = (tool / "imgret").read_text().replace("\n", f'\n[ "$6" = 0/3 ] && mkdir "{tmp_path}/again" 2>/dev/null && exit 75\n', 1)
    (tool / "imgret").write_text(command)
    first, second = submission.replace("0-31", "0-2").splitlines()
    lines = [first, "scancel ${job}_2", f"SBATCH_WAIT=1 {second}", "echo $job"]
    environment = os.environ | {"PATH": f"{tool}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-ec", "\n".join(lines)], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr + "".join(log.read_text() for log in tmp_path.glob("slurm-*"))
    assert (tmp_path / "again").is_dir()
    job = done.stdout.split()[-1]
    logs = {log.name: log.read_text() for log in tmp_path.glob("slurm-*.out")}
    assert "imgret: shard 0/3 is done" in logs[f"slurm-{job}_0.out"], logs
    assert "imgret: shard 1/3 is done" in logs[f"slurm-{job}_1.out"], logs
    assert call("extract", photos, "-o", tmp_path / "features.h5").err.endswith("is up to date (28 photos)\n")
    assert names_in(tmp_path / "features.h5") == names_in(stores.features)
