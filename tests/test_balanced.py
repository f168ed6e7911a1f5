"""Batches of groups: who is in them, and what they cost."""

import collections

import pytest

from imgret.errors import ImgretError, UsageError
from imgret.relations import Grouped, Linked, Relations
from imgret.trainers.balanced import InfoNCE, Metric, SmoothAP
from imgret.trainers.base import Task

KINDS = (SmoothAP, InfoNCE, Metric)


def begun(kind, relations, labelled=True, seed=0, **given):
    """A trainer at the beginning of a task."""
    trainer = kind(kind.Params(**given))
    trainer.begin(Task(relations, [b"%d.jpg" % photo for photo in range(relations.count)], labelled, seed, 3))
    return trainer


def plan(trainer, epoch=1):
    return [(batch.photos.tolist(), batch.views.tolist(), batch.labels.tolist()) for batch in trainer.plan(epoch, 0, None)]


@pytest.mark.parametrize("per_group", [2, 3, 5])
def test_groups(per_group):
    """Each photo about once an epoch, with its own kind, never beside another of that kind; alone ones stay out."""
    relations = Grouped([(number // 4,) for number in range(40)] + [(), (99,)])
    trainer = begun(InfoNCE, relations, groups_per_batch=3, per_group=per_group)
    seen = collections.Counter()
    for photos, views, labels in plan(trainer, epoch=2):
        assert set(views) == {2}
        groups = collections.Counter(relations.classes[photos].tolist())
        assert len(groups) in (2, 3)
        assert all(1 < number <= per_group for number in groups.values())
        assert len(set(labels)) == len(groups)
        assert (relations.classes[labels] == relations.classes[photos]).all()
        seen.update(photos)
    assert max(seen.values()) <= 2
    assert set(seen) <= set(range(40))
    assert len(seen) >= 34  # but for a group or two at the end that found no other


def test_what_touches_is_not_side_by_side():
    """a-b and c-d hang together by b-c: a batch never has photos of both under two labels."""
    relations = Linked(10, [(0, 1), (1, 2), (2, 3), (4, 5), (6, 7), (8, 9)])
    for seed in range(20):
        for photos, _, labels in plan(begun(SmoothAP, relations, seed=seed, groups_per_batch=4, per_group=2)):
            assert len({label for photo, label in zip(photos, labels, strict=True) if photo < 4}) <= 1
            for photo, label in zip(photos, labels, strict=True):
                assert photo == label or photo in relations.positives(label)


def test_views():
    """Without a truth each photo comes once, in views that no other epoch has."""
    trainer = begun(InfoNCE, Relations(7), labelled=False, groups_per_batch=3, per_group=2)
    for epoch in (1, 2):
        batches = plan(trainer, epoch)
        seen = [photo for photos, _, _ in batches for photo in photos]
        assert len(seen) == 2 * len(set(seen)) == 12  # one photo alone tells nothing: it is left for another epoch
        assert all(views == [2 * epoch - 1, 2 * epoch] * (len(views) // 2) for _, views, _ in batches)
        assert all(photos == labels for photos, _, labels in batches)


def test_drawn_by_seed_and_epoch():
    """The same again, another order in another epoch, by another seed."""
    relations = Grouped([(number // 4,) for number in range(40)])
    one = begun(SmoothAP, relations)
    assert plan(one) == plan(begun(SmoothAP, relations))
    assert plan(one) != plan(one, 2)
    assert plan(one) != plan(begun(SmoothAP, relations, seed=1))


@pytest.mark.parametrize("kind", KINDS)
def test_loss_and_examples(kind):
    """A number with a gradient; examples say what is a match and what not."""
    import torch

    relations = Grouped([(number // 4,) for number in range(24)])
    trainer = begun(kind, relations)
    batch = trainer.plan(1, 0, None)[0]
    vectors = torch.nn.functional.normalize(torch.randn(len(batch), 8, generator=torch.Generator().manual_seed(0)), dim=1).requires_grad_()
    trainer.loss(vectors, batch, {}).backward()
    assert vectors.grad.abs().sum() > 0
    for query, positives, negatives in trainer.examples([batch], 3):
        assert set(positives) <= set(relations.positives(query))
        assert not set(negatives) & set(relations.never(query))


def test_two_kinds_only():
    """Each batch has one group of either, and an epoch is still about all photos."""
    relations = Grouped([(number % 2,) for number in range(80)])
    batches = plan(begun(InfoNCE, relations, groups_per_batch=8, per_group=4))
    assert {len(photos) for photos, _, _ in batches} == {8}
    assert len(batches) == 10


def test_refused():
    """In words."""
    with pytest.raises(
        ImgretError,
        match="^no photo to train on matches another one: groups of one photo teach nothing; give other photos or another truth$",
    ):
        begun(InfoNCE, Grouped([(0,), (1,)]))
    with pytest.raises(ImgretError, match="^all photos to train on are of one group: there are no negatives; give photos of at least two$"):
        begun(InfoNCE, Grouped([(0,), (0,)]))
    overlapping = Grouped([(0, 1), (0, 2), (1, 2)])
    with pytest.raises(
        ImgretError, match="^no two groups of photos to train on are apart from each other: there are no negatives; give more photos$"
    ):
        begun(InfoNCE, overlapping).plan(1, 0, None)
    with pytest.raises(UsageError, match="^pytorch-metric-learning has no loss 'Foo'; choose one of: AngularLoss, "):
        Metric(Metric.Params(loss="Foo"))
