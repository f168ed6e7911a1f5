"""Fixtures that several files share: small photos, a store of every kind made of them, the folder of real data."""

import os
import shutil
import tempfile
import types

import forking
import pytest
from helpers import SHARED, call, once, photo
from helpers import run as run_command

from imgret import importing

PHOTOS = 28  # three parts of eight, and a short one
ENTRIES = ("bow", "hamming", "smk", "asmk")  # encoders of visual words
IN_MEMORY, ROOM = "/dev/shm", 8 << 30


def pytest_configure(config):
    """Keep what tests write in memory, where there is room: every store is synced to the disk, and on most disks the suite waits for that
    half of its time. `--basetemp`, or pytest's own PYTEST_DEBUG_TEMPROOT, say where else."""
    if config.option.basetemp is None and os.path.isdir(IN_MEMORY) and shutil.disk_usage(IN_MEMORY).free > ROOM:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", IN_MEMORY)
    if "PYTEST_XDIST_WORKER" not in os.environ:  # which inherits it
        os.environ[SHARED] = tempfile.mkdtemp(prefix="imgret-test-", dir=os.environ.get("PYTEST_DEBUG_TEMPROOT"))
    for name in importing.ONE_THREAD:  # threads that wait for their share spin, on cores that other tests need
        os.environ.setdefault(name, "1")
    forking.begin()


def pytest_unconfigure():
    """Leave nothing."""
    forking.end()
    if "PYTEST_XDIST_WORKER" not in os.environ:
        shutil.rmtree(os.environ[SHARED], ignore_errors=True)


@pytest.fixture(scope="session")
def photos():
    """A folder of small textured photos, some in a folder of their own; not to be changed."""
    with once("photos") as (folder, first):
        if first:
            fill(folder)
    return folder


def fill(folder, count=PHOTOS):
    """Write `count` photos into a folder."""
    os.makedirs(folder / "more", exist_ok=True)
    for number in range(count):
        photo(folder / ("more" if number % 3 == 0 else ".") / f"{number:02d}.{'png' if number % 4 else 'jpg'}", number)


@pytest.fixture(scope="session")
def stores(photos):
    """A store of each kind and method, made of `photos` without any accident: attributes are paths."""
    names = ("features", "kmeans", "gmm", "pca", "vlad", "fisher", "projected", "index", "ranking")
    with once("stores") as (folder, first):
        made = types.SimpleNamespace(folder=folder, **{name: folder / f"{name}.h5" for name in names})
        if first:
            _make_stores(photos, made)
    return made


def _make_stores(photos, made):
    for command in (
        ("extract", photos, "-o", made.features, "-j", 2),
        ("codebook", made.features, "-m", "kmeans", "--size", 6, "-o", made.kmeans),
        ("codebook", made.features, "-m", "gmm", "--size", 4, "--set", "pca=16", "-o", made.gmm),
        ("encode", made.features, "-c", made.kmeans, "-o", made.vlad),
        ("encode", made.features, "-c", made.gmm, "-o", made.fisher),
        ("codebook", made.vlad, "-m", "pca", "--size", 12, "-o", made.pca),
        ("encode", made.vlad, "-c", made.pca, "-o", made.projected),
        ("index", made.vlad, "-m", "flat", "-o", made.index),
        ("search", made.index, made.vlad, "-k", 5, "-o", made.ranking),
    ):
        result = call(*command)
        assert result.code == 0, result.err


@pytest.fixture(scope="session")
def worded(stores):
    """Words, what they are like, and of each encoder of words its entries and an inverted index, of `stores`' photos: attributes are
    paths."""
    names = ("words", "statistics", "thresholds", *ENTRIES, *(f"{name}_index" for name in ENTRIES))
    with once("words") as (folder, first):
        made = types.SimpleNamespace(features=stores.features, folder=folder, **{name: folder / f"{name}.h5" for name in names})
        if first:
            _make_words(stores, made)
    return made


def _make_words(stores, made):
    for command in (
        ("codebook", stores.features, "--size", 24, "--set", "pca=0", "-o", made.words),
        ("codebook", stores.features, "-m", "words", "-c", made.words, "-o", made.statistics),
        ("codebook", stores.features, "-m", "hamming", "-c", made.words, "-o", made.thresholds),
        ("encode", stores.features, "-c", made.statistics, "-o", made.bow),
        ("encode", stores.features, "-c", made.thresholds, "-o", made.hamming),
        ("encode", stores.features, "-c", made.words, "-m", "smk", "-o", made.smk),
        ("encode", stores.features, "-c", made.words, "-m", "asmk", "-o", made.asmk),
        *(("index", getattr(made, name), "-o", getattr(made, f"{name}_index")) for name in ENTRIES),
    ):
        result = call(*command)
        assert result.code == 0, result.err


@pytest.fixture(scope="session")
def pupils():
    """A folder with `photos`, `groups.csv`, and `net.safetensors` trained on them; not to be changed."""
    import pupils

    with once("pupils") as (folder, first):
        if first:
            pupils.fill(folder)
            assert pupils.trained(folder, folder / "net.safetensors").code == 0
    return folder


@pytest.fixture(scope="session")
def data():
    """The folder of real data, pathlib.Path; tests that need it are skipped where there is none."""
    from pathlib import Path

    folder = os.environ.get("IMGRET_TEST_DATA")
    if not folder or not os.path.isdir(folder):
        pytest.skip("IMGRET_TEST_DATA names no folder")
    return Path(folder)


@pytest.fixture(scope="module")
def one_thread():
    """PyTorch has one thread, as in a worker."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def run():
    """`run(*arguments)`: `imgret` as a user runs it; a `helpers.Result`."""
    return run_command


@pytest.fixture(scope="module")
def browser():
    """A real browser; tests that need it are skipped where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("Chromium is not installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium)
        yield browser
        browser.close()


@pytest.fixture
def show(browser):
    """`show(path, **context)` opens a page; at the end of the test it must have said nothing, and asked for nothing but itself, and for
    those of the `photos`, paths from its folder, that were opened."""
    contexts, opened = [], []

    def open_page(path, width=1280, height=800, photos=(), **options):
        context = browser.new_context(viewport={"width": width, "height": height}, **{"reduced_motion": "reduce", **options})
        contexts.append(context)
        tab = context.new_page()
        said, asked = [], []
        tab.on("console", lambda message: said.append(message.text))
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.on("dialog", lambda dialog: said.append(dialog.message))
        tab.on("request", lambda request: asked.append(request.url))
        address = f"file://{path}"
        tab.goto(address)
        opened.append(([address, *(f"file://{os.path.dirname(path)}/{photo}" for photo in photos)], said, asked))
        return tab

    yield open_page
    for context in contexts:
        context.close()
    for addresses, said, asked in opened:
        assert said == []
        assert list(dict.fromkeys(url for url in asked if not url.startswith("data:"))) == addresses
