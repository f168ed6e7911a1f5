"""From pipeline configs to make rules; scripts/pipeline.mk includes what this prints.

    rules.py rules GIVEN              make rules on stdout
    rules.py check [--quick] GIVEN    what is missing before anything can start, a sentence each
    rules.py photos [-- STAMP FILE:TABLE|- PHOTOS...]...
                                      what is seen of photos: a stamp is written anew where that has changed
    rules.py scores GIVEN             a table of the mAP in all scores, and what was not made
    rules.py clean [-n|-q] GIVEN      outputs that no config names any more are removed

GIVEN is BUILD --datasets D... --configs FILE... [--train D...] [--extra D...].

Every output is BUILD/DATASET/TABLE-HASH.h5, or .safetensors where it is a network. The hash covers the table, and those of all tables that
it is made from, as they are written in the config (comments, order and spelling of the file aside). So an edited table has new outputs,
and so have the tables that build on it, while all others keep theirs; configs that say the same share their outputs; and what an older
config made is still there when one goes back to it. BUILD/DATASET/CONFIG/TABLE.h5 are links to the outputs of the config as it is now.
"""

import argparse
import hashlib
import json
import os
import re
import sys

sys.path[:0] = [os.path.dirname(os.path.abspath(__file__)), os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]

import rules_after  # noqa: E402
import rules_before  # noqa: E402

from imgret import config, ready  # noqa: E402
from imgret.errors import ImgretError, sentence  # noqa: E402

LATER = (("codebook", "codebook"), ("extract", "network"))
OPTIONS = {"codebook": "-c ", "train": "--train ", "network": "--set weights="}  # by which a step is told of a file
NO_WORD = re.compile(r"[^\w.,+@=~/-]")  # what make or a shell may take for something else in a path


class Rules:
    """The rules of all datasets and configs.

    Parameters
    ----------
    build : str
        Folder of the outputs.
    datasets : list of str
        Those to score.
    train, extra : list of str
        The datasets that codebooks, and indexes with `train`, learn from (each dataset itself where there are none), and those whose
        vectors are added to every index.

    Attributes
    ----------
    rules : dict of str to str
        The text of each rule by its output.
    needs : dict of str to list of str
        What each output is made from, files that are nobody's output among them.
    tables : dict of str to (str, str, dict)
        Config, table and content that an output is first named by.
    seen : dict of str to str
        Stamp of what is seen of photos -> what they are, see `rules_before.see_photos`.
    scores : dict of str to (str, str)
        Dataset and config of each scores file.

    Raises
    ------
    ImgretError
        If a name could not be a word of a make rule.
    """

    def __init__(self, build, datasets, train=(), extra=()):
        self.build, self.datasets, self.train, self.extra = build, datasets, list(train), list(extra)
        self.rules, self.needs, self.tables, self.scores, self.seen = {}, {}, {}, {}, {}
        for name, values in (("IMGRET_BUILD", [build]), ("dataset", [*datasets, *train, *extra])):
            for value in values:
                _check_word(value, name)

    def add(self, path):
        """The rules of one config.

        Raises
        ------
        ImgretError
        """
        _check_word(path, "config")
        tables = config.read(path)
        _check(path, tables)
        name = os.path.splitext(os.path.basename(path))[0]
        for dataset in self.datasets:
            links = {}
            for table, content in tables.items():
                if content["run"] != "evaluate":
                    links[table] = self.output(path, tables, table, self.place(content, dataset))
            for table, content in tables.items():
                if content["run"] == "evaluate":
                    self._evaluate(path, tables, table, dataset, name, links)

    def identity(self, tables, table, dataset):
        """What an output is made from, as plain data."""
        content = tables[table]
        # what names nothing by a key is named as it was before there was that key
        keys = [key for key in config.FILES[content["run"]] if key in content or (content["run"], key) not in LATER]
        made_from = {key: [self.identity(tables, *source) for source in self.sources(tables, table, dataset, key)] for key in keys}
        own = {key: value for key, value in content.items() if key not in keys}
        own |= {"ready": found} if (found := config.ready_of(content)) else {}
        return {"dataset": dataset, "table": table, "settings": own, "from": made_from}

    def sources(self, tables, table, dataset, key):
        """The (table, dataset) pairs that a key of a table stands for; what it names of the package is not among them."""
        content = tables[table]
        names = config.made_of(tables, table, key)
        datasets = [dataset]
        if key in ("codebook", "network"):
            return [(name, self.place(tables[name], dataset)) for name in names]
        if config.learns(content, key):
            datasets = self.train or [dataset]
        elif content["run"] == "index" or (content["run"] == "rerank" and key in ("features", "words", "vectors")):
            datasets += [extra for extra in self.extra if extra != dataset]
        return [(name, where) for name in names for where in datasets]

    def place(self, content, dataset):
        """The dataset whose folder a table's output is in: a codebook, or a network, is in that of what it is learned on."""
        return self.train[0] if self.train and content["run"] in config.LEARNING else dataset

    def output(self, path, tables, table, dataset):
        """The path of an output; its rule and those of all that it is made from are added."""
        content = tables[table]
        run, words, needed, after = content["run"], [], [], ""
        out = f"{self.build}/{dataset}/{table}-{_hash(self.identity(tables, table, dataset))[:10]}{config.ending(content)}"
        if out in self.rules:
            return out
        if run in ("extract", "train"):
            datasets = self.train or [dataset] if run == "train" else [dataset]
            words, needed = [photos_of(each) for each in datasets], [self._photos(path, table, content, each) for each in datasets]
            after = "\n\t@touch $@"  # newer than what was seen of the photos, also where none of them was another one
        if run == "train" and "truth" not in content:
            truth = f"$(subst %,{dataset},$(strip $(IMGRET_TRAIN_TRUTH)))"
            words, needed = [*words, f"$(if {truth},--truth {truth})"], [*needed, f"$(wildcard {truth})"]
        for key in config.FILES[run]:
            files = [self.output(path, tables, *source) for source in self.sources(tables, table, dataset, key)]
            needed += files
            if key == "codebook":  # in the config's order: outputs, and those of the package by their names
                outputs = iter(files)
                files = [name if ready.is_ready(name) else next(outputs) for name in config.named(content, key)]
            option = OPTIONS.get(key, f"--{key} " if run == "rerank" and key != "inputs" else "")
            words += [f"{option}{file}" for file in files]
        needed += [*map(ready.path_of, config.ready_of(content)), *_named_files(content)]
        step = f"$(IMGRET) {run} --config {path}:{table} -o $@ --overwrite $(IMGRET_FLAGS) {' '.join(words)}"
        needed = [file for file in dict.fromkeys(needed) if file.startswith("$(") or not NO_WORD.search(file)]
        self._rule(out, needed, f"@mkdir -p $(@D)\n\t{step}{after}", (path, table, content))
        return out

    def _rule(self, out, needed, recipe, of):
        self.rules[out], self.needs[out], self.tables[out] = f"{out}: {' '.join(needed)}\n\t{recipe}", needed, of

    def _photos(self, path, table, content, dataset):
        """The file of what is seen of a dataset's photos, as a table lists them."""
        own = {key: content[key] for key in rules_before.LISTING if key in content}
        mark = f"-{_hash(own)[:8]}" if own else ""
        stamp = f"{self.build}/{dataset}/photos{mark}.seen"
        self.seen[stamp] = f"-- {stamp} {path + ':' + table if own else '-'} {photos_of(dataset)}"
        return stamp

    def _evaluate(self, path, tables, table, dataset, name, links):
        content = tables[table]
        files = [self.output(path, tables, *source) for source in self.sources(tables, table, dataset, "inputs")]
        folder = f"{self.build}/{dataset}/{name}"
        out = f"{folder}/{table}.json"
        truth = content.get("truth", f"$(subst %,{dataset},$(strip $(IMGRET_TRUTH)))")
        # the links change with the config, so a file that holds them is what the scores depend on besides the ranking
        stamp = f"{self.build}/{dataset}/{name}.tables"
        wanted = (
            "".join(f"{key} {os.path.relpath(target, folder)}\n" for key, target in links.items()) + json.dumps(content, default=str) + "\n"
        )
        rules_before.write_if_changed(stamp, wanted)
        lines = ["@mkdir -p $(@D)"]
        lines += [
            f"@ln -sfn {os.path.relpath(target, folder)} {folder}/{key}{os.path.splitext(target)[1]}" for key, target in links.items()
        ]
        lines.append(
            f"$(IMGRET) evaluate {' '.join(files)} --protocol {content['protocol']} $(if {truth},--truth {truth}) --json"
            f" --per-query {folder}/{table}.jsonl --overwrite > $@.tmp"
        )
        lines.append("@mv $@.tmp $@")
        self._rule(out, [*files, stamp, f"$(wildcard {truth})"], "\n\t".join(lines), (path, table, content))
        self.scores[out] = (dataset, name)

    def __str__(self):
        """The makefile."""
        head = ["# Made by scripts/rules.py: do not edit.", f"IMGRET_SCORES := {' '.join(self.scores)}"]
        # all photos are looked at each time, by `make -n` and `make -q` too; a stamp that stays as it is makes nothing else run
        see = " \\\n\t  ".join(["+@$(IMGRET_PYTHON) $(IMGRET_RULES) photos", *self.seen.values()])
        tail = [f"{' '.join(self.seen)}: imgret-see\n\t+@: $@", f"imgret-see:\n\t{see}"] if self.seen else []
        tail.append(".PHONY: imgret-made imgret-see\nimgret-made: $(IMGRET_SCORES)")
        return "\n\n".join([*head, *self.rules.values(), *tail]) + "\n"


def photos_of(dataset):
    """The photos of a dataset, as a rule has them: the shell reads what that becomes."""
    return f"$(subst %,{dataset},$(strip $(IMGRET_PHOTOS)))"


def _hash(value):
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def _named_files(content):
    """Files that a table names itself, boxes, weights: what is made by it depends on them."""
    own = content.get("set")
    values = [
        *(own.values() if isinstance(own, dict) else ()),
        *(value for key, value in content.items() if key not in config.FILES[content["run"]]),
    ]
    return [value for value in values if isinstance(value, str) and os.path.isfile(value)]


def _check_word(text, what):
    sign = NO_WORD.search(text)
    if sign:
        raise ImgretError(f"{what} '{text}': make cannot have {sign[0]!r} in a path: call it otherwise, or use a link")


def _check(path, tables):
    """Refuse a config whose tables do not fit together, or cannot be rules of make."""
    for table in tables:
        _check_word(table, f"{path}: the table")
    config.check(path, tables)
    for table, content in tables.items():
        if content["run"] == "evaluate":
            unknown = sorted(set(content) - {"run", "inputs", "protocol", "truth"})
            if unknown:
                raise ImgretError(f"{path}: unknown key '{unknown[0]}' in the table '{table}'; evaluate has: inputs, protocol, truth")
            _check_word(str(content.get("truth", "")), f"{path}: the truth")


def main(arguments=None):
    """The command line; returns the exit code."""
    given = _parser().parse_args(arguments)
    try:
        return _done(given)
    except ImgretError as error:
        return rules_before.told([error])
    except OSError as error:
        return rules_before.told([sentence(error)])


def _done(given):
    if given.command == "photos":
        return rules_before.see_photos(given.words)
    made = _rules(given)
    if given.command == "check":
        return rules_before.told(rules_before.problems(made, os.environ, quick=given.quick))
    if given.command == "clean":
        return rules_after.clean(made, dry=given.n or given.q, told=not given.q)
    if given.command == "scores":
        return rules_after.show(made, os.environ, given.code)
    sys.stdout.write(str(made))
    return 0


def _parser():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("rules", "check", "scores", "clean"):
        command = commands.add_parser(name)
        command.add_argument("build")
        command.add_argument("--datasets", nargs="+", required=True)
        command.add_argument("--configs", nargs="+", required=True)
        command.add_argument("--train", nargs="*", default=[])
        command.add_argument("--extra", nargs="*", default=[])
    commands.choices["check"].add_argument("--quick", action="store_true", help="files alone: no step is asked")
    commands.choices["scores"].add_argument("--code", type=int, default=0, help="what make ended with")
    for flag in "nq":
        commands.choices["clean"].add_argument(f"-{flag}", action="store_true")
    commands.add_parser("photos").add_argument("words", nargs=argparse.REMAINDER)
    return parser


def _rules(given):
    """The `Rules` of what was given.

    Raises
    ------
    ImgretError
        One for all configs that something is wrong with.
    """
    if given.extra and not given.train:
        raise ImgretError("extra datasets need a dataset to learn codebooks on: set IMGRET_TRAIN")
    for dataset in [*given.datasets, *given.train, *given.extra]:
        if os.path.isabs(dataset) or ".." in dataset.split("/"):
            raise ImgretError(f"a dataset is a folder in {given.build}, and '{dataset}' lies elsewhere: give its name alone")
    made, wrong = Rules(given.build, given.datasets, given.train, given.extra), []
    for path in given.configs:
        try:
            made.add(path)
        except ImgretError as error:
            wrong.append(str(error))
    if wrong:
        raise ImgretError("\nrules.py: ".join(wrong))
    return made


if __name__ == "__main__":
    sys.exit(main())
