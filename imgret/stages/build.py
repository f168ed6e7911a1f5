"""build: photos to an index, by all the steps of a config."""

import dataclasses
import functools
import os

from imgret import builds, config
from imgret.builds import Build
from imgret.codebooks import CODEBOOKS
from imgret.codebooks import DEFAULT as DEFAULT_CODEBOOK
from imgret.encoders import ENCODERS
from imgret.errors import ImgretError, UsageError, quoted, sentence
from imgret.extractors import DEFAULT as DEFAULT_EXTRACTOR
from imgret.extractors import EXTRACTORS
from imgret.indexes import DEFAULT as DEFAULT_INDEX
from imgret.indexes import INDEXES
from imgret.listing import Given
from imgret.paths import check_folder, plain
from imgret.registry import load
from imgret.runs import stopping
from imgret.runs.failures import MaxFailed, MaxGone
from imgret.runs.plainfiles import PlainFile, write_together
from imgret.runs.run import Run
from imgret.stages.codebook import codebook
from imgret.stages.encode import encode
from imgret.stages.extract import extract
from imgret.stages.index import index
from imgret.store.reader import Store

STEPS = {"extract": extract, "codebook": codebook, "encode": encode, "index": index}
TAKES = {  # what a table may say beside `run`, `set` and the tables that it is made of, and of which type
    "extract": {"method": str, "max-failed": str, "max-gone": str, "truncated": str},
    "codebook": {"method": str, "size": int, "seed": int, "sample": int, "pairs": str, "max-memory": str},
    "encode": {"method": str, "max-gone": str},
    "index": {"method": str, "metric": str, "seed": int, "factory": str, "max-memory": str, "max-gone": str},
}
FAMILIES = {"extract": (EXTRACTORS, "extractor"), "codebook": (CODEBOOKS, "codebook"), "index": (INDEXES, "index")}
FAMILIES["encode"] = (ENCODERS, "encoder")
DEFAULTS = {"extract": DEFAULT_EXTRACTOR, "codebook": DEFAULT_CODEBOOK, "index": DEFAULT_INDEX}
OTHERS = "learn-"  # begins the names of what is made of other photos, to learn from
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
    _settle(plan, run)
    _make_folder(folder)
    MaxFailed(max_failed), MaxGone(max_gone)  # refused before anything has begun
    ours = {"max-failed": max_failed, "max-gone": max_gone, "max-memory": max_memory}
    others = _Once(tuple(map(os.fspath, learn)), exclude=photos.exclude)
    with stopping.at_stop(kept=lambda: any(os.path.exists(plan.file(step)) for step in plan.steps)):
        for number, step in enumerate(plan.steps, 1):
            its = dataclasses.replace(run, report=run.report.step(plan.title(step), number, len(plan.steps)))
            _run(plan, step, others if step.others else photos, ours, its)
    _write(plan.build(_roots(photos)), run)


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


@dataclasses.dataclass(frozen=True)
class Step:
    """One file to be made: of a table, and of the photos, or of others to learn from."""

    table: str
    others: bool = False


class Plan:
    """The steps of a config, and their files in a folder.

    Parameters
    ----------
    config : str
    folder : str
    others : bool
        Whether codebooks are learned from other photos.

    Attributes
    ----------
    steps : list of Step
        In the order in which they can be made; the index is the last.
    made_of : dict
        The tables of these steps.

    Raises
    ------
    ImgretError
        For a config that makes no index, or not just one.
    """

    def __init__(self, name, folder, others):
        self.name, self.folder, self.others, self.kept = name, folder, others, False
        self.path, self.tables = config.path_of(name), config.read(name)
        config.check(f"--config {name}", self.tables)
        indexes = [table for table, content in self.tables.items() if content["run"] == "index"]
        if len(indexes) != 1:
            found = f"{len(indexes)} ({', '.join(indexes)})" if indexes else "none"
            raise UsageError(f"--config {name}: a build makes one index, and this config has {found}: choose another config")
        self.index = Step(indexes[0])
        self.steps = self._ordered()
        self.made_of = {step.table: self.tables[step.table] for step in self.steps}
        for table in self.made_of:
            self._check(table)
        if others and not any(step.others for step in self.steps):
            raise UsageError(f"--config {name} learns nothing: leave --learn out, or choose another (`imgret build --config help`)")

    def _ordered(self):
        found = []

        def visit(step):
            for source in self.sources(step):
                visit(source)
            if step not in found:
                found.append(step)

        visit(self.index)
        return found

    def sources(self, step, keys=None):
        """The steps whose files a step reads: of some keys of its table, or of all."""
        content, found = self.tables[step.table], []
        for key in config.FILES[content["run"]] if keys is None else keys:
            for name in config.made_of(self.tables, step.table, key):
                others = self.others if config.learns(content, key) else step.others
                found.append(Step(name, others and self.tables[name]["run"] != "codebook"))
        return found

    def run(self, step):
        """The command that makes a step's file."""
        return self.tables[step.table]["run"]

    def title(self, step):
        """What a step is called: its command, and its table where others have the same command."""
        same = [each for each in self.steps if self.run(each) == self.run(step)]
        return self.run(step) + (f", {self._name(step)}" if len(same) > 1 else "")

    def _name(self, step):
        return f"{OTHERS if step.others else ''}{step.table}"

    def file(self, step):
        """The path of a step's file."""
        return os.path.join(self.folder, f"{self._name(step)}.h5")

    def codebooks(self, step):
        """The codebooks of a step's table: paths, or `ready:NAME`."""
        named = config.named(self.tables[step.table], "codebook")
        return [self.file(Step(name)) if name in self.tables else name for name in named]

    def _check(self, table):
        """Refuse what a step would refuse, before any of them has begun."""
        content, where = self.tables[table], f"--config {self.name}:{table}"
        run = content["run"]
        if not table or table.startswith((".", OTHERS)) or "/" in table or "\0" in table or len(os.fsencode(table)) > 200:
            raise UsageError(f"{where}: a build has a file of each table's name, and this is none: call it otherwise")
        takes = TAKES[run]
        for key, value in content.items():
            if key in ("run", *config.FILES[run]):
                continue
            if key == "set":
                if not isinstance(value, dict):
                    raise UsageError(f"{where}: `set` must be a table of parameters")
            elif key.replace("_", "-") not in takes:
                raise UsageError(f"{where}: unknown key '{quoted(key)}'; in a build `{run}` has: {', '.join(sorted({*takes, 'set'}))}")
            elif takes[key.replace("_", "-")] is int and (not isinstance(value, int) or isinstance(value, bool)):
                raise UsageError(f"{where}: `{key}` must be an integer, got {quoted(repr(value))}")
        self.parameters(table)

    def given(self, table):
        """What a table says, as its step takes it: method, settings, and the rest by name."""
        content, takes = self.tables[table], TAKES[self.tables[table]["run"]]
        said = {key.replace("_", "-"): value for key, value in content.items()}
        given = {key.replace("-", "_"): takes[key](said[key]) for key in takes if key in said}
        given["settings"] = config.settings_of(content)
        if factory := given.pop("factory", None):
            given |= {"method": "factory", "settings": [*given["settings"], f"factory={factory}"]}
        return given

    def parameters(self, table):
        """(class, Params) of a table's component; None of an encoder that its codebook decides on."""
        given, run = self.given(table), self.tables[table]["run"]
        method = given.get("method", DEFAULTS.get(run))
        if method is None:
            return None
        family, noun = FAMILIES[run]
        kind = load(family, method, noun)
        return kind, kind.Params.parse(given["settings"], **{name: given[name] for name in ("size", "seed") if name in given})

    def take_up(self, run):
        """Look at what the folder holds: a build that is gone on with, or something else, which is refused."""
        if builds.is_build(self.folder):
            there = builds.read(self.folder)
            self._check_same(there, run)
            self.kept = there.tables == self.made_of and not run.overwrite
            if there.learned and not self.others:
                self.others = True
                self.steps = self._ordered()
                self._check_there()
        elif os.path.isdir(self.folder) and os.listdir(self.folder) and not self._begun():
            raise ImgretError(f"{self.folder} is there and holds something else: choose a folder of its own for -o")

    def _check_there(self):
        """Refuse to go on without what was made of the photos to learn from, where they are not given again."""
        for step in self.steps:
            if step.others and self.run(step) == "extract" and not os.path.exists(self.file(step)):
                raise ImgretError(f"{self.folder} was learned from other photos, and {self.file(step)} is gone: give them by --learn again")

    def _begun(self):
        """Whether an earlier build of this config was stopped in the folder."""
        return any(os.path.exists(self.file(step) + ending) for step in self.steps for ending in ("", ".parts"))

    def _check_same(self, there, run):
        if there.tables == self.made_of or run.overwrite:
            return
        changed = [name for name in {**there.tables, **self.made_of} if there.tables.get(name) != self.made_of.get(name)]
        if there.config == self.shown:
            what = f"by {there.config} as it was then, and its table '{changed[0]}' is another now"
        else:
            what = f"by {there.config}, not by {self.shown}"
        raise ImgretError(f"{self.folder} was built {what}: choose another -o, or give --overwrite to make it anew")

    @property
    def shown(self):
        """What the config is called: its name, or the path of its file, from anywhere."""
        return self.name if self.path != self.name else os.path.abspath(self.path)

    def build(self, roots):
        """The `Build` that there is when all steps are done."""
        (vectors,) = self.sources(self.index, ("inputs",))[:1]
        features = [step for step in self.steps if not step.others and self._holds_features(step)]
        paths = self.file(self.index), self.file(vectors), self.file(features[0]) if features else None
        return Build(self.folder, self.shown, *paths, tuple(roots), self.made_of, self.others)

    def _holds_features(self, step):
        return self.run(step) == "extract" and self.parameters(step.table)[0].gives == "features"


def _folder(out):
    out = os.fsdecode(out)
    folder = out.rstrip("/") or out
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
        if not _is_kept(plan, out, inputs, run):
            codebook(inputs, out, run=run, **given)
    elif name == "encode":
        encode(inputs, plan.codebooks(step), out, run=run, **given)
    else:
        index(inputs, out, train=[plan.file(each) for each in plan.sources(step, ("train",))], run=run, **given)


def _is_kept(plan, out, inputs, run):
    """Whether a codebook of an earlier build is to stay as it is; says so, or why not."""
    if not plan.kept or not os.path.exists(out):
        return False
    with Store(out, ("codebook",), "build") as store:
        sample = store.recorded.get("info", {}).get("sample", {})
    now = sum(_rows(path) for path in inputs)
    learned, limited = sample.get("rows"), sample.get("drawn") != sample.get("rows")
    if isinstance(learned, int) and not limited and now > GROWTH * learned:
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
    """Write `imgret.json`, the last of all."""
    file = PlainFile(os.path.join(made.folder, builds.MANIFEST), "-o", "JSON", replaced=lambda path: True)
    write_together([(file, lambda: iter([made.manifest()]))], run)
    run.report.note(f"{made.folder} is ready: imgret search {made.folder} PHOTO")
