"""What `info` says of networks, its own and those of others, and of files that only look like one."""

import json
import struct
import subprocess
import sys

import numpy as np
import pytest
from helpers import call, refused
from safetensors.numpy import save_file
from trained import DOCUMENTS, HISTORY, TENSORS, network

from imgret.errors import ImgretError
from imgret.runs.history import History
from imgret.stages import info

TEXT = """path            {path}
kind            network
schema_version  1
file_size       {size}
recipe          {recipe}
content         {content}
generated_by    imgret 0.1.0, torch 2.6.0
params
  step: "train"
  method: "contrastive"
  version: 1
  params
    epochs: 3
    rate: 3e-05
  truth: "groups"
inputs
  photos (photos, content abababababababab)
  t.csv (truth, content cdcdcdcdcdcdcdcd)
extract
  model: "mobilenet_v2"
  layer: []
  pool: "gem"
  p: 2.75
  max_size: 320
validation      map by protocol groups on 120 photos, 60 of which ask, held out of the training
failed          1
epochs
                map       loss       rate
  0           0.641          -          -  the start
  1            0.66      0.213      3e-05
  2          0.6725       0.15    1.5e-05  best: these are its weights
  3            0.65        0.1      3e-06
columns
  backbone.features.0.weight F32      1 × 2 × 3
  head.p                   F32      1
"""


def test_a_network_is_told_in_full(tmp_path):
    path = network(tmp_path / "net.safetensors")
    done = call("info", path)
    facts = json.loads(call("info", path, "--json").out)
    assert done.out.decode() == TEXT.format(path=path, size=path.stat().st_size, recipe="12" * 32, content=facts["content"])
    assert {name: facts[name] for name in DOCUMENTS if name != "failed"} == {n: v for n, v in DOCUMENTS.items() if n != "failed"}
    assert facts["columns"]["backbone.features.0.weight"] == {"shape": [1, 2, 3], "dtype": "F32"}
    assert call("info", path, "--failed").out == b"c/bad.png\ttruncated\tthe file ends early\n"
    assert json.loads(call("info", path, "--failed", "--json").out)["failed_photos"] == DOCUMENTS["failed"]


def test_a_name_says_nothing(tmp_path):
    assert json.loads(call("info", network(tmp_path / "net.h5"), "--json").out)["kind"] == "network"


def test_of_many_epochs_some_are_shown(tmp_path):
    entries = [HISTORY["epochs"][1] | {"epoch": epoch, "step": epoch} for epoch in range(101)]
    history = HISTORY | {"best": 34, "epochs": entries}
    out = call("info", network(tmp_path / "net.safetensors", history=json.dumps(history))).out.decode()
    lines = out.partition("epochs\n")[2].partition("columns")[0].splitlines()[-42:]
    assert lines[-1].strip() == "41 of 101 epochs are shown; --json has all"
    assert [line.split()[0] for line in lines[:2]] == ["0", "3"]
    assert "  34           0.66      0.213      3e-05  best: these are its weights" in lines
    assert lines[-2].split()[0] == "100"


def test_a_network_that_nothing_scored(tmp_path):
    entries = [entry | {"score": None, "figures": {}} for entry in HISTORY["epochs"]]
    history = HISTORY | {"measure": None, "protocol": None, "validation": None, "epochs": entries}
    out = call("info", network(tmp_path / "net.safetensors", history=json.dumps(history))).out.decode()
    assert "validation      nothing was scored\n" in out
    assert "             score       loss       rate\n  0               -          -          -  the start\n" in out


def test_what_first_answers_are_worth(tmp_path):
    first = {"first.right": 0.75, "first.threshold": 0.7125, "first.answered": 0.5, "first.precision": 0.9, "first.balanced": 0.8}
    epochs = [entry | {"figures": entry["figures"] | first} for entry in HISTORY["epochs"]]
    said = "75.0% of the first answers are right; 90.0% of those with a similarity of at least 0.7125, which 50.0% of the queries have"
    done = call("info", network(tmp_path / "net.safetensors", history=json.dumps(HISTORY | {"epochs": epochs})))
    assert f"first answers   {said}\n" in done.out.decode()
    nothing = [entry | {"figures": first | {"first.threshold": None}} for entry in HISTORY["epochs"]]
    assert History.of(HISTORY | {"epochs": nothing}).first_answers() == ""
    assert History.of(HISTORY | {"best": 9}).first_answers() == ""


def test_check_finds_what_is_wrong_with_tensors(tmp_path):
    path = network(tmp_path / "net.safetensors")
    done = call("info", path, "--check")
    assert (done.code, done.lines[-1]) == (0, "check           sound")
    tensors = TENSORS | {"head.p": np.array([np.nan], dtype=np.float32)}
    network(path, tensors, recorded=TENSORS)
    done = call("info", path, "--check", "--json")
    assert done.code == 1
    assert json.loads(done.out)["problems"] == [
        "the tensors do not match the content that the file records: it is damaged",
        "head.p holds NaN or infinite values",
    ]


def test_files_of_others_are_told_too(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"a.weight": np.zeros((2, 3), np.float16), "n": np.zeros((), np.int64)}, str(path), {"format": "pt", "long": "x" * 1000})
    text = f"""path            {path}
kind            safetensors
file_size       {path.stat().st_size}
metadata
  format: pt
  long: {"x" * 120}...
columns
  a.weight                 F16      2 × 3
  n                        I64      """
    lines = sorted(call("info", path).lines)
    assert lines == sorted(text.splitlines())
    assert call("info", path, "--check").out.decode().endswith("check           sound\n")
    assert json.loads(call("info", path, "--json").out)["metadata"] == {"format": "pt", "long": "x" * 1000}
    assert call("info", path, "--failed").out == b""
    save_file({"a": np.array([np.inf], np.float32)}, str(path))
    assert call("info", path, "--check").out.decode().endswith("1 problems\n  a holds NaN or infinite values\n")


AGAIN = "cannot be read; train it again, or copy the file again"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("schema_version", "2", "has version 2 of the format of networks, this imgret reads 1: upgrade imgret"),
        ("schema_version", "x", "is damaged: it does not say which version of the format it has"),
        ("schema_version", None, "is damaged: it does not say which version of the format it has"),
        *((name, text, f"is damaged: its {name} {AGAIN}") for name in DOCUMENTS for text in ("", "{", '"x"', "[" * 100_000, None)),
        ("history", "{}", f"is damaged: its history {AGAIN}"),
        ("failed", '[{"name": 1}]', f"is damaged: its failed {AGAIN}"),
        ("failed", "[1]", f"is damaged: its failed {AGAIN}"),
        ("inputs", "[1]", "is damaged: its inputs are not what imgret records"),
        ("params", '{"rate": NaN}', "is damaged: what it says of itself holds what is no JSON"),
    ],
)
def test_a_network_that_says_what_cannot_be_is_refused(tmp_path, name, text, said):
    path = network(tmp_path / "net.safetensors", **{name: text})
    refused(call("info", path), 1, f"{path} {said}")
    refused(call("info", path, "--check", "--json"), 1, f"{path} {said}")


@pytest.mark.parametrize(
    "data", [b"", b"{}", struct.pack("<Q", 1 << 62) + b"{}", struct.pack("<Q", 2) + b"{]", struct.pack("<Q", 9) + b"{}"]
)
def test_a_header_that_is_none_is_refused_in_a_sentence(tmp_path, data):
    path = tmp_path / "net.safetensors"
    path.write_bytes(data)
    refused(call("info", path), 1, f"{path} is no sound .safetensors file: copy the file again")


def test_no_torch_is_needed(tmp_path):
    path = network(tmp_path / "net.safetensors")
    code = f"""
import sys
from imgret.stages import info
info.describe({str(path)!r})
assert info.check({str(path)!r}) == []
print(*sorted(set(sys.modules) & {{"torch", "faiss", "cv2"}}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "\n"


def test_a_file_that_is_no_network_is_refused_as_before(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("hello, this is text")
    assert not info.networkinfo.is_network(path)
    with pytest.raises(ImgretError):
        info.describe(str(path))


BAD = [
    ("best", -1),
    ("best", True),
    ("best", 1 << 60),
    ("measure", 3),
    ("validation", [1]),
    ("validation", {"photos": float("inf")}),
    ("epochs", {}),
    ("epochs", [1]),
    ("epochs", [{"epoch": 0}]),
    ("epochs", HISTORY["epochs"][::-1]),
    ("epochs", [HISTORY["epochs"][0] | {"score": "0.5"}]),
    ("epochs", [HISTORY["epochs"][0] | {"score": 10**400}]),
    ("epochs", [HISTORY["epochs"][0] | {"figures": [1]}]),
    ("epochs", [HISTORY["epochs"][0] | {"step": 1.5}]),
    ("steps", [[1, 1, 0.5]]),
    ("steps", [[1, 1, 0.5, None]]),
    ("steps", [[1, 2, 0.5, 0.1], [1, 1, 0.5, 0.1]]),
    ("steps", [7]),
    ("steps", [[1, 1, float("nan"), 0.1]]),
    ("steps", [[1, 1, 0.5, 0.1]] * 200_000),
    ("examples", [{"epoch": 1, "query": b"x".hex(), "positives": [1], "negatives": []}]),
    ("examples", [{"epoch": 1, "query": None, "positives": [], "negatives": []}]),
    ("examples", "no"),
]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_a_history_that_cannot_be_is_refused(name, value):
    with pytest.raises(ValueError, match="^$"):
        History.of(HISTORY | {name: value})


@pytest.mark.parametrize("value", [None, [], {}, "x"])
def test_what_is_no_history_is_refused(value):
    with pytest.raises(ValueError, match="^$"):
        History.of(value)
