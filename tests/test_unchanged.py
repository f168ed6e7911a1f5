"""Every kind of store, answer and exported file is what it was at an older commit; that code's stores are gone on with."""

import importlib.util
import os
import subprocess
import sys

import h5py
import numpy as np
import pytest
from helpers import ROOT

SCRIPTS = os.path.join(ROOT, "scripts")


@pytest.fixture(scope="module")
def unchanged():
    """`scripts/unchanged.py`; it imports another script."""
    for library in ("skimage", "torchvision"):  # looked for only: to import PyTorch here takes seconds
        if importlib.util.find_spec(library) is None:
            pytest.skip(f"{library} is not installed")
    sys.path.insert(0, SCRIPTS)
    try:
        import unchanged
    finally:
        sys.path.remove(SCRIPTS)
    return unchanged


def test_everything_is_what_it_was(unchanged, tmp_path):
    """One test, not one per question: tests of a file may be spread over processes, and each would run the older code anew."""
    try:
        differences = list(unchanged.compare(tmp_path))
    except unchanged.NoOldCode as reason:
        pytest.skip(str(reason))
    assert not differences, "\n".join(differences)


def test_every_method_is_run(unchanged):

    from imgret.codebooks import CODEBOOKS
    from imgret.encoders import ENCODERS
    from imgret.extractors import EXTRACTORS
    from imgret.indexes import INDEXES
    from imgret.networks.heads import HEADS

    words = {word for command in unchanged.COMMANDS for word in command.arguments}
    implied = {"rootsift", "kmeans", "flat", "vlad", "fisher", "project", "factory"}  # by default, by the codebook, by --factory
    newer = {
        "akm",
        "hkm",
        "product",
        "scalar",
        "words",
        "hamming",
        "bow",
        "smk",
        "asmk",
        "inverted",
        "dba",
        "netvlad",
        "attention",
        "se",
        "keypoints",
    }  # than what it is compared with
    assert {*EXTRACTORS, *CODEBOOKS, *ENCODERS, *INDEXES} <= words | implied | newer
    assert {f"pool={pool}" for pool in HEADS if pool not in newer} <= words


def test_without_that_commit_there_is_a_reason(unchanged, tmp_path, monkeypatch):
    with pytest.raises(unchanged.NoOldCode, match="git has no commit 000000000000 here"):
        unchanged.old_package(tmp_path, "0" * 40)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(unchanged.NoOldCode, match="git cannot be run"):
        unchanged.old_package(tmp_path)


def test_another_package_is_noticed(unchanged, tmp_path):
    """A process, and a worker, that would import some other imgret ends."""
    os.makedirs(tmp_path / "imgret")
    code = f"import unchanged_run as u; {{}}; u.check_modules({str(tmp_path)!r})"
    done = subprocess.run(
        [sys.executable, "-c", code.format("import imgret")],
        env=os.environ | {"PYTHONPATH": f"{SCRIPTS}:{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "imported from elsewhere than" in done.stderr
    worker = "import unchanged_run as u, sys; sys.exit(u.Workers({!r}, False)([sys.executable, '-c', 'pass']).wait())"
    for package, status in ((ROOT, 0), (str(tmp_path), 1)):
        environment = os.environ | {"PYTHONPATH": f"{SCRIPTS}:{ROOT}"}
        done = subprocess.run([sys.executable, "-c", worker.format(package)], env=environment, capture_output=True, check=False)
        assert done.returncode == status


def store(path, vectors, name="vectors", **attributes):
    with h5py.File(path, "w") as file:
        file[name] = vectors
        file[name].attrs["unit"] = "m"
        file.create_group("pipeline")
        for attribute, value in ({"kind": "vectors", "content": "1", "created": "now"} | attributes).items():
            file.attrs[attribute] = value
    return path


def test_differences_between_stores(unchanged, tmp_path):
    vectors = np.array([[1, np.nan], [0, 2]], np.float32)
    old = store(tmp_path / "old.h5", vectors)

    def found(*allowed, **changes):
        return list(unchanged.store_differences(old, store(tmp_path / "new.h5", **({"vectors": vectors} | changes)), allowed))

    assert found(created="later") == []
    assert found(vectors=vectors + np.float32(0.5)) == ["'vectors' differs by up to 0.5"]
    assert found(vectors=np.where(vectors == 0, np.float32(-0.0), vectors)) == ["'vectors' differs by up to 0"]
    assert found(vectors=vectors[:1]) == ["'vectors' is (1, 2) float32, not (2, 2) float32"]
    assert found(vectors=vectors.astype(np.float64)) == ["'vectors' is (2, 2) float64, not (2, 2) float32"]
    assert found(content="2") == ["the attribute 'content' is '2', not '1'"]
    assert found(name="x/y") == ["'vectors' is in the older file only", "'x/y' is in the new file only"]
    renamed = unchanged.Allowed("vectors", "a test", renamed={"vectors": "x/y"}, attributes=("content",))
    assert found(renamed, name="x/y", content="2") == []
    assert found(renamed, name="x/y", vectors=vectors * 2) == ["'x/y' differs by up to 2"]
    assert len(found(unchanged.Allowed("index", "of another kind", attributes=("content",)), content="2")) == 1


def test_differences_between_folders(unchanged, tmp_path):
    for name in ("old", "new"):
        os.makedirs(tmp_path / name)
        store(tmp_path / name / "v.h5", np.ones(3), content=name)
        (tmp_path / name / "run.trec").write_text(name)
        (tmp_path / name / f"{name}.txt").write_text("")
    allowed = [unchanged.Allowed(kind, f"a test of {kind}", attributes=("content",)) for kind in ("vectors", "index")]
    assert list(unchanged.folder_differences(tmp_path / "old", tmp_path / "new", allowed)) == [
        "new.txt: only this code left it",
        "old.txt: only the older code left it",
        "run.trec: its bytes differ",
        "allowed, but it does not occur: index, a test of index",
    ]
