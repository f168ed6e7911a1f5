"""What makes parts, in worker processes."""

import os

from imgret.errors import ImgretError
from imgret.features import LocalFeatures
from imgret.store.photos import PhotoWriter
from imgret.store.plans import FolderVanished, Plan, publish_part
from imgret.store.temporaries import temporary_name
from imgret.store.writer import Writer


def columns_of(described):
    """What was made of a photo as a store's columns have it: path -> (n, ...).

    Parameters
    ----------
    described : ndarray, shape (V,), or LocalFeatures, or dict of str to ndarray, shape (n, ...)
        A vector; local features; or columns with a row for each of the photo's entries.
    """
    if isinstance(described, LocalFeatures):
        return {"keypoints": described.keypoints, "descriptors": described.stored}
    return described if isinstance(described, dict) else {"vectors": described[None]}


def append(photos, columns):
    """Append to a part, a `PhotoWriter`, what was made of the photo whose name it was given last; see `columns_of`."""
    if "vectors" in columns:
        photos.rows(**columns)
    else:
        photos.ragged([len(next(iter(columns.values())))], **columns)


class PartWorker:
    """Base of what makes parts in a worker process: a subclass has `make(task, starting)`, which makes one and gives its failed photos.

    Attributes
    ----------
    copied : int
        Photos of a part that were taken over: for `make` to count.
    several : int
        Photos of a part that were described, and are not the only pictures in their files: likewise.
    """

    copied = several = 0

    def __init__(self, setup):
        self.setup, self.plan = setup, None

    def work(self, task, starting):
        """Make one part; see `imgret.runs.workers.run`. A folder of parts that has gone is told, not raised."""
        try:
            if self.plan is None:
                self.plan = Plan(os.path.dirname(self.setup["plan_folder"]), 0)
            self.copied = self.several = 0
            return {"failed": self.make(task, starting), "copied": self.copied, "several": self.several}
        except FolderVanished:
            return {"vanished": True}
        except ImgretError:
            if not os.path.isdir(self.setup["plan_folder"]):
                return {"vanished": True}
            raise

    def write(self, part, data, fill):
        """Write a part and publish it.

        Parameters
        ----------
        part : int
        data : dict
            Its data columns, as `PhotoWriter` takes them.
        fill : callable
            `fill(photos)` appends to a `PhotoWriter`; returns whether the next run should read something again.

        Returns
        -------
        int
            How many of its photos failed.
        """
        kind, labels = self.setup["kind"], {name: self.setup[name] for name in ("recipe", "params")}
        with Writer(temporary_name(self.plan.folder), self.setup["shown"]) as writer:
            photos = PhotoWriter(writer, kind, data)
            publish_part(writer, self.plan, part, kind, retry=fill(photos), **labels)
            return photos.failed
