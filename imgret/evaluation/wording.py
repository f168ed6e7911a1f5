"""Sentences that several protocols share: what they fix, what they warn of, and what they refuse."""

from imgret.errors import ImgretError, counted
from imgret.names import shown

# what `Protocol.conventions` says
FINITE_SUM = "finite sum: mean over the positives of the precision at their ranks; not interpolated"
TRAPEZOID = "area under the precision-recall curve by trapezoids, as the official program computes it"
MEASURES = (
    "P@k divides by k, also where the list is shorter; R@k is the part of the positives in the first k;"
    " mP@k is precision at min(k, rank of the last positive)"
)
TRUNCATION = "a positive that is not in the list counts as never found"
WHOLE = "whole photos ask, unless the ranking says otherwise"
CROP = "the ground truth has a box for each query, and figures are usually of queries that are described within it (extract --boxes)"
SELF_REMOVED = "the query photo itself is taken out of its list, the ranks behind it close up, and it is no positive"


def noted(count, noun, what):
    """A list of one sentence about so many, or of none where there are none."""
    return [f"{counted(count, noun)} {what}"] if count else []


def absent_warning(absent):
    """One sentence about ground-truth names that the ranking never names, or none."""
    if not absent:
        return []
    return [
        f"{counted(len(absent), 'positive photo')} of the ground truth nowhere in the ranking (for example {shown(min(absent))}):"
        " counted as never found"
    ]


def partial_gallery_warning(lists, remedy):
    """One sentence where the positives are counted from lists that do not tell the whole gallery, or none."""
    if lists.whole_gallery:
        return []
    return [f"the positives are counted from the names that occur in the lists, and some photos may occur in none: {remedy}"]


def no_query_shared(lists, path, asking, remedy="", source="the ground truth"):
    """The error of a ranking and a ground truth (`path`, called `source`) without a common query; `asking` is one of the latter's."""
    return ImgretError(
        f"{lists.label} and {path} share no query: the ranking asks with {shown(min(lists.query_names))},"
        f" {source} with {shown(asking)}{remedy}"
    )


def no_photo_shared(lists, path, photo, remedy):
    """The error of a ranking and a ground truth (`path`) without a common photo; `photo` is one of the latter's."""
    if not lists.names:
        return ImgretError(f"{lists.label} holds only empty lists: there is nothing to evaluate")
    return ImgretError(
        f"{lists.label} and {path} share no photo: the ranking has {shown(min(lists.names))}, the ground truth {shown(photo)}; {remedy}"
    )
