"""Every command that writes, with all the files that it can write: what holds for one holds for all."""

import os

from helpers import call, stores

MADE = {  # each command, and its options that name a file to write
    "extract": (("extract", "{photos}", "-j1"), {"-o": "f.h5"}),
    "codebook": (("codebook", "{features}", "--size", 4, "-j1"), {"-o": "w.h5"}),
    "encode": (("encode", "{features}", "-c", "{words}", "-j1"), {"-o": "v.h5"}),
    "index": (("index", "{vectors}", "-j1"), {"-o": "i.h5"}),
    "search": (("search", "{index}", "{vectors}"), {"-o": "r.h5"}),
    "search --html": (("search", "{index}", "{vectors}", "--photos", "{photos}"), {"--html": "r.html"}),
    "export": (("export", "{vectors}"), {"-o": "v.npy", "--names": "n.txt"}),
    "import": (("import", "here.npy", "--names", "here.txt"), {"-o": "v.h5"}),
    "evaluate": (
        ("evaluate", "{ranking}", "--protocol", "groups", "--truth", "truth.csv", "--photos", "{photos}"),
        {"--per-query": "q.tsv", "--curve": "c.tsv", "--qrels": "q.txt", "--trec-run": "run.txt", "--html": "e.html"},
    ),
}


def workplace(folder, monkeypatch, *folders):
    """Make a folder the current one, with folders in it and a few things to read; gives it."""
    monkeypatch.chdir(folder)
    for name in folders:
        os.mkdir(name)
    given()
    return folder


def given():
    """A few things to read, in the current folder."""
    assert call("export", stores().vectors, "-o", "here.npy", "--names", "here.txt").code == 0
    with open("truth.csv", "w") as file:
        file.write("image,group\n" + "".join(f"{number}.png,{number // 2}\n" for number in range(6)))


def words(command, folder):
    """The words of a command that writes into a folder."""
    arguments, files = MADE[command]
    read = [str(word).format(**vars(stores())) for word in arguments]
    return [*read, *(word for option, name in files.items() for word in (option, os.path.join(folder, name)))]


def paths(command, folder):
    """The files that it writes, by option."""
    return {option: os.path.join(folder, name) for option, name in MADE[command][1].items()}
