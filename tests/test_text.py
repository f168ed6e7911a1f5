"""Every command and option that reads text: with a byte order mark, in UTF-16, with any line ends, from a pipe, the result is the same."""

import json
import os

import numpy as np
import pytest
from helpers import call, encoded, names_in, stores, texture

from imgret.errors import counted
from imgret.formats import files
from imgret.stages.info import describe
from imgret.store.reader import Store

FORMS = {
    "UTF-8 with a mark": lambda text: text.encode("utf-8-sig"),
    "UTF-16": lambda text: text.encode("utf-16"),
    "UTF-16, big-endian": lambda text: b"\xfe\xff" + text.encode("utf-16-be"),
    "CR LF and a mark": lambda text: text.replace("\n", "\r\n").encode("utf-8-sig"),
    "CR": lambda text: text.replace("\n", "\r").encode(),
    "no last newline": lambda text: text.removesuffix("\n").encode(),
}
NAMES = ["a é.png", "b.png", "c.png"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three photos, a vectors store of them, rankings, a matrix."""
    here = tmp_path_factory.mktemp("text")
    os.mkdir(here / "p")
    for seed, name in enumerate(NAMES):
        (here / "p" / name).write_bytes(encoded(texture(seed)))
    np.save(here / "m.npy", np.eye(3, dtype=np.float32))
    (here / "m.ivecs").write_bytes(np.array([[3, 0, 1, 2], [3, 2, 1, 0], [3, 1, 2, 0]], "<i4").tobytes())
    (here / "names").write_text("\n".join(NAMES) + "\n")
    assert call("import", here / "m.ivecs", "--names", here / "names", "--queries", here / "names", "-o", here / "r.h5").code == 0
    assert call("import", here / "m.npy", "--names", here / "names", "-o", here / "v.h5").code == 0
    return here


def made(*arguments, stdin=b""):
    """The columns of what a command makes."""
    result = call(*arguments, "-o", "out.h5", "--overwrite", stdin=stdin)
    assert result.code == 0, result.err
    with Store("out.h5") as store:
        facts = [store.content, {name: store.read(name).tobytes() for name in store.column_names()}]
    os.unlink("out.h5")
    return facts


def read(path):
    with open(path, "rb") as file:
        return file.read()


def scores(protocol, truth=None, rankings=("r.h5",)):
    result = call("evaluate", *rankings, "--protocol", protocol, *(() if truth is None else ("--truth", truth)), "--json", "--resamples", 0)
    assert result.code == 0, result.err
    return json.loads(result.out)["runs"]


LIST = "".join(f"p/{name}\n" for name in NAMES)
BOXES = "image,x1,y1,x2,y2\n" + "".join(f"{name},10,20,90,100\n" for name in NAMES)
GROUPS = "image,group\na é.png,x\nb.png,x\nc.png,y;x\n"
REVISITED = {"imlist": ["a é", "b"], "qimlist": ["c"], "gnd": [{"bbx": [1, 2, 30, 40], "easy": [0], "hard": [1], "junk": []}]}
CONFIG = '["é"]\nrun = "codebook"\nmethod = "pca"\nsize = 1\n\n[x]\nrun = "extract"\n'
# the text of the files that a command reads, and the command
CASES = {
    "--list": ({"list": LIST}, lambda: made("extract", "--list", "list", "-j1")),
    "search --list": ({"list": LIST}, lambda: call("search", stores().index, "--list", "list").out),
    "search --list -0": ({"list": LIST.replace("\n", "\0")}, lambda: call("search", stores().index, "--list", "list", "-0").out),
    "search -": ({"list": LIST}, lambda: call("search", stores().index, "-", stdin=read("list")).out),
    "--boxes, a CSV": ({"b.csv": BOXES}, lambda: made("extract", "p", "--boxes", "b.csv", "-j1")),
    "--boxes, a folder": (
        {f"o/q_{kind}.txt": text for kind, text in (("query", "b 10 20 90 100\n"), ("good", "b\nc\n"), ("ok", "c\n"), ("junk", ""))},
        lambda: made("extract", "p", "--boxes", "o", "-j1"),
    ),
    "--boxes, JSON": ({"b.json": json.dumps(REVISITED)}, lambda: made("extract", "p", "--boxes", "b.json", "-j1")),
    "--config": ({"c.toml": CONFIG}, lambda: made("codebook", "v.h5", "--config", "c.toml:é")),
    "--pairs": ({"p.csv": GROUPS}, lambda: made("codebook", "v.h5", "-m", "lw", "--size", "1", "--pairs", "p.csv")),
    "import --names": ({"n": "\n".join(NAMES) + "\n"}, lambda: made("import", "m.npy", "--names", "n")),
    "import --names -0": ({"n": "\0".join(NAMES) + "\0"}, lambda: made("import", "m.npy", "--names", "n", "-0")),
    "import --queries": ({"n": "\n".join(NAMES) + "\n"}, lambda: made("import", "m.ivecs", "--names", "names", "--queries", "n")),
    "groups": ({"t.csv": GROUPS}, lambda: scores("groups", "t.csv")),
    "oxford5k": (
        {f"o/q_{kind}.txt": text for kind, text in (("query", "b 10 20 90 100\n"), ("good", "b\nc\n"), ("ok", "a\n"), ("junk", "c\n"))},
        lambda: scores("oxford5k", "o"),
    ),
    "roxford5k": ({"t.json": json.dumps(REVISITED, ensure_ascii=False)}, lambda: scores("roxford5k", "t.json")),
    "places": ({"t.csv": "image,east,north\na é.png,1,2\nb.png,300,2\nc.png,3,4\n"}, lambda: scores("places", "t.csv")),
    "pairs": ({"t.csv": "query,reference\na é.png,b.png\nc.png,\n"}, lambda: scores("pairs", "t.csv")),
    "qrels": ({"t": "a%20%C3%A9.png 0 b.png 1\nb.png 0 c.png 1\n"}, lambda: scores("qrels", "t")),
    "a TREC run": (
        {"run.txt": "a%20%C3%A9.png Q0 b.png 1 2 t\na%20%C3%A9.png Q0 c.png 2 1 t\nb.png Q0 c.png 1 1 t\n", "t.csv": GROUPS},
        lambda: scores("groups", "t.csv", ["run.txt"]),
    ),
    "lists in a folder": (
        {"lists/a é.png.txt": "b.png\nc.png\n", "lists/b.png.txt": "a é.png\n", "t.csv": GROUPS},
        lambda: scores("groups", "t.csv", ["lists"]),
    ),
}
SLOW = ("--list", "--boxes, a CSV", "--boxes, a folder", "--boxes, JSON")  # cases that start a process: two forms will do


@pytest.fixture
def case(folder, monkeypatch, request):
    """What a case gives with plain files, what writes them in another form, what gives the result anew, and the names of forms."""
    monkeypatch.chdir(folder)
    texts, result = CASES[request.param]

    def write(form):
        for path, text in texts.items():
            os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
            with open(path, "wb") as file:
                file.write(form(text))

    write(str.encode)
    yield result(), write, result, [name for name in FORMS if request.param not in SLOW or name in ("UTF-16", "CR LF and a mark")]
    for path in texts:
        os.unlink(path)


@pytest.mark.parametrize("case", CASES, indirect=True)
def test_the_result_is_the_same_in_any_form(case):
    plain, write, result, forms = case
    assert plain
    for name in forms:
        write(FORMS[name])
        assert result() == plain, name


@pytest.mark.parametrize("form", FORMS)
def test_holidays_names(folder, monkeypatch, form):
    monkeypatch.chdir(folder)
    text = "100000.jpg\n100001.jpg\n100100.jpg\n100101.jpg\n"
    with open("run.txt", "w") as file:
        file.write("100000.jpg Q0 100001.jpg 1 1 t\n100100.jpg Q0 100000.jpg 1 2 t\n100100.jpg Q0 100101.jpg 2 1 t\n")
    answers = []
    for data in (text.encode(), FORMS[form](text)):
        with open("holidays.dat", "wb") as file:
            file.write(data)
        answers.append(scores("holidays", "holidays.dat", ["run.txt"]))
    assert answers[0] == answers[1]


def test_text_that_is_a_pipe(folder, monkeypatch, tmp_path):
    """What is recorded of it is what was read, without the mark."""
    monkeypatch.chdir(folder)
    content = []
    for text in ("\n".join(NAMES), "\ufeff" + "\n".join(NAMES), "x\ny\nz\n"):
        reader, writer = os.pipe()
        os.write(writer, text.encode())
        os.close(writer)
        result = call("import", "m.npy", "--names", f"/dev/fd/{reader}", "-o", tmp_path / "v.h5")
        assert result.code == 0, result.err
        os.close(reader)
        content.append(describe(tmp_path / "v.h5")["inputs"][1]["content"])
    assert content[0] == content[1] != content[2]
    assert names_in(tmp_path / "v.h5") == [b"x", b"y", b"z"]


def test_bytes_that_are_no_utf_8_stay(tmp_path):
    path = tmp_path / "list"
    path.write_bytes(b"\xef\xbb\xbfcaf\xe9.jpg\r\nz\xff\r\n")
    assert list(files.lines(path)) == [(1, b"caf\xe9.jpg"), (2, b"z\xff")]


def test_lines_across_pieces(tmp_path, monkeypatch):
    path = tmp_path / "list"
    for end in ("\n", "\r\n", "\r"):
        for codec in ("utf-8-sig", "utf-16"):
            path.write_bytes(end.join(f"naïve {number}" for number in range(50)).encode(codec))
            for piece in range(16, 60):
                monkeypatch.setattr(files, "PIECE", piece)
                assert list(files.lines(path)) == [(number + 1, f"naïve {number}".encode()) for number in range(50)]


def test_no_folder_of_lists_is_passed_over(tmp_path, monkeypatch):
    os.makedirs(tmp_path / "lists/more")
    (tmp_path / "lists/a.txt").write_text("b\n")
    real = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: real(tmp_path / "gone" if os.fspath(path).endswith("more") else path))
    result = call("evaluate", tmp_path / "lists", "--protocol", "ukbench")
    assert (result.code, result.err) == (1, f"imgret: error: {tmp_path}/gone cannot be read: No such file or directory\n")


@pytest.mark.parametrize(
    ("said", "words"), [((1, "photo"), "1 photo"), ((0, "photo"), "0 photos"), ((3, "query"), "3 queries"), ((2, "is", "are"), "2 are")]
)
def test_counts_in_words(said, words):
    assert counted(*said) == words
