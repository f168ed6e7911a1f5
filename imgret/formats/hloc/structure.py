"""What is in a feature file of hloc: its groups and datasets, walked and checked; no value but the images' sizes is read."""

import collections
import dataclasses
import os

import h5py
import numpy as np

from imgret.errors import ImgretError, listed, quoted
from imgret.formats.hloc.datasets import FLOATS, INTEGERS, Budget, Unfit, check_chunks

MAX_DEPTH = 64  # folders in an image's path
MAX_NAME = 4096  # bytes of an image's path
MAX_DIM = 1 << 20
PROPERTIES = {"scales": "scale", "oris": "angle", "scores": "score"}  # datasets of N values, and the keypoint columns they become
LOCAL = ("keypoints", "descriptors")
GLOBAL = "global_descriptor"
KNOWN = {*LOCAL, *PROPERTIES, GLOBAL, "image_size"}
TYPES = {"": (FLOATS, "floats"), "descriptors": (("uint8", *FLOATS), "uint8 or floats"), "image_size": (INTEGERS + FLOATS, "numbers")}
UNREADABLE = (OSError, KeyError, ValueError, TypeError, RuntimeError, MemoryError)  # what h5py raises of a damaged file
AGAIN = "if hloc was stopped while it wrote, let it extract this image again"
EXPECTED = f"a group for each image is expected, with keypoints and descriptors in it, or {GLOBAL}"


@dataclasses.dataclass(frozen=True)
class Image:
    """What is known of an image before its values are read."""

    name: bytes
    gives: str
    count: int
    dim: int
    dtype: np.dtype
    size: tuple
    properties: frozenset


class Scan:
    """The images of an open file.

    Parameters
    ----------
    file : h5py.File
    shown : str
        What messages call it.
    size : int
        Its bytes.

    Attributes
    ----------
    images : list of Image
        By name; all of one sort, of one number of dimensions.
    failed : dict of bytes to Unfit
        Those that cannot be used.

    Raises
    ------
    ImgretError
        If it is no such file, or no image in it can be used.
    """

    def __init__(self, file, shown, size):
        self._file, self.shown, self._budget, self.failed = file, shown, Budget(size), {}
        if "format" in file.attrs and "kind" in file.attrs:
            raise ImgretError(f"{shown} is a store of imgret's own: the other steps take it as it is")
        found = []
        for name, members in self._images():
            try:
                found.append(self._image(name, members))
            except Unfit as bad:
                self.failed[name] = bad
            except UNREADABLE as error:
                self._fail(name, f"it cannot be read ({short(error)})", "truncated")
        self.images = sorted(self._of_one_sort(found), key=lambda image: image.name)
        if not self.images:
            raise self.nothing()

    def _of_one_sort(self, found):
        """The images that most others are like; those unlike them have failed."""
        if not found:
            return []
        common, _ = collections.Counter((image.gives, image.dim) for image in found).most_common(1)[0]
        kept = [image for image in found if (image.gives, image.dim) == common]
        first = quoted(os.fsdecode(kept[0].name))
        for image in found:
            if image.gives != common[0]:
                what = f"it has {_words(image.gives)}, while '{first}' has {_words(common[0])}: give one sort"
                self.failed[image.name] = Unfit("malformed", what)
            elif image.dim != common[1]:
                what = f"its descriptors have {image.dim} dimensions, those of '{first}' {common[1]}"
                self.failed[image.name] = Unfit("malformed", f"{what}; all need the same number, from 1 to {MAX_DIM}")
        return kept

    def nothing(self):
        """What to say of a file without an image that can be used."""
        for name, bad in self.failed.items():
            return ImgretError(sentence(self.shown, name, bad.reason))
        return ImgretError(f"{self.shown} is not a feature file of hloc: it holds no image; {EXPECTED}")

    def _images(self):
        """Yield (name, {dataset's name: dataset}) of every group that has datasets; no link but hard ones is followed."""
        root = self._file.id
        pending, visited = [(b"", 0)], {h5py.h5o.get_info(root).addr}
        while pending:
            name, depth = pending.pop()
            links, members = [], {}
            try:
                group = h5py.h5o.open(root, name) if name else root
                group.links.iterate(lambda link, info, into=links: into.append((link, info.type)), info=True)
                for link, kind in links:
                    self._look(group, name, link, kind, depth, members, pending, visited)
            except UNREADABLE as error:
                if not name:
                    raise
                self._fail(name, f"it cannot be read ({short(error)})", "truncated")
                continue
            if name and not links:
                self._fail(name, f"it holds nothing; {AGAIN}", "truncated")
            if members and not name:
                no = f"{self.shown} is not a feature file of hloc"
                raise ImgretError(f"{no}: it has datasets at its top ({listed(sorted(members), 5)}), where {EXPECTED}")
            if members and not members.keys() & KNOWN:
                self._fail(name, f"it holds {listed(sorted(members), 3)}, not keypoints or {GLOBAL}")
            elif members:
                yield name, members

    def _look(self, group, name, link, kind, depth, members, pending, visited):
        """What a link of a group leads to: a dataset goes to `members`, a group to `pending`."""
        path = name + b"/" + link if name else link
        if kind != h5py.h5l.TYPE_HARD:
            self._fail(path, "it is a link to elsewhere, and links are not followed: copy the file with its links resolved")
            return
        if depth == MAX_DEPTH or len(path) > MAX_NAME or link in (b"", b".") or b"/" in link:
            self._fail(path[:80], "this is no path of an image, or a very long one")
            return
        member = h5py.h5o.open(group, link)
        if isinstance(member, h5py.h5d.DatasetID):
            members[link.decode("utf-8", "replace")] = member
        elif isinstance(member, h5py.h5g.GroupID):
            address = h5py.h5o.get_info(member).addr
            if address in visited:
                self._fail(path, "it is in the file under another name too: hloc writes no such file")
                return
            visited.add(address)
            pending.append((path, depth + 1))

    def _fail(self, name, reason, code="malformed"):
        self.failed[name] = Unfit(code, reason)

    def _image(self, name, members):
        """Check one image, but for its values."""
        gives = "vectors" if GLOBAL in members else "features"
        if GLOBAL in members and members.keys() & set(LOCAL):
            raise Unfit("malformed", f"it has local features and a {GLOBAL}: keep them in two files, as hloc does")
        wanted = (GLOBAL,) if gives == "vectors" else LOCAL
        for missing in (each for each in wanted if each not in members):
            raise Unfit("truncated", f"it has no {missing}; {AGAIN}")
        if gives == "vectors":
            count, dim = 1, self._checked(GLOBAL, members, "(D)")[0]
        else:
            count, dim = self._local(members)
        if not 0 < dim <= MAX_DIM:
            raise Unfit("malformed", f"its descriptors have {dim} dimensions; all need the same number, from 1 to {MAX_DIM}")
        dtype, properties = members[wanted[-1]].dtype.newbyteorder("="), frozenset(members.keys() & PROPERTIES.keys())
        return Image(name, gives, count, dim, dtype, self._image_size(members), properties)

    def _local(self, members):
        """The number and the dimensions of an image's local features."""
        count, two = self._checked("keypoints", members, "(N, 2)")
        dim, columns = self._checked("descriptors", members, "(D, N)")
        if two != 2:
            raise Unfit("malformed", f"keypoints has the shape ({count}, {two}), not (N, 2)")
        if columns != count:
            raise Unfit("malformed", f"it has {count} keypoints, and descriptors of the shape ({dim}, {columns}), not (D, {count})")
        for each in members.keys() & PROPERTIES.keys():
            (length,) = self._checked(each, members, "(N)")
            if length != count:
                raise Unfit("malformed", f"it has {count} keypoints and {length} {each}")
        return count, dim

    def _checked(self, dataset, members, wanted):
        """The shape of a dataset that is plain, all in the file and of numbers."""
        return self._budget.check(dataset, members[dataset], *TYPES.get(dataset, TYPES[""]), wanted)

    def _image_size(self, members):
        if "image_size" not in members:
            return (0, 0)
        if self._checked("image_size", members, "(2)") != (2,):
            raise Unfit("malformed", "image_size does not hold a width and a height")
        check_chunks("image_size", members["image_size"])
        try:
            size = h5py.Dataset(members["image_size"])[()]
        except UNREADABLE as error:
            raise Unfit("truncated", f"image_size cannot be read ({short(error)})") from None
        if not np.isfinite(size).all() or size.min() < 1 or size.max() >= 1 << 31:
            raise Unfit("malformed", f"image_size is {size.tolist()}, which is no width and height")
        return tuple(size.astype(np.int32).tolist())


def sentence(shown, name, reason):
    """What is wrong with an image, for a message."""
    return f"{shown}, image '{quoted(os.fsdecode(name))}': {reason}"


def short(error):
    return quoted(" ".join(str(error).split()), 200)


def _words(gives):
    return f"a {GLOBAL}" if gives == "vectors" else "local features"
