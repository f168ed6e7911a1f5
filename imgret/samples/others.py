"""Why a file that is a picture cannot be read: formats that are not read, and kinds of those that are."""

import struct

from imgret import bounds
from imgret.samples import heif

NO_IMAGE = "it is not a JPEG, PNG, WebP, TIFF or BMP image"  # nor does it begin as the others do; recorded in stores, so it stays
READ = "imgret reads JPEG, PNG, WebP, TIFF, BMP, GIF, HEIC and AVIF"
GIF = (b"GIF87a", b"GIF89a")
# (where, bytes) of formats that hold photos, and what they are called: drawings (SVG) are no images here
SIGNATURES = (
    (0, b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (0, b"\xff\x0a", "JPEG XL"),
    (4, b"ftypcrx ", "Canon raw"),
    (0, b"8BPS", "Photoshop"),
    (0, b"\x76\x2f\x31\x01", "OpenEXR"),
    (0, b"#?RADIANCE", "Radiance HDR"),
    (0, b"#?RGBE", "Radiance HDR"),
    (0, b"DDS ", "DDS"),
    (0, b"qoif", "QOI"),
    (0, b"icns", "ICNS"),
    (0, b"\0\0\1\0", "ICO"),
    (0, b"\x01\xda\0\1", "SGI"),
    (0, b"\x01\xda\1\1", "SGI"),
    (0, b"\x01\xda\0\2", "SGI"),
    (0, b"\x01\xda\1\2", "SGI"),
    (0, b"\x59\xa6\x6a\x95", "Sun raster"),
    (0, b"SIMPLE  =", "FITS"),
    (0, b"FUJIFILMCCD-RAW", "Fuji raw"),
    (0, b"IIRO", "Olympus raw"),
    (0, b"IIRS", "Olympus raw"),
    (0, b"IIU\0", "Panasonic raw"),
    (0, b"II\xbc\x01", "JPEG XR"),
    (0, b"gimp xcf", "GIMP"),
    (-18, b"TRUEVISION-XFILE.\0", "TGA"),
)
NETPBM = {b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b"P7", b"PF", b"Pf"}
SPACE = b" \t\r\n"
UNUSUAL_FRAMES = {0xC3: "is a lossless JPEG"} | dict.fromkeys((0xC5, 0xC6, 0xC7), "is a hierarchical JPEG")
BMP_COMPRESSIONS = {4: "a JPEG", 5: "a PNG"}
BMP_BITS = (1, 4, 8, 16, 24, 32)


def unsupported(data):
    """Why a file that could not be read cannot be: a sentence; None where its kind could be."""
    form = heif.form_of(data)
    if form is not None:
        return heif.unsupported(form) if heif.remedy(form) else None
    for place, letters, name in SIGNATURES:
        if data[place:].startswith(letters) if place else data.startswith(letters):
            return _format(name)
    if data[:2] in NETPBM and data[2:3] and data[2] in SPACE:
        return _format("PBM, PGM, PPM or PFM")
    why = _of_jpeg(data) if data[:2] == b"\xff\xd8" else _of_bmp(data) if data[:2] == b"BM" else None
    return None if why is None else f"it {why}, which imgret does not read: save it as an ordinary one"


def _format(name):
    return f"it is a {name} image, and {READ}: convert it"


def _of_jpeg(data):
    for marker, position in bounds.segments(data, 10):
        if marker in bounds.FRAMES:
            bits, components = data[position + 4], data[position + 9]
            if bits not in (0, 8):
                return f"is a JPEG of {bits} bits"
            if components not in (0, 1, 3, 4):
                return f"is a JPEG of {components} components"
            return UNUSUAL_FRAMES.get(marker)
    return None


def _of_bmp(data):
    if len(data) < 34:
        return None
    size, width, height, planes, bits, compression = struct.unpack_from("<IiiHHI", data, 14)
    if size not in (40, 52, 56, 64, 108, 124) or planes != 1 or not width or not height:
        return None
    if compression in BMP_COMPRESSIONS:
        return f"is a BMP that holds {BMP_COMPRESSIONS[compression]}"
    if bits not in BMP_BITS:
        return f"is a BMP of {bits} bits a pixel"
    return "is a BMP with an unusual layout of its bits" if compression in (3, 6) else None
