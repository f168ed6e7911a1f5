"""What photos to train on match: any form of truth that protocols read, and rankings whose photos were verified."""

import dataclasses
import os

import numpy as np

from imgret.errors import ImgretError, UsageError, counted
from imgret.evaluation.protocols.folders import folder_of
from imgret.formats import files, placesets
from imgret.formats.groundtruth import CSV_LIMIT, read_groups
from imgret.formats.places import in_names
from imgret.formats.tables import read_pairs
from imgret.inputs.placing import placed
from imgret.inputs.rankings import read_ranking
from imgret.names import short, shown
from imgret.relations import Grouped, Linked, Relations
from imgret.store.reader import is_hdf5

WORDS = {"folders": "folders", "names": "places"}  # what is said instead of a file: the protocol of each
SETS = {"mat": "places", "msls": "places"}  # sets as they are distributed: the protocol of each
COLUMNS = {"groups": {"image", "group"}, "pairs": {"query", "reference"}, "places": {"image", "east", "north"}}
ALIASES = {"utm_east": "east", "utm_north": "north", "query_id": "query", "reference_id": "reference"}
HEADERS = "image,group or query,reference or image,east,north"


@dataclasses.dataclass(frozen=True)
class Truth:
    """Where it is said which photos match.

    Attributes
    ----------
    form : str
        "groups", "pairs", "places" (CSV files), "mat" (`dbStruct`), "msls" (a folder), "folders", "names" (positions in them), "matches" (a
        ranking) or "" for none.
    path : str or None
        The file or folder, where it is one.
    """

    form: str = ""
    path: str | None = None

    @property
    def protocol(self):
        """The name of the protocol that evaluates by it; None where there is none."""
        return (WORDS | SETS).get(self.form, self.form if self.form in COLUMNS else None)

    def entry(self):
        """How it is recorded among inputs: a list of at most one dict."""
        if self.path is None:
            return []
        if self.form == "matches":
            from imgret.store.reader import Store

            with Store(self.path) as store:
                return [store.as_input()]
        if self.form in SETS:
            return [{"path": self.path, "kind": "truth", "content": placesets.content_of(self.path)}]
        return [files.Text.read(self.path, CSV_LIMIT).as_input("truth")]

    def relations(self, names, near=10.0, far=25.0):
        """What it says of photos.

        Parameters
        ----------
        names : sequence of bytes
        near, far : float
            Metres, where positions say it: within the one photos match, beyond the other they do not.

        Returns
        -------
        imgret.relations.Relations
        list of tuple of bytes
            The groups that each photo is in, by name, where it has any; places and pairs have none.
        list of str
            What is to be noted, a sentence each.

        Raises
        ------
        ImgretError
            If it names none of the photos.
        """
        if not self.form:
            return Relations(len(names)), [()] * len(names), []
        return getattr(self, f"_{self.form}")(list(names), near, far)

    def _groups(self, names, near, far):
        truth = read_groups(self.path)
        found = dict(zip(truth.names, truth.groups, strict=True))
        groups = [found.get(name, ()) for name in names]
        return *_grouped(groups), self._strangers(names, found)

    def _folders(self, names, near, far):
        groups = [(folder,) if (folder := folder_of(name)) else () for name in names]
        if not any(groups):
            raise ImgretError(f"no photo has a folder in its name, for example {shown(names[0])}: give --truth a file, or the folder above")
        return *_grouped(groups), []

    def _pairs(self, names, near, far):
        found = read_pairs(self.path)
        linked = _link(((query, reference) for query, references in found.items() for reference in references), names)
        every = {*found, *(name for references in found.values() for name in references)}
        return self._linked(linked, names, every)

    def _matches(self, names, near, far):
        lists = read_ranking(self.path, wanted_by="train", evidence=True)
        if lists.evidence is None or not np.isfinite(lists.enough):
            raise ImgretError(f"{self.path} has no evidence of which photos match: make it by `imgret rerank -m spatial`, and give that")
        verified = lists.evidence >= lists.enough
        pairs = (
            (name, lists.names[photo])
            for row, name in enumerate(lists.query_names)
            for photo in lists.ids[row, : verified.shape[1]][verified[row]].tolist()
            if photo >= 0
        )
        return self._linked(_link(pairs, names), names, {*lists.names, *lists.query_names})

    def _linked(self, linked, names, every):
        if not linked and not every.isdisjoint(names):
            raise ImgretError(f"{self.path} pairs no two of the photos to train on: give pairs of different photos among them")
        if not linked:
            raise self._nothing(names, min(every), "matches another photo by")
        return Linked(len(names), linked), [()] * len(names), []

    def _places(self, names, near, far):
        places = placesets.read_places(self.path)
        found = places.of(names)
        if found.keys().isdisjoint(names):
            raise self._nothing(names, min(found), "has a position in")
        return self._placed(names, places, found, near, far)

    _mat = _msls = _places

    def _names(self, names, near, far):
        places = in_names(names)
        if not (found := places.of(names)):
            raise ImgretError(f"no photo has a position in its name (@east@north@), for example {shown(names[0])}: give --truth a CSV")
        return self._placed(names, places, found, near, far)

    def _placed(self, names, *given):
        relations, notes = placed(names, *given)
        return relations, [()] * len(names), notes

    def _strangers(self, names, found):
        strange = sum(name not in found for name in names)
        if strange == len(names):
            raise self._nothing(names, min(found), "is named by")
        lacking = len(found) - (len(names) - strange)
        notes = []
        if strange:
            meaning = "it is in no group, and matches nothing" if strange == 1 else "they are in no group, and match nothing"
            notes.append(f"{self.path} does not name {counted(strange, 'photo')} to train on: {meaning}")
        if lacking:
            notes.append(f"{counted(lacking, 'photo')} of {self.path} {'is' if lacking == 1 else 'are'} not among those to train on")
        return notes

    def _nothing(self, names, other, how):
        return ImgretError(
            f"no photo to train on {how} {self.path}: it names {shown(other)}, the photos are named as {shown(names[0])}; give --root, or "
            "name the folder above"
        )


def _grouped(groups):
    numbers = {group: number for number, group in enumerate(sorted({group for each in groups for group in each}))}
    return Grouped([tuple(numbers[group] for group in each) for each in groups]), groups


def _link(pairs, names):
    """Pairs of numbers, for pairs of names: as they are, or without folders and extension where that is one photo's only."""
    exact, brief = {name: number for number, name in enumerate(names)}, {}
    for number, name in enumerate(names):
        brief[short(name)] = None if short(name) in brief else number
    both = (tuple(exact.get(name, brief.get(short(name))) for name in pair) for pair in pairs)
    return [pair for pair in both if None not in pair and pair[0] != pair[1]]


def truth_of(given, option="--truth"):
    """The `Truth` that `--truth` means, or another option.

    Parameters
    ----------
    given : str or None
        A file, or "folders" or "names".

    Raises
    ------
    UsageError, ImgretError
        If it is no truth.
    """
    if given is None:
        return Truth()
    if given in WORDS and not os.path.isfile(given):
        return Truth(given)
    if (form := placesets.form_of(given)) is not None:
        return Truth(form, given)
    if os.path.isdir(given):
        raise ImgretError(f"{option} {given} is a folder: give a file, or the word folders where names say it")
    if os.path.exists(given) and not os.path.isfile(given):
        raise ImgretError(f"{option} {given} is no regular file: it is read more than once, so give a file")
    if not os.path.isfile(given):
        raise ImgretError(
            f"{option} {given}: there is no such file; it is a CSV with the header {HEADERS}, a ranking, or one of {', '.join(WORDS)}"
        )
    if is_hdf5(given):
        return Truth("matches", given)
    header = _header(given)
    for form, columns in COLUMNS.items():
        if columns <= header:
            return Truth(form, given)
    raise ImgretError(f"{option} {given}: the first line must be the header {HEADERS}")


def _header(path):
    first = next((line for _, line in files.lines(path, CSV_LIMIT)), b"")
    names = [part.strip().strip('"').lower() for part in first.decode("utf-8-sig", "replace").split(",")]
    return {ALIASES.get(name, name) for name in names}


def check_apart(training, validation):
    """Refuse photos or groups that are on both sides.

    Parameters
    ----------
    training, validation : (ndarray (N, 32) uint8, list of bytes, list of tuple of bytes)
        Digests, names and groups of the photos.

    Raises
    ------
    ImgretError
    """
    seen = {digest.tobytes() for digest in training[0]}
    both = [name for name, digest in zip(validation[1], validation[0], strict=True) if digest.tobytes() in seen]
    if both:
        raise ImgretError(
            f"{counted(len(both), 'photo')} to validate by {'is' if len(both) == 1 else 'are'} among those to train on, for example "
            f"{shown(both[0])}: a score counts on photos that training never saw; leave them out of one of both"
        )
    shared = sorted({group for each in training[2] for group in each} & {group for each in validation[2] for group in each})
    if shared:
        raise ImgretError(
            f"{counted(len(shared), 'group')} to validate by {'is' if len(shared) == 1 else 'are'} among those to train on, for example "
            f"{shown(shared[0])}: a score counts on groups that training never saw; leave them out of one of both, or name them differently"
        )


def check_use(truth, option="--validate-truth"):
    """Refuse to validate by what no protocol reads.

    Raises
    ------
    UsageError
    """
    if truth.protocol is None:
        raise UsageError(f"no protocol evaluates by {'a ranking' if truth.form else 'nothing'}: give {option} a CSV, folders or names")
