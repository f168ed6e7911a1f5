"""How many copies does `imgret duplicates` find, and at what precision, beside imagededup and a plain perceptual hash?

Originals: the first and every other one of $IMGRET_TEST_DATA/photos/distractors, whose copies are made by copies.py; the words of VLAD
are learned on the rest of them, which are no part of what is judged. All other sets are there too, and match nothing: among them are
photos of one cover, painting or building, which are no copies. A copy counts as found where it is in one group with its original
(imgret), or paired with it (the others); precision of a kind is that of all pairs that a copy of this kind is in. A program with a
threshold gets, for each kind, the one at which it finds most at no less than imgret's precision. imagededup (`pip install imagededup`) is
left out where it is not installed; its CNN runs on weights of MobileNetV2 that lie in $IMGRET_TEST_DATA/weights, as its own would have to
be downloaded.

--large N makes N random vectors of 128 dimensions with planted copies instead, indexed in 20 bytes each, and finds them by all vectors
and by the index.
"""

import argparse
import importlib.util
import json
import os
import pathlib
import resource
import sys
import tempfile
import time

import bench
import copies
import numpy as np

from imgret import builds
from imgret.parallel import available_cpus

SETS = ("mcv_paintings", "scenes", "smvs_dvd", "smvs_landmarks")
DUPLICATES = '"$0" -m imgret duplicates "$@" --json -q > {}'


class Truth:
    """What belongs together: photos by their file names.

    Attributes
    ----------
    names : list of str
        In order.
    family : ndarray, shape (N,)
        Of which original each is; a number of its own of a photo without copies.
    kind : ndarray, shape (N,)
        "" of what is no copy.
    """

    def __init__(self, photos, made):
        self.names = sorted(path.name for path in photos.iterdir())
        of = {copy.name: original.name for each in made.values() for copy, original in each.items()}
        kinds = {copy.name: kind for kind, each in made.items() for copy in each}
        self.family = np.unique([of.get(name, name) for name in self.names], return_inverse=True)[1]
        self.kind = np.array([kinds.get(name, "") for name in self.names])
        self.original = {family: row for row, family in enumerate(self.family.tolist()) if not self.kind[row]}

    def scored(self, found):
        """Recall and precision of each kind, for pairs (N, N), bool."""
        right = self.family[:, None] == self.family
        for kind in copies.KINDS:
            rows = np.flatnonzero(self.kind == kind)
            recall = np.mean([found[row, self.original[self.family[row]]] for row in rows])
            pairs, good = found[rows].sum(), (found[rows] & right[rows]).sum()
            yield kind, float(recall), float(good / pairs) if pairs else 1.0


def link(folder, data, count):
    """Originals, their copies and all that match nothing in one folder."""
    folder.mkdir()
    originals = sorted((data / "photos" / "distractors" / "images").iterdir())[::2][:count]
    for path in originals:
        (folder / path.name).symlink_to(path)
    for name in SETS:
        for path in sorted((data / "photos" / name / "images").iterdir()):
            (folder / f"{name}-{path.name}").symlink_to(path)
    return copies.make(originals, folder)


def ours(work, truth, jobs):
    """Pairs that imgret finds with and without features, and what each step costs."""
    imgret, build = [sys.executable, "-m", "imgret"], work / "build"
    costs = {"imgret build": bench.run([*imgret, "build", work / "photos", "-o", build, "-j", jobs])}
    found, rows = {}, {name: row for row, name in enumerate(truth.names)}
    for name, where in {"imgret": build, "imgret, vectors alone": builds.read(build).vectors}.items():
        out = work / "found.json"
        costs[name] = bench.run(["sh", "-c", DUPLICATES.format(out), sys.executable, where, "-j", jobs])
        found[name] = np.zeros((len(rows), len(rows)), bool)
        for group in json.loads(out.read_text())["groups"]:
            members = [rows[photo["name"]] for photo in (group["keep"], *group["copies"])]
            found[name][np.ix_(members, members)] = True
        np.fill_diagonal(found[name], False)
    return found, costs


def perceptual_hash(path):
    """64 bits: signs of the lowest frequencies of the photo at 32 x 32 pixels, about their median."""
    import cv2

    grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    low = cv2.dct(np.float32(cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA)))[:8, :8].ravel()
    return low > np.median(low)


def distances(hashes):
    """Differing bits (N, N)."""
    signs = np.where(hashes, 1, -1).astype(np.int16)
    return (signs.shape[1] - signs @ signs.T) // 2


def cost_of(function):
    """The cost of a call in this process and in those that it starts."""

    def used():
        return sum(part for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN) for part in resource.getrusage(who)[:2])

    before, start = used(), time.perf_counter()
    function()
    return bench.Cost(time.perf_counter() - start, used() - before)


def peers(work, truth, data):
    """Yield (name, distances (N, N), thresholds, cost) of each program."""
    hashes = []
    cost = cost_of(lambda: hashes.extend(perceptual_hash(work / "photos" / name) for name in truth.names))
    yield "64-bit pHash", distances(np.array(hashes)), range(0, 33), cost
    if not importlib.util.find_spec("imagededup"):
        print("imagededup is not installed: left out")
        return
    from imagededup import methods

    for name in ("PHash", "DHash"):
        encoded = {}
        cost = cost_of(
            lambda name=name, encoded=encoded: encoded.update(
                getattr(methods, name)(verbose=False).encode_images(str(work / "photos"), num_enc_workers=0)
            )
        )
        bits = [[bit == "1" for bit in f"{int(encoded[photo], 16):064b}"] for photo in truth.names]
        yield f"imagededup {name}", distances(np.array(bits)), range(0, 33), cost
    weights = data / "weights" / "mobilenet_v2_imagenet.pth"
    if weights.exists():
        yield _cnn(work, truth, weights)


def _cnn(work, truth, weights):
    import torch
    import torchvision
    from imagededup import methods
    from imagededup.utils import CustomModel

    model = torchvision.models.mobilenet_v2()
    model.load_state_dict({name: value.float() for name, value in torch.load(weights, weights_only=True).items()}, strict=False)
    model.classifier = torch.nn.Identity()
    transform = torchvision.models.MobileNet_V2_Weights.IMAGENET1K_V1.transforms()
    cnn, encoded = methods.CNN(verbose=False, model_config=CustomModel(name="mobilenet_v2", model=model.eval(), transform=transform)), {}
    cost = cost_of(lambda: encoded.update(cnn.encode_images(str(work / "photos"), num_enc_workers=0)))
    vectors = np.stack([np.ravel(encoded[photo]) for photo in truth.names])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return "imagededup CNN (MobileNetV2)", 1 - vectors @ vectors.T, np.linspace(0.005, 0.5, 100), cost


def best(truth, apart, thresholds, wanted):
    """For each kind the most that is found at a precision of at least `wanted[kind]`."""
    found = dict.fromkeys(copies.KINDS, (0.0, 1.0))
    for threshold in thresholds:
        pairs = apart <= threshold
        np.fill_diagonal(pairs, False)
        for kind, recall, precision in truth.scored(pairs):
            if precision >= wanted[kind] and recall > found[kind][0]:
                found[kind] = recall, precision
    return found


def judge(arguments, data):
    """Print the table of recall and precision."""
    with tempfile.TemporaryDirectory() as scratch:
        work = pathlib.Path(scratch)
        made = link(work / "photos", data, arguments.originals)
        truth = Truth(work / "photos", made)
        print(f"{len(truth.names)} photos, {arguments.originals} of them with {len(copies.KINDS)} copies each; recall / precision")
        print(bench.machine("imagededup", "opencv-contrib-python", "numpy") + "\n")
        found, costs = ours(work, truth, arguments.jobs)
        scores = {name: {kind: rest for kind, *rest in truth.scored(pairs)} for name, pairs in found.items()}
        wanted = {kind: precision for kind, (_, precision) in scores["imgret"].items()}
        for name, apart, thresholds, cost in peers(work, truth, data):
            scores[name], costs[name] = best(truth, apart, thresholds, wanted), cost
    rows = [[name, *(f"{recall:.3f} / {precision:.3f}" for recall, precision in each.values())] for name, each in scores.items()]
    bench.table(["", *copies.KINDS], rows)
    count = len(truth.names)
    bench.table(
        ["", "seconds", "CPU ms a photo"],
        [[name, f"{cost.seconds:.1f}", f"{1e3 * cost.cpu / count:.1f}"] for name, cost in costs.items()],
    )
    others = [each for name, each in scores.items() if not name.startswith("imgret")]
    for kind in copies.KINDS:
        own, most = scores["imgret"][kind][0], max(each[kind][0] for each in others)
        print(f"{kind}: imgret {own:.3f}, the best other {most:.3f}: {'met' if own >= most else 'MISSED'}")


def large(count, jobs):
    """Print what finding planted copies among many vectors costs."""
    imgret = [sys.executable, "-m", "imgret"]
    rng = np.random.default_rng(0)
    planted = count // 100
    x = rng.standard_normal((count, 128)).astype(np.float32) * np.linspace(2, 0.5, 128, dtype=np.float32)
    x[-planted:] = x[:planted] + 0.4 * rng.standard_normal((planted, 128)).astype(np.float32)
    with tempfile.TemporaryDirectory() as scratch:
        work = pathlib.Path(scratch)
        np.save(work / "x.npy", x)
        (work / "names").write_text("".join(f"{row:08d}\n" for row in range(count)))
        bench.run([*imgret, "import", work / "x.npy", "--names", work / "names", "-o", work / "x.h5"])
        {"index (opq, 20 bytes)": bench.run([*imgret, "index", work / "x.h5", "-m", "opq", "--set", "bytes=20", "-o", work / "i.h5"])}
        rows = []
        for by in ("vectors", "index"):
            out = work / "found.json"
            cost = bench.run(["sh", "-c", DUPLICATES.format(out), sys.executable, work / "i.h5", "--by", by, "-j", jobs])
            groups = json.loads(out.read_text())["groups"]
            pairs = {(int(group["keep"]["name"]), int(copy["name"])) for group in groups for copy in group["copies"]}
            good = sum(second - first == count - planted for first, second in pairs)
            rows.append([by, f"{good / planted:.4f}", f"{good / max(1, len(pairs)):.4f}", f"{cost.seconds:.1f}", f"{cost.cpu:.1f}"])
    print(f"{count} vectors of 128 dimensions, {planted} planted copies; {bench.machine('faiss-cpu', 'numpy')}")
    bench.table(["candidates by", "recall", "precision", "seconds", "CPU seconds"], rows)


def main():
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--originals", type=int, default=100, help="photos that are copied (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=available_cpus(), help="threads and processes (default: %(default)s)")
    parser.add_argument("--large", type=int, metavar="N", help="so many vectors instead")
    arguments = parser.parse_args()
    if arguments.large:
        large(arguments.large, arguments.jobs)
        return
    data = pathlib.Path(os.environ.get("IMGRET_TEST_DATA", "nowhere"))
    if not (data / "photos").is_dir():
        sys.exit("there are no photos: set IMGRET_TEST_DATA to the folder that holds photos/SET/images/")
    judge(arguments, data)


if __name__ == "__main__":
    main()
