"""Every way that a photo's bytes may be read, the usual one first; what its header claims is bounded before anything is decoded."""

import dataclasses
import functools
import io

from imgret import bounds
from imgret.samples import heif, jpeg, layouts, png, several, tiff
from imgret.samples.bad import BadPhoto, undecodable
from imgret.samples.deep import CIELAB, CMYK, GREY, ICCLAB, RGB, YCBCR, Deep
from imgret.samples.directories import ORIENTATION, Tiff
from imgret.samples.loading import load
from imgret.samples.metadata import JPEG, without_metadata
from imgret.samples.others import GIF, NO_IMAGE

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")  # as Pillow's readers are called; that of JPEG reads MPO too
MAX_PIXELS = 1 << 28  # 16384 x 16384; a larger one is a bomb more often than a photo
REMEDY = "save it with fewer pixels"
DAMAGED = "its pixels cannot be decoded (it is {} that is damaged, or not all there)"
NOT_READ = "save it with 8 or 16 bits, in grey or RGB"
KINDS = {
    layouts.WHITE_IS_ZERO: GREY,
    layouts.BLACK_IS_ZERO: GREY,
    layouts.RGB: RGB,
    layouts.CMYK: CMYK,
    layouts.YCBCR: YCBCR,
    layouts.CIELAB: CIELAB,
    layouts.ICCLAB: ICCLAB,
}


def ways(data):
    """Yield what may open a photo, the usual first: functions of `lenient` that give a `Usual` or a `Sampled`, or raise `BadPhoto`.

    Parameters
    ----------
    data : bytes
    """
    if heif.form_of(data) is not None:
        yield functools.partial(Boxed.opened, data)
        return
    header = Tiff.of(data)
    directory = None if header is None else header.photo()
    layout = None if directory is None else layouts.Layout.of(directory)
    if layout is None:
        yield functools.partial(Usual.opened, data)
        less = without_metadata(data)  # looked for where it is asked for: nearly every photo opens as it is
        if less is not None:
            yield functools.partial(Usual.opened, less)
        return
    sampled = functools.partial(Sampled.opened, layout)
    if not layout.plain():
        yield sampled
        return
    usual = functools.partial(Usual.of_tiff, header, directory)
    yield from (usual, sampled) if layout.compression in layouts.USUAL else (sampled, usual)


def reduced_size(size, max_size):
    """Width and height reduced so that the longer of them is `max_size`; never enlarged. 0 means no limit."""
    width, height = size
    if not max_size or max(height, width) <= max_size:
        return size
    factor = max_size / max(height, width)
    return max(1, round(width * factor)), max(1, round(height * factor))


def check_claim(form, size, count, memory=0):
    """Refuse what a header claims, where that is too much or cannot be.

    Raises
    ------
    BadPhoto
        `too-large`, `truncated`.
    """
    width, height = size
    if width * height > MAX_PIXELS:
        raise BadPhoto("too-large", f"its header claims {width} × {height} pixels, the limit is {MAX_PIXELS} in all: {REMEDY}")
    if memory > bounds.MAX_MEMORY:
        limit = f"{memory / 2**30:.1f} GiB, the limit is {bounds.MAX_MEMORY / 2**30:.1f} GiB"
        raise BadPhoto("too-large", f"to decode its {width} × {height} pixels takes {limit}: {REMEDY}")
    if not bounds.plausible(form, size, count):
        claim = f"{count} bytes are too few for the {width} × {height} that its header claims"
        raise BadPhoto("truncated", f"its pixels cannot be decoded ({claim})")


@dataclasses.dataclass(frozen=True)
class Usual:
    """A photo as Pillow opens it, its pixels not yet decoded.

    Attributes
    ----------
    picture : PIL.ImageFile.ImageFile
    data : bytes
        What it was opened from.
    copied : int
        How much of that is beside the file's own bytes.
    lenient : bool
        Whether a part of the pixels will do.
    """

    picture: object
    data: bytes
    copied: int
    lenient: bool

    @classmethod
    def opened(cls, data, lenient, copied=0):
        """A photo that Pillow opens; what its header claims may be decoded.

        Raises
        ------
        BadPhoto
            `not-an-image`, `too-large`, `truncated`.
        """
        from PIL import Image

        Image.MAX_IMAGE_PIXELS = None  # the limits here hold instead: Pillow's own is under what the largest cameras give
        size = bounds.webp_size(data)
        if size is not None:
            check_claim("WEBP", size, len(data), bounds.WEBP * size[0] * size[1])
        if lenient and data[:2] == JPEG:
            data, copied = jpeg.ended(data), len(data)
        try:
            picture = Image.open(io.BytesIO(data), formats=FORMATS)
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001 - parsers of headers raise anything over a damaged file
            if size is not None:  # it begins as a WebP: Pillow opens none that is not whole
                raise BadPhoto("truncated", DAMAGED.format("a WebP")) from None
            if data[:6] in GIF:
                raise BadPhoto("truncated", DAMAGED.format("a GIF")) from None
            raise BadPhoto("not-an-image", NO_IMAGE) from None
        check_claim(picture.format, picture.size, len(data))
        return cls(picture, data, copied, lenient)

    @classmethod
    def of_tiff(cls, header, directory, lenient):
        """One of the pictures of a TIFF."""
        if directory.place == header.first:
            return cls.opened(header.data, lenient)
        return cls.opened(header.beginning_at(directory.place), lenient, len(header.data))

    @property
    def size(self):
        """Width and height, of what a draft makes of it."""
        return self.picture.size

    def fit(self, max_size, grey):
        """Set it up to be decoded: a JPEG that takes too much memory at a part of its size, no smaller than `max_size`; refuse others.

        Raises
        ------
        BadPhoto
            `too-large`.
        """
        picture = self.picture
        if picture.format in ("JPEG", "MPO"):
            less = max_size and bounds.memory(picture, self.data, grey) + self.copied > bounds.MAX_MEMORY
            # luma is what a JPEG stores: colour is not even decoded
            picture.draft("L" if grey else "RGB", reduced_size(picture.size, max_size) if less else None)
        check_claim(picture.format, picture.size, len(self.data), bounds.memory(picture, self.data, grey) + self.copied)

    def decoded(self):
        """What `imgret.pixels.to_bytes` takes."""
        load(self.picture, self.lenient)
        if self.picture.format == "BMP" and self.picture.mode == "RGBA" and self.picture.getextrema()[3] == (0, 0):
            self.picture.putalpha(255)  # many programs that write room for opacity leave it empty
        deep = png.deep(self.picture, self.data, self.lenient) if self.picture.format == "PNG" else None
        return self.picture if deep is None else deep

    def orientation(self):
        """How the pixels that were decoded have to be turned."""
        try:  # after the pixels: a PNG may hold it behind them, and Pillow applies a TIFF's own while it decodes
            return self.picture.getexif().get(ORIENTATION, 1)
        except Exception:  # noqa: BLE001 - broken metadata does not make a photo bad
            return 1

    def several(self):
        """Whether the file holds other pictures too; to be asked after the pixels."""
        return several.in_opened(self.picture, self.data)


@dataclasses.dataclass(frozen=True)
class Boxed(Usual):
    """A HEIC or AVIF."""

    @classmethod
    def opened(cls, data, lenient, copied=0):
        """A photo whose header claims no more than may be decoded; it is decoded as a whole or not at all.

        Raises
        ------
        BadPhoto
            `unsupported`, `too-large`, `truncated`.
        """
        form = heif.form_of(data)
        if heif.reader(form) is None:
            raise BadPhoto("unsupported", heif.unsupported(form))
        size, sample = heif.claim(data)
        check_claim(form, size, len(data), sample * bounds.BOXED * size[0] * size[1])
        try:
            picture = heif.reader(form)(io.BytesIO(data))
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001 - parsers of headers raise anything over a damaged file
            raise BadPhoto("truncated", DAMAGED.format(form)) from None
        check_claim(form, picture.size, len(data), sample * bounds.BOXED * picture.size[0] * picture.size[1])
        return cls(picture, data, copied, lenient)

    def fit(self, max_size, grey):
        """Nothing is left to be set up, or refused."""

    def decoded(self):
        """What `imgret.pixels.to_bytes` takes."""
        claimed = self.picture.size
        load(self.picture, self.lenient)
        if self.picture.size != claimed:
            raise BadPhoto("truncated", "its pixels cannot be decoded (they are not as many as its header claims)")
        return self.picture

    def orientation(self):
        """How the pixels that were decoded have to be turned: what the container says counts, and a decoder of HEIC has done it."""
        return super().orientation() if heif.form_of(self.data) == heif.AVIF else 1


@dataclasses.dataclass(frozen=True)
class Sampled:
    """A picture of a TIFF whose samples are read here."""

    layout: layouts.Layout
    lenient: bool

    @classmethod
    def opened(cls, layout, lenient):
        """A picture whose samples can be read; what its header claims may be.

        Raises
        ------
        BadPhoto
            `unsupported`, `too-large`, `truncated`.
        """
        problem = layout.problem()
        if problem is not None:
            raise BadPhoto("unsupported", f"its pixels are {problem}, which imgret does not read: {NOT_READ}")
        return cls(layout, lenient)

    @property
    def size(self):
        """Width and height."""
        return self.layout.width, self.layout.height

    def fit(self, max_size, grey):
        """Refuse what takes too much memory."""
        layout = self.layout
        memory = bounds.samples(self.size, len(layout.kept) * layout.dtype.itemsize, layout.block_bytes, grey)
        check_claim("TIFF", self.size, len(layout.directory.data), memory)

    def decoded(self):
        """What `imgret.pixels.to_bytes` takes."""
        layout = self.layout
        try:
            samples = tiff.samples_of(layout, self.lenient)
        except tiff.Damaged as error:
            raise undecodable(error) from None
        return Deep(
            self.size,
            lambda place: samples[place[1] : place[3], place[0] : place[2]],
            KINDS[layout.photometric],
            layout.extra,
            bits=layout.bits,
            declared=layout.declared,
            inverted=layout.photometric == layouts.WHITE_IS_ZERO,
        )

    def orientation(self):
        """How the pixels have to be turned."""
        return self.layout.directory.get(ORIENTATION, 1)

    def several(self):
        """Whether the file holds other pictures too."""
        return several.in_tiff(self.layout.directory.data)
