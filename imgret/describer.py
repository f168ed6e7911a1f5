"""Describes new photos, features and vectors as the pipeline of a store describes its own."""

import contextlib

from imgret import images
from imgret.errors import ImgretError, UsageError
from imgret.features import NO_DESCRIPTORS
from imgret.parallel import ordered_map
from imgret.pipeline import ELSEWHERE, branches, component_class, same_space
from imgret.store.hashing import canonical

NO_PHOTOS = "these {} came from elsewhere, so no photo can be described like them: give a {} store as the query"


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

    def extractors(self):
        """The extractors that photos go through, not yet settled.

        Raises
        ------
        ImgretError
            If the pipeline does not begin with photos.
        """
        return [self._component(node) for node in _extractors(self.pipeline.node)]

    def photo(self, file):
        """Describe a photo.

        Parameters
        ----------
        file : imgret.images.File

        Returns
        -------
        ndarray, shape (V,), or imgret.features.LocalFeatures, or dict of str to ndarray
            As the pipeline ends: a vector, local features, or the columns of visual words.

        Raises
        ------
        imgret.images.BadPhoto
        ImgretError
            If the pipeline does not begin with photos.
        """
        return self._described(self.pipeline.node, file, {})

    def _described(self, node, file, known):
        """What a node makes of a photo: `LocalFeatures` or a vector. `known` is for branches that begin alike."""
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
        if not len(described):
            raise images.BadPhoto("no-descriptors", NO_DESCRIPTORS)
        return described

    def _encoded(self, node, inputs):
        encoder = self._component(node)
        if encoder.takes == "features":
            return encoder.encode(*inputs)
        return encoder.encode_block(*(vector[None] for vector in inputs))[0]

    def features(self, features):
        """The vector of one photo's local features.

        Parameters
        ----------
        features : imgret.features.LocalFeatures

        Returns
        -------
        ndarray, shape (V,), or dict of str to ndarray
            As the pipeline ends: a vector, or the columns of visual words.
        """
        if len(self.nodes) < 2:
            raise ImgretError("this pipeline ends with local features: encode them first")
        encoded = self._encoded(self.nodes[1], [features])
        return encoded if isinstance(encoded, dict) else self.vectors(encoded[None], 1)[0]

    def vectors(self, block, position):
        """Take vectors (N, V), the output of the node at `position`, to the end of the pipeline."""
        for later in self.nodes[position + 1 :]:
            block = self._component(later).encode_block(block)
        return block


class Describers:
    """As many describers as there are threads that ask, each made once: OpenCV's detectors are not made for several threads at a time.

    Whatever is described goes through here, one photo at a time on one BLAS/OpenMP thread, so that a photo's vector is the same to the
    last bit whether it comes as a file, as features or as a vector, in whatever company, and for any `jobs`.

    Parameters
    ----------
    pipeline, device, weights : see `Describer`

    Attributes
    ----------
    first : Describer
        For questions about the pipeline.
    """

    def __init__(self, pipeline, device="auto", weights=()):
        self._how = pipeline, device, weights
        self.first = Describer(*self._how)
        self._free = [self.first]

    def settle(self):
        """Get ready for photos; see `Describer.settle`."""
        import cv2  # noqa: F401 - a photo is read with it, and `one_thread` reaches what is loaded

        self.first.settle()

    def map(self, function, items, jobs=1):
        """Yield `function(describer, item)` for each item, in order, on `jobs` threads; what it raises is raised here."""

        def work(item):
            with self._one() as describer:
                return function(describer, item)

        return ordered_map(work, items, jobs)

    @contextlib.contextmanager
    def _one(self):
        try:
            describer = self._free.pop()
        except IndexError:
            describer = Describer(*self._how)
        try:
            yield describer
        finally:
            self._free.append(describer)


def _extractors(node):
    if node["family"] not in ("extractor", "encoder"):
        raise _from_elsewhere(node)
    found = [node] if node["family"] == "extractor" else []
    return found + [each for child in branches(node) for each in _extractors(child)]


def _from_elsewhere(node):
    gives = component_class(node).gives if node["family"] == ELSEWHERE else "vectors"
    return ImgretError(NO_PHOTOS.format(gives, gives))
