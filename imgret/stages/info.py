"""info: what a store is, how it was made, and whether it is sound."""

import os

from imgret import builds, ready
from imgret.errors import ImgretError
from imgret.inputs.nextstep import remedied
from imgret.inputs.owned import strange
from imgret.pipeline import check_tree
from imgret.stages import networkinfo
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
        any, created, generated_by, file_size. Of the folder of a build: what is in it as `build`, and then the same of its index. Of a
        .safetensors file what `imgret.stages.networkinfo.describe` says.

    Raises
    ------
    ImgretError
    """
    if builds.is_build(path):
        build = builds.read(path)
        with remedied(build.index):
            return {"build": _build(build)} | describe(build.index, damaged)
    if networkinfo.is_network(path):
        return networkinfo.describe(path)
    with _store(path, damaged) as store:
        if store.pipeline is not None:
            check_tree(store.pipeline, store.shown)
        if not all(isinstance(entry, dict) for entry in store.inputs):
            raise ImgretError(f"{store.shown} is damaged: its inputs are not what imgret records")
        facts = {
            "path": path,
            "kind": store.kind,
            "schema_version": store.schema_version,
            "file_size": os.path.getsize(store.path),
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


def _build(made):
    names = sorted(name for name in os.listdir(made.folder) if os.path.isfile(os.path.join(made.folder, name)))
    files = {name: os.path.getsize(os.path.join(made.folder, name)) for name in names}
    return {"folder": made.folder, "config": made.config, "roots": list(made.roots), "files": files, "strange": strange(made)}


def counted(kind):
    """What `describe` counts in a store of a kind: the names, in order."""
    return list(layout.ALL_KINDS[kind].counts.values()) if kind in layout.ALL_KINDS else []


def failed_photos(path, damaged=False):
    """Photos that could not be used: a list of dicts with name, code and reason; `damaged` as for `describe`."""
    if networkinfo.is_network(path):
        return networkinfo.failed_photos(path)
    with _store(path, damaged) as store:
        if not store.has("failed/names_offsets"):
            return []
        rows = zip(store.texts("failed/names"), store.text_list("failed/code"), store.text_list("failed/reason"), strict=True)
        return [{"name": os.fsdecode(name), "code": code, "reason": reason} for name, code, reason in rows]


def check(path):
    """Everything that is wrong with a store, one sentence each; an empty list where it is sound."""
    if networkinfo.is_network(path):
        return networkinfo.check(path)
    with _store(path, damaged=True) as store:
        return list(store.problems())


def _store(path, damaged):
    return Store(builds.index_of(ready.path_of(path)), damaged=damaged)
