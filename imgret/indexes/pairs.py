"""Scores of pairs and rotations of rows, each a function of its own vectors alone: neither position nor company changes a bit."""

import numpy as np

ROTATED_AT_ONCE = 1 << 18


def pair_scores(similarity, xq, of_query, x, of_row):
    """Scores of pairs, each a function of its two vectors alone: neither position nor company changes a bit.

    Parameters
    ----------
    similarity : bool
        Inner products; otherwise negated squared distances.
    xq : ndarray, shape (Q, D), float32
    of_query : ndarray, shape (P,), int64
    x : ndarray, shape (N, D), float32, or a pointer to such
    of_row : ndarray, shape (P,), int64

    Returns
    -------
    ndarray, shape (P,), float32
    """
    import faiss

    scores = np.empty(len(of_query), np.float32)
    if not len(scores):
        return scores
    compute = faiss.pairwise_indexed_inner_product if similarity else faiss.pairwise_indexed_L2sqr
    pointer = faiss.swig_ptr(x) if isinstance(x, np.ndarray) else x
    xq, of_query, of_row = np.ascontiguousarray(xq), np.ascontiguousarray(of_query), np.ascontiguousarray(of_row)
    indices = faiss.swig_ptr(of_query), faiss.swig_ptr(of_row)
    compute(xq.shape[1], len(scores), faiss.swig_ptr(xq), indices[0], pointer, indices[1], faiss.swig_ptr(scores))
    return scores if similarity else -scores


def rotate(x, matrix):
    """`x` (N, D) by `matrix` (C, D), each row by itself: where BLAS has it, identical rows come out with different last bits."""
    step = max(1, ROTATED_AT_ONCE // len(matrix))
    y = np.empty((len(x), len(matrix)), np.float32)
    for start in range(0, len(x), step):
        of_x, of_matrix = np.divmod(np.arange(min(step, len(x) - start) * len(matrix)), len(matrix))
        y[start : start + step] = pair_scores(True, x[start : start + step], of_x, matrix, of_matrix).reshape(-1, len(matrix))
    return y
