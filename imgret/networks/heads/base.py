"""What a head is, and what most of them share."""

import copy

from imgret.arrays import TINIEST
from imgret.networks import pooling
from imgret.networks.heads import embedding, learned
from imgret.networks.heads.params import VectorParams
from imgret.networks.regions import PARTS, part


class Head:
    """Base of all heads: a subclass of `VectorHead`, or of `imgret.networks.heads.local.LocalHead`.

    Parameters
    ----------
    params : Params
    projection : fitted projection, optional
        For one that has `learned_on`.

    Attributes
    ----------
    Params : type
        Its own parameters, of `VectorParams` or `LocalParams`.
    gives : str
        "features" or "vectors".
    wants : str
        What it takes of a layer: "map" or "vector"; or "keypoints", which a network finds itself.
    known_as : str
        Another name of it, or what it gives, where its own does not tell.
    one_layer : bool
        Whether it takes one layer only.
    learned_on : str
        The head on whose local features a projection for it is learned; "" where it takes none.
    refuses : tuple of str
        Parameters of other heads that must not be set.
    trained_as : str
        Its own name, where it is of no use without tensors that were trained for it.
    learned : dict of str to torch.Tensor
        What training found, by name; it takes the place of parameters. Empty where nothing was trained. While training these are leaves
        that take a gradient, and the head is a differentiable function of them.
    training : bool
        Whether it is being trained, and must have a gradient where what it describes photos with has none.
    """

    gives = "vectors"
    wants = "map"
    known_as = ""
    one_layer = False
    learned_on = ""
    refuses = ()
    trained_as = ""
    training = False

    def __init__(self, params, projection=None):
        self.params, self.projection = params, projection
        self.learned = {}

    def start(self, dims, sample, known):
        """What training begins with, by name: none where there is nothing to learn.

        Parameters
        ----------
        dims : list of int
            Channels of each layer's output.
        sample : callable
            `sample(head)`: what the network as it is gives by another head, or by this one as it is, for photos to train on: ndarray of
            vectors (N, D), or of local features (N, D) where the head gives such, float32.
        known : dict of str to torch.Tensor
            What was trained beside the network before: gone on with where it fits.

        Returns
        -------
        dict of str to torch.Tensor
            float32.

        Raises
        ------
        ImgretError
            If the sample is too small for what has to be learned of it.
        """
        return {}

    def trained(self):
        """The parameters that say what was `learned`, by name, of what needs no tensor to be said: `{"p": 2.9}`.

        All other names of `learned` are kept as tensors, and are in `Backbone.learned` when the file is used.
        """
        return {}

    def attach(self, backbone):
        """Take of a network what it needs to know, trained for this head or not.

        Raises
        ------
        ImgretError
            If the network does not suit it.
        """

    def shapes(self, dims):
        """What it needs to have learned before it can describe anything: shapes by name; `start` gives such tensors, and may give more."""
        return {}

    def settle(self, backbone):
        """`attach`, and take what was trained beside the network: all that `shapes` names.

        Raises
        ------
        ImgretError
            If the network does not suit it, or something is not there or is odd.
        """
        self.attach(backbone)
        self.learned = learned.taken(self, backbone)

    def dim(self, dims):
        """Length of what it gives, for layers with so many channels."""
        return sum(dims)

    def describe(self, photos, forward):
        """Describe photos of one shape.

        Parameters
        ----------
        photos : list of imgret.images.Photo
        forward : imgret.networks.forward.Forward

        Returns
        -------
        torch.Tensor, shape (B, D), or list of imgret.networks.heads.local.Located
            Vectors of unit L2 norm, zero where nothing fires; or the local features of each photo.
        """
        raise NotImplementedError


class VectorHead(Head):
    """Base of heads that give one vector per photo: a subclass has `pool`; what it learns is in `said`, `begin` and `own_shapes`.

    Over any of them may lie a last linear layer (`imgret.networks.heads.embedding`).
    """

    Params = VectorParams

    def pool(self, output):
        """One layer's output (B, C, H, W), or (B, C) where it wants vectors, as (B, D)."""
        raise NotImplementedError

    def width(self, dims):
        """Length of its vectors below the last linear layer."""
        return sum(dims)

    def said(self):
        """Parameters that can be learned, as tensors, by name; `trained` is the way back."""
        return {}

    def begin(self, dims, sample):
        """What else training begins with below the last linear layer; see `Head.start`."""
        return {}

    def own_shapes(self, dims):
        """What it needs to have learned below the last linear layer; see `Head.shapes`."""
        return {}

    @property
    def exponent(self):
        """Of `combine=gem`."""
        return self.params.p

    def start(self, dims, sample, known):
        """What training begins with; see `Head.start`. The last layer begins with the head's own vectors of the sample."""
        own, layer = self.own_shapes(dims), embedding.shapes(self.params.embed, self.width(dims))
        found = self.said() | (learned.fitting(own, known) or self.begin(dims, sample))
        if not layer:
            return found
        below = copy.copy(self)
        below.params, below.learned = self.params.below(), found
        return found | (learned.fitting(layer, known) or embedding.start(sample(below), self.params))

    def shapes(self, dims):
        """What it needs to have learned; see `Head.shapes`."""
        return self.own_shapes(dims) | embedding.shapes(self.params.embed, self.width(dims))

    def dim(self, dims):
        """Length of a vector."""
        return self.params.embed or self.width(dims)

    def __call__(self, outputs):
        """Vectors (B, D) of unit L2 norm: of all layers as `pooled` gives them, through the last linear layer where there is one."""
        return self._last(self.pooled(outputs))

    def pooled(self, outputs):
        """Vectors (B, `width`) of unit L2 norm: all layers, each pooled and L2-normalised, side by side."""
        import torch

        return pooling.l2(torch.cat([pooling.l2(self.pool(output)) for output in outputs], dim=1))

    def regional(self, outputs):
        """Vectors of the regions of `imgret.networks.regions.PARTS` of each photo, cut from its maps: (B, R, D), the whole photo's first.

        Parameters
        ----------
        outputs : list of torch.Tensor, shape (B, C_i, H_i, W_i)
        """
        import torch

        return torch.stack([self._last(pooled) for pooled in self._parts(outputs)], dim=1)

    def _parts(self, outputs):
        """The vectors of each region below the last linear layer."""
        return [self.pooled([part(output, number) for output in outputs]) for number in range(len(PARTS))]

    def describe(self, photos, forward):
        """Vectors of photos of one shape: those of all views combined, then through the last linear layer; see `Head.describe`."""
        return self._last(self._combined([self.pooled(outputs) for outputs, _ in forward.views(photos)]))

    def describe_parts(self, photos, forward):
        """Vectors (B, R, D) of the regions of photos of one shape: those of all views combined, as `describe` does for whole photos."""
        import torch

        seen = []
        for number, (outputs, _) in enumerate(forward.views(photos)):
            mirrored = forward.params.flip and number % 2 == 1
            seen.append(self._parts([output.flip(3) for output in outputs] if mirrored else outputs))
        return torch.stack([self._last(self._combined(found)) for found in zip(*seen, strict=True)], dim=1)

    def _last(self, vectors):
        if not self.params.embed:
            return vectors
        return embedding.applied(vectors, self.learned, self.params.embed_as, self.training)

    def _combined(self, found):
        """The vectors of all views as one."""
        if len(found) == 1:
            return found[0]
        if self.params.combine == "sum":
            return pooling.l2(sum(found))
        p = self.exponent
        mean = sum(each.sign() * each.abs() ** p for each in found) / len(found)
        combined = mean.sign() * mean.abs() ** (1 / p)
        lost = mean.abs().amax(dim=1, keepdim=True) < TINIEST
        if lost.any():  # powers that float32 does not hold: relative to the sum of the sizes
            top = sum(each.abs() for each in found).clamp_min(TINIEST)
            mean = sum(each.sign() * (each.abs() / top) ** p for each in found) / len(found)
            combined = combined.where(~lost, mean.sign() * mean.abs() ** (1 / p) * top)
        return pooling.l2(combined)
