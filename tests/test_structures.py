"""Of a stranger's index nothing is opened but what is listed, and no file but its own."""

import re
import struct
import tracemalloc

import numpy as np
import pytest

from imgret.errors import ImgretError, UsageError
from imgret.indexes import INDEXES, structures
from imgret.registry import load

DIM, ROWS, LISTS = 24, 900, 8
OPENED = """Flat SQ4 SQ6 SQ8 SQfp16 SQbf16 SQ8_direct SQ8_direct_signed PQ6 PQ6x4 PQ6x5np PQ6x4fs PQ3x4fs LSH LSH16rt ITQ16,LSH
    IVF8,Flat IVF8,SQ8 IVF8,PQ6 IVF8,PQ6x4fs IVF8,PQ6x4fsr IVF8_HNSW4,Flat IVF8(IVF4,Flat),Flat IVF500,Flat
    HNSW8 HNSW8,SQ8 HNSW8,PQ6x4 PQ6x4,RFlat IVF8,PQ6x4,Refine(SQ8) OPQ6_12,PQ6x4,RFlat
    PCA16,Flat PCAWR16,SQ8 L2norm,Flat RR16,Flat HR,Flat ITQ16,Flat Pad30,PQ6x4 OPQ6_12,IVF8,PQ6x4fs L2norm,PCA16,L2norm,PQ4x4""".split()
REFUSED = {
    "RQ2x8": "IxRq",
    "LSQ4x4": "IxLS",
    "PRQ2x2x4": "IxPR",
    "PLSQ2x2x4": "IxPL",
    "RaBitQ": "Ixrq",
    "NSG8": "INSf",
    "ZnLattice3x10_6": "IxLa",
    "IVF8,FlatDedup": "IwFd",
    "IVF8,RQ2x4": "IwRQ",
    "IVF8,PQ4+6": "IwQR",
    "IVF8,ITQ16,SH": "IwSh",
    "IVF8_NSG4,Flat": "INSf",
    "IMI2x3,Flat": "Imiq",
    "Residual8,PQ6": "Ix2L",
    "HNSW8,8+PQ6": "IHN2",
    "PCA16,RQ2x4": "IxRq",
    "PQ6x4,Refine(RQ2x4)": "IxRq",
    "IVF8(RQ2x4),Flat": "IxRq",
}
HEADER = struct.pack("<iqqq?i", DIM, ROWS, 0, 0, True, 1)
UNREADABLE = "the index is damaged (faiss cannot read its structure): make it again"


def make(text):
    kind = load(INDEXES, "factory", "index")
    return kind(kind.Params(factory=text), "l2")


def opened(structure, dim=DIM, size=ROWS, name="factory", **params):
    kind = load(INDEXES, name, "index")
    return kind.opened(kind.Params(**params), "l2", {"faiss": structure}, {"dim": dim}, size)


def array(data):
    return np.frombuffer(bytes(data), np.uint8)


def refusal(function, *args, **kwargs):
    with pytest.raises(ImgretError) as caught:
        function(*args, **kwargs)
    return str(caught.value)


@pytest.fixture(scope="module")
def vectors():
    return np.random.default_rng(5).standard_normal((ROWS, DIM)).astype(np.float32)


@pytest.fixture(scope="module")
def built(vectors):
    """String -> the bytes of its index; those that this faiss does not make are missing."""
    import faiss

    found = {}
    for text in OPENED:
        index = make(text)
        try:
            index.plan(DIM, ROWS, ROWS)
        except UsageError as error:
            assert "faiss makes no index" in str(error), faiss.__version__  # noqa: PT017
            continue
        index.train(vectors)
        index.add(vectors)
        found[text] = index.arrays()["faiss"]
    return found


@pytest.mark.parametrize("text", OPENED)
def test_what_is_listed_opens(built, vectors, text):
    if text not in built:
        pytest.skip("this faiss does not make it")
    scores, rows = opened(built[text], factory=text).search(vectors[:3], 5)
    assert rows.min() >= 0
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("text", OPENED)
@pytest.mark.parametrize(("dim", "rows"), [(24, 4), (600, 300)])
def test_what_is_planned_opens_however_small(text, dim, rows):
    x = np.random.default_rng(6).standard_normal((rows, dim)).astype(np.float32)
    index = make(text)
    try:
        index.plan(dim, rows, rows)
        index.train(x)
    except ImgretError as error:  # too few to learn from, or nothing for so many dimensions: said before or while training
        assert re.search("train|faiss makes no index", str(error))  # noqa: PT017
        return
    index.add(x)
    opened(index.arrays()["faiss"], dim, rows, factory=text).search(x[:2], 1)


@pytest.mark.parametrize("text", REFUSED)
def test_what_would_not_open_is_refused_before_it_is_built(text):
    with pytest.raises(UsageError) as caught:
        make(text).plan(DIM, ROWS, ROWS)
    assert str(caught.value) == (
        f"'{text}' makes a structure that is not opened from a file ({REFUSED[text]}): "
        "take one of Flat, SQ8, PQ16 and PQ16x4fs, or IVF256 or HNSW32 with one, such as OPQ16,IVF256,PQ16,RFlat"
    )


@pytest.fixture
def unread(monkeypatch):
    """Whatever faiss would read is a failure."""
    import faiss

    asked = []
    monkeypatch.setattr(faiss, "read_index", lambda *_: asked.append(1))
    yield
    assert not asked


def elsewhere(vectors, path):
    """An inverted file whose lists lie in the file `path`, which then holds something else."""
    import faiss

    index = faiss.IndexIVFFlat(faiss.IndexFlatL2(DIM), DIM, LISTS)
    index.train(vectors)
    lists = faiss.OnDiskInvertedLists(LISTS, index.code_size, str(path))
    index.replace_invlists(lists)
    index.add(vectors)
    path.write_bytes(b"secret! " * (path.stat().st_size // 8))
    faiss.add_to_referenced_objects(index, lists)
    return index


def wrapped(inner, how):
    """`inner` inside another faiss index."""
    import faiss

    if how == "by itself":
        return inner
    if how == "after a transform":
        return faiss.IndexPreTransform(faiss.NormalizationTransform(DIM), inner)
    if how == "after two":
        return wrapped(wrapped(inner, "after a transform"), "after a transform")
    if how == "as a quantiser":
        outer = faiss.IndexIVFFlat(inner, DIM, ROWS)
        outer.is_trained = True
        return outer
    if how == "as a quantiser's":
        return wrapped(wrapped(inner, "after a transform"), "as a quantiser")
    flat = faiss.IndexFlatL2(DIM)
    flat.add(np.zeros((ROWS, DIM), np.float32))
    return faiss.IndexRefine(*{"refined": (inner, flat), "refining": (flat, inner)}[how])


NESTS = ["by itself", "after a transform", "after two", "as a quantiser", "as a quantiser's", "refined", "refining"]


@pytest.mark.parametrize("how", NESTS)
def test_no_other_file_is_opened(vectors, tmp_path, unread, how):
    import faiss

    secret = tmp_path / "secret"
    structure = faiss.serialize_index(wrapped(elsewhere(vectors, secret), how))
    before = secret.read_bytes()
    assert str(secret).encode() in structure.tobytes()
    what = r"the index holds a structure that is not opened from a file \(ilod, at byte \d+\): make it again from its vectors"
    assert re.fullmatch(what, refusal(opened, structure))
    assert re.fullmatch(what, refusal(opened, structure, name="ivf-flat", lists=LISTS)) or how != "by itself"
    assert secret.read_bytes() == before


@pytest.mark.parametrize("letters", [b"IxMp", b"IxM2", b"IRMf", b"IRMh", b"IHN2", b"IwIQ", b"Ix2L", b"IxRP"])
def test_what_may_hold_any_other_is_refused(vectors, tmp_path, unread, letters):
    import faiss

    inner = faiss.serialize_index(elsewhere(vectors, tmp_path / "secret")).tobytes()
    numbers = struct.pack(f"<Q{ROWS}q", ROWS, *range(ROWS)) if letters.startswith(b"IxM") else b""
    assert f"({letters.decode()}, at byte 0)" in refusal(opened, array(letters + HEADER + inner + numbers))


def test_a_graph_of_such_lists_is_refused(built, vectors, tmp_path, unread):
    import faiss

    graph = built["HNSW8"].tobytes()
    graph = graph[: graph.rindex(b"IxF2")]
    structure = graph + faiss.serialize_index(elsewhere(vectors, tmp_path / "secret")).tobytes()
    assert f"(IwFl, at byte {len(graph)})" in refusal(opened, array(structure))


@pytest.mark.parametrize("lists", [b"ilod", b"ilbl", b"ilpn", b"ilp2", b"il00", b"ilxx"])
@pytest.mark.parametrize("text", ["IVF8,Flat", "OPQ6_12,IVF8,PQ6x4fs", "IVF8(IVF4,Flat),Flat"])
def test_other_lists_are_refused(built, unread, text, lists):
    structure = built[text].tobytes()
    ours = b"ilbl" if text.endswith("fs") else b"ilar"
    lists = b"ilar" if lists == ours else lists
    at = structure.index(ours)
    assert refusal(opened, array(structure[:at] + lists + structure[at + 4 :])) == (
        f"the index holds a structure that is not opened from a file ({lists.decode()}, at byte {at}): make it again from its vectors"
    )


def test_what_is_no_index_of_vectors_is_refused(unread):
    import faiss

    assert "(IBxF, at byte 0)" in refusal(opened, faiss.serialize_index_binary(faiss.IndexBinaryFlat(64)))
    assert "(null, at byte 0)" in refusal(opened, array(b"null"))
    assert "(00ff0a41, at byte 0)" in refusal(opened, array(b"\0\xff\nA"))


def test_a_scalar_quantiser_of_another_type_is_refused(built, unread):
    for kind in (-1, 9, 12, 99):
        buffer = bytearray(built["SQ8"].tobytes())
        struct.pack_into("<i", buffer, 37, kind)
        assert f"(scalar quantiser {kind}, at byte 37)" in refusal(opened, array(buffer))


def test_numbers_that_lead_elsewhere_are_refused(built, unread):
    """A column that a vector has not, lengths that wrap round, other metrics, a map of row numbers."""

    def changed(text, letters, offset, layout, *numbers):
        buffer = bytearray(built[text].tobytes())
        struct.pack_into("<" + layout, buffer, buffer.index(letters) + offset, *numbers)
        return array(buffer)

    structures.check(changed("Pad30,PQ6x4", b"RmDT", 12, "i", DIM - 1))
    assert refusal(opened, changed("Pad30,PQ6x4", b"RmDT", 12, "i", DIM)) == UNREADABLE
    assert refusal(opened, changed("IVF8,Flat", b"full", 12, "8Q", 2**63, 2**63, ROWS, 0, 0, 0, 0, 0)) == UNREADABLE
    for metric in (-1, 2, 4, 23):
        assert refusal(opened, changed("Flat", b"IxF2", 33, "i", metric)) == UNREADABLE
    for kind in (1, 2, -1):
        assert refusal(opened, changed("IVF8,Flat", b"ilar", -9, "b", kind)) == UNREADABLE


def test_a_list_given_twice_is_refused(vectors, unread):
    import faiss

    index = faiss.index_factory(DIM, "IVF8,Flat")
    index.train(vectors)
    far = [next(i for i in range(ROWS) if index.quantizer.assign(vectors[i : i + 1], 1)[0, 0] == number) for number in (2, 5)]
    index.add(np.repeat(vectors[far], [3, 4], axis=0))  # two lists of eight: written as pairs
    structure = bytearray(faiss.serialize_index(index).tobytes())
    at = structure.index(b"sprs") + 12
    assert struct.unpack_from("<4Q", structure, at) == (2, 3, 5, 4)
    structures.check(array(structure))
    for pairs in ((2, 3, 2, 4), (5, 3, 2, 4), (2, 3, 8, 4), (2, 3, 5, 5)):
        struct.pack_into("<4Q", structure, at, *pairs)
        assert refusal(structures.check, array(structure)) == UNREADABLE


def test_indexes_within_indexes_come_to_an_end(built, unread):
    one = b"IxPT" + HEADER + struct.pack("<i", 1) + b"VNrm" + struct.pack("<fii?", 2, DIM, DIM, True)
    flat = built["Flat"].tobytes()
    structures.check(array(one * 9 + flat))
    for deep in (10, 60, 100_000):
        assert refusal(opened, array(one * deep + flat)) == UNREADABLE


def mutations(structure, rng):
    """Some ways to spoil bytes."""
    for _ in range(24):
        changed = structure.copy()
        at = int(rng.integers(len(changed) - 8) if rng.random() < 0.5 else rng.integers(min(300, len(changed) - 8)))
        way = rng.integers(4)
        if way == 0:
            changed[at] ^= 1 << int(rng.integers(8))
        elif way == 1:
            number = [0, 1, 2**31, 2**32, 2**40, 2**63, 2**64 - 1, len(changed)][rng.integers(8)]
            changed[at : at + 8] = np.frombuffer(struct.pack("<Q", number), np.uint8)
        elif way == 2:
            changed = changed[:at]
        else:
            changed = np.concatenate([changed[:at], structure[int(rng.integers(len(structure))) :]])
        yield changed


def test_spoilt_bytes_neither_crash_nor_cost(built):
    spoilt = [changed for text in built for changed in mutations(built[text], np.random.default_rng(len(text)))]
    assert len(spoilt) > 800
    refused = 0
    tracemalloc.start()
    try:
        for changed in spoilt:
            try:
                structures.check(changed)
            except ImgretError:
                refused += 1
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 << 20
    assert refused > len(spoilt) // 2


def test_every_cut_is_refused(built):
    for structure in built.values():
        for cut in {*range(0, min(400, len(structure))), len(structure) - 1}:
            refusal(structures.check, structure[:cut])
