"""Compiled loops over candidates: the words of the largest scores, and how far they are."""

import numba
import numpy as np


@numba.njit(cache=True, nogil=True)
def offer(scores, bias, rows, first, best, found):
    """Offer words of consecutive numbers to rows, each of which keeps the best it has seen.

    Parameters
    ----------
    scores : ndarray, shape (R, W), float32
        Products of R rows and W words.
    bias : ndarray, shape (W,), float32
        What is taken off the words' products; a word of an infinite one is nobody's.
    rows : ndarray, shape (R,), int64
        Where each row's best stand.
    first : int
        Number of the first word.
    best : ndarray, shape (T, ma), float32
        Scores, descending; -inf where nothing is yet.
    found : ndarray, shape (T, ma), int64
        Their words. What is offered first stays before what scores as much.
    """
    last = best.shape[1] - 1
    for i in range(scores.shape[0]):
        row = rows[i]
        worst = best[row, last]
        for j in range(scores.shape[1]):
            score = scores[i, j] - bias[j]
            if score > worst:
                place = last
                while place > 0 and best[row, place - 1] < score:
                    best[row, place] = best[row, place - 1]
                    found[row, place] = found[row, place - 1]
                    place -= 1
                best[row, place] = score
                found[row, place] = first + j
                worst = best[row, last]


@numba.njit(cache=True, nogil=True)
def settle(x, centroids, found, squared):
    """Squared distances of each row to the words found for it, nearest first; the lowest number wins a tie.

    Parameters
    ----------
    x : ndarray, shape (T, d), float32
    centroids : ndarray, shape (K, d), float32
    found : ndarray, shape (T, ma), int64
        Word numbers below K, put in order; negative where there is none, which stays last.
    squared : ndarray, shape (T, ma), float32
        Where the distances go; infinite where there is no word.
    """
    for i in range(found.shape[0]):
        for j in range(found.shape[1]):
            word = found[i, j]
            distance = np.float32(np.inf)
            if word >= 0:
                total = 0.0
                for k in range(x.shape[1]):
                    difference = np.float64(x[i, k]) - np.float64(centroids[word, k])
                    total += difference * difference
                distance = np.float32(total)
            place = j
            while place > 0 and (
                squared[i, place - 1] > distance or (squared[i, place - 1] == distance and word >= 0 and found[i, place - 1] > word)
            ):
                squared[i, place] = squared[i, place - 1]
                found[i, place] = found[i, place - 1]
                place -= 1
            squared[i, place] = distance
            found[i, place] = word
