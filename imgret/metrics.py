"""What vectors are compared by, and which vectors float32 can compare."""

import numpy as np

from imgret.arrays import row_norms, rows, unit_rows
from imgret.errors import ImgretError, UsageError, quoted

METRICS = ("cosine", "l2", "ip")
SHORTEST, LONGEST = 2.0**-60, 2.0**62  # L2 norms between which products and squared distances are float32's


def check_metric(metric):
    """Refuse what is no metric.

    Raises
    ------
    UsageError
    """
    if metric not in METRICS:
        raise UsageError(f"`metric` must be one of {', '.join(METRICS)}, got {quoted(repr(metric))}")


def check_lengths(norms, metric, what, small="all"):
    """Refuse vectors whose products or squared distances float32 does not hold; "cosine" takes any.

    Parameters
    ----------
    norms : ndarray, shape (N,)
        L2 norms.
    metric : str
    what : str
        What they are of, for the message.
    small : str
        Whether vectors that are too short, but not zero, are refused where "any" is, where "all" are, or "never".

    Raises
    ------
    ImgretError
    """
    norms = norms[norms > 0]
    if metric == "cosine" or not len(norms):
        return
    longest, shortest = float(norms.max()), float(norms.min())
    judged = {"any": shortest, "all": longest, "never": SHORTEST}[small]
    if longest > LONGEST:
        said = f"a vector of the length {longest:.3g}"
    elif judged < SHORTEST:
        said = f"a vector of the length {shortest:.3g}" if small == "any" else f"no vector longer than {longest:.3g}"
    else:
        return
    raise ImgretError(
        f"{what} holds {said}, and by '{metric}' only scores of vectors from {SHORTEST:.1g} to {LONGEST:.1g} in length keep to float32: "
        "scale the vectors, or take --metric cosine"
    )


def prepared(x, metric, columns, what):
    """Rows as an index of this metric takes them: float32, finite, and by "cosine" of unit length; see `imgret.arrays.rows`."""
    x = rows(x, columns, what)
    return unit_rows(x, pairwise=True) if metric == "cosine" else x


def norms_of(x, metric):
    """L2 norms of prepared rows, where they matter: (N,)."""
    return np.ones(len(x)) if metric == "cosine" else row_norms(x)
