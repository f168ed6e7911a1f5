"""Who is told how a training goes: the report, and logs where they are asked for."""


class Telling:
    """Tells of steps and scores.

    Parameters
    ----------
    report : imgret.runs.report.Report
    logs : sequence of imgret.training.logs.Logs
    """

    def __init__(self, report, logs=()):
        self._report, self._logs = report, logs

    def progress(self, total, unit, start=0):
        """A bar; see `imgret.runs.report.Report.progress`."""
        return self._report.progress(total, unit, start)

    def notes(self, notes):
        """What a way to train has to say, a sentence each."""
        for note in notes:
            self._report.note(note)

    def resumed(self, course):
        """A checkpoint was gone on with."""
        where = f"epoch {course.epoch}, step {course.step + 1}" if course.epoch else "the start"
        self._report.note(f"goes on from the checkpoint at {where}, {course.total} steps")
        for log in self._logs:
            log.resumed(course)

    def step(self, course, loss, rate):
        """A step was made."""
        for log in self._logs:
            log.step(course.epoch, course.total, loss, rate)

    def scored(self, course, validation):
        """An epoch has ended."""
        entry = course.epochs[-1]
        words = [f"epoch {entry['epoch']}"]
        if entry["loss"] is not None:
            words.append(f"loss {entry['loss']:.4g}")
        if validation is not None:
            words.append(f"{validation.measure} {entry['score']:.4f}" + (" (best)" if course.best == entry["epoch"] else ""))
            if (seen := entry["figures"].get(f"seen.{validation.measure}")) is not None:
                words.append(f"{seen:.4f} on classes that training sees")
        self._report.note(", ".join(words))
        for log in self._logs:
            log.epoch(entry)
