"""Photos and views of them for a network in training: decoded and augmented in worker processes, some batches ahead."""

import contextlib
import ctypes
import os
import signal
import sys

from imgret import images
from imgret.errors import ImgretError
from imgret.names import shown
from imgret.training.augment import Augment

AHEAD = 2  # batches that each process may be ahead


class Pictures:
    """Makes views of photos; lives in worker processes too.

    Parameters
    ----------
    paths, names : list of bytes
    reading : imgret.training.reading.Reading
    params : imgret.training.augment.Params
    seed : int
    """

    def __init__(self, paths, names, reading, params, seed):
        self._paths, self._names, self._reading, self._params, self._seed = paths, names, reading, params, seed
        self._augment = None

    def __len__(self):
        return len(self._paths)

    def __getitem__(self, pair):
        """The view of a photo, ndarray (H, W, 3) uint8; or what is wrong with it, a str."""
        number, view = pair
        if self._augment is None:
            self._augment = Augment(self._params, self._reading.max_size)
        try:
            data = images.read_file(self._paths[number]).data
            if view == 0 or not self._augment.active:
                return self._reading.read(data)
            return self._augment.view(self._reading.read_for(data, self._augment.longest), view, (self._seed, self._names[number]))
        except images.BadPhoto as bad:
            return (
                f"{shown(self._names[number])} could be used when training began, and no longer can ({bad.reason}): run the command again"
            )


class Loader:
    """Gives batches of views.

    Parameters
    ----------
    looked : imgret.training.looking.Looked
    reading : imgret.training.reading.Reading
    params : imgret.training.augment.Params
    seed : int
    jobs : int
        Processes: this one, which trains, and others that load. With 1 all is done here, with the same result.
    """

    def __init__(self, looked, reading, params, seed, jobs):
        self._pictures = Pictures(list(looked.paths), list(looked.names), reading, params, seed)
        self._lists, self._loader = _Lists(), None
        if jobs > 1:
            import torch
            from torch.utils.data import DataLoader

            self._loader = DataLoader(
                self._pictures,
                batch_sampler=self._lists,
                num_workers=jobs - 1,
                collate_fn=_as_it_is,
                worker_init_fn=_begin,
                prefetch_factor=AHEAD,
                persistent_workers=True,
                multiprocessing_context="spawn",
                generator=torch.Generator(),  # nothing is drawn from the one that all share
            )

    def load(self, lists):
        """Yield for each list of (photo, view) the list of its views, in order.

        Raises
        ------
        ImgretError
            If a photo can no longer be used, or a process ends.
        """
        if self._loader is None:
            for pairs in lists:
                yield _checked([self._pictures[pair] for pair in pairs])
            return
        self._lists.lists = lists
        loaded = None
        try:
            loaded = iter(self._loader)
            for views in loaded:
                yield _checked(views)
        except RuntimeError as error:  # what torch says of a process that has ended
            if "worker" not in str(error):
                raise
            raise ImgretError("a process that loads photos ended unexpectedly (out of memory?): run the same command again") from None

    def close(self):
        """End the processes."""
        if self._loader is not None:
            iterator, self._loader._iterator = self._loader._iterator, None
            if iterator is not None:
                iterator._shutdown_workers()
            self._loader = None


class _Lists:
    """What the loader is to load next: a sampler of batches."""

    def __init__(self):
        self.lists = []

    def __iter__(self):
        return iter(self.lists)

    def __len__(self):
        return len(self.lists)


def _as_it_is(views):
    return views


def _checked(views):
    for view in views:
        if isinstance(view, str):
            raise ImgretError(view)
    return views


def _begin(_):
    """A process begins: one thread, deaf to signals that are the parent's, and with the parent it ends."""
    import cv2
    import torch

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() == 1:
            os._exit(1)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
