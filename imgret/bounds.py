"""What a photo would take to be decoded, told from its header: nothing is set aside on a stranger's word.

`MAX_MEMORY` bounds what `imgret.images.decode` holds at once beside the file's own bytes. What that is follows from how Pillow and the
libraries below it work, so each number here says what it stands for; a test measures them.
"""

import struct

MAX_MEMORY = 1 << 31  # enough for any JPEG of 16384 x 16384 pixels in one scan, in colour
# a flat picture may take hardly any bytes: up to 4096 x 4096 pixels are decoded whatever the file holds, beyond that a byte must not stand
# for more than these, which are several times what encoders reach
ANY_PIXELS = 1 << 24
PIXELS_PER_BYTE = {
    "JPEG": 1 << 14,  # Huffman codes: two bits for each 8 x 8 pixels at least; arithmetic ones take less
    "MPO": 1 << 14,
    "PNG": 8 * 1032,  # deflate makes no more than 1032 bytes of one, and a byte holds 8 pixels
    "BMP": 1 << 14,
    "TIFF": 1 << 18,  # a blank row of a fax takes one bit
    "WEBP": 1 << 16,  # lossless ones hold rows as references to those above
    "GIF": 1 << 12,  # a code of 12 bits stands for as many pixels as there are codes before it
    "HEIC": 1 << 14,
    "AVIF": 1 << 18,  # a flat one of 16000 x 16000 takes 113,576 to the byte
}
# bytes a pixel of a WebP: two canvases that are kept, what is given out of them, and Pillow's copy of it
WEBP = 16
# of a HEIC or AVIF, for each byte of a sample: what its decoder keeps, that converted, and given out; then Pillow's copy
BOXED = 12
STORED = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}  # bytes a pixel in Pillow; 4 in any other mode
ROWS_PER_STRIP, TILE_WIDTH, TILE_LENGTH, BITS, COMPRESSION, SAMPLES = 278, 322, 323, 258, 259, 277  # TIFF tags
UNCOMPRESSED, JPEG_IN_TIFF = 1, (6, 7)
START_OF_SCAN, STANDALONE = 0xDA, (0x01, *range(0xD0, 0xD9))
FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)


def webp_size(data):
    """Width and height that a WebP claims; None of anything else. To open one sets its canvases aside, so this comes before."""
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP" or len(data) < 30:
        return None
    if data[12:16] == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if data[12:16] == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF


def plausible(form, size, count):
    """Whether a file of `count` bytes may hold a picture of this size.

    Parameters
    ----------
    form : str
        As Pillow calls the format.
    size : tuple of int
        Width and height.
    count : int
    """
    pixels = size[0] * size[1]
    return pixels <= ANY_PIXELS or pixels <= count * PIXELS_PER_BYTE[form]


def memory(image, data, grey):
    """Bytes that `imgret.images.decode` holds at most, at once, over an image that Pillow has opened and not yet decoded.

    Parameters
    ----------
    image : PIL.ImageFile.ImageFile
        A draft counts by its own size.
    data : bytes
        The file.
    grey : bool
        Whether it becomes greyscale, or RGB.
    """
    pixels, stored, out, decoder = image.size[0] * image.size[1], STORED.get(image.mode, 4), 1 if grey else 3, 0
    if image.format == "WEBP":
        decoder = (WEBP - stored) * pixels
    elif image.format == "TIFF":  # Pillow turns it with a second copy
        decoder = max(stored * pixels, _tiff_block(image))
    elif image.format == "PNG":
        decoder = stored * pixels if image.tile and ";16" in str(image.tile[0].args) and stored == 4 else 0  # read twice where it is dark
    elif image.format == "BMP":
        decoder = 4 * pixels  # run lengths are undone in Python
    elif image.format in ("JPEG", "MPO"):
        stored = 1 if grey and image.mode in ("RGB", "YCbCr") else stored  # to be drafted
        decoder = _coefficients(data)
    # Pillow's image with what its decoder keeps, or with the array that is filled from it; then that array, turned
    return max(stored * pixels + max(decoder, out * pixels), 2 * out * pixels)


def samples(size, per_pixel, block, grey):
    """Bytes that `imgret.images.decode` holds at most, at once, over a TIFF whose samples are read by `imgret.samples.tiff`.

    Parameters
    ----------
    size : tuple of int
        Width and height.
    per_pixel : int
        Bytes of the samples of a pixel that are kept.
    block : int
        Bytes of a strip or tile, uncompressed.
    grey : bool
    """
    pixels, out = size[0] * size[1], 1 if grey else 3
    # the samples, with a block as Pillow has it, as an array, put in order; or with what becomes of them, which is then turned
    return max(per_pixel * pixels + max(5 * block, out * pixels), 2 * out * pixels)


def _tiff_block(image):
    """Bytes that libtiff takes to undo the compression of a strip or a tile."""

    def tag(number, otherwise):
        value = image.tag_v2.get(number, otherwise)
        value = max(value, default=0) if isinstance(value, tuple) else value
        return value if isinstance(value, int) else otherwise

    if tag(COMPRESSION, UNCOMPRESSED) == UNCOMPRESSED:
        return 0
    strip = min(max(image.size) * tag(ROWS_PER_STRIP, 1 << 32), image.size[0] * image.size[1])  # as wide as high: it may be turned
    pixels = max(strip, tag(TILE_WIDTH, 0) * tag(TILE_LENGTH, 0))
    samples = tag(SAMPLES, 1)
    per_pixel = max(-(-samples * tag(BITS, 1) // 8), 4) + (2 * samples if tag(COMPRESSION, 1) in JPEG_IN_TIFF else 0)
    return pixels * per_pixel


def _coefficients(data):
    """Bytes that libjpeg keeps of a JPEG: 2 a coefficient of all of it where it comes in several scans, however far it is reduced."""
    pixels, per_pixel, components, progressive = 0, 0, 0, False
    for marker, position in segments(data, 19):
        if marker in FRAMES:
            height, width, components = struct.unpack_from(">HHB", data, position + 5)
            sampling = [(each >> 4, each & 15) for each in data[position + 11 : position + 10 + 3 * components : 3]]
            largest = max((h for h, _ in sampling), default=1) * max((v for _, v in sampling), default=1)
            pixels, per_pixel = width * height, 2 * sum(h * v for h, v in sampling) / max(1, largest)
            progressive = marker in PROGRESSIVE
        if marker == START_OF_SCAN:
            return int(pixels * per_pixel) if progressive or data[position + 4] < components else 0
    return int(pixels * per_pixel)


def segments(data, least):
    """Yield (marker, where it begins) of the segments of a JPEG, as long as so many bytes are left: what is none between them is passed."""
    position = 2
    while 0 <= position <= len(data) - least:
        marker = data[position + 1]
        if data[position] != 0xFF or marker == 0xFF:
            position = data.find(b"\xff", position + 1)
            continue
        yield marker, position
        position += 2 if marker in STANDALONE else 2 + int.from_bytes(data[position + 2 : position + 4], "big")
