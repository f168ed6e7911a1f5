"""export: what is in a store to files of other programs."""

import functools
import os

import numpy as np

from imgret import builds, ready
from imgret.errors import ImgretError, UsageError, counted, listed
from imgret.formats.matrices import block_rows, encode_rows, npy_header
from imgret.formats.sparse import npz, word_lines
from imgret.inputs.entries import ALONE, BESIDE, check_rows
from imgret.names import shown
from imgret.paths import check_apart, plain
from imgret.pipeline import Pipeline
from imgret.runs.details import tell_inputs, tell_versions
from imgret.runs.output import freshen
from imgret.runs.plainfiles import PlainFile, encoded, write_together
from imgret.runs.run import Run
from imgret.stages import export_ranking
from imgret.store import layout
from imgret.store.reader import Store

# what a file is to be by its ending
ENDINGS = {
    ".npy": "npy",
    ".fvecs": "fvecs",
    ".bvecs": "bvecs",
    ".ivecs": "ivecs",
    ".trec": "trec",
    ".run": "trec",
    ".txt": "trec",
    ".tsv": "tsv",
    ".npz": "npz",
}
# as `imgret.paths.ENDINGS` has it
HOLDS = {"npy": "a NumPy array", "npz": "NumPy arrays", "trec": "a TREC run", "tsv": "TSV", "hloc": "a store (HDF5)", "pairs": "plain text"}
FORMATS = (*dict.fromkeys(ENDINGS.values()), "hloc", "pairs")
MAIN_ARRAY = "centroids"
NAMES = 4096  # written at once
PHOTOS = 256  # whose words are written at once


def export(
    store,
    out,
    *,
    form=None,
    names=None,
    queries=None,
    nul=False,
    offsets=None,
    keypoints=None,
    decoded=False,
    array=None,
    k=None,
    run=Run(),
):
    """Write what is in a store as a file of another program.

    Parameters
    ----------
    store : str
        Vectors: one row per photo, in byte order of the names. Features: the descriptors of all photos one after the other. A ranking. A
        codebook: one of its arrays. Visual words: a sparse matrix of photos and words. The folder of a build: its vectors.
    out : str
        Its ending says what it is to be: `.npy`, `.fvecs`, `.bvecs`; for a ranking `.trec`, `.run`, `.txt` (TREC run), `.tsv` or `.ivecs`;
        for words `.npz`, or `.trec` and `.txt` (a line "PHOTO WORD WEIGHT" for each entry).
    form : str, optional
        One of `FORMATS`, whatever `out` is called: "hloc" is vectors as the hloc toolbox has them (HDF5), "pairs" a line of two names for
        each query's photo and each photo in its list but itself, as COLMAP and hloc read them.
    names : str, optional
        A file for the photos' names, one per line (NUL-terminated with `nul`), in the order of rows; of a ranking, the gallery's in the
        order of the numbers in `.ivecs`.
    queries : str, optional
        A file for the queries' names, in the order of rows.
    offsets : str, optional
        A `.npy` file, int64, shape (N + 1,): photo i has the descriptors offsets[i] to offsets[i + 1].
    keypoints : str, optional
        A `.npy` file, float32, shape (T, P).
    decoded : bool
        Descriptors as encoders take them (RootSIFT, say), float32, instead of as they are stored.
    array : str, optional
        Which array of a codebook; its centroids by default.
    k : int, optional
        Of a ranking: so many ranks of each list; of pairs, so many beside the photo itself.
    run : imgret.runs.run.Run

    Raises
    ------
    ImgretError
    """
    run.in_one_piece("export")
    store, out, names, queries, offsets, keypoints = map(plain, (store, out, names, queries, offsets, keypoints))
    form = form or ENDINGS.get(os.path.splitext(out)[1].lower())
    if form is None:
        raise UsageError(f"-o {out}: its ending does not say what it is to be ({', '.join(ENDINGS)}): give --format")
    given = {"names": names, "queries": queries, "offsets": offsets, "keypoints": keypoints, "decoded": decoded}
    given |= {"array": array, "k": k}
    paths = {"-o": out} | {f"--{option}": given[option] for option in ("names", "queries", "offsets", "keypoints") if given[option]}
    check_apart(paths)
    store = builds.read(store).vectors if builds.is_build(store) else ready.path_of(store)
    with Store(store) as opened:
        tell_versions(run.report)
        tell_inputs(run.report, [opened])
        _check(opened, form, given)
        contents, what = _contents(opened, form, given | {"out": out}, nul)
        forms = {"-o": HOLDS.get(form, form), "--names": "plain text", "--queries": "plain text"}
        files = [(PlainFile(path, option, forms.get(option, HOLDS["npy"]), [store]), contents[option]) for option, path in paths.items()]
        written = write_together(files, run)
        for path in () if written else paths.values():
            freshen(path, [store])
        run.report.note(f"{os.fsdecode(out)}: {what}" if written else f"{os.fsdecode(out)} is up to date")


def _contents(store, form, given, nul):
    """What to write, by option, and what the main file holds in words."""
    content, what = CONTENTS[store.layout.export.of](store, form, given)
    contents = {"-o": content}
    if given["names"] is not None:
        contents["--names"] = functools.partial(_name_lines, store, "names", nul)
    if given["queries"] is not None:
        contents["--queries"] = functools.partial(_name_lines, store, export_ranking.query_column(store), nul)
    if given["offsets"] is not None:
        contents["--offsets"] = functools.partial(_offsets, store)
    if given["keypoints"] is not None:
        contents["--keypoints"] = functools.partial(_matrix, store, "keypoints", "npy", None)
    failed = store.sizes.get("F", 0)
    return contents, what + (f"; {counted(failed, 'photo')} that failed {'is' if failed == 1 else 'are'} not in it" if failed else "")


def _check(store, form, given):
    """Refuse what this kind of store does not give."""
    kind = store.layout
    if kind.export is None:
        raise ImgretError(f"{store.shown} is {kind.noun}{_instead(store)}")
    if form not in kind.export.formats:
        formats = ", ".join(kind.export.formats)
        raise ImgretError(f"{store.shown} holds {kind.holds}, which can be exported as {formats}, not as {form}: choose another -o")
    for option, value in given.items():
        if value and option not in kind.export.options:
            *others, last = (other.name for other in layout.KINDS.values() if other.export and option in other.export.options)
            words = f"{', '.join(others)} and {last}" if others else last
            raise ImgretError(f"{'-' if len(option) == 1 else '--'}{option} is for {words}; {store.shown} holds {kind.holds}: leave it out")


def _instead(store):
    """What to do with a store that cannot be exported."""
    if not store.layout.export_instead:
        return ", which cannot be exported"
    kinds = [entry.get("kind") for entry in store.inputs if isinstance(entry, dict)]
    source = layout.KINDS["words" if "words" in kinds else store.layout.export_instead]
    made_of = [str(entry.get("path")) for entry in store.inputs if isinstance(entry, dict) and entry.get("kind") == source.name]
    where = f" ({listed(made_of)})" if made_of else ""
    return f": export the {source.noun.partition(' ')[2]} that it was made from{where}"


def _rows(store, form, given):
    """The rows of a kind's matrix: what an extractor can decode as it is stored, unless it is to be decoded, and all else as floats."""
    path, ragged = store.layout.matrix, store.layout.offsets is not None
    count, dim = store.shape(path)
    # float16 becomes float32, which every program reads, and loses nothing
    convert = None if "decoded" in store.layout.export.options else _float
    if given["decoded"]:
        convert = Pipeline.load(store).component().decode
    if ragged:
        store.descriptor_range(0, len(store))
    what = f"{count} {'decoded ' if given['decoded'] else ''}{path} of {dim} dimensions"
    if form == "hloc":
        return functools.partial(_hloc, store, os.path.dirname(os.path.abspath(given["out"]))), what
    return functools.partial(_matrix, store, path, form, convert), what + (f", of {counted(len(store), 'photo')}" if ragged else "")


def _hloc(store, folder):
    from imgret.formats.hloc.writing import global_descriptors

    step = block_rows(4 * store.shape("vectors")[1])
    blocks = ((start, min(start + step, len(store))) for start in range(0, len(store), step))
    columns = ((store.texts("names", *rows), store.read("vectors", *rows), store.read("image_size", *rows)) for rows in blocks)
    return global_descriptors((row for block in columns for row in zip(*block, strict=True)), folder)


def _float(block):
    return block.astype(np.float32, copy=False)


def _matrix(store, path, form, convert):
    """A column of rows, as the bytes of a file; `convert` is applied to each block."""
    count, dim = store.shape(path)
    step = block_rows(4 * dim)
    if form == "npy":
        yield npy_header((count, dim), np.float32 if convert else store.dtype(path))
    for start in range(0, count, step):
        block = store.read(path, start, min(start + step, count))
        yield _encoded(block if convert is None else convert(block), form, start, store.shown)


def _encoded(block, form, start, shown_path):
    try:
        return encode_rows(block, form)
    except ValueError as error:
        row, value = error.args
        raise ImgretError(
            f"{shown_path}: row {start + row + 1} holds {value:.6g}, .bvecs takes whole numbers from 0 to 255: choose .fvecs or .npy"
        ) from None


def _array(store, form, given):
    pipeline = Pipeline.load(store)
    arrays = {name: pipeline.arrays[digest] for name, digest in pipeline.node["arrays"].items()}
    arrays = {name: array for name, array in sorted(arrays.items()) if array.ndim in (1, 2)}
    wanted = given["array"] or MAIN_ARRAY
    if wanted not in arrays:
        raise ImgretError(f"{store.shown} has no array '{wanted}': choose one with --array ({listed(list(arrays), 20)})")
    array = arrays[wanted]

    def content():
        if form == "npy":
            yield npy_header(array.shape, array.dtype)
        yield _encoded(np.atleast_2d(array), form, 0, store.shown)

    return content, f"{wanted}, {' × '.join(map(str, array.shape))}"


def _name_lines(store, column, nul):
    end = b"\0" if nul else b"\n"
    for start in range(0, store.shape(column + "_offsets")[0] - 1, NAMES):
        names = list(store.texts(column, start, start + NAMES))
        for name in names:
            if not name or (b"\0" in name if nul else b"\n" in name or name.endswith(b"\r")):
                remedy = "rename the photo" if nul or not name else "give -0 for a NUL-terminated list"
                raise ImgretError(f"{store.shown}: the name {shown(name)} cannot stand on a line of its own: {remedy}")
        yield b"".join(name + end for name in names)


def _offsets(store):
    yield npy_header((len(store) + 1,), np.int64)
    for block in store.blocks("offsets"):
        yield encode_rows(block, "npy")


def _entries(store, form, given):
    """The entries of words: a sparse matrix as SciPy reads it (`scipy.sparse.load_npz`) and what is kept beside the words, or lines."""
    if form == "trec":
        return functools.partial(_word_lines, store), f"{counted(store.sizes['E'], 'entry', 'entries')} of {counted(len(store), 'photo')}"
    size, count = Pipeline.load(store).component().words, store.sizes["E"]
    store.descriptor_range(0, len(store))
    number = np.int32 if max(size, count) < 2**31 else np.int64  # SciPy wants both alike
    beside = [path for path in (*BESIDE[1:], *ALONE) if store.has(path)]

    def rows(path):
        for block in store.blocks(path):
            check_rows(store, path, block, size)
            yield block

    def content():  # each time anew: what is there already is compared with it
        yield from npz(
            [
                ("indices", (count,), number, rows("word")),
                ("indptr", (len(store) + 1,), number, store.blocks("offsets")),
                ("format", (), "S3", [np.array(b"csr")]),
                ("shape", (2,), np.int64, [np.array([len(store), size])]),
                ("data", (count,), np.float32, rows("weight") if store.has("weight") else map(_ones, store.blocks("word"))),
                *((path, store.shape(path), store.dtype(path), rows(path)) for path in beside),
            ]
        )

    what = f"{counted(count, 'entry', 'entries')}, {len(store)} × {size}"
    return content, what + (f", and {', '.join(beside)}" if beside else "")


def _ones(block):
    return np.ones(len(block), np.float32)


def _word_lines(store):
    for start in range(0, len(store), PHOTOS):
        stop = min(start + PHOTOS, len(store))
        offsets = store.descriptor_range(start, stop)
        words = store.read("word", int(offsets[0]), int(offsets[-1]))
        weights = store.read("weight", int(offsets[0]), int(offsets[-1])) if store.has("weight") else np.ones(len(words))
        yield from encoded(word_lines(store.texts("names", start, stop), np.diff(offsets).tolist(), words, weights))


# by what the layout says that a kind's export is of
CONTENTS = {"matrix": _rows, "arrays": _array, "ranking": export_ranking.contents, "entries": _entries}
