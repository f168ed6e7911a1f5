"""The demo: imgret's main job on real photos, every command shown before its output.

usage: demo.py [FOLDER]

PHOTOS and LEARN are taken from the environment, as names there may hold anything. Without PHOTOS, on photos made from scikit-image's
bundled photographs. PHOTOS is a folder of one's own; a groundtruth.csv in it (image,group or image,group,role; photos in it or in its
`images`) is scored. LEARN is a folder of other photos, on which words are learned instead of taking the ready ones.
"""

import csv
import hashlib
import json
import os
import shlex
import subprocess
import sys

import demo_photos

LEARNING = "rootsift-vlad256"  # the config that learns its words


def main(arguments):
    """Run the demo; returns its exit code."""
    folder = arguments[0] if arguments else "demo"
    own, learn = os.environ.get("PHOTOS", ""), os.environ.get("LEARN", "")
    if own:
        return run_own(os.path.join(folder, f"own-{hashlib.sha256(os.fsencode(os.path.abspath(own))).hexdigest()[:8]}"), own, learn)
    os.makedirs(folder, exist_ok=True)
    made = demo_photos.make(folder)
    photos, query = os.path.join(folder, "photos"), os.path.join(folder, "query.jpg")
    say(
        f"{'Made' if made else 'There already:'} {len(os.listdir(photos))} photos in {photos}, {len(demo_photos.SCORE)} groups: "
        "crops, rotations, perspective, scale, blur, noise, JPEG, light.",
        f"Query: {query}, a copy of {demo_photos.QUERY} that is not among them.",
        "The visual words are ready: a part of the package, learned on a few photographs, some of these among them.",
    )
    return run(folder, photos, learn, os.path.join(folder, "groundtruth.csv"), query)


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
        f"Visual words are learned on {learn}." if learn else "The visual words are ready: LEARN=FOLDER learns them on other photos.",
        f"Ground truth: {truth}." if truth else "There is no groundtruth.csv in the folder: nothing is scored, one photo is searched for.",
    )
    return run(folder, photos, learn, truth, query)


def run(folder, photos, learn, truth, query):
    """build, search and evaluate; returns the first exit code that is not 0."""
    built = os.path.join(folder, "learned" if learn else "built")
    ranking, report = os.path.join(folder, "ranking.h5"), os.path.join(folder, "report.html")
    try:
        step("build", photos, "-o", built, *(("--config", LEARNING, "--learn", learn) if learn else ()))
        if truth:
            step("search", built, os.path.join(built, "vlad.h5"), "-o", ranking, "--overwrite")
            scored = ("evaluate", ranking, "--protocol", "groups", "--truth", truth)
            step(*scored, "--format", "table", "--html", report, "--overwrite")
            score = mean_average_precision(scored)
        step("search", built, query, "-k", "5", "--format", "table")
    except subprocess.CalledProcessError as error:
        return error.returncode
    if truth:
        say(f"mAP {score:.4f}")
        say(f"Look at the results: {report}")
    say(f"Ask for another photo: {shlex.join(command('search', built, 'PHOTO'))}")
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


def mean_average_precision(asked):
    """The mAP of a ranking, as `imgret evaluate` gives it."""
    done = subprocess.run(command(*asked, "--json"), check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)["runs"][0]["measures"]["map"]


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
