"""Does this code make the same files and give the same answers as the code of an older commit, and go on with that code's files?

    python scripts/unchanged.py FOLDER [--old COMMIT] [--copies 1] [--side 224] [--workers]

Both run `RECIPE`, every kind of store and every method, on the demo's photos, side by side on this machine: the numbers are the same only
on one type of CPU and with one set of library versions, so they cannot be kept in a file. Then this code runs it once more among the
older one's files, and has to find all of them up to date. Prints what differs and is not in `ALLOWED`; exit code 1 if anything is.
`tests/test_unchanged.py` does the same with few and small photos; more `--copies`, larger ones (`--side`) and worker processes of their own
(`--workers`) are for a longer look by hand.
"""

import argparse
import dataclasses
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile

import demo_photos
import h5py
import numpy as np

SCRIPTS = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(SCRIPTS)
OLD = "d7f89f9ac8aff68670ee3599be59ba6900d1bf6a"


@dataclasses.dataclass(frozen=True)
class Allowed:
    """A difference between the older code's stores of one kind and this code's, and why it is none in what they say."""

    kind: str
    why: str
    renamed: dict = dataclasses.field(default_factory=dict)  # datasets that are the same under another name: old path -> new path
    attributes: tuple = ()  # root attributes that may differ
    added: str = ""  # a dataset, or a group, that the older one has not
    only: tuple = ()  # the files that it is about, if not all of the kind
    close: tuple = ()  # datasets whose numbers may differ in the last bits, or, of a structure, in bytes that come of that
    cut: tuple = ()  # datasets of which the older one's numbers may be beyond -1 and 1, where this one's end


LAYOUT = "texts are of fixed length, and the JSON, which was in attributes, is in datasets"

# Every difference there may be; one that is here and does not occur is reported too.
ALLOWED = (
    *(Allowed(kind, LAYOUT, attributes=("schema_version",)) for kind in ("features", "vectors", "codebook", "ranking")),
    Allowed(
        "index",
        "the structure is a column under a name of its own, and the dimension, which was noted in `info` alone, is hashed as a fact; "
        + LAYOUT,
        renamed={"index": "structure/faiss"},
        attributes=("schema_version", "content"),
    ),
    *(Allowed(kind, "it tells what photos were described by", added="origin") for kind in ("features", "vectors")),
    Allowed("index", "what chance gives is learned with an index, and is no part of its content", added="chance/"),
    Allowed("index", "hashes of vectors, by which codes are copied, are no part of its content", added="vector_hash"),
    Allowed(
        "vectors",
        "a projection takes eight rows at a time, so that a row's last bits do not depend on which others are encoded with it",
        only=("projected.h5", "joined-short.h5"),
        attributes=("recipe", "content", "fingerprint", "inputs"),
        close=("vectors",),
    ),
    Allowed(
        "index",
        "it is made of such vectors",
        only=("factory-sq.h5",),
        attributes=("recipe", "fingerprint", "inputs"),
        close=("structure/faiss",),
    ),
    Allowed("ranking", "a ranking's recipe names the `content` of the index that was asked", attributes=("recipe", "inputs")),
    Allowed("ranking", "a cosine is within [-1, 1], also where it has been rounded", attributes=("content",), cut=("scores",)),
)
# The same in what is printed and exported: a number from 1 to 1.01.
CUT = re.compile(rb"\b1\.0(?:0\d*)?\b")
CUT_FILES = (".trec", ".tsv")

# What must be equal of what a store says of itself; of the rest, `created` and `generated_by` say when and with what, `checksums` repeats.
ATTRIBUTES = ("format", "kind", "schema_version", "recipe", "content", "fingerprint", "params", "inputs", "pipeline", "info")

EXTRACT = """
extract photos -o rootsift.h5 --set max_keypoints=150
extract photos -o sift.h5 -m sift --set max_keypoints=60 --set upright=true --set max_size=160
extract photos -o dense.h5 -m dense-sift --set step=24 --set bins=4,8
extract photos -o hsv.h5 -m hsv-hist
extract photos -o moments.h5 -m color-moments
extract photos -o moments-hsv.h5 -m color-moments --set color_space=hsv --set grid=2
extract photos -o lbp.h5 -m lbp
extract photos -o lbp-turned.h5 -m lbp --set mapping=riu2 --set radius=2 --set grid=2
extract photos -o hog.h5 -m hog
extract photos -o hog-signed.h5 -m hog --set signed=true --set side=64
extract photos -o gist.h5 -m gist --set side=64
extract learn -o learn-rootsift.h5 --set max_keypoints=150
extract learn -o learn-hsv.h5 -m hsv-hist
extract --list list.txt --root photos -o listed.h5 --set max_keypoints=20
extract photos -o rootsift-2.h5 --set max_keypoints=150 -j2
extract photos -o boxes.h5 --boxes boxes.csv --set max_keypoints=150
extract photos -o boxes-hsv.h5 -m hsv-hist --boxes boxes.csv
info --failed rootsift.h5
info --failed boxes.h5
"""

NETWORK = "-m cnn --set weights=random --set max_size=96 --set model"
NETWORKS = f"""
extract photos/more -o avg.h5 {NETWORK}=squeezenet1_1 --set pool=avg
extract photos/more -o centre.h5 {NETWORK}=squeezenet1_1 --set pool=avg --set centre=true --set flip=true
extract photos/more -o max.h5 {NETWORK}=squeezenet1_1 --set pool=max --set dtype=float16
extract photos -o gem.h5 {NETWORK}=mobilenet_v2 --set pool=gem
extract photos/more -o scales.h5 {NETWORK}=squeezenet1_1 --set pool=gem --set scales=1.25,1,0.7 --set flip=true --set combine=gem --set p=4
extract photos/more -o summed.h5 {NETWORK}=squeezenet1_1 --set pool=max --set scales=1,0.7 --set batch=3
extract photos/more -o rmac.h5 {NETWORK}=squeezenet1_1 --set pool=rmac
extract photos/more -o crow.h5 {NETWORK}=squeezenet1_1 --set pool=crow --set channels=bgr --set range=255
extract photos/more -o cam.h5 {NETWORK}=squeezenet1_1 --set pool=cam --set classes=5
extract photos/more -o fc.h5 {NETWORK}=mobilenet_v2 --set pool=fc --set resize=square --set seed=3
extract photos/more -o layers.h5 {NETWORK}=squeezenet1_1 --set layer=features.6,features.12 --set pool=avg
extract photos/more -o columns.h5 {NETWORK}=squeezenet1_1 --set layer=features.6 --set pool=none --set max_keypoints=20
extract photos/more -o regions.h5 {NETWORK}=squeezenet1_1 --set pool=regions --set levels=2
extract photos/more -o patches.h5 {NETWORK}=squeezenet1_1 --set pool=patches --set patches=64 --set patch_size=64 --set region_pool=gem
codebook regions.h5 -o regions-pca.h5 -m pca --size 16 --set whiten=true
extract photos -o rmac-pca.h5 -c regions-pca.h5 {NETWORK}=squeezenet1_1 --set pool=rmac
extract photos -o boxes-gem.h5 --boxes boxes.csv {NETWORK}=mobilenet_v2 --set pool=gem
extract photos -o boxes-columns.h5 --boxes boxes.csv {NETWORK}=squeezenet1_1 --set layer=features.6 --set pool=none
"""

CODEBOOKS = """
codebook learn-rootsift.h5 -o words.h5 --size 8 --set pca=0
codebook learn-rootsift.h5 -o words-2.h5 --size 8 -j2 --set pca=0
codebook learn-rootsift.h5 rootsift.h5 -o words-random.h5 --size 6 --set init=random --seed 5 --sample 700 --set pca=0
codebook learn-rootsift.h5 -o words-pca.h5 --size 8 --set pca=16
codebook --config pipeline.toml:words learn-rootsift.h5 -o words-config.h5
codebook sift.h5 -o words-sift.h5 --size 4 --set pca=0
codebook dense.h5 -o words-dense.h5 --size 4 --set pca=0
codebook columns.h5 -o words-columns.h5 --size 4 --set pca=8
codebook patches.h5 -o words-patches.h5 --size 4 --set pca=0
codebook learn-rootsift.h5 -o gmm.h5 -m gmm --size 4 --set iterations=8
codebook learn-rootsift.h5 -o gmm-pca.h5 -m gmm --size 4 --set pca=16 --set iterations=8
codebook learn-rootsift.h5 -o pca-rows.h5 -m pca --size 16
"""

ENCODE = """
encode rootsift.h5 -c words.h5 -o vlad.h5 --set norm=intra,l2
encode rootsift-2.h5 -c words-2.h5 -o vlad-2.h5 -j2 --set norm=intra,l2
encode learn-rootsift.h5 -c words.h5 -o learn-vlad.h5 --set norm=intra,l2
encode rootsift.h5 -c words-random.h5 -o vlad-residual.h5 --set norm=residual,intra,l2
encode rootsift.h5 -c words-pca.h5 -o vlad-power.h5 --set norm=power,l2 --set power=0.3 --set dtype=float16
encode rootsift.h5 -c words-config.h5 -o vlad-ssr.h5 --set norm=intra,ssr,l2
encode sift.h5 -c words-sift.h5 -o vlad-sift.h5 --set norm=intra,l2
encode dense.h5 -c words-dense.h5 -o vlad-dense.h5 --set norm=intra,l2
encode columns.h5 -c words-columns.h5 -o vlad-columns.h5 --set norm=intra,l2
encode patches.h5 -c words-patches.h5 -o vlad-patches.h5 --set norm=intra,l2
encode boxes.h5 -c words.h5 -o boxes-vlad.h5 --set norm=intra,l2
encode rootsift.h5 -c gmm.h5 -o fisher.h5
encode rootsift.h5 -c gmm-pca.h5 -o fisher-all.h5 --set gradients=weight,mean,sigma --set intra=true --set power=0.7
codebook vlad.h5 -o pca.h5 -m pca --size 8
codebook learn-vlad.h5 vlad.h5 -o pca-white.h5 -m pca --size 8 --set whiten=true --set regulariser=0.01
codebook hsv.h5 -o lw.h5 -m lw --size 8 --pairs truth.csv
encode vlad.h5 -c pca.h5 -o projected.h5
encode vlad.h5 -c pca-white.h5 -o whitened.h5 --set dtype=float16
encode hsv.h5 -c lw.h5 -o hsv-lw.h5
encode vlad.h5 gem.h5 hsv.h5 -m concat -o joined.h5 --set weights=1,0.5,2
encode projected.h5 hsv-lw.h5 -m concat -o joined-short.h5
"""

INDEX = """
index vlad.h5 -o flat.h5
index learn-vlad.h5 vlad.h5 -o flat-l2.h5 --metric l2
index moments.h5 -o flat-ip.h5 --metric ip
index vlad.h5 -o pq.h5 -m pq --set nbits=4 --set bytes=8
index vlad.h5 -o pq-l2.h5 -m pq --set nbits=4 --set bytes=8 --set rotation=none --metric l2 -j2
index whitened.h5 -o pq-shared.h5 -m pq --set nbits=4 --set bytes=4 --set shared=true --train whitened.h5
index hsv.h5 -o opq.h5 -m opq --set nbits=4 --set bytes=4
index vlad.h5 -o ivf.h5 -m ivf-flat --set lists=4
index vlad.h5 -o ivfpq.h5 -m ivfpq --set lists=2 --set nbits=4 --set bytes=8
index joined.h5 -o hnsw.h5 -m hnsw --set m=4
index vlad.h5 -o factory.h5 --factory IVF4,SQ8
index joined-short.h5 -o factory-sq.h5 --factory SQ8 --metric l2
index gem.h5 -o flat-gem.h5
index rmac-pca.h5 -o flat-rmac.h5
"""

SEARCH = """
search flat.h5 vlad.h5 -o ranking.h5
search flat.h5 rootsift.h5 -o ranking-features.h5 -k 7
search flat.h5 vlad-2.h5 -o ranking-2.h5 -j2
search flat.h5 boxes-vlad.h5 -o ranking-boxes.h5
search flat.h5 query.jpg photos/coins-0.jpg photos/grey.png -o ranking-photos.h5 -k all
! search flat.h5 query.jpg photos/more/broken.jpg -o ranking-failed.h5
search flat-l2.h5 vlad.h5 -o ranking-l2.h5 -k 5
search flat-ip.h5 moments.h5 -o ranking-ip.h5
search ivf.h5 vlad.h5 -o ranking-ivf.h5 --set nprobe=1
search hnsw.h5 joined.h5 -o ranking-hnsw.h5 --set ef=8
search flat.h5 query.jpg -k 4 --format tsv
search flat-l2.h5 boxes.h5 -k 3 --format tsv
search pq.h5 vlad.h5 -k 3 --format tsv
search pq-l2.h5 query.jpg --format jsonl
search pq-shared.h5 whitened.h5 -k 3 --format tsv
search opq.h5 hsv.h5 -k 3 --format tsv
search opq.h5 query.jpg -k 3 --format tsv
search ivf.h5 vlad.h5 -k 3 --format tsv --set nprobe=2
search ivfpq.h5 vlad.h5 -k 3 --format trec --set nprobe=1
search hnsw.h5 query.jpg -k 5 --format table
search factory.h5 vlad.h5 -k 3 --format tsv --set nprobe=2
search factory-sq.h5 query.jpg -k 5 --format tsv
! search flat-gem.h5 query.jpg photos/more/turned.jpg photos/more/broken.jpg -k 3 --format tsv
search flat-gem.h5 boxes-gem.h5 -k 3 --format tsv
search flat-rmac.h5 query.jpg -k 3 --format tsv
"""

EVALUATE = """
evaluate ranking.h5 --protocol groups --truth truth.csv --json --resamples 200 --per-query queries.tsv --curve curve.tsv
evaluate ranking.h5 ranking-ivf.h5 --protocol groups --truth truth.csv --json --resamples 200 --per-query queries.jsonl
evaluate ranking.h5 --protocol groups --truth truth.csv --format tsv --resamples 200 --qrels truth.qrels --trec-run cleaned.run
evaluate ranking.h5 --protocol groups --truth truth.csv --format table --resamples 0 --conventions
"""

EXCHANGE = """
export vlad.h5 -o vlad.fvecs --names vlad.txt
export vlad.h5 -o vlad.npy
export rootsift.h5 -o rootsift.bvecs --names rootsift.txt --offsets offsets.npy --keypoints keypoints.npy
export rootsift.h5 -o decoded.npy --decoded
export words.h5 -o words.fvecs
export pca.h5 -o components.npy --array components
export ranking.h5 -o ranking.trec
export ranking.h5 -o ranking.tsv
export ranking.h5 -o ranking.ivecs --names gallery.txt --queries asked.txt
import vlad.fvecs --names vlad.txt -o imported.h5 --space vlad
import given.npy --names given.txt -o given.h5
import ranking.ivecs --names gallery.txt --queries asked.txt -o neighbours.h5
import hloc-local.h5 -o local.h5 --space random
import hloc-global.h5 -o global.h5
evaluate neighbours.h5 --protocol groups --truth truth.csv --json --resamples 200
codebook local.h5 -o words-local.h5 --size 4 --set pca=0
encode local.h5 -c words-local.h5 -o vlad-local.h5 --set norm=intra,l2
codebook given.h5 -o pca-given.h5 -m pca --size 4
encode given.h5 -c pca-given.h5 -o short-given.h5
index imported.h5 -o flat-imported.h5
index vlad-local.h5 -o flat-local.h5
index short-given.h5 -o flat-given.h5
index global.h5 -o flat-global.h5
search flat-imported.h5 imported.h5 -k 3 --format tsv
search flat-local.h5 local.h5 -k 3 --format tsv
search flat-given.h5 short-given.h5 -o ranking-given.h5
search flat-global.h5 global.h5 -k 2 --format tsv
"""

RECIPE = EXTRACT + NETWORKS + CODEBOOKS + ENCODE + INDEX + SEARCH + EVALUATE + EXCHANGE
ALWAYS = {"extract": ("--max-failed", "50%")}
WITHOUT_JOBS = ("import", "export", "info")
LIBRARIES = ("PIL.Image", "cv2", "faiss", "h5py", "skimage.feature", "torchvision")  # loaded before workers are copied


@dataclasses.dataclass(frozen=True)
class Command:
    """A line of `RECIPE`; `-j1` is in all that do not say otherwise, `!` before one that ends with 1, as a query cannot be used."""

    line: str

    @property
    def code(self):
        """How it ends."""
        return 1 if self.line.startswith("!") else 0

    @property
    def arguments(self):
        """What it is given."""
        words = shlex.split(self.line.removeprefix("!"))
        jobs = () if words[0] in WITHOUT_JOBS or "-j2" in words else ("-j1",)
        return [*words, *ALWAYS.get(words[0], ()), *jobs]

    @property
    def out(self):
        """The file that it makes, and leaves alone the second time; None where it prints, or tries again what failed."""
        words = self.arguments
        return words[words.index("-o") + 1] if "-o" in words and not self.code else None


COMMANDS = tuple(map(Command, filter(None, RECIPE.splitlines())))


class NoOldCode(Exception):
    """The older commit cannot be had here."""


def old_package(folder, commit=OLD):
    """Unpack the package as it was, as FOLDER/imgret.

    Raises
    ------
    NoOldCode
        Without git, or where the history does not go back that far (a shallow clone, an sdist).
    """
    try:
        done = subprocess.run(["git", "-C", ROOT, "archive", commit, "imgret"], capture_output=True, check=True)
    except OSError as error:
        raise NoOldCode(f"git cannot be run ({error})") from None
    except subprocess.CalledProcessError as error:
        raise NoOldCode(f"git has no commit {commit[:12]} here ({error.stderr.decode(errors='replace').strip()})") from None
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return os.path.realpath(folder)


def make_inputs(folder, copies=1, side=224):
    """Write what the recipe begins with: photos of two folders, lists, a ground truth, boxes, and files of other programs."""
    os.makedirs(os.path.join(folder, "photos", "more"))
    os.makedirs(os.path.join(folder, "learn"))
    groups = {}
    for number, name in enumerate(demo_photos.SCORE):
        rng = np.random.default_rng([0, number])
        views = list(demo_photos.group(name, demo_photos.load(name), rng))
        for place, (file, pixels, quality) in enumerate(views[: copies + 1 + (name in demo_photos.PAIRS)]):
            file = f"more/{file}" if place % 2 else file
            _save(os.path.join(folder, "photos", file), pixels, side, quality=quality)
            groups[file] = name
    for name in demo_photos.LEARN[:6]:
        # before all others in the order of names, as their stores are before all others on the command line
        _save(os.path.join(folder, "learn", f"0-{name}.png"), demo_photos.load(name), side)
    _save(os.path.join(folder, "query.jpg"), demo_photos.change(demo_photos.load(demo_photos.QUERY), np.random.default_rng(8)), side)
    _odd_photos(os.path.join(folder, "photos"), side)
    _write_texts(folder, groups)
    _write_foreign(folder)


def _save(path, pixels, side, **options):
    from PIL import Image, ImageOps

    upright = pixels.shape[0] > pixels.shape[1]
    size = (side * 3 // 4, side) if upright else (side, side * 3 // 4)  # few shapes: a network takes time for each new one
    ImageOps.fit(Image.fromarray(pixels), size).save(path, **options)


def _odd_photos(folder, side):
    """A photo that has to be turned, a grey one, one without keypoints, and one that is none."""
    from PIL import Image

    with Image.open(os.path.join(folder, "chelsea-0.jpg")) as image:
        exif = image.getexif()
        exif[0x0112] = 6  # orientation: a quarter to the right
        image.save(os.path.join(folder, "more", "turned.jpg"), exif=exif)
        image.convert("L").resize((side // 2, side * 3 // 8)).save(os.path.join(folder, "grey.png"))
    Image.new("RGB", (64, 48), (90, 120, 60)).save(os.path.join(folder, "flat.png"))
    with open(os.path.join(folder, "more", "broken.jpg"), "wb") as file:
        file.write(b"no photo")


def _write_texts(folder, groups):
    names = sorted(groups)
    boxes = [f"{name},10,20,{90 + 5 * number},{100 + 3 * number},ask-{number}" for number, name in enumerate(names[:6])]
    texts = {
        "truth.csv": ["image,group", *(f"{name},{group}" for name, group in sorted(groups.items()))],
        "list.txt": [os.path.join("photos", name) for name in names[::3]],
        "boxes.csv": ["image,x1,y1,x2,y2,id", *boxes, f"{names[0]},9000,9000,9100,9100,outside"],
        "given.txt": [f"row-{number:03d}" for number in reversed(range(40))],
        "pipeline.toml": ['words = { run = "codebook", method = "kmeans", size = 5, set = { iterations = 3, tolerance = 0, pca = 0 } }'],
    }
    for name, lines in texts.items():
        with open(os.path.join(folder, name), "w", encoding="ascii", newline="\n") as file:
            file.write("\n".join(lines) + "\n")


def _write_foreign(folder):
    """Files of other programs, of random numbers."""
    rng = np.random.default_rng(1)
    np.save(os.path.join(folder, "given.npy"), rng.normal(size=(40, 12)).astype(np.float32))
    with h5py.File(os.path.join(folder, "hloc-local.h5"), "w") as local, h5py.File(os.path.join(folder, "hloc-global.h5"), "w") as whole:
        for number in range(6):
            group, count = local.create_group(f"db/{number}.jpg"), 20 + number
            group["keypoints"] = rng.uniform(0, 200, (count, 2)).astype(np.float32)
            group["descriptors"] = rng.normal(size=(16, count)).astype(np.float16)
            group["scores"] = rng.uniform(size=count).astype(np.float32)
            group["image_size"] = np.array([210, 220])
            whole[f"db/{number}.jpg/global_descriptor"] = rng.normal(size=24).astype(np.float32)


class Code:
    """A version of imgret, in a process that runs `COMMANDS` with it, in one folder after another.

    Parameters
    ----------
    package : str
        The folder that `imgret` is in.
    fork : bool
        Workers of one job are copies of that process, which has its libraries loaded.

    Attributes
    ----------
    forked, started : int
        How many workers were copies, and how many processes of their own.
    """

    def __init__(self, package, fork=True):
        others = (path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path)
        path = [package, *(path for path in others if not os.path.isdir(os.path.join(path, "imgret")))]
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")  # workers have one, and copies too
        environment = dict(os.environ, PYTHONPATH=os.pathsep.join(path), CUDA_VISIBLE_DEVICES="", **threads)
        setup = {"package": package, "preload": LIBRARIES if fork else (), "fork": fork}
        # -P: the scripts' folder is no place to import from
        command = [sys.executable, "-P", os.path.join(SCRIPTS, "unchanged_run.py"), json.dumps(setup)]
        self._process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.package, self.forked, self.started = package, 0, 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.communicate()

    def start(self, folder):
        """Begin to run the commands in a folder."""
        request = {"folder": folder, "commands": [command.arguments for command in COMMANDS]}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()

    def answers(self):
        """What each of `COMMANDS` answered, once all are done: exit code `code`, `out` and `err`.

        Raises
        ------
        RuntimeError
            If the process ended; it said why.
        """
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process that runs {self.package} ended with {self._process.wait()}")
        answer = json.loads(line)
        self.forked, self.started = answer["forked"], answer["started"]
        return answer["answers"]


def failures(answers):
    """Yield a sentence for each command that did not end as it should."""
    for command, answer in zip(COMMANDS, answers, strict=True):
        if answer["code"] != command.code:
            yield f"`{command.line}` ended with {answer['code']}: {answer['err'].strip()[-300:]}"


def answer_differences(old, new):
    """Yield a sentence for each command that printed something else."""
    for command, before, after in zip(COMMANDS, old, new, strict=True):
        told = (before["out"], after["out"])
        if command.arguments[0] == "search":
            told = (told[0], as_before(command.arguments, told[1]))
            told = tuple(CUT.sub(b"1", each.encode()) for each in told)
        if told[0] != told[1]:
            yield f"`{command.line}` answered {after['out'][:300]!r}, not {before['out'][:300]!r}"


def as_before(arguments, text):
    """What `search` prints, as it was printed before it judged: the photo that asks has a rank, which takes one from the last."""
    form, k = (
        arguments[arguments.index(option) + 1] if option in arguments else default for option, default in (("--format", ""), ("-k", 10))
    )
    lines, rank = [], 0
    for line in text.splitlines():
        if form == "jsonl":
            answer = json.loads(line)
            results = [{"rank": rank, "name": each["name"], "score": each["score"]} for rank, each in enumerate(answer["results"], 1)]
            lines.append(json.dumps(answer | {"results": results[: int(k)]}))
            continue
        result = None
        if form == "tsv":
            query, _, name, score, judgement = line.split("\t")
            rank = rank + 1 if lines and lines[-1].split("\t")[0] == query else 1
            result = f"{query}\t{rank}\t{name}\t{score}" if judgement != "judgement" else None
            lines += [f"{query}\trank\tname\tscore"] if result is None else []
        elif form == "table":
            found = re.fullmatch(r"(?:itself| *\d+)  ( *[-\d.]+)  (?:sure      |likely    |no match  |          )?(.*)", line)
            rank = rank + 1 if found else 0
            result = f"{rank:6d}  {found[1]}  {found[2]}" if found else None
            lines += [] if found else [line]
        else:
            lines.append(line)
        lines += [result] if result is not None and rank <= int(k) else []
    return "".join(f"{line}\n" for line in lines)


def remade(answers):
    """Yield a sentence for each command that did not find its output up to date."""
    for command, answer in zip(COMMANDS, answers, strict=True):
        if command.out and " is up to date" not in answer["err"]:
            yield f"`{command.line}` did not find its output up to date: {answer['err'].strip()[-300:]}"


def folder_differences(old, new, allowed=ALLOWED):
    """Yield a sentence for each difference between the files in two folders: stores by what is in them, others byte for byte."""
    before, after = _files(old), _files(new)
    for name in sorted(before ^ after):
        yield f"{name}: only {'the older' if name in before else 'this'} code left it"
    occurred = set()
    order = {command.out: place for place, command in enumerate(COMMANDS)}  # causes before what they lead to
    for name in sorted(before & after, key=lambda name: (order.get(name, len(order)), name)):
        paths = os.path.join(old, name), os.path.join(new, name)
        if name.endswith(".h5"):
            yield from (f"{name}: {text}" for text in store_differences(*paths, allowed, occurred))
        elif not same_bytes(*paths, cut=name.endswith(CUT_FILES)):
            yield f"{name}: its bytes differ"
    yield from (f"allowed, but it does not occur: {entry.kind}, {entry.why}" for entry in allowed if id(entry) not in occurred)


def _files(folder):
    return {os.path.relpath(os.path.join(here, name), folder) for here, _, names in os.walk(folder) for name in names}


def same_bytes(*paths, cut=False):
    """Whether two files have the same bytes, but for `CUT`."""
    contents = []
    for path in paths:
        with open(path, "rb") as file:
            contents.append(CUT.sub(b"1", file.read()) if cut else file.read())
    return contents[0] == contents[1]


def store_differences(old, new, allowed=ALLOWED, occurred=None):
    """Yield a sentence for each difference between two HDF5 files: names, shapes, types and bytes of all datasets, their attributes, and
    `ATTRIBUTES`. What `allowed` has for the older one's kind is passed over, and noted in the set `occurred`."""
    with h5py.File(old, "r") as before, h5py.File(new, "r") as after:
        said, says = _said(before), _said(after)
        file = os.path.basename(new)
        entries = [entry for entry in allowed if entry.kind == said.get("kind") and (not entry.only or file in entry.only)]
        occurred = set() if occurred is None else occurred
        first, second = _members(before), _members(after)
        for entry in entries:
            moved = {path: name for path, name in entry.renamed.items() if path in first and name in second}
            first = {moved.get(path, path): member for path, member in first.items()}
            more = {path for path in second if entry.added and path.startswith(entry.added)}
            second = {path: member for path, member in second.items() if path not in more}
            if moved or more or any(said.get(name) != says.get(name) for name in entry.attributes):
                occurred.add(id(entry))
        for path in sorted(first.keys() | second.keys()):
            cut, close = (any(path in getattr(entry, what) for entry in entries) for what in ("cut", "close"))
            text = _difference(first.get(path), second.get(path), cut, close)
            if text:
                yield f"'{path}' {text}"
        may_differ = {name for entry in entries for name in entry.attributes}
        for name in (each for each in ATTRIBUTES if each not in may_differ):
            if said.get(name) != says.get(name):
                yield f"the attribute '{name}' is {says.get(name)!r:.200}, not {said.get(name)!r:.200}"


def _said(file):
    """What a store says of itself: in attributes, or in datasets."""
    documents = {name: dataset[()].tobytes() for name, dataset in file.get("meta", {}).items()}
    return _texts(dict(file.attrs) | documents)


def _texts(values):
    """Attributes, their texts as such whether they are of fixed length or not."""
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in values.items()}


def _members(file):
    """All datasets by their paths but for what a store says of itself and checksums of blocks, which older ones lack, and groups that would
    not be noticed by what is in them."""
    members = {}
    file.visititems(lambda path, member: members.update({path: member}))
    kept = {path: member for path, member in members.items() if path.partition("/")[0] not in ("meta", "blocks")}
    return {path: member for path, member in kept.items() if isinstance(member, h5py.Dataset) or member.attrs or not len(member)}


def _difference(before, after, cut=False, close=False):
    """What is different about a dataset (or group) in a few words; empty if nothing is."""
    if before is None or after is None:
        return f"is in the {'older' if after is None else 'new'} file only"
    said, says = _texts(before.attrs), _texts(after.attrs)
    if said != says:
        return f"has the attributes {says}, not {said}"
    if type(before) is not type(after):
        return "is a group in one of them"
    if isinstance(before, h5py.Group):
        return ""
    if (before.shape, before.dtype) != (after.shape, after.dtype):
        return f"is {after.shape} {after.dtype}, not {before.shape} {before.dtype}"
    before, after = before[()], after[()]
    if close and (
        np.count_nonzero(before != after) <= len(before) // 100 if before.dtype == np.uint8 else np.allclose(before, after, 0, 1e-6)
    ):
        return ""
    if cut and before.tobytes() != after.tobytes():
        before = np.clip(before, -1, 1)
    if before.tobytes() == after.tobytes():  # NaN and the sign of zero too
        return ""
    if before.dtype.kind != "f":
        return f"differs in {np.count_nonzero(before != after)} of {before.size} values"
    return f"differs by up to {np.nanmax(np.abs(before.astype(np.float64) - after)):.3g}"


def compare(folder, commit=OLD, fork=True, **photos):
    """Run everything in a folder; yields a sentence for each difference that is not allowed.

    Raises
    ------
    NoOldCode
    """
    older, newer, among = (os.path.join(os.path.realpath(folder), name) for name in ("old", "new", "among"))
    package = old_package(os.path.join(folder, "code"), commit)
    make_inputs(older, **photos)
    shutil.copytree(older, newer)  # with the times of files, which are in stores too
    with Code(package, fork) as first, Code(ROOT, fork) as second:
        first.start(older)
        second.start(newer)
        old, new = first.answers(), second.answers()
        shutil.copytree(older, among)
        second.start(among)
        again = second.answers()
        yield from (f"{code.package} ran no worker" for code in (first, second) if not (code.started and code.forked) and fork)
    yield from (f"the older code: {text}" for text in failures(old))
    yield from failures(new)
    yield from answer_differences(old, new)
    yield from folder_differences(older, newer)
    found = (failures(again), answer_differences(old, again), remade(again), changed(older, among))
    yield from (f"among the older files: {text}" for texts in found for text in texts)


def changed(before, after):
    """Yield a sentence for each file that did not stay as it was; those of commands that try again what failed may be new."""
    tried = {command.arguments[command.arguments.index("-o") + 1] for command in COMMANDS if command.code and "-o" in command.arguments}
    for name in sorted((_files(before) | _files(after)) - tried):
        paths = os.path.join(before, name), os.path.join(after, name)
        if not all(map(os.path.exists, paths)) or not same_bytes(*paths):
            yield f"{name} was changed"


def main():
    """Compare by hand; exit code 1 where anything differs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", help="a new one, for all that is made")
    parser.add_argument("--old", default=OLD, help="the older commit")
    parser.add_argument("--copies", type=int, default=1, help="changed copies of each photograph, at most 8")
    parser.add_argument("--side", type=int, default=224, help="longest side of the photos in pixels")
    parser.add_argument("--workers", action="store_true", help="every worker is a process of its own: slow")
    given = parser.parse_args()
    found = list(compare(given.folder, given.old, not given.workers, copies=given.copies, side=given.side))
    print(*found, sep="\n")
    print(f"{len(found)} differences in {len(COMMANDS)} commands")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
