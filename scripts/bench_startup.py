"""How much longer does `imgret --help` take than importing click? Bar: 80 ms."""

import shutil
import sys

import bench

ROUNDS = 20
BAR_MS = 80


def main():
    imgret = shutil.which("imgret") or sys.exit("the command `imgret` is not on the path: run `make install`, or activate its environment")
    programs = {
        'python -c "import click"': lambda: bench.run([sys.executable, "-c", "import click"]),
        "imgret --help": lambda: bench.run([imgret, "--help"]),
        "imgret extract --help": lambda: bench.run([imgret, "extract", "--help"]),
    }
    bench.in_turn(programs, 2)  # files into the system's cache
    costs = bench.in_turn(programs, ROUNDS)
    base = next(iter(costs.values()))
    print(f"median of {ROUNDS} runs in turn; {bench.machine('click')}; bar: {BAR_MS} ms more than click\n")
    rows = [
        [
            name,
            f"{1e3 * cost.seconds:.0f}",
            f"{1e3 * (cost.seconds - base.seconds):+.0f}",
            f"{1e3 * cost.cpu:.0f}",
            f"{1e3 * (cost.cpu - base.cpu):+.0f}",
        ]
        for name, cost in costs.items()
    ]
    bench.table(["", "ms", "more", "CPU ms", "more"], rows)


if __name__ == "__main__":
    main()
