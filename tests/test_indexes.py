"""Every index against slow references: metrics, ties, batches, buffers, refusals."""

import re
import tracemalloc

import numpy as np
import pytest

from imgret.errors import ImgretError, UsageError
from imgret.indexes import INDEXES, buffers
from imgret.indexes.held import BLOCK
from imgret.registry import load

DIM, ROWS = 24, 900
METRICS = ("cosine", "l2", "ip")
SETTINGS = {
    "pq": {"bytes": 5, "nbits": 4},
    "opq": {"bytes": 5, "nbits": 4},
    "ivfpq": {"bytes": 5, "nbits": 4, "lists": 8},
    "ivf-flat": {"lists": 8},
    "factory": {"factory": "IVF8,SQ8"},
}
OF_VECTORS = [name for name in INDEXES if name != "inverted"]  # which is tests/test_inverted.py's
CASES = [(name, SETTINGS.get(name, {})) for name in OF_VECTORS]
CASES += [("factory", {"factory": text}) for text in ("Flat", "PCA16,Flat", "PQ6x4", "IVF8,PQ6x4fs", "HNSW8", "RR24,SQ6")]


def case_id(case):
    return "-".join([case[0], *map(str, case[1].values())]) if isinstance(case, tuple) else str(case)


def make(name, metric="cosine", **params):
    kind = load(INDEXES, name, "index")
    return kind(kind.Params(**params), metric)


def built(name, x, metric="cosine", **params):
    index = make(name, metric, **params)
    index.plan(x.shape[1], len(x), len(x))
    index.train(x)
    index.add(x)
    return index


def reopened(index):
    return type(index).opened(index.params, index.metric, index.arrays(), index.facts(), index.size)


def reference(xb, xq, metric):
    """Scores (Q, N), pair by pair in double precision."""
    out = np.zeros((len(xq), len(xb)))
    for i, q in enumerate(xq.astype(np.float64)):
        for j, x in enumerate(xb.astype(np.float64)):
            if metric == "l2":
                out[i, j] = -sum((a - b) ** 2 for a, b in zip(q, x, strict=True))
            else:
                out[i, j] = sum(a * b for a, b in zip(q, x, strict=True))
                if metric == "cosine":
                    out[i, j] /= (np.linalg.norm(q) or 1) * (np.linalg.norm(x) or 1)
    return out


@pytest.fixture(scope="module")
def vectors():
    """Rows of uneven variance, a fifth of them copies of seven; queries, some of them rows."""
    rng = np.random.default_rng(3)
    spread = np.linspace(2, 0.3, DIM)
    xb = (rng.standard_normal((ROWS, DIM)) * spread + 0.2).astype(np.float32)
    copies = rng.permutation(ROWS)[: ROWS // 5]
    xb[copies] = xb[copies[np.arange(len(copies)) % 7]]
    xq = np.concatenate([xb[copies[:10]], (rng.standard_normal((90, DIM)) * spread).astype(np.float32)])
    return xb, xq, copies


def assert_ordered(scores, rows):
    """Best first; equal scores by ascending row; missing ones last."""
    for line, numbers in zip(scores, rows, strict=True):
        there = int((numbers >= 0).sum())
        assert (numbers[there:] == -1).all()
        assert np.isnan(line[there:]).all()
        pairs = list(zip(-line[:there], numbers[:there], strict=True))
        assert pairs == sorted(pairs)
        assert len(set(numbers[:there].tolist())) == there


@pytest.mark.parametrize("metric", METRICS)
def test_flat_equals_the_reference(vectors, metric):
    xb, xq, _ = vectors
    xq = xq[:6]
    scores, rows = reopened(built("flat", xb, metric)).search(xq, ROWS)
    expected = reference(xb, xq, metric)
    np.testing.assert_allclose(scores, np.take_along_axis(expected, rows, 1), rtol=2e-5, atol=2e-5)
    assert_ordered(scores, rows)
    assert (rows >= 0).all()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("name", "params"), [("ivf-flat", {"lists": 8}), ("hnsw", {}), ("factory", {"factory": "Flat"})])
def test_uncompressed_indexes_agree_with_flat(vectors, metric, name, params):
    xb, xq, _ = vectors
    expected = built("flat", xb, metric).search(xq, 60)
    index = built(name, xb, metric, **params)
    settings = index.SearchParams(**({"ef": ROWS} if name == "hnsw" else {"nprobe": 8}))
    scores, rows = index.search(xq, 60, settings)
    np.testing.assert_allclose(scores, expected[0], rtol=1e-5, atol=1e-5)
    agree = (rows == expected[1]).mean()
    assert agree == 1 if name != "hnsw" else agree > 0.98


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("bits", [4, 8])
def test_pq_scores_are_those_of_the_decoded_vectors(vectors, metric, bits):
    import faiss

    xb, xq, _ = vectors
    index = built("pq", xb, metric, bytes=5, nbits=bits)
    structure = faiss.deserialize_index(index.arrays()["faiss"])
    decoded = structure.index.reconstruct_n(0, ROWS)  # where the rotation has taken them: five or ten parts of equal width
    scores, rows = index.search(xq[:4], ROWS)
    asked = xq[:4] / np.linalg.norm(xq[:4], axis=1, keepdims=True) if metric == "cosine" else xq[:4]
    asked = structure.chain.at(0).apply(np.ascontiguousarray(asked))
    expected = reference(decoded, asked, "ip" if metric == "ip" else "l2")
    expected = 1 + expected / 2 if metric == "cosine" else expected
    np.testing.assert_allclose(scores, np.take_along_axis(expected, rows, 1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_rankings_depend_on_nothing_but_the_query(vectors, case, metric):
    xb, xq, copies = vectors
    name, params = case
    index = built(name, xb, metric, **params)
    scores, rows = index.search(xq, 30)
    assert scores.shape == rows.shape == (100, 30)
    assert (scores.dtype, rows.dtype) == (np.float32, np.int64)
    assert_ordered(scores, rows)
    for asked in (xq[:1], xq[:19], xq[:20]):
        alone = index.search(asked, 30, jobs=2)
        np.testing.assert_array_equal(alone[0], scores[: len(asked)])
        np.testing.assert_array_equal(alone[1], rows[: len(asked)])
    from_file = reopened(index).search(xq, 30, jobs=2)
    np.testing.assert_array_equal(from_file[0], scores)
    np.testing.assert_array_equal(from_file[1], rows)
    everything, order = index.search(xq[:3], ROWS)
    for line, numbers in zip(everything, order, strict=True):
        found = dict(zip(numbers.tolist(), line.tolist(), strict=True))
        for first in range(7):
            assert len({found[row] for row in copies[first::7].tolist() if row in found}) <= 1


@pytest.mark.parametrize("name", ["flat", "pq", "ivf-flat", "ivfpq"])
def test_ties_longer_than_the_list_keep_the_first_rows(vectors, name):
    xb = np.repeat(vectors[0][:20], 60, axis=0)[np.random.default_rng(0).permutation(1200)]
    index = built(name, xb, "cosine", **SETTINGS.get(name, {}))
    settings = index.SearchParams(**({"nprobe": 8} if name.startswith("ivf") else {}))
    scores, rows = index.search(vectors[0][:20], 50, settings)
    everything = index.search(vectors[0][:20], 1200, settings)
    np.testing.assert_array_equal(scores, everything[0][:, :50])
    np.testing.assert_array_equal(rows, everything[1][:, :50])
    for query in range(20):
        assert len(set(scores[query].tolist())) == 1
        same = np.flatnonzero((xb == xb[rows[query, 0]]).all(axis=1))
        if name in ("flat", "ivf-flat"):
            np.testing.assert_array_equal(rows[query], same[:50])


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_the_structure_depends_on_neither_jobs_nor_blocks(vectors, case):
    xb = vectors[0]
    name, params = case
    whole = built(name, xb, **params).arrays()["faiss"]
    pieces = make(name, **params)
    pieces.plan(DIM, ROWS, ROWS)
    pieces.train(xb, jobs=2)
    for block in np.split(xb, [1, 7, 400, 401]):
        pieces.add(block)
    assert pieces.size == ROWS
    np.testing.assert_array_equal(pieces.arrays()["faiss"], whole)
    assert whole.dtype == np.uint8


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_what_is_saved_in_blocks_is_what_faiss_serialises(vectors, case):
    import faiss

    index, saved = built(case[0], vectors[0], **case[1]), {}
    index.save(lambda name, row_shape, dtype, length: saved.setdefault(name, Saved((row_shape, np.dtype(dtype), length))))
    whole = faiss.serialize_index(index._outer)
    assert saved["faiss"].how == ((), np.uint8, len(whole))
    assert max(map(len, saved["faiss"].blocks)) <= buffers.WRITE_BYTES
    np.testing.assert_array_equal(np.concatenate(saved["faiss"].blocks), whole)
    np.testing.assert_array_equal(index.arrays()["faiss"], whole)


class Saved:
    """A column that keeps what it is given."""

    def __init__(self, how):
        self.how, self.blocks = how, []
        self.append = self.blocks.append


def test_a_structure_is_written_without_a_copy_of_it(monkeypatch):
    """Neither numpy nor faiss makes one: a buffer that faiss serialises into grows as vectors do, and is copied then."""
    import faiss

    monkeypatch.setattr(faiss, "serialize_index", None)
    index, total = built("flat", np.ones((9000, 512), np.float32), "l2"), 0

    class Counted:
        def append(self, block):
            nonlocal total
            total += len(block)

    tracemalloc.start()
    index.save(lambda *_: Counted())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert total > 9000 * 512 * 4
    assert peak < 3 * buffers.WRITE_BYTES


def test_what_a_disk_refuses_comes_through_faiss(vectors):
    class Full:
        def append(self, block):
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        built("hnsw", vectors[0]).save(lambda *_: Full())


def test_room_is_made_for_what_is_planned(vectors):
    """So that nothing is copied while it grows."""
    for name, codes in (("flat", lambda core: core), ("pq", lambda core: core), ("hnsw", lambda core: faiss_index(core.storage))):
        index = make(name, **SETTINGS.get(name, {}))
        index.plan(DIM, ROWS, ROWS)
        index.train(vectors[0])
        places = set()
        for block in np.split(np.tile(vectors[0], (40, 1))[: 4 * BLOCK], 4):
            index._expected = 4 * BLOCK
            index.add(block)
            places.add(int(codes(index._core).codes.data()))
        assert len(places) == 1, name


def faiss_index(index):
    import faiss

    return faiss.downcast_index(index)


@pytest.mark.parametrize("name", ["pq", "opq", "ivfpq", "ivf-flat"])
def test_the_seed_decides(vectors, name):
    one, same, other = (built(name, vectors[0], seed=seed, **SETTINGS[name]).arrays()["faiss"] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("name", ["pq", "opq", "ivfpq"])
@pytest.mark.parametrize("dim", [1, 3, 7, 20, 23, 64])
def test_twenty_bytes_for_any_dimension(name, dim):
    import faiss

    x = np.random.default_rng(dim).standard_normal((300, dim)).astype(np.float32)
    index = built(name, x, bytes=20)
    core = faiss.deserialize_index(index.arrays()["faiss"])
    core = faiss.downcast_index(core.index) if isinstance(core, faiss.IndexPreTransform) else core
    assert core.code_size == 20
    found = index.search(x[:20], 1)[1][:, 0]
    assert (found == np.arange(20)).mean() >= (0.9 if dim >= 3 else 0)


def test_plans_say_what_was_chosen():
    assert refusal(UsageError, make("pq", rotation="none").plan, 8192, 500, 10) == (
        "`rotation` may be none for 8192 dimensions only where the 20 sub-quantisers share them out evenly: "
        "take other bytes, or --set rotation=random"
    )
    assert make("flat").plan(128, 0, 10) == "10 vectors of 128 dimensions as they are, 512 bytes per photo"
    assert make("pq", bytes=20).plan(128, 500, 10) == (
        "20 sub-quantisers of 8 bits over 128 → 140 dimensions (randomly rotated, padded with zeros), 20 bytes per photo"
    )
    assert (
        make("opq").plan(8192, 500, 10) == "20 sub-quantisers of 8 bits over 8192 → 1020 dimensions (rotation learned), 20 bytes per photo"
    )
    assert make("pq").plan(8192, 500, 10) == (
        "20 sub-quantisers of 8 bits over 8192 → 1020 dimensions (randomly projected), 20 bytes per photo"
    )
    assert make("opq", bytes=16).plan(128, 500, 10) == (
        "16 sub-quantisers of 8 bits over 128 dimensions (rotation learned), 16 bytes per photo"
    )
    assert make("ivf-flat").plan(32, 5000, 10_000) == "128 lists, vectors of 32 dimensions as they are, 128 bytes per photo"
    assert make("hnsw").plan(32, 0, 10) == "a graph of 64 links over 32 dimensions, 384 bytes per photo"
    assert make("factory", factory="SQ8").plan(32, 99, 10) == "faiss' SQ8 over 32 dimensions"


def test_duplicates_far_apart_get_the_same_code():
    x = np.random.default_rng(0).standard_normal((9000, 40)).astype(np.float32)
    x[8190:8990] = x[:800]
    for name, params in (("pq", {"bytes": 8}), ("ivfpq", {"bytes": 8, "lists": 4}), ("factory", {"factory": "PCA32,Flat"})):
        index = built(name, x, "l2", **params)
        scores, rows = index.search(x[:3], 9000, index.SearchParams(**({} if name == "pq" else {"nprobe": 4})))
        for line, numbers in zip(scores, rows, strict=True):
            by_row = line[np.argsort(numbers)]
            np.testing.assert_array_equal(by_row[8190:8990], by_row[:800])


def test_fewer_rows_than_asked_for(vectors):
    xb, xq, _ = vectors
    scores, rows = built("flat", xb[:5]).search(xq[:3], 8)
    assert (rows[:, 5:] == -1).all()
    assert np.isnan(scores[:, 5:]).all()
    assert (np.sort(rows[:, :5], axis=1) == np.arange(5)).all()
    index = built("ivf-flat", xb, lists=8)
    scores, rows = index.search(xq, ROWS, index.SearchParams(nprobe=1))
    assert (rows == -1).any()
    assert_ordered(scores, rows)
    assert built("flat", xb).search(xq[:0], 5)[0].shape == (0, 5)


@pytest.mark.parametrize("name", ["flat", "pq", "ivf-flat"])
def test_zero_vectors_have_no_direction(vectors, name):
    xb = vectors[0].copy()
    xb[3] = 0
    index = built(name, xb, **SETTINGS.get(name, {}))
    scores, rows = index.search(np.stack([xb[3], xb[4]]), ROWS, index.SearchParams(**({"nprobe": 8} if name == "ivf-flat" else {})))
    assert np.isfinite(scores[rows >= 0]).all()
    if name != "pq":
        assert (scores[0] == 0).all()
        assert scores[1][rows[1] == 3] == 0


def test_vectors_are_left_as_they_were(vectors):
    xb, xq = vectors[0].copy(), vectors[1].copy()
    built("pq", xb, **SETTINGS["pq"]).search(xq, 5)
    np.testing.assert_array_equal(xb, vectors[0])
    np.testing.assert_array_equal(xq, vectors[1])


def refusal(kind, function, *args, **kwargs):
    with pytest.raises(kind) as caught:
        function(*args, **kwargs)
    assert type(caught.value) is kind
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "params", "n_train", "text"),
    [
        ("pq", {}, 59, "'pq' with 8-bit codes needs at least 256 training vectors, got 59: {}"),
        ("opq", {}, 255, "'opq' with 8-bit codes needs at least 256 training vectors, got 255: {}"),
        ("ivfpq", {}, 59, "'ivfpq' with 8-bit codes needs at least 256 training vectors, got 59: {}"),
    ],
)
def test_too_few_training_vectors_for_a_quantiser(name, params, n_train, text):
    expected = text.format("give more of them with --train or take --set nbits=4")
    assert refusal(ImgretError, make(name, **params).plan, 128, n_train, 1000) == expected
    assert refusal(ImgretError, make(name).train, np.ones((n_train, 4), np.float32)) == expected


def test_too_few_training_vectors():
    assert refusal(ImgretError, make("pq", nbits=4).plan, 128, 15, 1000) == (
        "'pq' with 4-bit codes needs at least 16 training vectors, got 15: give more of them with --train"
    )
    assert refusal(ImgretError, make("ivf-flat", lists=1000).plan, 128, 59, 59) == (
        "'ivf-flat' with 1000 lists needs at least 1000 training vectors, got 59: give more of them with --train or take --set lists=1"
    )
    assert refusal(ImgretError, make("ivfpq", lists=1000).plan, 128, 800, 59) == (
        "'ivfpq' with 1000 lists needs at least 1000 training vectors, got 800: give more of them with --train or take --set lists=20"
    )
    assert refusal(ImgretError, make("factory", factory="IVF16,PQ8").plan, 128, 59, 59) == (
        "'IVF16,PQ8' needs at least 256 training vectors, got 59: give more of them with --train or take fewer lists or bits"
    )


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("", "the method 'factory' needs a faiss factory string, such as IVF256,PQ16: give it with --factory"),
        ("Flut", "faiss makes no index for 128 dimensions of 'Flut': "),
        ("PQ20", "faiss makes no index for 128 dimensions of 'PQ20': "),
        ("IDMap,Flat", "'IDMap,Flat' keeps row numbers of its own: leave IDMap out"),
        ("RQ2x8", "'RQ2x8' makes a structure that is not opened from a file (IxRq): take one of Flat, "),
        ("IVF99999999,Flat", "the factory string 'IVF99999999,Flat' asks for more than can be meant"),
        ("x" * 300, f"the factory string '{'x' * 200}' asks for more than can be meant"),
    ],
)
def test_factory_strings_that_make_nothing(text, start):
    said = refusal(UsageError, make("factory", factory=text).plan, 128, 1000, 1000)
    assert said.startswith(start)
    assert len(said) > len(start) or not start.endswith(": ")
    assert not re.search(r"\.cpp|\bat /|faiss::", said)


def test_steps_out_of_order(vectors):
    xb, xq, _ = vectors
    assert refusal(ImgretError, make("pq").add, xb) == "the index 'pq' must be trained before vectors are added"
    assert refusal(ImgretError, make("flat").arrays) == "the index 'flat' is empty: add vectors first"
    assert refusal(ImgretError, make("flat").search, xq, 1) == "the index 'flat' is empty: add vectors first"
    opened = reopened(built("flat", xb))
    assert refusal(ImgretError, opened.add, xb) == "an index opened from a file takes no more vectors: make it again with all of them"


def test_values_that_cannot_be(vectors):
    xb, xq, _ = vectors
    assert refusal(UsageError, make, "flat", "hamming") == "`metric` must be one of cosine, l2, ip, got 'hamming'"
    index = built("flat", xb)
    assert refusal(UsageError, index.search, xq, 0) == "`k` must be a positive integer, got 0"
    assert refusal(ImgretError, index.search, xq[:, 1:], 1) == "the matrix of queries has 23 columns, 24 are needed"
    assert refusal(ImgretError, index.add, xb[:, 1:]) == "the matrix of vectors has 23 columns, 24 are needed"
    bad = xb.copy()
    bad[4, 2] = np.nan
    assert refusal(ImgretError, index.add, bad) == "the matrix of vectors holds NaN or infinite values"
    assert refusal(ImgretError, make("pq").train, bad) == "the matrix of training vectors holds NaN or infinite values"
    assert refusal(ImgretError, make("flat").plan, 0, 0, 1) == "the vectors have no columns"
    assert refusal(ImgretError, make("flat").plan, 4, 0, 2**32) == "an index holds at most 4294967295 vectors, got 4294967296"


def test_every_parameter_is_checked():
    for name in INDEXES:
        kind = load(INDEXES, name, "index")
        assert kind.name == name
        assert kind.version == 1
        assert kind.__doc__
        assert kind.Params.from_json(kind.Params().to_json()) == kind.Params()
        kind.SearchParams.parse([])
    pq = load(INDEXES, "pq", "index")
    assert refusal(UsageError, pq.Params.parse, ["bytes=0"]) == "`bytes` must be an integer from 1 to 4096, got 0"
    assert refusal(UsageError, pq.Params.parse, ["nbits=5"]) == "`nbits` must be one of 4, 8, got 5"


def test_an_index_opens_where_it_lies(vectors, tmp_path):
    """Even at an odd place of a file that nobody may write."""
    xb, xq, _ = vectors
    index = built("flat", xb)
    structure = index.arrays()["faiss"]
    (tmp_path / "file").write_bytes(b"abc" + structure.tobytes())
    mapped = np.memmap(tmp_path / "file", mode="r", dtype=np.uint8, offset=3)
    opened = type(index).opened(index.params, "cosine", {"faiss": mapped}, {"dim": DIM}, ROWS)
    del mapped
    np.testing.assert_array_equal(opened.search(xq, 20)[1], index.search(xq, 20)[1])
    np.testing.assert_array_equal(opened.arrays()["faiss"], structure)


def test_what_is_no_index_of_this_kind_is_refused(vectors):
    index = built("flat", vectors[0])
    kind, structure = type(index), index.arrays()["faiss"]

    def opened(buffer=structure, metric="cosine", dim=DIM, size=ROWS, kind=kind):
        return refusal(ImgretError, kind.opened, kind.Params(), metric, {"faiss": buffer}, {"dim": dim}, size)

    assert opened(dim=25) == "the index is damaged (24 columns where there should be 25): make it again"
    assert opened(size=901) == "the index is damaged (900 rows where there should be 901): make it again"
    assert opened(structure[:100]) == "the index is damaged (faiss cannot read its structure): make it again"
    assert opened(structure[:0]) == "the index is damaged (its structure is not that of 'flat'): make it again"
    assert opened(structure[None]) == "the index is damaged (its structure is not a row of bytes): make it again"
    assert opened(structure.view(np.int8)) == "the index is damaged (its structure is not a row of bytes): make it again"
    assert opened(np.append(structure, np.uint8(0))) == "the index is damaged (its structure ends elsewhere than its bytes): make it again"
    assert opened(kind=load(INDEXES, "pq", "index")) == "the index is damaged (its structure is not that of 'pq'): make it again"
    assert opened(metric="l2") == "the index is damaged (its structure is not that of 'flat'): make it again"
    assert opened(metric="other") == ("the index is damaged (`metric` must be one of cosine, l2, ip, got 'other'): make it again")


@pytest.mark.parametrize("name", OF_VECTORS)
def test_damaged_bytes_are_refused_or_searched(vectors, name):
    """Cut off anywhere: refused. A changed bit: refused, or it was in a number that may have any value; never a crash."""
    params = SETTINGS.get(name, {})
    index = built(name, vectors[0][:300], **params)
    structure, xq = index.arrays()["faiss"], vectors[1][:2]
    for cut in [*range(0, 120, 3), *range(120, len(structure), max(1, len(structure) // 40)), len(structure) - 1]:
        said = refusal(ImgretError, type(index).opened, index.params, "cosine", {"faiss": structure[:cut].copy()}, {"dim": DIM}, 300)
        assert said.startswith("the index is damaged (")
    rng, said = np.random.default_rng(0), set()
    for place in [*range(0, 100), *rng.integers(0, len(structure), 60).tolist()]:
        changed = structure.copy()
        changed[place % len(structure)] ^= 1 << int(rng.integers(8))
        try:
            rows = type(index).opened(index.params, "cosine", {"faiss": changed}, {"dim": DIM}, 300).search(xq, 5)[1]
            assert rows.max() < 300
        except ImgretError as error:
            said.add(str(error))
    what = r"the index is damaged \(.*\): make it again|the index holds a structure .* make it again from its vectors"
    assert all(re.fullmatch(what, text) for text in said)


def test_an_unlimited_list_of_row_numbers_is_not_trusted(vectors):
    import faiss

    index = built("ivf-flat", vectors[0], lists=8)
    structure = faiss.deserialize_index(index.arrays()["faiss"])
    lists = structure.invlists
    for number in range(8):
        faiss.rev_swig_ptr(lists.get_ids(number), lists.list_size(number))[:] += 5 * ROWS
    opened = type(index).opened(index.params, "cosine", {"faiss": faiss.serialize_index(structure)}, {"dim": DIM}, ROWS)
    assert refusal(ImgretError, opened.search, vectors[1], 5) == ("the index is damaged (row numbers that it does not have): make it again")


def test_a_shared_codebook_is_shared(vectors):
    import faiss

    structure = faiss.deserialize_index(built("pq", vectors[0], shared=True, **SETTINGS["pq"]).arrays()["faiss"])
    core = faiss.downcast_index(structure.index)
    books = faiss.vector_to_array(core.pq.centroids).reshape(core.pq.M, -1)
    assert (books == books[0]).all()
    assert len(np.unique(books[0])) > 1
