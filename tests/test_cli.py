"""The command line: options, names of every sort through every step and format, and what goes to which stream."""

import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import urllib.parse

import pytest
from helpers import ROOT, call, folder, misused, names_in, photo, refused, run, same_answers, stores, texture
from PIL import Image
from test_listing import NASTY

from imgret import __version__
from imgret.cli import COMMANDS
from imgret.cli.examples import EXAMPLES
from imgret.cli.main import cli
from imgret.encoders import ENCODERS


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


STEPS = ["extract", "import", "codebook", "encode", "index", "search", "evaluate", "export", "info"]


def test_help_and_version():
    result = call("--help")
    assert result.code == 0
    assert [line.split()[0] for line in result.lines if line.startswith("  ") and line.split()[0] in STEPS] == STEPS
    assert call("--version").lines == [f"imgret, version {__version__}"]
    for step in STEPS:
        result = call(step, "-h")
        assert result.code == 0
        assert result.lines[0].startswith(f"Usage: imgret {step} [OPTIONS]")
        assert result.err == ""


def test_unknown_words():
    misused(call("teach"), "No such command 'teach'.")
    result = call("extract", "p", "-o", "x", "--xyzzy")
    assert result.code == 2
    assert result.err.splitlines()[-1] in ("Error: No such option: --xyzzy", "Error: No such option '--xyzzy'.")  # click's own


GOOD_METHODS = {
    "extract": "'sift', 'rootsift', 'dense-sift', 'cnn', 'hsv-hist', 'color-moments', 'lbp', 'hog', 'gist'",
    "codebook": "'kmeans', 'akm', 'hkm', 'product', 'scalar', 'gmm', 'pca', 'lw', 'words', 'hamming', 'pq', 'opq', 'ivfpq', 'ivf-flat'",
    "index": "'flat', 'pq', 'opq', 'ivfpq', 'ivf-flat', 'hnsw', 'inverted'",
}


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["extract", "p"], "Missing option '-o' / '--out'."),
        (["import", "v.npy"], "Missing option '-o' / '--out'."),
        (["export", "v.h5"], "Missing option '-o' / '--out'."),
        (["search"], "Missing argument 'INDEX'."),
        (["evaluate", "--protocol", "ukbench"], "Missing argument 'RANKINGS...'."),
        (["extract", "p", "-o", "x", "-j", "0"], "Invalid value for '-j' / '--jobs': 0 is not in the range x>=1."),
        (["extract", "p", "-o", "x", "-j", "two"], "Invalid value for '-j' / '--jobs': 'two' is not a valid integer range."),
        (["codebook", "f", "-o", "x", "--seed", "-1"], "Invalid value for '--seed': -1 is not in the range x>=0."),
        (["codebook", "f", "-o", "x", "--sample", "0"], "Invalid value for '--sample': 0 is not in the range x>=1."),
        (["codebook", "f", "-o", "x", "--size", "many"], "Invalid value for '--size': 'many' is not a valid integer."),
        (["search", "i", "q", "-k", "0"], "Invalid value for '-k': `-k` must be a positive integer or 'all', got '0'"),
        (["search", "i", "q", "-k", "-3"], "Invalid value for '-k': `-k` must be a positive integer or 'all', got '-3'"),
        (["search", "i", "q", "-o", "x", "--json"], "--format is for what is printed; with -o the ranking is stored"),
        (
            ["search", "i", "q", "--format", "xml"],
            "Invalid value for '--format': 'xml' is not one of 'table', 'tsv', 'jsonl', 'trec', 'paths', 'paths0'.",
        ),
        (
            ["extract", "p", "-o", "x", "--device", "tpu"],
            "Invalid value for '--device': `--device` must be auto, cpu, cuda, cuda:N or mps, got 'tpu'",
        ),
        (["index", "v", "-o", "x", "--metric", "l1"], "Invalid value for '--metric': 'l1' is not one of 'cosine', 'l2', 'ip'."),
        (
            ["evaluate", "r", "--protocol", "trec"],
            "Invalid value for '--protocol': 'trec' is not one of 'groups', 'folders', 'ukbench', 'holidays', 'oxford5k', 'paris6k', "
            "'roxford5k', 'rparis6k', 'copydays', 'places', 'pairs', 'qrels', 'help'.",
        ),
        *(
            ([step, "p", "-o", "x", "-m", "magic"], f"Invalid value for '-m' / '--method': 'magic' is not one of {methods}.")
            for step, methods in GOOD_METHODS.items()
        ),
    ],
)
def test_misuse(arguments, text):
    misused(call(*arguments), text)


SIFT = "max_size, max_keypoints, contrast_threshold, edge_threshold, sigma, octave_layers, upright"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["extract", "p", "--set", "words=3"], f"this method has no parameter `words`; it has: {SIFT}"),
        (["extract", "p", "--set", "max_size=big"], "`max_size` must be an integer, got 'big'"),
        (["extract", "p", "--set", "max_size=3", "--set", "max-size=4"], "`max_size` is given twice"),
        (["extract", "p", "--set", "sigma=-1"], "`sigma` must be a number from 0.1 to 32.0, got -1.0"),
        (["extract", "p", "--set", "sigma"], "--set takes NAME=VALUE, got 'sigma'"),
        (["extract", "p", "--shard", "2/2"], "`--shard` must be I/N with I from 0 to N - 1, got '2/2'"),
        (["extract", "p", "--shard", "-1/2"], "`--shard` must be I/N with I from 0 to N - 1, got '-1/2'"),
        (["extract", "p", "--shard", "1"], "`--shard` must be I/N with I from 0 to N - 1, got '1'"),
        (["extract", "p", "--shard", "0/0"], "`--shard` must be I/N with I from 0 to N - 1, got '0/0'"),
        (["encode", "f", "-c", "w", "--shard", "a/b"], "`--shard` must be I/N with I from 0 to N - 1, got 'a/b'"),
        (["extract", "p", "--max-failed", "few"], "`--max-failed` must be a whole number or a percentage, got 'few'"),
        (["extract", "p", "--max-failed", "-1"], "`--max-failed` must be a whole number or a percentage, got '-1'"),
        (["extract", "p", "--max-failed", "%"], "`--max-failed` must be a whole number or a percentage, got '%'"),
        (["extract", "p", "--max-failed", "101%"], "`--max-failed` must be at most 100%, got '101%'"),
        (["extract"], "give at least one photo, a folder, '-' or --list"),
        (["codebook", "f", "--size", "0"], "`size` must be a positive integer, got 0"),
        (["codebook", "f", "--max-memory", "lots"], "`--max-memory` must be a size such as 2G or 500M, got 'lots'"),
        (["codebook", "f", "--max-memory", "0"], "`--max-memory` must be a size such as 2G or 500M, got '0'"),
        (["codebook", "f", "--max-memory", "inf"], "`--max-memory` must be a size such as 2G or 500M, got 'inf'"),
        (["codebook"], "give at least one features or vectors store"),
        (["encode", "-c", "w"], "give at least one features or vectors store"),
        (["index"], "give at least one vectors or words store"),
        (["index", "v", "--max-memory", "-2G"], "`--max-memory` must be a size such as 2G or 500M, got '-2G'"),
        (["search", "i"], "give at least one query: a photo, a folder, '-', --list, or a features, vectors or words store"),
    ],
)
def test_wrong_before_any_file_is_looked_at(here, arguments, text):
    """None of these files is there; the answer is about the command all the same."""
    refused(call(*arguments, "-o", "x.h5"), 2, text)
    assert os.listdir(".") == []


def test_set_help_lists_parameters_without_an_output():
    for arguments, first in (
        (["extract", "--set", "help"], "max_size=1024"),
        (["extract", "--set", "help", "-m", "dense-sift"], "max_size=512"),
        (["codebook", "-m", "gmm", "--set", "help"], "size="),
        (["encode", "-m", "vlad", "--set", "help"], "norm=residual,intra,power,l2"),
        (["encode", "-c", stores().words, "--set", "help"], "norm=residual,intra,power,l2"),
        (["encode", "-c", stores().projection, "--set", "help"], "dtype=float32"),
        (["evaluate", "--protocol", "places", "--set", "help"], "radius=25.0"),
        (["index", "--set", "help", "-m", "ivfpq"], ""),
        (["search", stores().index, "--set", "help"], ""),
    ):
        result = call(*arguments)
        assert (result.code, result.err) == (0, "")
        assert not first or any(line.startswith(first) for line in result.lines)
        assert result.lines == ["no parameters"] or all("=" in line for line in result.lines[::2])


def test_set_help_without_a_method_lists_those_of_all():
    lines = call("encode", "--set", "help").lines
    assert [line for line in lines if line in ENCODERS] == list(ENCODERS)
    assert lines[lines.index("vlad") + 1] == "norm=residual,intra,power,l2"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_ends_with_an_example(name):
    """It is of this command, and its options are there."""
    lines = call(name, "--help").lines
    lines = lines[next(number for number, line in enumerate(lines, 1) if line in ("  Example:", "  Examples:")) :]
    assert 1 <= len(lines) <= 2
    assert lines[0].startswith(f"    imgret {name} ")
    for line in lines:
        assert len(line) <= 120
        words = shlex.split(line)
        step = cli.get_command(None, words[1])
        taken = {option for param in step.params for option in param.opts}
        assert words[1] != name or {word for word in words if word.startswith("-")} <= taken
    assert set(EXAMPLES) >= {"", *COMMANDS}


@pytest.fixture(scope="module")
def nasty(tmp_path_factory):
    """An index of photos with names of every sort."""
    where = os.fsencode(tmp_path_factory.mktemp("nasty"))
    os.mkdir(where + b"/p")
    for seed, name in enumerate(NASTY):
        Image.fromarray(texture(seed)).save(open(where + b"/p/" + name, "wb"), "PNG")
    before = os.getcwd()
    os.chdir(where)
    try:
        for arguments in (
            ("extract", "p", "-o", "f.h5", "-j2"),
            ("codebook", "f.h5", "-o", "w.h5", "--size", "4"),
            ("encode", "f.h5", "-c", "w.h5", "-o", "v.h5", "-j2"),
            ("index", "v.h5", "-o", "i.h5"),
            ("search", "i.h5", "v.h5", "-o", "r.h5"),
        ):
            result = call(*arguments)
            assert result.code == 0, result.err
    finally:
        os.chdir(before)
    return where


def unescape(field):
    for short, long in ((b"\\\\", b"\0"), (b"\\t", b"\t"), (b"\\n", b"\n"), (b"\\r", b"\r"), (b"\0", b"\\")):
        field = field.replace(short, long)
    return field


def test_names_survive_every_step(nasty):
    for kind in ("f", "v", "i", "r"):
        assert names_in(nasty + f"/{kind}.h5".encode()) == sorted(NASTY)
    assert names_in(nasty + b"/r.h5", "query_") == sorted(NASTY)


@pytest.mark.parametrize("env", [{}, {"LC_ALL": "C"}, {"LC_ALL": "POSIX"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}])
def test_names_survive_tsv_in_every_locale(nasty, env):
    result = run("search", "i.h5", "p", "-k", "1", "--keep-self", cwd=nasty, env=env)
    assert (result.code, result.err) == (0, "")
    rows = [line.split(b"\t") for line in result.out.split(b"\n")[1:-1]]
    assert [unescape(row[0]) for row in rows] == sorted(NASTY)
    assert all(row[0] == row[2] and row[1] == b"1" for row in rows)


def test_names_survive_json_lines(nasty):
    result = run("search", "i.h5", "v.h5", "-k", "2", "--json", "--keep-self", cwd=nasty, env={"LC_ALL": "C"})
    answers = [json.loads(line) for line in result.out.splitlines()]
    assert [os.fsencode(answer["query"]) for answer in answers] == sorted(NASTY)
    for answer in answers:
        assert [entry["rank"] for entry in answer["results"]] == [1, 2]
        assert answer["results"][0]["name"] == answer["query"]
        assert answer["results"][0]["score"] > answer["results"][1]["score"]


def test_names_survive_trec_and_come_back(nasty):
    result = run("search", "i.h5", "v.h5", "-k", "1", "--format", "trec", cwd=nasty)
    rows = [line.split(b" ") for line in result.out.splitlines()]
    assert [urllib.parse.unquote_to_bytes(row[0]) for row in rows] == sorted(NASTY)
    assert all(len(row) == 6 and row[0] == row[2] for row in rows)


def test_names_survive_a_table(nasty):
    result = run("search", "i.h5", "v.h5", "-k", "1", "--format", "table", "--keep-self", cwd=nasty)
    lines = [re.sub(rb"\\x([0-9a-f]{2})", lambda code: bytes([int(code[1], 16)]), line) for line in result.out.split(b"\n")[:-1]]
    assert [unescape(line) for line in lines[::2]] == sorted(NASTY)
    assert [unescape(line[29:]) for line in lines[1::2]] == sorted(NASTY)
    assert not re.search(rb"[\0-\x09\x0b-\x1f\x7f]", result.out)


def test_names_survive_lists(nasty):
    paths = [b"p/" + name for name in NASTY]
    result = run("search", "i.h5", "-", "-0", "-k", "1", "--keep-self", "--root", "p", cwd=nasty, stdin=b"\0".join(paths))
    rows = [line.split(b"\t") for line in result.out.split(b"\n")[1:-1]]
    assert [unescape(row[0]) for row in rows] == sorted(NASTY)
    result = run("search", "i.h5", *paths[:2], "-k", "1", "--keep-self", "--root", "p", cwd=nasty)
    assert [unescape(line.split(b"\t")[0]) for line in result.out.split(b"\n")[1:-1]] == sorted(NASTY[:2])


def test_a_message_about_any_name_is_one_line(here):
    os.mkdir(b"p")
    for name in (b"new\nline.jpg", b"esc\x1b[31m.jpg", b"\xff.jpg"):
        with open(b"p/" + name, "wb") as file:
            file.write(b"x")
    listed = "esc\\x1b[31m.jpg (not-an-image), new\\x0aline.jpg (not-an-image), \udcff.jpg (not-an-image)"
    result = call("extract", "p", "-o", "f.h5", "-j1", "--max-failed", "100%")
    refused(result, 1, f"no photo could be used: {listed}")
    refused(call("extract", "gone\nhere", "-o", "f.h5"), 1, "gone\\x0ahere: there is no such file or folder")
    photo("p/good.png")
    assert call("extract", "p", "-o", "f.h5", "-j1", "--max-failed", "3").code == 0
    assert call("info", "f.h5", "--failed").out.split(b"\n")[:3] == [
        b"esc\x1b[31m.jpg\tnot-an-image\tit is not a JPEG, PNG, WebP, TIFF or BMP image",
        b"new\\nline.jpg\tnot-an-image\tit is not a JPEG, PNG, WebP, TIFF or BMP image",
        b"\xff.jpg\tnot-an-image\tit is not a JPEG, PNG, WebP, TIFF or BMP image",
    ]


def test_nothing_on_stdout_but_the_answer(here):
    folder("p", 2)
    result = call("extract", "p", "-o", "f.h5", "-j1", "-v")
    assert (result.code, result.out) == (0, b"")
    assert "imgret: f.h5: 2 photos described\n" in result.err
    result = call("extract", "p", "-o", "f.h5", "-j1")
    assert (result.code, result.out, result.err) == (0, b"", "imgret: f.h5 is up to date (2 photos)\n")
    result = call("search", "gone.h5", "p")
    refused(result, 1, "gone.h5: there is no such file or folder: `imgret build PHOTOS -o gone.h5` makes an index of photos")
    result = call("search", stores().index, "p", "-o", "r.h5", "-j1")
    assert (result.code, result.out) == (0, b"")


def test_quiet(here):
    folder("p", 2)
    for arguments in (
        ("extract", "p", "-o", "f.h5", "-j1"),
        ("extract", "p", "-o", "f.h5", "-j1"),
        ("codebook", "f.h5", "-o", "w.h5", "--size", "2"),
        ("encode", "f.h5", "-c", "w.h5", "-o", "v.h5", "-j1"),
        ("index", "v.h5", "-o", "i.h5"),
        ("search", "i.h5", "v.h5", "-o", "r.h5"),
    ):
        result = call(*arguments, "-q")
        assert (result.code, result.out, result.err) == (0, b"", "")


def piped(command):
    environment = dict(os.environ, PYTHONPATH=ROOT)
    return subprocess.run(["bash", "-c", command], capture_output=True, env=environment, check=False)


def test_a_reader_that_has_had_enough():
    program = f"{sys.executable} -m imgret"
    done = piped(f"{program} search {stores().index} {stores().vectors} | head -1")
    assert (done.stdout, done.stderr) == (b"query\trank\tname\tscore\tjudgement\n", b"")
    done = piped(f"{program} search {stores().index} {stores().vectors} | true; exit ${{PIPESTATUS[0]}}")
    assert (done.returncode, done.stderr) == (1, b"")
    done = piped(f"{program} info {stores().index} | head -1")
    assert done.stderr == b""


def test_streams_that_are_closed_or_full(tmp_path):
    program = f"{sys.executable} -m imgret"
    done = piped(f"{program} search {stores().index} {stores().vectors} > /dev/full")
    assert (done.returncode, done.stderr) == (1, b"imgret: error: standard output: No space left on device\n")
    done = piped(f"{program} info {stores().index} > /dev/full")
    assert (done.returncode, done.stderr) == (1, b"imgret: error: standard output: No space left on device\n")
    done = piped(f"ulimit -f 1; {program} help running > {tmp_path}/page")
    assert (done.returncode, done.stderr) == (1, b"imgret: error: standard output: File too large\n")
    closed = (
        b"imgret: error: standard output is closed, and what was to be written there is lost: open it, or send it to a file or /dev/null\n"
    )
    for answer in (f"search {stores().index} {stores().vectors}", f"info {stores().index}", "help running", "--version"):
        done = piped(f"{program} {answer} >&-")
        assert (done.returncode, done.stderr) == (1, closed)
    done = piped(f"{program} index {stores().vectors} -o {tmp_path}/i.h5 -q >&-")  # which has nothing to answer
    assert (done.returncode, done.stderr) == (0, b"")
    assert piped(f"{program} info {stores().index} 2>&-").returncode == 0
    done = piped(f"{program} index {stores().vectors} -o {tmp_path}/i.h5 2> /dev/full")  # what is told of it is lost, and no more
    assert (done.returncode, done.stdout) == (0, b"")
    done = piped(f"{program} extract - -o gone/x.h5 <&-")
    assert done.stderr.startswith(b"imgret: error: there is no photo in what was given (")


def test_info_as_json_for_every_kind():
    for kind in ("features", "words", "vectors", "index", "ranking"):
        facts = json.loads(call("info", getattr(stores(), kind), "--json", "--check", "--failed").out)
        assert facts["kind"] == {"words": "codebook"}.get(kind, kind)
        assert facts["problems"] == []
        assert facts["failed_photos"] == []
        assert facts["params"]["step"]


def test_k_all_and_k_beyond_the_gallery():
    for k in ("all", "1000", "6"):
        assert len(call("search", stores().index, stores().photos + "/0.png", "-k", k, "--keep-self").lines) == 7
    assert len(call("search", stores().index, stores().photos + "/0.png", "-k", "2", "--keep-self").lines) == 3


def test_photos_and_stores_as_queries_agree():
    by_vectors = call("search", stores().index, stores().vectors, "-k", "all")
    assert len(by_vectors.lines) == 37
    same_answers(call("search", stores().index, stores().photos, "-k", "all"), by_vectors)
    same_answers(call("search", stores().index, stores().features, "-k", "all"), by_vectors)


# all that a command or a worker may import, less what Python itself loads before `python -m` gives a program a say
PLANTED = (
    *("cProfile", "csv", "ctypes", "json", "random", "secrets", "selectors", "subprocess", "tempfile", "uuid"),
    *("PIL", "click", "cv2", "faiss", "h5py", "matplotlib", "numpy", "skimage", "threadpoolctl", "torch", "tqdm", "xxhash"),
)
SPRUNG = "import os; open(os.path.join(os.path.dirname(__file__), 'sprung'), 'a').write(__name__ + ' '); raise SystemExit('sprung')\n"
IN_A_FOLDER = {  # each step, in a folder with photos and modules
    "extract": ("extract", ".", "-o", "../out/f.h5", "-j", 2),
    "codebook": ("codebook", "../out/f.h5", "-o", "../out/w.h5", "--size", 4),
    "encode": ("encode", "../out/f.h5", "-c", "../out/w.h5", "-o", "../out/v.h5", "-j", 2),
    "index": ("index", "../out/v.h5", "-o", "../out/i.h5"),
    "search": ("search", "../out/i.h5", ".", "-o", "../out/r.h5", "-j", 2),
    "export": ("export", "../out/v.h5", "-o", "../out/v.npy", "--names", "../out/n.txt"),
    "import": ("import", "../out/v.npy", "--names", "../out/n.txt", "-o", "../out/again.h5"),
    "evaluate": ("evaluate", "../out/r.h5", "--protocol", "folders", "--html", "../out/r.html", "--photos", "."),
    "info": ("info", "../out/r.h5", "--check"),
    "help": ("help", "methods"),
}


@pytest.fixture(scope="module")
def trap(tmp_path_factory):
    """A stranger's photos, and modules beside them."""
    where = tmp_path_factory.mktemp("trap") / "photos"
    (where.parent / "out").mkdir()
    for group in "ab":
        folder(where / group, 3)
    for name in PLANTED:
        (where / f"{name}.py").write_text(SPRUNG)
    return where


def is_safe(step, trap, path=None):
    """Run a step anew; nothing that is planted may spring."""
    for name in (argument for flag, argument in itertools.pairwise(IN_A_FOLDER[step]) if flag in ("-o", "--html")):
        (trap / name).unlink(missing_ok=True)
    environment = {"PYTHONSAFEPATH": ""} | ({} if path is None else {"PYTHONPATH": path})
    result = run(*IN_A_FOLDER[step], cwd=trap, env=environment)
    assert not (trap / "sprung").exists(), (trap / "sprung").read_text()
    assert result.code == 0, result.err


@pytest.mark.parametrize("step", IN_A_FOLDER)
def test_nothing_in_the_current_folder_is_imported(trap, step):
    is_safe(step, trap)


@pytest.mark.parametrize("path", [":{}", "{}:", ".:{}", "{}:./"])
def test_no_entry_of_pythonpath_stands_for_the_current_folder(trap, path):
    is_safe("extract", trap, path.format(ROOT))


@pytest.mark.parametrize("program", [["-m", "imgret"], ["-c", "from imgret.cli.main import main; main()"]])
def test_a_package_that_is_in_the_current_folder_itself(trap, tmp_path, program):
    """Of what is there only the package is imported, by workers too."""
    here = tmp_path / "here"
    shutil.copytree(trap, here)
    shutil.copytree(os.path.join(ROOT, "imgret"), here / "imgret", ignore=shutil.ignore_patterns("__pycache__"))
    if program[0] == "-c":  # only what is loaded after `main` is called
        for name in {*PLANTED} - {"PIL", "cv2", "h5py", "numpy", "tqdm", "xxhash"}:
            (here / f"{name}.py").unlink()
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONSAFEPATH")}
    command = [sys.executable, *program, "extract", ".", "-o", "../f.h5", "-j2"]
    done = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, check=False)
    assert not (here / "sprung").exists(), (here / "sprung").read_text()
    assert (done.returncode, done.stderr) == (0, "imgret: ../f.h5: 6 photos described\n")


def test_a_folder_that_pythonpath_names_in_full_stays_on_the_path(trap, tmp_path):
    folder(tmp_path / "p", 1)
    (tmp_path / "sitecustomize.py").write_text("open('sprung', 'a').write('x')")
    result = run("extract", "p", "-o", "f.h5", "-j2", cwd=tmp_path, env={"PYTHONPATH": f"{tmp_path}:{ROOT}"})
    assert result.code == 0, result.err
    assert (tmp_path / "sprung").read_text() == "xx"  # the command, and its worker


@pytest.mark.parametrize(
    ("library", "command"), [("numpy", ("search", "{index}", "{vectors}")), ("cv2", ("extract", "photos", "-o", "f.h5", "-j1", "-q"))]
)
def test_libraries_that_cannot_be_loaded(tmp_path, library, command):
    """As where memory is short: in the command itself, and in a worker; what is wrong in a program stays a traceback."""
    os.mkdir(tmp_path / "photos")
    photo(tmp_path / "photos" / "a.png")
    (tmp_path / "broken" / library).mkdir(parents=True)
    module = tmp_path / "broken" / library / "__init__.py"
    command = [word.format(index=stores().index, vectors=stores().vectors) for word in command]
    start = {"cwd": tmp_path, "env": {"PYTHONPATH": f"{tmp_path}/broken:{ROOT}"}}
    module.write_text("raise ImportError('Original error was: libx-0.3.so.0: failed to map segment from shared object')")
    text = "out of memory, or a broken installation: libx-0.3.so.0 cannot be loaded (failed to map segment from shared object)"
    refused(run(*command, **start), 1, text if library == "numpy" else f"a worker: {text}")
    module.write_text("raise ImportError('cannot import name x')")
    assert (
        "Traceback"
        in subprocess.run(
            [sys.executable, "-m", "imgret", *command], cwd=tmp_path, env=dict(os.environ, **start["env"]), capture_output=True, text=True
        ).stderr
    )
