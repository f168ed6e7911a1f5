"""Names by the million: packed, sorted and merged in a bounded number of bytes for each."""

import random
import tracemalloc

import numpy as np
import pytest

from imgret.inputs.photos import JoinedPhotos, Photos
from imgret.inputs.stores import Stores
from imgret.listing import list_photos
from imgret.runs.takeover import what_changed
from imgret.stages.import_ import import_file
from imgret.store.text import Texts

COUNT, LISTS = 40_000, 10  # a list is read some at a time
NAMES = [f"photos/album{number % 97:02d}/image{number:08d}.jpg" for number in range(COUNT)]
LENGTH = len(NAMES[0])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Vectors stores of these names, `all.h5`, and of every second one, `0.h5` and `1.h5`; lists of them."""
    here = tmp_path_factory.mktemp("names")
    listed = random.Random(0).sample(NAMES, COUNT)
    for number in range(LISTS):
        (here / f"list{number}").write_text("".join(f"{name}\n" for name in listed[number::LISTS]))
    for stem, names in (("all", NAMES), ("0", NAMES[::2]), ("1", NAMES[1::2])):
        np.save(here / "x.npy", np.ones((len(names), 2), np.float32))
        (here / "names").write_text("".join(f"{name}\n" for name in names))
        import_file(here / "x.npy", here / f"{stem}.h5", names=here / "names")
    return here


def taken(function):
    """What a call gives, and how many bytes a photo it held at its peak."""
    tracemalloc.start()
    try:
        given = function()
        return given, tracemalloc.get_traced_memory()[1] / COUNT
    finally:
        tracemalloc.stop()


def test_a_listing_holds_little_for_each_photo(folder):
    listing, each = taken(lambda: list_photos([], sorted(folder.glob("list*"))))
    assert listing.names == sorted(map(str.encode, NAMES))
    assert listing.paths == sorted(map(str.encode, NAMES))
    assert each < 100 + 2 * LENGTH


def test_an_output_that_is_unchanged_is_found_so_without_tables(folder):
    with Stores() as stores:
        names = stores.add(folder / "all.h5").texts("names")
    listing = list_photos([], sorted(folder.glob("list*")))
    change, each = taken(lambda: what_changed(folder / "all.h5", listing))
    assert not change  # imported photos have no size, and these are not there
    assert each < 40 + LENGTH
    assert names == listing.names


def test_photos_of_several_stores_are_merged_in_little_memory(folder):
    with Stores() as stores:
        given = [stores.add(folder / f"{number}.h5") for number in range(2)]
        photos, each = taken(lambda: Photos(given))
        assert photos.names == sorted(map(str.encode, NAMES))
        assert each < 60 + 2 * LENGTH
        joined, each = taken(lambda: JoinedPhotos([stores.add(folder / "all.h5") for _ in range(2)]))
        assert joined.names == photos.names
        assert each < 130 + 3 * LENGTH


def test_texts_are_sorted_as_python_sorts_them():
    draw = random.Random(1)
    for letters in (b"\0\1ab/", bytes(range(256)), b"a"):
        for count in (0, 1, 2, 60):
            values = [bytes(draw.choices(letters, k=draw.choice((0, 1, 6, 7, 8, 13, 14, 15, 30)))) for _ in range(count)]
            values += values[: count // 3]
            order = Texts.of(values).order()
            assert order.tolist() == sorted(range(len(values)), key=values.__getitem__)
            assert Texts.of(values).taken(order) == sorted(values)
