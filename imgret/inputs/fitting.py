"""Whether a codebook fits the rows of a store."""

import shlex

from imgret import ready
from imgret.pipeline import differences, same_space


def misfit(words, pipeline, fitted, store, node):
    """Why a codebook does not fit a store's rows; None where it does.

    Parameters
    ----------
    words : Store
        The codebook.
    pipeline : imgret.pipeline.Pipeline
        Its own.
    fitted : imgret.codebooks.base.Codebook
    store : Store
    node : dict
        The store's pipeline.
    """
    width = store.shape(store.layout.matrix)[1]
    how = f"learn it on {store.kind} made in the same way"
    if ready.is_ready(words.shown):
        how = f"learn words of these photos by `imgret codebook {shlex.quote(store.shown)} -o words.h5`, and give them with -c words.h5"
    if width != fitted.dim_:
        return f"{words.shown} was fitted on {fitted.dim_} columns, {store.shown} has {width}: {how}"
    for trained in pipeline.node["inputs"]:
        if not same_space(trained, node):
            return f"{words.shown} was learned in another space than {store.shown} is in ({differences(trained, node)}): {how}"
    return None


def codebook_of(opened, reference):
    """A codebook's store, called as it was asked for."""
    store = opened.add(ready.path_of(reference), ("codebook",), "--codebook")
    if ready.is_ready(reference):
        store.shown = reference
    return store
