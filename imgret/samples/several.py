"""Whether a file holds several pictures, of which the first is taken: smaller copies, masks, depths and gains of light are none."""

import itertools

from imgret.samples.directories import Tiff

ANIMATED = ("PNG", "WEBP", "GIF", "AVIF", "HEIF")  # as Pillow's readers are called, those that tell
ENTRIES = 0xB002  # the tag of an MPO that has an entry for each of its pictures
THUMBNAIL = "Large Thumbnail"  # how the types of smaller copies begin
GAINS = (b"HDRGainMap", b"hdr-gain-map", b"iso:ts:21496")  # in what is said of a picture that holds no light, but factors of it


def in_opened(picture, data):
    """Of a file that Pillow has opened, and decoded.

    Parameters
    ----------
    picture : PIL.ImageFile.ImageFile
    data : bytes

    Returns
    -------
    bool
    """
    try:
        if picture.format == "MPO":
            entries = [entry for entry in picture.mpinfo[ENTRIES] if not entry["Attribute"]["MPType"].startswith(THUMBNAIL)]
            return len(entries) > 1 and not any(gain in data for gain in GAINS)
        if picture.format == "TIFF":
            return in_tiff(data)
        return picture.format in ANIMATED and picture.is_animated
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - what is damaged behind the photo does not make it bad
        return False


def in_tiff(data):
    """Of the bytes of a TIFF."""
    pages = (page for page in Tiff.of(data).directories() if page.whole and page.pixels)
    return len(list(itertools.islice(pages, 2))) > 1
