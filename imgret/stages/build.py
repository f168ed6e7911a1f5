"""build: photos to an index, by all the steps of a config."""

import contextlib
import dataclasses
import functools
import os

from imgret import builds, config, ready
from imgret.errors import ImgretError, UsageError, bounded, sentence
from imgret.listing import Given
from imgret.paths import check_folder, plain, word
from imgret.runs import stopping
from imgret.runs.enough import check_enough
from imgret.runs.failures import MaxFailed, MaxGone
from imgret.runs.plainfiles import PlainFile, write_together
from imgret.runs.plan import TAKES, Plan
from imgret.runs.run import Run
from imgret.stages.codebook import codebook
from imgret.stages.encode import encode
from imgret.stages.extract import extract
from imgret.stages.index import index
from imgret.store.reader import Store

GROWTH = 4  # so many times the rows that a codebook was learned from, and it is learned again


def build(photos, out, *, config=config.DEFAULT, learn=(), max_failed=None, max_gone=None, max_memory=None, run=Run()):
    """Make an index of photos, and all that it is made of, in one folder.

    The tables of a config are run up to its index, each as its step alone would be: what is up to date stays. Codebooks stay as they
    were learned, until there are more than `GROWTH` times as many rows to learn from.

    Parameters
    ----------
    photos : imgret.listing.Given or sequence of str
        Folders, files, or "-".
    out : str
        The folder.
    config : str
        A file, or the name of a ready config; see `imgret.config.path_of`.
    learn : sequence of str
        Folders and files of photos to learn codebooks from, instead of `photos`.
    max_failed, max_gone, max_memory : str, optional
        As the steps take them, before what the config says.
    run : imgret.runs.run.Run

    Raises
    ------
    ImgretError
    """
    run.in_one_piece("build")
    photos, folder = _Once.of(photos), _folder(plain(out))
    if not photos:
        raise UsageError("give at least one photo, a folder, '-' or --list")
    plan = Plan(config, folder, bool(learn))
    run = dataclasses.replace(run, reads=(*run.reads, plan.path))
    for given in (*photos.arguments, *learn):
        if os.path.isdir(given) and os.path.exists(folder) and os.path.samefile(given, folder):
            raise ImgretError(f"{folder} is the folder of the photos: choose another -o, beside it or in it")
    plan.take_up(run)
    MaxFailed(max_failed), MaxGone(max_gone)  # refused before anything has begun
    ours = {"max-failed": max_failed, "max-gone": max_gone, "max-memory": max_memory}
    others = _others(learn, photos.exclude)
    check_enough(plan, photos, others)
    _settle(plan, run)
    _make_folder(folder)
    with stopping.at_stop(kept=lambda: any(os.path.exists(plan.file(step)) for step in plan.steps)):
        for number, step in enumerate(plan.steps, 1):
            its = dataclasses.replace(run, report=run.report.step(plan.title(step), number, len(plan.steps)))
            with _named(its.report.prefix):
                _run(plan, step, others if step.others else photos, ours, its)
            _renew(plan, step, run)
    _write(plan.build(_roots(photos), dict(map(_content, map(plan.file, plan.steps)))), run)
    run.report.note(f"{folder} is ready: imgret search {word(folder)} PHOTO{_better(plan.tables)}")


def _better(tables):
    """The option of a search by which it does what a config's first reranking does, where a search alone can."""
    found = [table for table in tables.values() if table["run"] == "rerank"]
    first = found[0] if found and len(config.named(found[0], "inputs")) == 1 else None
    return f" --rerank {first['method']}" if first else ""


@dataclasses.dataclass(frozen=True)
class _Once(Given):
    """Photos that are listed once, although several steps ask: standard input can be read once only."""

    @classmethod
    def of(cls, photos):
        """See `Given.of`."""
        given = Given.of(photos)
        return cls(**{field.name: getattr(given, field.name) for field in dataclasses.fields(given)})

    @functools.cached_property
    def _listing(self):
        return super().listed()

    def listed(self):
        """The `Listing` of them."""
        return self._listing


def _others(learn, exclude):
    """The photos to learn from, listed before there is any work to lose."""
    others = _Once(tuple(map(os.fspath, learn)), exclude=exclude)
    if others:
        with _named("--learn"):
            others.listed()
    return others


@contextlib.contextmanager
def _named(what):
    """Let an error say what it is about: which of several steps, or which of the photos."""
    try:
        yield
    except ImgretError as error:
        error.args = (bounded(f"{what}: {error}"),)
        raise


def _folder(out):
    out = os.fsdecode(out)
    folder = out.rstrip("/") or out
    if not folder:
        raise UsageError("-o is empty: name a folder to make")
    if folder == "-":
        raise UsageError("-o - would be standard output, and a build is a folder: choose another -o")
    if os.path.lexists(folder) and not os.path.isdir(folder):
        raise ImgretError(f"-o {folder} is a file, and a build is a folder: choose another -o")
    if not os.path.isdir(folder):
        check_folder(folder)
    return folder


def _make_folder(folder):
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise ImgretError(sentence(error)) from None


def _settle(plan, run):
    """Let what a later extraction lacks (a library, weights) be told before the first one begins; that tells it itself."""
    for step in [step for step in plan.steps if plan.run(step) == "extract" and not step.others][1:]:
        kind, params = plan.parameters(step.table)
        kind(params, None).settle(run.device)


def _run(plan, step, photos, ours, run):
    """One step, as its command would run it."""
    out, name = plan.file(step), plan.run(step)
    given = plan.given(step.table)
    given |= {key.replace("-", "_"): value for key, value in ours.items() if value is not None and key in TAKES[name]}
    inputs = [plan.file(each) for each in plan.sources(step, ("inputs",))] if name != "extract" else None
    if name == "extract":
        if not photos:
            run.report.note(f"{out} stays: no photos to learn from are given")
            return
        for path in plan.codebooks(step)[:1]:
            given["codebook"] = path
        extract(photos, out, run=run, **given)
    elif name == "codebook":
        about = next(iter(plan.codebooks(step)), None)
        if not _is_kept(plan, out, inputs, about, run):
            codebook(inputs, out, codebook=about, run=run, **given)
    elif name == "encode":
        encode(inputs, plan.codebooks(step), out, run=run, **given)
    else:
        given["codebook"] = next(iter(plan.codebooks(step)), None)
        index(inputs, out, train=[plan.file(each) for each in plan.sources(step, ("train",))], run=run, **given)


def _is_kept(plan, out, inputs, about, run):
    """Whether a codebook of an earlier build is to stay as it is; says so, or why not. `about`: the words that it was learned with."""
    if not plan.kept or not os.path.exists(out):
        return False
    with Store(out, ("codebook",), "build") as store:
        info = store.recorded.get("info")
        made_of = [entry.get("content") for entry in store.inputs if isinstance(entry, dict)]
    if about is not None and _content(ready.path_of(about))[1] not in made_of:
        run.report.note(f"{out} was learned with other words: learning it again")
        return False
    sample = info.get("sample") if isinstance(info, dict) else None
    learned, drawn = (sample.get("rows"), sample.get("drawn")) if isinstance(sample, dict) else (None, None)
    now = sum(map(_rows, inputs))
    if isinstance(learned, int) and drawn == learned and now > GROWTH * learned:
        run.report.note(f"{out} was learned from {learned} rows, and there are {now} now: learning it again")
        return False
    run.report.note(f"{out} stays as it was learned")
    return True


def _rows(path):
    with Store(path, ("features", "vectors"), "build") as store:
        return store.shape(store.layout.matrix)[0]


def _roots(photos):
    """The folders that photos' names are relative to, in the order in which they were given."""
    if photos.root is not None:
        return [os.path.abspath(photos.root)]
    folders = [os.path.abspath(each) if each != "-" and os.path.isdir(each) else os.getcwd() for each in photos.arguments]
    return list(dict.fromkeys([*map(os.fsdecode, folders), *([os.getcwd()] if photos.lists else [])]))


def _write(made, run):
    """Write `imgret.json`."""
    file = PlainFile(os.path.join(made.folder, builds.MANIFEST), "-o", "JSON", replaced=lambda path: True)
    write_together([(file, lambda: iter([made.manifest()]))], run)


def _renew(plan, step, run):
    """Let an earlier build's manifest know a store that took another's place: the rest may take hours, or be stopped."""
    if plan.there is None:
        return
    name, content = _content(plan.file(step))
    if plan.there.contents.get(name) != content:
        plan.there = dataclasses.replace(plan.there, contents={**plan.there.contents, name: content})
        _write(plan.there, run)


def _content(path):
    with Store(path, wanted_by="build") as store:
        return os.path.basename(path), store.content
