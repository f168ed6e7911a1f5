"""The pages of the documentation: fresh, linked, small enough where they must be, and shown by `imgret help`."""

import fnmatch
import importlib
import importlib.util
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from helpers import ROOT, call, misused, refused, run
from test_architecture import FAMILIES

from imgret.cli import COMMANDS
from imgret.cli import help as pages
from imgret.evaluation import PROTOCOLS
from imgret.store import layout

SCRIPT = Path(ROOT) / "scripts" / "docs.py"
TEXTS = pages.read()
METHODS, PROTOCOL_PAGE = pages.sections(TEXTS["methods"]), pages.sections(TEXTS["protocols"])


@pytest.fixture(scope="module")
def docs():
    spec = importlib.util.spec_from_file_location("docs", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def changed(docs, path, old, new):
    """All texts, with a change to one of them."""
    texts = docs.read()
    assert old in texts[path]
    return {**texts, path: texts[path].replace(old, new)}


# what `make docs` and `make check` do


def test_the_docs_are_fresh_and_their_links_lead_somewhere():
    done = subprocess.run([sys.executable, SCRIPT, "--check"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        ("imgret/docs/format.md", "| `offsets`  ", "| `ofsets`  "),
        ("imgret/docs/commands.md", "$ imgret info --help", "$ imgret infos --help"),
        ("README.md", "0.30811", "0.99999"),
        ("README.md", "- [A tour in", "- [A walk in"),
    ],
)
def test_what_is_stale_is_named_and_made_anew(docs, monkeypatch, capsys, path, old, new):
    texts, stale = docs.read(), changed(docs, path, old, new)
    assert docs.fresh(stale) == texts
    monkeypatch.setattr(docs, "read", lambda: stale)
    assert docs.main(["--check"]) == 1
    assert capsys.readouterr().err == f"{path} is stale: run `make docs`\n"


def test_a_generated_page_that_is_missing_is_made(docs):
    texts = docs.read()
    assert docs.fresh({path: text for path, text in texts.items() if path != "imgret/docs/json.md"}) == texts


def test_links_that_lead_nowhere_and_a_large_readme_are_named(docs):
    def said(old, new):
        return list(docs.problems(changed(docs, "README.md", old, new)))

    link = "](imgret/docs/results.md#speed)"
    assert said(link, "](imgret/docs/results.md#haste)") == ["README.md: the link to imgret/docs/results.md#haste leads nowhere"]
    assert said(link, "](imgret/docs/result.md)") == ["README.md: the link to imgret/docs/result.md leads nowhere"]
    assert said(link, "](#how-fast)") == []
    assert said(link, "](Makefile)") == []
    assert said(link, "](https://example.org/nowhere)") == []
    size = len((Path(ROOT) / "README.md").read_bytes())
    more = 14 * 1024 - size
    assert said("MIT licence.", "MIT licence." + "x" * more) == []
    assert said("MIT licence.", "MIT licence.x" + "x" * more) == [
        "README.md has 14337 bytes, 14336 are allowed: move something to imgret/docs"
    ]


@pytest.mark.parametrize(
    ("old", "new"), [("<!-- /pages -->", ""), ("<!-- pages -->", "<!-- pagers -->"), ("<!-- /pages -->", "<!-- /tour -->")]
)
def test_marks_come_in_pairs(docs, old, new):
    text = r"^README\.md: each part must stand between <!-- NAME --> and <!-- /NAME -->, and NAME be one of: tour, pages, configs$"
    with pytest.raises(ValueError, match=text):
        docs.fresh(changed(docs, "README.md", old, new))


def test_the_readme_quotes_only_what_the_tour_runs(docs):
    with pytest.raises(ValueError, match=r"^imgret/docs/tour\.md does not run `imgret search it -k 4`, so its output cannot be quoted$"):
        docs.fresh(changed(docs, "README.md", "imgret search tour/photos.imgret query.jpg -k 4", "imgret search it -k 4"))


def test_the_tour_is_walked_in_an_empty_folder(docs, tmp_path):
    text = "# Tour\n\n```\n$ echo one; echo two > tour/made\nstale\n$ ls tour\n```\n\nMore.\n\n```\nno command\n```\n"
    (tmp_path / "tour").mkdir()
    (tmp_path / "tour" / "old").touch()
    walked = docs.walked(text, tmp_path)
    assert walked == text.replace("stale", "one").replace("$ ls tour\n", "$ ls tour\nmade\n")
    assert docs.outputs(walked) == {"echo one; echo two > tour/made": ["one"], "ls tour": ["made"]}


def test_every_axis_of_the_layout_is_explained():
    versions = [kind.at(version) for kind in layout.KINDS.values() for version in (kind.version, *kind.older)]
    axes = [axis for kind in versions for column in kind.columns for axis in column.shape]
    assert {letter for axis in axes for letter in re.findall("[A-Za-z]", str(axis))} == set(layout.AXES)


def test_every_command_method_protocol_and_config_has_its_place():
    for name in COMMANDS:
        assert f"$ imgret {name} --help\n" in TEXTS["commands"]
    tables = [vars(importlib.import_module(f"imgret.{family}"))[family.upper()] for family in sorted({*FAMILIES, "trainers"})]
    assert sorted(METHODS) == sorted({name for table in tables for name in table})
    assert list(PROTOCOL_PAGE) == list(PROTOCOLS)
    readme = (Path(ROOT) / "README.md").read_text(encoding="utf-8")
    for path in (Path(ROOT) / "configs").glob("*.toml"):
        assert f"| `{path.stem}` |" in readme


def test_the_figures_in_the_readme_are_those_of_the_results():
    readme = (Path(ROOT) / "README.md").read_text(encoding="utf-8")
    means = re.findall(r"^\| `[\w-]+` \|[^|]*\| (\.\d+)(?:\\\*)? \|", readme, re.MULTILINE)
    ratios = re.findall(r"\| ([^|]*×[^|]*) \|$", readme, re.MULTILINE)
    assert (len(means), len(ratios)) == (17, 5)
    for figure in (*means, *ratios):
        assert f"| {figure} |" in TEXTS["results"]


def test_every_page_is_package_data():
    with open(Path(ROOT) / "pyproject.toml", "rb") as file:
        globs = tomllib.load(file)["tool"]["setuptools"]["package-data"]["imgret"]
    for name in os.listdir(Path(ROOT) / "imgret" / "docs"):
        assert any(fnmatch.fnmatch(f"docs/{name}", pattern) for pattern in globs), name


# imgret help


def test_help_lists_the_pages():
    result = call("help")
    assert result.code == 0
    assert [line.split()[0] for line in result.lines] == sorted(TEXTS)
    assert "running      Running: resume, Slurm, cron, make, exit codes" in result.lines
    assert result.err == "imgret: `imgret help TOPIC` shows one; a command, a method or a protocol is a topic too\n"


@pytest.mark.parametrize("name", TEXTS)
def test_every_page_is_shown(name):
    result = call("help", name)
    assert (result.code, result.err) == (0, "")
    assert result.lines[0] == f"# {pages.title(TEXTS[name])}"
    assert [line for line in TEXTS[name].splitlines() if line and not line.startswith("<!--")] == [line for line in result.lines if line]
    assert "<!--" not in result.out.decode()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_a_topic(name):
    assert call("help", name) == call(name, "--help")


def test_a_method_and_a_protocol_are_topics():
    names = [*METHODS, *PROTOCOL_PAGE]
    assert len({*names, *COMMANDS, *TEXTS}) == len(names) + len(COMMANDS) + len(TEXTS)  # none hides another
    for name in names:
        result = call("help", name)
        assert (result.code, result.err) == (0, "")
        assert result.lines[0].lstrip("#") == f" `{name}`"
    assert call("help", "flat").lines == ["### `flat`", "", "Every vector as it is: exact, four bytes a column."]
    assert call("help", "places").lines[-1].startswith("| `at`     |")


def test_an_unknown_topic_is_refused_with_what_there_is():
    text = (
        f"there is no help on 'train\\x0a'; pages: {', '.join(TEXTS)}; commands: {', '.join(COMMANDS)}; "
        f"methods: {', '.join(METHODS)}; protocols: {', '.join(PROTOCOLS)}"
    )
    refused(call("help", "train\n"), 2, text)
    misused(call("help", "tour", "tour"), "Got unexpected extra argument (tour)")


def test_a_pipe_gets_the_page_as_it_is():
    result = run("help", "methods", env={"PAGER": "false"})
    assert (result.code, result.err) == (0, "")
    assert result.out == call("help", "methods").out


def on_a_terminal(*arguments, pager):
    """`imgret` with a terminal for its streams; returns the process and the terminal's other end."""
    ours, theirs = pty.openpty()
    environment = dict(os.environ, PYTHONPATH=ROOT, PAGER=pager, TERM="xterm", LINES="24", COLUMNS="100")
    command = [sys.executable, "-m", "imgret", *arguments]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    return process, ours


def read_all(terminal):
    output = b""
    while True:
        try:
            block = os.read(terminal, 1 << 16)
        except OSError:  # the other end is closed
            block = b""
        output += block
        if not block:
            os.close(terminal)
            return output.decode().replace("\r\n", "\n")


def test_a_terminal_gets_the_pager_and_ctrl_c_is_the_pagers(tmp_path):
    script = tmp_path / "pager.sh"
    script.write_text('cd "$1"; touch started; while ! [ -e go ]; do sleep 0.02; done; cat > got\n')
    process, terminal = on_a_terminal("help", "running", pager=shlex.join(["sh", str(script), str(tmp_path)]))
    deadline = time.monotonic() + 30
    while not (tmp_path / "started").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    (tmp_path / "go").touch()
    assert read_all(terminal) == ""
    assert process.wait(30) == 0
    assert (tmp_path / "got").read_bytes().rstrip(b"\n") == call("help", "running").out.rstrip(b"\n")


def test_what_fits_on_a_terminal_needs_no_pager():
    process, terminal = on_a_terminal("help", "vlad", pager="false")
    assert read_all(terminal).splitlines() == call("help", "vlad").lines
    assert process.wait(30) == 0
