"""Maps to vectors: the global poolings of the field, on torch tensors.

Every function takes maps of shape (B, C, H, W), float32, and gives (B, C), not normalised unless it says so. What needs activations that
are not negative takes negative ones for 0; those of a network's last convolutional map behind a ReLU are none.

All can be trained through: where a root or a quotient has no gradient that is finite (at 0, mostly), it is 0.
"""

import numpy as np

from imgret.arrays import LARGEST, SMALLEST, TINIEST

EPSILON = 1e-6
POWERS = 1.0, 100.0  # exponents of gem


def l2(x):
    """Rows (..., C) over their L2 norm, over the whole float32 range; a zero row stays zero.

    Rows whose squares float32 does not hold, zero rows among them, pass no gradient back.
    """
    norm = x.norm(dim=-1, keepdim=True)
    unit, odd = x / norm.clamp_min(1e-30), _odd(norm)
    return unit.where(~odd, _scaled(x.detach())[0]) if odd.any() else unit


def lengths(x):
    """L2 norms (...) of rows (..., C), over the whole float32 range: what is beyond its end is its last number."""
    norm = x.norm(dim=-1)
    if not _odd(norm).any():
        return norm
    _, length, top = _scaled(x)
    return norm.where(~_odd(norm), (length * top).clamp_max(np.finfo(np.float32).max)[..., 0])


def _odd(norm):
    """Which norms are of squares that float32 does not hold."""
    return ~((norm > SMALLEST) & (norm < LARGEST))


def _root(x):
    """Square root of what is not negative, whose gradient at 0 is 0."""
    positive = x > 0
    return x.where(positive, 1).sqrt().where(positive, 0)


def _scaled(x):
    """Rows (..., C) over their L2 norm, that norm as a multiple of their largest value, and that value: no square leaves float32."""
    top = x.abs().amax(dim=-1, keepdim=True).clamp_min(TINIEST)
    x = x / top
    length = x.norm(dim=-1, keepdim=True)
    return x / length.clamp_min(TINIEST), length, top


def avg(maps, centre=False):
    """SPoC: sum-pooling, here as the mean; with the centre prior, activations weigh more near the middle of the photo.

    The prior is exp(-((y - H/2)² + (x - W/2)²) / (2 σ²)) for places (x, y) counted from 1/2, σ a third of the distance from the centre to
    the nearest edge, min(H, W) / 6.

    References
    ----------
    A. Babenko & V. Lempitsky, Aggregating deep convolutional features for image retrieval, ICCV 2015, equations 2, 4 and 5.
    """
    if not centre:
        return maps.mean(dim=(2, 3))
    import torch

    height, width = maps.shape[2:]
    sigma = min(height, width) / 6
    y = torch.arange(height, device=maps.device) + 0.5 - height / 2
    x = torch.arange(width, device=maps.device) + 0.5 - width / 2
    prior = torch.exp(-(y[:, None] ** 2 + x[None] ** 2) / (2 * sigma**2))
    return (maps * prior).mean(dim=(2, 3))


def largest(maps):
    """MAC: the maximum of each channel (Tolias, Sicre & Jégou, ICLR 2016, equation 2, there after Razavian et al. 2014)."""
    return maps.amax(dim=(2, 3))


def gem(maps, p):
    """Generalised mean: (mean of max(x, 1e-6)^p)^(1/p); p = 1 is SPoC, p → ∞ is MAC.

    Computed relative to each channel's maximum, so that no power leaves float32. The result does not depend on what it is relative to,
    which therefore passes no gradient back.

    Parameters
    ----------
    maps : torch.Tensor, shape (B, C, H, W)
    p : float or torch.Tensor of one number
        A tensor may be learned: what leaves 1 to 100 counts as the nearer of the two, with its gradient, so that it can come back.

    References
    ----------
    F. Radenović, G. Tolias & O. Chum, Fine-tuning CNN image retrieval with no human annotation, PAMI 2019, equation 3.
    """
    x = maps.clamp_min(EPSILON)
    top = x.detach().amax(dim=(2, 3), keepdim=True)
    p = p if isinstance(p, float) else p + (p.clamp(*POWERS) - p).detach()
    return ((x / top) ** p).mean(dim=(2, 3)) ** (1 / p) * top[:, :, 0, 0]


def crow(maps):
    """CroW: activations weighted by place, by how much fires there, and by channel, by how rarely it fires.

    With S the sum of the channels, α = (S / (Σ S²)^(1/2))^(1/2) for each place; with Q_k the share of places where channel k is not zero,
    β_k = log((K ε + Σ_h Q_h) / (ε + Q_k)); the vector is β_k Σ α x_k.

    References
    ----------
    Y. Kalantidis, C. Mellina & S. Osindero, Cross-dimensional weighting for aggregated deep convolutional features, ECCVW 2016,
    sections 3.1 (equation 2, a = b = 2), 3.2 and 3.3 (equation 3).
    """
    x = maps.clamp_min(0)
    places = x.sum(dim=1, keepdim=True)
    norm = _root((places**2).sum(dim=(2, 3), keepdim=True))
    share = places / norm.clamp_min(1e-30)
    if _odd(norm).any():
        share = share.where(~_odd(norm), l2(places.flatten(1)).reshape(places.shape))
    return (x * _root(share)).sum(dim=(2, 3)) * channel_weights(x)


def channel_weights(x):
    """CroW's weights of channels, (B, C), for maps without negative values."""
    filled = (x > 0).float().mean(dim=(2, 3))
    return ((x.shape[1] * EPSILON + filled.sum(dim=1, keepdim=True)) / (EPSILON + filled)).log()


def cam(maps, weight, bias, classes):
    """Class activation weighting: for each of the most probable classes, activations weighted by that class's activation map.

    The map of class n is Σ_k w_nk x_k, scaled to [0, 1]; each class gives the vector β_k Σ (map) x_k with CroW's β, L2-normalised; these
    are summed. The classes are the photo's own most probable ones (the paper's online aggregation).

    Parameters
    ----------
    maps : torch.Tensor, shape (B, C, H, W)
        What the classifier takes the mean of.
    weight, bias : torch.Tensor, shapes (K, C), (K,)
        The classifier.
    classes : int

    References
    ----------
    A. Jiménez, J. M. Alvarez & X. Giró-i-Nieto, Class-weighted convolutional features for visual instance search, BMVC 2017, section 3,
    equations 1 to 3.
    """
    import torch

    scores = torch.nn.functional.linear(maps.mean(dim=(2, 3)), weight, bias)
    chosen = scores.topk(min(classes, len(weight)), dim=1).indices
    activation = torch.einsum("bnc,bchw->bnhw", weight[chosen], maps)
    low, high = activation.amin(dim=(2, 3), keepdim=True), activation.amax(dim=(2, 3), keepdim=True)
    span = high - low
    activation = ((activation - low) / span.clamp_min(1e-30)).where(span > 0, 0)
    x = maps.clamp_min(0)
    vectors = torch.einsum("bnhw,bchw->bnc", activation, x) * channel_weights(x)[:, None]
    return l2(vectors).sum(dim=1)


def regions(maps, grid, how, p):
    """Each region of a grid, pooled.

    Parameters
    ----------
    maps : torch.Tensor, shape (B, C, H, W)
    grid : array_like, shape (R, 3)
        Top, left and side.
    how : str
        "max", "avg" or "gem".
    p : float
        gem's exponent.

    Returns
    -------
    torch.Tensor, shape (B, R, C)
    """
    import torch

    pool = {"max": largest, "avg": avg, "gem": lambda part: gem(part, p)}[how]
    return torch.stack([pool(maps[:, :, top : top + side, left : left + side]) for top, left, side in grid], dim=1)


def rmac(maps, grid, project=None):
    """R-MAC: MAC of each region, L2-normalised, whitened and normalised again where there is a projection, summed.

    Parameters
    ----------
    maps : torch.Tensor, shape (B, C, H, W)
    grid : array_like, shape (R, 3)
        See `imgret.networks.regions.rmac_regions`.
    project : callable, optional
        (R, C) to (R, d), both ndarrays.

    References
    ----------
    G. Tolias, R. Sicre & H. Jégou, Particular object retrieval with integral max-pooling of CNN activations, ICLR 2016, section 3.2,
    equation 3.
    """
    import torch

    pooled = l2(regions(maps, grid, "max", 1.0))
    if project is not None:
        flat = np.ascontiguousarray(pooled.reshape(-1, pooled.shape[-1]).cpu().numpy())
        pooled = l2(torch.from_numpy(np.ascontiguousarray(project(flat))).to(maps.device).reshape(*pooled.shape[:2], -1))
    return pooled.sum(dim=1)


def columns(maps):
    """Every place of several maps as one descriptor: the maps are resized to the finest, each column of each L2-normalised, put together.

    Parameters
    ----------
    maps : list of torch.Tensor, shape (B, C_i, H_i, W_i)

    Returns
    -------
    descriptors : torch.Tensor, shape (B, H W, Σ C_i)
        Unit L2 norm; zero where nothing fires.
    strength : torch.Tensor, shape (B, H W)
        L2 norm of the columns before they were normalised (their mean over the maps).

    References
    ----------
    B. Hariharan et al., Hypercolumns for object segmentation and fine-grained localization, CVPR 2015; J. Y.-H. Ng, F. Yang & L. S. Davis,
    Exploiting local features from deep networks for image retrieval, CVPRW 2015 (columns of one map through VLAD).
    """
    import torch

    size = max((tuple(each.shape[2:]) for each in maps), key=lambda shape: shape[0] * shape[1])
    rows = []
    for each in maps:
        if tuple(each.shape[2:]) != size:
            each = torch.nn.functional.interpolate(each, size=size, mode="bilinear", align_corners=False)
        rows.append(each.flatten(2).transpose(1, 2))
    return joined(rows)


def joined(parts):
    """Descriptors of several layers, each L2-normalised, side by side and normalised again.

    Parameters
    ----------
    parts : list of torch.Tensor, shape (..., C_i)

    Returns
    -------
    descriptors : torch.Tensor, shape (..., Σ C_i)
    strength : torch.Tensor, shape (...)
        Their mean L2 norm before that.
    """
    import torch

    norms = torch.stack([lengths(part) for part in parts]).mean(dim=0)
    return l2(torch.cat([l2(part) for part in parts], dim=-1)), norms
