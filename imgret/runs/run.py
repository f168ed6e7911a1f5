"""How a step is to be run."""

import dataclasses

from imgret.errors import UsageError
from imgret.runs.report import Report


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
    """

    jobs: int = 1
    shard: tuple | None = None
    overwrite: bool = False
    report: Report = Report(-1)
    device: str = "auto"

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
    try:
        index, count = map(int, text.split("/"))
    except ValueError:
        index, count = 0, 0
    if not 0 <= index < count:
        raise UsageError(f"`--shard` must be I/N with I from 0 to N - 1, got '{text}'")
    return index, count
