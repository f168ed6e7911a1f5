"""Kills a small training with SIGKILL at random moments, again and again until it ends, and compares its bytes with those of one that was
left alone.

    python scripts/torture_train.py [--rounds N] [--seed N]

Exit code 1 where a network differs, or anything is left beside it.
"""

import argparse
import os
import pathlib
import random
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

TUPLES, WORDS = ("tuples=2", "negatives=2"), ("pool=netvlad", "clusters=4")
METHODS = {
    "contrastive": TUPLES,
    "instance": ("photos=6", "queue=8"),
    "smooth-ap": (),
    "sare": (*TUPLES, *WORDS),
    "sfrs": (*TUPLES, *WORDS, "generations=3", "positives=2"),
}
OFTEN = "import imgret.training.keeping as k; k.SECONDS = 0; from imgret.__main__ import main; main()"  # a checkpoint after every step


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="of each method")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    import pupils

    draw, wrong = random.Random(arguments.seed), 0
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        folder = pathlib.Path(folder)
        pupils.fill(folder)
        for method, settings in METHODS.items():
            settings = (*pupils.NET, "epochs=3", "rate=1e-3", "holdout=0.3", *settings)
            truth = [] if method == "instance" else ["--truth", folder / "groups.csv"]
            command = ["train", folder / "photos", "-m", method, *truth, *pupils.sets(settings), "-j", "2", "-o"]
            ended([*command, folder / "whole.safetensors"])
            wanted = (folder / "whole.safetensors").read_bytes()
            for _ in range(arguments.rounds):
                killed, out = until_done(command, folder / "killed.safetensors", draw), folder / "killed.safetensors"
                left = sorted(name for name in os.listdir(folder) if name.startswith("killed"))
                sound = out.read_bytes() == wanted and left == [out.name]
                wrong += not sound
                print(f"{method}: killed {killed} times, {'the same bytes' if sound else f'WRONG: {left}'}", flush=True)
                out.unlink()
            (folder / "whole.safetensors").unlink()
    return 1 if wrong else 0


def started(command):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-c", OFTEN, *map(str, command)], env=environment, stderr=subprocess.PIPE)


def ended(command):
    process = started(command)
    _, err = process.communicate()
    if process.returncode:
        sys.exit(err.decode())


def until_done(command, out, draw):
    """How often the command was killed before it ended: it is given more time each time, so that it does."""
    most, killed = 6.0, 0
    while True:
        process = started([*command, out])
        try:
            _, err = process.communicate(timeout=draw.uniform(0.5, most))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            most, killed = most * 1.1, killed + 1
            continue
        if process.returncode:
            sys.exit(err.decode())
        return killed


if __name__ == "__main__":
    sys.exit(main())
