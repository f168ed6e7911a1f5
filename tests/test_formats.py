"""Pictures that take more to be read: HEIC and AVIF, GIF, files that hold several, and those that are only counted."""

import io
import os
import struct

import numpy as np
import pytest
from helpers import SEARCHED, call, encoded, failures, names_in, photo, refused, texture
from PIL import Image, features

from imgret import endings
from imgret.images import ORIENTATION, BadPhoto, decode, upright
from imgret.samples import heif

COLOUR = texture(2, 160, 120, 3)
LACKS = "it is HEIC, which this installation of imgret does not read: pip install 'imgret[heif]'"
needs_avif = pytest.mark.skipif(not features.check("avif"), reason="Pillow has no AVIF")


@pytest.fixture(scope="module")
def heic():
    """`heic(picture, **options)`: the bytes of a HEIC."""
    library = pytest.importorskip("pillow_heif")

    def made(picture, **options):
        file = io.BytesIO()
        library.from_pillow(picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(file, **options)
        return file.getvalue()

    return made


@pytest.fixture
def without(monkeypatch):
    """Have none of the libraries that HEIC and AVIF take."""
    monkeypatch.setattr(heif, "reader", lambda form: None)


def bad(data, **options):
    with pytest.raises(BadPhoto) as caught:
        decode(data, **options)
    return caught.value.code, caught.value.reason


def avif(picture, **options):
    return encoded(picture, "AVIF", speed=10, **options)


def claiming(data, width, height):
    """The same with the size that its container claims changed."""
    data, at = bytearray(data), data.index(b"ispe") + 8
    data[at : at + 8] = struct.pack(">II", width, height)
    return bytes(data)


@pytest.mark.parametrize(
    ("letters", "form"),
    [
        (b"avif....mif1", heif.AVIF),
        (b"heic....mif1", heif.HEIC),
        (b"mif1....mif1miafavif", heif.AVIF),
        (b"mif1....miafheic", heif.HEIC),
        (b"mif1....", heif.HEIC),
        (b"isom....mp41", None),
        (b"crx ....", None),
    ],
)
def test_brands_tell_what_a_container_holds(letters, form):
    data = struct.pack(">I", len(letters) + 8) + b"ftyp" + letters
    assert heif.form_of(data) == form
    assert heif.form_of(data[:-1]) is None


def test_what_a_container_claims_is_looked_for_in_bounded_time():
    """However many boxes there are, and wherever they say to end."""
    box = struct.pack(">I4s", 8, b"free")
    for boxes in (box * 200_000, struct.pack(">I4sQ", 1, b"free", 2**63), struct.pack(">I4s", 4, b"meta"), b"\0" * 8):
        for inside in (boxes, struct.pack(">I4sI", 0, b"meta", 0) + boxes):
            assert heif.claim(inside) == ((0, 0), 2)


@needs_avif
def test_avif():
    grey = decode(avif(COLOUR, quality=95))
    assert (grey.size, grey.several) == ((160, 120), False)
    assert np.abs(grey.pixels.astype(int) - np.asarray(Image.fromarray(COLOUR).convert("L"))).mean() < 3
    assert np.abs(decode(avif(COLOUR, quality=95), grey=False).pixels.astype(int) - COLOUR).mean() < 5
    alpha = np.full((120, 160, 1), 255, np.uint8)
    alpha[:, :80] = 0
    assert (decode(avif(np.dstack([COLOUR, alpha]), quality=95)).pixels[:, :70] >= 250).all()


@needs_avif
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_an_avif_is_applied_once(orientation):
    inverse = {5: 5, 6: 8, 7: 7, 8: 6}.get(orientation, orientation)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    found = decode(avif(np.ascontiguousarray(upright(COLOUR, inverse)), quality=95, exif=exif), grey=False)
    assert found.size == (160, 120)
    assert np.abs(found.pixels.astype(int) - COLOUR).mean() < 5


@pytest.mark.parametrize("orientation", [1, 3, 5, 6, 8])
def test_heic(heic, orientation):
    inverse = {5: 5, 6: 8, 8: 6}.get(orientation, orientation)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    found = decode(heic(np.ascontiguousarray(upright(COLOUR, inverse)), quality=90, exif=exif.tobytes()), grey=False)
    assert (found.size, found.several) == ((160, 120), False)
    assert np.abs(found.pixels.astype(int) - COLOUR).mean() < 6


def test_heic_of_more_than_8_bits_and_with_transparency(heic):
    import pillow_heif

    deep, file = COLOUR.astype(np.uint16) * 257, io.BytesIO()
    pillow_heif.encode("RGB;16", (160, 120), deep.tobytes(), file, quality=90)
    assert np.abs(decode(file.getvalue(), grey=False).pixels.astype(int) - COLOUR).mean() < 6
    alpha = np.zeros((120, 160, 1), np.uint8)
    assert (decode(heic(np.dstack([COLOUR, alpha]), quality=90)).pixels >= 250).all()


@pytest.mark.parametrize("form", [heif.AVIF, heif.HEIC])
def test_a_container_is_measured_before_it_is_decoded(form, request):
    if heif.reader(form) is None:
        pytest.skip(f"no {form} here")
    data = avif(COLOUR) if form == heif.AVIF else request.getfixturevalue("heic")(COLOUR)
    claim = "its header claims {0} × {0} pixels, the limit is 268435456 in all: save it with fewer pixels"
    assert bad(claiming(data, 60_000, 60_000)) == ("too-large", claim.format(60_000))
    takes = "to decode its 15000 × 15000 pixels takes 2.5 GiB, the limit is 2.0 GiB: save it with fewer pixels"
    assert bad(claiming(data, 15_000, 15_000)) == ("too-large", takes)
    if form == heif.HEIC:  # libavif scales what is of another size
        few = f"its pixels cannot be decoded ({len(data)} bytes are too few for the 12000 × 12000 that its header claims)"
        assert bad(claiming(data, 12_000, 12_000)) == ("truncated", few)
        assert bad(claiming(data, 50, 40))[0] == "truncated"
    for broken in (data[: len(data) // 2], data[:60], data.replace(b"meta", b"free", 1)):
        assert bad(broken)[0] == "truncated"
        assert bad(broken, truncated="accept")[0] == "truncated"


def test_what_is_missing_is_told(without):
    for letters, text in (
        (b"avif....", "it is AVIF, which this installation of imgret does not read: pip install -U pillow"),
        (b"heic....", LACKS),
    ):
        assert bad(struct.pack(">I", 16) + b"ftyp" + letters + bytes(40)) == ("unsupported", text)


def test_gif():
    image = Image.fromarray(COLOUR).quantize(64)
    expected = np.asarray(image.convert("RGB"))
    assert np.array_equal(decode(encoded(image, "GIF"), grey=False).pixels, expected)
    seen = decode(encoded(image, "GIF", transparency=image.getpixel((3, 3))), grey=False).pixels
    assert (seen[3, 3] == 255).all()
    assert np.array_equal(decode(encoded(texture(1), "GIF")).pixels, texture(1))
    whole = encoded(image, "GIF")
    assert bad(whole[: len(whole) // 2])[0] == "truncated"
    head = bytearray(whole)
    head[6:10] = struct.pack("<HH", 20_000, 20_000)
    assert bad(bytes(head))[0] == "too-large"


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF", "MPO", pytest.param("AVIF", marks=needs_avif)])
def test_of_several_pictures_the_first_is_taken_and_that_is_known(form):
    pages = [Image.fromarray(texture(seed, channels=3)) for seed in (2, 5, 6)]
    found = decode(encoded(pages[0], form, save_all=True, append_images=pages[1:]))
    assert found.several
    assert np.abs(found.pixels.astype(int) - np.asarray(pages[0].convert("L"))).mean() < 6
    assert not decode(encoded(pages[0], "JPEG" if form == "MPO" else form)).several


def test_what_lies_beside_a_photo_is_no_other_picture():
    pages = [Image.fromarray(texture(seed, channels=3)) for seed in (2, 5)]
    gains = encoded(pages[0], "MPO", save_all=True, append_images=pages[1:]) + b"http://ns.apple.com/HDRGainMap/1.0/"
    assert not decode(gains).several


def test_pictures_that_are_not_read_are_counted(tmp_path, without):
    photos, out = tmp_path / "p", tmp_path / "f.h5"
    os.makedirs(photos / "sub" / "folder.cr2")
    photo(photos / "a.png")
    for name in ("b.HEIC", "sub/c.heic", "sub/d.CR2", ".hidden.heic", "e.txt", "e.jpg.xmp", "film.mov", "folder/f.avif"):
        os.makedirs((photos / name).parent, exist_ok=True)
        (photos / name).write_bytes(b"")
    note = (
        "imgret: 4 files of types imgret does not read: 2 .heic, 1 .avif, 1 .cr2; to read HEIC: pip install 'imgret[heif]'; "
        "to read AVIF: pip install -U pillow"
    )
    result = call("extract", photos, "-o", out, "-j1")
    assert (result.code, result.err.splitlines()[0]) == (0, note)
    assert names_in(out) == [b"a.png"]
    assert call("extract", photos, "-o", out, "-j1").err.splitlines() == [note, f"imgret: {out} is up to date (1 photo)"]
    assert call("extract", "-q", photos, "-o", out, "-j1").err == ""
    result = call("extract", photos, "--exclude", "*.[Hh][Ee]*", "--exclude", "folder", "-o", out, "-j1")
    assert result.err.splitlines()[0] == "imgret: 1 file of types imgret does not read: 1 .cr2"
    os.unlink(photos / "a.png")
    basic = SEARCHED.partition(".gif")[0] + ".gif"
    text = f"there is no photo in what was given (folders are searched for {basic}), but {note.removeprefix('imgret: ')}"
    refused(call("extract", photos, "-o", tmp_path / "g.h5"), 1, text)


def test_endings():
    assert endings.picture(b"a/b.JPG") == b".jpg"
    assert endings.picture(b"jpg") == endings.picture(b"a.txt") == endings.picture(b"a.") == b""
    assert not set(endings.ALL) & set(endings.PICTURES)


@needs_avif
def test_files_that_hold_several_pictures_are_told_of_once(tmp_path):
    photos, out = tmp_path / "p", tmp_path / "f.h5"
    os.mkdir(photos)
    pages = [Image.fromarray(texture(seed, channels=3)) for seed in (2, 5)]
    for name, form in (("a.gif", "GIF"), ("b.mpo", "MPO"), ("c.avif", "AVIF")):
        (photos / name).write_bytes(encoded(pages[0], form, save_all=True, append_images=pages[1:]))
    photo(photos / "d.png")
    result = call("extract", photos, "-o", out, "-j1")
    assert result.err.splitlines()[0] == "imgret: 3 files hold several pictures: the first of each is described"
    assert not failures(out)
    (photos / "e.gif").write_bytes((photos / "a.gif").read_bytes() + b" ")
    result = call("extract", photos, "-o", out, "-j1")
    assert "imgret: 1 file holds several pictures: the first of it is described" in result.err.splitlines()
    assert names_in(out) == [b"a.gif", b"b.mpo", b"c.avif", b"d.png", b"e.gif"]


def test_a_photo_whose_decoder_was_missing_is_read_once_it_is_there(tmp_path, heic, monkeypatch):
    """Named itself, it is listed in any case, and recorded; nothing else brings it back to mind: its file stays as it is."""
    out = tmp_path / "f.h5"
    (tmp_path / "a.heic").write_bytes(heic(COLOUR))
    photo(tmp_path / "b.png")
    command = ("extract", tmp_path / "a.heic", tmp_path / "b.png", "-o", out, "-j1")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "broken"), os.environ.get("PYTHONPATH", "")]))
    (tmp_path / "broken" / "pillow_heif").mkdir(parents=True)
    (tmp_path / "broken" / "pillow_heif" / "__init__.py").write_text("raise ImportError")
    failed = f"{tmp_path}/a.heic ({LACKS}); the finished parts are kept"
    failed += ": give --max-failed N or N%, a larger one, to go on without them"
    text = f"1 photo could not be used so far, more than --max-failed allows of 2 (0): {failed}"
    refused(call(*command, "-q", "--max-failed", "0"), 1, text)
    assert call(*command, "--max-failed", "1").code == 0
    (failure,) = failures(out).values()
    assert failure == ("unsupported", LACKS)
    monkeypatch.undo()
    result = call(*command, "-v")
    assert (result.code, failures(out)) == (0, {})
    assert f"imgret: {out}: the first change: '{tmp_path}/a.heic' can be read now" in result.err.splitlines()
    assert call(*command).err == f"imgret: {out} is up to date (2 photos)\n"
