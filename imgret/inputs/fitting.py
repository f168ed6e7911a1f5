"""Whether a codebook fits the rows of a store."""

from imgret import ready
from imgret.components import VOCABULARIES
from imgret.errors import ImgretError
from imgret.paths import word
from imgret.pipeline import Pipeline, branches, codebooks, differences, same_space
from imgret.store.hashing import canonical


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
        how = f"learn words of these photos by `imgret codebook {word(store.shown)} -o words.h5`, and give them with -c words.h5"
    if fitted.dim_ not in (None, width):
        return f"{words.shown} was fitted on {fitted.dim_} columns, {store.shown} has {width}: {how}"
    for trained in branches(pipeline.node):
        if not same_space(trained, node):
            return f"{words.shown} was learned in another space than {store.shown} is in ({differences(trained, node)}): {how}"
    return None


def codebook_of(opened, reference):
    """A codebook's store, called as it was asked for."""
    store = opened.add(ready.path_of(reference), ("codebook",), "--codebook")
    if ready.is_ready(reference):
        store.shown = reference
    return store


def codebooks_in(store):
    """The pipelines of a codebook's store: its own, and those of the codebooks that it was learned with, which travel along.

    Parameters
    ----------
    store : Store

    Returns
    -------
    list of Pipeline
    """
    whole = Pipeline.load(store)
    return [whole, *(Pipeline(node, whole.arrays) for node in codebooks(whole.node))]


def arranged_codebooks(stores):
    """The codebooks of some stores, each once, and the store of each.

    Parameters
    ----------
    stores : list of Store

    Returns
    -------
    list of (Store, Pipeline)

    Raises
    ------
    ImgretError
        If one was learned with another that is given in another form.
    """
    found, own, given = {}, {}, [(store, codebooks_in(store)) for store in stores]
    for store, pipelines in given:
        own[_key(pipelines[0].node)] = store
        for pipeline in pipelines:
            found.setdefault(_key(pipeline.node), (store, pipeline))
    for store, (_, *others) in given:
        for pipeline in others:
            for key, other in own.items():
                if other is not store and _alike(found[key][1].node, pipeline.node) and key != _key(pipeline.node):
                    raise ImgretError(f"{store.shown} was learned with other words than {other.shown}: leave -c {other.shown} out")
    return list(found.values())


def _key(node):
    return canonical({"component": node["component"], "arrays": node["arrays"], "params": node["params"]})


def _alike(node, other):
    """Whether two codebooks are both vocabularies: one of them is one too many."""
    return node["component"] in VOCABULARIES and other["component"] in VOCABULARIES
