"""Stores: what is in a file, what is found wrong with it, what a stranger may have put there, and disks that are full."""

import contextlib
import json
import os
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest
from helpers import ROOT, call, document, refused, resign, run, say

from imgret.errors import ImgretError
from imgret.indexes.flat import Flat
from imgret.stages.info import check, describe
from imgret.store import layout
from imgret.store.hashing import of_array
from imgret.store.photos import PhotoWriter, totals_of
from imgret.store.reader import Store
from imgret.store.schema import Column, Kind
from imgret.store.temporaries import temporary_name
from imgret.store.text import Texts
from imgret.store.writer import Writer

PHOTO = {
    "names": ("uint8", 1),
    "names_offsets": ("int64", "N+1"),
    "image_size": ("int32", ("N", 2)),
    "digest": ("uint8", ("N", 32)),
    "file_size": ("int64", "N"),
    "file_mtime_ns": ("int64", "N"),
    "failed/names": ("uint8", 1),
    "failed/names_offsets": ("int64", "F+1"),
    "failed/code": ("uint8", 1),
    "failed/code_offsets": ("int64", "F+1"),
    "failed/reason": ("uint8", 1),
    "failed/reason_offsets": ("int64", "F+1"),
    "failed/digest": ("uint8", ("F", 32)),
    "failed/file_size": ("int64", "F"),
    "failed/file_mtime_ns": ("int64", "F"),
}
# Written down a second time on purpose: files made by schema 1 have to stay readable, so this table never changes.
SCHEMA_1 = {
    "features": PHOTO | {"offsets": ("int64", "N+1"), "keypoints": ("float32", ("T", 5)), "descriptors": ("uint8", ("T", 128))},
    "vectors": PHOTO | {"vectors": ("float32", ("N", 768))},
    "codebook": {},
    "index": PHOTO | {"rows": ("int64", "N"), "index": ("uint8", 1)},
    "ranking": {
        "query_names": ("uint8", 1),
        "query_names_offsets": ("int64", "Q+1"),
        "query_ids": ("uint8", 1),
        "query_ids_offsets": ("int64", "Q+1"),
        "names": ("uint8", 1),
        "names_offsets": ("int64", "N+1"),
        "ids": ("int32", ("Q", 5)),
        "scores": ("float32", ("Q", 5)),
    }
    | {name: column for name, column in PHOTO.items() if name.startswith("failed/")},
}
# What has changed since, in the same way.
ORIGIN = {"origin": ("uint64", "N")}
SCHEMA_2 = {"features": SCHEMA_1["features"] | ORIGIN, "vectors": SCHEMA_1["vectors"] | ORIGIN}
SCHEMA_2 |= {"index": PHOTO | {"rows": ("int64", "N"), "structure/faiss": ("uint8", 1)}}
# of so few photos all are references
CHANCE = {
    "chance/tails": ("float32", ("N", 2)),
    "chance/photos": ("int64", "N"),
    "chance/lengths": ("float32", "N"),
    "chance/crowded": ("float32", ("W", 2)),
}
SCHEMA_2["index"] |= CHANCE | {"chance/vectors": ("int16", ("N", 768))}
META = {f"meta/{name}": ("uint8", 1) for name in ("generated_by", "params", "inputs", "pipeline", "info", "checksums")}
SCHEMA = {kind: columns | META for kind, columns in (SCHEMA_1 | SCHEMA_2).items()}
SCHEMA["index"] |= {"meta/facts": ("uint8", 1)}
FILES = {"features": "features", "vectors": "vlad", "codebook": "kmeans", "index": "index", "ranking": "ranking"}
ATTRIBUTES = {"format", "kind", "schema_version", "created", "recipe", "content", "fingerprint", "photos"}


def columns(path):
    """Every dataset of a file outside the pipeline."""
    found = {}

    def visit(name, item):
        if isinstance(item, h5py.Dataset) and not name.startswith("pipeline/"):
            found[name] = item

    with h5py.File(path, "r", locking=False) as file:
        file.visititems(visit)
        return {name: (dataset.dtype.name, dataset.shape) for name, dataset in found.items()}


@pytest.mark.parametrize("kind", FILES)
def test_files_are_laid_out_as_promised(stores, kind):
    path = getattr(stores, FILES[kind])
    found, length = columns(path), {"N": 28, "F": 0, "Q": 28}
    with Store(path) as store:
        length |= {"T": store.sizes.get("T"), "W": store.sizes.get("W")}
    assert sorted(found) == sorted(SCHEMA[kind])
    for name, (dtype, shape) in SCHEMA[kind].items():
        axes = (shape,) if isinstance(shape, str) else shape
        assert found[name][0] == dtype, name
        if axes == 1:
            assert len(found[name][1]) == 1, name
            continue
        wanted = tuple(axis if isinstance(axis, int) else length[axis[0]] + axis.endswith("+1") for axis in axes)
        assert found[name][1] == wanted, name


@pytest.mark.parametrize("kind", FILES)
def test_files_of_version_1_are_laid_out_as_they_were(kind):
    found = columns(os.path.join(ROOT, "tests", "data", "schema-1", f"{kind}.h5"))
    assert {name: dtype for name, (dtype, _) in found.items()} == {name: dtype for name, (dtype, _) in SCHEMA_1[kind].items()}


@pytest.mark.parametrize("kind", FILES)
def test_attributes_are_as_promised(stores, kind):
    with h5py.File(getattr(stores, FILES[kind]), "r", locking=False) as file:
        assert set(file.attrs) == ATTRIBUTES == set(layout.ATTRIBUTES)
        assert {f"meta/{name}" for name in layout.DOCUMENTS} == META.keys() | {"meta/facts"}
        said = tuple(file.attrs[name] for name in ("format", "kind", "schema_version"))
        assert said == (b"imgret", kind.encode(), 2 + (kind == "index"))
        assert bool(file.attrs["fingerprint"]) == ("digest" in SCHEMA[kind])
        if kind == "features":
            assert file["keypoints"].attrs["columns"] == b"x y scale angle score"
            assert file["descriptors"].attrs["descriptor_type"] == b"uint8"


@pytest.mark.parametrize("kind", FILES)
def test_finished_files_are_sound_and_contiguous(stores, kind):
    path = getattr(stores, FILES[kind])
    assert check(path) == []
    with h5py.File(path, "r", locking=False) as file:
        file.visititems(lambda name, item: pytest.fail(name) if isinstance(item, h5py.Dataset) and item.chunks else None)
        assert file.id.get_create_plist().get_version()[0] == 0  # the superblock that every HDF5 since 1.8 reads


def test_digests_are_those_of_the_files(photos, stores):
    import hashlib

    with Store(stores.features) as store:
        for name, digest, size in zip(store.texts("names"), store.read("digest"), store.read("file_size"), strict=True):
            data = (photos / os.fsdecode(name)).read_bytes()
            assert digest.tobytes() == hashlib.sha256(data).digest()
            assert size == len(data)
        assert list(store.texts("names")) == sorted(store.texts("names"))


def test_photos_are_packed_without_a_gap(stores):
    with Store(stores.features) as store:
        offsets = store.descriptor_range(0, 28)
        assert (offsets[0], offsets[-1]) == (0, store.sizes["T"])
        assert np.all(np.diff(offsets) > 0)


# written and read


def ranking(path, *, change=None, kind="ranking"):
    """Write a small ranking store by hand; `change(columns)` may spoil it. Returns its columns."""
    texts = {"query_names": [b"a", b"\xff\n"], "query_ids": [b"a", b"b"], "names": [b"", b"x", b"y" * 70000]}
    texts |= {f"failed/{name}": [] for name in ("names", "code", "reason")}
    arrays = {"ids": np.array([[0, 2], [1, -1]], np.int32), "scores": np.array([[0.5, 0.25], [-1, np.nan]], np.float32)}
    arrays |= {"failed/digest": np.zeros((0, 32), np.uint8)}
    arrays |= {f"failed/{name}": np.zeros(0, np.int64) for name in ("file_size", "file_mtime_ns")}
    if change:
        change(arrays)
    with Writer(temporary_name(os.path.dirname(path))) as writer:
        for name, values in texts.items():
            writer.texts(name, values)
        for name, array in arrays.items():
            writer.array(name, array)
        writer.finish(kind, recipe="00", params={"text": "ü" * 100_000})
        writer.publish(path)
    return texts, arrays


def test_round_trip(tmp_path):
    path = str(tmp_path / "store.h5")
    texts, arrays = ranking(path)
    with Store(path, ("ranking",)) as store:
        for name, values in texts.items():
            assert list(store.texts(name)) == values
        assert list(store.texts("names", 1, 2)) == [b"x"]
        assert list(store.texts("names", 3, 9)) == []
        for name, array in arrays.items():
            assert np.array_equal(store.read(name), array, equal_nan=array.dtype.kind == "f")
        assert store.params == {"text": "ü" * 100_000}
        assert (store.sizes["Q"], store.sizes["k"]) == (2, 2)
        assert list(store.problems()) == []
    assert os.listdir(tmp_path) == ["store.h5"]


@pytest.mark.parametrize("total", [None, 5000])
def test_appended_blocks_are_one_column(tmp_path, total):
    rng = np.random.default_rng(0)
    blocks = [rng.integers(0, 255, (n, 300), dtype=np.uint8) for n in (0, 1, 4000, 0, 999)]
    hashes = {}
    with Writer(str(tmp_path / "tmp")) as writer:
        column = writer.column("x", (300,), np.uint8, total)
        for block in blocks:
            column.append(block)
        hashes["x"] = column.finish()
        assert np.array_equal(writer._file["x"][()], np.concatenate(blocks))
    assert hashes["x"] == of_array(np.concatenate(blocks))
    assert os.listdir(tmp_path) == []


def test_block_that_fails_leaves_nothing(tmp_path):
    def write():
        with Writer(str(tmp_path / "tmp")) as writer:
            writer.array("x", np.arange(3))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write()
    assert os.listdir(tmp_path) == []


def test_texts_are_a_sequence():
    values = [b"a", b"", b"bc", b"d"]
    texts = Texts.of(values)
    assert (list(texts), len(texts), texts[2], texts[-1], list(texts[1:3])) == (values, 4, b"bc", b"d", values[1:3])
    assert texts == Texts.of(values)
    assert texts != Texts.of([b"a", b"b", b"c", b"d"])
    names = Texts.of(sorted(values))
    assert [names.find(value) for value in (b"", b"a", b"bc", b"d", b"b", b"e")] == [0, 1, 2, 3, -1, -1]
    with pytest.raises(IndexError):
        texts[4]


def test_column_that_this_imgret_does_not_know_is_passed_over(stores, tmp_path):
    path = tmp_path / "newer.h5"
    shutil.copy(stores.vlad, path)
    with h5py.File(path, "r+") as file:
        file["colour"] = np.arange(28)
    with Store(path) as store:
        assert not store.has("colour")
    assert check(path) == []


# columns of any name, facts, kinds to come


def structured(path, arrays, facts=None):
    """Write a small index by hand, with these columns in its structure."""
    totals = {"N": 1, "F": 0, "R": 1, "bytes of names": 1} | {f"bytes of failed/{name}": 0 for name in ("names", "code", "reason")}
    with Writer(temporary_name(os.path.dirname(path))) as writer:
        photos = PhotoWriter(writer, "index", {}, totals)
        photos.photos([b"a"], {name: np.zeros((1, *axes), np.int64) for name, axes in META_AXES.items()})
        photos.rows(rows=np.zeros(1, np.int64))
        for name, array in arrays.items():
            writer.array(f"structure/{name}", array)
        content = writer.finish("index", recipe="00", params={}, facts=facts)
        writer.publish(path)
    return content


META_AXES = {"image_size": (2,), "digest": (32,), "file_size": (), "file_mtime_ns": ()}
STRUCTURE = {
    "offsets": np.array([0, 2, 2], np.int64),
    "a-b_9": np.arange(12, dtype=np.float16).reshape(2, 3, 2),
    "nothing": np.zeros((0, 7), np.float32),
    "no-width": np.zeros((7, 0), np.uint16),
}


def test_columns_of_any_name(tmp_path):
    path = str(tmp_path / "index.h5")
    structured(path, STRUCTURE, {"dim": 7})
    with Store(path, ("index",)) as store:
        assert store.facts == {"dim": 7}
        assert store.group("structure") == {name: f"structure/{name}" for name in STRUCTURE}
        for name, array in STRUCTURE.items():
            for read in (store.read(f"structure/{name}"), store.map(f"structure/{name}")):
                assert (read.dtype, read.shape) == (array.dtype, array.shape)
                assert np.array_equal(read, array)
    assert check(path) == []
    facts = describe(path)
    assert facts["facts"] == {"dim": 7}
    assert facts["columns"]["structure/a-b_9"] == {"shape": [2, 3, 2], "dtype": "float16"}


def test_facts_and_named_columns_are_part_of_content(tmp_path):
    arrays = {"x": np.arange(3)}
    cases = [(arrays, {"dim": 7}), (arrays, {"dim": 8}), (arrays,), ({"y": np.arange(3)},), ({"x": np.arange(4)},)]
    contents = [structured(str(tmp_path / f"{number}.h5"), *case) for number, case in enumerate(cases)]
    assert len(set(contents)) == len(contents)
    assert structured(str(tmp_path / "again.h5"), arrays, {}) == contents[2]  # no facts are none


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda f: f["structure"].__setitem__("Upper", [1]), "no column can be called 'structure/Upper'"),
        (lambda f: f["structure"].__setitem__("a\nb", [1]), "no column can be called 'structure/a\\nb'"),
        (lambda f: f["structure"].__setitem__("x" * 65, [1]), f"no column can be called 'structure/{'x' * 65}'"),
        (lambda f: f["structure"].create_group("deeper"), "'structure/deeper' is no dataset"),
        (lambda f: f["structure"].__setitem__("soft", h5py.SoftLink("/digest")), "it has no column 'structure/soft'"),
        (lambda f: f["structure"].__setitem__("far", h5py.ExternalLink("other.h5", "x")), "it has no column 'structure/far'"),
        (lambda f: f["structure"].__setitem__("scalar", 1), "'structure/scalar' has no axes"),
        (lambda f: f["structure"].__setitem__("text", ["a"]), "'structure/text' is not all there"),
        (
            lambda f: f["structure"].__setitem__("big", np.zeros(2, ">f4")),
            f"'structure/big' is of type >f4, not {' or '.join(layout.NUMBERS)}",
        ),
        (lambda f: f["structure"].pop("a-b_9"), "it has no column 'structure/a-b_9'"),
        (lambda f: f.pop("structure"), "it has no column 'structure'"),
        (lambda f: f.__setitem__("structure", f.pop("structure")["a-b_9"]), "'structure' is no group"),
    ],
)
def test_hostile_columns_in_a_group_are_refused(tmp_path, make, text):
    path = tmp_path / "index.h5"
    structured(str(path), STRUCTURE)
    copy = spoil(path, make)
    with pytest.raises(ImgretError) as caught:
        Store(copy)
    assert str(caught.value) == f"{copy} is damaged: {text}"


def test_changes_in_a_group_and_in_facts_are_found(tmp_path):
    path = tmp_path / "index.h5"
    structured(str(path), STRUCTURE, {"dim": 7})
    for change, text in (
        (lambda f: f["structure/offsets"].__setitem__(1, 1), "'structure/offsets' does not match its checksum"),
        (lambda f: f["structure"].__setitem__("more", [1]), "'structure/more' does not match its checksum"),
        (lambda f: say(f, "facts", '{"dim":8}'), "its 'facts' does not match its checksum"),
        (lambda f: f["meta"].pop("facts"), "its 'facts' does not match its checksum"),
    ):
        assert check(spoil(path, change)) == [text]
    copy = spoil(path, lambda f: f["structure/a-b_9"].__setitem__((0, 0, 0), np.nan))
    assert check(copy) == ["'structure/a-b_9' holds NaN or infinite values", "'structure/a-b_9' does not match its checksum"]


def test_an_index_without_its_structure_is_refused(tmp_path, stores):
    copy = spoil(shutil.copy(stores.index, tmp_path / "index.h5"), lambda f: f.move("structure/faiss", "structure/other"))
    refused(call("search", copy, stores.vlad), 1, f"{copy} is damaged: it has no column 'structure/faiss'")
    with pytest.raises(ImgretError, match=r"^the index is damaged \(its structure is other, not faiss\): make it again$"):
        Flat.opened(Flat.Params(), "cosine", {"other": np.arange(3)}, {"dim": 3}, 1)


MARKS = Kind(
    "marks",
    "a marks store",
    "marks",
    (
        *layout.PHOTO,
        Column("offsets", ("N+1",), ("int64",), "", counts="W"),
        Column("word", ("W",), ("int32",), ""),
        Column("weight", ("W",), ("float32",), "", optional="weight"),
        Column("norm", ("N",), ("float32",), "", optional="weight"),
        Column("label", ("N",), ("text",), ""),
        *layout.FAILED,
    ),
    photos=True,
    counted={"W": "marks"},
)


def write_marks(path, photos, data):
    """A store of the kind `MARKS`: photo i has i marks."""
    with Writer(temporary_name(os.path.dirname(path))) as writer:
        made = PhotoWriter(writer, "marks", data)
        for photo in photos:
            made.photos([b"%d" % photo], {name: np.full((1, *axes), photo) for name, axes in META_AXES.items()})
            columns = {"word": np.arange(photo), "weight": np.full(photo, 0.5)}
            made.ragged([photo], **{name: values for name, values in columns.items() if name in ("word", *data)})
            made.rows(label=[b"label %d" % photo], **({"norm": [photo]} if "norm" in data else {}))
        made.fail(b"bad", "truncated", "it ends", bytes(32), 3, 4)
        writer.finish("marks", recipe="00", params={})
        writer.publish(path)


@pytest.mark.parametrize("data", [{}, {name: ((), np.float32, {}) for name in ("weight", "norm")}])
def test_a_kind_to_come_is_one_entry_of_the_layout(tmp_path, monkeypatch, data):
    """Written photo by photo, checked, counted, put together and refused where it does not fit, without a line about it elsewhere."""
    monkeypatch.setitem(layout.ALL_KINDS, "marks", MARKS)
    paths = [str(tmp_path / name) for name in ("one.h5", "two.h5", "both.h5")]
    write_marks(paths[0], range(3), data)
    write_marks(paths[1], range(3, 7), data)
    with contextlib.ExitStack() as stack, Writer(str(tmp_path / "tmp")) as writer:
        stores = [stack.enter_context(Store(path, ("marks",))) for path in paths[:2]]
        both = PhotoWriter(writer, "marks", data, totals_of(stores))
        for store in stores:
            both.copy(store)
            both.copy_failed(store)
        writer.fingerprint = both.fingerprint("00")
        writer.finish("marks", recipe="00", params={})
        writer.publish(paths[2])
    with Store(paths[2]) as store:
        assert store.descriptor_range(0, 7).tolist() == np.cumsum([0, *range(7)]).tolist()
        assert store.read("word").tolist() == [word for photo in range(7) for word in range(photo)]
        assert store.text_list("label") == [f"label {photo}" for photo in range(7)]
        assert store.has("weight") == store.has("norm") == bool(data)
        if data:
            assert store.read("norm").tolist() == list(range(7))
            assert store.read("weight").tolist() == [0.5] * 21
            assert store.map("weight").dtype == np.float32
    for path in paths:
        assert check(path) == []
    facts = describe(paths[2])
    assert list(facts)[-9:-5] == ["fingerprint", "photos", "marks", "failed"]
    assert (facts["photos"], facts["marks"], facts["failed"]) == (7, 21, 2)
    assert "marks           21" in call("info", paths[2]).lines
    refused(call("export", paths[2], "-o", tmp_path / "x.npy"), 1, f"{paths[2]} is a marks store, which cannot be exported")
    refused(call("index", paths[2], "-o", tmp_path / "i.h5"), 1, f"{paths[2]} is a marks store; index needs vectors")
    copy = spoil(tmp_path / "both.h5", lambda file: file["offsets"].__setitem__(3, 9))
    assert "'offsets' does not rise from 0 to 21" in check(copy)


# what `info --check` finds


def spoil(path, change, sign=False):
    """A copy of a store with `change(file)` done to it, and with checksums that fit, if asked to."""
    copy = path.with_name(f"spoiled-{path.name}")
    shutil.copy(path, copy)
    with h5py.File(copy, "r+", locking=False) as file:
        change(file)
    if sign:
        resign(copy)
    return copy


@pytest.fixture
def vlad(stores, tmp_path):
    """A copy of a vectors store."""
    return shutil.copy(stores.vlad, tmp_path / "vlad.h5")


@pytest.fixture
def features(stores, tmp_path):
    """A copy of a features store."""
    return shutil.copy(stores.features, tmp_path / "features.h5")


@pytest.mark.parametrize("kind", ["features", "vectors", "index", "ranking"])
def test_a_bit_flipped_in_any_column_is_found(stores, tmp_path, kind):
    path = shutil.copy(getattr(stores, FILES[kind]), tmp_path / "store.h5")
    for name, (dtype, shape) in columns(path).items():
        if not np.prod(shape) or name.startswith("meta/"):
            continue

        def flip(file, name=name, dtype=dtype):
            values = file[name][()]
            bits = values.reshape(-1).view(np.uint8)
            bits[len(bits) // 2 // np.dtype(dtype).itemsize * np.dtype(dtype).itemsize] ^= 1  # the lowest of its number
            file[name][...] = values

        copy = spoil(path, flip)
        try:
            problems = check(copy)
        except ImgretError as error:
            problems = [str(error)]
        alone = f"{copy} is damaged: '{name}' runs from 1 to 1, from 0 to 0 is expected"  # the only value of the offsets of no texts
        assert f"'{name}' does not match its checksum" in problems or problems == [alone], name


@pytest.mark.parametrize("name", ["params", "inputs", "pipeline", "info"])
def test_changed_json_is_found(vlad, name):
    def change(file):
        text = document(file, name)
        say(file, name, text.replace("1", "2", 1) if "1" in text else '{"a": 1}')

    problems = check(spoil(vlad, change))
    assert f"its '{name}' does not match its checksum" in problems


def test_a_changed_identity_is_found(vlad):
    def change(file):
        file.attrs.modify("content", "0" * 32)

    assert check(spoil(vlad, change)) == ["`content` does not match the columns' checksums"]


def test_a_missing_or_changed_array_of_the_pipeline_is_found(vlad):
    with h5py.File(vlad, "r", locking=False) as file:
        digest = min(file["pipeline"])

    def remove(file):
        del file["pipeline"][digest]

    def change(file):
        file["pipeline"][digest][...] = 0

    missing, changed = spoil(vlad, remove), None
    assert check(missing) == [f"{missing} is damaged: it has no column 'pipeline/{digest}'"]
    changed = spoil(vlad, change)
    assert check(changed) == [f"{changed} is damaged: an array of its pipeline does not match its hash"]


def test_values_that_are_not_finite_are_found(vlad):
    def change(file):
        file["vectors"][3, 4] = np.nan

    problems = check(spoil(vlad, change))
    assert problems == ["'vectors' holds NaN or infinite values", "'vectors' does not match its checksum"]


@pytest.mark.parametrize("values", [(2, 1), (10**9, 10**9), (-5, 3), (2**63 - 1, -(2**63))])
def test_offsets_that_do_not_rise_are_found(features, values):
    def change(file):
        file["offsets"][4:6] = values

    copy = spoil(features, change, sign=True)
    with Store(copy) as store:
        assert f"'offsets' does not rise from 0 to {store.sizes['T']}" in check(copy)
        with pytest.raises(ImgretError) as caught:
            store.descriptor_range(0, 28)
        assert str(caught.value) == f"{copy} is damaged: 'offsets' do not rise"


def test_offsets_that_go_round_the_integers_are_found(features):
    """Each step is positive where it is taken by subtraction, which overflows."""

    def change(file):
        file["offsets"][1:5] = (2**62, 2**63 - 1, -(2**63), -(2**62))
        file["names_offsets"][1:5] = (2**62, 2**63 - 1, -(2**63), -(2**62))

    copy = spoil(features, change, sign=True)
    with Store(copy) as store:
        for read, text in ((lambda: store.descriptor_range(0, 28), "'offsets'"), (lambda: store.texts("names"), "the offsets of 'names'")):
            with pytest.raises(ImgretError) as caught:
                read()
            assert str(caught.value) == f"{copy} is damaged: {text} do not rise"
        assert any("'offsets' does not rise" in problem for problem in store.problems())


def test_names_out_of_order_are_found(tmp_path, vlad):
    def change(file):
        names = file["names"][()].tobytes()
        file["names"][...] = np.frombuffer(names.replace(b"01.png", b"99.png"), np.uint8)

    assert "'names' are not in byte order, each once" in check(spoil(vlad, change))


def test_check_on_the_command_line(vlad):
    def change(file):
        file["vectors"][0, 0] = 7

    assert call("info", vlad, "--check").code == 0
    copy = spoil(vlad, change)
    result = call("info", copy, "--check")
    assert result.code == 1
    assert b"'vectors' does not match its checksum" in result.out + result.err.encode()


# files by strangers


def replaced(name, make):
    """A change of a file: another dataset (or link) in the place of a column; `make(file, name)`."""

    def change(file):
        del file[name]
        make(file, name)

    return change


def virtual(file, name):
    layout_ = h5py.VirtualLayout((28, 768), "f4")
    layout_[:] = h5py.VirtualSource("other.h5", "vectors", (28, 768))
    file.create_virtual_dataset(name, layout_)


def huge(file, name):
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_layout(h5py.h5d.CONTIGUOUS)
    plist.set_alloc_time(h5py.h5d.ALLOC_TIME_LATE)
    plist.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    space = h5py.h5s.create_simple((28, 1 << 45))
    h5py.h5d.create(file.id, name.encode(), h5py.h5t.IEEE_F32LE, space, plist)


ODD = "{}: 'vectors' is compressed, virtual or outside the file; imgret does not write such columns"
HOSTILE = {
    "external storage": (lambda f, n: f.create_dataset(n, (28, 768), "f4", external=[("/etc/passwd", 0, 28 * 768 * 4)]), ODD),
    "virtual": (virtual, ODD),
    "compressed": (lambda f, n: f.create_dataset(n, data=np.zeros((28, 768), "f4"), compression="gzip"), ODD),
    "external link": (lambda f, n: f.__setitem__(n, h5py.ExternalLink("other.h5", n)), "{} is damaged: it has no column 'vectors'"),
    "soft link": (lambda f, n: f.__setitem__(n, h5py.SoftLink("/digest")), "{} is damaged: it has no column 'vectors'"),
    "group": (lambda f, n: f.create_group(n), "{} is damaged: 'vectors' is no dataset"),
    "nothing": (lambda f, n: None, "{} is damaged: it has no column 'vectors'"),
    "huge": (huge, "{} is damaged: 'vectors' is not all there"),
    "huge chunked": (
        lambda f, n: f.create_dataset(n, (28, 1 << 45), "f4", chunks=(1, 1024), maxshape=(None, None)),
        "{} is damaged: 'vectors' is not all there",
    ),
    "text": (lambda f, n: f.create_dataset(n, (28, 768), h5py.string_dtype()), "{} is damaged: 'vectors' is not all there"),
    "complex": (lambda f, n: f.create_dataset(n, data=np.zeros((28, 768), "c8")), "{} is damaged: 'vectors' is not all there"),
    "dtype": (
        lambda f, n: f.create_dataset(n, data=np.zeros((28, 768), "f8")),
        "{} is damaged: 'vectors' is of type float64, not float32 or float16",
    ),
    "big-endian": (
        lambda f, n: f.create_dataset(n, data=np.zeros((28, 768), ">f4")),
        "{} is damaged: 'vectors' is of type >f4, not float32 or float16",
    ),
    "axes": (lambda f, n: f.create_dataset(n, data=np.zeros(28, "f4")), "{} is damaged: 'vectors' has 1 axes, not 2"),
    "scalar": (lambda f, n: f.create_dataset(n, data=np.float32(0)), "{} is damaged: 'vectors' has 0 axes, not 2"),
    "rows": (
        lambda f, n: f.create_dataset(n, data=np.zeros((27, 768), "f4")),
        "{} is damaged: 'vectors' has 27 rows or columns, 28 are expected",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_columns_are_refused(vlad, case):
    make, text = HOSTILE[case]
    copy = spoil(vlad, replaced("vectors", make))
    with pytest.raises(ImgretError) as caught:
        Store(copy)
    assert str(caught.value) == text.format(copy)


def test_offsets_without_a_row_are_refused(stores, tmp_path):
    path = shutil.copy(stores.ranking, tmp_path / "ranking.h5")
    copy = spoil(path, replaced("names_offsets", lambda f, n: f.create_dataset(n, data=np.zeros(0, "i8"))))
    with pytest.raises(ImgretError) as caught:
        Store(copy)
    assert str(caught.value) == f"{copy} is damaged: 'names_offsets' has 0 rows or columns, 0 are expected"


@pytest.mark.parametrize(
    ("kind", "name", "change", "text"),
    [
        ("features", "names", lambda data: np.append(data, 7), "'names_offsets' runs from 0 to {0}, from 0 to {1} is expected"),
        ("features", "names", lambda data: data[:-1], "'names_offsets' runs from 0 to {0}, from 0 to {1} is expected"),
        ("features", "names_offsets", lambda data: data + 1, "'names_offsets' runs from 1 to {1}, from 0 to {0} is expected"),
        ("features", "failed/reason", lambda data: np.append(data, 7), "'failed/reason_offsets' runs from 0 to 0, from 0 to 1 is expected"),
        ("features", "offsets", lambda data: data - 1, "'offsets' runs from -1 to {1}, from 0 to {0} is expected"),
        ("features", "keypoints", lambda data: data[:-1], "'descriptors' has {0} rows or columns, {1} are expected"),
        ("index", "rows", lambda data: data[:, None], "'rows' has 2 axes, not 1"),
        ("ranking", "query_names", lambda data: data[:0], "'query_names_offsets' runs from 0 to {0}, from 0 to 0 is expected"),
        ("ranking", "scores", lambda data: data[:, :2], "'scores' has 2 rows or columns, 5 are expected"),
    ],
)
def test_columns_that_do_not_fit_each_other_are_refused(stores, tmp_path, kind, name, change, text):
    """In one place, before anything is read: each column against the axes that it shares, and offsets against what they count."""
    path = shutil.copy(getattr(stores, FILES[kind]), tmp_path / "store.h5")
    found = []

    def spoiled(file):
        data = file[name][()]
        new = change(data).astype(data.dtype)
        found.extend((data[-1], new[-1]) if "offsets" in name else (len(data), len(new)))
        del file[name]
        file[name] = new

    copy = spoil(path, spoiled)
    with pytest.raises(ImgretError) as caught:
        Store(copy)
    assert str(caught.value) == f"{copy} is damaged: {text.format(*found)}"


@pytest.mark.parametrize("columns", ["", "x y scale", "y x scale angle score"])
def test_keypoints_that_are_not_named_are_refused(features, stores, tmp_path, columns):
    copy = spoil(features, lambda file: file["keypoints"].attrs.create("columns", columns), sign=True)
    result = call("encode", copy, "-c", stores.kmeans, "-o", tmp_path / "v.h5", "-j", 1)
    refused(result, 1, f"{copy} is damaged: it does not say what each column of its keypoints is")


DEEP = '{"inputs":[' * 5000 + "]}" * 5000
ATTRIBUTE_CASES = {
    "no JSON": ("params", "{", "{} is damaged: its 'params' is not JSON"),
    "NaN": ("info", '{"a": NaN}', "{} is damaged: its 'info' is not JSON"),
    "beyond floats": ("info", '{"a": 1e999}', "{} is damaged: its 'info' is not JSON"),
    "deep": ("pipeline", DEEP, "{} is damaged: its 'pipeline' is not JSON"),
    "other type": ("params", "[]", "{} is damaged: its 'params' holds another type than it should"),
    "no text": ("inputs", "3", "{} is damaged: its 'inputs' holds another type than it should"),
    "facts": ("facts", "{", "{} is damaged: its 'facts' is not JSON"),
    "facts of another type": ("facts", "[]", "{} is damaged: its 'facts' holds another type than it should"),
    "newer": ("schema_version", 9, "{} has version 9 of the vectors layout, this imgret reads up to 2: upgrade imgret"),
    "version 0": ("schema_version", 0, "{} is damaged: it has no 'schema_version'"),
    "version text": ("schema_version", "1", "{} is damaged: it has no 'schema_version'"),
    "unknown kind": ("kind", "dream", "{} is of the kind 'dream', which this imgret does not know: upgrade imgret"),
    "other format": ("format", "anndata", "{} is not an imgret file"),
}


@pytest.mark.parametrize("case", ATTRIBUTE_CASES)
def test_hostile_attributes_are_refused(vlad, case):
    name, value, text = ATTRIBUTE_CASES[case]
    if name in layout.DOCUMENTS:
        copy = spoil(vlad, lambda file: say(file, name, value))
    else:
        copy = spoil(vlad, lambda file: file.attrs.create(name, value))
    refused(call("info", copy), 1, text.format(copy))


@pytest.mark.parametrize(
    ("node", "text"),
    [
        ({"family": "encoder"}, "{} is damaged: its pipeline is not a tree of components"),
        ({"arrays": {"a": "../names"}}, "{} is damaged: its pipeline names an array '../names'"),
    ],
)
def test_hostile_pipelines_are_refused(vlad, stores, tmp_path, node, text):
    with h5py.File(vlad, "r", locking=False) as file:
        tree = json.loads(document(file, "pipeline"))
    changed = node if "family" in node else tree | node
    copy = spoil(vlad, lambda file: say(file, "pipeline", json.dumps(changed)), sign=True)
    refused(call("index", copy, "-m", "flat", "-o", tmp_path / "i.h5"), 1, text.format(copy))


def test_files_that_are_no_stores(stores, tmp_path):
    foreign, text, empty, folder, cut = (tmp_path / name for name in ("foreign.h5", "text.h5", "empty.h5", "folder.h5", "cut.h5"))
    with h5py.File(foreign, "w") as file:
        file["names"] = [1, 2]
        file.attrs["made by"] = "somebody"
    text.write_text("hello")
    empty.write_bytes(b"")
    folder.mkdir()
    shutil.copy(stores.vlad, cut)
    os.truncate(cut, cut.stat().st_size - 100)
    missing = tmp_path / "missing.h5"
    for path, reason in (
        (foreign, f"{foreign} is not an imgret file"),
        (text, f"{text} is not an imgret file (not HDF5)"),
        (empty, f"{empty} is not an imgret file (not HDF5)"),
        (folder, f"{folder} is not a regular file"),
        (cut, f"{cut} is damaged: it is shorter than it should be (truncated)"),
        (missing, f"{missing}: there is no such file"),
    ):
        refused(call("encode", path, "-c", stores.kmeans, "-o", tmp_path / "out.h5"), 1, reason)
        assert not (tmp_path / "out.h5").exists()


def test_wrong_kinds(stores, tmp_path):
    out = tmp_path / "out.h5"
    text = f"{stores.kmeans} is a codebook; encode needs features or vectors"
    refused(call("encode", stores.kmeans, "-c", stores.kmeans, "-o", out), 1, text)
    text = f"{stores.vlad} is a vectors store; --codebook needs a codebook"
    refused(call("encode", stores.features, "-c", stores.vlad, "-o", out), 1, text)
    text = f"{stores.features} is a features store; index needs vectors"
    refused(call("index", stores.features, "-m", "flat", "-o", out), 1, text)
    text = f"{stores.vlad} is a vectors store; search needs an index: `imgret index {stores.vlad} -o index.h5`"
    refused(call("search", stores.vlad, stores.vlad), 1, text)


def test_store_that_is_being_written(tmp_path):
    path = str(tmp_path / "half.h5")
    with Writer(path) as writer:
        writer.array("names", np.zeros(1 << 21, np.uint8))
        writer._file.flush()
        text = f"{path} is not complete: it is being written, or its writer was stopped; run its command again"
        refused(call("info", path), 1, text)
        writer._file.flush()


FUZZ = """
import sys
import numpy as np
from imgret.errors import ImgretError
from imgret.indexes.flat import Flat
from imgret.pipeline import Pipeline
from imgret.store.reader import Store

source, target, seed = sys.argv[1], sys.argv[2], int(sys.argv[3])
whole = open(source, "rb").read()
rng = np.random.default_rng(seed)
sound = 0
for _ in range(150):
    data = bytearray(whole)
    end = len(data) if rng.random() < 0.3 else 12000  # where the structure lies
    for position in rng.integers(0, min(end, len(data)), int(rng.integers(1, 6))):
        data[position] = int(rng.integers(256))
    if rng.random() < 0.1:
        data = data[: int(rng.integers(len(data)))]
    open(target, "wb").write(data)
    try:
        with Store(target) as store:
            sound += not list(store.problems())
            for name in store.column_names():
                for block in store.blocks(name):
                    pass
            Pipeline.load(store).component()
    except ImgretError as error:
        assert str(error) and "\\n" not in str(error), error
print("done")
"""


@pytest.mark.parametrize("kind", ["features", "vectors", "codebook", "index"])
def test_bytes_changed_anywhere_end_in_a_sentence(stores, tmp_path, kind):
    """No other exception, no crash of the HDF5 library, no reading for ever, whatever is overwritten."""
    command = [sys.executable, "-c", FUZZ, getattr(stores, FILES[kind]), tmp_path / "fuzzed.h5", "7"]
    done = subprocess.run(command, env=dict(os.environ, PYTHONPATH=ROOT), capture_output=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, b"done\n"), done.stderr.decode()[-2000:]


# disks that are full, folders that cannot be written to


@contextlib.contextmanager
def mounted(folder, *options):
    """A small file system of its own at `folder`."""
    folder.mkdir(exist_ok=True)
    if os.geteuid() != 0 or subprocess.run(["mount", *options, folder], capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], capture_output=True, check=False)


FULL = {
    "extract": lambda photos, stores: ("extract", photos, "-j", 2),
    "codebook": lambda photos, stores: ("codebook", stores.vlad, "-m", "pca", "--size", 12),
    "encode": lambda photos, stores: ("encode", stores.features, "-c", stores.kmeans),
    "index": lambda photos, stores: ("index", stores.vlad, "-m", "flat"),
    "search": lambda photos, stores: ("search", stores.index, stores.vlad),
}


@pytest.mark.parametrize("step", FULL)
def test_full_disk(photos, stores, tmp_path, step):
    """At whatever moment the disk fills up, the old output stays, and a sentence says what happened."""
    arguments = FULL[step](photos, stores)
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=400k", "tmpfs") as disk:
        out = disk / "made.h5"
        for left in (0, 8, 60, 130):
            filler, said = disk / "filler", f"imgret: error: {disk}"
            filler.write_bytes(bytes((400 - left) * 1024 - 4096))
            result = run(*arguments, "-o", out)
            if result.code == 0:
                assert check(out) == []
                break
            assert result.code == 1
            assert result.err.splitlines()[-1].startswith(said)
            assert "No space left on device" in result.err.splitlines()[-1], result.err
            assert not out.exists()
            shutil.rmtree(f"{out}.parts", ignore_errors=True)
            filler.unlink()
        else:
            assert step in ("extract", "encode", "index")


def test_old_output_stays_where_the_disk_is_full(stores, tmp_path):
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=400k", "tmpfs") as disk:
        out = disk / "made.h5"
        arguments = ("encode", stores.features, "-c", stores.kmeans, "-o", out)
        assert run(*arguments, "--set", "norm=l2").code == 0
        before = out.read_bytes()
        (disk / "filler").write_bytes(bytes(360 * 1024 - len(before)))
        assert run(*arguments, "--overwrite").code == 1
        assert out.read_bytes() == before


def test_read_only_folder(photos, tmp_path):
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "ro", "tmpfs") as disk:
        refused(run("extract", photos, "-o", disk / "made.h5"), 1, f"{disk}/made.h5 cannot be written: Read-only file system ({disk})")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_folder_without_permission(photos, tmp_path):
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o555)
    refused(call("extract", photos, "-o", folder / "made.h5"), 1, f"{folder}/made.h5 cannot be written: Permission denied ({folder})")


def test_folder_that_is_missing(photos, stores, tmp_path):
    folder = tmp_path / "missing"
    text = f"{folder}/made.h5: the folder {folder} does not exist: create it first"
    for arguments in FULL.values():
        refused_without_notes(call(*arguments(photos, stores), "-o", folder / "made.h5"), text)
    assert not folder.exists()


def refused_without_notes(result, text):
    """A refusal that may come after notes on what was about to be done."""
    assert (result.code, result.out, result.err.splitlines()[-1]) == (1, b"", f"imgret: error: {text}")
