"""Steps of an optimiser: a batch in parts is the batch at once, rates as they should be, and all of it kept for the next run."""

import dataclasses
import math
import types

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from test_trainable import network, photos  # noqa: E402

from imgret.errors import ImgretError  # noqa: E402 - after what it needs
from imgret.registry import load  # noqa: E402
from imgret.relations import Grouped  # noqa: E402
from imgret.trainers import TRAINERS  # noqa: E402
from imgret.trainers.base import Task  # noqa: E402
from imgret.training.batches import (  # noqa: E402
    Batch,  # noqa: E402
    packed,
    unpacked,
)
from imgret.training.course import MOST_STEPS, Course, rate_at  # noqa: E402
from imgret.training.steps import Steps  # noqa: E402

NAMES = [b"%d" % number for number in range(12)]


def trainer(method, **settings):
    """A way to train, begun on twelve photos of four groups; and a batch of its own making."""
    kind = load(TRAINERS, method, "way to train")
    params = kind.Params.parse(("model=shufflenet_v2_x0_5", "weights=random", "max_size=64"), **settings)
    made = kind(params)
    made.begin(Task(Grouped([(number // 3,) for number in range(12)]), NAMES, kind.labels != "none", 0, 2))
    return made


def vectors(photos, view=0):
    """Some for a trainer that asks for them."""
    found = np.random.default_rng(5).normal(size=(12, 1024)).astype(np.float32)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return lambda some: found[some]


def stepped(method, micro, shapes=((64, 64),), **settings):
    """The gradients of one batch, and its loss; photos take turns in having each of the shapes."""
    made = trainer(method, **settings)
    steps = Steps(network(micro=micro), made, made.start(vectors))
    (batch, *_) = made.plan(1, 0, vectors)
    inputs = [photos(1, *shapes[place % len(shapes)])[0] // (1 + number % 3) for place, number in enumerate(batch.photos.tolist())]
    loss, _ = steps.make(inputs, batch, 0, 0.0)
    return loss, {name: tensor.grad.clone() for name, tensor in steps.named.items()}


OWN = {
    "contrastive": {"tuples": 2, "negatives": 2, "miner": "random"},
    "smooth-ap": {"groups_per_batch": 3, "per_group": 2},
    "classification": {},
    "instance": {"photos": 4},
}


@pytest.mark.parametrize("method", OWN)
def test_the_gradient_of_parts_is_that_of_the_whole(method):
    one, whole = stepped(method, 64, **OWN[method])
    other, parts = stepped(method, 3, **OWN[method])
    assert other == pytest.approx(one, abs=1e-6)
    assert whole.keys() == parts.keys()
    for name, gradient in whole.items():
        scale = max(1.0, float(gradient.abs().max()))
        np.testing.assert_allclose(parts[name], gradient, atol=5e-6 * scale, err_msg=name)


def test_photos_of_several_shapes_are_one_batch():
    made = trainer("contrastive", **OWN["contrastive"])
    (batch, *_) = made.plan(1, 0, vectors)
    shapes = ((64, 64), (64, 72), (80, 64))
    inputs = [photos(1, *shapes[place % 3])[0] for place in range(len(batch))]
    loss, gradients = stepped("contrastive", 64, shapes, **OWN["contrastive"])
    whole = network()
    found = torch.cat([whole([each // (1 + number % 3)], learn=True) for each, number in zip(inputs, batch.photos.tolist(), strict=True)])
    wanted = made.loss(found, batch, {})
    assert loss == pytest.approx(wanted.item(), abs=1e-6)
    wanted.backward()
    for name, tensor in whole.learning.items():
        np.testing.assert_allclose(gradients[name], tensor.grad, atol=5e-6 * max(1.0, float(tensor.grad.abs().max())), err_msg=name)


def test_statistics_need_the_whole_batch():
    made = trainer("contrastive", **OWN["contrastive"])
    steps, (batch, *_) = Steps(network(micro=3, batch_norm="full"), made, {}), made.plan(1, 0, vectors)
    with pytest.raises(ImgretError) as caught:
        steps.make(photos(len(batch)), batch, 0, 0.0)
    assert str(caught.value).startswith("batch_norm=full needs a batch that goes through the network at once, and this one has 3 parts")


def test_nothing_to_learn_is_said():
    with pytest.raises(ImgretError) as caught:
        Steps(network(freeze="conv5", learn_head=False), trainer("contrastive"), {})
    assert str(caught.value) == "nothing is left to learn: freeze a lower layer, or a head that learns (`pool`, `embed`)"


@pytest.mark.parametrize("optimiser", ["adamw", "adam", "sgd"])
@pytest.mark.parametrize("settings", [{}, {"freeze": "stage4.2", "embed": 4}, {"batch_norm": "full"}])
def test_a_kept_state_makes_the_same_next_step(optimiser, settings):
    made = trainer("contrastive", **OWN["contrastive"])
    batches = [batch for epoch in (1, 2) for batch in made.plan(epoch, 0, vectors)][:3]

    def begun():
        return Steps(network(optimiser=optimiser, rate=1e-3, **settings), made, {"beside": torch.ones(3, 2)})

    def make(steps, number):
        batch, shown = batches[number], photos(len(batches[number]))
        if settings.get("freeze"):
            shown = list(steps.network.maps(shown))
        return steps.make(shown, batch, number, number / 3)

    steps, other = begun(), begun()
    make(steps, 0)
    make(steps, 1)
    state = {name: array.copy() for name, array in steps.state().items()}
    other.restore(state)
    assert all(np.array_equal(array, state[name]) for name, array in other.state().items())
    assert make(steps, 2) == make(other, 2)
    one, two = steps.state(), other.state()
    assert one.keys() == two.keys()
    for name, array in one.items():
        assert array.tobytes() == two[name].tobytes(), name
    assert any(not np.array_equal(array, state[name]) for name, array in one.items())


def test_rates_and_decay_of_what_learns():
    steps = Steps(network(rate=0.5, head_rate=4.0, decay=0.25), trainer("contrastive", **OWN["contrastive"]), {"beside": torch.ones(1)})
    backbone, head = steps._optimiser.param_groups
    assert (backbone["weight_decay"], head["weight_decay"]) == (0.25, 0.0)
    assert len(head["params"]) == 2
    made = trainer("contrastive", **OWN["contrastive"])
    (batch, *_) = made.plan(1, 0, vectors)
    assert steps.make(photos(len(batch)), batch, 0, 0.0)[1] == 0.5
    assert (backbone["lr"], head["lr"]) == (0.5, 2.0)


def recipe(**settings):
    """What `rate_at` reads."""
    return types.SimpleNamespace(**{"rate": 2.0, "final_rate": 0.1, "warmup": 0, "schedule": "cosine"} | settings)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.9, 1.0])
def test_rates(share):
    assert rate_at(recipe(), 5, share) == pytest.approx(2 * (0.1 + 0.9 * math.cos(math.pi * share / 2) ** 2))
    assert rate_at(recipe(schedule="exponential"), 5, share) == pytest.approx(2 * math.exp(share * math.log(0.1)))
    assert rate_at(recipe(schedule="constant"), 5, share) == 2.0
    assert rate_at(recipe(warmup=3), 3, share) == rate_at(recipe(), 3, share)


def test_a_rate_rises():
    assert [rate_at(recipe(warmup=3, schedule="constant"), step, 0.0) for step in range(5)] == [0.5, 1.0, 1.5, 2.0, 2.0]


def test_a_course_keeps_few_steps():
    course = Course(epoch=1)
    for number in range(3 * MOST_STEPS):
        course.stepped(float(number), 0.1)
    assert course.every == 4
    assert [step[1] for step in course.steps] == list(range(1, 3 * MOST_STEPS + 1, 4))
    assert (course.total, len(course.losses)) == (3 * MOST_STEPS, 3 * MOST_STEPS)
    assert course.scored(None, {}, 0.1)
    assert course.epochs[0]["loss"] == (3 * MOST_STEPS - 1) / 2


def test_the_best_is_the_first_of_equals():
    course = Course()
    assert [course.scored(score, {}, None) for score in (0.5, 0.4, 0.6, 0.6)] == [True, False, True, False]
    assert course.best == 2
    assert Course.from_json(course.to_json()) == course
    course = Course()
    assert [course.scored(None, {}, None) for _ in range(3)] == [True] * 3
    assert course.best == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"epoch": "1"},
        {"epoch": -1},
        {"epoch": True},
        {"best": 7},
        {"best": -2},
        {"every": 0},
        {"steps": {}},
        {"steps": [[1, 2]]},
        {"steps": [1]},
        {"epochs": [{"epoch": 5}]},
        {"epochs": [None]},
        {"examples": [{"query": 1}]},
        {"losses": None},
        {"other": 1},
    ],
)
def test_no_course_is_made_of_anything_else(changes):
    course = Course()
    course.scored(0.5, {}, None)
    with pytest.raises((AttributeError, LookupError, TypeError, ValueError)):
        Course.from_json(course.to_json() | changes)


def test_plans_are_kept_as_they_are():
    rng = np.random.default_rng(0)
    plan = [Batch(*rng.integers(0, 9, (3, size))) for size in (4, 1, 7)]
    for one, other in zip(plan, unpacked(packed(plan)), strict=True):
        assert all(np.array_equal(*pair) for pair in zip(dataclasses.astuple(one), dataclasses.astuple(other), strict=True))
    assert unpacked(packed(None)) is None
    assert packed([]) == {}
