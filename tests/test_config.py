"""Config files: default < file < flag, and every way to write one wrongly."""

import pytest
from helpers import call, folder, misused, refused

from imgret.config import read, read_table
from imgret.errors import ImgretError, UsageError
from imgret.extractors import EXTRACTORS
from imgret.stages.info import describe
from imgret.trainers import TRAINERS


@pytest.fixture
def config(tmp_path, monkeypatch):
    """A function that writes a config into the current folder, beside a folder of photos."""
    monkeypatch.chdir(tmp_path)
    folder("photos", 2)

    def write(text):
        with open("p.toml", "w") as file:
            file.write(text)

    return write


def refusal(function, text):
    with pytest.raises(ImgretError) as caught:
        function(text)
    return str(caught.value), caught.value.exit_code


def test_tables_in_order(config):
    config('[features]\nrun = "extract"\nmethod = "sift"\n[words]\nrun = "codebook"\ninputs = ["features"]\nsize = 8\n')
    assert list(read("p.toml")) == ["features", "words"]
    assert read_table("p.toml:words") == {"run": "codebook", "inputs": ["features"], "size": 8}


def test_what_is_no_config(config):
    runs = "train, extract, codebook, encode, index, search, rerank, evaluate"
    assert refusal(read, "gone.toml") == ("--config gone.toml: there is no such file", 1)
    assert refusal(read, "./photos") == ("--config ./photos: Is a directory", 1)
    config("x = [")
    message, code = refusal(read, "p.toml")
    assert (message[:27], code) == ("--config p.toml is not TOML", 2)
    with open("p.toml", "wb") as file:
        file.write(b"\xff\xfe")
    assert refusal(read, "p.toml")[0].startswith("--config p.toml is not TOML: ")
    config("x = 3")
    assert refusal(read, "p.toml") == (f"--config p.toml: 'x' must be a table with `run` = one of {runs}", 2)
    config('[x]\nrun = "learn"')
    assert refusal(read, "p.toml") == (f"--config p.toml: 'x' must be a table with `run` = one of {runs}", 2)
    config("[x]\nrun = []")
    assert refusal(read, "p.toml") == (f"--config p.toml: 'x' must be a table with `run` = one of {runs}", 2)
    config('[x]\nrun = "extract"')
    assert refusal(read_table, "p.toml") == ("`--config` must be FILE:TABLE, or NAME:TABLE of a ready config, got 'p.toml'", 2)
    assert refusal(read_table, "p.toml:y") == ("--config p.toml: there is no table 'y'; it has: x", 2)
    assert issubclass(UsageError, ImgretError)


def test_every_form_of_text(config):
    text = '["ä"]\nrun = "extract"\n\n[words]\nrun = "codebook"\nsize = 8\n'
    wanted = {"ä": {"run": "extract"}, "words": {"run": "codebook", "size": 8}}
    windows = text.replace("\n", "\r\n")
    for data in (
        text.encode(),
        windows.encode("utf-8-sig"),
        windows.encode("utf-16"),
        b"\xfe\xff" + text.encode("utf-16-be"),
        text.replace("\n", "\r").encode(),
        text.rstrip().encode("utf-8-sig"),
    ):
        with open("p.toml", "wb") as file:
            file.write(data)
        assert read("p.toml") == wanted


def test_a_config_is_bounded(config):
    config("#" * (1 << 20) + "\n")
    assert refusal(read, "p.toml") == ("p.toml is larger than 1 MiB: this is no such file", 1)
    assert refusal(read, "/dev/zero") == ("/dev/zero is larger than 1 MiB: this is no such file", 1)
    for deep in ("a" + ".a" * 400_000 + " = 1", "[" + "a." * 400_000 + "a]", "x = " + "[" * 400_000):
        config(deep)
        assert refusal(read, "p.toml") == ("--config p.toml is nested too deeply", 2)


def test_default_then_file_then_flag(config):
    config('[f]\nrun = "extract"\nmethod = "sift"\nmax-failed = 1\nset = { max_size = 300, max-keypoints = 7, upright = true }\n')
    assert call("extract", "photos", "-o", "a.h5", "-j1", "--config", "p.toml:f").code == 0
    params = describe("a.h5")["params"]
    assert params["method"] == "sift"
    chosen = {name: params["params"][name] for name in ("max_size", "max_keypoints", "upright", "sigma")}
    assert chosen == {"max_size": 300, "max_keypoints": 7, "upright": True, "sigma": 1.6}
    flags = ("-m", "rootsift", "--set", "max-keypoints=9")
    assert call("extract", "photos", "-o", "b.h5", "-j1", "--config", "p.toml:f", *flags).code == 0
    params = describe("b.h5")["params"]
    assert params["method"] == "rootsift"
    assert (params["params"]["max_size"], params["params"]["max_keypoints"]) == (300, 9)


def test_lists_of_values_and_options_with_values_of_every_type(config):
    config('[f]\nrun = "extract"\nmethod = "dense-sift"\njobs = 1\nquiet = true\nset = { bins = [5, 7.5], step = 20 }\n')
    result = call("extract", "photos", "-o", "a.h5", "--config", "p.toml:f")
    assert (result.code, result.err) == (0, "")
    assert describe("a.h5")["params"]["params"]["bins"] == [5.0, 7.5]


EXTRACT = (
    "box-units, boxes, codebook, device, exclude, jobs, list, max-failed, max-gone, method, "
    "network, null, overwrite, quiet, root, run, set, shard, truncated, verbose"
)
METHODS = ", ".join(f"'{name}'" for name in EXTRACTORS)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("size = 3", f"unknown key 'size'; `extract` has: {EXTRACT}"),
        ("settings = 3", f"unknown key 'settings'; `extract` has: {EXTRACT}"),
        ("out = 'x.h5'", f"unknown key 'out'; `extract` has: {EXTRACT}"),
        ("config = 'x.toml'", f"unknown key 'config'; `extract` has: {EXTRACT}"),
        ("set = 3", "`set` must be a table of parameters"),
        ("quiet = 'yes'", "`quiet` must be true or false, got 'yes'"),
        ("jobs = [1]", "`jobs` must be a number or a word, got [1]"),
        ("jobs = true", "`jobs` must be a number or a word, got True"),
        ("list = 'x'", "`list` must be a list of words, got 'x'"),
        ("list = [1]", "`list` must be a list of words, got [1]"),
        ("method = { a = 1 }", "`method` must be a number or a word, got {'a': 1}"),
    ],
)
def test_keys_and_values_that_do_not_fit(config, table, message):
    config(f'[f]\nrun = "extract"\n{table}\n')
    result = call("extract", "photos", "-o", "a.h5", "--config", "p.toml:f")
    refused(result, 2, f"--config p.toml:f: {message}")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("jobs = 0", "Invalid value for '-j' / '--jobs': 0 is not in the range x>=1."),
        ("jobs = 1.5", "Invalid value for '-j' / '--jobs': '1.5' is not a valid integer range."),
        (
            "method = 'surf'",
            f"Invalid value for '-m' / '--method': 'surf' is not one of {METHODS}.",
        ),
    ],
)
def test_values_are_checked_as_those_of_flags_are(config, table, message):
    config(f'[f]\nrun = "extract"\n{table}\n')
    misused(call("extract", "photos", "-o", "a.h5", "--config", "p.toml:f"), message)


def test_a_parameter_that_does_not_fit(config):
    config('[f]\nrun = "extract"\nset = { max_size = "large" }\n')
    refused(call("extract", "photos", "-o", "a.h5", "--config", "p.toml:f"), 2, "`max_size` must be an integer, got 'large'")


def test_a_network_of_a_config_is_given_by_its_file(config):
    config('[n]\nrun = "train"\nmethod = "surf"\n[f]\nrun = "extract"\nmethod = "cnn"\nnetwork = "n"\n')
    text = "--config p.toml:f: photos are described by the network 'n': give the file that train made of it by --set weights=FILE"
    refused(call("extract", "photos", "-o", "a.h5", "--config", "p.toml:f"), 2, text)
    assert call("extract", "--config", "p.toml:f", "--set", "help").code == 0
    given = ("--set", "weights=gone.safetensors")
    text = "the weights gone.safetensors: there is no such file; check the path, or name its folder in IMGRET_WEIGHTS"
    refused(call("extract", "photos", "-o", "a.h5", "--config", "p.toml:f", *given), 1, text)
    methods = ", ".join(f"'{name}'" for name in TRAINERS)
    misused(
        call("train", "photos", "-o", "n.safetensors", "--config", "p.toml:n"),
        f"Invalid value for '-m' / '--method': 'surf' is not one of {methods}.",
    )


def test_a_table_for_another_step(config):
    config('[f]\nrun = "codebook"\n')
    refused(
        call("extract", "photos", "-o", "a.h5", "--config", "p.toml:f"),
        2,
        "--config p.toml:f: this table is for `codebook`, not for `extract`",
    )


def test_every_step_takes_a_config(config):
    """Also those that make no store; keys are options as they are spelt on the command line."""
    config(
        '[r]\nrun = "search"\nk = 3\nformat = "jsonl"\nset = { nprobe = 3 }\n[s]\nrun = "evaluate"\nprotocol = "ukbench"\nformat = "json"\n'
    )
    refused(
        call("search", "gone.h5", "photos", "--config", "p.toml:r"),
        1,
        "gone.h5: there is no such file or folder: `imgret build PHOTOS -o gone.h5` makes an index of photos",
    )
    refused(call("evaluate", "gone.h5", "--config", "p.toml:s"), 1, "gone.h5: there is no such file or folder")
