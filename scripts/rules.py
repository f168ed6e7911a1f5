"""From pipeline configs to make rules; scripts/pipeline.mk includes what this prints.

    rules.py rules BUILD --datasets D... --configs FILE... [--train D...] [--extra D...]    make rules on stdout
    rules.py scores FILE...                                                              a table of the mAP in scores files

Every output is BUILD/DATASET/TABLE-HASH.h5. The hash covers the table, and those of all tables that it is made from, as they are
written in the config (comments, order and spelling of the file aside). So an edited table has new outputs, and so have the tables that
build on it, while all others keep theirs; configs that say the same share their outputs; and what an older config made is still there
when one goes back to it. BUILD/DATASET/CONFIG/TABLE.h5 are links to the outputs of the config as it is now.
"""

import argparse
import hashlib
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from imgret import config, ready  # noqa: E402
from imgret.config import FILES  # noqa: E402
from imgret.errors import ImgretError  # noqa: E402


class Rules:
    """The rules of all datasets and configs.

    Parameters
    ----------
    build : str
        Folder of the outputs.
    datasets : list of str
        The datasets to score.
    train : list of str
        The datasets that codebooks, and indexes with `train`, learn from; each dataset itself where there are none.
    extra : list of str
        Datasets whose vectors are added to every index.
    """

    def __init__(self, build, datasets, train=(), extra=()):
        self.build, self.datasets, self.train, self.extra = build, datasets, list(train), list(extra)
        self.rules, self.scores = {}, []

    def add(self, path):
        """The rules of one config."""
        tables = config.read(path)
        config.check(path, tables)
        _check_evaluate(path, tables)
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
        keys = FILES[content["run"]]
        made_from = {key: [self.identity(tables, *source) for source in self.sources(tables, table, dataset, key)] for key in keys}
        own = {key: value for key, value in content.items() if key not in keys}
        own |= {"ready": found} if (found := _ready(content)) else {}
        return {"dataset": dataset, "table": table, "settings": own, "from": made_from}

    def sources(self, tables, table, dataset, key):
        """The (table, dataset) pairs that a key of a table stands for."""
        content = tables[table]
        names = [name for name in config.named(content, key) if name in tables]
        datasets = [dataset]
        if key == "codebook":
            datasets = [self.place(tables[name], dataset) for name in names[:1]]
        elif content["run"] == "codebook" or key == "train":
            datasets = self.train or [dataset]
        elif content["run"] == "index":
            datasets += [extra for extra in self.extra if extra != dataset]
        return [(name, where) for name in names for where in datasets]

    def place(self, content, dataset):
        """The dataset whose folder a table's output is in: a codebook is in that of what it is learned on."""
        return self.train[0] if self.train and content["run"] == "codebook" else dataset

    def output(self, path, tables, table, dataset):
        """The path of an output; its rule and those of all that it is made from are added."""
        text = json.dumps(self.identity(tables, table, dataset), sort_keys=True)
        out = f"{self.build}/{dataset}/{table}-{hashlib.sha256(text.encode()).hexdigest()[:10]}.h5"
        if out in self.rules:
            return out
        run = tables[table]["run"]
        files = {key: [self.output(path, tables, *source) for source in self.sources(tables, table, dataset, key)] for key in FILES[run]}
        step = f"$(IMGRET) {run} --config {path}:{table} -o $@ --overwrite $(IMGRET_FLAGS)"
        if run == "extract":
            # only imgret can tell whether a folder has changed; an output that it leaves alone makes nothing else run
            learned = "".join(f" -c {file}" for file in [*files["codebook"], *_ready(tables[table])])
            needed = " ".join(["IMGRET_FORCE", *files["codebook"]])
            rule = f"{out}: {needed}\n\t@mkdir -p $(@D)\n\t{step} $(subst %,{dataset},$(strip $(IMGRET_PHOTOS))){learned}"
        else:
            words = {
                "codebook": lambda: files["inputs"],
                "encode": lambda: [
                    *files["inputs"],
                    *(word for file in [*files["codebook"], *_ready(tables[table])] for word in ("-c", file)),
                ],
                "index": lambda: [*files["inputs"], *(word for file in files["train"] for word in ("--train", file))],
                "search": lambda: [*files["index"], *files["queries"]],
            }[run]()
            needed = " ".join(dict.fromkeys(file for group in files.values() for file in group))
            rule = f"{out}: {needed}\n\t@mkdir -p $(@D)\n\t{step} {' '.join(words)}"
        self.rules[out] = rule
        return out

    def _evaluate(self, path, tables, table, dataset, name, links):
        content = tables[table]
        files = [self.output(path, tables, *source) for source in self.sources(tables, table, dataset, "inputs")]
        folder = f"{self.build}/{dataset}/{name}"
        out = f"{folder}/{table}.json"
        truth = content.get("truth", f"$(subst %,{dataset},$(strip $(IMGRET_TRUTH)))")
        # the links change with the config, so a file that holds them is what the scores depend on besides the ranking
        stamp = f"{self.build}/{dataset}/{name}.tables"
        wanted = "".join(f"{key} {os.path.relpath(target, folder)}\n" for key, target in links.items()) + json.dumps(content) + "\n"
        _write_if_changed(stamp, wanted)
        lines = [f"{out}: {' '.join(files)} {stamp} $(wildcard {truth})", "\t@mkdir -p $(@D)"]
        lines += [f"\t@ln -sfn {os.path.relpath(target, folder)} {folder}/{key}.h5" for key, target in links.items()]
        lines.append(
            f"\t$(IMGRET) evaluate {' '.join(files)} --protocol {content['protocol']} $(if {truth},--truth {truth}) --json"
            f" --per-query {folder}/{table}.jsonl --overwrite > $@.tmp"
        )
        lines.append("\t@mv $@.tmp $@")
        self.rules[out] = "\n".join(lines)
        self.scores.append(out)

    def __str__(self):
        """The makefile."""
        head = ["# Made by scripts/rules.py: do not edit.", f"IMGRET_SCORES := {' '.join(self.scores)}"]
        return "\n\n".join([*head, *self.rules.values()]) + "\n"


def _ready(content):
    """The codebooks of the package that a table names."""
    return [name for name in config.named(content, "codebook") if ready.is_ready(name)]


def _check_evaluate(path, tables):
    for table, content in tables.items():
        unknown = sorted(set(content) - {"run", "inputs", "protocol", "truth"})
        if content["run"] == "evaluate" and unknown:
            raise ImgretError(f"{path}: unknown key '{unknown[0]}' in the table '{table}'; evaluate has: inputs, protocol, truth")


def _write_if_changed(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    try:
        with open(path, encoding="utf-8") as file:
            if file.read() == text:
                return
    except FileNotFoundError:
        pass
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def show(paths):
    """Print mAP per config (rows) and dataset (columns) of scores files BUILD/DATASET/CONFIG/TABLE.json."""
    rows, columns = {}, []
    for path in paths:
        dataset, name = path.split("/")[-3:-1]
        columns += [dataset] * (dataset not in columns)
        with open(path, encoding="utf-8") as file:
            scores = json.load(file)
        rows.setdefault(name, {})[dataset] = [result["measures"].get("map") for result in scores["runs"]]
    width = max(map(len, [*rows, "mAP"]))
    print(f"{'mAP':{width}}", *(f"{dataset:>10}" for dataset in columns))
    for name, found in rows.items():
        cells = ["/".join("-" if value is None else f"{value:.4f}" for value in found.get(dataset, [])) for dataset in columns]
        print(f"{name:{width}}", *(f"{cell:>{max(10, len(dataset))}}" for cell, dataset in zip(cells, columns, strict=True)))


def main(arguments=None):
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    rules = commands.add_parser("rules")
    rules.add_argument("build")
    rules.add_argument("--datasets", nargs="+", required=True)
    rules.add_argument("--configs", nargs="+", required=True)
    rules.add_argument("--train", nargs="*", default=[])
    rules.add_argument("--extra", nargs="*", default=[])
    commands.add_parser("scores").add_argument("files", nargs="+")
    given = parser.parse_args(arguments)
    if given.command == "scores":
        show(given.files)
        return 0
    if given.extra and not given.train:
        print("rules.py: extra datasets need a dataset to learn codebooks on: set IMGRET_TRAIN", file=sys.stderr)
        return 1
    made = Rules(given.build, given.datasets, given.train, given.extra)
    try:
        for path in given.configs:
            made.add(path)
    except ImgretError as error:
        print(f"rules.py: {error}", file=sys.stderr)
        return 1
    sys.stdout.write(str(made))
    return 0


if __name__ == "__main__":
    sys.exit(main())
