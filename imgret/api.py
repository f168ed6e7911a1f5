"""imgret from Python: open what the steps make, search, describe, read rankings, evaluate; and the steps themselves.

What is here is `imgret.NAME`. A step is a function from files to one file, as on the command line, and says nothing but warnings unless
its `run` has another report.
"""

import os

from imgret import builds, ready
from imgret.errors import ImgretError, UsageError
from imgret.inputs.gallery import Gallery
from imgret.inputs.rankings import is_store, read_ranking
from imgret.opened import Codebook, Features, Hit, Index, Opened, Ranking, Vectors, Words
from imgret.runs.report import Report
from imgret.runs.run import Run
from imgret.stages.build import build
from imgret.stages.codebook import codebook
from imgret.stages.encode import encode
from imgret.stages.evaluate import evaluate
from imgret.stages.export import export
from imgret.stages.extract import extract
from imgret.stages.import_ import import_file
from imgret.stages.index import index
from imgret.stages.rerank import rerank
from imgret.stages.search import search
from imgret.stages.train import train
from imgret.store.reader import Store

__all__ = (  # the same as `imgret.API`, which may not load this module
    "open",
    "Opened",
    "Codebook",
    "Features",
    "Hit",
    "Index",
    "Ranking",
    "Vectors",
    "ImgretError",
    "Report",
    "Run",
    "build",
    "codebook",
    "encode",
    "evaluate",
    "export",
    "extract",
    "import_file",
    "index",
    "rerank",
    "search",
    "train",
)


KINDS = {"features": Features, "vectors": Vectors, "words": Words, "codebook": Codebook}


def open(path, settings=()):  # noqa: A001 - as `imgret.open` it says what it does
    """Open what a step has made.

    Parameters
    ----------
    path : str or PathLike
        A store, a TREC run, or the folder of a build, of which the index is opened; `ready:NAME` is a codebook of the package.
    settings : sequence of str
        Search-time parameters of an index, NAME=VALUE.

    Returns
    -------
    Features, Vectors, Words, Codebook, Index or Ranking

    Raises
    ------
    UsageError
        For settings of what is no index.
    ImgretError
        If there is no such file, or it is none of these.
    """
    path = builds.index_of(ready.path_of(os.fspath(path)))
    if os.path.exists(path) and not is_store(path):
        return Ranking(read_ranking(path, "imgret.open", evidence=True))
    store = Store(path)
    if settings and store.kind != "index":
        store.close()
        raise UsageError(f"{store.shown} is {store.layout.noun}: `settings` are for an index")
    if store.kind in KINDS:
        return KINDS[store.kind](store)
    store.close()
    return Index(Gallery(path, settings)) if store.kind == "index" else Ranking(read_ranking(path, "imgret.open", evidence=True))
