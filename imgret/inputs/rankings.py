"""Ranked lists from whatever holds them: a ranking store, a TREC run."""

import os

import numpy as np

from imgret.errors import ImgretError
from imgret.evidence import Counted
from imgret.formats.lists import RankedLists
from imgret.formats.trec import read_trec
from imgret.inputs import owned
from imgret.pipeline import check_tree, from_elsewhere
from imgret.store.reader import Store, is_hdf5

MOST_DEEP = 8  # rankings that are made of rankings


def read_ranking(path, wanted_by="evaluate", evidence=False):
    """The ranked lists in a file.

    Parameters
    ----------
    path : str
        A ranking store, or a TREC run.
    wanted_by : str
        The step that asks, for messages.
    evidence : bool
        Whether what was counted of the photos is read as well, with the maps.

    Returns
    -------
    imgret.formats.lists.RankedLists

    Raises
    ------
    ImgretError
    """
    if not os.path.exists(path):
        raise ImgretError(f"{path}: there is no such file or folder")
    if not is_store(path):
        return read_trec(path)
    with Store(path, ("ranking",), wanted_by) as store:
        texts = [store.texts(name) for name in ("query_names", "query_ids", "names")]
        looked_at = _looked_at(store) if evidence else {}
        return RankedLists(path, *texts, store.read("ids"), store.read("scores"), boxes=boxes_of(store), **looked_at)


def is_store(path):
    """Whether a file is to be read as a store, and not as a TREC run: its name or its first bytes say so."""
    return os.fsdecode(path).endswith((".h5", ".hdf5")) or is_hdf5(path)


def photo_roots(paths):
    """Where the photos are, as far as builds say: of indexes, or folders of builds, and of the indexes that rankings were asked of.

    Parameters
    ----------
    paths : sequence of str
        Rankings by others say nothing.

    Returns
    -------
    tuple of str

    Raises
    ------
    ImgretError
        If they are no longer there.
    """
    roots = {}
    for path in paths:
        indexes = [path]
        if os.path.isfile(path) and is_hdf5(path):
            indexes = _searched(path)
        for index in indexes:
            roots |= dict.fromkeys(owned.photo_roots(index))
    return tuple(roots)


def _looked_at(store):
    """What was counted of photos in the first ranks, and where they show what the query does: by the names of `RankedLists`' fields."""
    columns = {path: store.read(path) for path in ("evidence", "maps") if store.has(path)}
    return columns | (vars(Counted.of(store.facts)) if columns else {})


def _searched(path, depth=0):
    """The indexes that a ranking was asked of, or those that it was made of; what is no ranking stands for itself."""
    try:
        with Store(path) as store:
            if store.kind != "ranking":
                return [path]
            inputs = [entry for entry in store.inputs if isinstance(entry, dict) and isinstance(entry.get("path"), str)]
    except ImgretError:
        if depth:
            return []  # it is gone: what was made of it is still there
        raise
    found = [entry["path"] for entry in inputs if entry.get("kind") == "index"]
    if found or depth == MOST_DEEP:
        return found
    return [index for entry in inputs if entry.get("kind") == "ranking" for index in _searched(entry["path"], depth + 1)]


def boxes_of(store):
    """The boxes that the queries of a ranking asked with; None where nothing is known of them, as of vectors from elsewhere."""
    if store.has("query_box"):
        return store.read("query_box")
    if store.pipeline is None:
        return None
    check_tree(store.pipeline, store.shown)
    return None if from_elsewhere(store.pipeline) else np.full((store.sizes["Q"], 4), np.nan)
