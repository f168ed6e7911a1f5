"""evaluate: rankings and a ground truth to scores, comparisons, and files that hold them."""

import dataclasses
import functools
import os
import urllib.parse

from imgret.errors import UsageError, counted, quoted
from imgret.evaluation import PROTOCOLS, columns, curves, records
from imgret.evaluation.comparison import evaluated
from imgret.evaluation.judgements import closed_up_lines, qrels_lines, unnamed
from imgret.inputs.rankings import read_ranking
from imgret.paths import check_apart, plain, several
from imgret.registry import load
from imgret.runs.details import tell_versions
from imgret.runs.plainfiles import PlainFile, encoded, write_together
from imgret.runs.run import Run

CURVES = {".tsv": "TSV", ".json": "JSON"}
PER_SETTING = {"--qrels": qrels_lines, "--trec-run": closed_up_lines}


def evaluate(
    rankings,
    *,
    protocol,
    settings=(),
    truth=None,
    labels=(),
    measures=None,
    conventions=False,
    normalize_names=False,
    resamples=10_000,
    seed=0,
    all_pairs=False,
    outputs=None,
    page=None,
    run=Run(),
):
    """Score rankings by a named protocol.

    Parameters
    ----------
    rankings : str or sequence of str
        Ranking stores, TREC run files, or folders of one list per query.
    protocol : str
        A name of `PROTOCOLS`.
    settings : sequence of str
        The protocol's parameters, NAME=VALUE.
    truth : str, optional
        The ground truth, where the protocol needs one.
    labels : sequence of str
        What the rankings are called, one each; without any, as they were given.
    measures : str or sequence of str, optional
        The figures to print, in this order: "map,r@1". Without it, all.
    conventions : bool
        Also compute the means under other conventions.
    normalize_names : bool
        Match names that differ from the ground truth's only in their Unicode form.
    resamples, seed : int
        Of the bootstrap and the randomisation test; 0 resamples for neither.
    all_pairs : bool
        Compare every pair of rankings, and not only each with the first; p-values are adjusted by Holm's method.
    outputs : dict of str to str, optional
        Files to write, by option; see `ScoreFiles`.
    page : imgret.runs.page.EvaluationPage, optional
        What makes the page that `--html` names.
    run : imgret.runs.run.Run

    Returns
    -------
    imgret.evaluation.comparison.Evaluation

    Raises
    ------
    ImgretError
    """
    run.in_one_piece("evaluate")
    rankings, truth = several(rankings), plain(truth)
    outputs = {option: plain(path) for option, path in (outputs or {}).items()}
    if not rankings:
        raise UsageError("give at least one ranking")
    labels = _labels(labels, len(rankings))
    kind = load(PROTOCOLS, protocol, "protocol")
    judge = kind(kind.Params.parse(settings), normalize_names)
    judge.check_truth(truth)
    names = columns.asked(measures, judge)
    if conventions and judge.primary != "map":
        raise UsageError(f"protocol {protocol} has no mean average precision: leave --conventions out")
    if all_pairs:
        _check_pairs(judge, len(rankings), resamples)
    files = ScoreFiles(outputs, [*rankings, *([] if truth is None else [truth]), *run.reads], run)
    tell_versions(run.report)
    judged = [_judged(judge, path, truth, run.report, page is not None) for path in rankings]
    for each, label in zip(judged, labels, strict=False):  # only now: what is refused is named by its file
        each.lists = each.lists.called(label)
    evaluation = evaluated(judged, resamples=resamples, seed=seed, conventions=conventions, all_pairs=all_pairs)
    shown = columns.chosen(names, judge, evaluation.results)
    evaluation = dataclasses.replace(evaluation, notes=[*evaluation.notes, *_notes(judged, outputs)], shown=shown)
    files.write(evaluation, page)
    return evaluation


def _judged(judge, path, truth, report, evidence):
    """A ranking, read and judged."""
    lists = judge.read_folder(path, truth) if os.path.isdir(path) else read_ranking(path, evidence=evidence)
    report.detail(
        f"reads {lists.label}: {counted(len(lists.query_names), 'query')}, "
        f"{counted(lists.ids.shape[1], 'rank')} each of {counted(len(lists.names), 'photo')}"
    )
    judged = judge.judge(lists, truth)
    for setting, questions in judged.asked.settings.items():
        report.detail(
            f"{lists.label}: {counted(len(questions), 'query is', 'queries are')} judged by {judge.name}"
            + (f", {setting}" if setting else "")
        )
    return judged


def _labels(labels, rankings):
    """What the rankings are called, checked: a list of one each, or an empty one."""
    labels = several(labels)
    if labels and len(labels) != rankings:
        raise UsageError(
            f"give a --label for each ranking, in their order: there are {rankings} rankings and {counted(len(labels), 'label')}"
        )
    for place, label in enumerate(labels):
        if not label.strip():
            raise UsageError("a --label must not be empty")
        if label in labels[:place]:
            raise UsageError(f"two rankings have the --label '{quoted(label)}': give each its own")
    return labels


def _check_pairs(judge, rankings, resamples):
    """Refuse to test all pairs where there is none, or no test."""
    if rankings < 2:
        raise UsageError("--all-pairs compares rankings: give at least two")
    if judge.primary is None:
        raise UsageError(f"what protocol {judge.name} reports is no mean over queries, and is not tested: leave --all-pairs out")
    if not resamples:
        raise UsageError("--all-pairs tests by resampling: give --resamples of at least 1")


def _notes(judged, outputs):
    """What a reader of the files should know."""
    if outputs.get("--curve") and os.path.splitext(outputs["--curve"])[1].lower() in curves.PICTURES:
        yield from curves.left_out(judged)
    if outputs.get("--qrels") and (count := unnamed(judged[0])):
        yield f"{count} positives that the gallery has not have no name, and no line in {outputs['--qrels']}"
    if len(judged) > 1 and (outputs.get("--qrels") or outputs.get("--trec-run")):
        yield f"--qrels and --trec-run are of the first ranking, {judged[0].lists.label}"


class ScoreFiles:
    """The files that one `evaluate` is asked for.

    Parameters
    ----------
    paths : dict of str to str or None
        By option: `--per-query`, `--curve`, `--qrels`, `--trec-run`, `--html`.
    inputs : str or sequence of str
        What is read, and never written to.
    run : imgret.runs.run.Run

    Raises
    ------
    UsageError
        If a curve's extension names no format, or two options name one file.
    ImgretError
        If one of them cannot be a file of its own: before there is any work to lose.
    """

    def __init__(self, paths, inputs, run):
        self._paths = {option: path for option, path in paths.items() if path is not None}
        self._inputs, self._run = inputs, run
        form = self._form()
        if form is not None and form not in curves.FORMS:
            raise UsageError(f"`--curve` must end in one of {', '.join(curves.FORMS)}, got '{self._paths['--curve']}'")
        check_apart(self._paths)
        for option, path in self._paths.items():
            self._file(path, option)
        curves.check(form)

    def _form(self):
        return os.path.splitext(self._paths["--curve"])[1].lower() if "--curve" in self._paths else None

    def write(self, evaluation, page=None):
        """Write them, all or none.

        Parameters
        ----------
        evaluation : imgret.evaluation.comparison.Evaluation
        page : imgret.runs.page.EvaluationPage, optional
            What is written to `--html`.

        Raises
        ------
        UsageError
            If a setting's file is one of the others.
        ImgretError
        """
        files = dict(self._contents(evaluation))
        named = {name: path for name, (path, _) in files.items()}
        check_apart(named | ({"--html": self._paths["--html"]} if "--html" in self._paths else {}))
        contents = [(self._file(path, name.partition(" ")[0]), content) for name, (path, content) in files.items()]
        if page is not None:
            for file, _ in contents:
                page.spare(file.path, file.option, evaluation)
            contents.append(page.content(evaluation))
        write_together(contents, self._run)

    def _file(self, path, option):
        form = {"--per-query": "TSV" if path.endswith(".tsv") else "JSON lines", "--curve": CURVES.get(self._form(), "a picture")}
        form |= {"--qrels": "TREC judgements", "--trec-run": "a TREC run", "--html": "HTML"}
        return PlainFile(path, option, form[option], self._inputs)

    def _contents(self, evaluation):
        """Yield what names each file, and its path and content."""
        if "--per-query" in self._paths:
            path = self._paths["--per-query"]
            lines_of = records.tsv_lines if path.endswith(".tsv") else records.json_lines
            yield "--per-query", (path, functools.partial(_blocks, lines_of, evaluation))
        if "--curve" in self._paths:
            data = curves.content(evaluation, self._form())
            yield "--curve", (self._paths["--curve"], lambda: iter([data]))
        judged = evaluation.judged[0]
        for option, lines_of in PER_SETTING.items():
            for setting in judged.asked.settings if option in self._paths else ():
                path = _path_of(self._paths[option], setting)
                yield f"{option} ({setting})", (path, functools.partial(_blocks, lines_of, judged, setting))


def _blocks(lines_of, *of):
    return encoded(lines_of(*of))


def _path_of(path, setting):
    """`FILE`, or `FILE.SETTING.EXTENSION` where there are several settings."""
    root, extension = os.path.splitext(path)
    return f"{root}.{urllib.parse.quote(setting, safe='')}{extension}" if setting else path
