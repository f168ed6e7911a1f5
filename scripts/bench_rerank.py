"""How long does it take to verify a pair of photos, and what is it worth, beside OpenCV's matcher and MAGSAC?

The queries of $IMGRET_TEST_DATA/photos/smvs_landmarks, each with its own photo, two of other landmarks and some distractors, are ranked by
inliers alone: mAP of the same pairs. Times are processor time on one thread, in turn, of pairs of photos with 2000 keypoints each, from
stored descriptors to the number of inliers; what is done once for a photo that asks is done before. With --words, the thresholds of a
Hamming codebook, from shared words too. pycolmap's two-view geometry is beside it where it is installed.

    IMGRET_TEST_DATA=/path/to/data python scripts/bench_rerank.py [--words THRESHOLDS]
"""

import argparse
import os
import pathlib

import bench
import cv2
import numpy as np

from imgret import images
from imgret.encoders.hamming import Hamming
from imgret.extractors.sift import RootSift
from imgret.features import LocalFeatures
from imgret.parallel import one_thread
from imgret.pipeline import Pipeline
from imgret.rerankers import tentative
from imgret.rerankers.spatial import Spatial
from imgret.store.reader import Store

BAR, WORDS_BAR, FASTER = 8.0, 0.3, 3.0  # ms a pair, and times as fast as the peer
SIDE = 640  # of the photos: the peer's error of 5 pixels is meant for such

EXTRACTOR = RootSift(RootSift.Params(contrast_threshold=0.01))
METHOD = Spatial(Spatial.Params())


def described(path):
    """The local features of a photo."""
    return EXTRACTOR.extract(images.decode(images.read_file(os.fsencode(path)).data, max_size=EXTRACTOR.max_size))


def fresh(features):
    """The same, as they come out of a store."""
    return LocalFeatures(features.keypoints, features.stored, features.columns, features.image_size, EXTRACTOR.decode)


def ours(query, photo):
    """Inliers by descriptors; `query` is prepared."""
    asked = tentative.Features(fresh(photo))
    return agreeing(query, asked)


def agreeing(query, asked):
    """Inliers of two photos that are prepared."""
    pairs = METHOD.pairs(query, asked)
    return METHOD.judged(query.places, asked.places, pairs)[0] if len(pairs) else 0


def peer(matched, query, photo):
    """Inliers of a homography by MAGSAC, of OpenCV's matches."""
    pairs = matched(query.descriptors, fresh(photo).descriptors)
    if len(pairs) < 4:
        return 0
    a, b = query.keypoints[pairs[:, 0], :2], photo.keypoints[pairs[:, 1], :2]
    _, inside = cv2.findHomography(a, b, cv2.USAC_MAGSAC, 5.0 * max(photo.image_size) / SIDE, maxIters=2000, confidence=0.999)
    return 0 if inside is None else int(inside.sum())


def crossed(one, other):
    """Matches that are mutual."""
    return np.array([(m.queryIdx, m.trainIdx) for m in cv2.BFMatcher(cv2.NORM_L2, crossCheck=True).match(one, other)]).reshape(-1, 2)


def nearer(one, other):
    """Matches that pass the ratio test."""
    found = cv2.BFMatcher(cv2.NORM_L2).knnMatch(one, other, k=2)
    return np.array([(m[0].queryIdx, m[0].trainIdx) for m in found if len(m) == 2 and m[0].distance < 0.8 * m[1].distance]).reshape(-1, 2)


def colmap(query, photo):
    """Inliers of pycolmap's two-view geometry, of the mutual matches that pass the ratio test."""
    import pycolmap

    pairs = np.array(sorted(set(map(tuple, nearer(query.descriptors, photo.descriptors)))), np.uint32).reshape(-1, 2)
    cameras = [
        pycolmap.Camera(model="SIMPLE_PINHOLE", width=w, height=h, params=[1.2 * max(w, h), w / 2, h / 2])
        for w, h in (query.image_size, photo.image_size)
    ]
    a, b = (each.keypoints[:, :2].astype(np.float64) for each in (query, photo))
    return len(pycolmap.estimate_two_view_geometry(cameras[0], a, cameras[1], b, pairs).inlier_matches)


def pairs_of(photos, distractors):
    """Queries of landmarks: (query, its photo, other photos)."""
    found = sorted((photos / "smvs_landmarks" / "images").glob("*_query.*"))
    references = [path.with_name(path.name.replace("_query", "_reference")) for path in found]
    others = sorted((photos / "distractors" / "images").iterdir())
    for number, query in enumerate(found):
        near = [references[(number + step) % len(found)] for step in (1, 2)]
        yield query, references[number], near + [others[(number * distractors + n) % len(others)] for n in range(distractors)]


def average_precision(inliers):
    """Of the first of some photos, ranked by inliers; equals are in its way."""
    return 1 / sum(count >= inliers[0] for count in inliers)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--words", help="a fitted `hamming` codebook, with its words")
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--distractors", type=int, default=8, help="beside each query's own photo (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each pair that is timed (default: %(default)s)")
    arguments = parser.parse_args()
    photos = pathlib.Path(os.environ.get("IMGRET_TEST_DATA", "nowhere"), "photos")
    asked = list(pairs_of(photos, arguments.distractors))[: arguments.queries]
    if not asked:
        raise SystemExit("there are no photos: set IMGRET_TEST_DATA to the folder that holds photos/SET/images/")
    print(f"one thread; {bench.machine('numpy', 'numba', 'opencv-contrib-python-headless', 'pycolmap')}")
    cv2.setNumThreads(1)
    with one_thread():
        made = {path: described(path) for query, own, others in asked for path in (query, own, *others)}
        rank(asked, made)
        large = [path for path, features in made.items() if len(features) == EXTRACTOR.params.max_keypoints]
        few = [(made[one], made[other]) for one, other in zip(large[::2], large[1::2], strict=False)][:10]
        time_pairs(few, programs(), arguments.rounds)
        if arguments.words:
            time_words(few, arguments.words, arguments.rounds)


def programs():
    """What is compared, by name: each takes the features of a query, prepared as it likes, and of a photo."""
    found = {
        "imgret, descriptors": (tentative.Features, ours),
        "OpenCV, crossCheck, MAGSAC": (None, lambda query, photo: peer(crossed, query, photo)),
        "OpenCV, ratio .8, MAGSAC": (None, lambda query, photo: peer(nearer, query, photo)),
    }
    try:
        import pycolmap  # noqa: F401
    except ImportError:
        return found
    return found | {"OpenCV, ratio .8, pycolmap": (None, colmap)}


def rank(asked, made):
    """Print what each program's ranking of the same pairs is worth."""
    rows = []
    for name, (prepare, program) in programs().items():
        precisions = []
        for query, own, others in asked:
            ready = prepare(made[query]) if prepare else made[query]
            precisions.append(average_precision([program(ready, made[path]) for path in (own, *others)]))
        rows.append([name, f"{np.mean(precisions):.3f}"])
    bench.table([f"{len(asked)} queries of {1 + len(asked[0][2])} photos", "mAP"], rows)


def time_pairs(few, compared, rounds):
    """Print what pairs of large photos take."""
    taken = {name: [] for name in compared}
    for query, photo in few:
        ready = {name: prepare(query) if prepare else query for name, (prepare, _) in compared.items()}
        for name, (_, program) in compared.items():
            program(ready[name], photo)
        turns = {
            name: lambda name=name, program=program, ready=ready, photo=photo: bench.call(lambda: program(ready[name], photo))
            for name, (_, program) in compared.items()
        }
        for name, cost in bench.in_turn(turns, rounds).items():
            taken[name].append(1e3 * cost.cpu)
    first = np.mean(next(iter(taken.values())))
    rows = [[name, f"{np.mean(costs):.2f}", f"{np.mean(costs) / first:.1f}"] for name, costs in taken.items()]
    bench.table([f"{len(few)} pairs of 2000 keypoints", "ms a pair", "times"], rows)
    least = min(np.mean(costs) for name, costs in taken.items() if name.startswith("OpenCV, ") and "MAGSAC" in name) / first
    print(f"{first:.2f} ms (bar {BAR:g}: {'met' if first <= BAR else 'MISSED'}); MAGSAC / imgret {bench.verdict(least, FASTER)}\n")


def time_words(few, path, rounds):
    """Print what the same pairs take by shared words."""
    with Store(path) as store:
        pipeline = Pipeline.load(store).whole()
    encoder = Hamming(Hamming.Params(), *pipeline.codebooks_for(Hamming)) if pipeline.node["component"] != "hamming" else None
    statistics = pipeline.component()
    if encoder is None:
        words = [child for child in pipeline.node["inputs"] if child["family"] == "codebook"][0]
        encoder = Hamming(Hamming.Params(), pipeline.component(words), statistics)
    costs = []
    for query, photo in few:
        ready, entries = tentative.Words(encoder.encode(query)), encoder.encode(photo)
        agreeing(ready, tentative.Words(entries))

        def again(ready=ready, entries=entries):
            for _ in range(20):
                agreeing(ready, tentative.Words(entries))

        costs += [1e3 * bench.call(again).cpu / 20 for _ in range(rounds)]
    mean = np.mean(costs)
    print(f"imgret, words: {mean:.2f} ms a pair (bar {WORDS_BAR:g}: {'met' if mean <= WORDS_BAR else 'MISSED'})")


if __name__ == "__main__":
    main()
