"""The pipeline inside a store: the tree of fitted components that made it.

A node is `{family, component, version, params, arrays: {name: hash}, inputs: [...]}`, `places` where it needs a file of its own, and
`reading` where photos are not read as usual. A
features store's pipeline is its extractor; a codebook's is the codebook over what it was trained on; a vectors store's is the encoder
over the pipelines of all that it takes, and the codebooks that it needs.
"""

import collections.abc
import dataclasses

from imgret.codebooks import CODEBOOKS
from imgret.encoders import ENCODERS
from imgret.errors import ImgretError, UsageError, changed, quoted
from imgret.extractors import EXTRACTORS, IMPORTED
from imgret.registry import load
from imgret.store.hashing import canonical, of_array, pipeline_hashes
from imgret.store.reader import Store

ELSEWHERE = "imported"  # the family of what came from elsewhere: it describes no photo
FAMILIES = {"extractor": EXTRACTORS, "codebook": CODEBOOKS, "encoder": ENCODERS, ELSEWHERE: IMPORTED}


@dataclasses.dataclass(frozen=True)
class Pipeline:
    """A tree of fitted components and their arrays.

    Attributes
    ----------
    node : dict
    arrays : mapping of str to ndarray
        By hash.
    """

    node: dict
    arrays: collections.abc.Mapping

    @classmethod
    def of(cls, family, component, inputs=(), arrays=None):
        """The pipeline whose last step is `component`, over the pipelines `inputs`."""
        named = {name: of_array(array) for name, array in (arrays or {}).items()}
        merged = {named[name]: array for name, array in (arrays or {}).items()}
        for pipeline in inputs:
            merged |= dict(pipeline.arrays)
        node = {
            "family": family,
            "component": component.name,
            "version": component.version,
            "params": component.params.to_json(),
            "arrays": named,
            "inputs": [pipeline.node for pipeline in inputs],
        }
        beside = {"places": component.params.places(), "reading": dict(component.reading)}
        return cls(node | {name: value for name, value in beside.items() if value}, merged)

    @classmethod
    def load(cls, store):
        """The pipeline of a store. Its arrays are read, and verified against their hashes, when they are needed, whether or not it is
        open then.

        Raises
        ------
        ImgretError
            If the store has none, or it is damaged; whenever an array is.
        """
        if store.pipeline is None:
            raise ImgretError(f"{store.shown} does not say how it was made")
        check_tree(store.pipeline, store.shown)
        return cls(store.pipeline, _Arrays(store.path, store.content, dict.fromkeys(pipeline_hashes(store.pipeline))))

    def whole(self):
        """The same, with all arrays read: for what will be written after long work, which damage should not wait for.

        Raises
        ------
        ImgretError
            If one is damaged.
        """
        return Pipeline(self.node, dict(self.arrays))

    def without_inputs(self):
        """The last component alone: a codebook's own part of the tree."""
        node = dict(self.node, inputs=[])
        return Pipeline(node, {digest: self.arrays[digest] for digest in node["arrays"].values()})

    def codebooks_for(self, kind):
        """Those of the last component's codebooks that another component needs to take what it gives: fitted, in the order of its `needs`.

        Raises
        ------
        ImgretError
            If one is not among them.
        """
        children = codebooks(self.node)
        places, missing, _ = kind.assigned([child["component"] for child in children])
        if missing is not None:
            raise ImgretError(
                f"'{kind.name}' takes what was encoded with a {missing} codebook, not what '{quoted(self.node['component'])}' gives"
            )
        return self._fitted(children, places)

    def _fitted(self, children, places):
        return [None if place is None else self.component(children[place]) for place in places]

    def asking(self, changes):
        """The same, but other parameters of the last component, as queries are described: dict of str to what JSON holds."""
        return Pipeline(dict(self.node, params=self.node["params"] | changes), self.arrays)

    def chain(self):
        """The nodes from the photo's end, or from where branches were joined last, to the end: each describes what the one before gives."""
        nodes = [self.node]
        while len(branches(nodes[-1])) == 1:
            nodes += branches(nodes[-1])
        return nodes[::-1]

    def component(self, node=None):
        """The component of a node, ready for use (the last one, by default).

        Raises
        ------
        ImgretError
            If this imgret does not know it, or its version.
        """
        node = self.node if node is None else node
        kind = component_class(node)
        if node["version"] != kind.version:
            age = "newer" if node["version"] > kind.version else "older"
            remedy = "upgrade imgret" if age == "newer" else "make the file again"
            raise ImgretError(f"the {node['family']} '{kind.name}' in the file is of the {age} version {node['version']}: {remedy}")
        params = kind.Params.from_json(node["params"] | node.get("places", {}))
        if node["family"] == "codebook":
            return kind.from_arrays(params, {name: self.arrays[digest] for name, digest in node["arrays"].items()})
        children, over = codebooks(node), len(branches(node))
        places, missing, left = kind.assigned([child["component"] for child in children])
        if missing is not None or left is not None or not kind.takes_branches(over):
            what = "has no codebook that fits" if kind.needs or children else "does not join what it should"
            raise ImgretError(f"the {node['family']} '{kind.name}' in the file {what}: the file is damaged")
        component = kind(params, *self._fitted(children, places)).over([None] * over)
        if node.get("reading"):
            try:
                component.read_as(node["reading"])
            except UsageError:
                raise ImgretError(
                    f"the photos of the file were read in a way that this imgret does not know ({node['reading']}): upgrade imgret"
                ) from None
        return component


class _Arrays(collections.abc.Mapping):
    """The arrays of a store's pipeline, each read when it is first asked for: often only the tree is wanted.

    Parameters
    ----------
    path : str or bytes
    content : str
        The store's, to be found there again.
    digests : dict
        What there is, by hash.
    """

    def __init__(self, path, content, digests):
        self._path, self._content, self._arrays = path, content, digests

    def __getitem__(self, digest):
        if self._arrays[digest] is None:
            with Store(self._path) as store:
                if store.content != self._content:
                    raise changed(store.shown)
                self._arrays[digest] = store.pipeline_array(digest)
        return self._arrays[digest]

    def __iter__(self):
        return iter(self._arrays)

    def __len__(self):
        return len(self._arrays)


def branches(node):
    """The inputs of a node that photos come through: all but codebooks."""
    return [child for child in node["inputs"] if child["family"] != "codebook"]


def codebooks(node):
    """The inputs of a node that are codebooks."""
    return [child for child in node["inputs"] if child["family"] == "codebook"]


def places(node):
    """Where the files were that a tree needs beside the store: a list of str."""
    return [*map(str, node.get("places", {}).values()), *(place for child in node["inputs"] for place in places(child))]


def libraries(node):
    """The libraries by which what a pipeline's tree begins with describes photos, each once."""
    own = component_class(node).libraries_of(node["params"]) if node["family"] == "extractor" else ()
    return tuple(dict.fromkeys([*own, *(library for child in branches(node) for library in libraries(child))]))


def from_elsewhere(node):
    """Whether anything in a pipeline's tree was imported."""
    return node["family"] == ELSEWHERE or any(map(from_elsewhere, node["inputs"]))


def space(node):
    """What a node's output means, as JSON: components, the parameters that change the meaning, arrays. Equal if and only if comparable."""
    if node is None:
        return None
    whole = node["family"] == ELSEWHERE or node["family"] not in FAMILIES
    params = node["params"] if whole else component_class(node).Params.from_json(node["params"]).space()
    own = {"component": node["component"], "version": node["version"], "params": params, "arrays": node["arrays"]}
    return own | {"inputs": [space(child) for child in node["inputs"]]}


def same_space(first, second):
    """Whether two nodes describe photos in the same space."""
    return canonical(space(first)) == canonical(space(second))


def differences(first, second):
    """What makes two nodes' spaces differ, in words."""
    a, b = space(first), space(second)
    if a["component"] != b["component"]:
        return f"{a['component']} and {b['component']}"
    changed = [
        f"{name} {_short(a['params'].get(name))} and {_short(b['params'].get(name))}"
        for name in sorted({*a["params"], *b["params"]})
        if a["params"].get(name) != b["params"].get(name)
    ]
    return f"{a['component']} with {', '.join(changed)}" if changed else f"{a['component']} with different codebooks"


def component_class(node):
    """The class of a node's component."""
    table = FAMILIES.get(node["family"], {})
    if node["component"] not in table:
        raise ImgretError(f"this imgret has no {quoted(node['family'])} '{quoted(node['component'])}': upgrade imgret")
    return load(table, node["component"], node["family"])


def check_tree(node, shown, depth=0):
    """Refuse what is not a tree of components."""
    wanted = {"family": str, "component": str, "version": int, "params": dict, "arrays": dict, "inputs": list}
    good = isinstance(node, dict) and depth < 50 and all(isinstance(node.get(name), kind) for name, kind in wanted.items())
    good = good and isinstance(node.get("places", {}), dict) and isinstance(node.get("reading", {}), dict)
    good = good and ("reading" not in node or node["family"] == "extractor")
    if not good:
        raise ImgretError(f"{shown} is damaged: its pipeline is not a tree of components")
    for child in node["inputs"]:
        check_tree(child, shown, depth + 1)


def _short(value):
    return quoted(",".join(map(str, value)) if isinstance(value, list) else str(value).lower() if isinstance(value, bool) else value)
