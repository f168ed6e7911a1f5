"""evaluate: rankings and a ground truth to scores, comparisons, and files that hold them."""

import dataclasses
import os

import numpy as np

from imgret.errors import ImgretError, UsageError
from imgret.evaluation import PROTOCOLS
from imgret.evaluation.result import qualified
from imgret.evaluation.statistics import bootstrap_interval, compare
from imgret.formats.lists import RankedLists
from imgret.formats.trec import read_trec
from imgret.names import to_text
from imgret.pipeline import check_tree, from_elsewhere
from imgret.registry import load
from imgret.stages.scorefiles import ScoreFiles, unnamed
from imgret.store.reader import Store, is_hdf5

EXTREMES = 5  # queries named on each side of a comparison


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Rankings under one protocol.

    Attributes
    ----------
    protocol : imgret.evaluation.protocols.base.Protocol
    judged : list of imgret.evaluation.protocols.base.Judged
        One per ranking.
    results : list of imgret.evaluation.result.Result
        The same as numbers.
    comparisons : list of dict
        Each ranking after the first against the first, per setting; see `comparison_of`.
    notes : list of str
        What else a reader should know.
    """

    protocol: object
    judged: list
    results: list
    comparisons: list
    notes: list


def evaluate(
    rankings,
    *,
    protocol,
    settings=(),
    truth=None,
    conventions=False,
    resamples=10_000,
    seed=0,
    outputs=None,
    overwrite=False,
):
    """Score rankings by a named protocol.

    Parameters
    ----------
    rankings : sequence of str
        Ranking stores, TREC run files, or folders of one list per query.
    protocol : str
        A name of `PROTOCOLS`.
    settings : sequence of str
        The protocol's parameters, NAME=VALUE.
    truth : str, optional
        The ground truth, where the protocol needs one.
    conventions : bool
        Also compute the means under other conventions.
    resamples, seed : int
        Of the bootstrap and the randomisation test; 0 resamples for neither.
    outputs : dict of str to str, optional
        Files to write, by option; see `imgret.stages.scorefiles.ScoreFiles`.
    overwrite : bool
        Replace such files where they hold something else.

    Returns
    -------
    Evaluation

    Raises
    ------
    ImgretError
    """
    kind = load(PROTOCOLS, protocol, "protocol")
    judge = kind(kind.Params.parse(settings))
    judge.check_truth(truth)
    if conventions and judge.primary != "map":
        raise UsageError(f"protocol {protocol} has no mean average precision: leave --conventions out")
    files = ScoreFiles(outputs or {}, [*rankings, *([] if truth is None else [truth])], overwrite)
    judged = [judge.judge(_lists(judge, path, truth), truth) for path in rankings]
    results = []
    for each in judged:
        intervals = _intervals(each, resamples, seed)
        compared = each.side_by_side() if conventions else []
        results.append(dataclasses.replace(each.result(), intervals=intervals, compared=compared))
    comparisons = []
    if judge.primary is not None and resamples:
        for other in judged[1:]:
            comparisons += [row for setting in judged[0].values for row in comparison_of(judged[0], other, setting, resamples, seed)]
    evaluation = Evaluation(judge, judged, results, comparisons, list(_notes(judged, outputs or {})))
    files.write(evaluation)
    return evaluation


def _notes(judged, outputs):
    """What a reader should know beside the warnings of each ranking."""
    if len(judged) > 1 and judged[0].protocol.primary is None:
        what = "is no mean over queries: the rankings are not compared, and have no intervals"
        yield f"what protocol {judged[0].protocol.name} reports {what}"
    if outputs.get("--qrels") and (count := unnamed(judged[0])):
        yield f"{count} positives that the gallery has not have no name, and no line in {outputs['--qrels']}"
    if len(judged) > 1 and (outputs.get("--qrels") or outputs.get("--trec-run")):
        yield f"--qrels and --trec-run are of the first ranking, {judged[0].lists.label}"


def _intervals(judged, resamples, seed):
    if judged.protocol.primary is None or not resamples:
        return {}
    return {
        qualified(setting, judged.protocol.primary): bootstrap_interval(values, resamples, seed)
        for setting, values in judged.values.items()
        if len(values)
    }


def comparison_of(first, second, setting, resamples, seed):
    """Two rankings on the queries that both answer: a list of one dict, or none where they share no query.

    Parameters
    ----------
    first, second : imgret.evaluation.protocols.base.Judged
    setting : str
    resamples, seed : int

    Returns
    -------
    list of dict
        `first`, `second` (labels), `setting`, `measure`, `queries`, `only_first`, `only_second` (queries that the other does not answer),
        `difference`, `interval`, `p_value`, `better`, `worse`, `same`; `gained` and `lost`: the queries that differ most, each `query`,
        `first`, `second`.
    """
    before, after = (values_by_query(judged, setting) for judged in (first, second))
    names = [name for name in before if name in after]
    if not names:
        return []
    old, new = (np.array([values[name] for name in names]) for values in (before, after))
    found = compare(old, new, resamples, seed)
    order = np.lexsort((np.arange(len(names)), old - new))
    extremes = {}
    for side, sign, places in (("gained", 1, order), ("lost", -1, order[::-1])):
        chosen = [place for place in places[:EXTREMES] if sign * (new[place] - old[place]) > 1e-12]
        extremes[side] = [{"query": to_text(names[place]), "first": float(old[place]), "second": float(new[place])} for place in chosen]
    head = {"first": first.lists.label, "second": second.lists.label, "setting": setting, "measure": first.protocol.primary}
    alone = {"only_first": len(before) - len(names), "only_second": len(after) - len(names)}
    return [head | dataclasses.asdict(found) | alone | extremes]


def values_by_query(judged, setting):
    """The primary measure by the query's own name: dict of bytes to float."""
    questions = judged.asked.settings.get(setting, ())
    return dict(zip(map(judged.identity, questions), judged.values.get(setting, ()), strict=True))


def _lists(judge, path, truth):
    if os.path.isdir(path):
        return judge.read_folder(path, truth)
    if not os.path.exists(path):
        raise ImgretError(f"{path}: there is no such file or folder")
    if not is_hdf5(path) and not path.endswith((".h5", ".hdf5")):
        return read_trec(path)
    with Store(path, ("ranking",), "evaluate") as store:
        texts = [store.texts(name) for name in ("query_names", "query_ids", "names")]
        return RankedLists(path, *texts, store.read("ids"), store.read("scores"), boxes=_boxes(store))


def _boxes(store):
    """The boxes that the queries of a ranking asked with; None where their vectors came from elsewhere."""
    if store.has("query_box"):
        return store.read("query_box")
    if store.pipeline is None:
        return None
    check_tree(store.pipeline, store.shown)
    return None if from_elsewhere(store.pipeline) else np.full((store.sizes["Q"], 4), np.nan)
