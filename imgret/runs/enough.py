"""Whether a build has photos enough for what learns from a row of each, before there is any work to lose."""

import os

from imgret.config import DEFAULT
from imgret.errors import ImgretError


def check_enough(plan, photos, others):
    """Refuse a build of fewer photos than something in it can be learned from.

    Local features are not counted: how many a photo has is known when it has been described.

    Parameters
    ----------
    plan : imgret.runs.plan.Plan
    photos, others : imgret.listing.Given
        What the build is of, and what else is learned from, if anything; listed only where it counts.

    Raises
    ------
    ImgretError
    """
    for need, step in sorted(((fewest(plan, each), each) for each in plan.steps), key=lambda each: -each[0]):
        taught = plan.sources(step, ("train",)) or plan.sources(step, ("inputs",)) if need > 1 else []
        if not taught or not all(_of_photos(plan, each) for each in taught) or plan.kept and os.path.exists(plan.file(step)):
            continue
        given = [others if each.others else photos for each in taught]
        if not all(given):
            continue  # what was learned before is gone on with
        count = sum(len(each.listed()) for each in given)
        if count < need:
            named = f"--learn names {count}" if taught[0].others else f"{count} were given"
            raise ImgretError(
                f"--config {plan.name}:{step.table} needs at least {need} photos to learn from, and {named}: name a folder of more by "
                f"--learn FOLDER, or take --config {DEFAULT}, which learns nothing"
            )


def fewest(plan, step):
    """Rows without which a step cannot learn, as far as its parameters tell: 1 of what learns nothing."""
    run = plan.run(step)
    if run == "codebook":
        kind, params = plan.parameters(step.table)
        return kind(params).fewest
    if run == "index" and not plan.codebooks(step):
        kind, params = plan.parameters(step.table)
        return 1 if kind.quantizer is None else kind.quantizer(params, plan.given(step.table).get("metric", "cosine")).fewest
    return 1


def _of_photos(plan, step):
    """Whether a step's file has a row for each photo."""
    return plan.run(step) == "encode" or plan.parameters(step.table)[0].gives == "vectors"
