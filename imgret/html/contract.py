"""What the page shows, as data: the names of the fields here are those that `page.js` reads from the page's JSON; `Answer.maps` alone
become `outlines` there, once the sizes of the photos are known.

Names of photos and queries are text as `imgret.names.to_text` spells them.
"""

import dataclasses

TOP, MOST = 10, 2000  # results per query, and queries, on a page


@dataclasses.dataclass(frozen=True)
class Judgement:
    """What a protocol says of one list in one setting.

    Attributes
    ----------
    ap : float or None
        The query's value of the page's measure; None where there is none.
    positives, found : int
        How many the ground truth gives, and how many of them the list has.
    first_hit : int or None
        Rank of the first, from 1, after what is taken out.
    marks : str
        A letter per result that is shown: h hit, m miss, j junk, q the query photo itself, - nothing known.
    """

    ap: float | None
    positives: int
    found: int
    first_hit: int | None
    marks: str


@dataclasses.dataclass(frozen=True)
class Answer:
    """The best results of one query in one run.

    Attributes
    ----------
    top : sequence of (int, float or None)
        Photo, as its position in the page's `photos`, and score, best first.
    settings : dict of str to Judgement
        By setting; a setting in which the query is not asked is not there, and without a protocol none is.
    matches : sequence of str or None
        What is thought of each result of `top`, in a word or two ("sure", "likely"), shown beside its score; None where nothing is. May
        be empty.
    evidence : sequence of str or None
        What was counted of each of the first results, in words ("23 inliers"); None where nothing was. May be empty.
    maps : sequence of (ndarray, shape (3, 3)), or None
        Homographies from places of the query photo to places of each of the first results, by which the query's box is drawn there. May
        be empty.
    points : sequence of (sequence of float, or None)
        Of each of the first results, the places that match: x, y in the query photo and x, y in the result, one after the other, in
        pixels. May be empty.
    """

    top: list
    settings: dict = dataclasses.field(default_factory=dict)
    matches: tuple = ()
    evidence: tuple = ()
    maps: tuple = ()
    points: tuple = ()


@dataclasses.dataclass(frozen=True)
class Query:
    """One card of the page.

    Attributes
    ----------
    name : str
        What the query is called.
    photo : int or None
        Position in the page's `photos`; None where nothing is known of it.
    box : sequence of float, or None
        x1, y1, x2, y2 of the region that asks, in pixels of the photo; None where all of it does.
    runs : sequence of Answer or None
        One per run of the page; None where the run does not answer it.
    """

    name: str
    photo: int | None
    box: list | None
    runs: list


@dataclasses.dataclass(frozen=True)
class Run:
    """One column of the page's table, and one curve per setting.

    Attributes
    ----------
    label : str
        What the ranking is called.
    summary : sequence of (str, int or float or None)
        The table's rows: name and value, whole numbers as int. The table has the rows of all runs.
    warnings : sequence of str
        One sentence each.
    curves : dict of str to sequence of float, or None
        By setting: precision at recall 0, .01, ..., 1.
    """

    label: str
    summary: list
    warnings: tuple = ()
    curves: dict | None = None


@dataclasses.dataclass(frozen=True)
class Page:
    """All that one page shows.

    Attributes
    ----------
    title : str
    protocol : str or None
        Name of the protocol; None where nothing is judged.
    conventions : dict of str to str, or None
        What the protocol fixes.
    note : str or None
        A sentence about what is not shown.
    measure : str
        What `Judgement.ap` is, as it is to be called.
    settings : sequence of str
        The protocol's settings, ("",) where it has one; `medium` is shown first, else the first.
    runs : sequence of Run
    comparison : sequence of str
        Sentences about the runs, one against the other.
    photos : sequence of str
        Names, each once; queries and results refer to positions here.
    links : sequence of str or None
        Where the file of each of `photos` is, as `imgret.html.links.link` gives it; None where only its thumbnail is shown. May be empty.
    queries : sequence of Query
    """

    title: str
    protocol: str | None = None
    conventions: dict | None = None
    note: str | None = None
    measure: str = "AP"
    settings: tuple = ("",)
    runs: tuple = ()
    comparison: tuple = ()
    photos: tuple = ()
    links: tuple = ()
    queries: tuple = ()


@dataclasses.dataclass(frozen=True)
class Training:
    """All that the page of a training shows; the names of the fields are those that `training.js` reads.

    Attributes
    ----------
    title, note : str
    warnings : sequence of str
        One sentence each.
    measure : str or None
        What was scored; None where nothing was.
    best : int
        The epoch whose weights were kept.
    epochs : sequence of dict
        `epoch`, `step`, `score`, `figures`, `loss`, `rate`: see `imgret.runs.history.Epoch`.
    steps : sequence of (int, int, float, float)
        Epoch, step, loss, rate.
    facts : sequence of (str, sequence of (str, str))
        Headings, each with names and values.
    photos : sequence of str
        Names, each once; examples refer to positions here.
    examples : sequence of (int, int, sequence of int, sequence of int)
        Epoch, the photo that asks, photos that match it, and photos that do not.
    failed : sequence of (str, str, str)
        Photos that could not be used: name, code, reason.
    """

    title: str
    note: str
    warnings: list
    measure: str | None
    best: int
    epochs: list
    steps: list
    facts: list
    photos: list
    examples: list
    failed: list
