"""How the samples of a TIFF's picture lie in the file, and what of that cannot be read."""

import dataclasses

import numpy as np

from imgret.samples.directories import LENGTH, WIDTH

BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER, STRIPS, SAMPLES, ROWS, STRIP_COUNTS = 258, 259, 262, 266, 273, 277, 278, 279
PLANAR, PREDICTOR, TILE_WIDTH, TILE_LENGTH, TILES, TILE_COUNTS, EXTRA, FORMAT = 284, 317, 322, 323, 324, 325, 338, 339
MAX_SAMPLE, ANY_MAX_SAMPLE, SUBSAMPLING = 281, 341, 530
UNCOMPRESSED = 1
BYTEWISE = (5, 8, 32773, 32946, 34925, 50000)  # compressions that know of no pixels: LZW, deflate, PackBits, LZMA, Zstandard
USUAL = (*BYTEWISE, UNCOMPRESSED, 2, 3, 4, 6, 7, 32771)  # what any build of Pillow undoes
COMPRESSIONS = {  # of what is told when it cannot be read
    2: "CCITT RLE", 3: "CCITT fax 3", 4: "CCITT fax 4", 5: "LZW", 6: "old JPEG", 7: "JPEG", 8: "deflate", 9: "JBIG", 10: "JBIG",
    32771: "CCITT RLE", 32773: "PackBits", 32809: "ThunderScan", 32946: "deflate", 33003: "JPEG 2000", 33004: "JPEG 2000",
    33005: "JPEG 2000", 34661: "JBIG", 34676: "SGILog", 34677: "SGILog24", 34712: "JPEG 2000", 34887: "LERC", 34892: "lossy JPEG",
    34925: "LZMA", 34933: "PNG", 34934: "JPEG XR", 50000: "Zstandard", 50001: "WebP", 50002: "JPEG XL", 52546: "JPEG XL",
}  # fmt: skip
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR, CIELAB, ICCLAB = 0, 1, 2, 3, 5, 6, 8, 9
COLOURS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, CMYK: 4, YCBCR: 3, CIELAB: 3, ICCLAB: 3}  # samples of a pixel, without others
PHOTOMETRICS = {
    3: "a palette", 4: "a mask", 10: "ITU L*a*b*", 32803: "raw values of a camera's sensor", 32844: "CIE Log L", 32845: "CIE Log Luv",
    34892: "raw values of a camera's sensor", 51177: "depths",
}  # fmt: skip
UNSIGNED, SIGNED, FLOAT, UNDEFINED = 1, 2, 3, 4
FORMATS = {UNSIGNED: "u", SIGNED: "i", FLOAT: "f", UNDEFINED: "u"}
MOST_SAMPLES = 1 << 12


@dataclasses.dataclass(frozen=True)
class Layout:
    """How the samples lie.

    Attributes
    ----------
    directory : imgret.samples.directories.Directory
    width, height, bits, samples, form, compression, photometric : int
        `bits` is 0 where samples differ in theirs.
    separate : bool
        Whether each sample of all pixels has its own blocks.
    extra : int or None
        What the first sample beyond those of the colour is: 1 for premultiplied opacity, 2 for opacity.
    block : tuple of int
        Width and height of a strip or tile.
    subsampling : tuple of int
        How many pixels, across and down, share the colour of a YCbCr pixel.
    """

    directory: object
    width: int
    height: int
    bits: int
    samples: int
    form: int
    compression: int
    photometric: int
    separate: bool
    extra: int | None
    block: tuple
    tiled: bool
    subsampling: tuple

    @classmethod
    def of(cls, directory):
        """The layout of a picture; None where it has no size or nothing to read."""
        get, values = directory.get, directory.values
        width, height = int(get(WIDTH, 0)), int(get(LENGTH, 0))
        tiled = len(values(TILES)) > 0
        block = (int(get(TILE_WIDTH, 0)), int(get(TILE_LENGTH, 0))) if tiled else (width, min(int(get(ROWS, height)), height))
        if min(width, height, *block) <= 0 or not (tiled or len(values(STRIPS))):
            return None
        compression, bits, forms = int(get(COMPRESSION, UNCOMPRESSED)), set(directory.some(BITS)) or {1}, set(directory.some(FORMAT))
        photometric = int(get(PHOTOMETRIC, WHITE_IS_ZERO))
        samples = int(get(SAMPLES, len(values(BITS)) or 1))
        colours, extra = COLOURS.get(photometric, 1), get(EXTRA)
        if extra is None and photometric == RGB and samples == 4:
            extra = 2  # as Pillow takes it
        return cls(
            directory=directory,
            width=width,
            height=height,
            bits=int(bits.pop()) if len(bits) == 1 else 0,
            samples=samples,
            form=int(forms.pop()) if len(forms) == 1 else 0 if forms else UNSIGNED,
            compression=compression,
            photometric=photometric,
            separate=get(PLANAR, 1) == 2 and samples > 1,
            extra=int(extra) if extra in (1, 2) and samples > colours else None,
            block=block,
            tiled=tiled,
            subsampling=_subsampling(directory, block, photometric, compression),
        )

    @property
    def kept(self):
        """Which samples make the picture: those of the colour, and of opacity."""
        colours = COLOURS[self.photometric]
        return [*range(colours), *([colours] if self.extra else [])]

    @property
    def dtype(self):
        """The type that holds a sample, in this machine's order."""
        letter = FORMATS[self.form]
        return np.dtype(f"{letter}{self.bits // 8}" if self.bits % 8 == 0 else "u1" if self.bits < 8 else "u2")

    @property
    def declared(self):
        """The largest sample, as the file declares it; None where it does not."""
        found = self.directory.some(ANY_MAX_SAMPLE) + self.directory.some(MAX_SAMPLE)
        return float(max(found)) if found and np.isfinite(max(found)) else None

    @property
    def block_bytes(self):
        """What a block takes, uncompressed."""
        width, height = self.block
        per_pixel = self.bits * (1 if self.separate else self.samples)
        return height * (-(-width * per_pixel // 8))

    def plain(self):
        """Whether these are samples of at most 8 bits, as Pillow knows them all."""
        usual = self.bits in (1, 2, 4, 8) and self.form in (UNSIGNED, UNDEFINED) and self.photometric not in (CIELAB, ICCLAB)
        return usual and not (self.photometric == YCBCR and self.compression == UNCOMPRESSED)

    def problem(self):
        """Why the samples cannot be read here, as the rest of "its pixels are ..."; None where they can."""
        if self.photometric not in COLOURS:
            return PHOTOMETRICS.get(self.photometric, f"of photometric interpretation {self.photometric}")
        if self.compression != UNCOMPRESSED and self.compression not in BYTEWISE:
            return f"compressed by {COMPRESSIONS.get(self.compression, f'method {self.compression}')}"
        if not COLOURS[self.photometric] <= self.samples <= MOST_SAMPLES:
            return f"of {self.samples} samples each"
        if self.bits == 0:
            return "of samples that differ in bits"
        if self.form not in FORMATS:
            return "complex numbers" if self.form in (5, 6) else "of samples that differ in type"
        deep = (16, 32, 64) if self.form == FLOAT else (8, 16, 32, 64) if self.form == SIGNED else (*range(1, 17), 32, 64)
        if self.bits not in deep:
            return f"{self.bits}-bit {'floats' if self.form == FLOAT else 'integers'}"
        narrow = self.photometric in (YCBCR, CIELAB, ICCLAB) and (self.bits not in (8, 16) or self.form == FLOAT)
        if narrow or (self.photometric == YCBCR and self.bits != 8):
            return f"{self.bits}-bit {'YCbCr' if self.photometric == YCBCR else 'L*a*b*'}"
        if self.subsampling != (1, 1) and (self.separate or self.samples != 3 or not {*self.subsampling} <= {1, 2, 4}):
            return "subsampled in an unusual way"
        return None


def _subsampling(directory, block, photometric, compression):
    """How many pixels share a colour; what undoes a compression sees to that itself."""
    if photometric != YCBCR or compression != UNCOMPRESSED:
        return 1, 1
    told = directory.some(SUBSAMPLING)
    across, down = map(int, told[:2] if len(told) > 1 else (2, 2))
    # programs that share nothing may not say so, and the other is what holds by default; the size of a block tells
    length = directory.get(TILE_COUNTS, directory.get(STRIP_COUNTS))
    return (1, 1) if length == 3 * block[0] * block[1] else (across, down)
