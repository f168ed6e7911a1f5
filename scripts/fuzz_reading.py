"""Small stores of every kind, what reads them, and what it made of spoiled ones: the worker of `fuzz_stores.py`.

    python -P scripts/fuzz_reading.py FOLDER SEED READERS

reads lines of JSON, [store, number], and answers each with a line: the outcome and a word about it; of a negative number, what every reader
answers of the sound store.
"""

import contextlib
import glob
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import traceback

SCRIPTS = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(SCRIPTS)
DATA = os.path.join(ROOT, "tests", "data")
MEMORY = 1 << 30  # beside what the libraries take

MAKE = """
extract photos -o features.h5 --set max_keypoints=30 --set contrast_threshold=0.01 --max-failed 1
extract photos -o boxes.h5 --boxes boxes.csv --set max_keypoints=30 --set contrast_threshold=0.01 --max-failed 2
codebook features.h5 -o words.h5 --size 3
codebook features.h5 -o gmm.h5 -m gmm --size 2 --set pca=4 --set iterations=3
encode features.h5 -c words.h5 -o vectors.h5
codebook vectors.h5 -o pca.h5 -m pca --size 3
index vectors.h5 -o index.h5
index vectors.h5 -o ivf.h5 -m ivf-flat --set lists=2
index vectors.h5 -o hnsw.h5 -m hnsw --set m=4
search index.h5 vectors.h5 -o ranking.h5
extract photos -o parted.h5 --set max_keypoints=30 --set contrast_threshold=0.01 --max-failed 1 --shard 0/1
"""
FEATURES = """
encode {} -c words.h5 -o out.h5
codebook {} -o out.h5 --size 3
search index.h5 {} -k 3 --format tsv
export {} -o out.npy --names out.txt --offsets out-offsets.npy --keypoints out-keypoints.npy
extract photos -o {} --set max_keypoints=30 --set contrast_threshold=0.01 --max-failed 2 --overwrite
"""
VECTORS = """
encode {} -c pca.h5 -o out.h5
index {} -o out.h5
codebook {} -o out.h5 -m pca --size 2
search index.h5 {} -k 3 --format tsv
export {} -o out.fvecs --names out.txt
"""
INDEX = """
search {} vectors.h5 -k 3 --format tsv
search {} features.h5 -o out.h5
search {} photos/1.png -k 3 --format jsonl
"""
RANKING = """
evaluate {} --protocol groups --truth truth.csv --format json --resamples 0
evaluate {} ranking.h5 --protocol groups --truth truth.csv --format tsv --resamples 10 --per-query out.tsv
export {} -o out.trec
"""
PARTED = "extract photos -o parted.h5 --set max_keypoints=30 --set contrast_threshold=0.01 --max-failed 1"
# what is spoiled: what reads it. A part or a plan is put in its place, and the step that it is of goes on
SUBJECTS = {
    "features.h5": FEATURES,
    "boxes.h5": FEATURES,
    "words.h5": "encode features.h5 -c {} -o out.h5\nexport {} -o out.npy --array centroids",
    "gmm.h5": "encode features.h5 -c {} -o out.h5",
    "pca.h5": "encode vectors.h5 -c {} -o out.h5\nexport {} -o out.fvecs --array components",
    "vectors.h5": VECTORS,
    "index.h5": INDEX,
    "ivf.h5": INDEX,
    "hnsw.h5": INDEX,
    "ranking.h5": RANKING,
    "part.h5": PARTED,
    "plan.h5": PARTED,
    "features-1.h5": FEATURES,
    "words-1.h5": "encode features-1.h5 -c {} -o out.h5",
    "vectors-1.h5": "index {} -o out.h5\nexport {} -o out.npy",
    "index-1.h5": "search {} vectors-1.h5 -k 3 --format tsv",
    "index-2.h5": "search {} vectors-1.h5 -k 3 --format tsv",
    "ranking-1.h5": RANKING.replace(" ranking.h5", " ranking-1.h5"),
}
OLDER = {"features": "features", "words": "codebook", "vectors": "vectors", "index": "index", "ranking": "ranking"}
CHECK = "info {} --check"


def make(folder):
    """Write everything that is spoiled, and what is read with it."""
    import golden

    os.makedirs(folder, exist_ok=True)
    os.chdir(folder)
    golden.make_photos()
    for version, names in ((1, OLDER), (2, ("index",))):
        for name in names:
            shutil.copy(os.path.join(DATA, f"schema-{version}", f"{OLDER[name]}.h5"), f"{name}-{version}.h5")
    with open("boxes.csv", "w", encoding="ascii") as file:
        file.write("image,x1,y1,x2,y2,id\n" + "".join(f"{n}.png,0,0,80,{70 + n},box-{n}\n" for n in range(golden.PHOTOS)))
    with open("truth.csv", "w", encoding="ascii") as file:
        file.write("image,group\n" + "".join(f"{n}.png,{n % 2}\n" for n in range(golden.PHOTOS)))
    for line in MAKE.strip().splitlines():
        answer = call(line.split())
        if answer["code"]:
            raise SystemExit(f"`{line}`: {answer['err']}")
    os.rename("parted.h5.parts", "parts")
    shutil.copy(*glob.glob("parts/*/0001/*/000000.h5"), "part.h5")
    shutil.copy(*glob.glob("parts/*/0001/plan.h5"), "plan.h5")


def make_apart(folder):
    """`make` in a process of its own, as it changes the current folder."""
    code = f"import sys; sys.path.insert(0, {SCRIPTS!r}); import fuzz_reading; fuzz_reading.make({folder!r})"
    subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": ROOT}, stderr=subprocess.PIPE, check=True)


def call(arguments):
    """Run a command in this process: exit code, what it printed, and the traceback, if it ended with one."""
    from imgret.cli.main import main

    out, err, streams, code, trace = io.BytesIO(), io.BytesIO(), (sys.stdout, sys.stderr), None, ""
    sys.stdout, sys.stderr = io.TextIOWrapper(out), io.TextIOWrapper(err)
    try:
        main(arguments)
    except SystemExit as end:
        code = end.code
    except Exception:  # noqa: BLE001  what is looked for
        trace = traceback.format_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        printed, said = out.getvalue(), err.getvalue()  # before the wrappers go and close them
        sys.stdout, sys.stderr = streams
    said = said.decode("utf-8", "replace")
    return {"code": code, "out": hashlib.sha256(printed).hexdigest(), "err": said, "trace": trace or ("Traceback" in said and said) or ""}


def read(subject, line, path):
    """Let a command read a store; what it answered, with what it wrote."""
    for old in glob.glob("out*") + glob.glob("spoiled.h5*") + glob.glob("parted.h5*"):
        shutil.rmtree(old, ignore_errors=True) if os.path.isdir(old) else os.unlink(old)
    shutil.copy(path, "spoiled.h5")
    if line == PARTED:
        shutil.copytree("parts", "parted.h5.parts")
        (place,) = glob.glob("parted.h5.parts/*/0001/plan.h5" if subject == "plan.h5" else "parted.h5.parts/*/0001/*/000000.h5")
        os.replace("spoiled.h5", place)
    answer = call(line.replace("{}", "spoiled.h5").split())
    made = glob.glob("out*") + glob.glob("parted.h5") + (["spoiled.h5"] if line.startswith("extract") and line != PARTED else [])
    answer["made"] = {name: _identity(name) for name in sorted(made) if os.path.isfile(name)} if answer["code"] == 0 else {}
    return answer


def _identity(path):
    from imgret.errors import ImgretError
    from imgret.store.reader import Store

    if path.endswith(".h5"):
        with contextlib.suppress(ImgretError), Store(path) as store:
            return store.content
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def spoiled(subject, number, seed, path):
    """Write mutant `number` of a subject: the even ones by what is in them, the odd ones byte by byte. Whether it was signed again."""
    import fuzz_mutants
    import numpy as np

    rng = np.random.default_rng([seed, sorted(SUBJECTS).index(subject), number])
    shutil.copy(subject, path)
    if number % 2 == 0:
        try:
            return rng, fuzz_mutants.spoil(path, rng)
        except (OSError, KeyError, ValueError, TypeError, RuntimeError, IndexError, OverflowError):
            return rng, False  # HDF5 does not write everything that it is told to: the mutant is what it has written
    with open(path, "rb") as file:
        data = file.read()
    with open(path, "wb") as file:
        file.write(fuzz_mutants.spoil_bytes(data, rng))
    return rng, False


def judge(subject, number, seed, readers, sound):
    """What a mutant did to `info --check` and to some of its readers: the outcome, and a word about it."""
    rng, signed = spoiled(subject, number, seed, "mutant.h5")
    lines = SUBJECTS[subject].strip().splitlines()
    if subject not in ("part.h5", "plan.h5"):
        lines = [CHECK, *(lines[place] for place in sorted(rng.permutation(len(lines))[:readers]))]
    answers = {line: read(subject, line, "mutant.h5") for line in lines}
    for line, answer in answers.items():
        if answer["trace"]:
            return "traceback", f"{line}: {answer['trace'].strip().splitlines()[-1]}\n{answer['trace']}"
        if "out of memory" in answer["err"]:
            return "1 GiB", f"{line}: {answer['err']}"
    others = [line for line, answer in answers.items() if line != CHECK and answer["code"] == 0 and not _same(answer, sound[subject][line])]
    if others and signed:
        return "other", ""
    if others:
        found = CHECK in answers and answers[CHECK]["code"] != 0
        return "--check" if found else "wrong", others[0]
    refused = [line for line, answer in answers.items() if answer["code"] != 0]
    return ("refused", answers[refused[0]]["err"].strip()[-200:]) if refused else ("the same", "")


def _same(answer, other):
    return (answer["code"], answer["out"], answer["made"]) == (other["code"], other["out"], other["made"])


def work(folder, seed, readers):
    """Judge the mutants that lines on stdin name, until it ends."""
    import resource

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    import cv2
    import faiss
    import unchanged_run

    from imgret.store import older

    cv2.setNumThreads(1)
    faiss.omp_set_num_threads(1)
    older.SECONDS = 1
    subprocess.Popen = unchanged_run.Workers(ROOT, True)  # workers begin as copies of this process, which has its libraries loaded
    here = tempfile.mkdtemp(dir=folder)
    for name in os.listdir(folder):
        if name not in (os.path.basename(here), "sound.json") and not name.startswith("tmp"):
            os.symlink(os.path.join(folder, name), os.path.join(here, name))
    os.chdir(here)
    with open("/proc/self/statm") as file:
        size = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, resource.RLIM_INFINITY))
    sound = None
    for line in sys.stdin:
        subject, number = json.loads(line)
        if number < 0:
            answer = {line: read(subject, line, subject) for line in (CHECK, *SUBJECTS[subject].strip().splitlines())}
        else:
            if sound is None:
                with open(os.path.join(folder, "sound.json"), encoding="ascii") as file:
                    sound = json.load(file)
            answer = judge(subject, number, seed, readers, sound)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    work(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
