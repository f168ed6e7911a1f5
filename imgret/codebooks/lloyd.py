"""The course of Lloyd's iterations: what a checkpoint keeps of them, when they end, what is told."""

import dataclasses
import math

import numpy as np

from imgret import words
from imgret.checkpoints import resume
from imgret.parallel import one_thread

SCALARS = {"iteration": int, "relocated": int, "objective": float, "finished": bool}


@dataclasses.dataclass
class State:
    """Where a fit stands: what a checkpoint keeps."""

    arrays: dict  # in the frame; `centroids` among them
    iteration: int = 0
    relocated: int = 0
    objective: float = math.inf
    finished: bool = False

    @classmethod
    def saved(cls, checkpoint, shapes):
        """The state that a checkpoint of a fit of arrays of those shapes has; None where there is none."""
        state = resume(checkpoint.load() if checkpoint else None, **shapes, **dict.fromkeys(SCALARS, ()))
        if state is None:
            return None
        arrays = {name: np.array(state[name], np.float32) for name in shapes}
        return cls(arrays, **{name: kind(state[name]) for name, kind in SCALARS.items()})

    def save(self, checkpoint):
        if checkpoint:
            now = {"iteration": self.iteration, "relocated": self.relocated, "objective": self.objective, "finished": int(self.finished)}
            scalars = {name: np.asarray(value) for name, value in now.items()}
            checkpoint.save(lambda: {**scalars, **{name: array.copy() for name, array in self.arrays.items()}})

    def advance(self, objective, moved, tolerance):
        """An iteration more, and whether it was the last."""
        self.finished = not moved and self.objective - objective <= tolerance * objective
        self.objective = objective
        self.relocated += moved
        self.iteration += 1


class Lloyd:
    """One fit's iterations.

    Parameters
    ----------
    params : Params
        `iterations` and `tolerance`.
    shapes : dict of str to tuple
        The arrays that a checkpoint keeps, float32; `centroids` among them.
    checkpoint, progress : optional
        As `imgret.codebooks.base.Codebook.fit` takes them.
    """

    def __init__(self, params, shapes, checkpoint, progress):
        self._params, self._checkpoint, self._progress = params, checkpoint, progress
        self._state, self._passes = State.saved(checkpoint, shapes), None

    def tell(self, part=0):
        """Report where the fit is: `part` of the next iteration is done."""
        if self._progress:
            state, scale = self._state, self._passes.frame.scale if self._passes else 1
            done = state.iteration + part if state else 0
            found = bool(state and state.iteration)
            self._progress(done, self._params.iterations, f"objective {state.objective / scale**2:.6g}" if found else "start")

    def run(self, passes, start):
        """Iterate over a sample, from where the checkpoint stands or from what `start()` gives, until it settles.

        Returns
        -------
        State
        """
        self._passes = passes
        self.tell()
        state = self._state = self._state or State(start())
        state.save(self._checkpoint)

        def after(moved):
            state.advance(passes.objective(), moved, self._params.tolerance)
            state.save(self._checkpoint)
            self.tell()
            return state.finished

        left = 0 if state.finished else self._params.iterations - state.iteration
        passes.begin(state)
        with one_thread():
            words.lloyd(state.arrays["centroids"], left, passes.look, passes.split, after)
        return state
