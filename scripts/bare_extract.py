"""The peer of bench_extract.py: decode, reduce, SIFT, forget; as one would write it. Usage: bare_extract.py FOLDER JOBS PARAMS-AS-JSON."""

import json
import multiprocessing
import os
import sys

import cv2

params = json.loads(sys.argv[3])
cv2.setNumThreads(1)
sift = cv2.SIFT_create(
    nOctaveLayers=params["octave_layers"],
    contrastThreshold=params["contrast_threshold"],
    edgeThreshold=params["edge_threshold"],
    sigma=params["sigma"],
    enable_precise_upscale=True,
)


def describe(path):
    image = cv2.imread(path, cv2.IMREAD_GRAYSCALE)
    factor = params["max_size"] / max(image.shape)
    if factor < 1:
        image = cv2.resize(image, (round(image.shape[1] * factor), round(image.shape[0] * factor)), interpolation=cv2.INTER_AREA)
    keypoints, _ = sift.detectAndCompute(image, None)
    return len(keypoints)


if __name__ == "__main__":
    paths = [entry.path for entry in os.scandir(sys.argv[1])]
    with multiprocessing.get_context("fork").Pool(int(sys.argv[2])) as pool:
        print(sum(pool.imap_unordered(describe, paths, chunksize=8)))
        pool.close()
        pool.join()
