"""Pixels of what Pillow has opened, or as many of them as are there."""

from imgret.samples.bad import undecodable


def load(image, lenient):
    """Decode an image.

    Parameters
    ----------
    image : PIL.ImageFile.ImageFile
    lenient : bool
        Where its bytes end too early, or go wrong, what was decoded until then will do: the rest stays black.

    Raises
    ------
    imgret.samples.bad.BadPhoto
        `truncated`.
    """
    try:
        image.load()
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - decoders raise anything over a damaged file
        if not lenient or not _begun(image):
            raise undecodable(error) from None
        image.tile = []  # nothing is left to be decoded


def _begun(image):
    """Whether some pixels have been decoded, and lie as the header has them."""
    try:
        return image.im.size == image.size and image.im.getbbox() is not None
    except Exception:  # noqa: BLE001 - there are none
        return False
