"""Slow, obvious versions of what the codebooks compute."""

import math

import numpy as np


def kmeans_objective(x, centroids):
    """(Sum over rows of the squared distance to the nearest centroid, the words); the lowest word wins a tie."""
    total, words = 0.0, []
    for row in np.asarray(x, np.float64):
        distances = [sum((a - b) ** 2 for a, b in zip(row, c, strict=True)) for c in np.asarray(centroids, np.float64)]
        words.append(distances.index(min(distances)))
        total += min(distances)
    return total, words


def lloyd_step(x, centroids):
    """One Lloyd iteration; a word without rows stays."""
    _, words = kmeans_objective(x, centroids)
    new = np.array(centroids, np.float64)
    for word in range(len(new)):
        members = [row for row, mine in zip(np.asarray(x, np.float64), words, strict=True) if mine == word]
        if members:
            new[word] = sum(members) / len(members)
    return new


def log_densities(x, weights, means, variances):
    """log w_k N(x | mu_k, sigma_k), shape (N, K)."""
    out = np.empty((len(x), len(weights)))
    for i, row in enumerate(np.asarray(x, np.float64)):
        for k in range(len(weights)):
            out[i, k] = math.log(weights[k])
            for value, mean, variance in zip(row, means[k], variances[k], strict=True):
                out[i, k] -= 0.5 * (math.log(2 * math.pi * variance) + (value - mean) ** 2 / variance)
    return out


def log_likelihood(x, weights, means, variances):
    """Mean over rows of log sum_k w_k N(x | mu_k, sigma_k)."""
    total = 0.0
    for row in log_densities(x, weights, means, variances):
        top = max(row)
        total += top + math.log(sum(math.exp(value - top) for value in row))
    return total / len(x)


def em_step(x, weights, means, variances):
    """(weights, means, variances) after one EM iteration without a floor (Bishop, Pattern Recognition, section 9.2.2)."""
    x = np.asarray(x, np.float64)
    logs = log_densities(x, weights, means, variances)
    posteriors = np.exp(logs - logs.max(axis=1, keepdims=True))
    posteriors /= posteriors.sum(axis=1, keepdims=True)
    new = [], [], []
    for k in range(len(weights)):
        count = posteriors[:, k].sum()
        mean = sum(p * row for p, row in zip(posteriors[:, k], x, strict=True)) / count
        variance = sum(p * (row - mean) ** 2 for p, row in zip(posteriors[:, k], x, strict=True)) / count
        for values, value in zip(new, (count / len(x), mean, variance), strict=True):
            values.append(value)
    return tuple(np.array(values) for values in new)


def pca(x, size):
    """(mean, components, eigenvalues) by a full SVD in float64; of each component the largest entry is positive."""
    x = np.asarray(x, np.float64)
    mean = x.mean(axis=0)
    _, singular, components = np.linalg.svd(x - mean, full_matrices=False)
    components = components[:size]
    for component in components:
        if component[np.abs(component).argmax()] < 0:
            component *= -1
    return mean, components, singular[:size] ** 2 / (len(x) - 1)
