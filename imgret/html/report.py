"""What makes a file a report, and the line of it that holds the thumbnails: written, and read back by the next report."""

import base64
import os
import re

from imgret.errors import ImgretError, why

BEGIN = b"<!doctype html><!-- imgret report"
MAX_BYTES = 400 << 20  # Chromium holds no text of more than 512 MB, Firefox of 1 GB: the page would stay empty
THUMBNAILS = b'<script type="application/json" id="thumbnails">'
_ENTRY = re.compile(rb'\["([0-9a-f]{32})","([A-Za-z0-9+/=]{4,1400000})",(\d{1,6}),(\d{1,6})\]')  # no thumbnail has a megabyte


def is_report(path):
    """Whether the file at `path` is a report, by its first bytes.

    Raises
    ------
    ImgretError
        If it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return file.read(len(BEGIN)) == BEGIN
    except OSError as error:
        raise ImgretError(f"--html {path} cannot be read: {why(error)}") from None


def thumbnail_of(position, name, thumbnails):
    """The thumbnail of the photo at a position of the page, or None: the one that goes by the position, else the one of the name."""
    return thumbnails.get(position, thumbnails.get(name))


def thumbnail_texts(photos, thumbnails):
    """Yield the JSON of the thumbnails piece by piece, on one line: `[key, base64, width, height]` or null for each of `photos`."""
    separator = "["
    for position, name in enumerate(photos):
        thumbnail = thumbnail_of(position, name, thumbnails)
        text = "null"
        if thumbnail is not None:
            key, jpeg, (width, height) = thumbnail
            text = f'["{key}","{base64.b64encode(jpeg).decode("ascii")}",{width},{height}]'
        yield separator + text
        separator = ","
    yield "]" if photos else "[]"


def old_thumbnails(path):
    """The thumbnails of an older report: dict of key to (base64 as bytes, width, height); nothing where it is none.

    The file may be anybody's: it is not parsed as JSON, which may take many times its size, and what is found is not yet looked at.
    """
    try:
        if not os.path.isfile(path) or os.path.getsize(path) > MAX_BYTES or not is_report(path):
            return {}
        with open(path, "rb") as file:
            line = next((line for line in file if line.startswith(THUMBNAILS)), b"")
    except (OSError, ImgretError):
        return {}
    return {found[1].decode(): (found[2], int(found[3]), int(found[4])) for found in _ENTRY.finditer(line)}
