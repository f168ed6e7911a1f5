"""HEIC and AVIF: which of them a file is, whether it can be read here, and how large it claims to be."""

import functools
import struct

AVIF, HEIC = "AVIF", "HEIC"
REMEDIES = {AVIF: "pip install -U pillow", HEIC: "pip install 'imgret[heif]'"}
AVIF_BRANDS = (b"avif", b"avis")
HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs")
ANY_BRANDS = (b"mif1", b"msf1", b"mif2", b"miaf", b"MiHE")  # the container's: the others tell what it holds
MOST = 1 << 16  # boxes side by side that are looked at
INSIDE = (b"meta", b"iprp", b"ipco")  # of a file, one in the other: where the properties of its pictures are


def form_of(data):
    """`AVIF` or `HEIC`; None of anything else."""
    if data[4:8] != b"ftyp" or not 16 <= int.from_bytes(data[:4], "big") <= min(len(data), 1 << 12):
        return None
    size = int.from_bytes(data[:4], "big")
    first, *others = (bytes(data[at : at + 4]) for at in (8, *range(16, size - 3, 4)))
    brands = (first, *others) if first in ANY_BRANDS else (first,)
    for form, known in ((AVIF, AVIF_BRANDS), (HEIC, HEIC_BRANDS)):
        if any(brand in known for brand in brands):
            return form
    return HEIC if first in ANY_BRANDS else None


@functools.cache
def reader(form):
    """What opens a form as Pillow does its own; None where it is not installed, or does not work."""
    try:
        if form == AVIF:
            from PIL import AvifImagePlugin, features

            AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # parallel over photos
            return AvifImagePlugin.AvifImageFile if features.check("avif") else None
        from pillow_heif import as_plugin, options

        options.DECODE_THREADS = 1
        options.THUMBNAILS = options.DEPTH_IMAGES = options.AUX_IMAGES = False  # the picture itself, and nothing beside it
        return as_plugin.HeifImageFile
    except Exception:  # noqa: BLE001 - whatever is wrong with an installation, it does not read
        return None


def remedy(form):
    """What to do for a form to be read here; '' where it is."""
    return "" if reader(form) else REMEDIES[form]


def unsupported(form):
    """Why a form that is not read here is not: a sentence."""
    return f"it is {form}, which this installation of imgret does not read: {REMEDIES[form]}"


def lacking(reason, still=False):
    """Whether a photo could not be read because what that takes was not installed; with `still`, and is not now."""
    return any(reason == unsupported(form) and not (still and reader(form)) for form in REMEDIES)


def claim(data):
    """The sides of the largest picture that a file says to hold, (0, 0) where it says nothing, and how many bytes a sample takes.

    Of a grid that is the whole: its tiles are smaller. Decoders refuse pictures that are larger than what is told here.
    """
    sides, depths = (0, 0), []
    for kind, start, end in _boxes(data, 0, len(data), INSIDE):
        if kind == b"ispe" and end - start >= 12:
            sides = max(sides, struct.unpack_from(">II", data, start + 4), key=lambda each: each[0] * each[1])
        elif kind == b"pixi" and end - start > 5:
            depths += data[start + 5 : min(end, start + 5 + data[start + 4])]
    return sides, 1 if depths and max(depths) <= 8 else 2


def _boxes(data, start, end, inside):
    """Yield (kind, where its content begins and ends) of the boxes in the innermost of `inside`."""
    for _ in range(MOST):
        if start + 8 > end:
            return
        size, kind = struct.unpack_from(">I4s", data, start)
        head = 8
        if size == 1 and start + 16 <= end:
            (size,) = struct.unpack_from(">Q", data, start + 8)
            head = 16
        stop = end if size == 0 else min(start + size, end)
        if stop < start + head:
            return
        if not inside:
            yield kind, start + head, stop
        elif kind == inside[0]:
            yield from _boxes(data, start + head + (4 if kind == b"meta" else 0), stop, inside[1:])
        start = stop
