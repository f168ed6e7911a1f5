"""The `dbStruct` of Pittsburgh 30k and 250k, Tokyo 24/7 and Tokyo Time Machine: photos, and where they were taken, in a MATLAB file."""

import dataclasses

import numpy as np

from imgret.errors import ImgretError
from imgret.formats.matlab import Matlab
from imgret.names import shown

STRUCT = b"dbStruct"
SIDES = (("gallery photos", b"dbImageFns", b"utmDb", b"dbTimeStamp"), ("queries", b"qImageFns", b"utmQ", b"qTimeStamp"))
MOST = 1e9  # metres


@dataclasses.dataclass(frozen=True)
class DbStruct:
    """Photos of a `dbStruct`, those of the gallery first.

    Attributes
    ----------
    names : list of bytes
        Relative to the folder of the photos of their side, as the file has them; distinct on either side.
    positions : ndarray, shape (N, 2), float64
        East and north, metres.
    asks : ndarray, shape (N,), bool
        Whether a photo is a query; otherwise it is of the gallery.
    stamps : list of float, or None
        When each was taken, as the Time Machine has it: photos of one time were taken together.
    """

    names: list
    positions: np.ndarray
    asks: np.ndarray
    stamps: list | None


def is_matlab(path):
    """Whether a file begins as MATLAB's do."""
    try:
        with open(path, "rb") as file:
            return file.read(6) == b"MATLAB"
    except OSError:
        return False


def read_dbstruct(path):
    """Read a `dbStruct`.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    DbStruct

    Raises
    ------
    ImgretError
        If there is none, or it does not say one position for each photo.

    References
    ----------
    R. Arandjelović, P. Gronat, A. Torii, T. Pajdla & J. Sivic, NetVLAD: CNN architecture for weakly supervised place recognition, CVPR
    2016 (whose program defines it).
    """
    fields = Matlab(path).struct(STRUCT)
    names, positions, stamps, asks = [], [], [], []
    for what, images, places, times in SIDES:
        for name in (images, places):
            if name not in fields:
                raise ImgretError(f"{path}: {STRUCT.decode()} has no {name.decode()}, which says where {what} were taken")
        some = [cell.text().replace(b"\\", b"/") for cell in fields[images].cells()]
        names += some
        positions.append(_positions(path, fields[places].values(), places.decode(), len(some), what))
        asks += [images == SIDES[1][1]] * len(some)
        if times in fields:
            found = fields[times].values().ravel(order="F")
            if len(found) != len(some):
                raise ImgretError(f"{path}: {times.decode()} has {len(found)} times for {len(some)} {what}")
            stamps += found.tolist()
    seen = set()
    for name, side in zip(names, asks, strict=True):  # of Pittsburgh the names of queries and of the gallery are alike, in other folders
        if not name:
            raise ImgretError(f"{path}: a photo has no name")
        if (name, side) in seen:
            raise ImgretError(f"{path}: {shown(name)} is listed twice: a photo asks, or is asked for, once")
        seen.add((name, side))
    if not names:
        raise ImgretError(f"{path} lists no photo")
    return DbStruct(names, np.concatenate(positions), np.array(asks, dtype=bool), stamps if len(stamps) == len(names) else None)


def _positions(path, found, name, count, what):
    """East and north of each photo, (count, 2)."""
    if found.size == 0 and count == 0:
        return np.empty((0, 2))
    if found.shape == (2, count):
        found = found.T
    elif found.shape != (count, 2):
        raise ImgretError(f"{path}: {name} is {'×'.join(map(str, found.shape))}, for {count} {what} it must be 2×{count}")
    wrong = np.flatnonzero(~(np.abs(found) <= MOST).all(axis=1))
    if len(wrong):
        raise ImgretError(f"{path}: {name} has no metres for photo {wrong[0] + 1} of the {what}")
    return np.ascontiguousarray(found)
