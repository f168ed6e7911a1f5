"""Inverted files: every score against a slow loop, lists made in any memory, and strangers' bytes."""

import types

import numpy as np
import pytest
import reference_inverted as slow
from reference_inverted import Entry

from imgret.errors import ImgretError, UsageError
from imgret.indexes.inverted import matching
from imgret.indexes.inverted.index import Inverted

K, PHOTOS, BITS = 40, 30, 64


class Source:
    """What the step `index` hands over, of photos as the reference has them; two or three photos a block."""

    def __init__(self, photos, columns, step=3):
        self.photos, self.entries = len(photos), sum(map(len, photos))
        self._photos, self._step = photos, step
        self.columns = {name: kind for name, kind in all_columns(photos).items() if name in columns}

    def blocks(self, names):
        for start in range(0, self.photos, self._step):
            some = self._photos[start : start + self._step]
            counts = np.array([len(photo) for photo in some], np.int64)
            entries = [entry for photo in some for entry in photo]
            yield counts, {name: column(entries, name, *self.columns[name]) for name in names}


def all_columns(photos):
    signature = next((entry.signature for photo in photos for entry in photo), None)
    kinds = {"word": ((), np.dtype(np.uint32)), "weight": ((), np.dtype(np.float32)), "geometry": ((4,), np.dtype(np.uint16))}
    if signature is not None:
        bits = signature.dtype == np.uint8
        kinds["signature"] = ((-(-len(signature) // 8),), np.dtype(np.uint8)) if bits else ((len(signature),), np.dtype(np.float16))
    return kinds


def column(entries, name, shape, dtype):
    if name == "signature":
        rows = [entry.signature for entry in entries]
        rows = [np.packbits(row, bitorder="little") if row.dtype == np.uint8 else row for row in rows]
    elif name == "geometry":
        rows = [(0, 0, entry.scale, entry.angle) for entry in entries]
    else:
        rows = [getattr(entry, name) for entry in entries]
    return np.array(rows, dtype).reshape(-1, *shape)


def asked(photo, columns, extra=()):
    kinds = all_columns([photo])
    query = {name: column(photo, name, *kinds[name]) for name in columns if name in kinds}
    return query | {name: np.array([getattr(entry, name) for entry in photo], np.int32) for name in extra}


def encoder(name, statistics=None, bits=BITS):
    return types.SimpleNamespace(name=name, words=K, params=None, statistics=statistics, bits=bits)


def photos(kind, seed=0, count=PHOTOS, once=False, bits=BITS):
    """Photos with bursts, some of them empty; signatures near one of a few."""
    rng = np.random.default_rng(seed)
    bases = rng.integers(0, 2, (3, bits)).astype(np.uint8) if kind == "bits" else rng.standard_normal((3, bits))
    made = []
    for number in range(count):
        words = np.sort(rng.choice(K, 0 if number % 11 == 5 else int(rng.integers(1, 12)), replace=not once))
        photo = []
        for place, word in enumerate(words):
            base = bases[rng.integers(3)]
            if kind == "bits":
                signature = base ^ (rng.random(bits) < 0.15).astype(np.uint8)
            else:
                signature = base + rng.standard_normal(bits)
                signature = (signature / np.linalg.norm(signature)).astype(np.float16)
            weight = float(rng.integers(1, 4)) if kind == "weights" else 1.0
            angle, scale = int(rng.integers(1 << 16)), int(rng.integers(1500, 3500))
            photo.append(Entry(int(word), weight, None if kind == "weights" else signature, angle, scale, place // 2))
        made.append(photo)
    return made


def made(name, gallery, columns, statistics=None, memory=1 << 30, folder="nowhere"):
    bits = next((len(entry.signature) for photo in gallery for entry in photo if entry.signature is not None), BITS)
    made_by = encoder(name, statistics, bits)
    index = Inverted(Inverted.Params(), encoder=made_by)
    index.fill(Source(gallery, columns), str(folder), memory)
    return Inverted.opened(index.params, "cosine", index.arrays(), index.facts(), index.size, made_by)


def check(index, query, expected, **settings):
    settings = Inverted.search_params(index.encoder.name)(**settings)
    count = len(expected)
    scores, rows = index.search([query], count, settings)
    assert sorted(rows[0]) == list(range(count))
    np.testing.assert_allclose(scores[0], np.array(expected)[rows[0]], rtol=1e-5, atol=1e-7)
    assert (np.diff(scores[0]) <= 0).all()
    assert all(rows[0][i] < rows[0][i + 1] for i in range(count - 1) if scores[0][i] == scores[0][i + 1])
    few, some = index.search([query], 3, settings)  # the heap
    np.testing.assert_array_equal(few[0], scores[0][:3])
    np.testing.assert_array_equal(some[0], rows[0][:3])


@pytest.fixture(scope="module")
def statistics():
    rng = np.random.default_rng(9)
    return types.SimpleNamespace(idf_=rng.uniform(0, 4, K).astype(np.float32), lp_idf_=rng.uniform(0, 4, K).astype(np.float32))


BOW = [
    {},
    {"lp": True},
    {"tf": "tf", "power": 0.5},
    {"tf": "binary", "idf": "none"},
    {"norm": "none", "idf": "gallery"},
    {"idf": "gallery", "lp": True},
    {"stop": 100.0},
]


@pytest.mark.parametrize("settings", BOW)
def test_bow(settings, statistics):
    gallery = photos("weights")
    index, queries = made("bow", gallery, ("word", "weight"), statistics), photos("weights", 1, 3)
    idf = idf_of(settings, statistics, gallery)
    lengths = [sum(any(entry.word == w for entry in photo) for photo in gallery) for w in range(K)]
    stopped = sorted(range(K), key=lambda w: (-lengths[w], w))[: int(K * settings.get("stop", 0) / 1000)]
    how = {name: value for name, value in settings.items() if name in ("tf", "power", "norm")}
    for query in queries:
        expected = [slow.bow(query, photo, idf, stopped=stopped, **how) for photo in gallery]
        check(index, asked(query, ("word", "weight")), expected, **settings)


def idf_of(settings, statistics, gallery, lp=False):
    source, lp = settings.get("idf", "auto"), settings.get("lp", lp)
    if source == "none":
        return lambda w: 1.0
    if source == "gallery" or statistics is None:
        return slow.gallery_idf(gallery)[lp]
    return lambda w: float((statistics.lp_idf_ if lp else statistics.idf_)[w])


@pytest.mark.parametrize("settings", [{}, {"k1": 2.0, "b": 0.3, "power": 2.0}])
def test_bm25(settings):
    gallery, query = photos("weights"), photos("weights", 1, 1)[0]
    index, idf = made("bow", gallery, ("word", "weight")), slow.gallery_idf(gallery)[0]
    mean = sum(entry.weight for photo in gallery for entry in photo) / len(gallery)
    expected = [slow.bm25(query, photo, idf, mean, **settings) for photo in gallery]
    check(index, asked(query, ("word", "weight")), expected, tf="bm25", **settings)


HAMMING = [
    {},
    {"threshold": 12.0, "weight": "none", "burst": "none"},
    {"weight": "exponential", "burst": "root", "sigma": 8.0},
    {"inter": True},
    {"burst": "root", "inter": True, "power": 1.0, "idf": "gallery"},
    {"wgc": True},
    {"wgc": True, "burst": "root", "inter": True, "norm": "none"},
    {"wgc": True, "burst": "query", "loose": 0.0},
    {"burst": "query", "inter": True},
]


@pytest.mark.parametrize("settings", HAMMING)
@pytest.mark.parametrize("alone", [True, False])
def test_hamming(settings, alone, statistics, monkeypatch):
    if alone:  # three photos at once
        monkeypatch.setattr(matching, "HELD", 1)
        monkeypatch.setattr(matching, "LEAST_STRETCH", 3)
    gallery, query = photos("bits"), [entry for photo in photos("bits", 1, 3) for entry in photo]
    query = [entry._replace(weight=0.5 + 0.1 * place, descriptor=entry.descriptor % 4) for place, entry in enumerate(query)]
    query = [entry._replace(descriptor=place) for place, entry in enumerate(query)] if alone else query
    index = made("hamming", gallery, ("word", "signature", "geometry"), statistics)
    how = {name: value for name, value in settings.items() if name != "idf"}
    expected = slow.hamming(query, gallery, idf_of(settings, statistics, gallery), **how)
    columns = asked(query, ("word", "weight", "signature", "geometry"), () if alone else ("descriptor",))
    check(index, columns, expected, **settings)


KERNELS = [
    {},
    {"alpha": 1.0, "tau": -1.0},
    {"alpha": 2.5, "tau": 0.2, "power": 2.0},
    {"norm": "none", "idf": "none"},
    {"inter": True, "alpha": 2.5},
]


@pytest.mark.parametrize("settings", KERNELS)
@pytest.mark.parametrize(
    ("name", "kind", "bits"),
    [("asmk", "bits", 128), ("asmk", "floats", 20), ("smk", "bits", 128), ("smk", "floats", 16), ("smk", "bits", 21), ("asmk", "bits", 72)],
)
def test_match_kernels(settings, name, kind, bits, statistics):
    once = name == "asmk"
    gallery = photos(kind, once=once, bits=bits)
    index = made(name, gallery, ("word", "signature"), statistics)
    how = {key: value for key, value in settings.items() if key != "idf"}
    for query in photos(kind, 1, 2, once=once, bits=bits):
        expected = slow.kernels(query, gallery, idf_of(settings, statistics, gallery), **how)
        check(index, asked(query, ("word", "signature")), expected, **settings)


@pytest.mark.parametrize("settings", [{}, {"alpha": 1.5, "tau": -0.1}])
@pytest.mark.parametrize(("name", "bits"), [("asmk", 128), ("smk", 21), ("asmk", 72)])
def test_numbers_ask_bits(settings, name, bits):
    gallery, query = photos("bits", once=name == "asmk", bits=bits), photos("floats", 1, 1, once=name == "asmk", bits=bits)[0]
    index, idf = made(name, gallery, ("word", "signature")), slow.gallery_idf(gallery)[0]
    check(index, asked(query, ("word", "signature")), slow.kernels(query, gallery, idf, **settings), **settings)


def test_weights_of_soft_assignment_count():
    gallery = [[entry._replace(weight=0.25 + place / 16) for place, entry in enumerate(photo)] for photo in photos("bits", bits=21)]
    query = [entry._replace(weight=0.7) for entry in photos("bits", 1, 1, bits=21)[0]]
    index, idf = made("smk", gallery, ("word", "signature", "weight")), slow.gallery_idf(gallery)[0]
    check(index, asked(query, ("word", "signature", "weight")), slow.kernels(query, gallery, idf))


@pytest.mark.parametrize(
    ("name", "kind", "columns"), [("bow", "weights", ("word", "weight")), ("hamming", "bits", ("word", "signature", "geometry"))]
)
@pytest.mark.parametrize("memory", [1, 2000])
def test_lists_are_the_same_in_any_memory(name, kind, columns, memory, tmp_path):
    gallery = photos(kind, count=60)
    whole, cut = made(name, gallery, columns), made(name, gallery, columns, memory=memory, folder=tmp_path)
    assert whole._arrays.keys() == cut._arrays.keys()
    for key, array in whole._arrays.items():
        assert array.dtype == cut._arrays[key].dtype
        np.testing.assert_array_equal(array, cut._arrays[key])
    assert not list(tmp_path.iterdir())


def test_frequencies_take_the_bytes_that_they_need():
    dtypes = []
    for weight in (255.0, 256.0, 1.5):
        index = made("bow", [[Entry(3, weight), Entry(3, 0.0)], [Entry(5, 1.0)]], ("word", "weight"))
        dtypes.append(index._arrays["weight"].dtype)
        np.testing.assert_array_equal(index._arrays["weight"], [weight, 1])
    assert dtypes == [np.uint8, np.uint16, np.float32]


def test_gaps_of_any_size():
    from imgret.indexes.inverted import packing

    photo = np.cumsum([0, 0, 223, 224, 8159, 8160, 8161, 1 << 20, 7, 255, 224]).astype(np.uint32)
    size = sum(packing.size(int(step)) for step in np.diff(photo, prepend=0))
    packed = np.empty(size, np.uint8)
    packing.pack(photo, np.array([4, 4, len(photo)]), packed[: size + 0])
    out = np.empty(4, np.int64)
    assert packing.unpack(packed, 0, 5, out) == packing.SOUND
    np.testing.assert_array_equal(out, photo[:4])
    assert packing.unpack(packed, 0, 6, out) == packing.DAMAGED
    assert packing.unpack(packed, 0, 4, out) == packing.DAMAGED


@pytest.mark.parametrize("jobs", [1, 3])
def test_company_and_jobs_change_nothing(jobs):
    gallery = photos("bits", count=50, bits=21)
    queries = [asked(query, ("word", "signature")) for query in photos("bits", 1, 8, bits=21) if query]
    index = made("smk", gallery, ("word", "signature"))
    scores, rows = index.search(queries, 7, jobs=jobs)
    for number, query in enumerate(queries):
        alone = index.search([query], 7)
        np.testing.assert_array_equal(scores[number], alone[0][0])
        np.testing.assert_array_equal(rows[number], alone[1][0])


def test_who_shares_no_word_comes_last_and_ranks_run_out():
    gallery = [[Entry(1)], [Entry(2)], [], [Entry(1), Entry(3)]]
    index = made("bow", gallery, ("word",))
    scores, rows = index.search([asked([Entry(1)], ("word",)), asked([Entry(7)], ("word",)), asked([], ("word",))], 6)
    np.testing.assert_array_equal(rows[:, :4], [[0, 3, 1, 2], [0, 1, 2, 3], [0, 1, 2, 3]])
    assert scores[0, 0] == pytest.approx(1)
    assert (scores[0, 2:4] == 0).all()
    assert (rows[:, 4:] == -1).all()
    assert np.isnan(scores[:, 4:]).all()


def test_an_index_of_no_entries():
    index = made("bow", [[], []], ("word",))
    scores, rows = index.search([asked([Entry(1)], ("word",))], 2)
    np.testing.assert_array_equal(rows, [[0, 1]])
    np.testing.assert_array_equal(scores, [[0, 0]])


def test_only_the_lists_that_are_asked_are_visited():
    gallery = photos("bits")
    index = made("hamming", gallery, ("word", "signature", "geometry"))
    query = asked(photos("bits", 1, 1)[0][:2], ("word", "signature"))
    visited, spoiled = index.visited([query]), {}
    for name, array in index._arrays.items():
        used = np.zeros(len(array), bool)
        used[[0, -1]] = name.endswith("offsets")  # what opening looks at
        for first, last in visited.get(name, []):
            used[first:last] = True
        spoiled[name] = np.where(used.reshape(-1, *(1,) * (array.ndim - 1)), array, 77).astype(array.dtype)
    assert any((spoiled[name] != array).any() for name, array in index._arrays.items())
    other = Inverted.opened(index.params, "cosine", spoiled, index.facts(), index.size, index.encoder)
    for found, expected in zip(other.search([query], 9), index.search([query], 9), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert index.visited([query], index.search_params("hamming")(idf="none")) is None
    index.search([query], 1, index.search_params("hamming")(idf="none"))
    assert index.visited([query], index.search_params("hamming")(idf="none")) is not None


@pytest.mark.parametrize("name", ["photo", "word_offsets", "byte_offsets", "words", "signature", "geometry", "norms", "idf"])
def test_no_bytes_lead_a_search_astray(name):
    """Whatever is there: an answer or one sentence."""
    gallery = photos("bits", count=40)
    index = made("hamming", gallery, ("word", "signature", "geometry"))
    query = asked(photos("bits", 1, 1)[0], ("word", "signature", "geometry"))
    settings = [index.search_params("hamming")(wgc=wgc, idf=idf, inter=wgc) for wgc in (True, False) for idf in ("gallery", "none")]
    rng = np.random.default_rng(5)
    for _ in range(60):
        arrays = {key: array.copy() for key, array in index._arrays.items()}
        data = arrays[name].reshape(-1).view(np.uint8)
        for _ in range(int(rng.integers(1, 4))):
            data[rng.integers(len(data))] = rng.choice([0, 255, 254, rng.integers(256)])
        text = None
        try:
            other = Inverted.opened(index.params, "cosine", arrays, index.facts(), index.size, index.encoder)
            for setting in settings:
                other.visited([query], setting)
                other.search([query], 5, setting)
        except ImgretError as error:
            text = str(error)
        assert text is None or text.startswith("the index is damaged (")


def refusal(function, *arguments, **more):
    with pytest.raises(ImgretError) as caught:
        function(*arguments, **more)
    return str(caught.value)


def test_what_is_refused():
    index = made("smk", photos("bits"), ("word", "signature"))
    query = asked(photos("bits", 1, 1)[0], ("word", "signature"))
    text = "a query's signatures are not like those of the index: encode them alike"
    for other in (query["signature"][:, :3], query["signature"].astype(np.float16), query["signature"].astype(int)):
        assert refusal(index.search, [query | {"signature": other}], 1) == text
    assert refusal(index.search, [query | {"word": query["word"] + K}], 1).startswith("a query has the word ")
    with pytest.raises(UsageError, match="^`k` must be a positive integer, got 0$"):
        index.search([query], 0)
    with pytest.raises(UsageError, match="leave --metric out"):
        Inverted(Inverted.Params(), "l2", encoder("bow"))
    assert "idf=training needs" in refusal(index.search, [query], 1, index.search_params("smk")(idf="training"))
    index = made("hamming", photos("bits"), ("word", "signature"))
    assert refusal(index.search, [query], 1, index.search_params("hamming")(wgc=True)) == (
        "wgc=true needs angles and scales, and the index has none: encode with geometry, or leave it out"
    )


@pytest.mark.parametrize(
    ("photo", "text"),
    [
        ([Entry(K)], f"a photo has the word {K}, and the codebook has {K}: make the words store again"),
        ([Entry(3), Entry(2)], "a photo's entries are not in the order of their words: make the words store again"),
        ([Entry(3, -1.0)], "an entry has a weight that is negative or no number: make the words store again"),
        ([Entry(3, float("nan"))], "an entry has a weight that is negative or no number: make the words store again"),
    ],
)
def test_entries_that_no_encoder_makes(photo, text):
    index = Inverted(Inverted.Params(), encoder=encoder("bow"))
    assert refusal(index.fill, Source([photo], ("word", "weight")), "nowhere") == text


def test_a_source_that_changes_is_refused(tmp_path):
    source = Source(photos("bits"), ("word", "signature"))
    index = Inverted(Inverted.Params(), encoder=encoder("smk"))
    index.fill(source, str(tmp_path), 100)
    index._counts.entries[0] += 1
    assert refusal(index.arrays) == "the words stores have changed while they were being read: run the same command again"
    assert not list(tmp_path.iterdir())


def test_columns_that_do_not_fit_are_refused():
    index = made("hamming", photos("bits"), ("word", "signature", "geometry"))
    arrays = index._arrays

    def opened(**other):
        given = {name: array for name, array in (arrays | other).items() if array is not None}
        return refusal(Inverted.opened, index.params, "cosine", given, index.facts(), index.size, index.encoder)

    assert opened(norms=None) == "the index is damaged (it has no 'norms'): make it again"
    assert opened(signature=None) == "the index is damaged (its entries have no signature): make it again"
    assert opened(signature=arrays["signature"][:, 1:].copy()) == "the index is damaged (its signatures are not of 64 bits): make it again"
    assert opened(signature=arrays["signature"][1:]) == "the index is damaged (its lists do not end where its entries do): make it again"
    assert opened(photo=arrays["photo"][1:]) == "the index is damaged (its lists do not end where its entries do): make it again"
    assert opened(words=arrays["words"][1:]) == "the index is damaged (its lists do not end where its entries do): make it again"
    assert opened(words=arrays["words"].astype(int)) == "the index is damaged ('words' is not what an inverted file has): make it again"
    assert opened(idf=arrays["idf"][1:]) == "the index is damaged ('idf' is not a number for each): make it again"
