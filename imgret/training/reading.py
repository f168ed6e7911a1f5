"""How photos are read to train on: just as `extract` reads them, and as what is augmented."""

import dataclasses

from imgret import images
from imgret.networks import views


@dataclasses.dataclass(frozen=True)
class Reading:
    """How photos are read: plain values, which workers are told of.

    Attributes
    ----------
    max_size : int
        Longest side in pixels.
    resize : str
        "keep" or "square"; see `imgret.networks.params.ViewParams`.
    least : int
        Sides the network takes at the least.
    truncated : str
        Of a photo that lacks its last bytes: `imgret.images.REFUSE` or `ACCEPT`.
    """

    max_size: int
    resize: str = "keep"
    least: int = 1
    truncated: str = images.REFUSE

    scales = (1.0,)

    @property
    def most_bytes(self):
        """Bytes that the pixels of a photo may have."""
        return 3 * max(self.max_size, self.least) ** 2

    def read(self, data):
        """A photo's bytes as RGB pixels, uint8, shape (H, W, 3): those that a network is shown by `extract`.

        Raises
        ------
        imgret.images.BadPhoto
        """
        return views.read(data, self, self.least, truncated=self.truncated).pixels

    def read_for(self, data, max_size):
        """The same of another size, the photo's aspect kept: what views are cut from.

        Raises
        ------
        imgret.images.BadPhoto
        """
        return images.decode(data, max_size=max_size, grey=False, truncated=self.truncated).pixels
