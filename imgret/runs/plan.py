"""The plan of a build: the steps of a config in the order in which they can be made, and their files in its folder."""

import dataclasses
import os

from imgret import builds, config
from imgret.builds import Build
from imgret.codebooks import CODEBOOKS
from imgret.codebooks import DEFAULT as DEFAULT_CODEBOOK
from imgret.encoders import ENCODERS
from imgret.errors import ImgretError, UsageError, quoted
from imgret.extractors import DEFAULT as DEFAULT_EXTRACTOR
from imgret.extractors import EXTRACTORS
from imgret.indexes import DEFAULT as DEFAULT_INDEX
from imgret.indexes import INDEXES
from imgret.registry import load

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
    there : Build, optional
        The one that is gone on with.

    Raises
    ------
    ImgretError
        For a config that makes no index, or not just one.
    """

    def __init__(self, name, folder, others):
        self.name, self.folder, self.others, self.kept, self.there = name, folder, others, False, None
        self.path, self.tables = config.path_of(name), config.read(name)
        config.check(f"--config {name}", self.tables)
        if networks := config.networks(self.tables):
            raise UsageError(
                f"--config {name}: a build trains no network, and '{networks[0]}' is one: make it by `imgret train PHOTOS --config "
                f"{name}:{networks[0]} -o net.safetensors`, and build with a config whose `extract` says set = "
                '{ weights = "net.safetensors" }'
            )
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
        try:
            self.parameters(table)
        except UsageError as error:
            raise UsageError(f"{where}: {error}") from None

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
        there = self.there = self._there(run)
        if there is not None:
            self._check_same(there, run)
            self.kept = there.tables == self.made_of and not run.overwrite
            if there.learned and not self.others:
                self._learn_from_others()
                self._check_there()
        elif os.path.isdir(self.folder) and os.listdir(self.folder) and not self._begun():
            raise ImgretError(f"{self.folder} is there and holds something else: choose a folder of its own for -o")
        elif not self.others and any(os.path.exists(self.file(Step(table, True))) for table in self.made_of):
            self._learn_from_others()
        for path in (os.path.join(self.folder, builds.MANIFEST), *map(self.file, self.steps)):
            self._check_own(path)

    def _there(self, run):
        """The `Build` in the folder; None where there is none, or its manifest says nothing."""
        if not builds.is_build(self.folder):
            return None
        try:
            return builds.read(self.folder)
        except builds.Damaged as error:
            run.report.warn(f"{error.what}, and is written anew: what the stores say is gone on from")
            return None

    def _learn_from_others(self):
        self.others = True
        self.steps = self._ordered()

    def _check_own(self, path):
        """Refuse what a build would write through, or cannot write."""
        folder, real = (os.fsencode(os.path.realpath(each)) for each in (self.folder, path))
        if os.path.islink(path) and os.path.commonpath([folder, real]) != folder:
            raise ImgretError(f"{path} is a link to outside {self.folder}, where a build writes nothing: remove it, or choose another -o")
        if os.path.lexists(path) and not os.path.isfile(path):
            raise ImgretError(f"{path} is no regular file: {builds.removed(path, self.folder)}")

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

    def build(self, roots, contents):
        """The `Build` that there is when all steps are done."""
        (vectors,) = self.sources(self.index, ("inputs",))[:1]
        features = [step for step in self.steps if not step.others and self._holds_features(step)]
        paths = self.file(self.index), self.file(vectors), self.file(features[0]) if features else None
        return Build(self.folder, self.shown, *paths, tuple(roots), self.made_of, self.others, contents)

    def _holds_features(self, step):
        return self.run(step) == "extract" and self.parameters(step.table)[0].gives == "features"
