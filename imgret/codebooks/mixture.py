"""Gaussians with diagonal covariances: the coordinates that they are learned in, and the steps of expectation and maximisation."""

import dataclasses
import math

import numpy as np

from imgret.codebooks.frames import frame_of
from imgret.parallel import blocks, ordered_map

TILE = 2**18  # posteriors of one tile (1 MB): products, exp and sums happen in the cache
FEWEST = 1.0  # a component that explains less than one row keeps its mean and variance


class Scaler:
    """Columns centred and divided by their standard deviation.

    Attributes
    ----------
    mean, spread : ndarray, shape (d,), float64
    log_volume : float
        log of the product of `spread`: what a log density in these coordinates is above one in the sample's own.
    """

    def __init__(self, x, jobs):
        frame = frame_of(x, jobs)

        def squares(block):
            z = frame.apply(x[block])
            return np.ones(len(z), np.float32) @ np.square(z, out=z)

        variance = sum(part.astype(np.float64) for part in ordered_map(squares, blocks(len(x)), jobs)) / len(x)
        varies = variance > 1e-24  # of the square of the sample's largest value
        variance[~varies] = variance[varies].mean() if varies.any() else 1.0
        self.mean = frame.mean.astype(np.float64)
        self.spread = np.sqrt(variance) / frame.scale
        self.log_volume = float(np.log(self.spread).sum())
        self._mean, self._share = frame.mean, (1 / self.spread).astype(np.float32)

    def apply(self, x):
        z = x - self._mean
        z *= self._share
        return z


@dataclasses.dataclass(frozen=True)
class Mixture:
    """Weights (K,), means and variances (K, d), float64, in the coordinates of a `Scaler`."""

    weights: np.ndarray
    means: np.ndarray
    variances: np.ndarray

    def expect(self, x, scaler, jobs, part=None):
        """The E step and the sums of the M step; `part(share)` is told which share of the rows is done, after each block but the last.

        Returns
        -------
        likelihood : float
            Mean log-likelihood of a row.
        counts : ndarray, shape (K,)
            Sums of the posteriors.
        first, second : ndarray, shape (K, d)
            Sums of posterior times z, and times z².
        """
        size, width = self.means.shape
        precision = 1 / self.variances
        # log w N(z) = [z², z] · coefficients + constants
        coefficients = np.concatenate([-0.5 * precision, self.means * precision], axis=1).T.astype(np.float32, order="C")
        constants = np.log(self.weights) - 0.5 * np.sum(math.log(2 * math.pi) + np.log(self.variances) + self.means**2 * precision, axis=1)
        constants = constants.astype(np.float32)
        ones = np.ones(size, np.float32)
        tile = max(64, min(2048, TILE // size))

        def work(block):
            z = scaler.apply(x[block])
            features = np.empty((min(tile, len(z)), 2 * width), np.float32)
            posteriors = np.empty((len(features), size), np.float32)
            product = np.empty((size, 2 * width), np.float32)
            sums, counts, likelihood = np.zeros((size, 2 * width), np.float32), np.zeros(size, np.float32), 0.0
            for rows in blocks(len(z), tile):
                f, p = features[: rows.stop - rows.start], posteriors[: rows.stop - rows.start]
                np.square(z[rows], out=f[:, :width])
                f[:, width:] = z[rows]
                np.matmul(f, coefficients, out=p)
                p += constants
                top = p.max(axis=1)
                p -= top[:, None]
                np.exp(p, out=p)
                total = p @ ones
                likelihood += float(np.sum(top + np.log(total), dtype=np.float64))
                # Dividing the features by the total is cheaper than dividing the posteriors.
                share = 1 / total
                f *= share[:, None]
                counts += share @ p
                sums += np.matmul(p.T, f, out=product)
            return likelihood, counts, sums

        likelihood, counts, sums = 0.0, np.zeros(size), np.zeros((size, 2 * width))
        pieces = blocks(len(x))
        for place, (own, number, moments) in enumerate(ordered_map(work, pieces, jobs), 1):
            likelihood += own
            counts += number
            sums += moments
            if part and place < len(pieces):
                part(place / len(pieces))
        return likelihood / len(x), counts, sums[:, width:], sums[:, :width]

    def maximize(self, counts, first, second, floor):
        """The M step: the mixture that the sums of `expect` ask for."""
        fed = counts >= FEWEST
        weights = np.where(fed, counts, np.maximum(counts, 1e-3))
        means, variances = self.means.copy(), self.variances.copy()
        means[fed] = first[fed] / counts[fed, None]
        variances[fed] = np.maximum(second[fed] / counts[fed, None] - means[fed] ** 2, floor)
        return Mixture(weights / weights.sum(), means, variances)
