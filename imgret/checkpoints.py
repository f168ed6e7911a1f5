"""The state of a long fit: taken up where it was left, and told as it goes."""

import math

import numpy as np


def resume(state, **shapes):
    """`state` of a checkpoint with its arrays in the shapes given; None where there is none.

    Also None if names or sizes are not those of this fit: it then begins again, which is never wrong. (A checkpoint may keep a scalar as an
    array of one value.)
    """
    if state is None or set(state) != set(shapes):
        return None
    arrays = {name: np.asarray(state[name]) for name in shapes}
    if any(array.size != math.prod(shapes[name]) for name, array in arrays.items()):
        return None
    return {name: array.reshape(shapes[name]) for name, array in arrays.items()}


class Course:
    """The course of a fit in steps: what a checkpoint keeps of it, and what is told.

    Parameters
    ----------
    total : int
        Steps in all.
    arrays : dict of str to ndarray
        What is learned, to be written in place: the state of a checkpoint is read into them.
    checkpoint, progress : optional
        As `imgret.codebooks.base.Codebook.fit` takes them.
    """

    def __init__(self, total, arrays, checkpoint=None, progress=None):
        self._total, self._arrays, self._checkpoint, self._progress = total, arrays, checkpoint, progress
        shapes = {name: array.shape for name, array in arrays.items()}
        saved = None if checkpoint is None else resume(checkpoint.load(), done=(), **shapes)
        self._done, self._begun = 0 if saved is None else int(saved["done"]), 0
        for name in arrays if saved is not None else ():
            arrays[name][...] = saved[name]
        if progress is not None:
            progress(self._done, total, "start")

    def begin(self, steps):
        """Begin with the next so many steps; how many of them had been done before."""
        done = min(max(self._done - self._begun, 0), steps)
        self._begun += steps
        return done

    def step(self, message):
        """One step more is done."""
        self._done += 1
        if self._checkpoint is not None:
            self._checkpoint.save(lambda: {name: array.copy() for name, array in self._arrays.items()} | {"done": np.asarray(self._done)})
        if self._progress is not None:
            self._progress(self._done, self._total, message)
