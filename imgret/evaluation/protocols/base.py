"""What a protocol is: the contract that every module beside this one fulfils."""

import abc
import dataclasses
import os

from imgret import registry
from imgret.errors import ImgretError, UsageError
from imgret.evaluation import measures
from imgret.evaluation.forms import REMEDY, differing
from imgret.evaluation.judged import Judged

ANY_FORM = "; names that differ only in their Unicode form (NFC, NFD) match"
CLASSIC = ("p@1", "p@5", "p@10", "r@1", "r@10", "r@100", "mp@1", "mp@5", "mp@10")


class Protocol(abc.ABC):
    """Fixes every convention of an evaluation.

    A protocol is one module with a subclass and one line in `PROTOCOLS`; its help, its section in docs/protocols.md, its parameters and
    its page come of that. The subclass has

    * a docstring: a line for the heading, an empty line, and a paragraph that says what asks and what counts;
    * `name` and `conventions`, and of the other attributes below those that differ;
    * `ask(lists, truth)`: reads the ground truth (by `imgret.formats`), and gives what it means for the lists as an
      `imgret.evaluation.questions.Asked`. An `imgret.evaluation.asking.Asking` makes it: it counts and words what is skipped, excluded and
      absent, so that `ask` says only what the ground truth means;
    * `_read_folder(path, truth)`: reads a folder of lists with the ground truth's names, mostly by `imgret.formats.listfolder.read_folder`;
    * where names are read from a ground truth, or matched by a part of them, `names_in` and `keys`;
    * where it has parameters, a class `Params`; where its measures are no means over queries, `judged` with a `Judged` of its own.

    No query is dropped silently, and a ranking and a ground truth that share nothing are an `ImgretError`.

    Parameters
    ----------
    params : Params, optional
    normalize_names : bool
        Match names that differ only in their Unicode form. Without it they match nothing, which is said.

    Attributes
    ----------
    name : str
    needs_truth, takes_truth : bool
        Whether a ground truth must, and whether it may, be given.
    truth_is : str
        What the ground truth is, for messages and help.
    conventions : dict of str to str
        `ap`, `positives`, `query`, `crop`, `junk`, `truncation`, `names`, `measures`.
    average_precision : callable
        One of those in `imgret.evaluation.measures`.
    removes_query : bool
        Whether the query photo itself is taken out of its list.
    primary : str or None
        The measure that statistics are about, `map` or one of `reported`; None where it is no mean over queries.
    reported : tuple of str
        The measures beside `map`, by the names of `imgret.evaluation.measures.named`; all of the form `recall@k` where `primary` is one.
    recorded : tuple of str
        Measures that each query's record has too; whole numbers.
    """

    needs_truth = False
    takes_truth = False
    truth_is = ""
    average_precision = staticmethod(measures.average_precision)
    removes_query = True
    primary = "map"
    reported = CLASSIC
    recorded = ()

    @dataclasses.dataclass(frozen=True)
    class Params(registry.Params):
        """No parameters."""

    def __init__(self, params=None, normalize_names=False):
        self.params, self.normalize_names = self.Params() if params is None else params, normalize_names
        if normalize_names:
            self.conventions = self.conventions | {"names": self.conventions["names"] + ANY_FORM}

    @property
    def figures(self):
        """Names of all measures that a result has, without its settings: tuple of str."""
        return tuple(dict.fromkeys((self.primary, *self.reported)))

    @property
    def value(self):
        """What the records call a query's own value: `ap`, or the primary measure."""
        return "ap" if self.primary in ("map", None) else self.primary

    def evaluate(self, lists, truth=None):
        """Evaluate ranked lists: `judge(lists, truth).result()`.

        Returns
        -------
        imgret.evaluation.result.Result
        """
        return self.judge(lists, truth).result()

    def judge(self, lists, truth=None):
        """Ask ranked lists what the ground truth asks.

        Parameters
        ----------
        lists : RankedLists
        truth : str or path-like, optional
            The ground truth.

        Returns
        -------
        Judged

        Raises
        ------
        UsageError
            If the protocol needs a ground truth and none is given, or the other way round.
        ImgretError
            If the ground truth is malformed, if it shares no name with the lists, if no query can be evaluated, or if a list names a photo
            twice.
        """
        self.check_truth(truth)
        if truth is not None and not os.path.isfile(truth) and not os.path.isdir(truth) and os.path.exists(truth):  # a pipe is read once
            if self.normalize_names:
                raise UsageError("--normalize-names reads --truth twice: give a file, not a pipe")
            return self.judged(lists, self.ask(lists, truth))
        found = differing(lists, lambda: self.names_in(lists, truth), self.keys)
        if not found.names:
            return self.judged(lists, self.ask(lists, truth))
        said = f"{found}: {'they are matched' if self.normalize_names else REMEDY}"
        try:
            asked = self.ask(found.lists if self.normalize_names else lists, truth)
        except ImgretError as error:
            raise ImgretError(f"{error}; {said}") from None
        return self.judged(lists, dataclasses.replace(asked, warnings=[said, *asked.warnings]))

    def searched(self, names, truth):
        """Which of some photos ask and which are searched, where photos are asked of each other: by default all of them do both.

        Parameters
        ----------
        names : list of bytes
        truth : str or path-like, or None

        Returns
        -------
        asking, searched : list of bytes
        """
        return names, names

    def names_in(self, lists, truth):
        """The names that the ranking's are matched with: by default those of the gallery, where the ground truth is in them.

        Parameters
        ----------
        lists : imgret.formats.lists.RankedLists
        truth : str or path-like, or None

        Returns
        -------
        iterable of bytes
        """
        return lists.names

    def keys(self, name):
        """What a name is matched by, a tuple: by default all of it."""
        return (name,)

    def judged(self, lists, asked):
        """The `Judged` of questions."""
        return Judged(self, lists, asked)

    def read_folder(self, path, truth=None):
        """Read a folder of one list per query (`imgret.formats.listfolder.read_folder`) with this protocol's queries and names.

        Returns
        -------
        RankedLists
        """
        self.check_truth(truth)
        return self._read_folder(path, truth)

    @abc.abstractmethod
    def ask(self, lists, truth):
        """What the ground truth asks of the lists: what each protocol is about.

        Parameters
        ----------
        lists : imgret.formats.lists.RankedLists
        truth : str or path-like, or None

        Returns
        -------
        imgret.evaluation.questions.Asked

        Raises
        ------
        ImgretError
            If the ground truth is malformed, or shares no name with the lists.
        """

    @abc.abstractmethod
    def _read_folder(self, path, truth):
        """`read_folder` of a ground truth that may be given."""

    def check_truth(self, truth):
        """Refuse a ground truth that is missing or that nobody reads, before any file is looked at.

        Raises
        ------
        UsageError
        """
        if self.needs_truth and truth is None:
            raise UsageError(f"protocol {self.name} needs --truth PATH: {self.truth_is}")
        if truth is not None and not self.takes_truth:
            raise UsageError(f"protocol {self.name} takes no --truth: {self.conventions['positives']}")
