"""Stores spoiled at random: by what is in them, so that what is looked at late is reached too, or byte by byte.

A mutation takes an `h5py.File` and a NumPy generator, and changes one thing; `resign` makes the file's own checksums fit again.
"""

import json
import string

import h5py
import numpy as np

from imgret.store import layout
from imgret.store.hashing import canonical, checksums_of_json, content_of, of_array, pipeline_hashes

OTHERS = (layout.META_GROUP, layout.PIPELINE_GROUP, layout.BLOCKS_GROUP)  # groups whose members are no columns
ODD_NUMBERS = (0, 1, -1, 2, 7, 2**31 - 1, -(2**31), 2**32, 2**62, 2**63 - 1, -(2**63))
ODD_FLOATS = (0.0, -1.0, 1e-38, 1e38, np.nan, np.inf, -np.inf)
ODD_TEXTS = ("", "x", "../names", "/etc/passwd", "\x1b[31m\n\t\x00\x9b", "\u202e\ud800", "ü" * 300, "x" * 50_000, "NaN", "[" * 1000)
ODD_VALUES = (None, True, 0, -1, 1e308, 10**30, [], {}, [[]], {"a": {}}, *ODD_TEXTS[:9])


def members(file):
    """Paths of all datasets."""
    found = []
    file.visititems(lambda path, member: found.append(path) if isinstance(member, h5py.Dataset) else None)
    return sorted(found)


def columns(file):
    """Paths of the datasets that are columns."""
    return [path for path in members(file) if path.partition("/")[0] not in OTHERS]


def document(file, name):
    """The JSON that a store of any version says; None where it says none."""
    path = f"{layout.META_GROUP}/{name}"
    text = file[path][()].tobytes() if path in file else file.attrs.get(name, "null")
    return json.loads(text)


def say(file, name, text):
    """Put a text in place of a document, where the store's version has it."""
    if layout.META_GROUP in file:
        path = f"{layout.META_GROUP}/{name}"
        file.pop(path, None)
        file[path] = np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8)
    else:
        file.attrs.create(name, text.encode("utf-8", "surrogatepass"), dtype=h5py.string_dtype())


def pick(rng, values):
    """One of some values, whatever they are."""
    return values[int(rng.integers(len(values)))]


def resign(file):
    """Make the hashes, the checksums and `content` what the arrays, the columns and documents are."""
    _rename_arrays(file)
    values = {name: document(file, name) for name in ("params", "inputs", "pipeline", "info", "facts")}
    checksums = {path: of_array(file[path][()]) for path in columns(file) if isinstance(file[path], h5py.Dataset)}
    checksums |= checksums_of_json({name: value for name, value in values.items() if name != "facts" or value})
    say(file, "checksums", canonical(checksums))
    kind = layout.ALL_KINDS[_text(file.attrs["kind"])]
    content = content_of(kind, checksums, list(pipeline_hashes(values["pipeline"])))
    file.attrs.create("content", content.encode(), dtype=h5py.string_dtype("utf-8", 32))


def _rename_arrays(file):
    """Let arrays of the pipeline be called by their hashes."""
    group = file.get(layout.PIPELINE_GROUP, {})
    for name in list(group):
        digest = of_array(group[name][()])
        if digest != name:
            group.move(name, digest)
            say(file, "pipeline", json.dumps(document(file, "pipeline")).replace(name, digest))


def _text(value):
    return value.decode() if isinstance(value, bytes) else value


# what is in them


def attribute(file, rng):
    """Another text, type or shape of a root attribute or a column's, or none."""
    owners = [file, *(file[path] for path in columns(file) if len(file[path].attrs))]
    owner = pick(rng, owners)
    if not len(owner.attrs):
        return
    name = pick(rng, sorted(owner.attrs))
    way = rng.integers(6)
    if way == 0:
        del owner.attrs[name]
    elif way == 1:
        owner.attrs.create(name, pick(rng, ODD_NUMBERS))
    elif way == 2:
        owner.attrs.create(name, pick(rng, ODD_TEXTS)[:60_000].encode("utf-8", "surrogatepass"), dtype=h5py.string_dtype())
    elif way == 3:
        owner.attrs.create(name, np.void(b"\x01" * int(rng.integers(1, 50))))
    elif way == 4:
        owner.attrs.create(name, [b"imgret", b"x"])
    else:
        text = _text(owner.attrs[name]) if isinstance(owner.attrs[name], (bytes, str)) else "7"
        owner.attrs.create(name, np.bytes_(_retyped(text, rng).encode()))


def _retyped(text, rng):
    place = int(rng.integers(len(text) + 1))
    return text[:place] + pick(rng, string.ascii_letters + string.digits) + text[place + 1 :]


def json_value(file, rng):
    """Another value somewhere in a document: of another type, out of range, missing, or one that is too many."""
    name = pick(rng, list(layout.DOCUMENTS))
    value = document(file, name)
    places = _places(value)
    if not places:
        say(file, name, json.dumps(pick(rng, ODD_VALUES)))
        return
    holder, key = pick(rng, places)
    way = rng.integers(5)
    if way == 0 and isinstance(holder, dict):
        del holder[key]
    elif way == 1 and isinstance(holder, dict):
        holder["more"] = pick(rng, ODD_VALUES)
    elif way == 2 and isinstance(holder[key], (int, float)) and not isinstance(holder[key], bool):
        holder[key] = pick(rng, (holder[key] + 1, -holder[key], holder[key] * 1000, 0))
    elif way == 3 and isinstance(holder[key], str):
        holder[key] = _retyped(holder[key], rng)
    else:
        holder[key] = pick(rng, ODD_VALUES)
    say(file, name, json.dumps(value))


def _places(value):
    """Every (holder, key) in a JSON value."""
    found, stack = [], [value]
    while stack:
        one = stack.pop()
        keys = list(one) if isinstance(one, dict) else range(len(one)) if isinstance(one, list) else ()
        for key in keys:
            found.append((one, key))
            stack.append(one[key])
    return found


def json_text(file, rng):
    """A document that is no JSON, cut, or of odd bytes."""
    name = pick(rng, list(layout.DOCUMENTS))
    text = json.dumps(document(file, name))
    way = rng.integers(3)
    say(file, name, text[: int(rng.integers(len(text)))] if way == 0 else _retyped(text, rng) if way == 1 else pick(rng, ODD_TEXTS))


def values(file, rng):
    """Other values in a column or an array of the pipeline: odd ones in some places, the same everywhere, or in another order."""
    paths = [path for path in members(file) if file[path].size and not path.startswith(layout.META_GROUP)]
    if not paths:
        return
    path = pick(rng, paths)
    array = file[path][()]
    flat = array.reshape(-1)
    odd = ODD_FLOATS if array.dtype.kind == "f" else [n for n in ODD_NUMBERS if np.can_cast(np.min_scalar_type(n), array.dtype)]
    way = rng.integers(4)
    if way == 0:
        for place in rng.integers(0, flat.size, int(rng.integers(1, 4))):
            flat[place] = pick(rng, odd)
    elif way == 1:
        flat[:] = pick(rng, odd)
    elif way == 2:
        rng.shuffle(array)
    else:
        place = int(rng.integers(flat.size))
        flat.view(np.uint8)[place * array.dtype.itemsize] ^= np.uint8(1 << int(rng.integers(8)))
    file[path][...] = array


def shape(file, rng):
    """A column with rows or columns more or less, of another type or number of axes."""
    paths = [path for path in members(file) if file[path].ndim]
    path = pick(rng, paths)
    array = file[path][()]
    way = rng.integers(7)
    if way == 0:
        array = array[:-1]
    elif way == 1:
        array = np.concatenate([array, array[-1:]])
    elif way == 2:
        array = array[:0]
    elif way == 3:
        array = array[:, :-1] if array.ndim > 1 else array[:, None]
    elif way == 4:
        array = np.repeat(array, 2, axis=array.ndim - 1)
    elif way == 5:
        array = array.astype(pick(rng, ("u1", "i4", "i8", "f2", "f4", "f8", ">i4", ">f4", "c8", "S3")))
    else:
        array = array.reshape(-1)[0] if array.size else np.zeros((2, 2, 2), array.dtype)
    _replace(file, path, array)


def _replace(file, path, data, **options):
    attributes = dict(file[path].attrs)
    del file[path]
    file.create_dataset(path, data=data, **options).attrs.update(attributes)


def member(file, rng):
    """A member that is missing, too many, of another kind, or stored as imgret does not."""
    found = []
    file.visit(found.append)
    path = pick(rng, sorted(found))
    dataset = file[path] if isinstance(file[path], h5py.Dataset) else None
    way = rng.integers(9)
    if way == 0:
        del file[path]
    elif way == 1:
        file[f"{path.rpartition('/')[0] or path}-{pick(rng, ('more', 'a b', 'Ü', 'x' * 70))}"] = np.arange(3)
    elif way == 2:
        del file[path]
        file[path] = h5py.SoftLink("/names")
    elif way == 3:
        del file[path]
        file[path] = h5py.ExternalLink("other.h5", "/names")
    elif way == 4:
        file.move(path, f"{path}-moved")
        file[path] = file[f"{path}-moved"] if rng.random() < 0.5 else file["/"]
    elif dataset is None:
        del file[path]
        file[path] = np.arange(3)
    elif way == 5 and dataset.ndim and dataset.size:
        _replace(file, path, dataset[()], compression="gzip")
    elif way == 6 and dataset.ndim and dataset.size:
        _replace(file, path, dataset[()], chunks=tuple(max(1, n // 2) for n in dataset.shape), maxshape=(None, *dataset.shape[1:]))
    elif way == 7:
        del file[path]
        file.create_dataset(path, (1 << 40,), "u1")
    else:
        _replace(file, path, np.array(["text", "other"], dtype=object), dtype=h5py.string_dtype())


STRUCTURE = (attribute, json_value, json_value, json_text, values, values, values, shape, shape, member)


def spoil(path, rng):
    """Change one or two things of the file at `path`, and sign it again half of the time; whether it was signed."""
    with h5py.File(path, "r+", locking=False) as file:
        for _ in range(1 + (rng.random() < 0.2)):
            pick(rng, STRUCTURE)(file, rng)
        if rng.random() < 0.5:
            try:
                resign(file)
            except Exception:  # noqa: BLE001  what cannot be signed any more stays as it is
                return False
            return True
    return False


# byte by byte


def flips(data, rng):
    """Single bits, among what describes the file or anywhere."""
    end = len(data) if rng.random() < 0.5 else min(len(data), 8192)
    for place in rng.integers(0, end, int(rng.integers(1, 9))):
        data[place] ^= 1 << int(rng.integers(8))
    return data


def run(data, rng):
    """A run of zeros, of ones, or of noise."""
    size = int(2 ** rng.uniform(1, 12))
    place = int(rng.integers(len(data)))
    size = min(size, len(data) - place)
    data[place : place + size] = pick(rng, (bytes(size), b"\xff" * size, rng.bytes(size)))
    return data


def cut(data, rng):
    """The file ends early, late, or lacks something in the middle."""
    place = int(rng.integers(len(data)))
    return pick(rng, (data[:place], data + rng.bytes(int(rng.integers(1, 5000))), data[:place] + data[place + int(rng.integers(1, 512)) :]))


def swap(data, rng):
    """Two blocks have changed places."""
    size = int(2 ** rng.uniform(3, 12))
    first, second = (int(place) // 8 * 8 for place in sorted(rng.integers(0, max(1, len(data) - size), 2)))
    one, other = data[first : first + size], data[second : second + size]
    if first + size <= second:
        data[first : first + size], data[second : second + size] = other, one
    return data


def number(data, rng):
    """A number among what describes the file is another: an address, a size or a count."""
    width = int(pick(rng, (1, 2, 4, 8)))
    place = int(rng.integers(min(len(data), 12_000) // width)) * width
    most = 2 ** (8 * width)
    values = (0, 1, 255, most - 1, most // 2, int(rng.integers(len(data))) % most, place % most)
    data[place : place + width] = int(pick(rng, values)).to_bytes(width, "little")
    return data


BYTES = (flips, flips, run, run, cut, swap, number, number, number)


def spoil_bytes(data, rng):
    """Other bytes in place of a file's."""
    return bytes(pick(rng, BYTES)(bytearray(data), rng))
