"""A photo gets one answer, to the last bit, whichever way it asks; what describes it is made once."""

import contextlib

import numpy as np
import pytest
from helpers import call, names_in

import imgret
from imgret import describer
from imgret.inputs import queries
from imgret.inputs.gallery import Gallery
from imgret.parallel import one_thread
from imgret.stages import search
from imgret.store.reader import Store


@pytest.fixture(scope="module")
def indexes(stores, tmp_path_factory):
    """Indexes of `stores`' vectors as they are, and projected."""
    folder = tmp_path_factory.mktemp("indexes")
    assert call("index", stores.projected, "-o", folder / "projected.h5").code == 0
    return {"vlad": stores.index, "projected": folder / "projected.h5"}


@pytest.mark.parametrize("of", ["vlad", "projected"])
def test_answers_are_the_same_whichever_way_a_photo_asks(photos, stores, indexes, tmp_path, of):
    found = {}
    for asks, jobs in ((photos, 1), (photos, 3), (stores.features, 1), (stores.features, 3), (stores.vlad, 1), (stores.vlad, 2)):
        out = tmp_path / f"{len(found)}.h5"
        assert call("search", indexes[of], asks, "-o", out, "-j", jobs).code == 0
        with Store(out) as store:
            found[str(asks), jobs] = store.read("ids"), store.read("scores"), list(store.texts("query_names"))
    first = next(iter(found.values()))
    for ids, scores, names in found.values():
        assert np.array_equal(ids, first[0])
        assert np.array_equal(scores, first[1])
        assert names == first[2]
    with imgret.open(indexes[of]) as index:
        for jobs in (1, 3):
            answers = index.search([str(photos / name.decode()) for name in first[2]], len(index), jobs)
            assert np.array_equal([[hit.score for hit in hits] for hits in answers], first[1])
            assert [[hit.name for hit in hits] for hits in answers] == [[index.names[i] for i in row] for row in first[0]]


def test_a_vector_does_not_depend_on_its_company(stores, indexes):
    """Neither on how many are asked at once."""
    found = []
    with contextlib.closing(Gallery(indexes["projected"])) as gallery, Store(stores.vlad) as asked:
        for size in (1, 5, 64):
            found.append(np.concatenate([block.vectors for block in queries.StoreQueries([asked], gallery, 2).blocks(size)]))
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])


def test_describers_are_made_once(stores, indexes, monkeypatch):
    """As many as there are jobs, however many blocks of queries there are."""
    made = []

    class Counted(describer.Describer):
        def __init__(self, *how):
            made.append(self)
            super().__init__(*how)

    monkeypatch.setattr(describer, "Describer", Counted)
    monkeypatch.setattr(search, "BLOCK_QUERIES", 2)
    result = call("search", indexes["vlad"], stores.features, "-j", 2, "--format", "tsv", "-k", 1, "--keep-self")
    assert len(result.lines) == 1 + len(names_in(stores.features))
    assert 1 <= len(made) <= 2


def test_every_query_is_described_on_fixed_threads(stores, indexes, monkeypatch):
    """Features too: BLAS has one thread, and the work is shared out."""
    from threadpoolctl import threadpool_info, threadpool_limits

    seen, features = [], describer.Describer.features

    def looked(self, given):
        seen.append({library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"})
        return features(self, given)

    monkeypatch.setattr(describer.Describer, "features", looked)
    for jobs in (1, 2):
        with threadpool_limits(2):
            assert call("search", indexes["vlad"], stores.features, "-j", jobs, "--format", "tsv").code == 0
    assert seen
    assert all(each == {1} for each in seen)


def test_a_search_that_ends_early_leaves_the_threads_as_they_were(photos, indexes):
    import cv2
    from threadpoolctl import threadpool_info, threadpool_limits

    def threads():
        return [library["num_threads"] for library in threadpool_info()], cv2.getNumThreads()

    def stop(names, block):
        raise RuntimeError("enough")

    with one_thread():
        pass
    with threadpool_limits(2):
        before = threads()
        with pytest.raises(RuntimeError, match="enough"):
            search.search(indexes["vlad"], [str(photos)], run=imgret.Run(jobs=2), emit=stop)
        assert threads() == before
