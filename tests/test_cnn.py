"""Networks' features through the whole tool: extract to search, what is refused, what is the same however it came about."""

import dataclasses
import json
import os
import shutil

import numpy as np
import pytest
from helpers import call, document, encoded, failures, folder, names_in, refused, resign, same_answers, say, texture

torch = pytest.importorskip("torch")
torchvision = pytest.importorskip("torchvision")

from imgret.describer import Describer  # noqa: E402
from imgret.errors import UsageError  # noqa: E402
from imgret.extractors import cnn  # noqa: E402
from imgret.extractors.cnn import Cnn  # noqa: E402
from imgret.images import File, Photo  # noqa: E402
from imgret.importing import ONE_THREAD  # noqa: E402
from imgret.networks import backbones  # noqa: E402
from imgret.pipeline import Pipeline  # noqa: E402
from imgret.store.reader import Store  # noqa: E402

SMALL = ("--set", "model=squeezenet1_1", "--set", "max_size=96", "--set", "batch=3")


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A folder with photos of two shapes, and the weights of a small network."""
    path = tmp_path_factory.mktemp("cnn")
    os.mkdir(path / "photos")
    for number in range(20):
        size = {"width": 120, "height": 90} if number % 3 else {"width": 80, "height": 110}
        with open(path / "photos" / f"{number:02d}.png", "wb") as file:
            file.write(encoded(texture(number, channels=3, **size)))
    torch.manual_seed(1)
    torch.save(torchvision.models.squeezenet1_1(weights=None).state_dict(), path / "weights.pth")
    return path


def extract(here, out, *more, photos="photos"):
    """Run `extract -m cnn` with the small network, in one worker: starting torch is what takes long here."""
    weights = () if any("weights=" in str(word) for word in more) else ("--set", f"weights={here / 'weights.pth'}")
    jobs = () if any(str(word).startswith("-j") for word in more) else ("-j1",)
    return call("extract", here / photos, "-m", "cnn", *SMALL, *weights, *jobs, "-o", out, *more)


@pytest.fixture(scope="module")
def made(here):
    """`made(name, *settings)`: a store of the photos, made once."""
    known = {}

    def make(*settings):
        if settings not in known:
            out = here / f"store-{len(known)}.h5"
            result = extract(here, out, *(word for setting in settings for word in ("--set", setting)))
            assert result.code == 0, result.err
            known[settings] = out
        return known[settings]

    return make


def vectors(path):
    """All vectors of a store."""
    with Store(path) as store:
        return store.read("vectors")


POOLINGS = [
    ("pool=avg",),
    ("pool=avg", "centre=true"),
    ("pool=max",),
    ("pool=gem",),
    ("pool=rmac",),
    ("pool=crow",),
    ("pool=cam", "classes=5"),
    ("pool=fc",),
    ("pool=gem", "scales=1,0.5", "flip=true"),
    ("pool=gem", "scales=1,0.5", "combine=gem"),
    ("pool=gem", "layer=features.7,features", "dtype=float16"),
    ("pool=gem", "resize=square"),
    ("pool=gem", "precision=bfloat16"),
]


@pytest.mark.parametrize("settings", POOLINGS)
def test_one_vector_each(made, settings):
    path = made(*settings)
    found = vectors(path).astype(np.float32)
    width = 1000 if "pool=fc" in settings else 512 + 256 * ("layer=features.7,features" in settings)
    assert found.shape == (20, width)
    assert np.abs(np.linalg.norm(found, axis=1) - 1).max() < (2e-3 if "dtype=float16" in settings else 1e-5)
    assert len(np.unique(found, axis=0)) == 20
    assert call("info", path, "--check").code == 0


def test_poolings_differ_and_scales_matter(made):
    first = [vectors(made(*settings)).astype(np.float32)[0] for settings in POOLINGS if "pool=fc" not in settings and len(settings) < 3]
    first = [vector for vector in first if len(vector) == 512]
    gram = np.stack(first) @ np.stack(first).T
    assert (gram[np.triu_indices(len(first), 1)] < 0.999999).all()


@pytest.mark.parametrize("pool", ["none", "regions", "patches"])
def test_local_features_go_through_vlad(made, here, pool, tmp_path):
    features = made(f"pool={pool}", *(("patches=48",) if pool == "patches" else ()))
    with Store(features) as store:
        assert store.kind == "features"
        assert store.dtype("descriptors") == np.float16
        assert store.attribute("keypoints", "columns") == "x y size score"
        keypoints, sizes = store.read("keypoints"), store.read("image_size")
        norms = np.linalg.norm(store.read("descriptors").astype(np.float32), axis=1)
        offsets = store.read("offsets")
    assert np.abs(norms - 1).max() < 2e-3
    for number, (first, last) in enumerate(zip(offsets, offsets[1:], strict=False)):
        assert last > first
        x, y, size, score = keypoints[first:last].T
        assert (size > 0).all()
        assert (score > 0).all()
        width, height = sizes[number]
        assert ((x >= -0.5) & (x < width)).all()
        assert ((y >= -0.5) & (y < height)).all()
    words, vlad, index = (tmp_path / f"{name}.h5" for name in ("words", "vlad", "index"))
    for command in (
        ("codebook", features, "--size", 4, "--set", "pca=16", "-o", words),
        ("encode", features, "-c", words, "-o", vlad),
        ("index", vlad, "-o", index),
    ):
        result = call(*command)
        assert result.code == 0, result.err
    by_vector = call("search", index, vlad, "-k", "all", "--format", "tsv")
    # what is stored is encoded without the network, and so without its weights
    same_answers(by_vector, call("search", index, features, "-k", "all", "--format", "tsv"))
    # a photo in another batch differs by rounding, which float16 makes larger
    scores, others = (
        {tuple(line.split("\t")[::2]): float(line.split("\t")[3]) for line in result.lines[1:]}
        for result in (by_vector, call("search", index, here / "photos", "-k", "all", "--format", "tsv"))
    )
    assert scores.keys() == others.keys()
    assert max(abs(scores[pair] - others[pair]) for pair in scores) < 5e-3


def test_strongest_columns_are_a_cut_of_all(made):
    with Store(made("pool=none")) as every, Store(made("pool=none", "max_keypoints=5")) as strongest:
        first, last = every.read("offsets")[:2]
        keypoints, descriptors = every.read("keypoints")[first:last], every.read("descriptors")[first:last]
        kept = np.sort(np.argsort(-keypoints[:, 3], kind="stable")[:5])
        assert np.array_equal(strongest.read("keypoints")[:5], keypoints[kept])
        assert np.array_equal(strongest.read("descriptors")[:5], descriptors[kept])
        assert (np.diff(strongest.read("offsets")) == 5).all()


def test_columns_of_scales_are_those_of_each(made):
    with (
        Store(made("pool=none", "scales=1,0.5")) as both,
        Store(made("pool=none")) as whole,
        Store(made("pool=none", "scales=0.5")) as half,
    ):
        one, two = whole.read("offsets")[1], half.read("offsets")[1]
        assert both.read("offsets")[1] == one + two
        assert np.array_equal(both.read("descriptors")[:one], whole.read("descriptors")[:one])
        assert np.array_equal(both.read("keypoints")[one : one + two], half.read("keypoints")[:two])
        assert half.read("keypoints")[0, 2] == pytest.approx(2 * whole.read("keypoints")[0, 2], rel=0.1)


@pytest.mark.parametrize("settings", [("pool=rmac",), ("pool=none", "max_keypoints=7")])
def test_same_datasets_for_any_jobs_and_shards(here, made, tmp_path, settings):
    words = [word for setting in settings for word in ("--set", setting)]
    with Store(made(*settings)) as store:
        content = store.content
    assert extract(here, tmp_path / "one.h5", "-j2", *words).code == 0
    for share in ("1/3", "0/3"):  # what is missing is made where they are joined
        assert extract(here, tmp_path / "shards.h5", "-j1", "--shard", share, *words).code == 0
    assert extract(here, tmp_path / "shards.h5", *words).code == 0
    for name in ("one", "shards"):
        with Store(tmp_path / f"{name}.h5") as store:
            assert store.content == content


def test_a_new_photo_is_described_and_the_others_taken_over(here, tmp_path):
    photos = shutil.copytree(here / "photos", tmp_path / "photos")
    out = tmp_path / "out.h5"
    words = ("-j1", "-m", "cnn", *SMALL, "--set", f"weights={here / 'weights.pth'}", "-o", out)
    assert call("extract", photos, *words).code == 0
    before = vectors(out)
    with open(photos / "00a.png", "wb") as file:
        file.write(encoded(texture(99, channels=3)))
    with open(photos / "broken.png", "wb") as file:
        file.write(b"no photo")
    assert call("extract", photos, *words).code == 0
    assert names_in(out)[:2] == [b"00.png", b"00a.png"]
    assert np.array_equal(np.delete(vectors(out), 1, axis=0), before)
    assert failures(out)["broken.png"][0] == "not-an-image"
    assert "up to date" in call("extract", photos, *words).err


def test_the_same_photo_in_another_batch_has_the_same_vector(here, made):
    with Store(made("pool=gem")) as store:
        extractor = Describer(Pipeline.load(store))
        found = store.read("vectors")
    for number in (0, 1, 7):
        data = (here / "photos" / f"{number:02d}.png").read_bytes()
        assert np.abs(extractor.photo(File(data, b"", 0, 0)) - found[number]).max() < 1e-5


def test_decoding_threads_give_the_same(here, made, monkeypatch):
    """Where a device is fed by threads: on the CPU here, as if it were one."""
    from imgret.runs.describing import DescribeWorker

    monkeypatch.setattr(Cnn, "one_process", True)
    windows = []
    describe = DescribeWorker._describe
    monkeypatch.setattr(DescribeWorker, "_describe", lambda self, entries: (windows.append(len(entries)), describe(self, entries)))
    worker = DescribeWorker.__new__(DescribeWorker)
    worker.extractor = Cnn(Cnn.Params(model="squeezenet1_1", max_size=96, batch=2, weights=str(here / "weights.pth")))
    worker.extractor.settle("cpu")
    worker.setup = {"threads": 3}
    paths = sorted(os.listdir(here / "photos"))
    worker._read = lambda row, path, crashed: worker.extractor.read((here / "photos" / path).read_bytes())
    told = []
    threaded = [photo for window in worker._windows({"paths": paths}, 0, told.append) for photo in window]
    assert told == []
    careful = [photo for window in worker._windows({"paths": paths, "careful": True}, 0, told.append) for photo in window]
    assert [item for item in told if item is not None] == list(range(20))
    assert len(threaded) == len(careful) == 20
    assert all(np.array_equal(one.pixels, other.pixels) for one, other in zip(threaded, careful, strict=True))


def test_out_of_memory_takes_fewer_photos_at_a_time(here, monkeypatch):
    extractor = Cnn(Cnn.Params(model="squeezenet1_1", max_size=96, batch=8, weights=str(here / "weights.pth")))
    extractor.settle("cpu")
    photos = [extractor.read((here / "photos" / f"{number:02d}.png").read_bytes()) for number in (1, 2, 4, 5, 7)]
    expected = extractor.describe(photos)
    sizes, forward = [], extractor._vectors

    def small(batch):
        sizes.append(len(batch))
        if len(batch) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(batch)

    monkeypatch.setattr(extractor, "_vectors", small)
    assert np.abs(np.stack(extractor.describe(photos)) - np.stack(expected)).max() < 1e-5
    assert sizes == [5, 2, 3, 1, 2]
    monkeypatch.setattr(
        extractor, "_vectors", lambda batch: (_ for _ in ()).throw(RuntimeError("not enough memory: you tried to allocate"))
    )
    with pytest.raises(Exception, match="does not fit into the memory of cpu: set a smaller `max_size`$"):
        extractor.describe(photos)


def test_search_asks_for_the_same_weights(here, tmp_path, monkeypatch):
    """The index knows its weights by what is in them; their path is only where they were."""
    shutil.copy(here / "weights.pth", tmp_path / "mine.pth")
    out, index = tmp_path / "out.h5", tmp_path / "index.h5"
    assert extract(here, out, "--set", f"weights={tmp_path / 'mine.pth'}").code == 0
    assert call("index", out, "-o", index).code == 0
    query = here / "photos" / "03.png"
    first = call("search", index, query, "-k", 2, "--format", "tsv")
    assert first.lines[1].split("\t")[2:] == ["03.png", "1", "itself"]
    digest = json.loads(call("info", index, "--json").out)["pipeline"]["params"]["digest"]
    os.rename(tmp_path / "mine.pth", tmp_path / "moved.pth")
    backbones.shared.cache_clear()  # in this process it is still open
    gone = f"the weights {tmp_path / 'mine.pth'}: there is no such file; give --weights, or name its folder in IMGRET_WEIGHTS"
    refused(call("search", index, query), 1, gone)
    assert call("search", index, out, "-k", 2).code == 0  # stores need no network
    same_answers(first, call("search", index, query, "-k", 2, "--format", "tsv", "--weights", tmp_path / "moved.pth"))
    torch.manual_seed(2)
    torch.save(torchvision.models.squeezenet1_1(weights=None).state_dict(), tmp_path / "other.pth")
    result = call("search", index, query, "--weights", tmp_path / "other.pth")
    assert result.code == 1
    assert "other.pth is another file (SHA-256 " in result.err
    assert digest[:12] in result.err
    os.makedirs(tmp_path / "all")
    os.rename(tmp_path / "moved.pth", tmp_path / "all" / "mine.pth")
    monkeypatch.setenv("IMGRET_WEIGHTS", str(tmp_path / "all"))
    same_answers(first, call("search", index, query, "-k", 2, "--format", "tsv"))
    shutil.copy(tmp_path / "other.pth", tmp_path / "mine.pth")
    backbones.shared.cache_clear()
    result = call("search", index, query)
    assert result.code == 1
    assert "are another file" in result.err


def test_the_path_of_the_weights_is_part_of_no_identity(here, made, tmp_path):
    shutil.copy(here / "weights.pth", tmp_path / "elsewhere.pth")
    assert extract(here, tmp_path / "out.h5", "--set", f"weights={tmp_path / 'elsewhere.pth'}", "--set", "pool=gem").code == 0
    with Store(tmp_path / "out.h5") as store, Store(made("pool=gem")) as other:
        assert store.pipeline["places"] != other.pipeline["places"]
        assert (store.content, store.recipe, store.fingerprint) == (other.content, other.recipe, other.fingerprint)
    result = extract(here, tmp_path / "out.h5", "--set", "pool=gem")
    assert result.code == 0
    assert "is up to date" in result.err


def test_torch_and_faiss_in_one_process(here, made, tmp_path, run):
    """A search by photo: an index of faiss, queries by torch; several threads of each."""
    index = tmp_path / "index.h5"
    assert call("index", made("pool=gem"), "-o", index, "-m", "hnsw").code == 0
    words = ("search", index, here / "photos", "-k", 1, "--keep-self", "-j", 2, "--format", "tsv")
    result = run(*words, env=dict.fromkeys(ONE_THREAD, "2"), timeout=300)
    assert result.code == 0, result.err
    rows = [line.split("\t") for line in result.lines[1:]]
    assert [row[0] for row in rows] == [row[2] for row in rows]
    assert len(rows) == 20


def test_whitened_regions(here, made, tmp_path):
    projection = tmp_path / "projection.h5"
    assert call("codebook", made("pool=regions"), "-m", "pca", "--size", 24, "--set", "whiten=true", "-o", projection).code == 0
    out, index = tmp_path / "rmac.h5", tmp_path / "index.h5"
    result = extract(here, out, "--set", "pool=rmac", "-c", projection)
    assert result.code == 0, result.err
    assert vectors(out).shape == (20, 24)
    assert call("index", out, "-o", index).code == 0
    same_answers(call("search", index, here / "photos", "-k", 3, "--format", "tsv"), call("search", index, out, "-k", 3, "--format", "tsv"))
    wrong = extract(here, tmp_path / "x.h5", "--set", "pool=gem", "-c", projection)
    refused(wrong, 1, "a projection is for the regions of pool=rmac, not for pool=gem: leave -c out")
    other = extract(here, tmp_path / "x.h5", "--set", "pool=rmac", "--set", "layer=features.7", "-c", projection)
    assert other.code == 1
    assert "learned on 512 columns" in other.err
    scaled = extract(here, tmp_path / "x.h5", "--set", "pool=rmac", "--set", "range=255", "-c", projection)
    assert scaled.code == 1
    assert "was learned in another space than the regions of this network" in scaled.err
    assert not os.path.exists(tmp_path / "x.h5")


# Fusion


@pytest.fixture(scope="module")
def branches(here, made):
    """The photos through RootSIFT and VLAD, and the two stores to be joined."""
    features, words, vlad = (here / f"{name}.h5" for name in ("features", "words", "vlad"))
    for command in (
        ("extract", here / "photos", "-o", features),
        ("codebook", features, "--size", 4, "-o", words),
        ("encode", features, "-c", words, "-o", vlad),
    ):
        result = call(*command)
        assert result.code == 0, result.err
    return vlad, made("pool=gem")


def test_concat_describes_new_photos_both_ways(here, branches, tmp_path):
    vlad, gem = branches
    joined, projection, small, index = (tmp_path / f"{name}.h5" for name in ("joined", "projection", "small", "index"))
    for command in (
        ("encode", "-m", "concat", vlad, gem, "--set", "weights=1,0.5", "-o", joined),
        ("codebook", joined, "-m", "pca", "--size", 8, "-o", projection),
        ("encode", joined, "-c", projection, "-o", small),
        ("index", small, "-o", index),
    ):
        result = call(*command)
        assert result.code == 0, result.err
    expected = np.concatenate([vectors(vlad), 0.5 * vectors(gem)], axis=1) / np.sqrt(1.25)
    assert np.abs(vectors(joined) - expected).max() < 1e-6
    by_photo = call("search", index, here / "photos", "-k", 3, "--format", "tsv")
    assert by_photo.code == 0, by_photo.err
    for store in (small, joined):
        same_answers(by_photo, call("search", index, store, "-k", 3, "--format", "tsv"))
    result = call("search", index, vlad)
    assert result.code == 1
    assert "was not made as the photos in" in result.err


def test_concat_takes_what_failed_along_and_refuses_what_differs(here, branches, tmp_path):
    photos = shutil.copytree(here / "photos", tmp_path / "photos")
    with open(photos / "flat.png", "wb") as file:
        file.write(encoded(np.full((40, 40), 90, np.uint8)))
    with open(photos / "broken.png", "wb") as file:
        file.write(b"")
    features, vlad, gem, joined = (tmp_path / f"{name}.h5" for name in ("features", "vlad", "gem", "joined"))
    for command in (
        ("extract", photos, "-o", features, "--max-failed", "5"),
        ("encode", features, "-c", here / "words.h5", "-o", vlad),
        ("extract", photos, "-m", "cnn", *SMALL, "--set", f"weights={here / 'weights.pth'}", "-j1", "-o", gem, "--max-failed", "5"),
        ("encode", "-m", "concat", gem, vlad, "-o", joined),
    ):
        result = call(*command)
        assert result.code == 0, result.err
    assert len(names_in(gem)) == 21
    assert len(names_in(joined)) == 20
    assert {name: code for name, (code, _) in failures(joined).items()} == {"flat.png": "no-descriptors", "broken.png": "not-an-image"}
    assert call("info", joined, "--check").code == 0
    other = call("encode", "-m", "concat", branches[0], gem, "-o", tmp_path / "x.h5")
    text = f"the stores hold different photos: 2 of 22 are not in {branches[0]} (the first is 'broken.png'): join stores of the same photos"
    refused(other, 1, text)
    with open(photos / "03.png", "wb") as file:
        file.write(encoded(texture(77, channels=3)))
    assert call("extract", photos, "-o", features, "--max-failed", "5").code == 0
    assert call("encode", features, "-c", here / "words.h5", "-o", vlad).code == 0
    changed = call("encode", "-m", "concat", gem, vlad, "-o", tmp_path / "x.h5")
    text = f"1 photo has changed between {gem} and {vlad} (the first is '03.png'): extract them again"
    refused(changed, 1, text)


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["{vlad}"], 2, "-m concat joins vectors of the same photos: give at least two vectors stores"),
        (["{vlad}", "{gem}", "--set", "weights=1"], 1, "`weights` has 1 values for 2 inputs: give one for each"),
        (["{vlad}", "{gem}", "--set", "weights=0,0"], 2, "`weights` must not all be 0"),
        (["{vlad}", "{gem}", "-c", "{words}"], 2, "-m concat takes no codebook: leave -c out"),
        (["{vlad}", "{features}"], 1, "{features} is a features store; encode needs vectors"),
    ],
)
def test_concat_refuses(here, branches, tmp_path, arguments, code, text):
    paths = {"vlad": branches[0], "gem": branches[1], "words": here / "words.h5", "features": here / "features.h5"}
    words = [word.format(**paths) for word in arguments]
    result = call("encode", "-m", "concat", *words, "-o", tmp_path / "x.h5")
    assert result.code == code
    assert text.format(**paths) in result.err
    assert not os.path.exists(tmp_path / "x.h5")


def test_encode_needs_a_codebook_or_a_method_without(branches, tmp_path):
    vlad, _ = branches
    out = tmp_path / "x.h5"
    refused(call("encode", vlad, "-o", out), 1, f"{vlad} holds vectors: give a codebook (-c), or a method that needs none (-m concat)")
    refused(call("encode", vlad, "-m", "project", "-o", out), 2, "-m project needs a codebook: give -c")


# Learned whitening


def test_learned_whitening_from_a_csv_of_pairs(here, made, tmp_path):
    gem, pairs, words, out = made("pool=gem"), tmp_path / "pairs.csv", tmp_path / "lw.h5", tmp_path / "white.h5"
    pairs.write_text("image,group\n" + "".join(f"{number:02d}.png,{number // 4}\n" for number in range(16)) + "16.png,\n")
    result = call("codebook", gem, "-m", "lw", "--size", 8, "--pairs", pairs, "-o", words)
    assert result.code == 0, result.err
    facts = json.loads(call("info", words, "--json").out)
    assert facts["info"]["sample"] == {"drawn": 16, "groups": 4, "pairs": 24}
    assert call("encode", gem, "-c", words, "-o", out).code == 0
    assert vectors(out).shape == (20, 8)
    assert "up to date" in call("codebook", gem, "-m", "lw", "--size", 8, "--pairs", pairs, "-o", words).err
    pairs.write_text("image,group\n" + "".join(f"{number:02d}.png,{number // 2}\n" for number in range(16)))
    assert "8 x 512" not in call("codebook", gem, "-m", "lw", "--size", 8, "--pairs", pairs, "-o", words).err
    assert json.loads(call("info", words, "--json").out)["info"]["sample"]["groups"] == 8


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("image,group\n01.png,a\nnowhere.png,a\nx.png,b\n", 1, "names 2 photos that are not in {gem} ('nowhere.png', 'x.png'): "),
        ("image,group\n01.png,a\n02.png,b\n", 1, "no two photos share a group, so there is nothing that matches"),
        ("image,label\n01.png,a\n", 1, "the first line must be the header image,group"),
    ],
)
def test_pairs_that_cannot_be_used(made, tmp_path, text, code, message):
    gem, pairs = made("pool=gem"), tmp_path / "pairs.csv"
    pairs.write_text(text)
    result = call("codebook", gem, "-m", "lw", "--size", 2, "--pairs", pairs, "-o", tmp_path / "x.h5")
    assert result.code == code
    assert message.format(gem=gem) in result.err
    assert not os.path.exists(tmp_path / "x.h5")


def test_pairs_are_for_lw(made, tmp_path):
    gem, out = made("pool=gem"), tmp_path / "x.h5"
    refused(
        call("codebook", gem, "-m", "lw", "-o", out),
        2,
        "-m lw learns from photos that match: give --pairs, a CSV with the header image,group",
    )
    refused(call("codebook", gem, "-m", "pca", "--pairs", "p.csv", "-o", out), 2, "-m pca does not learn from pairs: leave --pairs out")


# What is refused


@pytest.mark.parametrize(
    ("settings", "code", "text"),
    [
        (["model=resnet51"], 2, "there is no network 'resnet51' in torchvision"),
        (["layer=layer3"], 2, "squeezenet1_1 has no layer 'layer3': choose one of features, features.0"),
        (["layer=classifier.2,features,features"], 2, "`layer` has one name twice"),
        (["pool=fc", "layer=features"], 1, "the layer 'features' of squeezenet1_1 gives a map, not a vector: choose another pool"),
        (["pool=none", "flip=true"], 2, "`flip` has no effect on local features (pool=none): leave it out"),
        (["mean=0.5"], 2, "`mean` must be three numbers, one per channel, got 1"),
        (["std=1,0,1"], 2, "`std` must be a number above 0, got 0"),
        (["scales="], 2, "`scales` must hold at least one value"),
        (["scales=100"], 2, "`scales` must be a number of at most 4.0 above 0, got 100.0"),
        (["max_size=0"], 2, "`max_size` must be an integer from 32 to 8192, got 0"),
        (["digest=abc"], 2, "`digest` must be a SHA-256 in hexadecimal"),
        (["precision=float16"], 1, "precision=float16 is for GPUs; on a CPU choose bfloat16 or float32"),
        (["weights=/nowhere/w.pth"], 1, "the weights /nowhere/w.pth: there is no such file; check the path"),
        (["pool=cam", "layer=features.3"], 2, "cam needs the map that is classified, features.3 is another: leave `layer` out"),
    ],
)
def test_settings_that_are_refused(here, tmp_path, settings, code, text):
    settings = [setting for setting in settings]
    words = ["-m", "cnn", "-o", tmp_path / "x.h5", "--device", "cpu"]
    given = {setting.split("=")[0] for setting in settings}
    for name, value in {"model": "squeezenet1_1", "max_size": "96", "weights": here / "weights.pth"}.items():
        if name not in given:
            settings.append(f"{name}={value}")
    result = call("extract", here / "photos", *words, *(word for setting in settings for word in ("--set", setting)))
    assert result.code == code, result.err
    assert text in result.err
    assert len(result.err.splitlines()) == 1
    assert not os.path.exists(tmp_path / "x.h5")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
def test_no_cuda_device(here, tmp_path):
    result = extract(here, tmp_path / "x.h5", "--device", "cuda")
    refused(result, 1, "--device cuda: there is no CUDA device that torch can use here; give --device cpu or auto")


def test_random_weights_are_said_and_recorded(here, tmp_path):
    out = tmp_path / "out.h5"
    result = extract(here, out, "--set", "weights=random", "--set", "seed=3")
    assert result.code == 0
    assert "warning: the weights of squeezenet1_1 are random (seed 3): the vectors mean little" in result.err
    with Store(out) as store:
        assert store.pipeline["places"] == {"weights": "random"}
        assert store.pipeline["params"]["seed"] == 3
        assert len(store.pipeline["params"]["digest"]) == 64
    index = tmp_path / "index.h5"
    assert call("index", out, "-o", index).code == 0
    same_answers(call("search", index, here / "photos", "-k", 2, "--format", "tsv"), call("search", index, out, "-k", 2, "--format", "tsv"))


@pytest.mark.parametrize("shape", [(1, 1), (1, 400), (400, 1), (5, 9), (31, 33), (16, 300)])
def test_photos_smaller_than_the_network_takes(here, shape):
    """They are enlarged, and padded by their border: never lost, never stretched."""
    extractor = Cnn(Cnn.Params(model="squeezenet1_1", max_size=128, weights=str(here / "weights.pth")))
    extractor.settle("cpu")
    pixels = np.random.default_rng(0).integers(0, 255, (*shape, 3), dtype=np.uint8)
    photo = extractor.read(encoded(pixels))
    assert min(photo.pixels.shape[:2]) >= extractor._network.least
    assert max(photo.pixels.shape[:2]) <= max(128, *shape)
    assert photo.size == shape[::-1]
    vector = extractor.describe([photo])[0]
    assert vector.shape == (512,)
    assert np.isfinite(vector).all()


def test_what_is_not_finite_or_zero_is_a_failed_photo(here, tmp_path):
    state = torch.load(here / "weights.pth", weights_only=True)
    for name in state:
        if name.startswith("features.12"):
            state[name] = state[name] * 0 - (1.0 if name.endswith("bias") else 0.0)
    torch.save(state, tmp_path / "dead.pth")
    photos = folder(tmp_path / "photos", 2)
    words = ("-j1", "-m", "cnn", *SMALL, "--set", f"weights={tmp_path / 'dead.pth'}", "--max-failed", "100%")
    result = call("extract", photos, *words, "-o", tmp_path / "x.h5", "--set", "pool=max")
    assert result.code == 1
    assert "no photo could be used: 0.png (no-descriptors), 1.png (no-descriptors)" in result.err
    for name in state:
        if state[name].ndim > 1:
            state[name] = torch.full_like(state[name], 1e30)
    torch.save(state, tmp_path / "huge.pth")
    words = ("-j1", "-m", "cnn", *SMALL, "--set", f"weights={tmp_path / 'huge.pth'}", "--max-failed", "100%")
    result = call("extract", photos, *words, "-o", tmp_path / "y.h5", "--set", "pool=max")
    assert result.code == 1
    assert "0.png (not-finite)" in result.err


def test_channels_and_range_follow_the_weights(here):
    """BGR, 0 to 255 less a mean is the same photo as the same network sees it after the weights' own training."""
    pixels = texture(3, 96, 96, 3)
    wanted = torch.from_numpy(pixels[:, :, ::-1].astype(np.float32)) - torch.tensor([104.0, 117.0, 123.0])
    params = Cnn.Params(
        model="squeezenet1_1",
        channels="bgr",
        range=255.0,
        mean=(104.0, 117.0, 123.0),
        std=(1.0, 1.0, 1.0),
        weights=str(here / "weights.pth"),
    )
    from imgret.networks import views

    x = views.tensor([Photo(pixels, (96, 96))], params, torch.device("cpu"))
    assert (x[0].permute(1, 2, 0) - wanted).abs().max() < 1e-4
    plain = Cnn.Params(model="squeezenet1_1", mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    x = views.tensor([Photo(pixels, (96, 96))], plain, torch.device("cpu"))
    assert (x[0].permute(1, 2, 0) - (torch.from_numpy(pixels / 255).float() - 0.5) / 0.25).abs().max() < 1e-5


# What is recorded

RECORDED = {
    **{"model": "resnet50", "layer": [], "digest": "", "seed": 0, "pool": "gem", "p": 3.0, "centre": False, "levels": 3, "classes": 64},
    **{"region_pool": "max", "patches": [128], "patch_size": 224, "max_keypoints": 0, "scales": [1.0], "flip": False, "combine": "sum"},
    **{"max_size": 512, "resize": "keep", "mean": None, "std": None, "channels": "rgb", "range": 1.0, "precision": "float32", "batch": 8},
    "dtype": "float32",
}
OF_THE_MAP = {"model", "layer", "digest", "pool", "resize", "mean", "std", "channels", "range"}
OF_VECTORS = OF_THE_MAP | {"scales", "flip", "combine"}
MEANT = {
    "avg": OF_VECTORS | {"centre"},
    "max": OF_VECTORS,
    "gem": OF_VECTORS | {"p"},
    "rmac": OF_VECTORS | {"levels"},
    "crow": OF_VECTORS,
    "cam": OF_VECTORS | {"classes"},
    "fc": OF_VECTORS,
    "none": OF_THE_MAP,
    "regions": OF_THE_MAP | {"levels", "region_pool"},
    "patches": OF_THE_MAP | {"region_pool", "patch_size"},
}


@pytest.mark.parametrize("pool", MEANT)
def test_version_1_records_the_same_of_every_pool(pool):
    """Recipes rest on it: files that were made by the same command stay up to date."""
    params = Cnn.Params.parse([f"pool={pool}"])
    assert list(params.to_json()) == list(RECORDED)
    assert params.to_json() == RECORDED | {"pool": pool}
    assert params.places() == {"weights": "imagenet"}
    assert set(params.space()) == MEANT[pool]
    assert Cnn.Params.from_json(params.to_json() | params.places()) == params
    first = [*list(RECORDED)[:2], "weights", *list(RECORDED)[2:]]
    assert [field.name for field in dataclasses.fields(Cnn.Params)][: len(first)] == first


@pytest.mark.parametrize("pool", MEANT)
def test_what_has_no_effect_is_recorded_and_means_nothing(pool):
    settings = {"p": 4.0, "centre": True, "levels": 2, "classes": 5, "region_pool": "avg", "patches": [48], "patch_size": 96}
    settings |= {"max_keypoints": 7, "dtype": "float16"}
    plain = Cnn.Params(pool=pool)
    params = Cnn.Params.from_json(plain.to_json() | settings)
    assert params.to_json() == RECORDED | {"pool": pool} | settings
    assert {name for name, value in params.space().items() if value != plain.space()[name]} == MEANT[pool] & set(settings)


@pytest.mark.parametrize(
    ("settings", "counts"),
    [
        (("pool=max",), False),
        (("pool=max", "combine=gem"), True),
        (("pool=gem",), True),
        (("pool=regions",), False),
        (("pool=regions", "region_pool=gem"), True),
        (("pool=patches", "region_pool=gem"), True),
        (("pool=none", "region_pool=gem", "combine=gem"), False),
    ],
)
def test_the_exponent_counts_where_something_is_raised_to_it(settings, counts):
    assert ("p" in Cnn.Params.parse(settings).space()) is counts


def test_a_later_pool_takes_and_records_its_own_parameters_only(monkeypatch):
    """As if these had not been there from the beginning."""
    monkeypatch.setattr(cnn, "FIRST_POOLS", ())
    others = {"centre", "levels", "classes", "region_pool", "patches", "patch_size", "max_keypoints"}
    assert set(Cnn.Params(pool="max").to_json()) == set(RECORDED) - others
    assert set(Cnn.Params(pool="none").to_json()) == set(RECORDED) - (others | {"p", "flip", "combine"}) | {"max_keypoints"}
    with pytest.raises(UsageError, match=r"^`centre` has no effect on vectors \(pool=max\): leave it out$"):
        Cnn.Params.parse(["pool=max", "centre=true"])
    with pytest.raises(UsageError, match=r"^`p` has no effect on local features \(pool=none\): leave it out$"):
        Cnn.Params(pool="none", p=2.0)


# On real photos


def test_a_trained_network_finds_paintings(data, tmp_path):
    """MobileNetV2's R-MAC on three scenes: nearly every photo finds its own scene first."""
    photos = data / "photos" / "scenes"
    settings = (
        "model=mobilenet_v2",
        f"weights={data / 'weights' / 'mobilenet_v2.pth'}",
        "mean=0.5,0.5,0.5",
        "std=0.5,0.5,0.5",
        "pool=rmac",
    )
    vectors_store, index, ranking = (tmp_path / f"{name}.h5" for name in ("vectors", "index", "ranking"))
    for command in (
        ("extract", photos / "images", "-m", "cnn", *(word for setting in settings for word in ("--set", setting)), "-o", vectors_store),
        ("index", vectors_store, "-o", index),
        ("search", index, vectors_store, "-k", "all", "-o", ranking),
    ):
        result = call(*command)
        assert result.code == 0, result.err
    result = call("evaluate", ranking, "--protocol", "groups", "--truth", photos / "groundtruth.csv", "--json")
    assert json.loads(result.out)["runs"][0]["measures"]["map"] > 0.98


def test_the_weights_are_never_the_output(here, tmp_path):
    mine = tmp_path / "mine.pth"
    shutil.copy(here / "weights.pth", mine)
    before = mine.read_bytes()
    result = extract(here, mine, "--set", f"weights={mine}", "--overwrite")
    refused(result, 1, f"{mine} is both an input and the output: choose another -o")
    result = extract(here, mine, "--overwrite")
    remedy = "imgret replaces no file that is not its own: choose another -o, or remove it"
    refused(result, 1, f"{mine} is not an imgret file (not HDF5); {remedy}")
    assert mine.read_bytes() == before


def edited(path, **changes):
    """Change the parameters in a store's pipeline, as a stranger might."""
    import h5py

    with h5py.File(path, "r+") as file:
        node = json.loads(document(file, "pipeline"))
        for name, value in changes.items():
            node["places" if name == "weights" else "params"][name] = value
        say(file, "pipeline", json.dumps(node))
    resign(path)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"layer": ["nope"]}, "the pipeline in the file cannot be run: squeezenet1_1 has no layer 'nope'"),
        ({"model": "evil"}, "the pipeline in the file cannot be run: there is no network 'evil'"),
        ({"max_size": 10**9}, "the file records a parameter that cannot be right: `max_size` must be an integer from 32 to 8192"),
        ({"scales": [4.0] * 100}, "the file records a parameter that cannot be right: `scales` takes at most 16 values, got 100"),
        ({"weights": "/dev/zero"}, "the weights /dev/zero: it is not a regular file"),
        ({"weights": 7}, "the file records a parameter that cannot be right: `weights` must be a word, got 7"),
        ({"weights": "\ud800"}, "the weights \\ud800: there is no such file"),
    ],
)
def test_a_stranger_s_index(here, made, tmp_path, changes, text):
    index = tmp_path / "index.h5"
    assert call("index", made("pool=gem"), "-o", index).code == 0
    edited(index, **changes)
    backbones.shared.cache_clear()
    result = call("search", index, here / "photos" / "00.png")
    assert result.code == 1, result.err
    assert text in result.err
    assert len(result.err.splitlines()) == 1


def test_a_larger_scale_sees_what_the_photo_has():
    """Scales are relative to the photo at `max_size`; one above 1 is taken from the photo itself, not from a reduced one."""
    from imgret.networks import views

    pixels = texture(5, 400, 300, 3)
    both = Cnn.Params(model="squeezenet1_1", max_size=200, scales=(2.0, 1.0), mean=(0.0,) * 3, std=(1.0,) * 3)
    whole = Cnn.Params(model="squeezenet1_1", max_size=400, mean=(0.0,) * 3, std=(1.0,) * 3)
    first, second = (
        [view for view, _ in views.looks(views.tensor([views.read(encoded(pixels), params, 32)], params, "cpu"), params, 32)]
        for params in (both, whole)
    )
    assert [tuple(view.shape[2:]) for view in first] == [(300, 400), (150, 200)]
    assert torch.equal(first[0], second[0])
    small = Cnn.Params(model="squeezenet1_1", max_size=400, scales=(1.0, 0.5), mean=(0.0,) * 3, std=(1.0,) * 3)
    third = [view for view, _ in views.looks(views.tensor([views.read(encoded(pixels), small, 32)], small, "cpu"), small, 32)]
    assert [tuple(view.shape[2:]) for view in third] == [(300, 400), (150, 200)]
