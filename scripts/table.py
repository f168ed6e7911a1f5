"""How good: the ablation table, mAP of the shipped configs and of variants of them on four sets of real photos.

Everything is learned on the distractors (and, for projections and product quantisers of VLAD alone, on crops of them), never on the set
that is scored; all distractors are in every gallery. Every file is kept in the work folder, so a second run does only what has changed.

    IMGRET_TEST_DATA=/path/to/data python scripts/table.py
"""

import argparse
import copy
import json
import math
import os
import subprocess
import sys
from pathlib import Path

from imgret import config as imgret_config
from imgret import ready
from imgret.store.hashing import of_json

SETS = ("smvs_dvd", "smvs_landmarks", "mcv_paintings", "scenes")
TRAIN = "distractors"
CROPS = "crops"
CROPS_PER_PHOTO = 10
CONFIGS = Path(__file__).parent.parent / "configs"


def imgret(*arguments):
    """Run a command quietly; its standard output."""
    command = [sys.executable, "-m", "imgret", *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"failed: {' '.join(command)}")
    return done.stdout


def make_crops(photos, folder, each):
    """Seeded crops of the distractors, 50 to 80 % of each side: more vectors to learn projections and quantisers from."""
    import numpy as np
    from PIL import Image

    if (folder / "done").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for path in sorted((photos / TRAIN / "images").iterdir()):
        with Image.open(path) as image:
            image = image.convert("RGB")
        for number in range(each):
            width, height = (int(side * rng.uniform(0.5, 0.8)) for side in image.size)
            left, top = rng.integers(0, image.width - width + 1), rng.integers(0, image.height - height + 1)
            crop = image.crop((left, top, left + width, top + height))
            crop.save(folder / f"{path.stem}_crop{number}.jpg", quality=92)
    (folder / "done").touch()


class Runner:
    """Runs a config's tables on the sets; files are named by what they are made of."""

    def __init__(self, photos, work, crops=CROPS_PER_PHOTO):
        self.photos, self.work = photos, work
        self.crops = work / "crops"
        make_crops(photos, self.crops, crops)

    def listed(self, dataset):
        """The photos of a dataset, as arguments of `extract`."""
        return [self.crops if dataset == CROPS else self.photos / dataset / "images"]

    def identity(self, tables, name):
        """What a table's outputs are made of."""
        table = tables[name]
        if table["run"] in ("search", "rerank"):
            sources = [other for key in imgret_config.FILES[table["run"]] for other in imgret_config.made_of(tables, name, key)]
            return of_json([table, [self.identity(tables, other) for other in sources]])[:12]
        sources = [*table.get("inputs", ()), *imgret_config.made_of(tables, name, "codebook")]
        return of_json([table, [str(self.output(tables, other, TRAIN)) for other in sources]])[:12]

    def output(self, tables, name, dataset, others=(TRAIN,)):
        """Path of a table's output for a dataset, made if need be; `others` are those that are in an index besides."""
        table = tables[name]
        identity = self.identity(tables, name)
        shown = "learned" if table["run"] == "codebook" else dataset
        if table["run"] == "index" and others != (TRAIN,):
            shown = "-".join([dataset, *others, "alone"])
        path = self.work / f"{name}-{shown}-{identity}.h5"
        if path.exists():
            return path
        settings = [f"--set={key}={_text(value)}" for key, value in table.get("set", {}).items()]
        common = ["-q", "-o", path, "-m", table["method"]] if "method" in table else ["-q", "-o", path]
        if table["run"] == "extract":
            imgret("extract", *self.listed(dataset), *common, *settings, *self.codebook(tables, table), "--max-failed", "20%")
        elif table["run"] == "codebook":
            sources = [self.output(tables, other, TRAIN) for other in table["inputs"]]
            if table["method"] == "pca" and table.get("crops", True):
                sources += [self.output(tables, other, CROPS) for other in table["inputs"]]
            imgret("codebook", *sources, *common, *settings, *self.codebook(tables, table), *_size(table))
        elif table["run"] == "encode":
            datasets = (dataset, TRAIN) if table.get("method") == "dba" else (dataset,)
            sources = [self.output(tables, other, each) for other in table["inputs"] for each in datasets]
            imgret("encode", *sources, *common, *settings, *self.codebook(tables, table))
        elif table["run"] == "index":
            others = () if tables[table["inputs"][0]].get("method") == "dba" else others  # which takes them all at once
            sources = [self.output(tables, table["inputs"][0], each) for each in (dataset, *others)]
            learned_on = () if table["method"] in ("flat", "inverted") else (TRAIN, CROPS)
            teachers = [f"--train={self.output(tables, table['inputs'][0], each)}" for each in learned_on]
            imgret("index", *sources, *common, *settings, *teachers)
        elif table["run"] == "search":
            datasets = (dataset, TRAIN) if _is_graph(tables, name) else (dataset,)
            queries = [self.output(tables, imgret_config.named(table, "queries")[0], each) for each in datasets]
            index = self.output(tables, table["index"], dataset)
            imgret("search", index, *queries, "-k", table.get("k", "all"), "-q", "-o", path, *settings)
        elif table["run"] == "rerank":
            imgret("rerank", *self.reranked(tables, table, dataset), *common, *settings)
        return path

    def reranked(self, tables, table, dataset):
        """The arguments of a rerank: rankings of the dataset, and what its photos and the distractors are known by."""
        words = [self.output(tables, other, dataset) for other in imgret_config.named(table, "inputs")]
        for key in imgret_config.FILES["rerank"][1:]:
            datasets = (dataset, TRAIN) if key in ("features", "words", "vectors") else (dataset,)
            words += [f"--{key}={self.output(tables, other, each)}" for other in imgret_config.named(table, key) for each in datasets]
        return words

    def codebook(self, tables, table):
        """`-c` and the codebook of a table, made if need be, or one of the package."""
        if "codebook" not in table:
            return []
        name = table["codebook"]
        return ["-c", name if ready.is_ready(name) else self.output(tables, name, TRAIN)]

    def score(self, tables):
        """mAP on each set, dimension of the vectors (words, of an inverted file) and bytes per photo in the index."""
        index = next(name for name, table in tables.items() if table["run"] == "index")
        scored = next(table["inputs"][-1] for table in tables.values() if table["run"] == "evaluate")
        maps = []
        for dataset in SETS:
            ranking = self.output(tables, scored, dataset)
            truth = self.photos / dataset / "groundtruth.csv"
            maps.append(
                json.loads(imgret("evaluate", ranking, "--protocol", "groups", "--truth", truth, "--json", "--resamples", "0"))["runs"][0][
                    "measures"
                ]["map"]
            )
        facts = json.loads(imgret("info", self.output(tables, index, SETS[0]), "--json"))
        if "dim" not in facts["info"]:
            return maps, "sparse", round(sum(map(_bytes, _of_entries(facts["columns"]))) / facts["photos"])
        dim = facts["info"]["dim"]
        size = facts["params"]["params"].get("bytes", 4 * dim)
        return maps, dim, size


def _is_graph(tables, name):
    """Whether a ranking is a graph of the photos, all of which ask."""
    return any(name in imgret_config.named(table, "graph") for table in tables.values())


def _of_entries(columns):
    """What an inverted index has of its entries: without words and codebooks, which do not grow with the photos."""
    return [columns[f"structure/{name}"] for name in ("photo", "signature", "weight", "geometry") if f"structure/{name}" in columns]


def _bytes(column):
    return math.prod(column["shape"]) * int(column["dtype"].lstrip("uintfloa")) // 8


def _size(table):
    return ["--size", table["size"]] if "size" in table else []


def _text(value):
    return ",".join(map(str, value)) if isinstance(value, list) else str(value).lower() if isinstance(value, bool) else str(value)


def config(name):
    """A shipped config's tables."""
    return imgret_config.read(str(CONFIGS / f"{name}.toml"))


def changed(tables, **changes):
    """A copy with other parameters: `table={"set": {...}, "size": 128}`; None removes a parameter."""
    tables = copy.deepcopy(tables)
    for name, change in changes.items():
        for key, value in change.items():
            if key == "set":
                tables[name]["set"] = {k: v for k, v in {**tables[name].get("set", {}), **value}.items() if v is not None}
            elif value is None:
                tables[name].pop(key, None)
            else:
                tables[name][key] = value
    return tables


def cnn_rows(data):
    """The lines of networks' features: one small network for all, with its weights' own normalisation."""
    network = {"model": "mobilenet_v2", "weights": str(data / "weights" / "mobilenet_v2.pth"), "mean": [0.5] * 3, "std": [0.5] * 3}
    plain = changed(config("cnn-gem"), gem={"set": {**network, "scales": [1.0]}})
    poolings = {
        "gem p=3": {},
        "avg (SPoC)": {"pool": "avg"},
        "avg, centre prior": {"pool": "avg", "centre": True},
        "max (MAC)": {"pool": "max"},
        "rmac": {"pool": "rmac"},
        "crow": {"pool": "crow"},
        "cam": {"pool": "cam"},
        "fc (avgpool)": {"pool": "fc"},
    }
    section = "MobileNetV2, one vector"
    for name, settings in poolings.items():
        yield section, name, changed(plain, gem={"set": settings})
    section = "MobileNetV2, three scales"
    several = {"scales": [1.25, 1.0, 0.707]}
    yield section, "gem p=3, combine=gem", changed(plain, gem={"set": {**several, "combine": "gem"}})
    for name in ("avg (SPoC)", "rmac"):
        yield section, name, changed(plain, gem={"set": {**poolings[name], **several}})
    section = "MobileNetV2, reduced"
    for name in ("gem p=3", "rmac"):
        for size in (128, 256):
            pooled = changed(plain, gem={"set": poolings[name]})
            yield section, f"{name}, {size}", with_projection(pooled, "gem", size)
    regions = {
        "regions": {"run": "extract", "method": "cnn", "set": {**network, "pool": "regions"}},
        "whitening": {"run": "codebook", "inputs": ["regions"], "method": "pca", "size": 512, "crops": False, "set": {"whiten": True}},
    }
    yield section, "rmac, its regions 512", changed(plain, gem={"codebook": "whitening", "set": {"pool": "rmac"}}) | regions
    section = "MobileNetV2, local features"
    columns = changed(config("cnn-columns-vlad64"), columns={"set": {**network, "layer": None}})
    yield section, "columns of the last map, VLAD 64", columns
    middle = changed(columns, columns={"set": {"layer": ["features.13"]}}, words={"set": {"pca": None}})
    yield section, "columns of features.13, VLAD 64", middle
    yield section, "columns of features.13, VLAD 256", changed(middle, words={"size": 256})
    yield section, "columns of features.13, VLAD 64, PCA-w 256", with_projection(middle, "vlad", 256)
    bags = changed(
        config("cnn-bow-layers"), middle={"set": {**network, "layer": ["features.7"]}}, late={"set": {**network, "layer": ["features.13"]}}
    )
    yield section, "bags of 4096 words of features.7 and features.13", bags
    section = "RootSIFT and MobileNetV2"
    fused = changed(config("cnn-rootsift-fused"), rmac={"set": network})
    reduced = changed(config("cnn-rootsift-pca256"), rmac={"set": network}, projection={"crops": False})
    yield section, "rootsift-vlad256 alone", config("rootsift-vlad256")
    yield section, "rmac alone", changed(plain, gem={"set": poolings["rmac"]})
    yield section, "cnn-rootsift-fused", fused
    for weight in (0.5, 2.0):
        yield section, f"the same, weights=1,{weight:g}", changed(fused, fused={"set": {"weights": [1.0, weight]}})
    yield section, "the same with 64 words", changed(fused, words={"size": 64})
    yield section, "cnn-rootsift-pca256", reduced
    section = "global descriptors"
    for method in ("hsv-hist", "color-moments", "lbp", "hog", "gist"):
        tables = changed(plain, gem={"method": method})
        tables["gem"]["set"] = {}
        yield section, method, tables


def word_rows():
    """The lines of visual words in inverted files: K, weights, bursts, several words, assignment, bits."""
    bow, hamming, asmk = (config(name) for name in ("bow-20k", "hamming-20k", "asmk-65k"))
    section = "visual words: bag of words"
    yield section, "bow-20k", bow
    for label, settings in {
        "idf": {"lp": False},
        "idf, binary": {"lp": False, "tf": "binary"},
        "idf, tf": {"lp": False, "tf": "tf"},
    }.items():
        yield section, label, changed(bow, ranking={"set": settings})
    yield section, "K=65,536", changed(bow, words={"size": 65536})
    section = "visual words: Hamming embedding"
    yield section, "hamming-20k", hamming
    asked = {
        "inter=false": {"inter": False},
        "inter=false burst=query": {"inter": False, "burst": "query"},
        "inter=false burst=none": {"inter": False, "burst": "none"},
        "ma=1": {"ma": 1},
        "wgc=true": {"wgc": True},
        "wgc=true loose=0": {"wgc": True, "loose": 0.0},
    }
    for label, settings in asked.items():
        yield section, label, changed(hamming, ranking={"set": settings})
    yield section, "K=10,000", changed(hamming, words={"size": 10000})
    section = "visual words: ASMK"
    yield section, "asmk-65k", asmk
    asked = {
        "inter=false alpha=3": {"inter": False, "alpha": 3.0},
        "inter=false alpha=3 asymmetric=false": {"inter": False, "alpha": 3.0, "asymmetric": False},
        "inter=false alpha=3 ma=1": {"inter": False, "alpha": 3.0, "ma": 1},
    }
    for label, settings in asked.items():
        yield section, label, changed(asmk, ranking={"set": settings})
    yield section, "K=20,000", changed(asmk, words={"size": 20000})
    yield section, "bits=64", changed(asmk, entries={"set": {"bits": 64}})
    yield section, "asmk-float-65k", config("asmk-float-65k")
    plain = changed(asmk, entries={"set": {"dtype": "float16"}}, ranking={"set": {"inter": False, "alpha": 3.0}})
    yield section, "float, inter=false alpha=3", plain

    section = "assignment of visual words"
    yield section, "BoW, hkm 16^4, leaves", changed(bow, words=TREE, ranking={"set": {"lp": False}})
    levels = {"set": {"levels": "all"}}
    yield section, "BoW, hkm 16^4, all levels", changed(bow, words=TREE, statistics=levels, entries=levels, ranking={"set": {"lp": False}})
    yield section, "ASMK, hkm 16^4", changed(asmk, words=TREE)
    yield section, "Hamming, exact words", changed(hamming, words={"set": {"assign": "exact"}})


TREE = {"method": "hkm", "size": None, "set": {"branch": 16, "depth": 4}}


def verified(tables, by, **settings):
    """The same, its rankings verified by a table of what describes the photos: features, or words."""
    ranking = next(table["inputs"][0] for table in tables.values() if table["run"] == "evaluate")
    key = "words" if tables[by]["run"] == "encode" else "features"
    better = {"run": "rerank", "inputs": [ranking], key: [by], "method": "spatial", "set": settings}
    return changed(tables, scores={"inputs": ["verified"]}) | {"verified": better}


def neighbour_rows():
    """The lines of query expansion and of graphs of neighbours, without verification but where it is said."""
    vlad = config("rootsift-vlad256")
    graph = {"run": "search", "index": "index", "queries": ["vlad"], "k": 50}
    section = "reranking: expansion and neighbours (VLAD 256)"
    published = {"k-reciprocal": {"k1": 20, "k2": 6, "lam": 0.3}, "diffusion": {"k": 50, "alpha": 0.99, "loop": 0.0, "depth": 10}}
    yield section, "as it is", vlad
    for method, settings in (
        ("alpha-qe", {}),
        ("alpha-qe", {"background": False, "depth": 50}),
        *((method, {"verified": False, "depth": 5}) for method in ("aqe", "rank-weighted", "dqe")),
        ("hello-neighbour", {}),
        ("k-reciprocal", {}),
        ("k-reciprocal", {"background": False, **published["k-reciprocal"]}),
        ("diffusion", {}),
        ("diffusion", {"background": False, **published["diffusion"]}),
    ):
        asking = {"vectors": ["vlad"], "index": "index"} if "qe" in method or method == "rank-weighted" else {"graph": ["graph"]}
        better = {"run": "rerank", "inputs": ["ranking"], "method": method, "set": settings} | asking
        label = f"{method} {' '.join(f'{key}={_text(value)}' for key, value in settings.items())}".rstrip()
        yield section, label, changed(vlad, scores={"inputs": ["better"]}) | {"graph": graph, "better": better}
    for settings in ({}, {"background": False, "k": 10, "alpha": 3.0}):
        augmented = {"run": "encode", "inputs": ["vlad"], "method": "dba", "set": settings}
        label = f"dba {' '.join(f'{key}={_text(value)}' for key, value in settings.items())}".rstrip()
        yield section, label, changed(vlad, index={"inputs": ["augmented"]}) | {"augmented": augmented}
    checked = verified(vlad, "features")
    for method in ("aqe", "alpha-qe", "rank-weighted", "dqe"):
        better = {
            "run": "rerank",
            "inputs": ["verified"],
            "vectors": ["vlad"],
            "index": "index",
            "method": method,
            "set": {"verified": True},
        }
        yield section, f"spatial, {method} verified=true", changed(checked, scores={"inputs": ["better"]}) | {"better": better}


def reranking_rows(data):
    """The lines of lists made better, and of lists put together."""
    network = {"model": "mobilenet_v2", "weights": str(data / "weights" / "mobilenet_v2.pth"), "mean": [0.5] * 3, "std": [0.5] * 3}
    vlad, asmk, small = (config(name) for name in ("rootsift-vlad256", "asmk-65k", "vlad-pca128-pq20"))
    rows = {"rootsift-vlad256": vlad, "asmk-65k": asmk, "vlad-pca128-pq20": small}
    for name, tables in rows.items():
        section = f"reranking: {name}"
        yield section, "as it is", tables
        if name != "vlad-pca128-pq20":
            yield section, "spatial, by descriptors", verified(tables, "features")
        entries = {table: content for table, content in config("hamming-20k").items() if table in ("thresholds", "entries")}
        entries = {f"hamming_{table}": content for table, content in entries.items()}
        entries["hamming_words"] = config("hamming-20k")["words"]
        entries["hamming_thresholds"] |= {"codebook": "hamming_words"}
        entries["hamming_entries"] |= {"codebook": "hamming_thresholds"}
        yield section, "spatial, by words", verified(tables | entries, "hamming_entries")
    section = "reranking: lists put together"
    for name in ("fused-adaptive", "asmk-spatial-qe", "asmk-rmac-spatial-qe"):
        tables = config(name)
        if "rmac" in tables:
            tables = changed(tables, rmac={"set": network})
        for table in tables.values():
            if table["run"] == "rerank" and name == "fused-adaptive":
                for how in ("product", "z-sum", "rrf"):
                    fused = {"run": "rerank", "inputs": table["inputs"], "method": "fuse", "set": {"how": how}}
                    yield section, f"fuse how={how}", changed(tables, scores={"inputs": ["fused"]}) | {"fused": fused}
        yield section, name, tables


def with_projection(tables, vectors, size):
    """The same, with PCA-whitened vectors of `size` dimensions in the index."""
    tables = changed(tables, index={"inputs": ["small"]}, ranking={"queries": ["small"]})
    tables["projection"] = {"run": "codebook", "inputs": [vectors], "method": "pca", "size": size, "crops": False, "set": {"whiten": True}}
    tables["small"] = {"run": "encode", "inputs": [vectors], "codebook": "projection"}
    return tables


def rows(data):
    """(section, label, tables) of every line."""
    vlad, fisher, small = changed(config("rootsift-vlad256"), words={"size": 64}), config("rootsift-fisher64"), config("vlad-pca128-pq20")
    flat = {"method": "flat", "set": {"bytes": None}}
    for name in ("rootsift-vlad64", "rootsift-vlad256", "rootsift-fisher64", "vlad-pca128-pq20"):
        yield "shipped configs", name, config(name)
    yield "shipped configs", "rootsift-vlad64, words learned on the distractors", vlad
    for threshold in (0.01, 0.02, 0.03, 0.04):
        yield (
            "detector threshold (VLAD 64)",
            f"contrast_threshold={threshold}",
            changed(vlad, features={"set": {"contrast_threshold": threshold}}),
        )
    for count in (500, 1000, 2000, 4000):
        yield "keypoints (VLAD 64)", f"max_keypoints={count}", changed(vlad, features={"set": {"max_keypoints": count}})
    yield "keypoints (VLAD 64)", "upright=true", changed(vlad, features={"set": {"upright": True}})
    chains = ("l2", "power,l2", "intra,l2", "intra,power,l2", "residual,intra,l2", "residual,intra,power,l2")
    for pca in (0, 64, 128):
        for norm in chains:
            variant = changed(vlad, words={"set": {"pca": pca}}, vlad={"set": {"norm": norm}})
            yield "normalisation and local PCA (VLAD 64)", f"pca={pca} norm={norm}", variant
    for intra in (False, True):
        yield "normalisation (Fisher 64)", f"intra={str(intra).lower()}", changed(fisher, fisher={"set": {"intra": intra}})
    for size in (16, 64, 256):
        yield "words (VLAD)", f"K={size}", changed(vlad, words={"size": size})
    for size in (16, 64, 256):
        yield "Gaussians (Fisher)", f"K={size}", changed(fisher, mixture={"size": size})
    for size in (32, 64, 128, 256, 512):
        for whiten in (False, True):
            variant = changed(small, projection={"size": size, "set": {"whiten": whiten}}, index=flat)
            yield "dimension (VLAD 64, PCA)", f"{size}{' whitened' if whiten else ''}", variant
    for method in ("pq", "opq"):
        for size in (8, 16, 20, 32, 64):
            yield (
                "bytes (VLAD 64, PCA-whitened 128)",
                f"{method} bytes={size}",
                changed(small, index={"method": method, "set": {"bytes": size}}),
            )
    yield "bytes (VLAD 64, PCA-whitened 128)", "uncompressed", changed(small, index=flat)
    yield from word_rows()
    yield from reranking_rows(data)
    yield from neighbour_rows()
    yield from cnn_rows(data)


def main():
    """Print the table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("demo/table"), help="where files are kept")
    parser.add_argument("--only", default="", help="sections whose names contain this")
    arguments = parser.parse_args()
    if not os.environ.get("IMGRET_TEST_DATA"):
        raise SystemExit("set IMGRET_TEST_DATA to the folder with photos/")
    arguments.work.mkdir(parents=True, exist_ok=True)
    data = Path(os.environ["IMGRET_TEST_DATA"])
    runner = Runner(data / "photos", arguments.work)
    section = None
    for heading, label, tables in rows(data):
        if arguments.only not in heading:
            continue
        if heading != section:
            section = heading
            print(f"\n**{heading}**\n\n| | dvd | landmarks | paintings | scenes | mean | dims | bytes |")
            print("| --- | --- | --- | --- | --- | --- | --- | --- |")
        maps, dim, size = runner.score(tables)
        cells = [f"{value:.3f}" for value in (*maps, sum(maps) / len(maps))]
        print(f"| {label} | {' | '.join(cells)} | {dim} | {size} |", flush=True)


if __name__ == "__main__":
    main()
