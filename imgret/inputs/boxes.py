"""Query boxes: which photos they are of, and what is recorded of them."""

import dataclasses

import numpy as np

from imgret.errors import ImgretError, UsageError, counted
from imgret.formats.boxes import PhotoFinder, read_boxes
from imgret.names import Speller, shown, to_text
from imgret.store.hashing import of_json
from imgret.store.text import Texts

UNICODE = (
    "{} of these photos are there under a name that differs only in its Unicode form, NFC or NFD (the first is {}): "
    "write the boxes' names as the photos have them"
)

PIXELS, FRACTION = UNITS = ("pixels", "fraction")
OPTION = "--box-units fraction"
FARTHEST = 2  # a corner that is no fraction: a box may reach beyond its photo


class Boxes:
    """The boxes in a file or folder; see `imgret.formats.boxes.read_boxes`.

    Parameters
    ----------
    path : str
    units : str
        What their corners are: `PIXELS` of the photo, or `FRACTION` of its width and height.

    Attributes
    ----------
    fractions : bool

    Raises
    ------
    UsageError
        For other units.
    ImgretError
    """

    def __init__(self, path, units=PIXELS):
        if units not in UNITS:
            raise UsageError(f"`--box-units` must be {' or '.join(UNITS)}, got '{units}'")
        self.path, self.fractions = path, units == FRACTION
        self._boxes = sorted(read_boxes(path), key=lambda box: box.query_id)
        if self.fractions:
            self._check_fractions()

    def _check_fractions(self):
        for box in self._boxes:
            corner = max(box.corners, key=abs)
            if abs(corner) > FARTHEST:
                what = f"the box {shown(box.query_id)} has a corner at {corner:.7g}, while fractions are from 0 to 1"
                raise ImgretError(f"{self.path}: {what}: leave --box-units out where boxes are in pixels")

    def params(self):
        """What they say of how rows are made, recorded as parameters."""
        return {"rows": "boxes"} | ({"box_units": FRACTION} if self.fractions else {})

    def as_input(self):
        """How they are recorded: by what they say, not by the file."""
        rows = [[to_text(box.query_id), to_text(box.photo), *box.corners] for box in self._boxes]
        return {"path": self.path, "kind": "boxes", "content": of_json(rows)}

    def of(self, listing, report):
        """A listing with a row for each box of a listed photo; what is left over on either side is told.

        Parameters
        ----------
        listing : imgret.found.Listing
        report : imgret.runs.report.Report

        Returns
        -------
        imgret.found.Listing
            Named by the boxes' ids, in byte order.

        Raises
        ------
        ImgretError
            If a box may be of several photos, or none is of any.
        """
        if not self.fractions and all(0 <= corner <= 1 for box in self._boxes for corner in box.corners):
            report.warn(f"all boxes in {self.path} lie within 0 and 1, and are taken for pixels: if they are fractions, give {OPTION}")
        rows = {name: row for row, name in enumerate(listing.names)}
        find, of = PhotoFinder(listing.names), {}
        try:
            for box in self._boxes:
                if box.photo not in of:
                    of[box.photo] = find(box.photo)
        except ImgretError as error:
            raise ImgretError(f"{self.path}: {error}") from None
        kept = [box for box in self._boxes if of[box.photo] is not None]
        lacking = sorted(photo for photo, name in of.items() if name is None)
        missing, spell = lacking[0] if lacking else b"", Speller(listing.names)
        respelt = [photo for photo in lacking if (other := spell(photo)) != photo and find(other) is not None]
        form = f"; {UNICODE.format(len(respelt), shown(respelt[0]))}" if respelt else ""
        if not kept:
            raise ImgretError(
                f"{self.path} has no box of any photo given: its boxes are of {shown(missing)}, the photos given are "
                f"{shown(listing.names[0])} and the like; are these the right photos?{form}"
            )
        if len(kept) < len(self._boxes):
            report.warn(
                f"{len(self._boxes) - len(kept)} of {len(self._boxes)} boxes in {self.path} are left out: "
                f"their photos are not among those given (for example {shown(missing)}){form}"
            )
        unlisted = [name for name, path in zip(listing.names, listing.paths, strict=True) if path.endswith(b"/")]
        if unlisted:
            report.warn(
                f"{counted(len(unlisted), 'folder')} cannot be listed (for example {shown(unlisted[0])}): "
                "boxes of photos in there are left out"
            )
        without = len(listing) - len(unlisted) - len({of[box.photo] for box in kept})
        if without:
            report.note(
                f"{without} of {counted(len(listing), 'photo')} {'has no box and is' if without == 1 else 'have no box and are'} left out"
            )
        where = [rows[of[box.photo]] for box in kept]
        return dataclasses.replace(
            listing,
            names=Texts.of(box.query_id for box in kept),
            paths=Texts.of(listing.paths[row] for row in where),
            sizes=listing.sizes[where],
            mtimes=listing.mtimes[where],
            photo_names=Texts.of(listing.names[row] for row in where),
            boxes=np.array([box.corners for box in kept], dtype=np.float64),
            fractions=self.fractions,
        )
