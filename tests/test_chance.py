"""What scores are worth: tails against a slow loop, what cannot be known, copies, small galleries, columns of strangers."""

import math

import h5py
import numpy as np
import pytest
from helpers import call, refused, resign

from imgret import chance, tails
from imgret.inputs.gallery import Gallery
from imgret.store.reader import Store


def fitted(best, tail, censored):
    """Start and scale of the scores, best first, of which `tail` are of the tail; None where nothing is told."""
    if tail == censored:
        return None
    start, limit = best[tail], best[censored]
    return start, sum(min(score, limit) - start for score in best[:tail]) / (tail - censored)


def slow_tail(scores):
    """Start and scale of a photo's tail, number by number."""
    best = sorted((float(score) for score in scores), reverse=True)
    count = len(best)
    half, upper = count // 2, count // 4
    rough, out = fitted(best, half, upper), 0
    while rough and out < upper and count * slow_part(best[out], rough, (count, half, upper)) <= 0.1:
        out += 1
    best = best[out:]
    return fitted(best, math.floor(0.2 * len(best)), math.floor(0.05 * len(best)))


def slow_part(score, tail, references):
    """Part of the photos that reach a score by chance."""
    references, count, censored = (
        references if isinstance(references, tuple) else (references, math.floor(0.2 * references), math.floor(0.05 * references))
    )
    if tail is None or score <= tail[0]:
        return 1.0
    r = count - censored
    return count / references * (1 + (score - tail[0]) / (r * tail[1])) ** -r


@pytest.mark.parametrize("references", [4, 5, 30, 63, 256])
def test_tails_and_what_reaches_them(references):
    rng = np.random.default_rng(references)
    scores = rng.normal(size=(9, references))
    scores[:4, : references // 6] += 30  # what matches
    own = np.array([-1, 0, 3, -1, 2, -1, -1, 1, -1])
    found = tails.tails(scores.copy(), own)
    for row, (photo, mine) in enumerate(zip(scores, own, strict=True)):
        wanted = slow_tail(np.delete(photo, mine) if mine >= 0 else photo)
        if wanted is None:
            assert np.isnan(found[row]).all()
        else:
            assert np.allclose(found[row], wanted, rtol=1e-6)
        for score in (-1.0, 0.9, 2.5, 40.0):
            part = math.exp(tails.by_chance(np.array(score), found[row], references))
            expected = slow_part(score, None if np.isnan(found[row]).any() else found[row].astype(float), references)
            assert part == pytest.approx(expected if references > 4 else 1.0, rel=1e-6)


def test_a_tail_is_that_of_an_exponential_distribution():
    """Of numbers that are exponentially distributed, as many are beyond what is predicted as should be: on the safe side, hardly more."""
    rng = np.random.default_rng(0)
    scores, others = rng.exponential(size=(4000, 256)), rng.exponential(size=(4000, 256))
    found = tails.tails(scores)
    parts = np.exp(tails.by_chance(others, found[:, None], 256))
    for level in (0.1, 0.01, 0.001):
        assert 0.8 * level < np.mean(parts <= level) < 1.2 * level


def test_matches_among_the_references_do_not_count():
    rng = np.random.default_rng(1)
    scores = rng.normal(size=(50, 256))
    with_matches = scores.copy()
    with_matches[:, :50] = 50.0
    before, after = tails.tails(scores), tails.tails(with_matches)
    assert np.abs(after[:, 0] - before[:, 0]).max() < 0.2
    assert 0.6 < np.median(after[:, 1] / before[:, 1]) < 1.4


def slow_crowding(scores):
    """Start and scale of the common tail, number by number; None where it is one of chance."""
    together, skews = [], []
    for row, photo in enumerate(scores):
        others = sorted(np.delete(photo, row).tolist())
        low, middle, half = (others[round(part * (len(others) - 1))] for part in (0.1, 0.3, 0.5))
        together += [(score - middle) / (middle - low) for score in others]
        skews.append((half - middle) / (middle - low))
    together.sort()
    start, limit = together[int(0.8 * len(together))], together[int(0.95 * len(together))]
    above = [score for score in together if score > start]
    scale = sum(min(score, limit) - start for score in above) / sum(score <= limit for score in above)
    skew = max(0.0, (np.median(skews) - 0.6925) / (1.339 - 0.6925))
    longest = 1.7 * (0.737 + skew * (3.979 - 0.737))
    return None if scale <= longest else (min(start, 1.7 * (1.8045 + skew * (4.985 - 1.8045))), longest)


def gallery(rng, draw, matching, height=8, photos=120):
    """Scores of photos with one another, of which each matches `matching` others."""
    scores = draw(size=(photos, photos))
    for first in range(0, photos, matching + 1):
        scores[first : first + matching + 1, first : first + matching + 1] += height
    return (scores + scores.T) / 2


@pytest.mark.parametrize("draw", ["normal", "exponential", "gumbel"])
def test_a_gallery_is_crowded_where_most_tails_hold_matches(draw):
    rng = np.random.default_rng(3)
    for matching, crowded in ((0, False), (1, False), (29, True)):
        scores = gallery(rng, getattr(rng, draw), matching)
        found, wanted = tails.crowding(scores), slow_crowding(scores)
        assert (found is None) == (wanted is None)
        assert (found is not None) == crowded
        assert found is None or np.allclose(found, wanted)


def test_matches_are_seen_in_a_crowded_gallery():
    """Of what stands out in one where a quarter of the photos match, most is found by it, and nothing that does not match."""
    rng = np.random.default_rng(4)
    scores, same = gallery(rng, rng.normal, 29, height=14), np.arange(120) // 30
    crowded = tails.crowding(scores)
    found = tails.tails(scores, np.arange(120), crowded)
    parts = tails.by_chance(scores, found[:, None], 120, tails.common(120))
    expected = 120 * np.exp((parts + parts.T) / 2)
    matching = (same[:, None] == same) & ~np.eye(120, dtype=bool)
    assert (expected[matching] <= chance.LIKELY).mean() > 0.9
    assert (expected[same[:, None] != same] > chance.LIKELY).all()


def test_few_photos_and_scores_that_are_all_the_same_are_no_crowd():
    assert tails.crowding(np.eye(4)) is None
    assert tails.crowding(np.zeros((50, 50))) is None


def test_what_tells_nothing_apart_is_never_a_match():
    found = tails.tails(np.zeros((1, 256)))
    assert np.isnan(found).all()
    assert np.array_equal(tails.by_chance(np.array([0.0, 1e9]), found, 256), [0, 0])


def test_products_are_exact():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(70, 300)).astype(np.float32), rng.normal(size=(40, 300)).astype(np.float32)
    whole = chance.Directions.of(x)
    assert np.array_equal(whole.whole, np.rint(whole.whole))
    products = whole.products(chance.Directions.of(y))
    assert np.allclose(products, x.astype(float) @ y.T.astype(float), atol=5e-4 * 300)
    assert np.array_equal(products[7:8, 5:6], chance.Directions.of(x[7:8]).products(chance.Directions.of(y[5:6])))


def test_references_are_those_with_the_smallest_digests():
    rng = np.random.default_rng(3)
    digests = rng.integers(0, 256, (3000, 32)).astype(np.uint8)
    digests[10] = digests[20]
    digests[5] = 0  # known by its name
    names = [b"%d.jpg" % row for row in range(3000)]
    values = [digests[row].tobytes() if row != 5 else chance.hashlib.sha256(names[5]).digest() for row in range(3000)]
    first = {}
    for row, value in enumerate(values):
        first.setdefault(value, row)
    wanted = sorted(first[value] for value in sorted(first)[:256])
    for size in (3000, 700, 64):
        blocks = ((names[start : start + size], digests[start : start + size]) for start in range(0, 3000, size))
        assert chance.chosen(blocks).tolist() == wanted


def imported(x, folder):
    """A vectors store `v.h5` in a folder."""
    np.save(folder / "x.npy", x.astype(np.float32))
    (folder / "names.txt").write_text("\n".join(f"{row:03}.jpg" for row in range(len(x))))
    result = call("import", folder / "x.npy", "--names", folder / "names.txt", "-o", folder / "v.h5", "-q")
    assert result.code == 0, result.err


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Indexes by every method of 300 vectors, of which 0 and 1 are nearly the same, 2 is zero and 3 is 4."""
    folder = tmp_path_factory.mktemp("chance")
    rng = np.random.default_rng(4)
    x = rng.normal(size=(300, 128)).astype(np.float32)
    x[1] = x[0] + 0.01 * x[1]
    x[2], x[3] = 0, x[4]
    imported(x, folder)
    for method, settings in (
        ("flat", ()),
        ("hnsw", ()),
        ("ivf-flat", ("--set", "lists=4")),
        ("pq", ("--set", "bytes=32", "--set", "nbits=4")),
    ):
        result = call("index", folder / "v.h5", "-o", folder / f"{method}.h5", "-m", method, *settings, "-j1", "-q")
        assert result.code == 0, result.err
    return folder, x


@pytest.mark.parametrize("method", ["flat", "hnsw", "ivf-flat", "pq"])
def test_an_index_of_any_method_judges(made, method):
    folder, x = made
    gallery = Gallery(str(folder / f"{method}.h5"))
    scores, ids = gallery.search(x[:5], 20)
    asking = gallery.chance.of_queries(x[:5])
    levels, expected = gallery.chance.judge(asking, scores, ids)
    assert np.isnan(asking[2]).all()
    assert (levels[2] == 0).all()
    for row in (0, 1):
        twins = np.isin(ids[row], [0, 1])
        assert (levels[row, twins] == 2).all()
        assert (levels[row, ~twins] < 2).all()
    assert (expected[0, np.isin(ids[0], [0, 1])] < chance.SURE).all()
    of_photos = gallery.chance.tails[ids[:, :1]][:, 0]
    assert of_photos.shape == (5, 2)
    assert np.isnan(gallery.chance.expected(asking, scores[:, :1], np.full((5, 1), -1))).all()


def test_scores_with_the_references_are_those_of_the_index(made):
    folder, x = made
    for method in ("flat", "hnsw", "pq"):
        gallery = Gallery(str(folder / f"{method}.h5"))
        references = gallery.store.read("chance/photos")
        scores, ids = gallery.search(x[10:11], 300)
        by_photo = np.empty(300)
        by_photo[ids[0]] = scores[0]
        index, held = gallery.index, gallery.chance._references
        found = chance.scores_with(index, index.as_asked(x[10:11]), held)[0]
        assert np.abs(found - by_photo[references]).max() < 2e-3


def test_what_is_learned_is_no_matter_of_jobs_nor_part_of_content(made, tmp_path):
    folder, _ = made
    assert call("index", folder / "v.h5", "-o", tmp_path / "flat.h5", "-j", "3", "-q").code == 0
    with Store(str(tmp_path / "flat.h5")) as one, Store(str(folder / "flat.h5")) as other:
        for path in one.group("chance").values():
            assert np.array_equal(one.read(path), other.read(path), equal_nan=True), path
        assert one.content == other.content
    without(tmp_path / "flat.h5")
    with Store(str(tmp_path / "flat.h5")) as one, Store(str(folder / "flat.h5")) as other:
        assert one.content == other.content


def without(path):
    """Make an index as one that an older imgret made."""
    with h5py.File(path, "r+") as file:
        del file["chance"]
    resign(path)


def test_an_index_made_before_is_made_again_where_it_is_asked_for(made, tmp_path):
    folder, _ = made
    path = tmp_path / "i.h5"
    command = ("index", folder / "v.h5", "-o", path)
    assert call(*command, "-q").code == 0
    without(path)
    shown = str(path)
    result = call("search", path, folder / "v.h5", "--format", "table", "-k", "1")
    why = f"{shown} was made before imgret judged scores: run its `imgret index` once more, with --overwrite"
    assert (result.code, result.err.splitlines()[0]) == (0, f"imgret: {why}; nothing is judged")
    assert b"sure" not in result.out
    refused(call("search", path, folder / "v.h5", "--matches-only"), 1, f"{why}; --matches-only needs that")
    assert call(*command).err.endswith(f"{shown} is up to date\n")
    assert "up to date" not in call(*command, "--overwrite").err
    assert call(*command, "--overwrite").err.endswith(f"{shown} is up to date\n")
    assert b"no match" in call("search", path, folder / "v.h5", "--format", "table").out


@pytest.mark.parametrize(
    ("path", "value"),
    [("chance/tails", np.inf), ("chance/tails", -1.0), ("chance/tails", np.nan), ("chance/lengths", np.nan), ("chance/vectors", -32768)],
)
def test_columns_of_strangers_are_no_fault(made, tmp_path, path, value):
    folder, _ = made
    bad = tmp_path / "bad.h5"
    bad.write_bytes((folder / "flat.h5").read_bytes())
    with h5py.File(bad, "r+") as file:
        file[path][...] = value
    resign(bad)
    result = call("search", bad, folder / "v.h5", "-k", "3")
    assert result.code == 0, result.err
    assert len(result.lines) > 800


def test_references_that_are_none(made, tmp_path):
    folder, _ = made
    bad = tmp_path / "bad.h5"
    bad.write_bytes((folder / "flat.h5").read_bytes())
    with h5py.File(bad, "r+") as file:
        vectors = file["chance/vectors"][:, :5]
        del file["chance/vectors"]
        file["chance/vectors"] = vectors
    resign(bad)
    text = f"{bad} is damaged: its references for chance scores are none of its photos: remove it, and make it again"
    refused(call("search", bad, folder / "v.h5"), 1, text)


@pytest.mark.parametrize("count", [1, 3, 4])
def test_of_few_photos_nothing_is_known(tmp_path, count):
    imported(np.eye(8)[:count], tmp_path)
    assert call("index", tmp_path / "v.h5", "-o", tmp_path / "i.h5", "-q").code == 0
    result = call("search", tmp_path / "i.h5", tmp_path / "v.h5", "--format", "table")
    assert result.code == 0
    assert result.err == f"imgret: {tmp_path}/i.h5 holds too few photos to tell a match from chance; nothing is judged\n"
    assert b"sure" not in result.out
    result = call("search", tmp_path / "i.h5", tmp_path / "v.h5", "--matches-only", "--format", "paths")
    few = (
        f"imgret: {tmp_path}/i.h5 holds too few photos to tell a match from chance; nothing is judged, and --matches-only leaves all of it"
    )
    assert (result.code, result.out, result.err) == (0, b"", f"{few} out\n")


def test_of_photos_of_one_thing_none_is_sure(tmp_path):
    """Thirty views of one scene: what they have in common is all that there is to compare with."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=32) + 0.3 * rng.normal(size=(30, 32))
    imported(x, tmp_path)
    assert call("index", tmp_path / "v.h5", "-o", tmp_path / "i.h5", "-q").code == 0
    gallery = Gallery(str(tmp_path / "i.h5"))
    asking = (rng.normal(size=32) + x[:1]).astype(np.float32)
    scores, ids = gallery.search(asking, 30)
    levels, _ = gallery.chance.judge(gallery.chance.of_queries(asking), scores, ids)
    assert levels.max() == 0
