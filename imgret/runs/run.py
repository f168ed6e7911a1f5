"""How a step is to be run."""

import dataclasses

from imgret.errors import UsageError
from imgret.runs.report import Report

DEVICES = ("auto", "cpu", "cuda", "mps")


@dataclasses.dataclass(frozen=True)
class Run:
    """How a step is to be run: none of it is recorded, or changes what is made.

    Attributes
    ----------
    jobs : int
        How much is done at once.
    shard : tuple of int, optional
        (I, N), of a step that works in parts: make those of share I, from 0, of N and do not join.
    overwrite : bool
        Replace an output that was made with other parameters, or plain files that hold something else.
    report : imgret.runs.report.Report
        What is told of; nothing but warnings by default.
    device : str
        Where networks run: "auto", "cpu", "cuda", "cuda:N" or "mps".
    reads : tuple of str
        Files that are read besides those that a step is given, as its config is; none of them is written to.

    Raises
    ------
    UsageError
        For a value out of range.
    """

    jobs: int = 1
    shard: tuple | None = None
    overwrite: bool = False
    report: Report = Report(-1)
    device: str = "auto"
    reads: tuple = ()

    def __post_init__(self):
        if not isinstance(self.jobs, int) or self.jobs < 1:
            raise UsageError(f"`jobs` must be a positive integer, got {self.jobs!r}")
        if self.shard is not None:
            _check_shard(self.shard, self.shard)
        if self.device.partition(":")[0] not in DEVICES:
            raise UsageError(f"`device` must be auto, cpu, cuda, cuda:N or mps, got {self.device!r}")

    def in_one_piece(self, step):
        """Refuse a shard of a step that has none.

        Raises
        ------
        UsageError
        """
        if self.shard is not None:
            raise UsageError(f"{step} makes its output in one piece: leave the shard out")


def parse_shard(text):
    """ "I/N" to (I, N).

    Raises
    ------
    UsageError
    """
    shard = tuple(int(number) if number.isdecimal() and len(number) < 10 else -1 for number in text.split("/"))
    _check_shard(shard, f"'{text}'")
    return shard


def _check_shard(shard, shown):
    good = isinstance(shard, tuple) and len(shard) == 2 and all(isinstance(number, int) for number in shard)
    if not good or not 0 <= shard[0] < shard[1]:
        raise UsageError(f"`--shard` must be I/N with I from 0 to N - 1, got {shown}")
