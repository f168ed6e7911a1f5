"""How sure a mean over queries is, and whether two rankings differ: by resampling, seeded."""

import dataclasses

import numpy as np

LEVEL = 0.95
_CELLS = 1 << 22  # numbers drawn at once
_EXACT = 16  # pairs up to which all 2^n ways are looked at


def bootstrap_interval(values, resamples, seed):
    """Percentile bootstrap interval of a mean.

    Queries are drawn with replacement, as if they were independent of each other.

    Parameters
    ----------
    values : ndarray, shape (Q,)
    resamples : int
    seed : int

    Returns
    -------
    tuple of float
        Lower and upper end of the 95 % interval.

    References
    ----------
    Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13; for retrieval: Sakai, SIGIR 2006.
    """
    values = np.asarray(values, dtype=np.float64)
    rng = np.random.default_rng([seed, 0x626F6F74])
    means = np.empty(resamples)
    block = max(1, _CELLS // len(values))
    for start in range(0, resamples, block):
        count = min(block, resamples - start)
        drawn = rng.integers(0, len(values), size=(count, len(values)), dtype=np.uint32)
        means[start : start + count] = values[drawn].mean(axis=1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Two rankings on the queries that both answer.

    Attributes
    ----------
    queries : int
    difference : float
        Mean average precision of the second less that of the first.
    interval : tuple of float
        95 % bootstrap interval of the difference.
    p_value : float
        Two-sided, of the randomisation test.
    better, worse, same : int
        Queries on which the second is better, worse, or the same.
    """

    queries: int
    difference: float
    interval: tuple
    p_value: float
    better: int
    worse: int
    same: int


def compare(first, second, resamples, seed):
    """Paired randomisation (sign-flipping) test of two columns of average precisions of the same queries.

    Under the null hypothesis each query's two values could as well be exchanged. p is the part of all exchanges whose mean difference
    is at least as large as the one seen, either way: of all 2^Q where there are few queries, otherwise (1 + exceeding) / (1 + resamples).

    Parameters
    ----------
    first, second : ndarray, shape (Q,)
    resamples : int
    seed : int

    Returns
    -------
    Comparison

    References
    ----------
    Fisher, The Design of Experiments, 1935, section 21; Smucker, Allan & Carterette, A comparison of statistical significance tests for
    information retrieval evaluation, CIKM 2007.
    """
    differences = np.asarray(second, dtype=np.float64) - np.asarray(first, dtype=np.float64)
    differences[np.abs(differences) < 1e-12] = 0.0  # sums of the same terms in another order
    return Comparison(
        queries=len(differences),
        difference=float(differences.mean()),
        interval=bootstrap_interval(differences, resamples, seed),
        p_value=_randomisation(differences[differences != 0], resamples, seed),
        better=int((differences > 0).sum()),
        worse=int((differences < 0).sum()),
        same=int((differences == 0).sum()),
    )


def holm(p_values):
    """p-values of several tests, adjusted so that the chance of any false alarm among them all stays below the level they are held against.

    The smallest of m is multiplied by m, the next by m - 1, and so on; none becomes smaller than one before it, or larger than 1. It holds
    whatever the tests have to do with each other.

    Parameters
    ----------
    p_values : sequence of float, length m

    Returns
    -------
    list of float
        In the same order.

    References
    ----------
    Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6, 1979, section 3.
    """
    p_values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p_values, kind="stable")
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1)))
    return adjusted.tolist()


def _randomisation(differences, resamples, seed):
    """Two-sided p of sign flips. Pairs without a difference do not matter: their sign changes nothing."""
    count = len(differences)
    if count == 0:
        return 1.0
    seen = abs(differences.sum()) - 1e-12 * np.abs(differences).sum()  # sums of the same terms differ by rounding
    if count <= _EXACT:
        signs = 1 - 2.0 * ((np.arange(1 << count)[:, None] >> np.arange(count)) & 1)
        return float((np.abs(signs @ differences) >= seen).mean())
    rng = np.random.default_rng([seed, 0x666C6970])
    exceeding, block = 0, max(1, _CELLS // count)
    total = differences.sum()
    for start in range(0, resamples, block):
        flipped = rng.random((min(block, resamples - start), count), dtype=np.float32) < 0.5
        exceeding += int((np.abs(total - 2 * (flipped @ differences)) >= seen).sum())
    return (1 + exceeding) / (1 + resamples)
