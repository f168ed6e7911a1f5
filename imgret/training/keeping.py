"""Where a training keeps its state: in the folder of parts, tensors and JSON in one .safetensors file, vectors beside it."""

import contextlib
import fcntl
import hashlib
import json
import os
import time

import numpy as np

from imgret.errors import ImgretError
from imgret.networks import safetensors_files
from imgret.networks.trained import content_of
from imgret.store.parts import TRAINING
from imgret.store.writer import publish, write_error
from imgret.training.maps import Vectors

SECONDS = 120.0  # between checkpoints within an epoch
NAME = "checkpoint.safetensors"
LOCK = "lock"  # held by who trains


class Keeping:
    """The last state of a training, and what it works with on the way.

    Parameters
    ----------
    parts : imgret.store.parts.Parts
        Prepared.

    Attributes
    ----------
    folder : str
        Where all of it is.
    recipe : str
    shown : str
        The checkpoint's path.
    """

    def __init__(self, parts):
        self._parts, self.folder = parts, os.path.join(parts.folder, TRAINING)
        self.recipe = parts.recipe
        os.makedirs(self.folder, exist_ok=True)
        self._path, self._saved = os.path.join(self.folder, NAME), time.monotonic()
        self.shown = os.fsdecode(self._path)

    @contextlib.contextmanager
    def alone(self, report):
        """Context manager: no other process trains here, as far as locks tell. Where one does, this one waits until it has ended."""
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError):  # no locks, or no room: two that train here write the same
                file = stack.enter_context(open(os.path.join(self.folder, LOCK), "ab"))
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    report.note("another process makes the same network: waiting for it")
                    fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def load(self):
        """The last state saved.

        Returns
        -------
        dict of str to ndarray, dict
            None, None where there is none, or it is damaged: training then begins again, which is never wrong.
        """
        try:
            metadata = safetensors_files.read_header(self._path).metadata
            if metadata.get("recipe") != self._parts.recipe:
                return None, None
            arrays, state = safetensors_files.read(self._path), json.loads(metadata["state"])
        except (OSError, ImgretError, ValueError, KeyError, RecursionError):
            return None, None
        return (arrays, state) if metadata.get("content") == _content(arrays, metadata["state"]) else (None, None)

    def due(self):
        """Whether the last one was saved long enough ago."""
        return time.monotonic() - self._saved >= SECONDS

    def save(self, arrays, state):
        """Save a state.

        Parameters
        ----------
        arrays : dict of str to ndarray
        state : dict
            Ready for JSON.

        Raises
        ------
        ImgretError
            If it cannot be written; the one before stays.
        """
        temporary = self._parts.temporary()
        try:
            whole = {name: np.array(array, order="C", copy=None) for name, array in arrays.items()}
            text = json.dumps(state)
            metadata = {"recipe": self._parts.recipe, "state": text, "content": _content(whole, text)}
            safetensors_files.write(temporary, whole, metadata)
            publish(temporary, self._path)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise write_error(os.fsdecode(self._path), error) from None
        self._saved = time.monotonic()

    def vectors(self, name, count, dim, dtype):
        """An `imgret.training.maps.Vectors` for so many vectors, empty."""
        return Vectors(self.folder, name, count, dim, dtype)


def _content(arrays, text):
    """What shows whether a checkpoint is as it was written."""
    return hashlib.sha256((content_of(arrays) + text).encode()).hexdigest()
