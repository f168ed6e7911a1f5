"""Photos that lack their last bytes, or whose metadata are not what they should be."""

import concurrent.futures
import os
import struct
import subprocess
import sys
import warnings
import zlib

import numpy as np
import pytest
from helpers import ROOT, call, encoded, failures, misused, photo, texture
from PIL import Image, ImageFile
from rasters import chunk, tiff

from imgret.errors import ImgretError, UsageError
from imgret.images import ACCEPT, ORIENTATION, BadPhoto, decode, upright
from imgret.pipeline import Pipeline
from imgret.stages.extract import extract
from imgret.store.reader import Store

GREY = texture(1)
COLOUR = texture(2, channels=3)
LUMA = np.asarray(Image.fromarray(COLOUR).convert("L"))

CUT = {
    "jpeg": encoded(COLOUR, "JPEG", quality=95),
    "progressive jpeg": encoded(COLOUR, "JPEG", quality=95, progressive=True),
    "mpo": encoded(COLOUR, "MPO", quality=95),
    "png": encoded(COLOUR),
    "deep png": encoded(GREY.astype(np.uint16) * 257),
    "bmp": encoded(COLOUR[::-1], "BMP"),
}


@pytest.mark.parametrize("name", CUT)
@pytest.mark.parametrize("share", [0.7, 0.95])
def test_what_is_there_of_a_photo_is_taken_where_that_is_asked(name, share):
    data = CUT[name][: int(len(CUT[name]) * share)]
    with pytest.raises(BadPhoto) as caught:
        decode(data)
    assert caught.value.code == "truncated"
    taken = decode(data, truncated=ACCEPT)
    assert taken.size == (160, 120)
    expected = GREY if "deep" in name else LUMA[::-1] if name == "bmp" else LUMA
    rows = slice(60, None) if name == "bmp" else slice(60)  # its last row comes first
    seen, wanted = taken.pixels[rows], expected[rows]
    assert np.corrcoef(seen.ravel(), wanted.ravel())[0, 1] > (0.9 if "progressive" in name else 0.99)
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "BMP", "WEBP"])
def test_sound_photos_are_the_same_either_way(form):
    data = encoded(COLOUR, form)
    assert np.array_equal(decode(data, truncated=ACCEPT).pixels, decode(data).pixels)


def simple_tiff(samples, orientation=1, compressed=False):
    """A grey TIFF with its tables in front."""
    height, width = samples.shape
    raw = samples.tobytes()
    body = zlib.compress(raw) if compressed else raw
    bits = 8 * samples.dtype.itemsize
    entries = [(256, width), (257, height), (258, bits), (259, 8 if compressed else 1), (262, 1), (273, 8 + 2 + 120 + 4)]
    entries += [(274, orientation), (277, 1), (278, height), (279, len(body))]
    table = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    return struct.pack("<2sHIH", b"II", 42, 8, len(entries)) + table + struct.pack("<I", 0) + body


@pytest.mark.parametrize("orientation", [1, 3, 5])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("compressed", [False, True])
def test_tiffs_that_lack_their_end(compressed, dtype, orientation):
    samples = (GREY.astype(np.uint16) * 257).astype("<u2") if dtype == "uint16" else GREY
    whole = simple_tiff(samples, orientation, compressed)
    data = whole[: int(len(whole) * 0.7)]
    with pytest.raises(BadPhoto) as caught:
        decode(data)
    assert caught.value.code == "truncated"
    seen = decode(data, truncated=ACCEPT).pixels
    assert seen.shape == upright(GREY, orientation).shape
    seen = upright(seen, orientation)  # each of these undoes itself
    assert np.corrcoef(seen[:70].ravel(), GREY[:70].ravel())[0, 1] > 0.99


def test_only_the_end_of_a_jpeg_is_missing():
    data = CUT["jpeg"]
    assert data.endswith(b"\xff\xd9")
    for missing in (1, 2):
        assert np.array_equal(decode(data[:-missing], truncated=ACCEPT).pixels, decode(data).pixels)


def test_what_has_no_pixels_at_all_stays_bad():
    for data in CUT.values():
        for end in range(0, 200, 13):
            with pytest.raises(BadPhoto) as caught:
                decode(data[:end], truncated=ACCEPT)
            assert caught.value.code in ("truncated", "not-an-image")
    with pytest.raises(BadPhoto) as caught:
        decode(encoded(COLOUR, "WEBP")[:900], truncated=ACCEPT)
    assert caught.value.code in ("truncated", "not-an-image")


# from the command line


@pytest.fixture
def cut_off(tmp_path):
    """A folder of four photos, of which one lacks its last third."""
    os.mkdir(tmp_path / "photos")
    for number in range(3):
        photo(tmp_path / "photos" / f"{number}.png", number, width=240, height=200)
    data = encoded(texture(9, 240, 200), "JPEG", quality=95)
    (tmp_path / "photos" / "cut.jpg").write_bytes(data[: len(data) * 2 // 3])
    return tmp_path


def made(result):
    assert result.code == 0, result.err
    return result


def test_truncated_photos_are_recorded_or_described(cut_off):
    photos, usual, same, taken = cut_off / "photos", cut_off / "usual.h5", cut_off / "same.h5", cut_off / "taken.h5"
    made(call("extract", photos, "-o", usual, "-j1", "--max-failed", "1"))
    made(call("extract", photos, "-o", same, "-j1", "--max-failed", "1", "--truncated", "refuse"))
    made(call("extract", photos, "-o", taken, "-j1", "--truncated", "accept"))
    assert {name: code for name, (code, _) in failures(usual).items()} == {"cut.jpg": "truncated"}
    assert failures(taken) == {}
    with Store(usual) as a, Store(same) as b, Store(taken) as c:
        assert a.recipe == b.recipe != c.recipe
        assert "truncated" not in a.params
        assert "reading" not in a.pipeline
        assert c.params["truncated"] == "accept"
        assert c.pipeline["reading"] == {"truncated": "accept"}
    result = call("extract", photos, "-o", usual, "-j1", "--max-failed", "1", "--truncated", "accept")
    assert result.code == 1
    assert "truncated: not set there, accept here" in result.err


@pytest.mark.parametrize("reading", ["accept", "refuse"])
def test_queries_are_read_as_the_photos_were(cut_off, monkeypatch, reading):
    monkeypatch.chdir(cut_off)
    made(call("extract", "photos", "-o", "f.h5", "-j1", "--max-failed", "1", "--truncated", reading))
    made(call("codebook", "f.h5", "-m", "kmeans", "--size", 4, "-o", "words.h5"))
    made(call("encode", "f.h5", "-c", "words.h5", "-o", "v.h5"))
    made(call("index", "v.h5", "-m", "flat", "-o", "i.h5"))
    result = call("search", "i.h5", "photos/cut.jpg", "-k", 1, "--json")
    if reading == "accept":
        assert b'"cut.jpg"' in made(result).out
    else:
        assert "its pixels cannot be decoded" in result.err


def test_boxes_of_truncated_photos(cut_off):
    (cut_off / "boxes.csv").write_text("image,x1,y1,x2,y2\ncut.jpg,5,5,230,100\n0.png,5,5,150,110\n")
    out = cut_off / "boxes.h5"
    made(call("extract", cut_off / "photos", "--boxes", cut_off / "boxes.csv", "-o", out, "-j1", "--truncated", "accept"))
    assert failures(out) == {}


def test_truncated_is_accept_or_refuse(cut_off):
    misused(
        call("extract", cut_off / "photos", "-o", cut_off / "x.h5", "--truncated", "perhaps"),
        "Invalid value for '--truncated': 'perhaps' is not one of 'accept', 'refuse'.",
    )
    with pytest.raises(UsageError, match="`truncated` must be accept or refuse, got 'perhaps'"):
        extract(cut_off / "photos", cut_off / "x.h5", truncated="perhaps")


def test_a_way_of_reading_that_is_not_known(stores):
    with Store(stores.features) as store:
        pipeline = Pipeline.load(store)
    for reading in ({"truncated": "perhaps"}, {"other": 1}, {"truncated": []}):
        with pytest.raises(ImgretError, match="were read in a way that this imgret does not know .*: upgrade imgret"):
            Pipeline(dict(pipeline.node, reading=reading), {}).component()


# metadata


def with_chunks(data, *chunks, where=33):
    """A PNG with more chunks, behind its header or somewhere else."""
    return data[:where] + b"".join(chunks) + data[where:]


NOISE = np.random.default_rng(5).integers(0, 256, 2 << 20, dtype=np.uint8).tobytes()
PROFILE = b"icc\0\0" + zlib.compress(NOISE)
LONG = {
    "profile": chunk(b"iCCP", PROFILE),
    "profile that inflates": chunk(b"iCCP", b"icc\0\0" + zlib.compress(bytes(50 << 20))),
    "profile of another compression": chunk(b"iCCP", b"icc\0\7abc"),
    "text": chunk(b"tEXt", b"Comment\0" + NOISE.replace(b"\0", b" ")),
    "packed text": chunk(b"zTXt", b"Comment\0\0" + zlib.compress(NOISE)),
    "text that inflates": chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(50 << 20))),
    "international text": chunk(b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(NOISE)),
    "checksum": chunk(b"tEXt", b"Comment\0a")[:-1] + b"!",
    "short size": chunk(b"pHYs", b"1"),
    "short gamma": chunk(b"gAMA", b"1"),
    "short chromaticities": chunk(b"cHRM", b"1"),
    "short intent": chunk(b"sRGB", b""),
    "short animation": chunk(b"acTL", b"1"),
    "wrong frames": chunk(b"acTL", struct.pack(">II", 3, 0)) + chunk(b"fcTL", b"123"),
    "time": chunk(b"tIME", b""),
    "exif": chunk(b"eXIf", b"MM\0*\xff\xff\xff\xff"),
}


@pytest.mark.parametrize("name", LONG)
def test_metadata_of_a_png_never_cost_the_pixels(name):
    data = encoded(COLOUR)
    assert np.array_equal(decode(with_chunks(data, LONG[name]), grey=False).pixels, COLOUR)
    if name not in ("wrong frames",):
        assert np.array_equal(decode(with_chunks(data, LONG[name], where=len(data) - 12), grey=False).pixels, COLOUR)


def test_many_texts_are_bounded():
    texts = [chunk(b"zTXt", b"a%d\0\0" % number + zlib.compress(bytes(1 << 20))) for number in range(100)]
    assert np.array_equal(decode(with_chunks(encoded(COLOUR), *texts), grey=False).pixels, COLOUR)


def test_orientation_and_transparency_are_no_metadata():
    exif = Image.Exif()
    exif[ORIENTATION] = 3
    data = with_chunks(encoded(GREY, exif=exif), chunk(b"iCCP", PROFILE))
    assert np.array_equal(decode(data).pixels, GREY[::-1, ::-1])
    palette = Image.fromarray(COLOUR).quantize(16)
    plain = encoded(palette, transparency=palette.getpixel((3, 3)))
    assert np.array_equal(decode(with_chunks(plain, chunk(b"iCCP", PROFILE))).pixels, decode(plain).pixels)
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/" tiff:Orientation="3"/>'
    told = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)
    plain = with_chunks(encoded(GREY), told)
    assert np.array_equal(decode(with_chunks(plain, LONG["profile"])).pixels, decode(plain).pixels)


def segment(marker, body):
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


SEGMENTS = {
    "many": segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + bytes(60_000)) * 300,
    "exif": segment(0xE1, b"Exif\0\0" + b"\xff" * 5000),
    "exif twice": segment(0xE1, b"Exif\0\0MM\0*") * 2,
    "profile": segment(0xE2, b"ICC_PROFILE\0"),
    "profile of parts": segment(0xE2, b"ICC_PROFILE\0\x05\x02" + bytes(60_000)) * 40,
    "several pictures": segment(0xE2, b"MPF\0" + b"\xff" * 50),
    "short adobe": segment(0xED, b"Photoshop 3.0\x008BIM\x04"),
    "short jfif": segment(0xE0, b"JFIF\0"),
    "very short jfif": segment(0xE0, b"JFIF"),
    "adobe": segment(0xEE, b"Adobe"),
    "comment": segment(0xFE, b"\xff" * 60_000),
    "xmp": segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<<<"),
}


@pytest.mark.parametrize("name", SEGMENTS)
def test_metadata_of_a_jpeg_never_cost_the_pixels(name):
    data = encoded(COLOUR, "JPEG", quality=95)
    seen = decode(data[:2] + SEGMENTS[name] + data[2:], grey=False).pixels
    assert np.array_equal(seen, decode(data, grey=False).pixels)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP", "BMP", "MPO"])
def test_garbage_behind_a_photo_is_passed_over(form):
    data = encoded(COLOUR, form)
    for garbage in (b"\0" * 1000, b"\xff" * 999, os.urandom(5000)):
        assert np.array_equal(decode(data + garbage).pixels, decode(data).pixels)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_profile_and_xmp_of_noise(form):
    noise = NOISE[:5000]
    data = encoded(COLOUR, form)
    options = {"icc_profile": noise} | ({"exif": b"Exif\0\0" + noise, "xmp": noise} if form in ("JPEG", "WEBP") else {})
    if form == "PNG":
        options["exif"] = noise
    if form == "TIFF":
        options["tiffinfo"] = {700: noise, 34675: noise, 33723: noise, 34377: noise}
    assert np.array_equal(decode(encoded(COLOUR, form, **options)).pixels, decode(data).pixels)


@pytest.mark.parametrize("tag", [34665, 34853, 40965, 330, 282, 283, 296, 305, 306, 700, 34675, 33432])
@pytest.mark.parametrize("kind", [1, 2, 3, 4, 11, 12])
def test_metadata_of_a_tiff_never_cost_the_pixels(tag, kind):
    for values in ([1], [255] * 9):
        held = (kind, bytes(values) if kind == 2 else values)
        for samples, photometric, expected in ((COLOUR, 2, COLOUR), (GREY.astype(np.uint16) * 257, 1, GREY)):
            seen = decode(tiff(samples, photometric, rows=20, tags={tag: held}), grey=samples.ndim == 2).pixels
            assert np.array_equal(seen, expected)


# what is not read


def test_kinds_of_jpeg_that_are_not_read():
    data = encoded(COLOUR, "JPEG")
    at = data.index(b"\xff\xc0")
    for position, value, what in (
        (at + 4, 12, "is a JPEG of 12 bits"),
        (at + 9, 2, "is a JPEG of 2 components"),
        (at + 1, 0xC3, "is a lossless JPEG"),
        (at + 1, 0xC5, "is a hierarchical JPEG"),
    ):
        changed = bytearray(data)
        changed[position] = value
        with pytest.raises(BadPhoto) as caught:
            decode(bytes(changed))
        assert (caught.value.code, caught.value.reason) == (
            "unsupported",
            f"it {what}, which imgret does not read: save it as an ordinary one",
        )


@pytest.mark.parametrize(
    ("form", "options"), [("JPEG2000", {}), ("PPM", {}), ("TGA", {}), ("SGI", {}), ("DDS", {}), ("ICO", {}), ("ICNS", {})]
)
def test_other_formats_are_named(form, options):
    names = {"JPEG2000": "JPEG 2000", "PPM": "PBM, PGM, PPM or PFM"}
    with pytest.raises(BadPhoto) as caught:
        decode(encoded(texture(2, 64, 64, 3), form, **options))
    reason = f"it is a {names.get(form, form)} image, and imgret reads JPEG, PNG, WebP, TIFF, BMP, GIF, HEIC and AVIF: convert it"
    assert (caught.value.code, caught.value.reason) == ("unsupported", reason)


def test_why_a_photo_was_not_read_is_recorded(tmp_path):
    os.mkdir(tmp_path / "photos")
    photo(tmp_path / "photos" / "a.png")
    (tmp_path / "photos" / "raw.tif").write_bytes(tiff(GREY, 32803))
    made(call("extract", tmp_path / "photos", "-o", tmp_path / "f.h5", "-j1", "--max-failed", "1"))
    ((name, (code, reason)),) = failures(tmp_path / "f.h5").items()
    assert (name, code) == ("raw.tif", "unsupported")
    assert reason.startswith("its pixels are raw values of a camera's sensor, which imgret does not read")


def test_odd_photos_as_queries(stores, tmp_path):
    """A query goes the same way: the photo as 12 bits of min-is-white finds itself."""
    samples = np.asarray(Image.fromarray(texture(5)))
    (tmp_path / "q.tif").write_bytes(tiff((255 - samples).astype(np.uint16) * 16, 0, order=">", tile=64))
    result = made(call("search", stores.index, tmp_path / "q.tif", "-k", 1, "--json"))
    assert b'"05.png"' in result.out


# warnings


NOISY = encoded(GREY, "JPEG", exif=b"Exif\0\0" + b"\xff" * 40)


def test_decoding_threads_leave_the_warnings_of_others_alone():
    filters, shown = list(warnings.filters), warnings.showwarning
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        running = [pool.submit(decode, data) for data in [NOISY, tiff(GREY, tags={34665: (4, [1 << 30])})] * 100]
        lost = 0
        while not all(each.done() for each in running):
            with pytest.warns(UserWarning, match="mine"):
                warnings.warn("mine", UserWarning, stacklevel=1)
            lost += warnings.showwarning is not shown or warnings.filters != filters
        assert not lost
        assert all(each.result().pixels.shape == GREY.shape for each in running)
    assert list(warnings.filters) == filters


def test_a_photo_is_read_under_any_filter():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(decode(tiff(GREY, tags={34665: (4, [1 << 30])})).pixels, GREY)
        assert decode(NOISY).pixels.shape == GREY.shape


def test_nothing_is_said_of_metadata(tmp_path):
    """Neither on a user's terminal nor to the program that uses imgret; and a filter is set once, for Pillow alone."""
    (tmp_path / "a.tif").write_bytes(tiff(GREY, tags={34665: (4, [1 << 30]), 282: (3, [1, 2, 3])}))
    code = """
import sys, warnings
from imgret import images
before = list(warnings.filters)
images.decode(open(sys.argv[1], "rb").read())
assert warnings.filters == before
warnings.warn("mine")
"""
    environment = dict(os.environ, PYTHONPATH=ROOT)
    command = [sys.executable, "-c", code, tmp_path / "a.tif"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert [line for line in done.stderr.splitlines() if "Warning" in line] == ["<string>:7: UserWarning: mine"]
