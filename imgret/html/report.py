"""What makes a file a report, and the line of it that holds the thumbnails: written, and read back by the next report."""

import base64
import json
import os

from imgret.errors import ImgretError

BEGIN = b"<!doctype html><!-- imgret report"
MAX_BYTES = 400 << 20  # Chromium holds no text of more than 512 MB, Firefox of 1 GB: the page would stay empty
THUMBNAILS = b'<script type="application/json" id="thumbnails">'
_END = b"</script>"


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
        raise ImgretError(f"--html {path} cannot be read: {os.strerror(error.errno)}") from None


def thumbnail_texts(photos, thumbnails):
    """Yield the JSON of the thumbnails piece by piece, on one line: `[key, base64, width, height]` or null for each of `photos`."""
    separator = "["
    for name in photos:
        thumbnail = thumbnails.get(name)
        text = "null"
        if thumbnail is not None:
            key, jpeg, (width, height) = thumbnail
            text = f'["{key}","{base64.b64encode(jpeg).decode("ascii")}",{width},{height}]'
        yield separator + text
        separator = ","
    yield "]" if photos else "[]"


def old_thumbnails(path):
    """The thumbnails of an older report by their keys, `[key, base64, width, height]`; nothing where it is none or is damaged.

    Only the keys are looked at: the file may be anybody's.
    """
    try:
        if not os.path.isfile(path) or os.path.getsize(path) > MAX_BYTES or not is_report(path):
            return {}
        with open(path, "rb") as file:
            line = next((line for line in file if line.startswith(THUMBNAILS)), b"").rstrip()
        entries = json.loads(line.removeprefix(THUMBNAILS).removesuffix(_END))
    except (OSError, ImgretError, ValueError, RecursionError):
        return {}
    entries = entries if isinstance(entries, list) else []
    return {entry[0]: entry for entry in entries if isinstance(entry, list) and entry and isinstance(entry[0], str)}
