"""The pipeline inside a store: the tree of fitted components that made it, able to make more of the same.

A node is `{family, component, version, params, arrays: {name: hash}, inputs: [...]}`. A features store's pipeline is its extractor; a
codebook's is the codebook over what it was trained on; a vectors store's is the encoder over the features' pipeline and the codebook.
"""

import dataclasses

from imgret import images
from imgret.codebooks import CODEBOOKS
from imgret.encoders import ENCODERS
from imgret.errors import ImgretError
from imgret.extractors import EXTRACTORS
from imgret.registry import load
from imgret.store.hashing import canonical, of_array
from imgret.store.reader import pipeline_hashes

FAMILIES = {"extractor": EXTRACTORS, "codebook": CODEBOOKS, "encoder": ENCODERS}
IMPORTED = "imported"  # the family of vectors that came from elsewhere: they describe no photo


@dataclasses.dataclass(frozen=True)
class Pipeline:
    """A tree of fitted components and their arrays.

    Attributes
    ----------
    node : dict
    arrays : dict of str to ndarray
        By hash.
    """

    node: dict
    arrays: dict

    @classmethod
    def of(cls, family, component, inputs=(), arrays=None):
        """The pipeline whose last step is `component`, over the pipelines `inputs`."""
        named = {name: of_array(array) for name, array in (arrays or {}).items()}
        merged = {named[name]: array for name, array in (arrays or {}).items()}
        for pipeline in inputs:
            merged |= pipeline.arrays
        node = {
            "family": family,
            "component": component.name,
            "version": component.version,
            "params": component.params.to_json(),
            "arrays": named,
            "inputs": [pipeline.node for pipeline in inputs],
        }
        return cls(node, merged)

    @classmethod
    def load(cls, store):
        """The pipeline of an open store, its arrays verified against their hashes.

        Raises
        ------
        ImgretError
            If the store has none, or it is damaged.
        """
        if store.pipeline is None:
            raise ImgretError(f"{store.shown} does not say how it was made")
        check_tree(store.pipeline, store.shown)
        return cls(store.pipeline, {digest: store.pipeline_array(digest) for digest in set(pipeline_hashes(store.pipeline))})

    def without_inputs(self):
        """The last component alone: a codebook's own part of the tree."""
        node = dict(self.node, inputs=[])
        return Pipeline(node, {digest: self.arrays[digest] for digest in node["arrays"].values()})

    def chain(self):
        """The nodes from the photo's end to the last: each is the first input of the next."""
        nodes = [self.node]
        while nodes[-1]["inputs"]:
            nodes.append(nodes[-1]["inputs"][0])
        return nodes[::-1]

    def component(self, node=None):
        """The component of a node, ready for use (the last one, by default).

        Raises
        ------
        ImgretError
            If this imgret does not know it, or its version.
        """
        node = self.node if node is None else node
        kind = _kind(node)
        if node["version"] != kind.version:
            age = "newer" if node["version"] > kind.version else "older"
            remedy = "upgrade imgret" if age == "newer" else "make the file again"
            raise ImgretError(f"the {node['family']} '{kind.name}' in the file is of the {age} version {node['version']}: {remedy}")
        params = kind.Params.from_json(node["params"])
        if node["family"] == "codebook":
            return kind.from_arrays(params, {name: self.arrays[digest] for name, digest in node["arrays"].items()})
        if node["family"] == "encoder":
            if len(node["inputs"]) != 2 or node["inputs"][1]["component"] not in kind.codebooks:
                raise ImgretError(f"the encoder '{kind.name}' in the file has no codebook that fits: the file is damaged")
            return kind(params, self.component(node["inputs"][1]))
        return kind(params)


def space(node):
    """What a node's output means, as JSON: components, the parameters that change the meaning, arrays. Equal if and only if comparable."""
    if node is None:
        return None
    table = FAMILIES.get(node["family"])
    if table is None:
        params = node["params"]
    else:
        params = _kind(node).Params.from_json(node["params"]).space()
    own = {"component": node["component"], "version": node["version"], "params": params, "arrays": node["arrays"]}
    return own | {"inputs": [space(child) for child in node["inputs"]]}


def same_space(first, second):
    """Whether two nodes describe photos in the same space."""
    return canonical(space(first)) == canonical(space(second))


def explain(node):
    """One line about a node: "vlad(norm=intra,l2) < rootsift(max_size=1024 ...)"."""
    settings = " ".join(f"{name}={_short(value)}" for name, value in node["params"].items())
    own = f"{node['component']}({settings})" if settings else node["component"]
    return " ← ".join([own, *(explain(child) for child in node["inputs"][:1])])


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


class Describer:
    """Describes new photos, features or vectors as a pipeline describes its own.

    Parameters
    ----------
    pipeline : Pipeline

    Raises
    ------
    ImgretError
        If a component is not known.
    """

    def __init__(self, pipeline):
        self.pipeline = pipeline
        self.nodes = pipeline.chain()
        self._components = {}

    def _component(self, position):
        if position not in self._components:
            self._components[position] = self.pipeline.component(self.nodes[position])
        return self._components[position]

    def position_of(self, node):
        """Where in this pipeline another store's output fits in: the position of the node that describes the same space, or -1."""
        for position in range(len(self.nodes) - 1, -1, -1):
            if same_space(self.nodes[position], node):
                return position
        return -1

    def photo(self, file):
        """Describe a photo.

        Parameters
        ----------
        file : imgret.images.File

        Returns
        -------
        ndarray, shape (V,)

        Raises
        ------
        imgret.images.BadPhoto
        ImgretError
            If the pipeline does not begin with photos.
        """
        if self.nodes[0]["family"] != "extractor":
            raise ImgretError(
                "these vectors came from elsewhere, so no photo can be described like them: give a vectors store as the query"
            )
        extractor = self._component(0)
        photo = images.decode(file.data, max_size=extractor.max_size, grey=extractor.grey)
        features = extractor.extract(photo)
        if not len(features.descriptors):
            raise images.BadPhoto("no-descriptors", "no local feature was found in it")
        return self.features(features.descriptors)

    def features(self, stored):
        """The vector of one photo's descriptors, as stored (T, D)."""
        descriptors = self._component(0).decode(stored)
        if len(self.nodes) < 2:
            raise ImgretError("this pipeline ends with local features: encode them first")
        return self.vectors(self._component(1).encode(descriptors)[None], 1)[0]

    def vectors(self, block, position):
        """Take vectors (N, V), the output of the node at `position`, to the end of the pipeline."""
        for later in range(position + 1, len(self.nodes)):
            block = self._component(later).encode_block(block)
        return block


def _kind(node):
    """The class of a node's component."""
    table = FAMILIES.get(node["family"], {})
    if node["component"] not in table:
        raise ImgretError(f"this imgret has no {node['family']} '{node['component']}': upgrade imgret")
    return load(table, node["component"], node["family"])


def check_tree(node, shown, depth=0):
    """Refuse what is not a tree of components."""
    wanted = {"family": str, "component": str, "version": int, "params": dict, "arrays": dict, "inputs": list}
    good = isinstance(node, dict) and depth < 50 and all(isinstance(node.get(name), kind) for name, kind in wanted.items())
    if not good:
        raise ImgretError(f"{shown} is damaged: its pipeline is not a tree of components")
    for child in node["inputs"]:
        check_tree(child, shown, depth + 1)


def _short(value):
    return ",".join(map(str, value)) if isinstance(value, list) else str(value).lower() if isinstance(value, bool) else str(value)
