"""Slow, obvious poolings in float64 loops, from the papers' formulas, for the tests to compare with. A map is (C, H, W)."""

import math
from fractions import Fraction

import numpy as np

EPSILON = 1e-6


def unit(v):
    """A vector over its L2 norm; zero stays zero."""
    v = np.asarray(v, np.float64)
    norm = math.sqrt(sum(float(z) ** 2 for z in v))
    return v / norm if norm > 0 else v


def places(feature):
    """Every (y, x) of a map."""
    return [(y, x) for y in range(feature.shape[1]) for x in range(feature.shape[2])]


def avg(feature, centre=False):
    """Babenko & Lempitsky, ICCV 2015, eq. 2, with eq. 4 and 5 for the prior; as a mean."""
    channels, height, width = feature.shape
    nearest = min(height / 2, width / 2)  # of the edges, from the centre
    sigma = nearest / 3
    vector = np.zeros(channels)
    for c in range(channels):
        for y, x in places(feature):
            weight = 1.0
            if centre:
                weight = math.exp(-((y + 0.5 - height / 2) ** 2 + (x + 0.5 - width / 2) ** 2) / (2 * sigma**2))
            vector[c] += weight * float(feature[c, y, x])
    return vector / (height * width)


def largest(feature):
    """MAC: Tolias et al., ICLR 2016, eq. 2."""
    vector = np.zeros(len(feature))
    for c in range(len(feature)):
        best = -math.inf
        for y, x in places(feature):
            best = max(best, float(feature[c, y, x]))
        vector[c] = best
    return vector


def gem(feature, p):
    """Radenović et al., PAMI 2019, eq. 3, over max(x, 1e-6); by logarithms, as the powers leave float64."""
    vector = np.zeros(len(feature))
    for c in range(len(feature)):
        powers = [p * math.log(max(float(feature[c, y, x]), EPSILON)) for y, x in places(feature)]
        top = max(powers)
        mean = sum(math.exp(each - top) for each in powers) / len(powers)
        vector[c] = math.exp((top + math.log(mean)) / p)
    return vector


def overlaps(height, width, most=7):
    """How far from 40 % neighbours of level 1 overlap, for every number of regions along the longer side that is tried: {number: share}."""
    short, long = min(height, width), max(height, width)
    return {n: abs(1 - Fraction(long - short, (n - 1) * short) - Fraction(2, 5)) for n in range(2, most + 1)}


def rmac_regions(height, width, levels):
    """Tolias et al., ICLR 2016, section 3.2: [(top, left, side)]. Whole cells; 7 regions of level 1 at most, as in the authors' code."""
    short = min(height, width)
    more = 0
    if height != width:
        found = overlaps(height, width)
        more = min(found, key=lambda n: (found[n], n)) - 1
    regions = []
    for level in range(1, levels + 1):
        side = (2 * short) // (level + 1)
        if side == 0:
            break
        rows = level + (more if height > width else 0)
        columns = level + (more if width > height else 0)
        for i in range(rows):
            top = 0 if rows == 1 else (i * (height - side)) // (rows - 1)
            for j in range(columns):
                left = 0 if columns == 1 else (j * (width - side)) // (columns - 1)
                regions.append((top, left, side))
    return regions


def part(feature, region):
    """The cells of a region, less those outside the map."""
    top, left, side = region
    return feature[:, top : top + side, left : left + side]


def rmac(feature, regions, project=None):
    """Tolias et al., ICLR 2016, eq. 3: each region MAC, L2, (whitened, L2,) summed."""
    total = 0.0
    for region in regions:
        vector = unit(largest(part(feature, region)))
        if project is not None:
            vector = unit(project(vector))
        total = total + vector
    return total


def channel_weights(feature):
    """Kalantidis et al., ECCVW 2016, eq. 3."""
    channels, height, width = feature.shape
    share = []
    for c in range(channels):
        filled = 0
        for y, x in places(feature):
            filled += float(feature[c, y, x]) > 0
        share.append(filled / (height * width))
    return np.array([math.log((channels * EPSILON + sum(share)) / (EPSILON + share[c])) for c in range(channels)])


def rectified(feature):
    """Negative values for 0."""
    return np.where(feature > 0, feature, 0.0)


def crow(feature):
    """Kalantidis et al., ECCVW 2016, algorithm 1, with a = b = 2 in eq. 2."""
    feature = rectified(feature)
    channels, height, width = feature.shape
    total = np.zeros((height, width))
    for y, x in places(feature):
        total[y, x] = sum(float(feature[c, y, x]) for c in range(channels))
    norm = math.sqrt(sum(float(total[y, x]) ** 2 for y, x in places(feature)))
    vector = np.zeros(channels)
    for c in range(channels):
        for y, x in places(feature):
            weight = math.sqrt(total[y, x] / norm) if norm > 0 else 0.0
            vector[c] += weight * float(feature[c, y, x])
    return vector * channel_weights(feature)


def cam(feature, weight, bias, classes):
    """Jiménez et al., BMVC 2017, eq. 1 to 3, over the photo's own most probable classes."""
    channels = len(feature)
    mean = avg(feature)
    scores = [sum(float(w[c]) * mean[c] for c in range(channels)) + float(b) for w, b in zip(weight, bias, strict=True)]
    best = sorted(range(len(scores)), key=lambda n: -scores[n])[:classes]
    positive = rectified(feature)
    rare = channel_weights(positive)
    total = np.zeros(channels)
    for n in best:
        activation = {}
        for y, x in places(feature):
            activation[y, x] = sum(float(weight[n][c]) * float(feature[c, y, x]) for c in range(channels))
        low, high = min(activation.values()), max(activation.values())
        vector = np.zeros(channels)
        for c in range(channels):
            for y, x in places(feature):
                scaled = (activation[y, x] - low) / (high - low) if high > low else 0.0
                vector[c] += scaled * float(positive[c, y, x])
        total = total + unit(vector * rare)
    return total


def combined(vectors, how, p):
    """Vectors of several views of one photo: summed, or their generalised mean (cnnimageretrieval-pytorch, extract_ms); unit norm."""
    dim = len(vectors[0])
    total = np.zeros(dim)
    for i in range(dim):
        if how == "sum":
            total[i] = sum(float(v[i]) for v in vectors)
        else:
            mean = sum(math.copysign(abs(float(v[i])) ** p, float(v[i])) for v in vectors) / len(vectors)
            total[i] = math.copysign(abs(mean) ** (1 / p), mean)
    return unit(total)


def resized(feature, height, width):
    """Bilinear, a cell's value at its middle, the border repeated."""
    channels, rows, columns = feature.shape
    result = np.zeros((channels, height, width))
    for y in range(height):
        v = min(max((y + 0.5) * rows / height - 0.5, 0.0), rows - 1)
        above, below, down = math.floor(v), min(math.floor(v) + 1, rows - 1), v - math.floor(v)
        for x in range(width):
            u = min(max((x + 0.5) * columns / width - 0.5, 0.0), columns - 1)
            left, right, along = math.floor(u), min(math.floor(u) + 1, columns - 1), u - math.floor(u)
            for c in range(channels):
                upper = (1 - along) * feature[c, above, left] + along * feature[c, above, right]
                lower = (1 - along) * feature[c, below, left] + along * feature[c, below, right]
                result[c, y, x] = (1 - down) * upper + down * lower
    return result


def columns(features):
    """Hypercolumns: (descriptors (H W, sum of C), strengths (H W,)), on the grid of the finest map; each map's part L2, then all."""
    finest = max(features, key=lambda feature: feature.shape[1] * feature.shape[2])
    height, width = finest.shape[1:]
    features = [feature if feature.shape[1:] == (height, width) else resized(feature, height, width) for feature in features]
    descriptors, strengths = [], []
    for y, x in places(finest):
        column, norms = [], []
        for feature in features:
            values = [float(feature[c, y, x]) for c in range(len(feature))]
            norms.append(math.sqrt(sum(z * z for z in values)))
            column += list(unit(values))
        descriptors.append(unit(column))
        strengths.append(sum(norms) / len(norms))
    return np.array(descriptors), np.array(strengths)


def netvlad(feature, weight, bias, centroids):
    """Arandjelović et al., CVPR 2016, eq. 3 and 4, word by word over columns of unit length; those of zeros are left out."""
    words = np.zeros_like(np.asarray(centroids, np.float64))
    for y, x in places(feature):
        column = unit(feature[:, y, x])
        if not column.any():
            continue
        powers = [math.exp(float(np.dot(w, column)) + float(b)) for w, b in zip(weight, bias, strict=True)]
        for k in range(len(words)):
            for j in range(len(column)):
                words[k, j] += powers[k] / sum(powers) * (column[j] - centroids[k][j])
    return np.concatenate([unit(word) for word in words])


def attended(feature, layers):
    """Noh et al., ICCV 2017, section 3.2: a map times its places' weights, of two linear layers over the map at unit mean square."""
    first, first_bias, second, second_bias = layers
    size = math.sqrt(float((feature**2).mean()))
    weighted = np.zeros_like(feature)
    for y, x in places(feature):
        column = feature[:, y, x] / size if size else feature[:, y, x]
        hidden = [max(0.0, float(np.dot(row, column)) + float(b)) for row, b in zip(first, first_bias, strict=True)]
        weighted[:, y, x] = feature[:, y, x] * math.log1p(math.exp(float(np.dot(second[0], hidden)) + float(second_bias[0])))
    return weighted


def shrinkage(x):
    """Ledoit & Wolf, 2004, section 3.2: (b² / d²) of a sample (N, D), each row's own product compared with the covariance."""
    x = x - x.mean(axis=0)
    count, columns = x.shape
    covariance = sum(np.outer(row, row) for row in x) / count
    mean = np.trace(covariance) / columns
    distance = ((covariance - mean * np.eye(columns)) ** 2).sum() / columns
    error = sum(((np.outer(row, row) - covariance) ** 2).sum() / columns for row in x) / count**2
    return min(error, distance) / distance


def excited(feature, layers):
    """Hu et al., CVPR 2018, eq. 2 to 4, without biases: a map times its channels' weights, twice a sigmoid, of the means of channels at
    unit mean square."""
    means = [float(channel.mean()) for channel in feature]
    size = math.sqrt(sum(mean * mean for mean in means) / len(means))
    hidden = [max(0.0, sum(float(w) * mean / size for w, mean in zip(row, means, strict=True))) for row in layers[0]]
    weighted = np.zeros_like(feature)
    for channel, row in enumerate(layers[1]):
        weighted[channel] = feature[channel] * 2 / (1 + math.exp(-sum(float(w) * value for w, value in zip(row, hidden, strict=True))))
    return weighted
