"""The demo: imgret's main job on real photos, every command shown before its output.

usage: demo.py [FOLDER [PHOTOS [LEARN]]]

Without PHOTOS, on photos made from scikit-image's bundled photographs. PHOTOS is a folder of one's own; a groundtruth.csv in it
(image,group or image,group,role; photos in it or in its `images`) is scored. LEARN is a folder of other photos to learn codebooks from.
"""

import csv
import hashlib
import json
import os
import shlex
import subprocess
import sys

import demo_photos

RESULTS = ("vlad", "fisher")


def main(arguments):
    """Run the demo; returns its exit code."""
    folder, own, learn = (*arguments, "", "", "")[:3]
    folder = folder or "demo"
    if own:
        return run_own(os.path.join(folder, f"own-{hashlib.sha256(os.path.abspath(own).encode()).hexdigest()[:8]}"), own, learn)
    os.makedirs(folder, exist_ok=True)
    made = demo_photos.make(folder)
    photos, query = os.path.join(folder, "photos"), os.path.join(folder, "query.jpg")
    say(
        f"{'Made' if made else 'There already:'} {len(os.listdir(photos))} photos in {photos}, {len(demo_photos.SCORE)} groups: "
        "crops, rotations, perspective, scale, blur, noise, JPEG, light.",
        f"Query: {query}, a copy of {demo_photos.QUERY} that is not among them.",
        f"Codebooks are learned on {len(demo_photos.LEARN)} other photographs ({folder}/learn), unchanged; none of them is scored.",
    )
    return run(folder, photos, os.path.join(folder, "learn"), os.path.join(folder, "groundtruth.csv"), query)


def run_own(folder, own, learn):
    """The demo on a folder of one's own."""
    if not os.path.isdir(own):
        sys.stderr.write(f"demo: {own} is no folder\n")
        return 1
    truth = os.path.join(own, "groundtruth.csv")
    truth = truth if os.path.isfile(truth) else None
    images = os.path.join(own, "images")
    photos = images if truth and os.path.isdir(images) else own
    query = first_photo(photos, truth)
    if query is None:
        sys.stderr.write(f"demo: there is no photo in {photos}\n")
        return 1
    os.makedirs(folder, exist_ok=True)
    say(
        f"Photos: {photos}. Results: {folder}.",
        f"Codebooks are learned on {learn}."
        if learn
        else "Codebooks are learned on these photos themselves: fine for searching, but it flatters scores. LEARN=FOLDER takes others.",
        f"Ground truth: {truth}." if truth else "There is no groundtruth.csv in the folder: nothing is scored, one photo is searched for.",
    )
    return run(folder, photos, learn or photos, truth, query)


def run(folder, photos, learn, truth, query):
    """extract, codebook, encode, index, search and evaluate; returns the first exit code that is not 0."""

    def at(name):
        return os.path.join(folder, f"{name}.h5")

    try:
        step("extract", photos, "-o", at("features"))
        teachers = at("features")
        if learn != photos:
            teachers = at("learn-features")
            step("extract", learn, "-o", teachers)
        step("codebook", teachers, "-o", at("words"), "-m", "kmeans", "--size", "64")
        step("codebook", teachers, "-o", at("mixture"), "-m", "gmm", "--size", "64", "--set", "pca=64")
        step("encode", at("features"), "-c", at("words"), "-o", at("vlad"), "-m", "vlad")
        step("encode", at("features"), "-c", at("mixture"), "-o", at("fisher"), "-m", "fisher")
        for name in RESULTS:
            step("index", at(name), "-o", at(f"{name}-index"))
            if truth:
                step("search", at(f"{name}-index"), at(name), "-o", at(f"{name}-ranking"))
        scores = []
        if truth:
            asked = ("evaluate", *(at(f"{name}-ranking") for name in RESULTS), "--protocol", "groups", "--truth", truth)
            report = os.path.join(folder, "report.html")
            step(*asked, "--format", "table", "--html", report, "--photos", photos)
            scores = mean_average_precisions(asked)
        step("search", at("vlad-index"), query, "-k", "5", "--format", "table")
    except subprocess.CalledProcessError as error:
        return error.returncode
    if scores:
        say(*(f"mAP {name:7} {score:.4f}" for name, score in zip(RESULTS, scores, strict=True)))
        say(f"Look at the results: {report}")
    say(f"Ask for another photo: {shlex.join(command('search', at('vlad-index'), 'PHOTO'))}")
    return 0


def command(*arguments):
    """The command line of a step, of the imgret beside this Python."""
    beside = os.path.join(os.path.dirname(sys.executable), "imgret")
    return [os.path.relpath(beside) if os.path.exists(beside) else "imgret", *arguments]


def step(*arguments):
    """Show a command line and run it.

    Raises
    ------
    subprocess.CalledProcessError
        If it fails.
    """
    say("$ " + shlex.join(["imgret", *arguments]))
    subprocess.run(command(*arguments), check=True)


def mean_average_precisions(asked):
    """The mAP of each ranking, as `imgret evaluate` gives it."""
    done = subprocess.run(command(*asked, "--json"), check=True, stdout=subprocess.PIPE)
    return [result["measures"]["map"] for result in json.loads(done.stdout)["runs"]]


def first_photo(folder, truth):
    """A photo to ask for: the first one that may ask by the ground truth, else the first one there is."""
    if truth:
        with open(truth, newline="", encoding="utf-8", errors="surrogateescape") as file:
            for row in csv.DictReader(file):
                path = os.path.join(folder, row.get("image") or "")
                if "query" in (row.get("role") or "query") and os.path.isfile(path):
                    return path
    for where, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            if name.lower().endswith((".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")) and not name.startswith("."):
                return os.path.join(where, name)
    return None


def say(*lines):
    """Print lines after an empty one."""
    print("", *lines, sep="\n", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
