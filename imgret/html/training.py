"""The page of a training: what `training.js` shows, from what a network's file says of itself.

It is written as the report is (`page.assembled`): a static shell, JSON beside it, a script that shows it as text.
"""

import json
import os

from imgret.evaluation.result import dumps
from imgret.html import page
from imgret.html.building import Photos
from imgret.html.contract import Training
from imgret.html.report import thumbnail_texts

MOST = 12  # epochs of which examples are shown
PHOTOS = 8  # of one side of an example


def training_page(file, history, failed):
    """What `train --html` shows.

    Parameters
    ----------
    file : imgret.runs.networkfiles.NetworkFile
    history : imgret.runs.history.History
        Its history.
    failed : list of dict
        Photos that could not be used: `name`, `code`, `reason`.

    Returns
    -------
    imgret.html.contract.Training
    """
    photos, method = Photos(), file.params.get("method")
    examples = [
        (entry.epoch, photos.position(entry.query), *([photos.position(name) for name in part[:PHOTOS]] for part in _sides(entry)))
        for entry in _chosen(history)
    ]
    return Training(
        title=f"{os.path.basename(file.shown)}: {method}" if isinstance(method, str) else os.path.basename(file.shown),
        note=_note(history),
        warnings=_warnings(history),
        measure=history.measure,
        best=history.best,
        epochs=[vars(entry) for entry in history.epochs],
        steps=history.steps,
        facts=_facts(file),
        photos=photos.names,
        examples=examples,
        failed=[[entry["name"], entry["code"], entry["reason"]] for entry in failed],
    )


def blocks(path, contents, thumbnails):
    """Yield the page's bytes.

    Parameters
    ----------
    path : str
        Where it goes, for messages.
    contents : imgret.html.contract.Training
    thumbnails : dict of str to (str, bytes, (int, int)) or None
        What `imgret.html.thumbnails.Thumbnails.make` gives, by the name that the page has.

    Raises
    ------
    ImgretError
        If the page would be too large for browsers.
    """
    data = dumps(vars(contents), separators=(",", ":"))
    texts = thumbnail_texts(contents.photos, thumbnails)
    yield from page.assembled(path, "training", ("page", "training"), contents.title, data, texts, "leave --html out, and see info")


def _sides(entry):
    return entry.positives, entry.negatives


def _chosen(history):
    """The examples of some epochs: the first, the last and the best of those that have any among them, the others evenly spread."""
    epochs = list(dict.fromkeys(entry.epoch for entry in history.examples))
    if len(epochs) > MOST:
        kept = {epochs[place * (len(epochs) - 1) // (MOST - 1)] for place in range(MOST)}
        epochs = [epoch for epoch in epochs if epoch in kept or epoch == history.best]
    return [entry for entry in history.examples if entry.epoch in set(epochs)]


def _note(history):
    sentence, best = history.sentence(), history.best_entry
    if history.measure is None or best is None or best.score is None:
        return sentence
    start = history.epochs[0]
    since = f", {start.score:.4f} at the start" if best is not start and start.score is not None else ""
    kept = f"the weights are those of epoch {best.epoch}: {history.measure} {best.score:.4f}{since}"
    return "; ".join(filter(None, (sentence, kept, history.first_answers())))


def _warnings(history):
    if history.measure is None:
        return ["nothing was scored: the weights are those of the last epoch, whether they are better than the start or not"]
    if history.best == 0:
        return ["no epoch is better than the start: the weights are those that training began with"]
    return []


def _facts(file):
    """What the file says, as headings with names and values."""
    inputs = [(entry.get("path"), f"{entry.get('kind')}, content {entry.get('content')}") for entry in file.inputs]
    parts = {"what extract takes from it": _flat(file.extract), "method and recipe": _flat(file.params), "inputs": inputs}
    parts |= {"versions": _flat(file.generated_by), "identity": [("recipe", file.recipe), ("content", file.content)]}
    return [(heading, [(str(name), str(value)) for name, value in rows]) for heading, rows in parts.items()]


def _flat(values):
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value)
        else:
            yield name, value if isinstance(value, str) else json.dumps(value)
