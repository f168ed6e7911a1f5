"""Slow, obvious loops for imgret.evaluation. A ranked list is a list of names here, a ground truth a set of names."""


def closed_up(ranked, removed):
    return [name for name in ranked if name not in removed]


def average_precision(ranked, positives):
    total, hits = 0.0, 0
    for rank, name in enumerate(ranked, 1):
        if name in positives:
            hits += 1
            total += hits / rank
    return total / len(positives)


def trapezoid(ranked, positives, junk=()):
    """The curve is walked rank by rank, as the official program does."""
    area, recall, precision, hits, seen = 0.0, 0.0, 1.0, 0, 0
    for name in ranked:
        if name in junk:
            continue
        seen += 1
        if name in positives:
            hits += 1
        new_recall, new_precision = hits / len(positives), hits / seen
        area += (new_recall - recall) * (precision + new_precision) / 2
        recall, precision = new_recall, new_precision
    return area


def precision_at(ranked, positives, k):
    return sum(name in positives for name in ranked[:k]) / k


def recall_at(ranked, positives, k):
    return sum(name in positives for name in ranked[:k]) / len(positives)


def revisited_precision_at(ranked, positives, k):
    """The list is filled up with the positives it lacks at the very end of an endless gallery."""
    places = [rank for rank, name in enumerate(ranked, 1) if name in positives]
    places += [10**9] * (len(positives) - len(places))
    cut = min(max(places), k)
    return sum(place <= cut for place in places) / cut


def ns(ranked, four):
    return sum(name in four for name in ranked[:4])


def first_hit(ranked, positives):
    return next((rank for rank, name in enumerate(ranked, 1) if name in positives), None)


def groups(truth, query, ranked):
    """(list after removals, positives) of one query; None where it is skipped. `truth` is name -> (set of groups, role)."""
    if query not in truth or "query" not in truth[query][1]:
        return None
    positives = set()
    for name, (belongs, role) in truth.items():
        if name != query and "gallery" in role and belongs & truth[query][0]:
            positives.add(name)
    removed = {name for name, (_, role) in truth.items() if role == "query"} | {query}
    return closed_up(ranked, removed), positives


def interpolated(ranked, positives, levels):
    """Interpolated precision at evenly spread recalls, by a look at the whole curve for each."""
    points, hits = [], 0
    for rank, name in enumerate(ranked, 1):
        if name in positives:
            hits += 1
            points.append((hits, hits / rank))
    return [max((p for h, p in points if h * (levels - 1) >= step * len(positives)), default=0.0) for step in range(levels)]


def map_at_r(ranked, positives):
    hits = total = 0
    for rank, name in enumerate(ranked[: len(positives)], 1):
        if name in positives:
            hits += 1
            total += hits / rank
    return total / len(positives)


def micro_average_precision(pairs, total):
    """`pairs` is (score, true or not) of all queries. Thresholds go down from score to score."""
    area = recall = 0.0
    for threshold in sorted({score for score, _ in pairs}, reverse=True):
        taken = [true for score, true in pairs if score >= threshold]
        new = sum(taken) / total
        area += (new - recall) * sum(taken) / len(taken)
        recall = new
    return area


def holm_rejects(p_values, level):
    """Which hypotheses the step-down procedure rejects: from the smallest p on, until one is too large for its share of the level."""
    rejected, left = set(), sorted(range(len(p_values)), key=lambda place: p_values[place])
    while left and p_values[left[0]] <= level / len(left) * (1 + 1e-12):
        rejected.add(left.pop(0))
    return rejected


def holm(p_values):
    """The smallest level at which each is rejected; 1 where none below it does."""
    levels = sorted({min(1.0, p * count) for p in p_values for count in range(1, len(p_values) + 1)} | {1.0})
    return [next((level for level in levels if place in holm_rejects(p_values, level)), 1.0) for place in range(len(p_values))]
