"""Endings of file names: of photos, and of pictures that are not read. What is none of them is no picture, and nobody's concern."""

from imgret.samples import heif

PHOTOS = (
    *(b".jpg", b".jpeg", b".jpe", b".jfif", b".mpo"),
    *(b".png", b".webp", b".tif", b".tiff", b".bmp", b".gif"),
)
# what they hold, and so what has to be installed for them to be read
OPTIONAL = {b".heic": heif.HEIC, b".heif": heif.HEIC, b".hif": heif.HEIC, b".heics": heif.HEIC, b".heifs": heif.HEIC}
OPTIONAL |= {b".avif": heif.AVIF, b".avifs": heif.AVIF}
# pictures that are counted where folders are searched: films, drawings and what lies beside photos (.xmp, .json) are not
PICTURES = (
    *(b".jp2", b".j2k", b".j2c", b".jpf", b".jpx", b".jpm", b".jxl", b".jxr", b".wdp", b".hdp"),
    *(b".psd", b".psb", b".xcf", b".tga", b".exr", b".hdr", b".dds", b".qoi", b".pcx", b".pbm", b".pgm", b".ppm", b".pnm", b".pfm"),
    *(b".dng", b".cr2", b".cr3", b".crw", b".nef", b".nrw", b".arw", b".sr2", b".srf", b".raf", b".orf", b".rw2", b".rwl", b".raw"),
    *(b".pef", b".srw", b".x3f", b".3fr", b".fff", b".iiq", b".erf", b".kdc", b".dcr", b".mos", b".mrw", b".mef", b".gpr"),
)
ALL = (*PHOTOS, *OPTIONAL)  # of what is a photo to some installation of imgret
_ALWAYS, _KNOWN = frozenset(PHOTOS), frozenset((*ALL, *PICTURES))  # asked of every file in a folder


def picture(name):
    """The ending of a file's name (bytes), in lower case, where it is that of a picture; b"" otherwise."""
    ending = name[name.rfind(b".") :].lower()  # the last letter of a name without a point is none
    return ending if ending in _KNOWN else b""


def readable(ending):
    """Whether what is called so is read, with what is installed here."""
    return ending in _ALWAYS or (ending in OPTIONAL and heif.reader(OPTIONAL[ending]) is not None)


def read_here():
    """All that are read, with what is installed here: list of str."""
    return [ending.decode() for ending in ALL if readable(ending)]


def told(unread):
    """What to say of pictures that are not read: how many there are of each ending, and what to install.

    Parameters
    ----------
    unread : dict of bytes to int

    Returns
    -------
    str
        Without a full stop; '' where there is none.
    """
    if not unread:
        return ""
    count = sum(unread.values())
    kinds = ", ".join(f"{number} {ending.decode()}" for ending, number in sorted(unread.items(), key=lambda item: (-item[1], item[0])))
    forms = dict.fromkeys(form for ending, form in OPTIONAL.items() if ending in unread)
    remedy = "".join(f"; to read {form}: {heif.remedy(form)}" for form in forms)
    return f"{count} {'file' if count == 1 else 'files'} of types imgret does not read: {kinds}{remedy}"
