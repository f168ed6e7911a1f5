"""Training by classes: those of a truth, those that are found, what is kept aside of them, and which loss they ask for."""

import sys

import numpy as np
import pytest
from helpers import call
from pupils import EACH, GROUPS, NET, dying, sets, trained

pytest.importorskip("torch")

from imgret.errors import ImgretError  # noqa: E402 - after what it needs
from imgret.networks import safetensors_files  # noqa: E402
from imgret.relations import NO_CLASS, Grouped, Linked, Relations  # noqa: E402
from imgret.runs.networkfiles import NetworkFile  # noqa: E402
from imgret.trainers import coclusters as clustering  # noqa: E402
from imgret.trainers.base import Task  # noqa: E402
from imgret.trainers.classification import Classification, nearest_own  # noqa: E402
from imgret.trainers.coclusters import coclusters  # noqa: E402
from imgret.training.heldout import HeldOut  # noqa: E402
from imgret.training.sides import Sides, held_photos  # noqa: E402

SETTINGS = (*NET, "batch=3", "epochs=2", "rate=1e-3", "holdout=0.3", "seen=0.5", "least=1")


def task(relations, labelled=True, seed=0):
    """What a trainer is told of some photos."""
    return Task(relations, [b"%d.jpg" % photo for photo in range(relations.count)], labelled, seed, 3)


def begun(relations, labelled=True, seed=0, **given):
    """A trainer at the beginning of a task."""
    trainer = Classification(Classification.Params(**given))
    trainer.begin(task(relations, labelled, seed))
    return trainer


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def blocks(rng, of=(12, 12, 12), noise=0.05):
    """Vectors of photos in so many blocks, each strong in features of its own, and which block each is in."""
    labels = np.repeat(np.arange(len(of)), of)
    vectors = noise * rng.random((len(labels), 4 * len(of)))
    for photo, label in enumerate(labels):
        vectors[photo, 4 * label : 4 * label + 4] += 1
    order = rng.permutation(len(labels))
    return unit(vectors)[order], labels[order]


def embedding(vectors):
    """As the loop gives it to `start`."""
    return lambda photos, view=0: lambda some: vectors[some]


def alike(one, other):
    """Whether two divisions are the same but for numbers."""
    return len(set(zip(one, other, strict=True))) == len(set(one)) == len(set(other))


# classes


def test_classes_and_what_is_left_out():
    trainer = begun(Grouped([(5,), (5,), (), (7,), (9,), (9,), (9,), ()]))
    assert trainer.labels_.tolist() == [0, 0, NO_CLASS, NO_CLASS, 1, 1, 1, NO_CLASS]
    assert trainer.notes == ["2 photos without a class are left out", "1 photo of smaller classes is left out"]
    assert begun(Grouped([(5,), (5,), (), (7,)]), least=1).labels_.tolist() == [0, 0, NO_CLASS, 1]


@pytest.mark.parametrize(
    ("relations", "text"),
    [
        (
            Grouped([(0,), (0,), (0, 1), (1,)]),
            "classification needs each photo in one class, and 1 photo is in several groups, for example '2.jpg': name one of each, or use "
            "-m smooth-ap",
        ),
        (
            Linked(4, [(0, 1)]),
            "classification learns from classes, and this truth has none: give --truth a CSV with image,group, or folders",
        ),
        (
            Grouped([(0,), (0,), (1,), ()]),
            "the photos to train on are of 1 class with 2 photos or more: there is nothing to tell apart; give photos of at least two",
        ),
    ],
)
def test_truths_without_classes(relations, text):
    with pytest.raises(ImgretError) as caught:
        begun(relations)
    assert str(caught.value) == text


def test_each_photo_once_an_epoch():
    relations = Grouped([(number % 3,) for number in range(20)] + [()])
    trainer = begun(relations, batch=8)
    orders = []
    for epoch in (1, 2):
        batches = trainer.plan(epoch, 0, None)
        assert [len(batch) for batch in batches] == [7, 7, 6]
        photos = np.concatenate([batch.photos for batch in batches])
        assert sorted(photos) == list(range(20))
        assert all((batch.views == epoch).all() and (batch.labels == relations.classes[batch.photos]).all() for batch in batches)
        orders.append(photos.tolist())
        for query, positives, negatives in trainer.examples(batches, 2):
            assert set(positives) <= set(relations.positives(query))
            assert not set(negatives) & set(relations.never(query))
    assert orders[0] != orders[1]
    assert orders[0] == np.concatenate([batch.photos for batch in begun(relations, batch=8).plan(1, 0, None)]).tolist()
    assert orders[0] != np.concatenate([batch.photos for batch in begun(relations, seed=1, batch=8).plan(1, 0, None)]).tolist()


def test_classes_begin_with_the_mean_of_their_photos():
    rng = np.random.default_rng(0)
    vectors, labels = blocks(rng)
    relations = Grouped([(int(label),) for label in labels] + [()])
    started = begun(relations).start(embedding(np.vstack([vectors, vectors[:1]])))
    wanted = unit(np.stack([sum(vectors[photo] for photo in np.flatnonzero(labels == label)) for label in range(3)]))
    np.testing.assert_allclose(started["classes"].numpy(), wanted, atol=1e-6)


# which loss


def test_nearest_own_is_leave_one_out():
    rng = np.random.default_rng(0)
    vectors, labels = unit(rng.normal(size=(30, 5))), rng.integers(0, 4, 30)
    sums = np.stack([vectors[labels == label].sum(axis=0, dtype=np.float64) for label in range(4)])
    wanted = []
    for photo in range(30):
        cosines = []
        for label in range(4):
            others = [vectors[other].astype(np.float64) for other in range(30) if labels[other] == label and other != photo]
            mean = np.mean(others, axis=0)
            cosines.append(mean @ vectors[photo] / np.linalg.norm(mean))
        wanted.append(int(np.argmax(cosines)) == labels[photo])
    assert nearest_own(vectors, labels, sums).tolist() == wanted
    assert 0 < sum(wanted) < 30


def test_the_loss_follows_from_how_classes_spread():
    rng = np.random.default_rng(0)
    vectors, labels = blocks(rng)
    tight = begun(Grouped([(int(label),) for label in labels]), loss="auto")
    tight.start(embedding(vectors))
    assert (tight.notes[-1], tight._loss.name) == (
        "loss=arcface: 100.0% of the photos are nearest the mean of their own class, which they are not part of",
        "arcface",
    )
    mixed = begun(Grouped([(int(label),) for label in rng.permutation(labels)]), loss="auto")
    mixed.start(embedding(vectors))
    assert mixed._loss.name == "softmax"
    again = begun(Relations(len(labels)), labelled=False, loss="auto")
    again.restore(mixed.state())
    assert (again._loss.name, again.labels_.tolist()) == ("softmax", mixed.labels_.tolist())


# classes that are found


def test_blocks_are_found_whatever_is_in_no_photo():
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(0)
    vectors, labels = blocks(rng)
    vectors = np.hstack([vectors, np.zeros((len(vectors), 2), np.float32)])  # features that nothing has, and a photo that has none
    vectors = np.vstack([vectors, np.zeros((1, vectors.shape[1]), np.float32)])
    found = coclusters(lambda some: vectors[some], len(vectors), 3, 2, seed=0)
    assert alike(found[:-1], labels)
    assert found[-1] == NO_CLASS
    assert (found == coclusters(lambda some: vectors[some], len(vectors), 3, 2, seed=0)).all()
    trainer = begun(Relations(len(vectors)), labelled=False, coclusters=3)
    started = trainer.start(embedding(vectors))
    assert (trainer.labels_ == found).all()
    assert trainer.notes == ["37 photos in 3 clusters, which serve as classes"]
    assert len(started["classes"]) == 3


def test_small_clusters_are_given_up_and_a_sample_speaks_for_all(monkeypatch):
    pytest.importorskip("sklearn")
    vectors, labels = blocks(np.random.default_rng(0), of=(20, 20, 2))
    found = coclusters(lambda some: vectors[some], len(vectors), 3, 5, seed=0)
    assert set(found.tolist()) == {0, 1}
    assert alike(found[labels < 2], labels[labels < 2])
    monkeypatch.setattr(clustering, "SAMPLE", 24)
    vectors, labels = blocks(np.random.default_rng(1), of=(20, 20))
    assert alike(coclusters(lambda some: vectors[some], len(vectors), 2, 2, seed=0), labels)


def test_clusters_that_cannot_be_found(monkeypatch):
    vectors, _ = blocks(np.random.default_rng(0))
    with pytest.raises(ImgretError, match="^36 photos cannot be divided into 20 clusters of 2 or more: set fewer `coclusters`$"):
        coclusters(lambda some: vectors[some], len(vectors), 20, 2, seed=0)
    monkeypatch.setitem(sys.modules, "sklearn.cluster", None)
    with pytest.raises(ImgretError, match=r"^classes are found by scikit-learn: pip install 'imgret\[train\]'; or give --truth$"):
        coclusters(lambda some: vectors[some], len(vectors), 3, 2, seed=0)


# what is kept aside


def test_a_share_of_each_class_is_kept():
    classes = np.array([0] * 20 + [1] * 5 + [2] * 3 + [NO_CLASS] * 2)
    names = [b"%d" % photo for photo in range(30)]
    kept = held_photos(classes, names, 0.2, 2, seed=0)
    assert np.bincount(classes[kept]).tolist() == [4, 2]  # of three photos none can be spared
    order = np.random.default_rng(0).permutation(30)
    again = held_photos(classes[order], [names[photo] for photo in order], 0.2, 2, seed=0)
    assert sorted(order[again]) == kept.tolist()
    assert not len(held_photos(classes, names, 0.0, 2, seed=0))
    assert not len(Classification(Classification.Params()).aside(task(Relations(9), labelled=False)))


def test_unseen_classes_decide():
    vectors = unit(np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1], [1, 0], [0, 1], [1, 0.2], [0.2, 1]]))
    relations = Grouped([(0,), (0,), (1,), (1,), (2,), (2,), (3,), (3,)])
    sides = Sides(HeldOut(relations, np.arange(4), True), HeldOut(relations, np.arange(4, 8), True))
    value, figures = sides.score(vectors)
    assert (value, figures["map"], figures["recall@1"]) == (1.0, 1.0, 1.0)
    assert (figures["seen.recall@1"], figures["seen.map"] < 0.5) == (0.0, True)
    assert (sides.told["queries"], sides.told["seen.queries"], sides.measure) == (4, 4, "map")


# the step


def test_from_photos_to_a_network(pupils, tmp_path):
    net = tmp_path / "net.safetensors"
    done = trained(pupils, net, method="classification", settings=SETTINGS)
    assert done.code == 0, done.err
    assert "imgret: 1 photo without a class is left out" in done.err
    assert "on classes that training sees" in done.err
    file = NetworkFile(str(net))
    entry = file.history["epochs"][-1]
    assert {"map", "recall@1", "first.threshold", "seen.map", "seen.recall@1", "seen.first.threshold"} <= set(entry["figures"])
    assert entry["score"] == entry["figures"]["map"]
    assert file.history["validation"] | {} == {"photos": 6, "queries": 6, "held_out": True} | {
        f"seen.{name}": value for name, value in {"photos": 2 * (GROUPS - 2), "queries": 2 * (GROUPS - 2), "held_out": True}.items()
    }
    assert len(file.history["steps"]) == 2 * -(-(GROUPS - 2) * (EACH - 2) // 3)
    assert all(name.startswith("backbone.") for name in safetensors_files.read_header(net).tensors)  # classes are not part of it


@pytest.mark.parametrize("labelled", [True, False])
def test_killed_it_goes_on_with_the_same_classes(pupils, tmp_path, monkeypatch, labelled):
    pytest.importorskip("sklearn")
    truth = ["--truth", pupils / "groups.csv"] if labelled else ["--set", "coclusters=3"]
    command = ["train", pupils / "photos", "-m", "classification", *truth, *sets((*SETTINGS, "loss=auto")), "-j", 1]
    whole = call(*command, "-o", tmp_path / "whole.safetensors")
    assert whole.code == 0, whole.err
    again, _ = dying(monkeypatch, (2, 100), command, tmp_path / "killed.safetensors", often=False)
    assert again.code == 0, again.err
    assert (tmp_path / "killed.safetensors").read_bytes() == (tmp_path / "whole.safetensors").read_bytes()


def test_pairs_are_no_classes(pupils, tmp_path):
    (tmp_path / "groups.csv").write_text("query,reference\n0-0.png,0-1.png\n1-0.png,1-1.png\n")
    (tmp_path / "photos").symlink_to(pupils / "photos")
    done = trained(tmp_path, tmp_path / "net.safetensors", method="classification", settings=SETTINGS)
    text = "classification learns from classes, and this truth has none: give --truth a CSV with image,group, or folders"
    assert done.err.endswith(f"imgret: error: {text}\n")
