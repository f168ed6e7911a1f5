"""Training for place recognition: whom a query is compared with, what a generation is taught, and the same bytes whatever happens."""

import contextlib

import numpy as np
import pytest
from helpers import call, refused
from pupils import NET, dying, sets

torch = pytest.importorskip("torch")

from test_trainable import network, photos  # noqa: E402 - after what it needs

from imgret.errors import ImgretError, UsageError  # noqa: E402
from imgret.losses.sare import SARE  # noqa: E402
from imgret.losses.sfrs import SFRS  # noqa: E402
from imgret.registry import load  # noqa: E402
from imgret.relations import Grouped, Placed, Relations  # noqa: E402
from imgret.runs.networkfiles import NetworkFile  # noqa: E402
from imgret.trainers import TRAINERS  # noqa: E402
from imgret.trainers.base import Task  # noqa: E402
from imgret.training.generations import Generations, lent  # noqa: E402
from imgret.training.steps import Steps  # noqa: E402

WEAK = ("netvlad", "sare", "sfrs")
PLACED = (*NET, "pool=netvlad", "clusters=4", "tuples=2", "negatives=2", "holdout=0.3", "rate=1e-3")
GROUPS = Grouped([(number // 4,) for number in range(12)])
FOURS = [np.arange(number // 4 * 4, number // 4 * 4 + 4) for number in range(12)]
PLACES = Placed(FOURS, FOURS, np.arange(12) // 4)
VECTORS = torch.nn.functional.normalize(torch.randn(12, 8, generator=torch.Generator().manual_seed(0)), dim=1).numpy()


def begun(method, relations=PLACES, labelled=True, **settings):
    kind = load(TRAINERS, method, "way to train")
    made = kind(kind.Params.parse((), **{"negatives": 2, **settings}))
    made.begin(Task(relations, [b"%d" % number for number in range(relations.count)], labelled, 0, 2))
    return made


def embed(photos, view=0):
    assert view == 0
    return lambda some: VECTORS[some]


def tuples(batches):
    return [batch.photos[batch.labels == label].tolist() for batch in batches for label in dict.fromkeys(batch.labels.tolist())]


def test_the_published_settings_are_the_defaults():
    for method in WEAK:
        params = load(TRAINERS, method, "way to train").Params.parse(())
        assert (params.negatives, params.tuples, params.queries, params.sampled, params.near, params.far) == (10, 4, 1000, 1000, 10, 25)
        assert (params.pool, params.clusters, params.miner, params.alone) == ("netvlad", 64, "sampled", None)
    assert load(TRAINERS, "netvlad", "").Params.parse(()).margin == 0.1
    assert load(TRAINERS, "sare", "").Params.parse(()).temperature == 0.07
    assert (params.generations, params.temperatures, params.soft_weight, params.positives) == (4, (0.07, 0.07, 0.06, 0.05), 0.5, 10)


@pytest.mark.parametrize("method", WEAK)
def test_the_match_is_the_best_potential_positive(method):
    """Of those that may match, the one that the network finds nearest; negatives are the nearest of the rest, one of a group."""
    found = tuples(begun(method).plan(1, 0, embed))
    assert sorted(query for query, *_ in found) == list(range(12))
    near = VECTORS.astype(np.float64) @ VECTORS.T
    for query, match, *negatives in found:
        own = [photo for photo in range(12) if photo // 4 == query // 4 and photo != query]
        assert match == max(own, key=lambda photo: near[query, photo])
        best = [max(range(4 * group, 4 * group + 4), key=lambda photo: near[query, photo]) for group in range(3) if group != query // 4]
        assert negatives == sorted(best, key=lambda photo: -near[query, photo])


def test_of_groups_a_match_is_drawn():
    """All of them are certain; what is taught of are the nearest all the same."""
    drawn = {(query, match) for epoch in range(1, 30) for query, match, *_ in tuples(begun("netvlad", GROUPS).plan(epoch, 0, embed))}
    assert len(drawn) == 12 * 3
    made = begun("sfrs", GROUPS, positives=3)
    made.generation = 1
    near = VECTORS.astype(np.float64) @ VECTORS.T
    for query, _, *others in tuples(made.plan(1, 0, embed)):
        assert near[query, others[0]] > near[query, others[1]]


def test_photos_that_match_none_do_not_ask():
    grouped = Grouped([*GROUPS.groups, (), ()])
    placed = Placed([*FOURS, np.array([12]), np.array([13])], [*FOURS, np.array([12]), np.array([13])], np.r_[np.arange(12) // 4, 3, 4])
    wide = np.concatenate([VECTORS, VECTORS[:2] + 0.1])
    for relations, alone, asking in ((placed, None, 12), (grouped, None, 14), (placed, True, 14), (grouped, False, 12)):
        batches = begun("sare", relations, alone=alone).plan(1, 0, lambda photos: lambda some: wide[some])
        assert sorted(query for query, *_ in tuples(batches)) == list(range(asking))


def test_without_a_truth_a_photo_matches_another_view_of_itself():
    for batch in begun("netvlad", Relations(12), labelled=False).plan(1, 0, embed):
        photos, views = batch.photos.reshape(-1, 4), batch.views.reshape(-1, 4)
        assert (photos[:, 0] == photos[:, 1]).all()
        assert (views == [1, 2, 1, 1]).all()


def test_a_generation_that_is_taught_sees_more_that_may_match():
    made = begun("sfrs", positives=2, tuples=3)
    made.generation = 1
    near = VECTORS.astype(np.float64) @ VECTORS.T
    batches = made.plan(1, 0, embed)
    assert [len(batch) for batch in batches] == [15] * 4
    for query, *rest in tuples(batches):
        own = sorted((photo for photo in range(12) if photo // 4 == query // 4 and photo != query), key=lambda photo: -near[query, photo])
        assert rest[:2] == own[:2]
    query, matching, negatives = made.examples(batches, 1)[0]
    assert (len(matching), len(negatives)) == (2, 2)


# the loss of regions


def unit(*shape, seed=0, dtype=torch.float64):
    return torch.nn.functional.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype), dim=-1)


def slow(vectors, taught, negatives, generation, params):
    """By its equations, one number at a time."""
    vectors, taught = vectors.numpy(), taught.numpy()
    query, match, first = vectors[0, 0], vectors[1, 0], params.temperatures[0]
    hard = 0
    for photo in vectors[-negatives:]:
        hardest = max(float(region @ query) for region in photo)
        hard -= np.log(np.exp(query @ match / first) / (np.exp(query @ match / first) + np.exp(hardest / first))) / negatives
    regions = [(photo, region) for photo in range(1, len(vectors) - negatives) for region in range(vectors.shape[1])]
    own = np.array([vectors[0, 0] @ vectors[place] for place in regions]) / first
    labels = np.exp([taught[0, 0] @ taught[place] / params.temperatures[generation] for place in regions])
    labels /= labels.sum()
    own = own - np.log(np.exp(own).sum())
    return hard - params.soft_weight * (labels * own).sum()


@pytest.mark.parametrize("generation", [1, 3])
def test_the_loss_of_regions_is_that_of_its_equations(generation):
    loss, vectors, taught = SFRS(), unit(1 + 3 + 2, 9, 5), unit(6, 9, 5, seed=1)
    assert float(loss(vectors, 2, taught, generation)) == pytest.approx(slow(vectors, taught, 2, generation, loss.params), rel=1e-9)


def test_soft_labels_add_up_to_one_and_are_sharper_with_each_generation():
    taught, loss = unit(11, 9, 16, seed=3), SFRS()
    labels = [loss.labels(taught, generation) for generation in range(4)]
    for each in labels:
        assert each.shape == (90,)
        assert float(each.sum()) == pytest.approx(1, abs=1e-12)
    entropy = [float(-(each * each.log()).sum()) for each in labels]
    assert entropy[0] == entropy[1] > entropy[2] > entropy[3]


def test_without_a_teacher_it_is_sare_of_whole_photos():
    vectors = unit(1 + 1 + 3, 5)
    hard = SARE(SARE.Params(treatment="independent", temperature=0.07))
    assert float(SFRS()(vectors, 3)) == pytest.approx(float(hard(vectors[None])), rel=1e-12)


def test_gradients_of_regions_are_those_of_finite_differences():
    taught = unit(5, 4, 3, seed=2)
    raw = torch.randn(5, 4, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64, requires_grad=True)
    loss = SFRS(SFRS.Params(temperatures=(0.5, 0.4), generations=2))
    assert torch.autograd.gradcheck(lambda x: loss(torch.nn.functional.normalize(x, dim=-1), 2, taught, 1), raw)


def test_within_and_beyond_do_not_cross():
    with pytest.raises(UsageError, match="^`near` is 50 m and `far` 20 m: photos between them would both match and not; set `far` to at"):
        load(TRAINERS, "netvlad", "").Params.parse((), near=50, far=20)


def test_photos_that_are_far_from_all_others():
    alone = [np.array([number]) for number in range(12)]
    with pytest.raises(ImgretError, match="^no photo to train on that may ask has one within `near` metres that may answer it, of another"):
        begun("netvlad", Placed(alone, alone, np.arange(12)))


def test_a_temperature_for_each_generation():
    with pytest.raises(UsageError, match="`temperatures` are one for each of the 3 generations, and 2 are given: set more, or fewer"):
        SFRS.Params(generations=3, temperatures=(0.1, 0.1))


# generations


def test_a_generation_begins_with_the_first_weights_and_its_teacher_never_changes():
    made = network(pool="gem")
    generations = Generations(made, 2, 3)
    assert (generations.total, [generations.of(epoch) for epoch in range(7)]) == (6, [0, 0, 0, 0, 1, 1, 1])
    assert [epoch for epoch in range(7) if generations.begins(epoch)] == [4]
    generations.begin()
    seen = photos(2)
    assert generations.taught(seen) == ()
    first = made(seen).clone()
    with torch.no_grad():
        for tensor in made.learning.values():
            tensor.mul_(1.1).add_(0.01)
    then = made(seen, regional=True).clone()
    generations.next()
    assert torch.equal(made(seen), first)
    (taught,) = generations.taught(seen)
    torch.testing.assert_close(taught, then)
    assert not taught.requires_grad
    steps = Steps(made, begun("sfrs", positives=2), {}, generations.taught)
    steps.trainer.generation = 1
    batch = steps.trainer.plan(1, 0, embed)[0]
    before = generations.state()
    steps.make([seen[number % 2] for number in range(len(batch))], batch, 0, 0.0)
    assert all(np.array_equal(before[name], array) for name, array in generations.state().items())
    assert not torch.equal(made(seen), first)
    again = Generations(made, 2, 3)
    again.restore(before)
    assert torch.equal(again.taught(seen)[0], taught)


def test_what_is_lent_comes_back():
    own, others = {"a": torch.ones(2, requires_grad=True)}, {"a": torch.zeros(2)}
    for failing in (False, True):
        with contextlib.suppress(KeyError), lent(own, others):
            assert own["a"].sum() == 0
            if failing:
                raise KeyError
        assert own["a"].sum() == 2


def test_a_step_that_is_taught_is_the_same_in_parts():
    found = []
    for micro in (3, 64):
        made = network(micro=micro, pool="gem")
        generations = Generations(made, 2, 1)
        generations.begin()
        generations.next()
        trainer = begun("sfrs", positives=2, tuples=2)
        trainer.generation = 1
        batch, seen = trainer.plan(1, 0, embed)[0], photos(12)
        inputs = [seen[photo] // (1 + photo % 3) for photo in batch.photos.tolist()]
        steps = Steps(made, trainer, {}, generations.taught)
        loss, _ = steps.make(inputs, batch, 0, 0.0)
        found.append((loss, {name: tensor.grad.clone() for name, tensor in steps.named.items()}))
    (one, whole), (other, parts) = found
    assert other == pytest.approx(one, abs=1e-5)
    for name, gradient in whole.items():
        assert (parts[name] - gradient).abs().max() <= 1e-3 * gradient.abs().max() + 1e-6, name


@pytest.mark.parametrize("method", WEAK)
def test_killed_in_any_generation_it_ends_with_the_same_bytes(pupils, tmp_path, monkeypatch, method):
    own = ("generations=3", "epochs=1", "positives=2") if method == "sfrs" else ("epochs=2",)
    command = ["train", pupils / "photos", "-m", method, "--truth", pupils / "groups.csv", *sets((*PLACED, *own)), "-j", 1]
    whole = call(*command, "-o", tmp_path / "whole.safetensors")
    assert whole.code == 0, whole.err
    done, _ = dying(monkeypatch, (1, 9, 1, 9, 100), command, tmp_path / "killed.safetensors")  # ten steps an epoch
    assert done.code == 0, done.err
    assert (tmp_path / "killed.safetensors").read_bytes() == (tmp_path / "whole.safetensors").read_bytes()
    file = NetworkFile(str(tmp_path / "whole.safetensors"))
    assert {"head.netvlad.weight", "head.netvlad.bias", "head.netvlad.centroids"} <= set(file.tensors)
    if method == "sfrs":  # each generation begins with the full rate
        rates = [rate for _, _, _, rate in file.history["steps"]]
        assert [place for place in range(30) if rates[place] == max(rates)] == [0, 10, 20]


def test_what_cannot_be_is_refused_before_any_work(pupils, tmp_path):
    done = call("train", pupils / "photos", "-m", "sfrs", "-o", tmp_path / "n.safetensors", *sets((*PLACED, "temperatures=0.1,0.1")))
    refused(done, 2, "`temperatures` are one for each of the 4 generations, and 2 are given: set more, or fewer `generations`")
