"""The pipeline inside a file: it describes a photo as the steps did that made the file, and knows what it can be compared with."""

import os
import shutil

import numpy as np
import pytest
from helpers import call, names_in, refused
from killing import same

from imgret import images
from imgret.describer import Describer
from imgret.errors import ImgretError
from imgret.inputs.features import FeatureReader
from imgret.inputs.samples import check_one_space
from imgret.parallel import one_thread
from imgret.pipeline import Pipeline, differences, same_space
from imgret.store.reader import Store


def describer(path):
    """A `Describer` of a file, which is closed again: arrays are read when they are needed."""
    with Store(path) as store:
        return Describer(Pipeline.load(store))


def rows(path, column):
    """Name -> row of a store."""
    with Store(path) as store:
        return dict(zip(store.texts("names"), store.read(column), strict=True))


def file_of(photos, name):
    """A photo as it is read."""
    return images.read_file(os.path.join(os.fsencode(photos), name))


@pytest.mark.parametrize("made", ["vlad", "fisher"])
def test_local_features_are_encoded_bit_for_bit(photos, stores, made):
    described = describer(getattr(stores, made))
    with one_thread():  # as `Describers` holds it
        for name, vector in rows(getattr(stores, made), "vectors").items():
            assert np.array_equal(described.photo(file_of(photos, name)), vector)


def test_index_describes_as_its_vectors_were_made(photos, stores):
    described = describer(stores.index)
    with one_thread():
        for name, vector in rows(stores.vlad, "vectors").items():
            assert np.array_equal(described.photo(file_of(photos, name)), vector)


def test_projection_is_equal_to_a_millionth(photos, stores):
    described = describer(stores.projected)
    for name, vector in rows(stores.projected, "vectors").items():
        alone = described.photo(file_of(photos, name))
        assert alone.shape == (12,)
        assert np.linalg.norm(alone - vector) <= 1e-6 * np.linalg.norm(vector)


def test_photo_that_the_pipeline_never_saw(photos, stores, tmp_path):
    """A new photo described through the file is what the steps make of it."""
    from helpers import photo

    new = tmp_path / "new"
    new.mkdir()
    photo(new / "n.png", 77)
    assert call("extract", new, "-o", tmp_path / "f.h5").code == 0
    assert call("encode", tmp_path / "f.h5", "-c", stores.gmm, "-o", tmp_path / "v.h5").code == 0
    assert np.array_equal(describer(stores.fisher).photo(file_of(new, b"n.png")), rows(tmp_path / "v.h5", "vectors")[b"n.png"])


def test_features_and_vectors_enter_the_chain_where_they_fit(stores):
    described = describer(stores.projected)
    for made, wanted in (("features", 0), ("vlad", 1), ("projected", 2), ("fisher", -1)):
        with Store(getattr(stores, made)) as store:
            assert described.position_of(store.pipeline) == wanted
    with Store(stores.vlad) as vlad, Store(stores.projected) as projected:
        later = described.vectors(vlad.read("vectors"), 1)
        np.testing.assert_allclose(later, projected.read("vectors"), rtol=0, atol=1e-6)
    with Store(stores.features) as features, Store(stores.vlad) as vlad:
        (given_back,) = FeatureReader(features).photos([3])
        with one_thread():
            vector = describer(stores.vlad).features(given_back)
        assert np.array_equal(vector, vlad.read("vectors", 3, 4)[0])


def test_photo_without_features(stores, tmp_path):
    from PIL import Image

    Image.new("L", (40, 40), 128).save(tmp_path / "grey.png")
    with pytest.raises(images.BadPhoto) as caught:
        describer(stores.vlad).photo(images.read_file(os.fsencode(tmp_path / "grey.png")))
    assert caught.value.code == "no-descriptors"


def test_components_say_what_they_are(stores):
    with Store(stores.projected) as store:
        nodes = Pipeline.load(store).chain()
    assert [(node["family"], node["component"]) for node in nodes] == [
        ("extractor", "rootsift"),
        ("encoder", "vlad"),
        ("encoder", "project"),
    ]


# identities


def identities(path):
    """recipe, content and fingerprint of a store."""
    with Store(path) as store:
        return store.recipe, store.content, store.fingerprint


def test_moved_folders_make_the_same_identities(photos, stores, tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.copytree(photos, moved)
    for top, _, names in os.walk(moved):
        for name in names:
            os.utime(os.path.join(top, name), ns=(5, 5))
    commands = (
        ("features", "extract", moved),
        ("kmeans", "codebook", tmp_path / "features.h5", "-m", "kmeans", "--size", 6),
        ("vlad", "encode", tmp_path / "features.h5", "-c", tmp_path / "kmeans.h5"),
        ("index", "index", tmp_path / "vlad.h5", "-m", "flat"),
    )
    for made, *arguments in commands:
        assert call(*arguments, "-o", tmp_path / f"{made}.h5").code == 0
        assert identities(tmp_path / f"{made}.h5") == identities(getattr(stores, made))


def test_appended_stores_are_as_one(photos, stores, tmp_path):
    """Two stores as inputs append rows; names decide the order, so it does not matter which comes first."""
    assert call("extract", photos / "more", "-o", tmp_path / "one.h5", "--root", photos).code == 0
    others = sorted(path for path in photos.iterdir() if path.is_file())
    assert call("extract", *others, "-o", tmp_path / "other.h5", "--root", photos).code == 0
    for number, inputs in enumerate(((tmp_path / "one.h5", tmp_path / "other.h5"), (tmp_path / "other.h5", tmp_path / "one.h5"))):
        assert call("encode", *inputs, "-c", stores.kmeans, "-o", tmp_path / f"v{number}.h5").code == 0
        assert rows(tmp_path / f"v{number}.h5", "vectors").keys() == rows(stores.vlad, "vectors").keys()
        with Store(tmp_path / f"v{number}.h5") as store, Store(stores.vlad) as whole:
            assert np.array_equal(store.read("vectors"), whole.read("vectors"))
    result = call("encode", tmp_path / "one.h5", stores.features, "-c", stores.kmeans, "-o", tmp_path / "v.h5")
    first, second = sorted((tmp_path / "one.h5", stores.features), key=lambda path: (names_in(path)[0], Store(path).content))
    refused(result, 1, f"the photo 'more/00.jpg' is in {first} and in {second}: give it once")


# what does not fit


@pytest.fixture(scope="module")
def others(photos, tmp_path_factory):
    """A folder with features that differ from `stores.features` in method or in what a descriptor means."""
    folder = tmp_path_factory.mktemp("others")
    assert call("extract", photos, "-o", folder / "sift.h5", "-m", "sift").code == 0
    assert call("extract", photos, "-o", folder / "upright.h5", "--set", "upright=true").code == 0
    assert call("extract", photos, "-o", folder / "few.h5", "--set", "max_keypoints=20").code == 0
    return folder


def test_codebook_of_another_space_is_refused(stores, others, tmp_path):
    out = tmp_path / "out.h5"
    for features, differ in (("sift", "rootsift and sift"), ("upright", "rootsift with upright false and true")):
        path = others / f"{features}.h5"
        text = f"{stores.kmeans} was learned in another space than {path} is in ({differ}): learn it on features made in the same way"
        refused(call("encode", path, "-c", stores.kmeans, "-o", out), 1, text)
        assert not out.exists()
    # how many keypoints a photo has is noted, and changes no space
    assert call("encode", others / "few.h5", "-c", stores.kmeans, "-o", out).code == 0


def test_stores_of_two_spaces_are_not_put_together(stores, others, tmp_path):
    text = f"{stores.features} and {others / 'sift.h5'} were made in different ways: rootsift and sift"
    refused(call("codebook", stores.features, others / "sift.h5", "-m", "kmeans", "--size", 4, "-o", tmp_path / "w.h5"), 1, text)
    text = f"{stores.vlad} and {stores.fisher} were made in different ways: vlad and fisher"
    refused(call("index", stores.vlad, stores.fisher, "-m", "flat", "-o", tmp_path / "i.h5"), 1, text)


def test_projection_of_other_columns_is_refused(stores, tmp_path):
    with Store(stores.fisher) as store:
        width = store.shape("vectors")[1]
    text = f"{stores.pca} was fitted on 768 columns, {stores.fisher} has {width}: learn it on vectors made in the same way"
    refused(call("encode", stores.fisher, "-c", stores.pca, "-o", tmp_path / "v.h5"), 1, text)


def test_codebook_that_the_method_cannot_use(stores, tmp_path):
    text = f"{stores.kmeans} is a kmeans codebook; fisher needs gmm: leave -m out, and the codebook decides"
    refused(call("encode", stores.features, "-c", stores.kmeans, "-m", "fisher", "-o", tmp_path / "v.h5"), 1, text)


def test_spaces(stores):
    with Store(stores.vlad) as vlad, Store(stores.fisher) as fisher, Store(stores.index) as index:
        assert same_space(vlad.pipeline, index.pipeline)
        assert not same_space(vlad.pipeline, fisher.pipeline)
        assert differences(vlad.pipeline, fisher.pipeline) == "vlad and fisher"


def test_component_of_a_newer_imgret(stores):
    with Store(stores.vlad) as store:
        pipeline = Pipeline.load(store)
    for change, text in (
        ({"component": "dream"}, "this imgret has no encoder 'dream': upgrade imgret"),
        ({"version": 99}, "the encoder 'vlad' in the file is of the newer version 99: upgrade imgret"),
        ({"version": 0}, "the encoder 'vlad' in the file is of the older version 0: make the file again"),
        ({"inputs": []}, "the encoder 'vlad' in the file has no codebook that fits: the file is damaged"),
        ({"params": {"colour": 1}}, "the file has parameters that this imgret does not know (['colour']): upgrade imgret"),
    ):
        with pytest.raises(ImgretError) as caught:
            Pipeline(pipeline.node | change, pipeline.arrays).component()
        assert str(caught.value) == text


def test_imported_vectors_describe_no_photo(tmp_path):
    np.save(tmp_path / "x.npy", np.eye(3, dtype=np.float32))
    (tmp_path / "names.txt").write_text("b\na\nc\n")
    assert call("import", tmp_path / "x.npy", "--names", tmp_path / "names.txt", "-o", tmp_path / "v.h5").code == 0
    with pytest.raises(ImgretError) as caught:
        describer(tmp_path / "v.h5").photo(None)
    text = "these vectors came from elsewhere, so no photo can be described like them: give a vectors store as the query"
    assert str(caught.value) == text


def test_same_compares_what_it_should(stores, tmp_path):
    """The comparison that the other tests stand on sees one changed bit, and passes over when and where a file was made."""
    import h5py

    copy = shutil.copy(stores.vlad, tmp_path / "copy.h5")
    with h5py.File(copy, "r+") as file:
        file.attrs.modify("created", "2001-01-01T00:00:00+00:00")
    same(copy, stores.vlad)
    with h5py.File(copy, "r+") as file:
        file["digest"][5, 5] ^= 1
    with pytest.raises(AssertionError):
        same(copy, stores.vlad)


def test_arrays_are_read_when_they_are_needed(stores, tmp_path, monkeypatch):
    """Of many steps only the tree is wanted: whether vectors are of one space, say."""
    read = []
    take = Store.pipeline_array
    monkeypatch.setattr(Store, "pipeline_array", lambda self, digest: read.append(digest) or take(self, digest))
    second = tmp_path / "second.h5"
    with Store(stores.projected) as store:
        pipeline = Pipeline.load(store)
        check_one_space([store, store])
    assert same_space(pipeline.node, pipeline.node)
    assert len(pipeline.arrays) == 6
    assert set(pipeline.arrays)
    assert not read
    pipeline.component()  # the store is closed
    assert len(read) == 3  # of the projection, and not of the words before it
    shutil.copy(stores.projected, second)
    with Store(second) as store:
        pipeline = Pipeline.load(store)
    shutil.copy(stores.vlad, second)
    with pytest.raises(ImgretError, match="second.h5 has changed while it was being read: run the same command again"):
        pipeline.component()
