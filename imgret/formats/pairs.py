"""Pairs of photos as COLMAP and hloc read them: two names a line."""

from imgret.errors import ImgretError
from imgret.names import shown, to_text


def pair_lines(lists, k, seen=None):
    """Yield the lines of ranked lists: a query's photo and a photo in its list that is another.

    Both directions stay where two photos have each other: hloc looks up a query's photos by its lines, and either program matches a pair
    once, however often it is listed.

    Parameters
    ----------
    lists : RankedLists
    k : int
        Pairs of each list, at most.
    seen : set, optional
        Pairs that have been given, where one photo asks several times.

    Yields
    ------
    str

    Raises
    ------
    ImgretError
        For a name that cannot stand in such a line.
    """
    for query, name in enumerate(lists.query_names):
        others = [lists.names[photo] for photo in lists.ids[query, : lists.lengths[query]].tolist()]
        for other in [other for other in others if other != name][:k]:
            if seen is not None:
                if (name, other) in seen:
                    continue
                seen.add((name, other))
            yield f"{_word(lists.label, name)} {_word(lists.label, other)}"


def _word(label, name):
    if name.split() != [name]:
        raise ImgretError(f"{label}: the name {shown(name)} holds white space, which ends a name in a file of pairs: rename the photo")
    if name.startswith(b"#"):
        raise ImgretError(f"{label}: the name {shown(name)} begins with #, as a comment does in a file of pairs: rename the photo")
    return to_text(name)
