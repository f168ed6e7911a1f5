"""info: what a store is, how it was made, and whether it is sound."""

import os

from imgret.errors import ImgretError
from imgret.pipeline import check_tree
from imgret.store import layout
from imgret.store.reader import Store


def describe(path, damaged=False):
    """Everything about a store, as JSON.

    Parameters
    ----------
    path : str
    damaged : bool
        Also of one that does not match its checksums.

    Returns
    -------
    dict
        kind, schema_version, counts, columns (shape, dtype, bytes), identities, params, inputs, pipeline, info, facts where there are
        any, created, generated_by, file_size.

    Raises
    ------
    ImgretError
    """
    with Store(path, damaged=damaged) as store:
        if store.pipeline is not None:
            check_tree(store.pipeline, store.shown)
        if not all(isinstance(entry, dict) for entry in store.inputs):
            raise ImgretError(f"{store.shown} is damaged: its inputs are not what imgret records")
        facts = {
            "path": path,
            "kind": store.kind,
            "schema_version": store.schema_version,
            "file_size": os.path.getsize(path),
            "created": store.created,
            "generated_by": store.generated_by,
            "recipe": store.recipe,
            "content": store.content,
        }
        if store.fingerprint:
            facts["fingerprint"] = store.fingerprint
        facts |= {name: store.sizes[axis] for axis, name in store.layout.counts.items() if axis in store.sizes}
        facts |= store.recorded
        facts["columns"] = {
            name: {"shape": list(map(int, store.shape(name))), "dtype": str(store.dtype(name))} for name in store.column_names()
        }
    return facts


def counted(kind):
    """What `describe` counts in a store of a kind: the names, in order."""
    return list(layout.ALL_KINDS[kind].counts.values())


def failed_photos(path, damaged=False):
    """Photos that could not be used: a list of dicts with name, code and reason; `damaged` as for `describe`."""
    with Store(path, damaged=damaged) as store:
        if not store.has("failed/names_offsets"):
            return []
        rows = zip(store.texts("failed/names"), store.text_list("failed/code"), store.text_list("failed/reason"), strict=True)
        return [{"name": os.fsdecode(name), "code": code, "reason": reason} for name, code, reason in rows]


def check(path):
    """Everything that is wrong with a store, one sentence each; an empty list where it is sound."""
    with Store(path, damaged=True) as store:
        return list(store.problems())
