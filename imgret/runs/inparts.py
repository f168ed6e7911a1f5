"""What all outputs that are made in parts have in common: which parts are whose, and what is done about damaged ones."""

import contextlib
import os

from imgret.errors import ImgretError

JOIN_TRIES = 3


class InParts:
    """Base of one run of a step that works in parts.

    Parameters
    ----------
    output : imgret.runs.output.Output
    plan : imgret.store.parts.Plan
    """

    def __init__(self, output, plan):
        self.output, self.plan, self.run, self.report = output, plan, output.run, output.run.report

    def shares(self):
        """The parts that are this run's (of its shard), and those of them that are missing; says how many are there."""
        whole, _ = self.plan.finished()
        index, count = self.run.shard or (0, 1)
        mine = [part for part in range(len(self.plan)) if part % count == index]
        todo = [part for part in mine if part not in whole]
        if len(mine) > len(todo):
            self.report.note(f"{len(mine) - len(todo)} of {len(mine)} parts are there already")
        return mine, todo

    def length(self, part):
        """How many items a part has."""
        first, last = self.plan.range(part)
        return last - first

    def shard_done(self):
        """What to say when a shard is done."""
        whole, retry = self.plan.finished()
        index, count = self.run.shard
        missing = len(self.plan) - len(whole | retry)
        return (
            f"shard {index}/{count} is done; {missing} of {len(self.plan)} parts are missing; the same command without --shard joins them"
        )

    def sound(self, looked, path, make):
        """What is in the parts, each sound or made again.

        Parameters
        ----------
        looked : callable
            Looks through all parts: what is in them, and what is wrong with each that is damaged, dict of int to str.
        path : callable
            `path(part)`: where it is.
        make : callable
            Makes those that are missing.

        Raises
        ------
        ImgretError
            If a part stays damaged.
        """
        for attempt in range(JOIN_TRIES):
            found, bad = looked()
            if not bad:
                break
            for part, problem in bad.items():
                if attempt == JOIN_TRIES - 1:
                    raise ImgretError(f"part {part} stays damaged after making it again ({problem}): is the disk sound?")
                self.report.warn(f"part {part} is damaged; making it again")
                self.report.detail(f"part {part}: {problem}")
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path(part))
            make()
        return found
