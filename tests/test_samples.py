"""Every sample type, order of bytes and layout that a photo may have: the same picture, or why not."""

import os
import struct
import subprocess
import sys

import numpy as np
import pytest
from helpers import ROOT, encoded, texture
from PIL import Image
from rasters import chunk, pages, picture, png, tiff

from imgret.images import BadPhoto, decode
from imgret.samples import lab

GREY = texture(1)
COLOUR = texture(2, channels=3)
LUMA = np.asarray(Image.fromarray(COLOUR).convert("L"))
CMYK = np.asarray(Image.fromarray(COLOUR).convert("CMYK"))
YCBCR = np.asarray(Image.fromarray(COLOUR).convert("YCbCr"))


def alike(data, expected=None, least=0.999):
    """Assert that the bytes show a picture: pixels that go together, and no two of them further apart than its contrast allows."""
    for grey in (True, False):
        wanted = GREY if expected is None else expected
        if grey and wanted.ndim == 3:
            wanted = np.asarray(Image.fromarray(wanted).convert("L"))
        seen = decode(data, grey=grey).pixels
        if not grey and wanted.ndim == 2:
            seen = seen[..., 0]
        assert seen.shape == wanted.shape
        assert np.corrcoef(seen.ravel(), wanted.ravel())[0, 1] > least
        assert np.ptp(seen.astype(int)) > 0.2 * np.ptp(wanted.astype(int))
    return seen


def described(pixels):
    import cv2

    return cv2.SIFT_create(300).detectAndCompute(pixels, None)[1]


def in_common(data, expected=GREY):
    """The share of the plain photo's descriptors that have one close to them."""
    wanted, seen = described(expected), described(decode(data).pixels)
    squares = (wanted**2).sum(1)[:, None] + (seen**2).sum(1) - 2 * wanted @ seen.T
    return (squares.min(axis=1) < 100**2).mean()


WIDE = GREY.astype(np.uint32)
TYPES = {
    "8": GREY,
    "16": (WIDE * 257).astype(np.uint16),
    "8 in 16": GREY.astype(np.uint16),
    "10 in 16": (WIDE * 4).astype(np.uint16),
    "12 in 16": (WIDE * 16 + 7).astype(np.uint16),
    "14 in 16": (WIDE * 64).astype(np.uint16),
    "32": WIDE * 16843009,
    "12 in 32": WIDE * 16,
    "16 in 32": WIDE * 257,
    "signed 8": (GREY.astype(np.int16) - 128).astype(np.int8),
    "signed 16": (WIDE * 128).astype(np.int16),
    "12 in signed 16": (WIDE * 16).astype(np.int16),
    "signed 16 about zero": (GREY.astype(np.int32) * 257 - 32768).astype(np.int16),
    "signed 32": (WIDE * 8421504).astype(np.int32),
    "floats to 1": (GREY / 255).astype(np.float32),
    "floats to 255": GREY.astype(np.float32),
    "floats to 65535": (GREY * 257.0).astype(np.float32),
    "floats about zero": (GREY / 127.5 - 1).astype(np.float32),
    "radiance": (GREY / 40).astype(np.float32),
    "dim floats": (GREY / 4096).astype(np.float32),
    "half floats": (GREY / 255).astype(np.float16),
    "double floats": GREY / 255,
}
LAYOUTS = {
    "strips": {"rows": 7},
    "one strip": {},
    "tiles": {"tile": 48},
    "big": {"big": True, "rows": 16},
    "deflate": {"compression": "deflate", "rows": 50},
    "lzw, predicted": {"compression": "lzw", "predictor": 2, "rows": 9},
    "deflated tiles, predicted": {"compression": "deflate", "predictor": 2, "tile": 64},
    "zstd": {"compression": "zstd", "rows": 33},
    "packbits": {"compression": "packbits", "rows": 1},
    "reversed bits": {"fill_order": 2, "rows": 40, "compression": "deflate"},
}


@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", TYPES)
def test_a_grey_tiff_of_any_type(kind, order, photometric):
    """Whatever the samples are measured in, it is the same photo; where white is zero, not its negative."""
    samples = TYPES[kind]
    if photometric == 0:
        samples = (
            samples.max() + samples.min() - samples
            if samples.dtype.kind == "f"
            else (samples.max() - samples + samples.min()).astype(samples.dtype)
        )
    data = tiff(samples, photometric, order=order, rows=31)
    alike(data)
    assert in_common(data) > 0.8


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", ["8", "12 in 16", "signed 32", "floats to 1", "double floats"])
def test_a_grey_tiff_of_any_layout(kind, order, layout):
    alike(tiff(TYPES[kind], order=order, **LAYOUTS[layout]))


@pytest.mark.parametrize("planar", [1, 2])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", ["8", "16", "12 in 16", "floats"])
def test_a_colour_tiff_of_any_layout(kind, layout, planar):
    deep = {
        "8": COLOUR,
        "16": COLOUR.astype(np.uint16) * 257,
        "12 in 16": COLOUR.astype(np.uint16) * 16,
        "floats": COLOUR / np.float32(255),
    }
    for order in "<>":
        seen = alike(tiff(deep[kind], 2, order=order, planar=planar, **LAYOUTS[layout]), COLOUR)
        assert np.abs(seen.astype(int) - COLOUR).max() <= 1


@pytest.mark.parametrize("layout", [{"tile": 32}, {"compression": "deflate", "rows": 20}, {"rows": 11}])
@pytest.mark.parametrize("size", [4, 8])
def test_predicted_floats(size, layout):
    if "compression" in layout or "tile" in layout:
        layout = layout | {"compression": "deflate"}
    for samples, photometric, expected in ((GREY / 255, 1, GREY), (COLOUR / 255, 2, COLOUR)):
        predictor = 3 if "compression" in layout else 1
        alike(tiff(samples.astype(f"f{size}"), photometric, predictor=predictor, **layout), expected)


@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15])
def test_packed_samples(bits, photometric):
    """As many bits as a picture holds, one behind the other; those of a row fill whole bytes."""
    for photo, colours in ((GREY, 1), (COLOUR, 2)):
        samples = (photo.astype(np.uint32) * 257 >> 16 - bits).astype(np.uint16)
        expected = (samples * (255.0 / (2**bits - 1))).astype(np.uint8)
        stored = 2**bits - 1 - samples if (photometric, colours) == (0, 1) else samples
        for order in "<>":
            alike(tiff(stored, photometric if colours == 1 else colours, bits=bits, order=order, rows=13), expected)


def test_declared_ranges():
    """What the file says of its range, where that can be true."""
    deep = GREY.astype(np.uint16) * 39  # of 10000
    for tags in ({281: (3, [9999])}, {341: (3, [9999])}):
        assert np.abs(decode(tiff(deep, tags=tags)).pixels.astype(int) - GREY).max() <= 2
    false = tiff(TYPES["16"], tags={281: (3, [10])})
    assert np.abs(decode(false).pixels.astype(int) - GREY).max() <= 1


def test_a_picture_of_one_value_has_no_range():
    for samples in (np.full((9, 9), 200, np.uint16), np.full((9, 9), 200, np.int32)):
        assert decode(tiff(samples)).pixels.max() == 0
    holes = GREY / np.float32(255)
    holes[:5] = [[np.nan], [np.inf], [-np.inf], [0], [1]]
    assert decode(tiff(holes)).pixels[:5, 0].tolist() == [0, 255, 0, 0, 255]


@pytest.mark.parametrize("bits", [8, 16])
def test_lab(bits):
    """CIE and ICC encodings of L*a*b*, both depths: the colours come back."""
    profiled = np.asarray(Image.fromarray(COLOUR).convert("RGB"))
    values = lab_of(profiled)
    unit = 1 if bits == 8 else 256
    cie = np.dstack([values[..., 0] * (2**bits - 1) / 100, *(np.round(values[..., at] * unit) % 2**bits for at in (1, 2))])
    icc = np.dstack([values[..., 0] * (255 if bits == 8 else 65280) / 100, *((values[..., at] + 128) * unit for at in (1, 2))])
    for samples, photometric in ((cie, 8), (icc, 9)):
        samples = np.clip(np.round(samples), 0, 2**bits - 1).astype(f"u{bits // 8}")
        for layout in ({}, {"planar": 2, "rows": 50}, {"compression": "lzw", "rows": 50}):
            seen = alike(tiff(samples, photometric, **layout), COLOUR, 0.99)
            assert np.abs(seen.astype(int) - COLOUR).mean() < 3


def lab_of(rgb):
    """CIE L*a*b* under D50, by OpenCV's D65 white and the chromatic adaptation of `imgret.samples.lab` undone."""
    linear = np.where(rgb / 255 <= 0.04045, rgb / 255 / 12.92, ((rgb / 255 + 0.055) / 1.055) ** 2.4)
    xyz = linear @ np.linalg.inv(lab.TO_RGB).T / lab.WHITE
    roots = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / 3 / (6 / 29) ** 2 + 4 / 29)
    return np.dstack([116 * roots[..., 1] - 16, 500 * (roots[..., 0] - roots[..., 1]), 200 * (roots[..., 1] - roots[..., 2])])


def test_lab_agrees_with_littlecms():
    from PIL import ImageCms

    image = Image.fromarray(COLOUR)
    made = ImageCms.profileToProfile(image, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB")
    seen = alike(encoded(made, "TIFF"), COLOUR, 0.99)
    assert np.abs(seen.astype(int) - COLOUR).mean() < 3


@pytest.mark.parametrize("planar", [1, 2])
@pytest.mark.parametrize("bits", [8, 16])
def test_cmyk_tiffs(bits, planar):
    samples = CMYK if bits == 8 else CMYK.astype(np.uint16) * 257
    for layout in ({"rows": 40}, {"tile": 48, "compression": "deflate"}):
        alike(tiff(samples, 5, planar=planar, **layout), COLOUR)


@pytest.mark.parametrize("shared", [(1, 1), (2, 1), (2, 2), (4, 2), (4, 4), None])
def test_ycbcr_that_shares_its_colours(shared):
    across, down = shared or (2, 2)
    padded = np.pad(YCBCR, [(0, -120 % down), (0, -160 % across), (0, 0)], mode="edge")
    units = padded[..., 0].reshape(len(padded) // down, down, -1, across).swapaxes(1, 2).reshape(len(padded) // down, -1, down * across)
    packed = np.dstack([units, padded[::down, ::across, 1:]])
    tags, blocks, names = picture(packed.reshape(len(packed), -1), 6, rows=20 // down)
    tags |= {256: (4, [160]), 257: (4, [120]), 258: (3, [8] * 3), 277: (3, [3]), 339: (3, [1] * 3), 278: (4, [20 // down * down])}
    tags |= {} if shared is None else {530: (3, shared)}
    assert len(blocks) == -(-len(packed) // (20 // down))
    alike(pages([(tags, blocks, names)]), COLOUR, 0.9)


def test_ycbcr_that_shares_nothing_and_does_not_say_so():
    for tags in ({}, {530: (3, [2, 2])}, {530: (3, [1, 1])}):
        alike(tiff(YCBCR, 6, rows=30, tags=tags), COLOUR)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("extra", [0, 1, 2])
def test_opacity_of_a_tiff(extra, bits):
    alpha = np.tile(np.linspace(0, 255, 160).astype(np.uint8), (120, 1))
    share = alpha[..., None] / 255.0
    over = COLOUR if extra == 0 else COLOUR * share + 255 * (1 - share)
    stored = COLOUR * share if extra == 1 else COLOUR
    samples = np.dstack([stored, alpha]).round().astype(np.uint8)
    for deep in (samples,) if bits == 8 else (samples.astype(np.uint16) * 257, samples.astype(np.uint16) * 16):
        for planar in (1, 2):
            data = tiff(deep, 2, planar=planar, rows=50, tags={338: (3, [extra])})
            assert np.abs(decode(data, grey=False).pixels - over).mean() < 3, (planar, deep.max())


@pytest.mark.parametrize("planar", [1, 2])
def test_samples_beyond_the_colour_are_passed_over(planar):
    bands = np.dstack([COLOUR, *[GREY] * 9]).astype(np.uint16)
    alike(tiff(bands, 2, planar=planar, rows=30, tags={338: (3, [0] * 9)}), COLOUR)
    alike(tiff(bands[..., 3:], 1, planar=planar, rows=30, tags={338: (3, [0] * 8)}))


SMALL = np.ascontiguousarray(GREY[::4, ::4])


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("flag", [{254: (4, [1])}, {255: (3, [2])}])
def test_the_full_page_is_taken(flag, order, big):
    """A first page that says it is a reduced copy gives way to the photo, behind it or below it."""
    for whole in (GREY, TYPES["12 in 16"], TYPES["floats to 1"]):
        made = [picture(SMALL, order=order, tags=flag), picture(whole, order=order, rows=50)]
        for data in (pages(made, order, big), pages(made, order, big, below=[1])):
            photo = decode(data)
            assert photo.size == (160, 120)
            alike(data)


def test_pages_that_say_nothing():
    first, second = picture(GREY), picture(texture(9, 300, 200))
    alike(pages([first, second]))
    mask = picture(SMALL, 4, tags={254: (4, [5])})
    alike(pages([mask, picture(SMALL, tags={254: (4, [1])}), first]))
    reduced = [picture(SMALL, tags={254: (4, [1])}), picture(GREY, tags={254: (4, [1])})]
    alike(pages(reduced))  # of reduced ones the largest


def test_orientation_of_samples_and_pages():
    turned = np.ascontiguousarray(GREY.T)
    for kind in (np.uint8, np.uint16, np.float32):
        samples = turned.astype(kind)
        data = tiff(samples, tags={274: (3, [5])})
        alike(data)
        assert decode(data).size == (160, 120)
        alike(pages([picture(SMALL, tags={254: (4, [1]), 274: (3, [3])}), picture(samples, tags={274: (3, [5])})]))


@pytest.mark.parametrize("kind", [0, 2, 4, 6])
@pytest.mark.parametrize("depth", [8, 10, 12, 14, 16])
def test_deep_pngs(kind, depth):
    channels = COLOUR if kind in (2, 6) else GREY[..., None]
    deep = channels.astype(np.uint16) * (257 if depth == 16 else 2 ** (depth - 8))
    for opaque in (65535, 2**depth - 1):
        samples = np.dstack([deep, np.full(GREY.shape, opaque, np.uint16)]) if kind in (4, 6) else deep
        alike(png(samples, kind), COLOUR if kind in (2, 6) else GREY)
    if kind in (4, 6):
        samples[:, :80, -1] = 0
        assert (decode(png(samples, kind)).pixels[:, :79] == 255).all()


def test_transparent_colours_of_any_depth():
    """A colour that stands for transparent, in the units of the file."""
    for bits in (1, 2, 4, 8, 16):
        samples = (WIDE * 257 >> 16 - bits).astype(np.uint16 if bits == 16 else np.uint8)[..., None]
        value = int(samples[60, 80, 0])
        data = png(samples, 0, bits, before=[_transparent(value)])
        seen = decode(data).pixels
        assert (seen[samples[..., 0] == value] == 255).all()
        if bits > 1:
            others = samples[..., 0] != value
            assert np.corrcoef(seen[others], GREY[others])[0, 1] > 0.9
    for bits in (8, 16):
        samples = COLOUR if bits == 8 else COLOUR.astype(np.uint16) * 256 + 3
        value = samples[60, 80].tolist()
        seen = decode(png(samples, 2, bits, before=[_transparent(*value)]), grey=False).pixels
        same = (samples == value).all(axis=-1)
        assert (seen[same] == 255).all()
        assert np.array_equal(seen[~same], COLOUR[~same])


def _transparent(*values):
    return chunk(b"tRNS", np.array(values, ">u2").tobytes())


def bmp(samples, bits, *, top_down=False, masks=(), palette=None):
    """A BMP of samples that are packed already: shape (H, bytes a row)."""
    height = len(samples)
    rows = np.pad(samples, [(0, 0), (0, -samples.shape[1] % 4)])
    head = struct.pack(
        "<IiiHHIIiiII", 40 if not masks else 108, 160, -height if top_down else height, 1, bits, 3 if masks else 0, 0, 0, 0, 0, 0
    )
    if masks:
        head += struct.pack("<4I", *masks) + bytes(108 - 40 - 16)
    table = b"" if palette is None else np.column_stack([palette[:, ::-1], np.zeros(len(palette), np.uint8)]).tobytes()
    pixels = (rows if top_down else rows[::-1]).tobytes()
    start = 14 + len(head) + len(table)
    return struct.pack("<2sIHHI", b"BM", start + len(pixels), 0, 0, start) + head + table + pixels


@pytest.mark.parametrize("top_down", [False, True])
def test_bmps_of_any_depth(top_down):
    def packed(values, dtype):
        return values.astype(dtype).view(np.uint8).reshape(120, -1)

    r, g, b = (COLOUR[..., at].astype(np.uint32) for at in range(3))
    alike(bmp(COLOUR[..., ::-1].reshape(120, -1), 24, top_down=top_down), COLOUR)
    alike(bmp(packed(r >> 3 << 10 | g >> 3 << 5 | b >> 3, "<u2"), 16, top_down=top_down), COLOUR, 0.99)
    alike(bmp(packed(r >> 3 << 11 | g >> 2 << 5 | b >> 3, "<u2"), 16, top_down=top_down, masks=(0xF800, 0x7E0, 0x1F, 0)), COLOUR, 0.99)
    for alpha in (0, 255):  # none of it is meant where there is none at all
        masks = (0xFF, 0xFF00, 0xFF0000, 0xFF000000)
        alike(bmp(packed(r | g << 8 | b << 16 | np.uint32(alpha << 24), "<u4"), 32, top_down=top_down, masks=masks), COLOUR)
    image = Image.fromarray(COLOUR).quantize(16)
    indices, palette = np.asarray(image), np.array(image.getpalette(), np.uint8).reshape(-1, 3)[:16]
    expected = np.asarray(image.convert("RGB"))
    alike(bmp(indices, 8, top_down=top_down, palette=np.pad(palette, [(0, 240), (0, 0)])), expected)
    alike(bmp(indices[:, ::2] << 4 | indices[:, 1::2], 4, top_down=top_down, palette=palette), expected)
    with pytest.raises(BadPhoto) as caught:
        decode(bmp(packed(r >> 4 << 8 | g >> 4 << 4 | b >> 4, "<u2"), 16, masks=(0xF00, 0xF0, 0xF, 0)))
    reason = "it is a BMP with an unusual layout of its bits, which imgret does not read: save it as an ordinary one"
    assert (caught.value.code, caught.value.reason) == ("unsupported", reason)


def test_ycck():
    """Four inks as luma, chroma and black, which Adobe's programs write inverted: those of the inks themselves are what is left."""
    luma = np.asarray(Image.fromarray(255 - COLOUR).convert("YCbCr"))
    stored = np.dstack([luma, np.full(GREY.shape, 255, np.uint8)])
    data = bytearray(encoded(Image.frombuffer("CMYK", (160, 120), (255 - stored).tobytes(), "raw", "CMYK", 0, 1), "JPEG", quality=98))
    at = data.index(b"Adobe")
    data[at + 11] = 2
    alike(bytes(data), COLOUR, 0.98)


UNSUPPORTED = {
    "raw": (tiff(TYPES["16"], 32803), "its pixels are raw values of a camera's sensor, which imgret does not read"),
    "mask": (tiff(GREY, 10), "its pixels are ITU L*a*b*, which imgret does not read"),
    "complex": (tiff(WIDE * 9, tags={339: (3, [6])}), "its pixels are complex numbers, which imgret does not read"),
    "mixed": (
        tiff(TYPES["16"], tags={258: (3, [8, 16]), 277: (3, [2])}),
        "its pixels are of samples that differ in bits, which imgret does not read",
    ),
    "jpeg xl": (tiff(GREY, tags={259: (3, [50002])}), "its pixels are compressed by JPEG XL, which imgret does not read"),
    "24 bits": (tiff(GREY, tags={258: (3, [24])}), "its pixels are 24-bit integers, which imgret does not read"),
    "deep ycbcr": (tiff(YCBCR.astype(np.uint16), 6), "its pixels are 16-bit YCbCr, which imgret does not read"),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_is_not_read_is_said(name):
    data, reason = UNSUPPORTED[name]
    with pytest.raises(BadPhoto) as caught:
        decode(data)
    assert (caught.value.code, caught.value.reason) == ("unsupported", f"{reason}: save it with 8 or 16 bits, in grey or RGB")


MEASURE = """
import os, sys
from imgret import bounds, images
from imgret.samples import opening

def peak():
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))

data = open(sys.argv[1], "rb").read()
for grey in (True, False):
    if os.fork():  # each in a process that has decoded nothing large
        os.wait()
        continue
    images.decode(open(sys.argv[2], "rb").read(), grey=grey, max_size=16)  # after the fork: pages of libraries have to be there again
    open("/proc/self/clear_refs", "w").write("5")
    before = peak()
    images.decode(data, grey=grey, max_size=1000)
    taken = peak() - before
    told = []
    opening.check_claim = lambda form, size, count, memory=0: told.append(memory)
    next(opening.ways(data))(False).fit(1000, grey)
    print(taken, max(told), flush=True)
    os._exit(0)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured through /proc")
@pytest.mark.parametrize(
    ("samples", "options"),
    [
        ("float32", {"rows": 100}),
        ("float32", {"compression": "deflate"}),
        ("uint16", {"compression": "deflate", "rows": 200, "predictor": 2}),
        ("uint16", {"planar": 2, "tile": 512}),
        ("png", {}),
    ],
)
def test_no_more_memory_is_taken_than_the_header_told(tmp_path, samples, options):
    y, x = np.mgrid[:2200, :2200].astype(np.uint16)
    deep = (x + 2 * y)[..., None] >> 2
    deep = np.concatenate([deep, deep[::-1], deep], axis=-1) if samples in ("png", "uint16") else deep.astype(samples)
    for name, part in (("photo", deep), ("small", deep[:64, :64])):
        data = png(part, 2) if samples == "png" else tiff(part, 2 if samples == "uint16" else 1, **options)
        (tmp_path / name).write_bytes(data)
    command = [sys.executable, "-c", MEASURE, tmp_path / "photo", tmp_path / "small"]
    environment = dict(os.environ, PYTHONPATH=ROOT, MALLOC_MMAP_THRESHOLD_=str(1 << 20))
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    measured = done.stdout.splitlines()
    assert len(measured) == 2
    for line in measured:
        taken, told = map(int, line.split())
        assert taken < told + (40 << 20), (line, taken / 2200**2, told / 2200**2)
