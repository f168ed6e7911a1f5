"""Photos as a network takes them: resized, gathered by shape, normalised, at several scales and mirrored."""

import dataclasses

import numpy as np

from imgret import images
from imgret.errors import UsageError
from imgret.networks.params import ViewParams


def sized(params, backbone):
    """Parameters by which photos are resized to the only size that a network takes; those of any other network as they are.

    Parameters
    ----------
    params : Params
        Of `imgret.networks.params.ViewParams`, and `scales`.
    backbone : imgret.networks.backbones.base.Backbone

    Returns
    -------
    Params

    Raises
    ------
    UsageError
        If another size is asked for.
    """
    if backbone.size is None:
        return params
    height, width = backbone.size
    if (params.max_size, params.resize) == tuple(each.default for each in dataclasses.fields(ViewParams)):
        params = dataclasses.replace(params, max_size=max(height, width), resize="square")
    if (params.max_size, params.resize) != (max(height, width), "square") or params.scales != (1.0,):
        raise UsageError(
            f"{backbone.name} takes photos of {width} × {height} pixels and no others: leave `max_size`, `resize` and `scales` out"
        )
    return params


def read(data, params, least, size=None, **how):
    """Decode and resize a photo, to `max_size` or, where it is looked at larger too (`scales`), as far as that needs.

    Parameters
    ----------
    data : bytes
    params : Params
        `max_size`, `scales`, `resize`.
    least : int
        Sides the network takes at the least. A smaller photo is enlarged until its shorter side has as many pixels, as long as the longer
        one stays within `max_size`; then the border is repeated.
    size : (int, int), optional
        Height and width of the only photos it takes.
    **how
        `box`, `crop` and `truncated` of `imgret.images.decode`.

    Returns
    -------
    imgret.images.Photo
        RGB.
    """
    if size is not None:
        photo = images.decode(data, grey=False, **how)
        return dataclasses.replace(photo, pixels=images.resize(photo.pixels, *size[::-1]))
    longest = round(params.max_size * max(1.0, *params.scales))
    if params.resize == "square":
        photo = images.decode(data, grey=False, **how)
        side = max(longest, least)
        return dataclasses.replace(photo, pixels=images.resize(photo.pixels, side, side))
    photo = images.decode(data, max_size=longest, grey=False, **how)
    pixels = photo.pixels
    height, width = pixels.shape[:2]
    if min(height, width) < least:
        factor = max(1.0, min(least / min(height, width), params.max_size / max(height, width)))
        pixels = images.resize(pixels, max(1, round(width * factor)), max(1, round(height * factor)))
        missing = [max(0, least - side) for side in pixels.shape[:2]]
        pixels = np.pad(pixels, [*((room // 2, room - room // 2) for room in missing), (0, 0)], mode="edge")
    return dataclasses.replace(photo, pixels=np.ascontiguousarray(pixels))


def batches(photos, most):
    """Yield lists of positions of photos that have one shape, at most `most` in each; the first of each shape in order of the photos."""
    shapes = {}
    for position, photo in enumerate(photos):
        shapes.setdefault(photo.pixels.shape, []).append(position)
    for positions in shapes.values():
        for start in range(0, len(positions), most):
            yield positions[start : start + most]


def tensor(photos, params, device):
    """Photos of one shape as a normalised tensor (B, 3, H, W), float32, channels last in memory."""
    import torch

    x = torch.from_numpy(np.stack([photo.pixels for photo in photos])).to(device)
    if params.channels == "bgr":
        x = x.flip(3)
    mean, std = (torch.tensor(value, dtype=torch.float32, device=device) for value in (params.mean, params.std))
    # one multiplication and addition: (x / 255 · range - mean) / std
    x = x.to(torch.float32) * (params.range / 255 / std) - mean / std
    return x.permute(0, 3, 1, 2)


def looks(x, params, least):
    """Yield (view, factor) of photos at every scale, and mirrored where asked for; `factor` is the size of the view as a share of x.

    A scale is relative to the photo at `max_size`.
    """
    import torch

    height, width = x.shape[2:]
    unit = min(1.0, params.max_size / max(height, width, 1)) if max(params.scales) > 1 else 1.0
    for scale in params.scales:
        size = tuple(max(least, round(side * unit * scale)) for side in (height, width))
        view = x
        if size != (height, width):
            view = torch.nn.functional.interpolate(x, size=size, mode="bilinear", align_corners=False, antialias=True)
            view = view.contiguous(memory_format=torch.channels_last)
        yield view, (size[1] / width, size[0] / height)
        if params.flip:
            yield view.flip(3), (size[1] / width, size[0] / height)
