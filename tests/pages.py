"""What report pages show, for their tests: with and without a browser."""

import os

from helpers import photo

from imgret.html import page
from imgret.html.contract import Answer, Judgement, Page, Query, Run
from imgret.html.thumbnails import Thumbnails


def run(label, summary=(), warnings=(), curves=None):
    """A run of the page."""
    return Run(label, summary, warnings, curves)


def judgement(ap, marks, found=1, positives=2):
    """What a protocol says of one query; the rank of the first hit is that after removals."""
    counted = [mark for mark in marks if mark in "hm"]
    first_hit = counted.index("h") + 1 if "h" in counted else None
    return Judgement(ap, positives, found, first_hit, marks)


def results(positions, **settings):
    """One query's results in one run; a judgement for the setting "" is given as `_`."""
    top = [[position, round(0.9 - rank / 10, 3)] for rank, position in enumerate(positions)]
    return Answer(top, {name.strip("_"): value for name, value in settings.items()})


def query(name, position, *runs, box=None):
    """A query of the page."""
    return Query(name, position, box, runs)


def contents(photos, runs, queries, title="a report", **more):
    """What a page shows."""
    return Page(title, runs=runs, photos=photos, queries=queries, **more)


def names(count):
    """Names of photos."""
    return [f"{number}.png" for number in range(count)]


def made(folder, shown, roots=None):
    """Write a page with its thumbnails; returns its path. The photos `names` gives are made where they are not there."""
    for number, name in enumerate(shown.photos):
        path = os.path.join(folder, os.fsdecode(name))
        if roots is None and name == f"{number}.png" and not os.path.exists(path):
            photo(path, number)
    path = os.path.join(folder, "report.html")
    page.write(path, shown, Thumbnails(roots or [folder]).make(shown.photos))
    return path


def one_run():
    """Five queries of one run: a hit, a miss behind junk, a failure, one without judgement, one whose photo is not known."""
    return contents(
        names(6),
        [run("rootsift", [["map", 0.5], ["queries", 5]], ["the lists are short"], {"": [1 - i / 200 for i in range(101)]})],
        [
            query("bridge_10", 0, results([0, 1, 2], _=judgement(0.75, "qhm")), box=[10, 10, 60, 60]),
            query("tower", 1, results([1, 3, 2], _=judgement(0.5, "qjm"))),
            query("abbey", 2, results([4, 3, 2], _=judgement(0.0, "mmm", found=0))),
            query("bridge_2", 3, results([0, 5])),
            query("crop", None, results([5, 4], _=judgement(1.0, "hh", found=2))),
        ],
        protocol="groups",
        conventions={"ap": "finite sum", "query": "taken out"},
        note="A note.",
    )


def two_runs():
    """Four queries of two runs and three settings."""
    curve = [0.5] * 101
    return contents(
        names(6),
        [
            run("before", [["map", 0.5], ["queries", 4], ["ns", 0.0]], curves={"easy": curve, "medium": curve}),
            run("after", [["map", 0.625], ["queries", 4], ["ns", 0.0]], curves={"easy": curve, "medium": [0.75] * 101}),
        ],
        [
            query(
                "gained",
                0,
                results([1, 2, 3, 4], easy=judgement(1.0, "hhmm"), medium=judgement(0.25, "mmhm")),
                results([3, 1, 2, 5], easy=judgement(0.5, "mhhm"), medium=judgement(0.75, "hmmm")),
            ),
            query("same", 1, *[results([2, 3], medium=judgement(0.5, "hm"))] * 2),
            query("lost", 2, results([3, 4], medium=judgement(0.75, "hm")), results([4, 3], medium=judgement(0.5, "mh"))),
            query("only before", 3, results([4], medium=judgement(0.125, "h")), None),
        ],
        settings=["easy", "medium", "hard"],
        comparison=["after is above before by 0.1250 map."],
    )
