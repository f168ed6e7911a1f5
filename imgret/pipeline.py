"""The pipeline inside a store: the tree of fitted components that made it, able to make more of the same.

A node is `{family, component, version, params, arrays: {name: hash}, inputs: [...]}`, and `places` where it needs a file of its own. A
features store's pipeline is its extractor; a codebook's is the codebook over what it was trained on; a vectors store's is the encoder
over the features' pipeline and the codebook, or over the pipelines of all that it joins.
"""

import dataclasses

import numpy as np

from imgret import images
from imgret.codebooks import CODEBOOKS
from imgret.encoders import ENCODERS
from imgret.errors import ImgretError, UsageError
from imgret.extractors import EXTRACTORS
from imgret.registry import load
from imgret.store.hashing import canonical, of_array, pipeline_hashes

IMPORTED = "imported"  # the family of what came from elsewhere: it describes no photo
FAMILIES = {
    "extractor": EXTRACTORS,
    "codebook": CODEBOOKS,
    "encoder": ENCODERS,
    IMPORTED: {"imported": "imgret.pipeline:ImportedVectors", "imported-features": "imgret.pipeline:ImportedFeatures"},
}
NO_PHOTOS = "these {} came from elsewhere, so no photo can be described like them: give a {} store as the query"
NO_DESCRIPTORS = "no local feature was found in it"


class ImportedVectors:
    """Stands for whatever made vectors elsewhere: it cannot describe a photo."""

    name, version, gives = "imported", 1, "vectors"
    codebooks = ()

    @dataclasses.dataclass(frozen=True)
    class Params:
        """What is known: dimensions, and what they are, in a word of the user's own. All of it is the space they are in."""

        dim: int
        space: str

        @classmethod
        def from_json(cls, data):
            """As a store recorded them."""
            if set(data) != {"dim", "space"}:
                raise ImgretError(f"the file says of what was imported what this imgret does not know ({sorted(data)}): upgrade imgret")
            return cls(**data)

        def to_json(self):
            """Plain values."""
            return dataclasses.asdict(self)

        def places(self):
            """None: it needs no file."""
            return {}

    def __init__(self, params, codebook=None):
        self.params = params


class ImportedFeatures(ImportedVectors):
    """The same for local features."""

    name, gives = "imported-features", "features"

    def decode(self, descriptors):
        """Stored descriptors (T, D) as float32."""
        return descriptors.astype(np.float32)


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
        places = component.params.places()
        return cls(node | {"places": places} if places else node, merged)

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
        kind = _kind(node)
        if node["version"] != kind.version:
            age = "newer" if node["version"] > kind.version else "older"
            remedy = "upgrade imgret" if age == "newer" else "make the file again"
            raise ImgretError(f"the {node['family']} '{kind.name}' in the file is of the {age} version {node['version']}: {remedy}")
        params = kind.Params.from_json(node["params"] | node.get("places", {}))
        if node["family"] == "codebook":
            return kind.from_arrays(params, {name: self.arrays[digest] for name, digest in node["arrays"].items()})
        codebooks = [child for child in node["inputs"] if child["family"] == "codebook"]
        if node["family"] == "encoder" and not kind.codebooks:  # it joins branches
            if codebooks or len(node["inputs"]) < 2:
                raise ImgretError(f"the encoder '{kind.name}' in the file does not join what it should: the file is damaged")
            return kind(params, len(node["inputs"]))
        needed = node["family"] == "encoder"
        fits = len(codebooks) == 1 if needed else len(codebooks) < 2
        if not fits or len(branches(node)) != needed or any(child["component"] not in kind.codebooks for child in codebooks):
            raise ImgretError(f"the {node['family']} '{kind.name}' in the file has no codebook that fits: the file is damaged")
        return kind(params, self.component(codebooks[0]) if codebooks else None)


def branches(node):
    """The inputs of a node that photos come through: all but codebooks."""
    return [child for child in node["inputs"] if child["family"] != "codebook"]


def from_elsewhere(node):
    """Whether anything in a pipeline's tree was imported."""
    return node["family"] == IMPORTED or any(map(from_elsewhere, node["inputs"]))


def space(node):
    """What a node's output means, as JSON: components, the parameters that change the meaning, arrays. Equal if and only if comparable."""
    if node is None:
        return None
    if node["family"] == IMPORTED or node["family"] not in FAMILIES:
        params = node["params"]
    else:
        params = _kind(node).Params.from_json(node["params"]).space()
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


class Describer:
    """Describes new photos, features or vectors as a pipeline describes its own.

    Parameters
    ----------
    pipeline : Pipeline
    device : str
        Where networks run.
    weights : sequence of str
        Files to look for networks' weights in, before the recorded places.

    Raises
    ------
    ImgretError
        If a component is not known.
    """

    def __init__(self, pipeline, device="auto", weights=()):
        self.pipeline = pipeline
        self.nodes = pipeline.chain()
        self._device, self._weights, self._components, self._ready = device, weights, {}, set()

    def _component(self, node):
        key = canonical(node)
        if key not in self._components:
            self._components[key] = self.pipeline.component(node)
        return self._components[key]

    def _extractor(self, node):
        """The extractor of a node, ready for photos: stored features are encoded without its weights."""
        extractor, key = self._component(node), canonical(node)
        if key not in self._ready:
            try:
                extractor.settle(self._device, self._weights)
            except UsageError as error:  # the file asks for it, not the user
                raise ImgretError(f"the pipeline in the file cannot be run: {error}") from None
            self._ready.add(key)
        return extractor

    def position_of(self, node):
        """Where in the chain of this pipeline another store's output fits in: the position of the node of the same space, or -1."""
        for position in range(len(self.nodes) - 1, -1, -1):
            if same_space(self.nodes[position], node):
                return position
        return -1

    def settle(self):
        """Get every extractor ready, so that what it lacks is told before any photo is described.

        Raises
        ------
        ImgretError
            Also if the pipeline does not begin with photos.
        """
        for node in _extractors(self.pipeline.node):
            self._extractor(node)

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
        return self._described(self.pipeline.node, file, {})

    def _described(self, node, file, known):
        """What a node makes of a photo: (T, D) descriptors as stored, or a vector. `known` is for branches that begin alike."""
        key = canonical(node)
        if key not in known:
            if node["family"] == "extractor":
                known[key] = self._extracted(self._extractor(node), file)
            elif node["family"] == "encoder":
                known[key] = self._encoded(node, [self._described(child, file, known) for child in branches(node)])
            else:
                raise _from_elsewhere(node)
        return known[key]

    def _extracted(self, extractor, file):
        described = extractor.describe([extractor.read(file.data)])[0]
        if isinstance(described, images.BadPhoto):
            raise described
        if extractor.gives == "vectors":
            return described
        if not len(described.descriptors):
            raise images.BadPhoto("no-descriptors", NO_DESCRIPTORS)
        return described.descriptors

    def _encoded(self, node, inputs):
        encoder = self._component(node)
        if encoder.takes == "features":
            return encoder.encode(self._component(branches(node)[0]).decode(inputs[0]))
        if len(inputs) > 1:
            return encoder.join([vector[None] for vector in inputs])[0]
        return encoder.encode_block(inputs[0][None])[0]

    def features(self, stored):
        """The vector of one photo's descriptors, as stored (T, D)."""
        if len(self.nodes) < 2:
            raise ImgretError("this pipeline ends with local features: encode them first")
        return self.vectors(self._encoded(self.nodes[1], [stored])[None], 1)[0]

    def vectors(self, block, position):
        """Take vectors (N, V), the output of the node at `position`, to the end of the pipeline."""
        for later in self.nodes[position + 1 :]:
            block = self._component(later).encode_block(block)
        return block


def _extractors(node):
    if node["family"] not in ("extractor", "encoder"):
        raise _from_elsewhere(node)
    found = [node] if node["family"] == "extractor" else []
    return found + [each for child in branches(node) for each in _extractors(child)]


def _from_elsewhere(node):
    gives = "features" if node["component"] == ImportedFeatures.name else "vectors"
    return ImgretError(NO_PHOTOS.format(gives, gives))


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
    good = good and isinstance(node.get("places", {}), dict)
    if not good:
        raise ImgretError(f"{shown} is damaged: its pipeline is not a tree of components")
    for child in node["inputs"]:
        check_tree(child, shown, depth + 1)


def _short(value):
    return ",".join(map(str, value)) if isinstance(value, list) else str(value).lower() if isinstance(value, bool) else str(value)
