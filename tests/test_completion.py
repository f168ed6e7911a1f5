"""What bash, zsh and fish offer where TAB is pressed, by the scripts that docs/completion.md has them read."""

import os
import re
import shutil
import subprocess
import sys

import pytest
from helpers import ROOT
from test_architecture import HEAVY, python

from imgret.cli import COMMANDS
from imgret.codebooks import CODEBOOKS
from imgret.evaluation import PROTOCOLS

# zsh's own completion runs in its line editor only: what stands for it here prints what it is given
ZSH = """
compdef() { : }
_describe() { print -l -- ${${(P)3}%%:*} }
compadd() { print -l -- ${(P)5} }
_path_files() { print -l -- * }
eval "$(_IMGRET_COMPLETE=zsh_source imgret)"
words=("$@")
CURRENT=$#words
_imgret_completion
"""
BASH = """
compopt() { [ "$2" = default ] && compgen -f -- "${COMP_WORDS[COMP_CWORD]}"; }
eval "$(_IMGRET_COMPLETE=bash_source imgret)"
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_imgret_completion imgret
printf '%s\\n' "${COMPREPLY[@]}"
"""
FISH = """
_IMGRET_COMPLETE=fish_source imgret | source
complete -C "$argv"
"""
SHELLS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A folder with a photo, and `imgret` on PATH."""
    folder = tmp_path_factory.mktemp("completion")
    (folder / "bin").mkdir()
    program = folder / "bin" / "imgret"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m imgret "$@"\n')
    program.chmod(0o755)
    (folder / "photo one.jpg").write_bytes(b"")
    return folder


def offered(shell, folder, *words):
    """What a shell offers for the last of these words, after `imgret`."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    words = ("imgret", *words)
    given = [" ".join(words)] if shell == "fish" else list(words)
    command = [shell, "-c", SHELLS[shell], *(["x"] if shell != "fish" else []), *given]
    environment = dict(os.environ, PATH=f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}", PYTHONPATH=ROOT, HOME=str(folder))
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert "command not found" not in done.stderr, done.stderr
    return {line.split("\t")[0] for line in done.stdout.splitlines()} - {""}


@pytest.mark.parametrize("shell", SHELLS)
def test_a_command_an_option_a_method_and_a_file_are_completed(here, shell):
    assert offered(shell, here, "ex") == {name for name in COMMANDS if name.startswith("ex")}
    assert offered(shell, here, "codebook", "--si") >= {"--size"}
    assert offered(shell, here, "codebook", "-m", "k") == {name for name in CODEBOOKS if name.startswith("k")}
    files = offered(shell, here, "extract", "photo")
    assert {re.sub(r"\\", "", name) for name in files} >= {"photo one.jpg"}


def asked(*words):
    """The lines that imgret gives to bash: what kind of thing each is, and what."""
    code = f"""
import os, sys
os.environ.update(_IMGRET_COMPLETE="bash_complete", COMP_WORDS={" ".join(("imgret", *words))!r}, COMP_CWORD={str(len(words))!r})
from imgret.cli.main import main
try:
    main([])
finally:
    print(*sorted(set(sys.modules) & {set(HEAVY)!r}))
"""
    *lines, heavy = python(code).splitlines()
    assert heavy == ""
    return lines


def test_what_has_a_name_is_completed_by_names_alone():
    assert asked("evaluate", "--protocol", "") == [f"plain,{name}" for name in (*PROTOCOLS, "help")]
    assert asked("build", "--config", "rootsift-v") == ["plain,rootsift-vlad64", "plain,rootsift-vlad256"]
    assert asked("build", "--config", "./my") == ["file,./my"]
    assert "plain,vlad-pca128:small" in asked("encode", "--config", "vlad-pca128:")
    assert asked("encode", "-c", "ready:rootsift-v") == ["plain,ready:rootsift-vlad64"]
    assert asked("encode", "-c", "wo") == ["file,wo"]
    assert asked("help", "compl") == ["plain,completion"]
    assert asked("help", "rootsif") == ["plain,rootsift"]
    assert asked("search", "ind") == ["file,ind"]
