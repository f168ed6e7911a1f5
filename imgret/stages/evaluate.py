"""evaluate: rankings and a ground truth to scores."""

import os

from imgret.errors import ImgretError
from imgret.evaluation import PROTOCOLS
from imgret.evaluation.lists import RankedLists, read_trec
from imgret.registry import load
from imgret.store.reader import Store, is_hdf5
from imgret.store.writer import publish, temporary_name


def evaluate(rankings, *, protocol, truth=None, per_query=None):
    """Score rankings by a named protocol.

    Parameters
    ----------
    rankings : sequence of str
        Ranking stores, TREC run files, or folders of one list per query.
    protocol : str
        A name of `PROTOCOLS`.
    truth : str, optional
        The ground truth, where the protocol needs one.
    per_query : str, optional
        A file to write JSON lines to, one per query and ranking.

    Returns
    -------
    list of imgret.evaluation.result.Result

    Raises
    ------
    ImgretError
    """
    judge = load(PROTOCOLS, protocol, "protocol")()
    judge.check_truth(truth)
    results = [judge.evaluate(_lists(judge, path, truth), truth) for path in rankings]
    if per_query is not None:
        _write_lines(per_query, [line for result in results for line in result.per_query_lines()])
    return results


def _lists(judge, path, truth):
    if os.path.isdir(path):
        return judge.read_folder(path, truth)
    if not os.path.exists(path):
        raise ImgretError(f"{path}: there is no such file or folder")
    if not is_hdf5(path) and not path.endswith((".h5", ".hdf5")):
        return read_trec(path)
    with Store(path, ("ranking",), "evaluate") as store:
        texts = [store.texts(name) for name in ("query_names", "query_ids", "names")]
        return RankedLists(path, *texts, store.read("ids"), store.read("scores"))


def _write_lines(path, lines):
    folder = os.path.dirname(os.path.abspath(path))
    temporary = temporary_name(folder)
    try:
        with open(temporary, "w", encoding="ascii") as file:
            file.writelines(line + "\n" for line in lines)
        publish(temporary, path)
    except OSError as error:
        raise ImgretError(f"{path} cannot be written: {os.strerror(error.errno)}") from None
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)
