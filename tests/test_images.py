"""Photos: every format, orientation and pixel type, and every way a photo can be bad."""

import contextlib
import io
import os
import socket
import subprocess
import sys

import numpy as np
import pytest
from helpers import ROOT, bmp_header, encoded, png_header, texture, tiff_header, webp_flat
from PIL import Image

from imgret import bounds, images, pixels
from imgret.images import BadPhoto, decode, read_file, reduce, upright

GREY = texture(1)
COLOUR = texture(2, channels=3)
LUMA = np.asarray(Image.fromarray(COLOUR).convert("L"))


@pytest.mark.parametrize("form", ["PNG", "TIFF", "BMP"])
def test_lossless_formats_keep_grey_pixels(form):
    photo = decode(encoded(GREY, form))
    assert np.array_equal(photo.pixels, GREY)
    assert photo.size == (160, 120)
    assert photo.pixels.dtype == np.uint8
    assert photo.pixels.flags.c_contiguous


@pytest.mark.parametrize("form", ["PNG", "TIFF", "BMP"])
def test_lossless_formats_keep_colour(form):
    data = encoded(COLOUR, form)
    assert np.array_equal(decode(data, grey=False).pixels, COLOUR)
    assert np.array_equal(decode(data).pixels, LUMA)


@pytest.mark.parametrize(("form", "options"), [("JPEG", {"quality": 95}), ("WEBP", {"quality": 95}), ("WEBP", {"lossless": True})])
def test_lossy_formats_come_close(form, options):
    data = encoded(COLOUR, form, **options)
    assert np.abs(decode(data).pixels.astype(int) - LUMA).mean() < 3
    assert np.abs(decode(data, grey=False).pixels.astype(int) - COLOUR).mean() < 5
    assert decode(data).pixels.shape == LUMA.shape


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(form, orientation):
    """The stored picture is turned so that its EXIF orientation makes it upright again."""
    inverse = {5: 5, 6: 8, 7: 7, 8: 6}.get(orientation, orientation)
    stored = np.ascontiguousarray(upright(GREY, inverse))
    exif = Image.Exif()
    exif[images.ORIENTATION] = orientation
    options = {"lossless": True} if form == "WEBP" else {"quality": 100} if form == "JPEG" else {}
    photo = decode(encoded(stored, form, exif=exif, **options))
    assert photo.size == (160, 120)
    assert np.abs(photo.pixels.astype(int) - GREY).max() <= (6 if form == "JPEG" else 0 if form != "WEBP" else 2)


@pytest.mark.parametrize("options", [{"compression": "tiff_lzw"}, {"save_all": True, "append_images": [Image.fromarray(GREY)] * 2}])
def test_orientation_of_a_tiff_is_applied_once(options):
    exif = Image.Exif()
    exif[images.ORIENTATION] = 6
    photo = decode(encoded(np.ascontiguousarray(upright(GREY, 8)), "TIFF", exif=exif, **options))
    assert photo.size == (160, 120)
    assert np.array_equal(photo.pixels, GREY)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_agrees_with_pillow(orientation):
    exif = Image.Exif()
    exif[images.ORIENTATION] = orientation
    image = Image.open(io.BytesIO(encoded(COLOUR, "PNG", exif=exif)))
    from PIL import ImageOps

    assert np.array_equal(upright(COLOUR, orientation), np.asarray(ImageOps.exif_transpose(image)))


@pytest.mark.parametrize("orientation", [0, 9, 255, "6", None, 6.5])
def test_orientations_that_do_not_exist_are_passed_over(orientation):
    assert np.array_equal(upright(GREY, orientation), GREY)


def test_broken_exif_does_not_make_a_photo_bad():
    data = encoded(GREY, "JPEG", exif=b"Exif\0\0" + b"\xff" * 40)
    assert decode(data).pixels.shape == GREY.shape


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bit_grey_keeps_the_high_byte(form):
    deep = GREY.astype(np.uint16) * 257
    assert np.array_equal(decode(encoded(deep, form)).pixels, GREY)
    assert np.array_equal(decode(encoded(deep, form), grey=False).pixels, np.repeat(GREY[:, :, None], 3, axis=2))


def test_dark_sixteen_bit_grey_is_scaled_as_any_other():
    deep = np.full((20, 30), 200, np.uint16)  # 200 of 65535 is black, in whatever type the library opens it
    assert decode(encoded(deep, "PNG")).pixels.max() == 0
    assert decode(encoded(deep, "TIFF")).pixels.max() == 0


def test_big_endian_sixteen_bit_tiff():
    deep = GREY.astype(np.uint16) * 257
    image = Image.frombytes("I;16B", (160, 120), deep.astype(">u2").tobytes())
    assert np.array_equal(decode(encoded(image, "TIFF")).pixels, GREY)


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bit_colour(form):
    import cv2

    deep = COLOUR.astype(np.uint16) * 257
    done, data = cv2.imencode({"PNG": ".png", "TIFF": ".tiff"}[form], deep[:, :, ::-1])
    assert done
    assert np.array_equal(decode(data.tobytes(), grey=False).pixels, COLOUR)
    assert np.array_equal(decode(data.tobytes()).pixels, LUMA)


def test_float_tiff_of_either_range():
    for scale in (1, 255):
        data = encoded(Image.fromarray(GREY.astype(np.float32) / scale), "TIFF")
        assert np.abs(decode(data).pixels.astype(int) - GREY).max() <= 1


def test_transparency_is_laid_over_white():
    alpha = np.zeros(GREY.shape, np.uint8)
    alpha[:, 80:] = 255
    rgba = np.dstack([COLOUR, alpha])
    expected = COLOUR.copy()
    expected[:, :80] = 255
    for form, options in (("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True})):
        assert np.array_equal(decode(encoded(rgba, form, **options), grey=False).pixels, expected)
    grey = decode(encoded(Image.merge("LA", (Image.fromarray(GREY), Image.fromarray(alpha))), "PNG")).pixels
    assert np.array_equal(grey[:, 80:], GREY[:, 80:])
    assert (grey[:, :80] == 255).all()


def test_half_transparent_black_is_grey():
    assert abs(int(decode(encoded(np.dstack([np.zeros((9, 9, 3), np.uint8), np.full((9, 9), 128, np.uint8)]))).pixels[0, 0]) - 127) <= 1


def test_palette_with_and_without_transparency():
    image = Image.fromarray(COLOUR).quantize(64)
    expected = np.asarray(image.convert("RGB"))
    assert np.array_equal(decode(encoded(image), grey=False).pixels, expected)
    index = image.getpixel((3, 3))
    seen = decode(encoded(image, transparency=index), grey=False).pixels
    assert (seen[3, 3] == 255).all()


def test_bilevel():
    image = Image.fromarray(GREY).point(lambda v: 255 * (v > 110), "1")
    for form in ("PNG", "TIFF", "BMP"):
        assert np.array_equal(decode(encoded(image, form)).pixels, np.asarray(image.convert("L")))


def test_cmyk_jpeg():
    image = Image.fromarray(COLOUR).convert("CMYK")
    data = encoded(image, "JPEG", quality=98)
    assert np.abs(decode(data, grey=False).pixels.astype(int) - COLOUR).mean() < 5
    assert np.abs(decode(data).pixels.astype(int) - LUMA).mean() < 4


@pytest.mark.parametrize(("form", "options"), [("WEBP", {"lossless": True}), ("TIFF", {}), ("PNG", {})])
def test_of_several_pages_the_first_is_taken(form, options):
    pages = [Image.fromarray(texture(seed, channels=3)) for seed in (2, 5, 6)]
    data = encoded(pages[0], form, save_all=True, append_images=pages[1:], **options)
    assert np.array_equal(decode(data, grey=False).pixels, COLOUR)


def test_mpo_is_its_first_photo():
    pages = [Image.fromarray(texture(seed, channels=3)) for seed in (2, 5)]
    data = encoded(pages[0], "MPO", save_all=True, append_images=pages[1:], quality=95)
    assert np.abs(decode(data).pixels.astype(int) - LUMA).mean() < 3


def test_reduce_averages_areas_and_never_enlarges():
    assert reduce(GREY, 0) is GREY
    assert reduce(GREY, 160) is GREY
    assert reduce(GREY, 5000) is GREY
    assert np.abs(reduce(GREY, 80) - GREY.reshape(60, 2, 80, 2).mean(axis=(1, 3))).max() <= 0.5
    assert reduce(np.zeros((1, 4000), np.uint8), 10).shape == (1, 10)
    photo = decode(encoded(GREY), max_size=40)
    assert photo.pixels.shape == (30, 40)
    assert photo.size == (160, 120)


def bad(data):
    with pytest.raises(BadPhoto) as caught:
        decode(data)
    return caught.value.code, caught.value.reason


@pytest.mark.parametrize("data", [b"hello", b"\xff\xd8\xff", b"%PDF-1.7", b"\0" * 1000, b"II*\0" + b"\xff" * 60])
def test_not_an_image(data):
    assert bad(data) == ("not-an-image", "it is not a JPEG, PNG, WebP, TIFF or BMP image")


def test_what_begins_as_a_gif_is_a_damaged_one():
    for data in (b"GIF89a", b"GIF87a" + b"\0" * 3):
        assert bad(data) == ("truncated", "its pixels cannot be decoded (it is a GIF that is damaged, or not all there)")


def test_drawings_are_no_photos():
    assert bad(b"<svg xmlns='http://www.w3.org/2000/svg'/>")[0] == "not-an-image"


def test_empty():
    assert bad(b"") == ("not-an-image", "the file is empty")


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP", "BMP"])
def test_truncated(form):
    data = encoded(COLOUR, form)
    code, reason = bad(data[: len(data) // 2])
    assert code in ("truncated", "not-an-image")
    assert "\n" not in reason
    if form != "WEBP":  # its header holds the length of all
        assert reason.startswith("its pixels cannot be decoded (") or form == "TIFF"


def test_no_pixels():
    for data in (png_header(0, 0), png_header(0, 10), bmp_header(0, 0), tiff_header(0, 0)):
        assert bad(data)[0] == "not-an-image"


CLAIM = "its header claims {} × {} pixels, the limit is 268435456 in all: save it with fewer pixels"
TOO_FEW = "its pixels cannot be decoded ({} bytes are too few for the {} × {} that its header claims)"


@pytest.mark.parametrize("header", [png_header, bmp_header, tiff_header])
def test_bombs_are_refused_by_their_header(header):
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for side in (30_000, 60_000):
        assert bad(header(side, side)) == ("too-large", CLAIM.format(side, side))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KB: nothing was allocated on its word


def test_the_limit_is_where_the_message_says():
    assert bad(png_header(16385, 16384)) == ("too-large", CLAIM.format(16385, 16384))
    code, _ = bad(png_header(14_000, 14_000))  # between Pillow's own limit and this one
    assert code == "truncated"


def vp8x(width, height):
    """A WebP whose extended header claims a canvas, without frames."""
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + sides


def vp8(width, height):
    """A lossy WebP that claims a size, damaged behind its header."""
    data = bytearray(encoded(COLOUR, "WEBP"))
    data[26:30] = width.to_bytes(2, "little") + height.to_bytes(2, "little")
    return bytes(data)


@pytest.mark.parametrize("webp", [webp_flat, vp8x, vp8])
def test_a_webp_is_measured_before_its_canvases_are_set_aside(webp):
    """Of these bytes, or hardly more, a sound decoder makes 268 million pixels, and takes 25 bytes for each."""
    import resource

    decode(webp_flat(64, 64))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (int(open("/proc/self/statm").read().split()[0]) * 4096 + (1 << 28), limits[1]))
    try:
        reason = "to decode its 16383 × 16383 pixels takes 4.0 GiB, the limit is 2.0 GiB: save it with fewer pixels"
        assert bad(webp(16383, 16383)) == ("too-large", reason)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


def jpeg_header(width, height):
    """A JPEG of a small picture that claims another size."""
    data = bytearray(encoded(GREY, "JPEG"))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return bytes(data)


@pytest.mark.parametrize("header", [png_header, bmp_header, tiff_header, webp_flat, jpeg_header])
def test_more_pixels_than_the_bytes_may_hold(header):
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    data = header(11_000, 10_000)
    assert bad(data) == ("truncated", TOO_FEW.format(len(data), 11_000, 10_000))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("PNG", {}),
        ("BMP", {}),
        ("JPEG", {"quality": 1, "progressive": True}),
        ("WEBP", {"quality": 1}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {"compression": "tiff_adobe_deflate"}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "group4"}),
    ],
)
def test_flat_pictures_pass(form, options):
    """Nothing takes fewer bytes than a picture of one colour: at the size from which on they are counted, and beyond."""
    for side in (4000, 5000):
        flat = Image.new("1" if "group4" in options.values() else "L", (side, side), 1)
        photo = decode(encoded(flat, form, **options), max_size=10)
        assert (photo.size, photo.pixels.shape) == ((side, side), (10, 10))
        assert np.ptp(photo.pixels) == 0


def test_the_smallest_flat_pictures_pass():
    assert decode(webp_flat(4096, 4096), max_size=10).size == (4096, 4096)
    assert decode(encoded(Image.new("1", (9000, 9000), 1), "PNG"), max_size=10).size == (9000, 9000)


MEASURE = """
import io, os, sys
from PIL import Image
from imgret import bounds, images

def peak():
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))

data = open(sys.argv[1], "rb").read()
small = io.BytesIO()
Image.new("RGB", (64, 64)).save(small, Image.open(io.BytesIO(data)).format)
for grey in (True, False):
    if os.fork():  # each in a process that has decoded nothing large
        os.wait()
        continue
    images.decode(small.getvalue(), grey=grey, max_size=16)  # after the fork: pages of libraries have to be there again
    open("/proc/self/clear_refs", "w").write("5")
    before = peak()
    images.decode(data, grey=grey, max_size=625)
    print(peak() - before, bounds.memory(Image.open(io.BytesIO(data)), data, grey), flush=True)
    os._exit(0)
"""


def of_type(kind):
    """A picture of 6.25 million pixels of a type."""
    y, x = np.ogrid[:2500, :2500]
    grey = (x // 31 + y // 17).astype(np.uint8)
    if kind in ("F", "I;16"):
        return Image.fromarray(grey.astype(np.float32) if kind == "F" else grey.astype(np.uint16) << 8)
    image = Image.fromarray(np.dstack([grey, grey[::-1], grey.T]))
    if kind == "RGBA":
        image.putalpha(Image.fromarray(grey))
    return image.convert(kind)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured through /proc")
@pytest.mark.parametrize(
    ("form", "kind", "options"),
    [
        ("JPEG", "RGB", {}),
        ("JPEG", "RGB", {"progressive": True, "subsampling": 0}),
        ("JPEG", "CMYK", {"progressive": True}),
        ("PNG", "RGBA", {"compress_level": 1}),
        ("PNG", "I;16", {"compress_level": 1}),
        ("TIFF", "F", {}),
        ("TIFF", "CMYK", {"compression": "tiff_lzw", "tiffinfo": {278: 4000}, "strip_size": 1 << 28}),
        ("BMP", "RGB", {}),
        ("WEBP", "RGB", {"quality": 1, "method": 0}),
        ("WEBP", "RGBA", {"lossless": True, "method": 0, "quality": 0}),
    ],
)
def test_no_more_memory_is_taken_than_the_header_told(tmp_path, form, kind, options):
    (tmp_path / "photo").write_bytes(encoded(of_type(kind), form, **options))
    environment = dict(os.environ, PYTHONPATH=ROOT, MALLOC_MMAP_THRESHOLD_=str(1 << 20))
    command = [sys.executable, "-c", MEASURE, tmp_path / "photo"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    measured = done.stdout.splitlines()
    assert len(measured) == 2
    for line in measured:
        taken, told = map(int, line.split())
        assert taken < told + (15 << 20), (line, taken / 6.25e6, told / 6.25e6)  # the rest is what a strip takes
        assert told <= 16 * 6.25e6


PALETTE = Image.fromarray(COLOUR).quantize(64)
KINDS = {
    "RGB": COLOUR,
    "L": GREY,
    "RGBA": np.dstack([COLOUR, GREY]),
    "LA": np.dstack([GREY, GREY[::-1]]),
    "1": Image.fromarray(GREY).point(lambda v: 255 * (v > 110), "1"),
    "P": PALETTE,
    "deep": GREY.astype(np.uint16) * 200,
    "integers": GREY.astype(np.int32) * 100,
    "few integers": GREY.astype(np.int32),
    "floats": GREY.astype(np.float32),
    "floats to 1": GREY.astype(np.float32) / 255,
    "CMYK": Image.fromarray(COLOUR).convert("CMYK"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("strip", [100, 160 * 7])
def test_strips_leave_no_trace(kind, strip, monkeypatch):
    form = "PNG" if kind in ("LA", "P", "1") else "TIFF"
    data = encoded(KINDS[kind], form, **({"transparency": PALETTE.getpixel((3, 3))} if kind == "P" else {}))
    whole = [decode(data, grey=grey).pixels for grey in (True, False)]
    monkeypatch.setattr(pixels, "STRIP", strip)
    for grey, expected in zip((True, False), whole, strict=True):
        assert np.array_equal(decode(data, grey=grey).pixels, expected)


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("grey", [True, False])
def test_a_jpeg_beyond_the_bound_is_decoded_at_a_part_of_its_size(monkeypatch, grey, orientation):
    exif = Image.Exif()
    exif[images.ORIENTATION] = orientation
    data = encoded(texture(2, 643, 481, 3), "JPEG", quality=95, exif=exif)
    expected = decode(data, max_size=150, grey=grey, box=(10, 20, 300, 400))
    monkeypatch.setattr(bounds, "MAX_MEMORY", 643 * 481)
    photo = decode(data, max_size=150, grey=grey, box=(10, 20, 300, 400))
    assert (photo.size, photo.box, photo.pixels.shape) == (expected.size, expected.box, expected.pixels.shape)
    assert not np.array_equal(photo.pixels, expected.pixels)
    assert np.abs(photo.pixels.astype(int) - expected.pixels).mean() < 3
    reason = f"to decode its 643 × 481 pixels takes 0.0 GiB, the limit is 0.0 GiB: {images.REMEDY}"
    for options in ({}, {"max_size": 600}, {"max_size": 150, "box": (10, 20, 300, 400), "crop": True}):
        with pytest.raises(BadPhoto) as caught:
            decode(data, grey=grey, **options)
        assert (caught.value.code, caught.value.reason) == ("too-large", reason)


def test_coefficients_of_a_jpeg_count_where_they_are_kept():
    def coefficients(image, **options):
        return bounds._coefficients(encoded(image, "JPEG", **options)) / (160 * 120)

    assert coefficients(COLOUR) == coefficients(GREY) == 0
    assert coefficients(COLOUR, progressive=True, subsampling=0) == 6
    assert coefficients(COLOUR, progressive=True, subsampling=2) == 3
    assert coefficients(GREY, progressive=True) == 2
    data = bytearray(encoded(COLOUR, "JPEG", subsampling=0))
    data[data.index(b"\xff\xda") + 4] = 1  # its first scan holds one component only
    assert bounds._coefficients(bytes(data)) == 6 * 160 * 120
    for end in range(0, len(data), 7):
        bounds._coefficients(bytes(data[:end]))


def test_memory_that_is_not_there(monkeypatch):
    def short(*_):
        raise MemoryError

    monkeypatch.setattr(images, "reduce", short)
    assert bad(encoded(GREY)) == ("too-large", "it does not fit into memory: save it with fewer pixels")


def test_random_damage_never_raises_anything_else():
    rng = np.random.default_rng(7)
    for form in ("JPEG", "PNG", "TIFF", "WEBP", "BMP"):
        sound = encoded(texture(3, 40, 30, 3), form)
        for _ in range(60):
            data = bytearray(sound)
            for position in rng.integers(0, len(data), 4):
                data[position] = rng.integers(256)
            with contextlib.suppress(BadPhoto):  # any other exception fails the test
                assert decode(bytes(data)).pixels.dtype == np.uint8


def test_read_file_identifies_the_bytes(tmp_path):
    import hashlib

    path = tmp_path / "a.png"
    path.write_bytes(encoded(GREY))
    os.utime(path, ns=(1, 1234567890123456789))
    file = read_file(path)
    assert (file.data, file.size, file.mtime_ns) == (path.read_bytes(), path.stat().st_size, 1234567890123456789)
    assert file.digest == hashlib.sha256(file.data).digest()


def test_read_file_never_waits(tmp_path):
    os.mkfifo(tmp_path / "fifo.jpg")
    (tmp_path / "folder.jpg").mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.fspath(tmp_path / "socket.jpg"))
        for name in ("fifo.jpg", "folder.jpg", "socket.jpg", "/dev/zero", "/dev/null"):
            with pytest.raises(BadPhoto) as caught:
                read_file(tmp_path / name)
            assert (caught.value.code, caught.value.reason) == ("not-a-file", "it is not a regular file")


def test_read_file_says_why_not(tmp_path, monkeypatch):
    (tmp_path / "a.jpg").symlink_to("gone.jpg")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    for name, reason in (
        ("a.jpg", "No such file or directory"),
        ("loop.jpg", "Too many levels of symbolic links"),
        ("/proc/self/mem", "Input/output error"),
    ):
        with pytest.raises(BadPhoto) as caught:
            read_file(tmp_path / name)
        assert (caught.value.code, caught.value.reason) == ("unreadable", f"it cannot be read: {reason}")
    (tmp_path / "large.jpg").write_bytes(b"x" * 11)
    monkeypatch.setattr(images, "MAX_FILE_BYTES", 10)
    with pytest.raises(BadPhoto) as caught:
        read_file(tmp_path / "large.jpg")
    assert (caught.value.code, caught.value.reason) == ("too-large", "the file has 11 bytes, the limit is 10")
