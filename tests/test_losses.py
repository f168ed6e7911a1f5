"""Losses: against slow loops and pytorch-metric-learning, by finite differences, and in the corners."""

import math
import sys

import numpy as np
import pytest

from imgret.errors import ImgretError, UsageError
from imgret.losses import LOSSES, smooth_ap
from imgret.losses.base import BatchLoss, ClassLoss, TupleLoss
from imgret.registry import load

torch = pytest.importorskip("torch")
pml = pytest.importorskip("pytorch_metric_learning")

KINDS = {name: load(LOSSES, name, "loss") for name in LOSSES}
TUPLES, BATCHES, CLASSES = ([name for name, kind in KINDS.items() if issubclass(kind, base)] for base in (TupleLoss, BatchLoss, ClassLoss))
LABELS = torch.tensor([0, 1, 0, 2, 1, 0, 3, 2])  # in no order, of unequal numbers, one alone


def made(name, **given):
    return KINDS[name](KINDS[name].Params(**given))


def unit(*shape, seed=0, dtype=torch.float64):
    vectors = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.nn.functional.normalize(vectors, dim=-1).to(dtype)


def called(name, vectors, labels=LABELS, **given):
    """A loss of any kind of the vectors of a batch (tuples: two by two of four; without a teacher one of all)."""
    if name == "sfrs":
        return made(name, **given)(vectors, len(vectors) - 2)
    if name in TUPLES:
        return made(name, **given)(vectors.unflatten(0, (2, 4)))
    if name in BATCHES:
        return made(name, **given)(vectors, labels)
    return made(name, **given)(
        vectors, labels, {"classes": unit(4, vectors.shape[1], seed=7).to(torch.promote_types(vectors.dtype, torch.float32))}
    )


# slow loops


def contrastive(tuples, margin):
    total = 0
    for query, match, *negatives in tuples.tolist():
        total += math.dist(query, match) ** 2 / 2
        for negative in negatives:
            total += max(0, margin - math.dist(query, negative)) ** 2 / 2
    return total / len(tuples)


def triplet(tuples, margin):
    total = 0
    for query, match, *negatives in tuples.tolist():
        for negative in negatives:
            total += max(0, margin + math.dist(query, match) ** 2 - math.dist(query, negative) ** 2)
    return total / len(tuples)


def products(vectors, others):
    return [[sum(map(float.__mul__, one, other)) for other in others.tolist()] for one in vectors.tolist()]


def average_precision(vectors, labels, others, theirs, temperature, itself=False):
    """1 - mean AP; `itself`: a query is among what it finds."""

    def after(one, other):
        return 1 / (1 + math.exp(-(one - other) / temperature))

    found = []
    for query, scores in enumerate(products(vectors, others)):
        there = [photo for photo in range(len(others)) if itself or photo != query]
        same = [photo for photo in there if theirs[photo] == labels[query]]
        ratios = []
        for match in same:
            of_same = 1 + sum(after(scores[photo], scores[match]) for photo in same if photo != match)
            ratios.append(of_same / (1 + sum(after(scores[photo], scores[match]) for photo in there if photo != match)))
        found += [sum(ratios) / len(ratios)] if ratios else []
    return 1 - sum(found) / len(found)


def infonce(vectors, labels, others, theirs, temperature):
    found = []
    for query, scores in enumerate(products(vectors, others)):
        there = [photo for photo in range(len(others)) if photo != query]
        same = [photo for photo in there if theirs[photo] == labels[query]]
        total = sum(math.exp(scores[photo] / temperature) for photo in there)
        found += [sum(-math.log(math.exp(scores[photo] / temperature) / total) for photo in same) / len(same)] if same else []
    return sum(found) / len(found)


def classified(vectors, labels, classes, scale, harder):
    total = 0
    for scores, label in zip(products(vectors, classes), labels.tolist(), strict=True):
        logits = [scale * (harder(score) if number == label else score) for number, score in enumerate(scores)]
        total += math.log(sum(map(math.exp, logits))) - logits[label]
    return total / len(vectors)


@pytest.mark.parametrize("margin", [0.1, 0.7, 1.9])
def test_tuples(margin):
    """The formulas of contrastive and triplet loss."""
    tuples = unit(5, 6, 4)
    assert made("contrastive", margin=margin)(tuples).item() == pytest.approx(contrastive(tuples, margin), rel=1e-12)
    assert made("triplet", margin=margin)(tuples).item() == pytest.approx(triplet(tuples, margin), rel=1e-12)


@pytest.mark.parametrize("queue", [False, True])
@pytest.mark.parametrize("block", [1 << 22, 40, 1])
def test_batches(queue, block, monkeypatch):
    """The formulas of Smooth-AP and InfoNCE, with a queue and without, in blocks and as a whole."""
    monkeypatch.setattr(smooth_ap, "BLOCK", block)
    vectors, more = unit(8, 5), (unit(6, 5, seed=1), torch.tensor([3, 3, 0, 9, 9, 2]))
    others, theirs = (torch.cat([vectors, more[0]]), torch.cat([LABELS, more[1]])) if queue else (vectors, LABELS)
    for name, slow in (("smooth-ap", average_precision), ("infonce", infonce)):
        found = made(name, temperature=0.1)(vectors, LABELS, *(more if queue else ()))
        assert found.item() == pytest.approx(slow(vectors, LABELS, others, theirs, 0.1), rel=1e-12)


def test_classes():
    """The formulas of softmax, ArcFace (on either side of π - margin) and CosFace."""
    vectors, labels, classes = unit(40, 3), torch.arange(40) % 4, unit(4, 3, seed=1)
    turned = lambda score: math.cos(math.acos(score) + 0.5) if math.acos(score) < math.pi - 0.5 else score - 0.5 * math.sin(0.5)  # noqa: E731
    for name, harder in (("softmax", lambda score: score), ("arcface", turned), ("cosface", lambda score: score - 0.5)):
        given = {"scale": 8.0} | ({} if name == "softmax" else {"margin": 0.5})
        found = made(name, **given)(vectors, labels, {"classes": 3 * classes})  # directions count
        assert found.item() == pytest.approx(classified(vectors, labels, classes, 8, harder), rel=1e-9)
    assert any(
        sum(map(float.__mul__, one, classes[label].tolist())) < -math.cos(0.5)
        for one, label in zip(vectors.tolist(), labels.tolist(), strict=True)
    )


def test_as_pytorch_metric_learning_has_it():
    """Where the library has the same formula."""
    from pytorch_metric_learning import distances, losses, reducers

    vectors, labels = unit(12, 5), torch.arange(12) // 2
    assert made("infonce", temperature=0.2)(vectors, labels).item() == pytest.approx(
        losses.NTXentLoss(0.2)(vectors, labels).item(), rel=1e-9
    )
    mean = {"reducer": reducers.MeanReducer()}
    several = torch.arange(12) // 3
    found = made("infonce", temperature=0.2)(vectors, several).item()
    assert found == pytest.approx(losses.SupConLoss(0.2, **mean)(vectors, several).item(), rel=1e-9)
    weights = unit(4, 5, seed=1)
    for name, other in (
        ("softmax", losses.NormalizedSoftmaxLoss(4, 5, temperature=1 / 16)),
        ("arcface", losses.ArcFaceLoss(4, 5, margin=math.degrees(0.3), scale=16)),
        ("cosface", losses.CosFaceLoss(4, 5, margin=0.3, scale=16)),
    ):
        other.W.data = weights.T.clone()
        assert made(name)(vectors, several, {"classes": weights}).item() == pytest.approx(other(vectors, several).item(), rel=1e-9)
    squared = distances.LpDistance(normalize_embeddings=False, power=2)
    tuples = unit(1, 6, 5)
    chosen = (torch.zeros(4, dtype=int), torch.ones(4, dtype=int), torch.arange(2, 6))
    theirs = losses.TripletMarginLoss(0.9, distance=squared, reducer=reducers.SumReducer())(
        tuples[0], torch.tensor([0, 0, 1, 2, 3, 4]), chosen
    )
    assert made("triplet", margin=0.9)(tuples).item() == pytest.approx(theirs.item(), rel=1e-9)


def test_smooth_ap_of_pytorch_metric_learning():
    """It has each query among what it finds, and is right only where there are as many groups as photos of each, in order."""
    from pytorch_metric_learning.losses import SmoothAPLoss

    vectors, labels = unit(16, 5), torch.arange(16) // 4
    slow = average_precision(vectors, labels, vectors, labels, 0.1, itself=True)
    assert SmoothAPLoss(0.1)(vectors, labels).item() == pytest.approx(slow, rel=1e-6)
    labels = torch.arange(16) // 2
    slow = average_precision(vectors, labels, vectors, labels, 0.1, itself=True)
    assert SmoothAPLoss(0.1)(vectors, labels).item() != pytest.approx(slow, rel=1e-3)


@pytest.mark.parametrize("name", LOSSES)
def test_contract(name):
    """One number, the same again, whatever the order; float32 and bfloat16 agree; gradients are those of finite differences."""
    vectors = unit(8, 5).requires_grad_()
    found = called(name, vectors)
    assert found.shape == ()
    assert found.item() == called(name, vectors).item() > 0
    if name not in (*TUPLES, "sfrs"):
        order = torch.tensor([5, 2, 7, 0, 1, 6, 3, 4])
        assert called(name, vectors[order], LABELS[order]).item() == pytest.approx(found.item(), rel=1e-12)
    for dtype in (torch.float32, torch.bfloat16):
        found = called(name, vectors.detach().to(dtype))
        assert found.dtype == torch.float32
        assert found.item() == pytest.approx(called(name, vectors.detach().to(dtype).double()).item(), rel=1e-4)
    given = {"temperature": 0.1} if name == "smooth-ap" else {}
    assert torch.autograd.gradcheck(lambda given_vectors: called(name, given_vectors, **given), vectors, atol=1e-6)


@pytest.mark.parametrize("name", ["smooth-ap", "infonce"])
def test_gradients_with_a_queue(name, monkeypatch):
    """In blocks; the queue takes none."""
    monkeypatch.setattr(smooth_ap, "BLOCK", 60)
    queue = unit(6, 5, seed=1), torch.tensor([3, 3, 0, 9, 9, 2])
    assert torch.autograd.gradcheck(lambda vectors: made(name, temperature=0.1)(vectors, LABELS, *queue), unit(8, 5).requires_grad_())


@pytest.mark.parametrize("name", CLASSES)
def test_gradients_of_classes(name):
    """What is learned beside the network has gradients of its own."""
    classes = unit(4, 5, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda learned: made(name)(unit(8, 5), LABELS, {"classes": learned}), classes)


@pytest.mark.parametrize("name", BATCHES)
@pytest.mark.parametrize("labels", [torch.arange(8), torch.zeros(1, dtype=int)])
def test_no_match(name, labels):
    """Nothing to learn: 0, and a gradient of zeros."""
    vectors = unit(len(labels), 5).requires_grad_()
    found = called(name, vectors, labels)
    found.backward()
    assert found.item() == 0
    assert (vectors.grad == 0).all()


@pytest.mark.parametrize("name", LOSSES)
def test_equal_and_opposite_vectors(name):
    """Distances of 0 and of 2, angles of 0 and π: numbers, and gradients that are numbers."""
    same = unit(1, 5, dtype=torch.float32).repeat(8, 1)
    for vectors in (same, same * torch.tensor([1, -1] * 4)[:, None]):
        vectors.requires_grad_()
        found = called(name, vectors) if name not in CLASSES else made(name)(vectors, LABELS, {"classes": vectors.detach()[:4]})
        found.backward()
        assert math.isfinite(found.item())
        assert vectors.grad.isfinite().all()


def test_large_logits():
    """The softmax of the smallest temperature is still one."""
    vectors = unit(8, 5, dtype=torch.float32)
    slow = max(1e-3, made("infonce", temperature=0.001)(vectors, LABELS).item())
    assert slow == pytest.approx(made("infonce", temperature=0.001)(vectors.double(), LABELS).item(), rel=1e-3)


@pytest.mark.parametrize("name", ["arcface", "cosface"])
def test_margins_fall_with_the_angle(name):
    """What counts as the right cosine is below it, and falls with the angle, beyond π - margin too."""
    cosines = torch.cos(torch.linspace(0, math.pi, 1000, dtype=torch.float64))
    found = made(name, margin=0.4)._harder(cosines)
    assert (found <= cosines).all()
    assert (found.diff() < 1e-6).all()


@pytest.mark.parametrize("name", CLASSES)
def test_start(name):
    """The mean direction of each class."""
    vectors, labels = unit(9, 4).numpy().astype(np.float16), np.arange(9) % 3
    classes = made(name).start(vectors, labels, 3)["classes"]
    assert classes.dtype == torch.float32
    for label in range(3):
        mean = vectors[labels == label].astype(np.float64).mean(axis=0)
        assert classes[label].numpy() == pytest.approx(mean / np.linalg.norm(mean), abs=1e-6)


@pytest.mark.parametrize(
    ("name", "given", "text"),
    [
        ("contrastive", {"margin": 0.0}, "`margin` must be a number of at most 2.0 above 0.0, got 0.0"),
        ("contrastive", {"margin": 2.5}, "`margin` must be a number of at most 2.0 above 0.0, got 2.5"),
        ("triplet", {"margin": 5.0}, "`margin` must be a number of at most 4.0 above 0.0, got 5.0"),
        ("smooth-ap", {"temperature": 0.0}, "`temperature` must be a number from 0.0001 to 10.0, got 0.0"),
        ("infonce", {"temperature": math.nan}, "`temperature` must be a number from 0.001 to 10.0, got nan"),
        ("softmax", {"scale": 0.0}, "`scale` must be a number of at most 1000.0 above 0.0, got 0.0"),
        ("arcface", {"margin": 1.6}, "`margin` must be a number from 0.0 to 1.5, got 1.6"),
        ("cosface", {"margin": -0.1}, "`margin` must be a number from 0.0 to 1.5, got -0.1"),
        ("pml", {"miner_options": ("epsilon=1",)}, "`miner_options` without a `miner`: name one, or leave them out"),
        ("pml", {"loss_options": ("alpha",)}, "options of MultiSimilarityLoss are NAME=VALUE, got 'alpha'"),
        ("pml", {"loss_options": ("a=1",)}, "MultiSimilarityLoss has no option `a`; it has: alpha, beta, base"),
        ("pml", {"loss_options": ("alpha=x",)}, "`alpha` of MultiSimilarityLoss must be a number, true, false or none, got 'x'"),
        ("pml", {"loss_options": ("alpha=1", "alpha=2")}, "`alpha` is given twice"),
        ("pml", {"loss": "RankedListLoss"}, "RankedListLoss needs `margin` and `Tn` among its options"),
        (
            "pml",
            {"loss": "MarginLoss", "loss_options": ("learn_beta=true",)},
            "MarginLoss with these options learns something of its own, ",
        ),
        (
            "pml",
            {"loss": "HistogramLoss", "loss_options": ("n_bins=x",)},
            "`n_bins` of HistogramLoss must be a number, true, false or none",
        ),
        (
            "pml",
            {"loss": "ArcFaceLoss"},
            "ArcFaceLoss of pytorch-metric-learning learns vectors of its own, as classification does; choose",
        ),
        (
            "pml",
            {"loss": "VICRegLoss"},
            "VICRegLoss of pytorch-metric-learning takes no labels; choose one of: AngularLoss, CircleLoss, ",
        ),
        ("pml", {"loss": "os"}, "pytorch-metric-learning has no loss 'os'; choose one of: AngularLoss, CircleLoss, ContrastiveLoss, "),
        ("pml", {"miner": "Hard"}, "pytorch-metric-learning has no miner 'Hard'; choose one of: AngularMiner, BatchEasyHardMiner, "),
    ],
)
def test_refused(name, given, text):
    """In words, before any file is looked at."""
    with pytest.raises(UsageError) as error:
        made(name, **given)
    assert str(error.value).startswith(text)


def test_library():
    """Options reach the loss, the miner chooses, what is drawn depends on the labels alone and leaves all generators as they were."""
    from pytorch_metric_learning import losses, miners

    vectors = unit(8, 5)
    found = called("pml", vectors, loss="MultiSimilarityLoss", loss_options=("alpha=1", "beta=20.0"))
    assert found.item() == losses.MultiSimilarityLoss(alpha=1, beta=20.0)(vectors, LABELS).item()
    found = called("pml", vectors, loss="TripletMarginLoss", miner="BatchHardMiner")
    assert found.item() == losses.TripletMarginLoss()(vectors, LABELS, miners.BatchHardMiner()(vectors, LABELS)).item()
    drawing = {"loss": "TripletMarginLoss", "loss_options": ("triplets_per_anchor=2", "margin=1"), "miner": "DistanceWeightedMiner"}
    torch.manual_seed(3)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002 - the library's
    one = called("pml", vectors, **drawing).item()
    assert (torch.get_rng_state() == before[0]).all()
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002 - the library's
    torch.manual_seed(4)
    assert called("pml", vectors, **drawing).item() == one


def test_library_with_a_queue():
    """Photos of the queue are compared with, and a photo is still not its own match."""
    from pytorch_metric_learning import losses

    vectors, more = unit(8, 5), (unit(6, 5, seed=1), torch.tensor([3, 3, 0, 9, 9, 2]))
    found = made("pml", loss="NTXentLoss", loss_options=("temperature=0.2",))(vectors, torch.arange(8), more[0], torch.arange(6))
    slow = made("infonce", temperature=0.2)(vectors, torch.arange(8), more[0], torch.arange(6))
    assert found.item() == pytest.approx(slow.item(), rel=1e-9)
    with pytest.raises(
        ImgretError, match=r"^FastAPLoss cannot take this batch \(ref_emb is not supported for this loss function\): choose"
    ):
        made("pml", loss="FastAPLoss")(vectors, LABELS, *more)
    assert losses.FastAPLoss()(vectors, LABELS).item() == made("pml", loss="FastAPLoss")(vectors, LABELS).item()


def test_every_loss_of_the_library():
    """Each takes a batch, or says in a sentence that it does not."""
    from pytorch_metric_learning import losses

    from imgret.losses.pml import fitting

    for name in fitting(losses):
        options = {"RankedListLoss": ("margin=0.4", "Tn=1")}.get(name, ())
        vectors = unit(12, 5, dtype=torch.float32).requires_grad_()
        called("pml", vectors, torch.arange(12) // 3, loss=name, loss_options=options).backward()
        assert vectors.grad.isfinite().all()


def test_library_missing(monkeypatch):
    """How to get it."""
    monkeypatch.setitem(sys.modules, "pytorch_metric_learning", None)
    with pytest.raises(ImgretError, match=r"^losses by name need pytorch-metric-learning: pip install 'imgret\[train\]'$"):
        made("pml")


@pytest.mark.parametrize("name", LOSSES)
def test_said_of_itself(name):
    """Name and docstring."""
    assert KINDS[name].name == name
    assert KINDS[name].__doc__
