"""Pages to look at: what `evaluate --html` and `search --html` show."""

import os

import numpy as np

from imgret.errors import ImgretError
from imgret.evaluation.result import qualified
from imgret.html import page
from imgret.html.report import is_report
from imgret.html.thumbnails import Thumbnails
from imgret.images import EXTENSIONS
from imgret.names import bare, to_text
from imgret.runs.plainfiles import PlainFile

TOP, MOST = 10, 2000  # results per query, and queries, on a page


class Photos:
    """The photos of a page, each once, by position."""

    def __init__(self):
        self.names, self._positions = [], {}

    def position(self, name):
        """Where a photo is among `names`; it is added if need be."""
        if name not in self._positions:
            self._positions[name] = len(self.names)
            self.names.append(name)
        return self._positions[name]


class EvaluationPage:
    """The page of an evaluation.

    Parameters
    ----------
    path : str
    roots : sequence of str
        Folders that photos are named relative to.
    top : int, optional
        Results per query: `TOP` by default.
    most : int, optional
        Queries on the page: `MOST` by default; of more, as many are shown, evenly spread from the worst to the best.
    jobs : int
    overwrite : bool
        Replace a file that is not a report.
    report : imgret.runs.report.Report

    Raises
    ------
    ImgretError
        If the page cannot be written there, before there is any work to lose.
    """

    def __init__(self, path, roots, top=None, most=None, *, jobs=1, overwrite=False, report):
        page.check(path, overwrite=overwrite)
        _spare_photos(path, roots)
        self._path, self._roots, self._top, self._most = path, roots, top or TOP, most or MOST
        self._thumbnails = Thumbnails(roots, jobs=jobs, cache=path)
        self._overwrite, self._report = overwrite, report

    def write(self, evaluation):
        """Write the page of an `imgret.stages.evaluate.Evaluation`."""
        judged, photos, protocol = evaluation.judged, Photos(), evaluation.protocol
        settings = list(dict.fromkeys(setting for each in judged for setting in each.asked.settings))
        names = list(dict.fromkeys(name for each in judged for name in each.identities()))
        chosen = _chosen(names, judged[0], "medium" if "medium" in settings else settings[0], self._most)
        answers = [_answers(each, set(chosen), self._top, photos) for each in judged]
        asked = _asked(judged)
        queries = [
            {
                "name": to_text(name),
                "photo": photos.position(asked[name][0]),
                "box": asked[name][1],
                "runs": [each.get(name) for each in answers],
            }
            for name in chosen
        ]
        data = {
            "title": f"{protocol.name}: {', '.join(each.lists.label for each in judged)}",
            "protocol": protocol.name,
            "conventions": protocol.conventions,
            "note": _note(len(names), len(chosen)),
            "measure": "AP" if protocol.value == "ap" else protocol.value,
            "settings": settings,
            "runs": [_run(each, result) for each, result in zip(judged, evaluation.results, strict=True)],
            "comparison": [_sentence(row) for row in evaluation.comparisons],
            "photos": [to_text(_as_file(name, self._roots)) for name in photos.names],
            "queries": queries,
        }
        page.write(self._path, data, _made(self._thumbnails, data["photos"], self._report), overwrite=self._overwrite)
        _say(self._path, data, (self._thumbnails,), self._report)


def _asked(judged):
    """query's own name -> (name of its photo, box or None): the box that it asked with, or else the ground truth's."""
    asked = {}
    for each in judged:
        for question in each.asked.questions():
            box = None if each.lists.boxes is None else _box(each.lists.boxes[question.row])
            box = box or (None if question.box is None else list(question.box))
            asked.setdefault(each.identity(question), (each.lists.query_names[question.row], box))
    return asked


def _box(corners):
    return None if np.isnan(corners).any() else [round(float(corner), 3) for corner in corners]


def _answers(judged, chosen, top, photos):
    """query's own name -> its results as the page takes them, of the chosen ones."""
    lists, answers = judged.lists, {}
    for setting, questions in judged.asked.settings.items():
        marks, values = judged.marks(setting, top), judged.values[setting]
        for question, value, mark, record in zip(questions, values, marks, judged.records(setting), strict=True):
            name = judged.identity(question)
            if name not in chosen:
                continue
            if name not in answers:
                length = min(top, int(lists.lengths[question.row]))
                ids = lists.ids[question.row, :length].tolist()
                scores = [None] * length if lists.scores is None else lists.scores[question.row, :length].tolist()
                best = [[photos.position(lists.names[photo]), _finite(score)] for photo, score in zip(ids, scores, strict=True)]
                answers[name] = {"top": best, "settings": {}}
            answers[name]["settings"][setting] = {
                "ap": None if np.isnan(value) else float(value),
                "positives": record["positives"],
                "found": record["found"],
                "first_hit": record["first_hit"],
                "marks": mark,
            }
    return answers


def _finite(score):
    return score if score is not None and np.isfinite(score) else None


def _chosen(names, judged, setting, most):
    """At most `most` queries, evenly spread over the values of the first run; in the order of `names`."""
    if len(names) <= most:
        return names
    values = dict(zip(map(judged.identity, judged.asked.settings[setting]), judged.values[setting], strict=True))
    ranked = sorted(names, key=lambda name: values.get(name, -1.0))
    kept = {ranked[place] for place in np.linspace(0, len(ranked) - 1, most).round().astype(int)}
    return [name for name in names if name in kept]


def _note(total, shown):
    if shown == total:
        return None
    return f"{shown} of {total} queries are shown, evenly spread from the worst to the best; the figures are of all"


def _run(judged, result):
    summary = list(result.measures.items())
    for name, (low, high) in result.intervals.items():
        place = next(place for place, (other, _) in enumerate(summary) if other == name)
        summary[place + 1 : place + 1] = [(f"{name} 95% low", low), (f"{name} 95% high", high)]
    summary += [(name, getattr(result, name)) for name in ("queries", "excluded", "skipped", "truncation")]
    curves = {setting: [round(value, 5) for value in curve.tolist()] for setting, curve in judged.curves().items()}
    return {"label": result.label, "summary": [list(pair) for pair in summary], "warnings": result.warnings, "curves": curves}


def _sentence(row):
    name = qualified(row["setting"], row["measure"])
    low, high = row["interval"]
    return (
        f"{row['second']} against {row['first']}: {name} {row['difference']:+.4f} (95% {low:+.4f} to {high:+.4f}), "
        f"p = {row['p_value']:.2g} by the randomisation test on {row['queries']} queries; "
        f"better on {row['better']}, worse on {row['worse']}, the same on {row['same']}"
    )


class SearchPage:
    """Gathers the answers of a search for a page.

    Parameters
    ----------
    path, roots, top, most, jobs, overwrite, report : see `EvaluationPage`
    label : str
        What was searched.
    inputs : sequence of str
        What is read, and never written to.
    """

    def __init__(self, path, roots, top=None, most=None, *, label, inputs=(), jobs=1, overwrite=False, report):
        page.check(path, overwrite=overwrite)
        _spare_photos(path, roots)
        PlainFile(path, "--html", inputs)
        self._path, self._label, self._top, self._most = path, label, top or TOP, most or MOST
        self._below, self._anywhere = (Thumbnails(where, jobs=jobs, cache=path) for where in (roots, ["/"]))
        self._overwrite, self._report = overwrite, report
        self._photos, self._asking, self._queries, self._total = Photos(), [], [], 0

    def add(self, gallery, block):
        """One more `imgret.stages.search.Block`."""
        for row, (name, photo) in enumerate(zip(block.names, block.photo_names, strict=True)):
            self._total += 1
            path = None if block.paths is None else os.path.abspath(block.paths[row])
            if path is not None and self._path_is(path):
                raise ImgretError(f"--html {self._path} is a query photo: choose another --html")
            if len(self._queries) == self._most:
                continue
            best = zip(block.ids[row, : self._top].tolist(), block.scores[row, : self._top].tolist(), strict=True)
            best = [[self._photos.position(gallery[each]), _finite(score)] for each, score in best if each >= 0]
            self._asking.append((to_text(photo), path))
            self._queries.append({"name": to_text(name), "box": _box(block.boxes[row]), "runs": [{"top": best, "settings": {}}]})

    def _path_is(self, path):
        return os.path.exists(self._path) and os.path.samefile(path, self._path)

    def write(self):
        """Write the page."""
        names = [to_text(name) for name in self._photos.names]
        made = _made(self._below, [*names, *(name for name, path in self._asking if path is None)], self._report)
        paths = [to_text(path.lstrip(b"/")) for _, path in self._asking if path is not None]
        given = _made(self._anywhere, paths, self._report)
        for query, (name, path) in zip(self._queries, self._asking, strict=True):
            query["photo"] = len(names)
            if path is not None:  # by position: it may have the name of another photo in the gallery
                made[len(names)] = given[to_text(path.lstrip(b"/"))]
            names.append(name)
        shown = len(self._queries)
        data = {
            "title": f"search in {self._label}",
            "protocol": None,
            "conventions": None,
            "note": f"the first {shown} of {self._total} queries are shown" if shown < self._total else None,
            "measure": "AP",
            "settings": [""],
            "runs": [{"label": self._label, "summary": [["queries", self._total]], "warnings": [], "curves": None}],
            "comparison": [],
            "photos": names,
            "queries": self._queries,
        }
        page.write(self._path, data, made, overwrite=self._overwrite)
        _say(self._path, data, (self._below, self._anywhere), self._report)


def _spare_photos(path, roots):
    """Refuse to write a page over what may be one of the photos, whatever the user asked for."""
    if os.path.exists(path) and not is_report(path):
        for root in roots:
            folder = os.path.realpath(root)
            if os.path.commonpath([folder, os.path.realpath(path)]) == folder:
                raise ImgretError(f"--html {path} is no report and lies in {root}, whose photos are read: choose another --html")


def _made(thumbnails, names, report):
    with report.progress(len(names), "thumbnail") as progress:
        return thumbnails.make(names, progress.update)


def _say(path, data, thumbnails, report):
    for each in thumbnails:
        if each.shortfall():
            report.warn(each.shortfall())
    report.note(f"{path}: {len(data['queries'])} queries, {len(data['photos'])} photos")


def _as_file(name, roots):
    """A photo's name as its file has it below the roots: lists by others leave the extension out, and a name may be a whole path."""
    for root in map(os.fsencode, roots):
        folder = os.path.abspath(root)
        if os.path.isabs(name) and os.path.commonpath([folder, os.path.normpath(name)]) == folder:
            return os.path.relpath(name, folder)
        if bare(name) == name:
            for extension in (b"", *EXTENSIONS, *(each.upper() for each in EXTENSIONS)):
                if os.path.isfile(os.path.join(root, name + extension)):
                    return name + extension
    return name
