"""What the network is shown: photos from the loader, or the maps below a frozen layer, each computed once."""

import contextlib

CHUNK = 64  # photos whose maps are made at once


class Source:
    """Inputs for a network, by (photo, view).

    Parameters
    ----------
    network : imgret.networks.trainable.Trainable
    loader : imgret.training.loader.Loader
    maps : imgret.training.maps.Maps or None
        The cache, where a layer is frozen.
    """

    def __init__(self, network, loader, maps=None):
        self._network, self._loader, self._maps = network, loader, maps

    def batches(self, lists, tell):
        """A generator of the inputs of each list of (photo, view), in order; maps that are missing are made before it is there.

        `tell` is an `imgret.training.telling.Telling`.
        """
        if self._maps is None:
            return self._loader.load(lists)
        self._fill(list(dict.fromkeys(pair for pairs in lists for pair in pairs)), tell)
        return (self._maps.get(pairs) for pairs in lists)

    def _fill(self, pairs, tell):
        missing = self._maps.missing(pairs)
        chunks = [missing[start : start + CHUNK] for start in range(0, len(missing), CHUNK)]
        if not chunks:
            return
        with contextlib.closing(self._loader.load(chunks)) as loaded, tell.progress(len(missing), "map below the frozen layer") as progress:
            for chunk, photos in zip(chunks, loaded, strict=True):
                found = [None] * len(chunk)
                for places in alike(photos, self._network.params.micro):
                    for place, array in zip(places, self._network.maps([photos[place] for place in places]), strict=True):
                        found[place] = array
                self._maps.add(chunk, found)
                progress.update(len(chunk))


def alike(inputs, most):
    """Lists of places of inputs that have one shape, at most `most` in each; the first of each shape in order."""
    shapes = {}
    for place, each in enumerate(inputs):
        shapes.setdefault(each.shape, []).append(place)
    return [places[start : start + most] for places in shapes.values() for start in range(0, len(places), most)]


def vectors_of(network, inputs, training=False, regional=False):
    """Vectors of inputs of any shapes, without gradients: torch.Tensor (N, D), in order. `training`: those that losses take; `regional`:
    those of regions, (N, R, D).
    """
    import torch

    found = [None] * len(inputs)
    for places in alike(inputs, network.params.micro):
        for place, vector in zip(places, network([inputs[place] for place in places], training=training, regional=regional), strict=True):
            found[place] = vector
    return torch.stack(found)
