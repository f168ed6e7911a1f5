"""Bit rot: what a step reads is verified before it is used, block by block; no answer comes from a damaged column."""

import os
import shutil

import h5py
import numpy as np
import pytest
import xxhash
from helpers import ROOT, call, flip, folder, refused, say

import imgret
from imgret.errors import ImgretError
from imgret.indexes import INDEXES
from imgret.indexes.ivf import InvertedFile
from imgret.inputs.gallery import Gallery
from imgret.inputs.stores import Stores
from imgret.registry import load
from imgret.stages.info import check
from imgret.store import blocks, verifying
from imgret.store.reader import Store
from imgret.store.writer import Writer

REMEDY = "remove the file and make it again, or restore a copy"


def sentence(path, column):
    return f"{path} is damaged: '{column}' does not match its checksum: {REMEDY}"


@pytest.fixture
def small(monkeypatch):
    """Blocks of 64 bytes."""
    for module in (blocks, verifying):
        monkeypatch.setattr(module, "BLOCK_BYTES", 64)


# blocks


ROWS = np.arange(50 * 7, dtype=np.int16).reshape(50, 7)  # four to a block
CUTS = {"one by one": range(51), "whole": (0, 50), "unevenly": (0, 3, 3, 4, 17, 49, 50), "by blocks": range(0, 51, 4)}


def written(path, cuts, total):
    """A file with the column `x`, appended in pieces; its blocks' checksums, their checksum, and `content`."""
    with Writer(str(path)) as writer:
        column = writer.column("x", (7,), np.int16, total)
        for start, stop in zip(cuts, [*cuts[1:], 50], strict=True):
            column.append(ROWS[start:stop])
        content = writer.finish("codebook", recipe="00", params={})
        return writer._file["blocks/x"][()].tolist(), column.blocks, content


@pytest.mark.parametrize("total", [None, 50])
def test_blocks_do_not_depend_on_how_rows_come(tmp_path, small, monkeypatch, total):
    found = [written(tmp_path / "x", list(cuts), total) for cuts in CUTS.values()]
    assert found[0][0] == [xxhash.xxh3_64_intdigest(ROWS[start : start + 4].tobytes()) for start in range(0, 50, 4)]
    assert all(each == found[0] for each in found)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 640)
    assert written(tmp_path / "x", [0], total)[2] == found[0][2]  # they are no part of `content`


def rewritten(path, source):
    """A store's columns in blocks as they are here."""
    with Store(source) as store, Writer(str(path)) as writer:
        for name in store.column_names():
            array = store.read(name)
            writer.column(name, array.shape[1:], array.dtype, len(array)).append(array)
        writer.finish(store.kind, recipe=store.recipe, params=store.params)
        writer.publish(str(path) + ".h5")
    return str(path) + ".h5"


def test_what_is_one_block_has_no_checksums_of_blocks(tmp_path, stores, small):
    with h5py.File(rewritten(tmp_path / "vlad", stores.vlad), "r", locking=False) as file:
        more = [name for name, dataset in file.items() if isinstance(dataset, h5py.Dataset) and dataset.nbytes > 64]
        assert sorted(file["blocks"]) == sorted(more)
        assert "image_size" in more
    with h5py.File(stores.vlad, "r", locking=False) as file:
        assert "blocks" not in file


def test_what_is_read_is_verified_and_nothing_else(tmp_path, stores, small):
    path = rewritten(tmp_path / "vlad", stores.vlad)  # 28 digests of 32 bytes, two to a block
    with Store(path) as store:
        wanted = store.read("digest")
    flip(path, "digest", 32 * 9 + 5)  # the fifth block
    with Store(path) as store:
        pending = store._blocks("digest").pending
        assert np.array_equal(store.read("digest", 3, 6), wanted[3:6])
        assert np.flatnonzero(~pending).tolist() == [1, 2]
        assert np.array_equal(store.read("digest", 12, 27), wanted[12:27])
        assert np.flatnonzero(pending).tolist() == [0, 3, 4, 5]
        assert len(store.read("digest", 9, 9)) == 0
        for start, stop in ((8, 9), (9, 10), (0, None), (7, 9), (8, 9)):
            with pytest.raises(ImgretError) as caught:
                store.read("digest", start, stop)
            assert str(caught.value) == sentence(path, "digest")
        with pytest.raises(ImgretError):
            list(store.blocks("digest", 32))
        assert np.array_equal(store.read("digest", 10, 12), wanted[10:12])
    assert check(path) == ["'digest' does not match its checksum"]


def test_damaged_checksums_are_no_licence(tmp_path, stores, small):
    path = rewritten(tmp_path / "vlad", stores.vlad)
    flip(path, "blocks/digest")
    with Store(path) as store, pytest.raises(ImgretError) as caught:
        store.read("digest", 20, 21)
    assert str(caught.value) == sentence(path, "blocks/digest")
    assert check(path) == [sentence(path, "blocks/digest")]
    with h5py.File(path, "r+", locking=False) as file:
        del file["blocks/digest"]
        file["blocks/digest"] = np.zeros(13, np.uint64)
    with Store(path) as store, pytest.raises(ImgretError) as caught:
        store.read("digest", 20, 21)
    assert str(caught.value) == f"{path} is damaged: 'blocks/digest' is not 14 checksums"
    with h5py.File(path, "r+", locking=False) as file:
        del file["blocks"]
        file["blocks"] = h5py.ExternalLink("other.h5", "/")
    with Store(path) as store, pytest.raises(ImgretError) as caught:
        store.read("digest", 20, 21)
    assert str(caught.value) == f"{path} is damaged: it has no column 'blocks'"


# every step


def steps(made, out):
    """What is asked of each step, by name: the command, and the columns that it reads of which input."""
    photo = ("names", "names_offsets", "image_size", "digest", "file_size", "file_mtime_ns")
    return {
        "codebook": (("codebook", made["features"], "-o", out, "--size", "4", "-j1"), "features", ("descriptors",)),
        "codebook of vectors": (("codebook", made["vectors"], "-o", out, "-m", "pca", "--size", "2", "-j1"), "vectors", ("vectors",)),
        "encode": (
            ("encode", made["features"], "-c", made["codebook"], "-o", out, "-j1"),
            "features",
            ("descriptors", "offsets", "names", "digest"),
        ),
        "index": (("index", made["vectors"], "-o", out, "-j1"), "vectors", ("vectors", *photo)),
        "search": (("search", made["index"], made["vectors"], "-j1"), "index", ("names", "names_offsets", "rows", "structure/faiss")),
        "search, stored": (("search", made["index"], made["vectors"], "-j1", "-o", out), "index", ("structure/faiss",)),
        "search by vectors": (("search", made["index"], made["vectors"], "-j1"), "vectors", ("vectors", "names")),
        "search by features": (
            ("search", made["index"], made["features"], "-j1"),
            "features",
            ("descriptors", "offsets", "names", "image_size"),
        ),
        "evaluate": (
            ("evaluate", made["ranking"], "--protocol", "groups", "--truth", made["truth"]),
            "ranking",
            ("ids", "scores", "names", "names_offsets", "query_names", "query_ids"),
        ),
        "export": (("export", made["vectors"], "-o", f"{out}.npy"), "vectors", ("vectors",)),
        "export of names": (("export", made["vectors"], "-o", f"{out}.npy", "--names", f"{out}.txt"), "vectors", ("names",)),
        "export of features": (
            ("export", made["features"], "-o", f"{out}.npy", "--offsets", f"{out}.offsets", "--keypoints", f"{out}.keypoints"),
            "features",
            ("descriptors", "keypoints", "offsets"),
        ),
        "export of a ranking": (("export", made["ranking"], "-o", f"{out}.tsv"), "ranking", ("ids", "scores", "names", "query_names")),
    }


STEPS = list(steps(dict.fromkeys(("features", "vectors", "codebook", "index", "ranking", "truth"), ""), ""))


@pytest.fixture
def made(stores, tmp_path):
    """Copies of a store of each kind, and a ground truth."""
    sources = {"features": "features", "vectors": "vlad", "codebook": "kmeans", "index": "index", "ranking": "ranking"}
    copies = {kind: str(shutil.copy(getattr(stores, name), tmp_path / f"{kind}.h5")) for kind, name in sources.items()}
    return copies | {"truth": truth(tmp_path, stores.vlad)}


def truth(here, vectors):
    with Store(vectors) as store:
        names = [os.fsdecode(name) for name in store.texts("names")]
    (here / "truth.csv").write_text("image,group\n" + "".join(f"{name},{number // 2}\n" for number, name in enumerate(names)))
    return str(here / "truth.csv")


@pytest.mark.parametrize("name", STEPS)
def test_a_step_refuses_what_has_rotted(made, tmp_path, name):
    command, kind, columns = steps(made, tmp_path / "out.h5")[name]
    refuses(command, made[kind], columns, tmp_path)


def refuses(command, path, columns, here):
    """Assert that a command refuses its input with any of the columns damaged: at its beginning, within, at its end."""
    before = sorted(os.listdir(here))
    for number, column in enumerate(columns):
        with Store(path) as store:
            there = column if store.has(column) else "index"  # as version 1 calls the structure
        at = 50 if column.endswith("offsets") else (-1, 0, 50)[number % 3]
        flip(path, there, at)
        result = call(*command)
        assert (result.code, result.out) == (1, b""), column
        assert result.err.splitlines()[-1] == f"imgret: error: {sentence(path, there)}"
        flip(path, there, at)
        for parts in [name for name in os.listdir(here) if name.endswith(".parts")]:
            shutil.rmtree(here / parts)
        assert sorted(os.listdir(here)) == before


DATA = os.path.join(ROOT, "tests", "data", "schema-1")


@pytest.mark.parametrize("name", [name for name in STEPS if name not in ("export of a ranking", "search, stored")])
def test_a_step_refuses_what_has_rotted_of_version_1(tmp_path, name):
    """There, a column is one block."""
    kinds = ("features", "codebook", "vectors", "index", "ranking")
    old = {kind: shutil.copy(os.path.join(DATA, f"{kind}.h5"), tmp_path) for kind in kinds}
    command, kind, columns = steps(old | {"truth": truth(tmp_path, old["vectors"])}, tmp_path / "out.h5")[name]
    refuses(command, old[kind], columns[:2], tmp_path)


def test_a_large_column_of_version_1_is_verified_in_pieces(tmp_path, small, monkeypatch):
    monkeypatch.setattr(verifying, "READ_BYTES", 1000)
    path, read = shutil.copy(os.path.join(DATA, "features.h5"), tmp_path / "old.h5"), []
    with Store(path) as store:
        real = store._rows
        store._rows = lambda *place: read.append(place) or real(*place)
        for start in (5, 6):
            store.read("descriptors", start, start + 1)
    pieces = [(start, min(start + 7, 99)) for start in range(0, 99, 7)]
    assert read == [("descriptors", *place) for place in [*pieces, (5, 6), (6, 7)]]
    flip(path, "descriptors", -1)
    with Store(path) as store, pytest.raises(ImgretError) as caught:
        store.read("descriptors", 0, 1)
    assert str(caught.value) == sentence(path, "descriptors")


def test_failed_photos_of_a_damaged_store_are_not_told(tmp_path):
    path = shutil.copy(os.path.join(DATA, "vectors.h5"), tmp_path)
    flip(path, "failed/reason")
    refused(call("info", path, "--failed"), 1, sentence(path, "failed/reason"))


def test_photos_are_described_again_where_it_cannot_be_told_which_they_were(tmp_path):
    photos = folder(tmp_path / "photos", 2)
    command = ("extract", photos, "-m", "hsv-hist", "-o", tmp_path / "v.h5", "-j1")
    assert call(*command).code == 0
    with Store(tmp_path / "v.h5") as store:
        content = store.content
    flip(tmp_path / "v.h5", "names")
    result = call(*command)
    assert result.code == 0
    assert f"{tmp_path}/v.h5 is damaged ('names' does not match its checksum): every photo is described again\n" in result.err
    assert check(tmp_path / "v.h5") == []
    with Store(tmp_path / "v.h5") as store:
        assert store.content == content


def test_what_was_verified_stays_so_while_an_input_is_closed(made, tmp_path):
    old = shutil.copy(os.path.join(DATA, "features.h5"), tmp_path / "old.h5")
    with Stores(most=1) as opened:
        for path in (made["vectors"], old):
            kept, other = opened.add(path), opened.add(made["codebook"])
            kept.read("digest", 0, 1)
            other.pipeline_array(next(iter(other.pipeline["arrays"].values())))  # closes the one before
            assert kept.verified["digest"].verified
            kept.read("digest", 0, 1)
            assert kept.verified is opened._opened[kept].verified


# what a store says of itself


def replaced(name, old, new):
    """A change of a JSON document."""
    return lambda file: say(file, name, file["meta"][name][()].tobytes().decode().replace(old, new, 1))


def modified(name, value):
    return lambda file: file.attrs.create(name, np.bytes_(value))


SAID = {
    "params": (replaced("params", '"vlad"', '"vlae"'), "its 'params' does not match its checksum"),
    "inputs": (replaced("inputs", "features", "feature_"), "its 'inputs' does not match its checksum"),
    "pipeline": (replaced("pipeline", '"max_size":1', '"max_size":2'), "its 'pipeline' does not match its checksum"),
    "info": (lambda file: say(file, "info", '{"a":1}'), "its 'info' does not match its checksum"),
    "checksums": (replaced("checksums", '"digest"', '"digesu"'), "`content` does not match the columns' checksums"),
    "content": (modified("content", "0" * 32), "`content` does not match the columns' checksums"),
    "recipe": (modified("recipe", "0" * 64), "what it says of itself does not match its checksum"),
    "fingerprint": (modified("fingerprint", "0" * 32), "what it says of itself does not match its checksum"),
    "created": (modified("created", "1999"), "what it says of itself does not match its checksum"),
    "generated_by": (replaced("generated_by", "numpy", "nvmpy"), "what it says of itself does not match its checksum"),
}


@pytest.mark.parametrize("name", SAID)
def test_what_a_store_says_of_itself_is_verified_when_it_is_opened(made, tmp_path, name):
    change, text = SAID[name]
    path = made["vectors"]
    with h5py.File(path, "r+", locking=False) as file:
        change(file)
    wanted = f"{path} is damaged: {text}: {REMEDY}"
    refused(call("index", path, "-o", tmp_path / "out.h5"), 1, wanted)
    refused(call("info", path), 1, wanted)
    flip(path, "vectors")
    result = call("info", path, "--check")
    assert result.code == 1
    assert {f"  {text}", "  'vectors' does not match its checksum"} <= set(result.lines)


def test_attributes_of_columns_are_verified(made, tmp_path):
    path = made["features"]
    with h5py.File(path, "r+", locking=False) as file:
        file["keypoints"].attrs.create("columns", np.bytes_("x y angle scale score"))
    text = f"{path} is damaged: the attribute 'columns' of 'keypoints' does not match its checksum: {REMEDY}"
    refused(call("encode", path, "-c", made["codebook"], "-o", tmp_path / "out.h5", "-j1"), 1, text)


# indexes


METHODS = {
    "flat": (),
    "pq": ("nbits=4", "bytes=4"),
    "opq": ("nbits=4", "bytes=4"),
    "ivf-flat": ("lists=6",),
    "ivfpq": ("nbits=4", "bytes=4", "lists=6"),
    "hnsw": ("m=4",),
    "factory": (),
}


def test_every_index_is_tried():
    assert {*METHODS, "inverted"} == set(INDEXES)  # that of words: tests/test_inverted_steps.py


@pytest.fixture
def indexed(stores, tmp_path, small):
    """`indexed(method)`: an index of the vectors in blocks of 64 bytes."""

    def make(method):
        path = str(tmp_path / f"{method}.h5")
        how = ("--factory", "IVF4,SQ8") if method == "factory" else ("-m", method)
        settings = [word for value in METHODS[method] for word in ("--set", value)]
        result = call("index", stores.projected, "-o", path, *how, *settings, "-j1")
        assert result.code == 0, result.err
        return path

    return make


@pytest.mark.parametrize("method", METHODS)
def test_a_damaged_structure_is_not_searched(stores, indexed, method):
    path = indexed(method)
    with Store(path) as store:
        size = store.shape("structure/faiss")[0]
    command = ("search", path, stores.projected, *(("--set", "nprobe=6") if "ivf" in method else ()))
    wanted = call(*command)
    assert wanted.code == 0
    for at in np.linspace(64, size - 1, 9).astype(int):
        flip(path, "structure/faiss", int(at))
        result = call(*command)
        assert (result.code, result.out) == (1, b"")
        assert "is damaged" in result.err
        assert result.err.count("\n") == 1
        flip(path, "structure/faiss", int(at))
    assert call(*command).out == wanted.out


def test_who_asks_again_is_refused_again(stores, indexed):
    path = indexed("flat")
    flip(path, "structure/faiss", -1)
    with imgret.open(stores.projected) as vectors:
        query = vectors.array[0]
    with imgret.open(path) as index:
        for _ in range(2):
            with pytest.raises(ImgretError) as caught:
                index.search(query)
            assert str(caught.value) == sentence(path, "structure/faiss")


def test_what_lies_in_an_open_index_is_verified_after_its_file_is_closed(stores, indexed):
    path = indexed("flat")
    flip(path, "structure/faiss", -1)
    with imgret.open(stores.projected) as vectors:
        query = vectors.array[0]
    gallery = Gallery(path)
    gallery.close()
    with pytest.raises(ImgretError) as caught:
        gallery.search(query[None], 1)
    assert str(caught.value) == sentence(path, "structure/faiss")


@pytest.mark.parametrize("method", ["ivf-flat", "ivfpq"])
def test_only_lists_that_are_probed_are_verified(stores, indexed, method):
    path = indexed(method)
    with Store(stores.projected) as store:
        query = store.read("vectors", 3, 4)
    gallery = Gallery(path, ("nprobe=2",))
    wanted = gallery.search(query, 5)
    blocks_of = gallery.store._blocks("structure/faiss")
    starts = gallery.index._lists_at[0]
    gallery.close()
    ranges = gallery.index.visited(query, gallery.settings)["faiss"]
    assert len(ranges) == 4  # what lies around the lists, and two of them
    assert {tuple(each) for each in ranges[2:].tolist()} <= set(zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True))
    touched = {block for start, stop in ranges if start < stop for block in range(start // 64, -(-stop // 64))}
    assert np.flatnonzero(~blocks_of.pending).tolist() == sorted(touched)
    assert blocks_of.pending.any()
    untouched = int(np.flatnonzero(blocks_of.pending)[0])

    flip(path, "structure/faiss", 64 * untouched)
    gallery = Gallery(path, ("nprobe=2",))
    for found, expected in zip(gallery.search(query, 5), wanted, strict=True):
        assert np.array_equal(found, expected, equal_nan=True)
    gallery.close()
    gallery = Gallery(path, ("nprobe=6",))
    with pytest.raises(ImgretError) as caught:
        gallery.search(query, 5)
    assert str(caught.value) == sentence(path, "structure/faiss")
    gallery.close()


def test_lists_are_found_as_faiss_finds_them():
    """A search for all rows gives those of the lists that were probed."""
    import faiss

    rng = np.random.default_rng(0)
    x = rng.standard_normal((3000, 16)).astype(np.float32)
    for name in ("ivf-flat", "ivfpq"):
        kind = load(INDEXES, name, "index")
        assert issubclass(kind, InvertedFile)
        for metric in ("cosine", "l2", "ip"):
            index = kind(kind.Params.parse(("lists=40", *(("nbits=4", "bytes=4") if name == "ivfpq" else ()))), metric)
            assert index.visited(x[:1]) is None  # it is in no file
            index.plan(16, len(x), len(x))
            index.train(x)
            index.add(x)
            index = kind.opened(index.params, metric, index.arrays(), index.facts(), len(x))
            settings = index.SearchParams(nprobe=7)
            for count in (1, 50):
                ranges = index.visited(x[:count], settings)["faiss"][2:]
                rows = index.search(x[:count], len(x), settings)[1]
                lists = index._core.invlists
                starts = index._lists_at[0].tolist()
                members = [set(faiss.rev_swig_ptr(lists.get_ids(i), lists.list_size(i)).tolist()) for i in range(40)]
                probed = [starts.index(start) for start, stop in ranges.tolist() if stop > start]
                assert set(rows[rows >= 0].tolist()) == set().union(*(members[i] for i in probed))


# checkpoints


def test_a_checkpoint_with_any_bit_flipped_is_none_or_the_same(tmp_path, monkeypatch):
    from imgret.stages import codebook
    from imgret.store.parts import Parts

    monkeypatch.setattr(codebook, "CHECKPOINT_SECONDS", -1)
    parts = Parts(str(tmp_path / "out.h5"), "ab" * 32)
    parts.prepare()
    checkpoint = codebook.Checkpoint(parts)
    checkpoint.save(lambda: {"centroids": np.eye(4, dtype=np.float32), "other": np.ones((4, 4), np.float32), "iteration": 3})
    wanted, whole = checkpoint.load(), open(checkpoint._path, "rb").read()
    with h5py.File(checkpoint._path, "r", locking=False) as file:
        places = {dataset.id.get_offset(): dataset.nbytes for group in ("meta", "pipeline") for dataset in file[group].values()}
    refused_bytes = 0
    for at in [at for start, size in places.items() for at in range(start, start + size, 7)]:
        data = bytearray(whole)
        data[at] ^= 1 << at % 8
        with open(checkpoint._path, "wb") as file:
            file.write(data)
        found = checkpoint.load()
        refused_bytes += found is None
        assert found is None or all(np.array_equal(found[name], wanted[name]) for name in wanted)
    assert refused_bytes > 50


def test_failed_photos_are_told_beside_what_is_damaged_elsewhere(tmp_path):
    path = shutil.copy(os.path.join(DATA, "vectors.h5"), tmp_path / "v.h5")
    with h5py.File(path, "r+", locking=False) as file:
        file.attrs.modify("content", "0" * 32)
    result = call("info", path, "--check", "--failed")
    assert result.code == 1
    assert any(line.startswith("  bad.jpg: not-an-image") for line in result.lines)
    assert result.lines[-1] == "  `content` does not match the columns' checksums"
