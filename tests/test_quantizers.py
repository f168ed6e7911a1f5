"""What trained indexes learn, apart from filling them: codebooks of quantisers, indexes that keep theirs, and refusals."""

import os

import numpy as np
import pytest
from helpers import call, flip, refused

from imgret.codebooks import CODEBOOKS
from imgret.errors import ImgretError
from imgret.indexes import INDEXES, quantized
from imgret.inputs import chances, quantizers
from imgret.metrics import METRICS
from imgret.registry import load
from imgret.store.photos import PhotoWriter
from imgret.store.reader import Store
from imgret.store.writer import Writer

SETTINGS = {
    "pq": {"bytes": 5, "nbits": 4},
    "opq": {"bytes": 5, "nbits": 4},
    "ivfpq": {"bytes": 5, "nbits": 4, "lists": 8},
    "ivf-flat": {"lists": 8},
}
CASES = [*SETTINGS.items(), ("pq", {"bytes": 5, "nbits": 4, "rotation": "none"}), ("pq", {"bytes": 4, "nbits": 4, "shared": True})]
CASES += [("pq", {"bytes": 4, "nbits": 4, "rotation": "none"})]
EVERY = pytest.mark.parametrize(("name", "params"), CASES, ids=["-".join(map(str, [name, *params.values()])) for name, params in CASES])
FEW = ("--set", "bytes=4", "--set", "nbits=4")
DIM = 24


def matrix(count=600):
    rng = np.random.default_rng(5)
    return (rng.standard_normal((count, DIM)) * np.linspace(2, 0.3, DIM) + 0.2).astype(np.float32)


def made(name, metric, params):
    kind = load(INDEXES, name, "index")
    return kind(kind.Params(**params), metric)


@pytest.mark.parametrize("metric", METRICS)
@EVERY
def test_an_index_is_a_function_of_quantiser_and_rows(name, params, metric):
    """Whether the quantiser was learned by it, is a codebook, or was taken out of an opened index."""
    x = matrix()
    alone = made(name, metric, params)
    alone.plan(DIM, len(x), len(x))
    alone.train(x)
    alone.add(x)
    whole = alone.arrays()["faiss"]
    kind = load(CODEBOOKS, name, "codebook")
    fitted = kind(kind.Params(**params, metric=metric)).fit(x, jobs=2)
    again = kind.from_arrays(fitted.params, fitted.to_arrays())
    opened = type(alone).opened(alone.params, metric, {"faiss": whole}, alone.facts(), len(x))
    for quantizer in (again.quantizer_, opened.learned()):
        assert quantizer.arrays.keys() == fitted.to_arrays().keys()
        filled = made(name, metric, params)
        assert filled.fill_by(quantizer, len(x)) == str(alone._learned)
        filled.extend(np.split(x, [1, 500]), jobs=2)
        np.testing.assert_array_equal(filled.arrays()["faiss"], whole)


def test_blocks_encoded_at_once_are_those_encoded_in_turn():
    x = np.tile(matrix(), (30, 1))  # more than two blocks
    for name, params in SETTINGS.items():
        one, two = (made(name, "cosine", params) for _ in range(2))
        for index in (one, two):
            index.plan(DIM, 600, len(x))
            index.train(x[:600])
        one.add(x)
        two.extend(np.array_split(x, 7), jobs=2)
        np.testing.assert_array_equal(one.arrays()["faiss"], two.arrays()["faiss"])


def test_a_codebook_tells_what_codes_lose():
    """The share of the squared length that the decoded rows lack, beside the index's own decoding."""
    import faiss

    x = matrix()
    kind = load(CODEBOOKS, "ivfpq", "codebook")
    fitted = kind(kind.Params(**SETTINGS["ivfpq"], metric="l2")).fit(x)
    index = made("ivfpq", "l2", SETTINGS["ivfpq"])
    index.fill_by(fitted.quantizer_, len(x))
    index.add(x)
    y = fitted.transform(x)
    structure = faiss.deserialize_index(index.arrays()["faiss"])
    lost = faiss.downcast_index(structure.index).reconstruct_n(0, len(x)) - y
    assert fitted.summary()["error"] == pytest.approx(np.square(lost).sum() / np.square(y).sum(), rel=1e-4)
    flat = load(CODEBOOKS, "ivf-flat", "codebook")
    assert flat(flat.Params(lists=4)).fit(x).summary() == {"rows": 600}


def test_too_few_rows_for_a_codebook():
    for name, params, text in (
        ("pq", {}, "'pq' with 8-bit codes needs at least 256 training vectors, got 59: give more of them or take --set nbits=4"),
        (
            "ivf-flat",
            {"lists": 100},
            "'ivf-flat' with 100 lists needs at least 100 training vectors, got 59: give more of them or take --set lists=1",
        ),
    ):
        kind = load(CODEBOOKS, name, "codebook")
        with pytest.raises(ImgretError) as error:
            kind(kind.Params(**params)).fit(matrix(59))
        assert str(error.value) == text


# Commands


@pytest.fixture(scope="module")
def parts(stores, tmp_path_factory):
    """`parts(count, name)`: a store of the first so many of the shared vectors, of 12 dimensions; some of them appear in each."""
    folder = tmp_path_factory.mktemp("parts")

    def make(count, first=0):
        path = folder / f"{first}-{count}.h5"
        if not path.exists():
            with Store(stores.projected) as store, Writer(f"{path}.tmp") as writer:
                columns = PhotoWriter(writer, "vectors", {"vectors": ((12,), np.float32, {})})
                columns.copy(store, first, first + count)
                writer.fingerprint = columns.fingerprint(store.recipe)
                arrays = {digest: store.pipeline_array(digest) for digest in _hashes(store.pipeline)}
                writer.finish("vectors", recipe=store.recipe, params=store.params, pipeline=store.pipeline, arrays=arrays)
                writer.publish(str(path))
        return path

    return make


def _hashes(node):
    return {*node["arrays"].values(), *(digest for child in node["inputs"] for digest in _hashes(child))}


def content(path):
    with Store(path) as store:
        return store.content


def good(*command):
    result = call(*command)
    assert result.code == 0, result.err
    return result.err


@pytest.mark.parametrize("name", SETTINGS)
def test_learned_and_filled_apart_is_the_same_index(parts, tmp_path, name):
    settings = [word for pair in SETTINGS[name].items() for word in ("--set", f"{pair[0]}={2 if pair[0] == 'lists' else pair[1]}")]
    words, filled, alone = tmp_path / "q.h5", tmp_path / "f.h5", tmp_path / "a.h5"
    said = good("codebook", parts(28), "-m", name, *settings, "-o", words, "-j", 1)
    good("index", parts(28), "-m", name, *settings, "-o", alone, "-j", 1)
    good("index", parts(28), "-c", words, "-o", filled, "-j", 1)
    assert content(filled) == content(alone)
    with Store(filled) as store, Store(alone) as other, Store(words) as learned:
        assert store.params == other.params
        assert [entry["kind"] for entry in store.inputs] == ["vectors", "codebook"]
        assert f"imgret: {name}: {store.info['layout']}\n" in said
        assert learned.pipeline["params"]["metric"] == "cosine"
    assert good("index", parts(28), "-c", words, "-m", name, "--metric", "cosine", "-o", filled) == f"imgret: {filled} is up to date\n"


def test_a_quantiser_is_kept_while_photos_come_and_go(parts, tmp_path):
    out, fresh, words = tmp_path / "i.h5", tmp_path / "fresh.h5", tmp_path / "q.h5"
    index = "index", "-m", "pq", *FEW, "-j", 1
    good("codebook", parts(20), "-m", "pq", *FEW, "-o", words)
    good(*index, parts(20), "-o", out)
    with Store(out) as store:
        assert "quantizer" not in store.info
        drawn = store.info["train"]
    said = good(*index, parts(28), "-o", out)
    assert f"imgret: {out}: its quantiser, learned on 20 photos, is kept: 8 of 28 have come since\n" in said
    good("index", parts(28), "-c", words, "-o", fresh)
    assert content(out) == content(fresh)
    with Store(out) as store:
        assert store.info["quantizer"] == {"learned_on": 20, "since": 8, "kept": 1}
        assert store.info["train"] == drawn
    assert "    kept: 1\n    learned_on: 20\n    since: 8\n" in call("info", out).out.decode()
    assert good(*index, parts(28), "-o", out) == f"imgret: {out} is up to date\n"
    assert "is kept: 8 of 24 have come since\n" in good(*index, parts(24), "-o", out)  # four that came went again: who is not known
    good("index", parts(24), "-c", words, "-o", fresh)
    assert content(out) == content(fresh)
    os.unlink(out)
    assert "is kept" not in good(*index, parts(28), "-o", out)  # nothing is there: it is made from scratch
    good(*index, parts(28), "-o", tmp_path / "scratch.h5")
    assert content(out) == content(tmp_path / "scratch.h5") != content(fresh)


@pytest.mark.parametrize(("dim", "copied"), [(12, True), (160, False)])
def test_what_is_the_same_is_copied(stores, tmp_path, monkeypatch, dim, copied):
    """Codes of rows whose vectors are the same, and what is known of their chance scores; where it cannot be told, all is made anew."""
    rng = np.random.default_rng(0)
    x, digests = rng.standard_normal((900, dim), np.float32), rng.integers(1, 256, (900, 32), np.uint8)
    x[7], x[8] = x[500], x[400]  # copies, which other photos are
    out, fresh, words = tmp_path / "i.h5", tmp_path / "fresh.h5", tmp_path / "q.h5"
    encoded, judged = [], []
    fresh_codes, of_tails = quantized.Quantized._fresh, chances.tails
    monkeypatch.setattr(quantized.Quantized, "_fresh", lambda index, x: encoded.append(len(x)) or fresh_codes(index, x))
    monkeypatch.setattr(chances, "tails", lambda scores, *more: judged.append(len(scores)) or of_tails(scores, *more))
    chosen = rng.permutation(900)
    digests[chosen[-10:], 0] = 255  # none of them is a reference
    for name, rows in (("a", np.sort(chosen[:-9])), ("b", np.sort(np.delete(chosen, -10)))):  # one goes, nine come
        _vectors(tmp_path / f"{name}.h5", stores.projected, rows, x, digests)
    good("codebook", tmp_path / "a.h5", "-m", "pq", *FEW, "-o", words)
    good("index", tmp_path / "a.h5", "-m", "pq", *FEW, "-o", out)
    encoded.clear(), judged.clear()
    assert "is kept" in good("index", tmp_path / "b.h5", "-m", "pq", *FEW, "-o", out)
    assert sum(encoded) == (9 if copied else 899)
    assert (256 + 9 <= sum(judged) <= 256 + 9 + 2) == copied
    good("index", tmp_path / "b.h5", "-c", words, "-o", fresh)
    with Store(out) as one, Store(fresh) as other:
        assert one.has("vector_hash") == copied
        assert one.column_names() == other.column_names()
        for path in one.column_names():
            assert one.read(path).tobytes() == other.read(path).tobytes(), path
    assert call("info", out, "--check").code == 0
    with monkeypatch.context() as later:
        later.setattr(quantizers, "own", lambda: {"imgret": "9"})
        encoded.clear()
        good("index", tmp_path / "a.h5", "-m", "pq", *FEW, "-o", out)
        assert sum(encoded) == 891


def _vectors(path, like, rows, x, digests):
    """A store of some made-up vectors."""
    with Store(like) as store, Writer(f"{path}.tmp") as writer:
        columns = PhotoWriter(writer, "vectors", {"vectors": (x.shape[1:], np.float32, {})})
        meta = {"digest": digests[rows], "image_size": np.full((len(rows), 2), 64, np.int32)}
        columns.photos([f"{row:04d}.jpg".encode() for row in rows], meta | {"file_size": rows, "file_mtime_ns": rows})
        columns.rows(vectors=x[rows])
        writer.fingerprint = columns.fingerprint(store.recipe)
        arrays = {digest: store.pipeline_array(digest) for digest in _hashes(store.pipeline)}
        writer.finish("vectors", recipe=store.recipe, params=store.params, pipeline=store.pipeline, arrays=arrays)
        writer.publish(str(path))


def test_a_quantiser_is_learned_anew(parts, stores, tmp_path):
    out, fresh = tmp_path / "i.h5", tmp_path / "fresh.h5"
    index = "index", "-m", "ivf-flat", "--set", "lists=2", "-j", 1, "--max-gone", "100%"

    def anew(why, *command):
        assert f"imgret: {out}: its quantiser is learned anew ({why})\n" in good(*command, "-o", out)
        good(*command, "-o", fresh, "--overwrite")
        assert content(out) == content(fresh)
        os.unlink(fresh)

    good(*index, parts(10), "-o", out)
    anew("18 of 28 photos are not known to have been there when it was learned, more than half", *index, parts(28))
    anew("the one there was learned from other vectors", *index, parts(20), "--train", parts(28))
    anew("the one there was learned from other vectors", *index, parts(20))
    good(*index, parts(20), "--train", parts(20), "-o", out)
    assert "is kept: 1 of 21" in good(*index, parts(21), "--train", parts(21), "-o", out)  # the gallery itself, by another name
    anew("the photos are described otherwise than those that it was learned from", *index, stores.vlad)
    with_seed = *index, stores.vlad, "--seed", 3
    assert "its quantiser is learned anew (the index there has other parameters)" in good(*with_seed, "-o", out, "--overwrite")


def test_a_damaged_quantiser_is_not_kept(parts, tmp_path):
    out = tmp_path / "i.h5"
    index = "index", "-m", "pq", *FEW, "-j", 1, "-o", out
    good(*index, parts(20))
    flip(out, "structure/faiss", 700)
    said = good(*index, parts(28))
    assert f"its quantiser is learned anew ({out} is damaged: 'structure/faiss' does not match its checksum" in said


def test_imported_vectors_are_not_known_again(tmp_path):
    """They have no digests, and may be others under the same names."""
    for name, count in (("a", 40), ("b", 41)):
        np.save(tmp_path / f"{name}.npy", matrix(count))
        (tmp_path / f"{name}.txt").write_text("".join(f"{row:04d}.jpg\n" for row in range(count)))
        good("import", tmp_path / f"{name}.npy", "--names", tmp_path / f"{name}.txt", "-o", tmp_path / f"{name}.h5")
    index = "index", "-m", "pq", *FEW, "-o", tmp_path / "i.h5"
    good(*index, tmp_path / "a.h5")
    assert "learned anew (41 of 41 photos are not known" in good(*index, tmp_path / "b.h5")


@pytest.fixture(scope="module")
def words(parts, tmp_path_factory):
    """The codebook of `pq` over the shared vectors."""
    path = tmp_path_factory.mktemp("words") / "q.h5"
    good("codebook", parts(28), "-m", "pq", *FEW, "-o", path)
    return path


def test_codebooks_that_do_not_fit_are_refused(parts, stores, words, tmp_path):
    out = "-o", tmp_path / "i.h5"
    refused(
        call("index", stores.vlad, "-c", words, *out),
        1,
        f"{words} was fitted on 12 columns, {stores.vlad} has 768: learn it on vectors made in the same way",
    )
    refused(
        call("index", parts(28), "-c", stores.kmeans, *out),
        1,
        f"{stores.kmeans} is a kmeans codebook, by which no index is filled: learn one with imgret codebook -m pq (opq, ivfpq, ivf-flat)",
    )
    refused(
        call("index", parts(28), "-c", words, "-m", "opq", *out),
        1,
        f"{words} is a pq codebook; opq needs opq: leave -m out, and the codebook decides",
    )
    refused(
        call("index", parts(28), "-c", words, "--metric", "l2", *out),
        1,
        f"{words} was learned for --metric cosine: leave --metric out, or learn another with --set metric=l2",
    )
    refused(
        call("index", parts(28), "-c", parts(28), *out),
        1,
        f"{parts(28)} is a vectors store; --codebook needs a codebook",
    )
    refused(
        call("encode", stores.vlad, "-c", words, "-o", tmp_path / "v.h5"),
        1,
        f"{words} is a pq codebook, by which indexes are filled: give it to imgret index VECTORS -c",
    )


def test_a_codebook_of_another_space_is_refused(parts, stores, words, tmp_path):
    other = tmp_path / "other.h5"
    good("codebook", stores.fisher, "-m", "pca", "--size", 12, "-o", tmp_path / "pca.h5")
    good("encode", stores.fisher, "-c", tmp_path / "pca.h5", "-o", other, "-j", 1)
    refused(
        call("index", other, "-c", words, "-o", tmp_path / "i.h5"),
        1,
        f"{words} was learned in another space than {other} is in (project with different codebooks): "
        "learn it on vectors made in the same way",
    )


def test_what_a_codebook_has_decided_is_not_said_again(words, parts, tmp_path):
    for option, value in (("--set", "bytes=3"), ("--train", parts(20)), ("--seed", 2)):
        refused(
            call("index", parts(28), "-c", words, option, value, "-o", tmp_path / "i.h5"),
            2,
            f"the codebook (-c) has been learned: leave {option} out",
        )
    refused(call("index", parts(28), "-c", words, "-m", "hnsw", "-o", tmp_path / "i.h5"), 2, "-m hnsw takes no codebook: leave -c out")
    refused(
        call("index", parts(28), "-c", words, "--factory", "SQ8", "-o", tmp_path / "i.h5"), 2, "--factory takes no codebook: leave -c out"
    )
