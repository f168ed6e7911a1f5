"""What an encoder is, and what it gives."""

import numpy as np

from imgret.components import Component
from imgret.errors import ImgretError

ROWS = 8  # with so few, every row of a product is rounded alike: the smallest tiles of BLAS are as high


class Encoder(Component):
    """Base of all encoders: a photo's local features, or its vectors, to one vector.

    What takes features has `encode`, a function of one photo's features, bit for bit, under one BLAS thread. What takes vectors has
    `encode_block`. Vectors come out L2-normalised, of the type that `params.dtype` says; zero where nothing is left to normalise.

    Attributes
    ----------
    takes : str
        "features" or "vectors".
    gives : str
        The kind of store that it makes.
    branches : tuple
        (1, 1), or (2, None) for what joins several stores of the same photos.
    dim : int
        Length of the vectors.
    whole : bool
        Whether what it makes of a photo of the inputs depends on all others: then it has `encode_among`, and takes vectors.
    widths : list of (int or None)
        Columns of each input, once `over` has been told; None where it is not known.
    """

    takes = "features"
    gives = "vectors"
    branches = (1, 1)
    dim = None
    whole = False

    def __init__(self, params, *codebooks):
        super().__init__(params, *codebooks)
        self.widths = []

    def over(self, widths):
        """The encoder, over inputs of these columns.

        Parameters
        ----------
        widths : list of (int or None)
            One for each input; None where it is not known.

        Returns
        -------
        Encoder
            Itself.

        Raises
        ------
        ImgretError
            If it cannot take so many.
        """
        if not self.takes_branches(len(widths)):
            raise ImgretError(f"'{self.name}' cannot be made over {len(widths)} inputs")
        self.widths = list(widths)
        return self

    def encode(self, *features):
        """One photo to what is stored of it, where `takes` is "features".

        Parameters
        ----------
        *features : imgret.features.LocalFeatures
            One for each input; at least one descriptor in each.

        Returns
        -------
        ndarray, shape (dim,), float32 or float16
            Or, for an encoder that gives no vectors, a dict of columns, one row for each of the photo's entries.

        Raises
        ------
        ImgretError
            For no descriptors, another number of columns, values that are not finite or too large.
        """
        raise NotImplementedError(type(self).__name__)

    def encode_block(self, *blocks):
        """Some photos' vectors to theirs, where `takes` is "vectors".

        Parameters
        ----------
        *blocks : array_like, shape (N, V)
            One for each input.

        Returns
        -------
        ndarray, shape (N, dim), float32 or float16

        Raises
        ------
        ImgretError
            For another number of inputs or columns, values that are not finite or too large.
        """
        raise NotImplementedError(type(self).__name__)

    def encode_rows(self, *blocks):
        """The same as `encode_block`, but each row is a function of that photo's vectors alone, bit for bit, whatever is beside it.

        How a product of matrices is rounded depends on how many rows there are, and beyond a few on which row it is: so it is asked for
        `ROWS` at a time, zeros where there are none left.
        """
        encoded = []
        for start in range(0, len(blocks[0]), ROWS):
            some = [block[start : start + ROWS] for block in blocks]
            count = len(some[0])
            encoded.append(self.encode_block(*(np.pad(block, [(0, ROWS - count), (0, 0)]) for block in some))[:count])
        return np.concatenate(encoded)

    def encode_among(self, places, gallery):
        """Some photos' vectors to theirs, where `whole` is true: a function of the gallery, bit for bit, whichever photos are asked for.

        Parameters
        ----------
        places : ndarray, shape (n,), int64
            Where they are among the photos of the inputs, which are the gallery.
        gallery : object
            Always the same: `blocks()` yields (first, vectors (m, V)) of all photos in their order; `rows(places)` gives the vectors
            (n, V) of some.

        Returns
        -------
        ndarray, shape (n, dim), float32 or float16
        """
        raise NotImplementedError(type(self).__name__)

    def columns(self):
        """The data columns of a store of what it gives: `{path: (row_shape, dtype, {attribute: text})}`."""
        return {"vectors": ((self.dim,), self.params.dtype, {})}
