"""Photos: every format, orientation and pixel type, and every way a photo can be bad."""

import contextlib
import io
import os
import socket

import numpy as np
import pytest
from helpers import bmp_header, encoded, png_header, texture, tiff_header
from PIL import Image

from imgret import images
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


@pytest.mark.parametrize("data", [b"hello", b"\xff\xd8\xff", b"GIF89a" + b"\0" * 40, b"%PDF-1.7", b"\0" * 1000, b"II*\0" + b"\xff" * 60])
def test_not_an_image(data):
    assert bad(data) == ("not-an-image", "it is not a JPEG, PNG, WebP, TIFF or BMP image")


def test_gif_and_svg_are_no_photos():
    assert bad(encoded(GREY, "GIF"))[0] == "not-an-image"
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


@pytest.mark.parametrize("header", [png_header, bmp_header, tiff_header])
def test_bombs_are_refused_by_their_header(header):
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for side in (30_000, 60_000):
        assert bad(header(side, side)) == ("too-large", f"its header claims {side} × {side} pixels, the limit is 268435456 in all")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KB: nothing was allocated on its word


def test_the_limit_is_where_the_message_says():
    assert bad(png_header(16385, 16384)) == ("too-large", "its header claims 16385 × 16384 pixels, the limit is 268435456 in all")
    code, _ = bad(png_header(14_000, 14_000))  # between Pillow's own limit and this one
    assert code == "truncated"


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
