"""The picture in the design: imports point down, families do not know each other, heavy libraries wait until they are needed."""

import ast
import os
import subprocess
import sys

import pytest
from helpers import ROOT

from imgret.cli import COMMANDS

PACKAGE = os.path.join(ROOT, "imgret")
FAMILIES = {"extractors", "codebooks", "encoders", "indexes", "rerankers", "losses", "miners"}
BASE = {"seeds", "errors", "registry", "arrays", "parallel", "features", "components"}
LEARNING = {"words", "checkpoints", "metrics", "quantizers"}
# what each part of the package may import of the others
MAY = {
    "errors": set(),
    "registry": {"errors"},
    "arrays": {"errors"},
    "parallel": {"errors"},
    "tails": set(),
    "evidence": set(),
    "chance": {"errors", "arrays", "parallel", "tails"},
    "words": {"errors", "arrays", "parallel"},
    "features": set(),
    "geometry": {"errors"},
    "compiled": set(),
    "memory": set(),
    "components": {"registry"},
    "checkpoints": set(),
    "metrics": {"errors", "arrays"},
    "quantizers": {"errors", "registry", "arrays", "parallel", "words", "checkpoints", "metrics"},
    "paths": {"errors"},
    "importing": set(),
    "bounds": set(),
    "samples": {"bounds"},
    "endings": {"samples"},
    "pixels": {"samples"},
    "images": {"errors", "pixels", "samples", "bounds", "folders"},
    "found": {"errors", "store"},
    "listing": {"errors", "endings", "folders", "formats", "found"},
    "folders": {"errors", "names"},
    "names": {"errors"},
    "store": {"errors", "arrays", "paths", "", "importing"},
    "ready": {"errors"},
    "config": {"errors", "formats", "ready"},
    "builds": {"errors", "formats", "names", "paths"},
    "formats": BASE | {"names", "store"},
    "evaluation": BASE | {"names", "formats"},
    "networks": BASE | {"images", "words", "quantizers"},
    "relations": set(),
    "seeds": set(),
    "losses": BASE | {"relations"},
    "miners": BASE | {"relations", "words"},
    "trainers": BASE | {"names", "relations", "losses", "miners", "networks", "training"},
    "training": BASE
    | {
        "relations",
        "indexes",
        "networks",
        "images",
        "names",
        "store",
        "evaluation",
        "formats",
        "runs",
        "found",
        "listing",
        "paths",
    },
    "extractors": BASE | {"images", "networks"},
    "codebooks": BASE | LEARNING | {"compiled"},
    "encoders": BASE | {"words", "geometry"},
    "indexes": BASE | LEARNING | {"compiled", "memory"},
    "rerankers": BASE | {"geometry", "compiled", "memory", "networks"},
    "duplicates": BASE,
    "pipeline": BASE | FAMILIES | {"store"},
    "describer": BASE | {"store", "images", "pipeline"},
    "html": BASE | {"chance", "evidence", "endings", "paths", "images", "names", "evaluation", "store"},
    "inputs": BASE
    | FAMILIES
    | {
        "tails",
        "relations",
        "evaluation",
        "training",
        "evidence",
        "paths",
        "endings",
        "duplicates",
        "chance",
        "quantizers",
        "ready",
        "builds",
        "images",
        "names",
        "formats",
        "store",
        "listing",
        "pipeline",
        "describer",
        "runs",
    },
    "runs": BASE
    | FAMILIES
    | {"config", "endings", "found", "builds", "paths", "importing", "images", "names", "store", "pipeline", "html", "networks"},
    "stages": BASE
    | FAMILIES
    | {
        "builds",
        "trainers",
        "training",
        "evidence",
        "metrics",
        "describer",
        "duplicates",
        "paths",
        "names",
        "store",
        "networks",
        "images",
        "listing",
        "pipeline",
        "formats",
        "evaluation",
        "html",
        "runs",
        "inputs",
        "config",
        "ready",
    },
    "cli": BASE
    | {"chance", "evidence", "trainers"}
    | FAMILIES
    | {"builds", "names", "listing", "inputs", "runs", "stages", "evaluation", "formats", "config", "ready", "importing", ""},
    "opened": {"errors", "arrays", "chance", "images", "names", "store", "pipeline", "describer", "inputs", "runs"},
    "api": {"builds", "ready", "errors", "opened", "store", "runs", "inputs", "stages", ""},
    "__main__": {"cli", "importing", "runs"},
    "": {"api"},
}
HEAVY = ("torch", "faiss", "cv2", "h5py", "numpy", "numba")


def modules():
    """Name (without "imgret.") -> path of every module."""
    found = {}
    for top, _, files in os.walk(PACKAGE):
        for file in files:
            if file.endswith(".py"):
                path = os.path.join(top, file)
                name = os.path.relpath(path, PACKAGE)[: -len(".py")].replace(os.sep, ".")
                found[name.removesuffix("__init__").rstrip(".")] = path
    return found


MODULES = modules()


def imports(path, at_start_only=False):
    """Full names of what a module imports: anywhere, or only when it is imported itself."""
    with open(path, encoding="utf-8") as file:
        tree = ast.parse(file.read())
    found, stack = [], [tree]
    while stack:
        node = stack.pop()
        if at_start_only and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        stack.extend(ast.iter_child_nodes(node))
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def part(name):
    """The part of the package that "imgret.x.y" belongs to; "" for the package itself (its version)."""
    _, _, rest = name.partition(".")
    first = rest.split(".")[0]
    return first if first in MAY else ""


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_down(name):
    own = name.split(".")[0]
    assert own in MAY, f"imgret/{own} is not in the picture"
    for imported in imports(MODULES[name]):
        if imported.split(".")[0] == "imgret":
            target = part(imported)
            assert target == own or target in MAY[own], f"imgret.{name} imports {imported}"


def circle(edges):
    """Nodes that lead back to the first of them, in order; None where there are no such. `edges`: node -> nodes."""
    done = set()

    def visit(node, way):
        if node in way:
            return [*way[way.index(node) :], node]
        if node in done:
            return None
        found = next(filter(None, (visit(other, [*way, node]) for other in sorted(edges.get(node, ())))), None)
        done.add(node)
        return found

    return next(filter(None, (visit(node, []) for node in edges)), None)


def test_there_is_no_circle():
    """Neither in the picture nor among modules, wherever in them an import stands. (The package itself loads `api` when it is asked.)"""
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert circle({part: may - {""} for part, may in MAY.items() if part}) is None
    edges = {}
    for name, path in MODULES.items():
        wanted = [imported.removeprefix("imgret.") for imported in imports(path) if imported.startswith("imgret.")]
        # "a.b.C" is a name in module a.b, or in package a
        found = {next(m for m in (one, one.rpartition(".")[0], "") if m in MODULES) for one in wanted}
        edges[name] = found - {"", name} if name else set()
    assert circle(edges) is None


@pytest.mark.parametrize("name", MODULES)
def test_only_the_store_touches_h5py_and_only_the_command_line_click(name):
    tops = {imported.split(".")[0] for imported in imports(MODULES[name])}
    assert "h5py" not in tops or name.startswith(("store.", "formats.hloc")), name
    assert "click" not in tops or name.startswith("cli"), name
    assert not {"torch", "faiss"} <= tops, name
    # strangers' pickles are read as data in one place, by a machine that may call nothing
    assert not tops & {"pickle", "shelve", "marshal", "dill"} or name == "formats.unpickle", name


@pytest.mark.parametrize("name", MODULES)
def test_heavy_imports_wait(name):
    first = {imported.split(".")[0] for imported in imports(MODULES[name], at_start_only=True)}
    assert not first & {"torch", "faiss", "cv2", "skimage", "sklearn"}, name
    if name.startswith("cli") or name in ("", "errors", "registry", "stages", "runs", "runs.stopping", "importing", "__main__"):
        assert not first & set(HEAVY), name


def test_families_do_not_import_each_other():
    """The picture once more, by what is there after an import: no family brings another with it."""
    for family in sorted(FAMILIES):
        names = [f"imgret.{name}" for name in MODULES if name.split(".")[0] == family]
        code = "import importlib, sys\n" + "".join(f"importlib.import_module({name!r})\n" for name in names)
        code += "print(*sorted({name.split('.')[1] for name in sys.modules if name.startswith('imgret.')}))"
        loaded = set(python(code).split())
        assert loaded & FAMILIES == {family}
        assert not loaded & {"store", "stages", "cli", "pipeline"}


def python(code):
    """What a fresh interpreter prints."""
    environment = dict(os.environ, PYTHONPATH=ROOT)
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True, text=True, timeout=60).stdout


def test_no_help_loads_a_heavy_library():
    """`imgret --help`, the help of every command, and pages, each in an interpreter of its own."""
    code = """
import os, sys
from imgret.cli.main import main
children = []
for asked in {asked!r}:
    child = os.fork()
    if not child:
        sys.stdout = open(os.devnull, "w")
        code = "no exit"
        try:
            main(asked)
        except SystemExit as end:
            code = end.code
        heavy = sorted(set(sys.modules) & {heavy!r})
        os.write(1, f"{{asked}} {{code}} {{heavy}}\\n".encode())
        os._exit(0)
    os.waitpid(child, 0)
"""
    pages = [["help"], ["help", "methods"], ["help", "search"], ["help", "vlad"]]
    asked = [["--help"], *([name, "--help"] for name in COMMANDS), *pages]
    assert python(code.format(asked=asked, heavy=set(HEAVY))).splitlines() == [f"{words} 0 []" for words in asked]
