"""Finished parts, and what stays, put together."""

import contextlib
import itertools
import os

import numpy as np

from imgret.errors import ImgretError
from imgret.runs.failures import failures_in
from imgret.runs.kept import positions
from imgret.store.photos import misfit, totals_of
from imgret.store.plans import FolderVanished
from imgret.store.reader import Store


class FinishedParts:
    """The finished parts of a plan.

    Parameters
    ----------
    plan : imgret.store.parts.Plan
    kind : str
    work : imgret.runs.parts.Work
        What they are made by.
    """

    def __init__(self, plan, kind, work):
        self.plan, self._kind, self._work = plan, kind, work

    def path(self, part):
        """Where a part is."""
        path = self.plan.path(part)
        return path if os.path.exists(path) else self.plan.path(part, retry=True)

    def __iter__(self):
        """Yield them, open, in order.

        Raises
        ------
        FolderVanished
        ImgretError
        """
        for part in range(len(self.plan)):
            with self._opened(part) as store:
                yield store

    def _opened(self, part):
        if not os.path.isdir(self.plan.folder):
            raise FolderVanished
        return Store(self.path(part), (self._kind,))

    def failures(self):
        """Yield what failed, in those that can be read."""
        for part in range(len(self.plan)):
            with contextlib.suppress(ImgretError), Store(self.path(part)) as store:
                yield from failures_in(store)

    def counted(self, failed_from):
        """What is in them.

        Parameters
        ----------
        failed_from : list of Store, optional
            Inputs whose failed photos are taken along.

        Returns
        -------
        totals : dict
            See `imgret.store.photos.totals_of`.
        failures : list of imgret.runs.failures.Failure
        bad : dict of int to str
            What is wrong with parts that are not what the plan asks for.
        """
        bad, failures = {}, []

        def sound():
            for part in range(len(self.plan)):
                problem = ""
                try:
                    with self._opened(part) as store:
                        problem = self._problem(store, part)
                        if not problem:
                            failures.extend(failures_in(store) if store.sizes["F"] else ())
                            yield store
                except ImgretError as error:
                    problem = str(error)
                if problem:
                    bad[part] = problem

        return totals_of(sound(), failed_from), failures, bad

    def _problem(self, store, part):
        """What is wrong with a part, '' if nothing: it is small, so everything in it is checked."""
        problem = misfit(store, self._work.data)
        if problem:
            return problem
        if store.info.get("plan", self.plan.identity) != self.plan.identity:
            return "it is of another run"
        first, last = self.plan.range(part)
        there = sorted([*store.texts("names"), *store.texts("failed/names")])
        if there != list(self.plan.names[first:last]):
            return "it holds other photos"
        if self._work.photo_names is not None:
            rows = zip(store.texts("names"), store.photo_names(), strict=True)
            if any(self._work.photo_names.get(name) != photo for name, photo in rows):
                return "it holds boxes of other photos"
        return next(store.problems(), "")


class Merging:
    """Puts parts, and what stays, together in byte order of the names.

    Parameters
    ----------
    photos : imgret.store.photos.PhotoWriter
    kept : Kept
    plan : imgret.store.plans.Plan
    """

    def __init__(self, photos, kept, plan):
        self._photos, self._kept, self._plan = photos, kept, plan
        self._done = self._failed_done = 0

    def add(self, store, part):
        """Append the next part, open, after what comes before it."""
        first, last = self._plan.range(part)
        photos, names = self._photos, self._plan.names[first:last]
        at = np.arange(first, last) if self._plan.made is None else self._plan.made[first:last]
        failed = positions(names, store.texts("failed/names")) >= 0 if store.sizes["F"] else np.zeros(len(names), bool)
        copies = (lambda start, stop: photos.copy(store, start, stop)), (lambda start, stop: photos.copy_failed(store, start, stop))
        self._done = self._before(at[~failed], self._kept.at, self._done, self._kept.copy, copies[0])
        self._failed_done = self._before(at[failed], self._kept.failed_at, self._failed_done, self._kept.copy_failed, copies[1])

    def _before(self, at, kept_at, done, copy_kept, copy):
        before = np.searchsorted(kept_at, at)
        ends = [*(np.flatnonzero(np.diff(before)) + 1), len(before)] if len(before) else []
        for start, stop in itertools.pairwise([0, *ends]):
            copy_kept(self._photos, done, int(before[start]))
            copy(start, stop)
            done = int(before[start])
        return done

    def end(self):
        """Append what comes after all parts."""
        self._kept.copy(self._photos, self._done, len(self._kept.at))
        self._kept.copy_failed(self._photos, self._failed_done, len(self._kept.failed_at))
