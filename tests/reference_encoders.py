"""Slow, obvious encoders in float64 loops, from the papers' formulas, for the tests to compare with."""

import math

import numpy as np


def _unit(v):
    norm = math.sqrt(sum(float(z) * float(z) for z in v))
    return v / norm if norm > 0 else v


def vlad(x, centroids, norm, power=0.5):
    """Jégou et al., CVPR 2010, eq. 1, then the steps of `norm`. (K * d,), float64."""
    x, centroids = np.asarray(x, np.float64), np.asarray(centroids, np.float64)
    sums = np.zeros_like(centroids)
    for descriptor in x:
        distances = [((descriptor - word) ** 2).sum() for word in centroids]
        k = int(np.argmin(distances))
        residual = descriptor - centroids[k]
        sums[k] += _unit(residual) if "residual" in norm else residual
    for step in norm:
        if step == "intra":
            sums = np.array([_unit(row) for row in sums])
        elif step == "power":
            sums = np.array([[math.copysign(abs(z) ** power, z) for z in row] for row in sums])
    return _unit(sums.reshape(-1))


def posteriors(x, weights, means, variances):
    """gamma_t(k), (T, K)."""
    result = []
    for descriptor in x:
        logs = []
        for w, mu, v in zip(weights, means, variances, strict=True):
            logs.append(
                math.log(w) - 0.5 * sum(math.log(2 * math.pi * s) + (a - m) ** 2 / s for a, m, s in zip(descriptor, mu, v, strict=True))
            )
        top = max(logs)
        total = sum(math.exp(z - top) for z in logs)
        result.append([math.exp(z - top) / total for z in logs])
    return np.array(result)


def fisher(x, weights, means, variances, gradients=("mean", "sigma"), power=0.5):
    """Sánchez et al., IJCV 2013, eq. 16 to 18, then power and L2. (V,), float64."""
    x, weights, means, variances = (np.asarray(array, np.float64) for array in (x, weights, means, variances))
    gamma = posteriors(x, weights, means, variances)
    weight, mean, sigma = np.zeros(len(weights)), np.zeros_like(means), np.zeros_like(means)
    for t, descriptor in enumerate(x):
        for k, w in enumerate(weights):
            z = (descriptor - means[k]) / np.sqrt(variances[k])
            weight[k] += (gamma[t, k] - w) / math.sqrt(w)
            mean[k] += gamma[t, k] * z / math.sqrt(w)
            sigma[k] += gamma[t, k] * (z * z - 1) / math.sqrt(2 * w)
    parts = {"weight": weight, "mean": mean.reshape(-1), "sigma": sigma.reshape(-1)}
    vector = np.concatenate([parts[name] for name in ("weight", "mean", "sigma") if name in gradients])
    return _unit(np.array([math.copysign(abs(z) ** power, z) for z in vector]))
