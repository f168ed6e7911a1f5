"""JPEGs that end too early."""

import re

END = b"\xff\xd9"
MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # what is none inside a scan: a stuffed byte, a filler, a restart


def ended(data):
    """A JPEG with an end behind the last segment that is whole: decoders fill what is missing from there."""
    position = 2
    while (found := MARKER.search(data, position)) is not None:
        start = found.start()
        if data[start : start + 2] == END:
            break
        position = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
        if position > len(data) or start + 4 > len(data):
            return data[:start] + END
    return data + END
