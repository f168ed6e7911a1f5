"""Softly assigned residuals of a map's columns, photo by photo, with a gradient of their own: nothing is copied, little is kept."""

import functools

from imgret.arrays import LARGEST, SMALLEST
from imgret.networks import pooling


def residuals(maps, weight, bias, centroids):
    """What NetVLAD adds up: Σ a_k (x - c_k) over the columns of each map, x being L2-normalised, a = softmax(w·x + b).

    The length of a column only scales its products with words, so that no normalised map is made; of each photo's columns the shares a are
    all that is kept for the gradient. One photo's do not depend on those beside it, to the last digit.

    Parameters
    ----------
    maps : torch.Tensor, shape (B, C, H, W)
        In either order of memory.
    weight, bias, centroids : torch.Tensor, shapes (K, C), (K,), (K, C)

    Returns
    -------
    residuals : torch.Tensor, shape (B, K, C)
    masses : torch.Tensor, shape (B, K)
        Σ a_k, without gradient.
    """
    x = maps.flatten(2)
    squares = _squares(x)
    if not ((squares > SMALLEST**2) & (squares < LARGEST**2)).all():
        x = pooling.l2(x.transpose(1, 2)).transpose(1, 2)
        squares = _squares(x)
    there = squares != 0  # NaN among them
    scale = squares.where(there, 1).rsqrt().where(there, 0)
    return _function().apply(x, scale, weight, bias, centroids)


def _squares(x):
    """Squared lengths (B, N) of columns (B, C, N)."""
    import torch

    return torch.stack([each.square().sum(dim=0) for each in x.detach()])


def _blocks(x):
    """Photos that are taken together: on a processor one, whose products stay in its cache."""
    return x.split(1 if x.device.type == "cpu" else len(x))


@functools.cache
def _function():
    from torch.autograd.function import Function, once_differentiable

    return type("Residuals", (Function,), {"forward": staticmethod(_forward), "backward": staticmethod(once_differentiable(_backward))})


def _forward(ctx, x, scale, weight, bias, centroids):
    """`residuals` of columns x (B, C, N) whose lengths are 1 / scale (B, N), 0 where nothing fires."""
    import torch

    shares, found, masses = [], [], []
    keep = any(ctx.needs_input_grad)
    for columns, factor in zip(_blocks(x), _blocks(scale[:, None]), strict=True):
        share = torch.matmul(weight, columns).mul_(factor).add_(bias[:, None])
        share = share.sub_(share.amax(dim=1, keepdim=True)).exp_()
        share.mul_((factor != 0) / share.sum(dim=1, keepdim=True))
        masses.append(share.sum(dim=2))
        found.append(((share * factor) @ columns.transpose(1, 2)).addcmul_(masses[-1][:, :, None], centroids, value=-1))
        if keep:
            shares.append(share)
    found, masses = torch.cat(found), torch.cat(masses)
    ctx.save_for_backward(x, scale, weight, centroids, masses, *shares)
    ctx.mark_non_differentiable(masses)
    return found, masses


def _backward(ctx, toward, _):
    """The gradients, of that by the residuals."""
    import torch

    x, scale, weight, centroids, masses, *shares = ctx.saved_tensors
    of_x, _, of_weight, of_bias, of_centroids = ctx.needs_input_grad
    along = torch.empty_like(x) if of_x else None
    for_weight, for_bias = torch.zeros_like(weight), weight.new_zeros(len(weight))
    blocks = [_blocks(each) for each in (x, scale[:, None], toward, along if of_x else x)]
    for share, columns, factor, given, out in zip(shares, *blocks, strict=True):
        # by the shares, then by what the softmax was taken of
        slope = (given @ columns).mul_(factor).sub_((given * centroids).sum(dim=2)[:, :, None])
        slope.sub_((share * slope).sum(dim=1, keepdim=True)).mul_(share)
        if of_weight:
            for_weight += ((slope * factor) @ columns.transpose(1, 2)).sum(dim=0)
        for_bias += slope.sum(dim=(0, 2))
        if of_x:
            _through_lengths(given.transpose(1, 2) @ share + weight.T @ slope, columns, factor, out)
    for_centroids = (masses[:, :, None] * toward).sum(dim=0).neg_() if of_centroids else None
    return along, None, for_weight if of_weight else None, for_bias if of_bias else None, for_centroids


def _through_lengths(toward, columns, factor, out):
    """The gradient by columns, into `out`, of that by unit columns: what lies along a column changes its length only."""
    within = (toward * columns).sum(dim=1, keepdim=True).mul_(factor).mul_(factor.square())
    out.copy_(toward.mul_(factor).addcmul_(columns, within, value=-1))
