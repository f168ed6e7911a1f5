"""Batches, and how a plan of them is kept."""

import dataclasses

import numpy as np

FIELDS = ("photos", "views", "labels")


@dataclasses.dataclass(frozen=True)
class Batch:
    """Photos that make one step of the optimiser.

    Attributes
    ----------
    photos : ndarray, shape (B,), int64
        By number.
    views : ndarray, shape (B,), int64
        Which look at each: 0 is the photo as it is; others are seeded augmentations, the same for the same number.
    labels : ndarray, shape (B,), int64
        What they belong to, as the loss wants it.
    """

    photos: np.ndarray
    views: np.ndarray
    labels: np.ndarray

    def __len__(self):
        return len(self.photos)


def packed(plan):
    """A list of batches as arrays; {} for none."""
    if not plan:
        return {}
    found = {f"plan.{name}": np.concatenate([vars(batch)[name] for batch in plan]).astype(np.int64) for name in FIELDS}
    return found | {"plan.lengths": np.array([len(batch) for batch in plan], dtype=np.int64)}


def unpacked(arrays):
    """The list that `packed` took; None for none.

    Raises
    ------
    ValueError
        If it is no such list.
    """
    if "plan.lengths" not in arrays:
        return None
    if any(arrays[f"plan.{name}"].ndim != 1 for name in (*FIELDS, "lengths")):
        raise ValueError("a plan of other shapes")
    ends = np.cumsum(arrays["plan.lengths"])[:-1]
    return [Batch(*columns) for columns in zip(*(np.split(arrays[f"plan.{name}"], ends) for name in FIELDS), strict=True)]
