"""Scores of photos by their words, in slow obvious loops: nothing is inverted, nothing is packed.

A photo is a list of entries (word, weight, signature, angle, log scale), or of such with a descriptor's number before them as a query; a
signature is an array of 0 and 1, or of floats.
"""

import collections
import math

import numpy as np

Entry = collections.namedtuple("Entry", "word weight signature angle scale descriptor", defaults=(1.0, None, 0, 0, 0))


def frequencies(photo):
    counts = collections.defaultdict(float)
    for entry in photo:
        counts[entry.word] += entry.weight
    return counts


def counted(form, tf):
    return {"tf": tf, "sqrt": math.sqrt(tf), "binary": 1.0}[form]


def bow(query, photo, idf, *, tf="sqrt", power=1.0, norm="l2", stopped=()):
    vectors = [{w: counted(tf, f) * idf(w) ** power for w, f in frequencies(side).items()} for side in (query, photo)]
    product = sum(value * vectors[1].get(w, 0.0) for w, value in vectors[0].items() if w not in stopped)
    return product / _lengths(*(sum(value**2 for value in vector.values()) for vector in vectors)) if norm == "l2" else product


def _lengths(one, other):
    return math.sqrt(one * other) or math.inf


def bm25(query, photo, idf, mean, *, k1=1.2, b=0.75, power=1.0):
    length, theirs, total = sum(entry.weight for entry in photo), frequencies(photo), 0.0
    for w, f in frequencies(query).items():
        tf = theirs.get(w, 0.0)
        if tf:
            total += f * idf(w) ** power * tf * (k1 + 1) / (tf + k1 * (1 - b + b * length / mean))
    return total


def selected(u, alpha, tau):
    return math.copysign(abs(u) ** alpha, u) if u > tau else 0.0


def similarity(one, other):
    """Inner product of floats; 1 − 2h/d of bits; of both, as there."""
    if one.dtype != other.dtype:
        return asymmetric(one, other)
    if one.dtype == np.uint8:
        return 1 - 2 * int(np.sum(one != other)) / len(one)
    return float(np.dot(one.astype(np.float64), other.astype(np.float64)))


def asymmetric(numbers, bits):
    """Of a query's numbers, in 4 bits and a sign, and a photo's signs."""
    largest = max(abs(float(q)) for q in numbers)
    whole = [round(abs(float(q)) * 15 / largest) * (1 if q > 0 else -1) for q in numbers]
    agree = sum(n if bit else -n for n, bit in zip(whole, bits, strict=True))
    return agree / math.sqrt(sum(n * n for n in whole) * len(whole))


def kernels(query, photos, idf, *, alpha=3.0, tau=0.0, power=1.0, norm="self", inter=False):
    """The scores of all photos by SMK, and by ASMK of photos that have one entry a word."""

    def pairs(one, other):
        for i, x in enumerate(one):
            for y in other:
                if x.word == y.word:
                    yield i, idf(x.word) ** power, x.weight * y.weight * selected(similarity(x.signature, y.signature), alpha, tau)

    def squared(photo):
        return sum(photo[i].weight * of_word * value for i, of_word, value in pairs([x._replace(weight=1.0) for x in photo], photo))

    everywhere = collections.defaultdict(float)
    bare = [x._replace(weight=1.0) for x in query]
    for photo in photos:
        for i, _, value in pairs(bare, photo):
            everywhere[i] += abs(value)
    scores = []
    for photo in photos:
        score = 0.0
        for i, of_word, value in pairs(bare, photo):
            score += query[i].weight * of_word * value * (math.sqrt(abs(value) / everywhere[i]) if inter and value else 1.0)
        scores.append(score / (_lengths(squared(query), squared(photo)) if norm == "self" else 1.0))
    return scores


def votes(query, photos, idf, *, threshold=24.0, weight="gaussian", sigma=12.0, power=2.0, burst="both", inter=False):
    """Of each photo: [(vote, query's entry, photo's entry)], after bursts."""
    made = []
    for photo in photos:
        matches = []
        for i, x in enumerate(query):
            for j, y in enumerate(photo):
                h, share = int(np.sum(x.signature != y.signature)), len(x.signature) / 64
                if x.word == y.word and h <= threshold * share:
                    near = {"gaussian": math.exp(-((h / sigma / share) ** 2)), "exponential": math.exp(-h / sigma / share), "none": 1.0}
                    matches.append((near[weight] * idf(x.word) ** power * x.weight * y.weight, i, j))
        made.append([(vote * _share(vote, i, j, matches, query, burst), query[i], photo[j]) for vote, i, j in matches])
    if inter:
        everywhere = collections.defaultdict(float)
        for vote, x, _ in [match for matches in made for match in matches]:
            everywhere[x.descriptor] += vote
        for matches in made:
            here = collections.defaultdict(float)
            for vote, x, _ in matches:
                here[x.descriptor] += vote
            matches[:] = [(v * math.sqrt(here[x.descriptor] / everywhere[x.descriptor]) if v else 0.0, x, y) for v, x, y in matches]
    return made


def _share(vote, i, j, matches, query, burst):
    mine = [other for other, k, _ in matches if query[k].descriptor == query[i].descriptor]
    theirs = [other for other, _, k in matches if k == j]
    if burst == "both":
        return 1 / len(mine) / len(theirs)
    if burst == "query":
        return 1 / len(mine)
    return math.sqrt(vote / sum(mine)) if burst == "root" and vote else 1.0


def hamming(query, photos, idf, *, norm="tfidf", power=2.0, wgc=False, loose=0.4, **how):
    """The scores of all photos."""
    scores = []
    for photo, matches in zip(photos, votes(query, photos, idf, power=power, **how), strict=True):
        score = sum(vote for vote, _, _ in matches)
        score = loose * score + (1 - loose) * consistent(matches) if wgc else score
        if norm == "tfidf":
            squares = [sum((f * idf(w) ** (power / 2)) ** 2 for w, f in frequencies(side).items()) for side in (query, photo)]
            score /= _lengths(*squares)
        scores.append(score)
    return scores


def consistent(matches):
    """The smaller one of the largest sums of three neighbouring bins, of 22.5 degrees and of half octaves."""
    angles, scales = [0.0] * 16, [0.0] * 16
    for vote, x, y in matches:
        angles[((x.angle >> 8) - (y.angle >> 8) + 8) % 256 // 16] += vote
        octave = min(x.scale >> 4, 255) - min(y.scale >> 4, 255)
        scales[min(max((octave + 4) // 8 + 8, 0), 15)] += vote
    angle = max(angles[i - 1] + angles[i] + angles[(i + 1) % 16] for i in range(16))
    scale = max(sum(scales[max(i - 1, 0) : i + 2]) for i in range(16))
    return min(angle, scale)


def gallery_idf(photos):
    """idf and lp-norm idf by word, from the photos that are searched."""
    having, powers = collections.Counter(), collections.defaultdict(float)
    for photo in photos:
        for w, f in frequencies(photo).items():
            having[w] += 1
            powers[w] += f**2
    count = len(photos)
    return (lambda w: max(0.0, math.log(count / (having[w] or 1)))), (lambda w: max(0.0, math.log(count / (powers[w] or 1))))


def ranked(scores, k):
    """Rows of the best scores, the lower row first of equals."""
    return sorted(range(len(scores)), key=lambda row: (-scores[row], row))[:k]
