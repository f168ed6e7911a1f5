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


# The terms of this sum may be taken in another order and joined, as a vector register does (and as BLAS does); no value is taken to be
# finite. It only chooses a way down: the distances of what is found are taken anew.
@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _apart(x, c):
    """Squared distance of two points, float32."""
    total = np.float32(0)
    for k in range(len(x)):
        difference = x[k] - c[k]
        total += difference * difference
    return total


@numba.njit(cache=True, nogil=True)
def descend(x, points, children, depth, beam, leaves, found):
    """Go down a tree of points with each row, keeping the nearest nodes of each level.

    Parameters
    ----------
    x : ndarray, shape (T, d), float32
    points : ndarray, shape (P, d), float32
        All nodes but the root, level after level.
    children : ndarray, shape (B + 1,), int64
        Where in `points` the children of the root and of each node above the leaves begin, ascending.
    depth : int
        Levels.
    beam : int
        Nodes of each level that are kept.
    leaves : int
        Where in `points` the leaves begin.
    found : ndarray, shape (T, ma), int64
        The nearest leaves met, by their number from 0; -1 where there are not so many. `ma` is not above `beam`.
    """
    nodes, nearer = np.empty((2, beam), np.int64), np.empty((2, beam), np.float32)
    for i in range(x.shape[0]):
        kept, now = 1, 0
        nodes[0, 0] = 0
        for _ in range(depth):
            new, count = 1 - now, 0
            for parent in range(kept):
                node = nodes[now, parent]
                for child in range(children[node], children[node + 1]):
                    distance = _apart(x[i], points[child])
                    if count == beam and not distance < nearer[new, count - 1]:
                        continue
                    place = count if count < beam else beam - 1
                    while place > 0 and nearer[new, place - 1] > distance:
                        nearer[new, place] = nearer[new, place - 1]
                        nodes[new, place] = nodes[new, place - 1]
                        place -= 1
                    nearer[new, place] = distance
                    nodes[new, place] = child + 1
                    count = min(count + 1, beam)
            kept, now = count, new
        for j in range(found.shape[1]):
            found[i, j] = nodes[now, j] - 1 - leaves if j < kept else -1


@numba.njit(cache=True, nogil=True)
def flip(costs, order, flips, squared):
    """The cheapest sets of bits to turn over, cheapest first: each row's smallest sums of some of its costs.

    From a set that ends with one bit follow two, in the order of the costs: with the next bit added, and with it in place of the last. So
    every set follows from one that costs no more.

    Parameters
    ----------
    costs : ndarray, shape (T, N), float32
        What turning over each bit costs, not negative; N is at most 62.
    order : ndarray, shape (T, N), int64
        The bits, the cheapest first.
    flips : ndarray, shape (T, ma), int64
        Where the sets go, bit j for the j-th cost; ma is at most 2^N.
    squared : ndarray, shape (T, ma), float32
        Where their costs go.
    """
    ma, bits = flips.shape[1], costs.shape[1]
    sums, sets, lasts = np.empty(2 * ma + 2, np.float64), np.empty(2 * ma + 2, np.int64), np.empty(2 * ma + 2, np.int64)
    for i in range(costs.shape[0]):
        flips[i, 0], squared[i, 0] = 0, 0
        sums[0], sets[0], lasts[0], waiting = costs[i, order[i, 0]], np.int64(1) << order[i, 0], 0, 1
        for j in range(1, ma):
            least = 0
            for k in range(1, waiting):
                if sums[k] < sums[least] or (sums[k] == sums[least] and sets[k] < sets[least]):
                    least = k
            cost, chosen, last = sums[least], sets[least], lasts[least]
            flips[i, j], squared[i, j] = chosen, cost
            waiting -= 1
            sums[least], sets[least], lasts[least] = sums[waiting], sets[waiting], lasts[waiting]
            if last + 1 < bits:
                added = np.int64(1) << order[i, last + 1]
                sums[waiting], sets[waiting], lasts[waiting] = cost + costs[i, order[i, last + 1]], chosen | added, last + 1
                instead = chosen ^ (np.int64(1) << order[i, last])
                sums[waiting + 1] = cost - costs[i, order[i, last]] + costs[i, order[i, last + 1]]
                sets[waiting + 1], lasts[waiting + 1] = instead | added, last + 1
                waiting += 2
