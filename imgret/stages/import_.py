"""import: vectors, local features and rankings from elsewhere to a store."""

import dataclasses
import hashlib
import os

import numpy as np

from imgret.errors import ImgretError, UsageError, counted, why
from imgret.extractors.imported import ImportedFeatures, ImportedVectors
from imgret.features import NO_DESCRIPTORS
from imgret.formats import files
from imgret.formats.hloc import BadImage, HlocFile
from imgret.formats.matrices import block_rows, open_matrix
from imgret.names import shown
from imgret.paths import plain
from imgret.pipeline import ELSEWHERE, Pipeline
from imgret.runs.details import amount
from imgret.runs.output import Output
from imgret.runs.run import Run
from imgret.store.photos import PhotoWriter, write_failed
from imgret.store.sameness import Sameness
from imgret.store.text import Texts

# what a file is by its ending
ENDINGS = {".fvecs": "fvecs", ".bvecs": "bvecs", ".npy": "npy", ".ivecs": "ivecs", ".h5": "hloc", ".hdf5": "hloc"}
META_ROWS = 4096  # photos whose columns are written at once
FAILED_TEXTS = ("names", "code", "reason")


def import_file(path, out, *, form=None, names=None, queries=None, space="", nul=False, run=Run()):
    """Make a store of a file of another program.

    Parameters
    ----------
    path : str
        `.fvecs`, `.bvecs` or `.npy`: a matrix, one vector per row (vectors store). `.ivecs`: rows of gallery numbers from 0, best first,
        ended by -1 where they are shorter, as ground truths of nearest neighbours are (ranking store). `.h5`, `.hdf5`: a feature file of
        the hloc toolbox (features or vectors store).
    out : str
    form : str, optional
        What it is, whatever it is called: a value of `ENDINGS`.
    names : str, optional
        A list of names (NUL-terminated with `nul`): one per row, in the rows' order; of `.ivecs`, the gallery in the order of its
        numbers. Needed, except by hloc's files, which hold their own.
    queries : str, optional
        Of `.ivecs`: the queries' names, one per row, in the rows' order; query00000, query00001 and so on without it.
    space : str
        What the vectors or features are, in a word of the user's own: stores of different spaces are not mixed.
    run : imgret.runs.run.Run

    Raises
    ------
    ImgretError
    """
    run.in_one_piece("import")
    path, out, names, queries = map(plain, (path, out, names, queries))
    form = form or ENDINGS.get(os.path.splitext(path)[1].lower())
    if form is None:
        raise UsageError(f"{path}: its ending does not say what it is ({', '.join(ENDINGS)}): give --format")
    if form == "hloc" and names is not None:
        raise UsageError("a feature file of hloc holds its own names: leave --names out")
    if form != "hloc" and names is None:
        raise UsageError(f"a .{form} file holds no names: give --names, a list of one per {'gallery photo' if form == 'ivecs' else 'row'}")
    if form != "ivecs" and queries is not None:
        raise UsageError("--queries is for .ivecs: leave it out")
    if form == "ivecs" and space:
        raise UsageError("--space is for vectors and features: leave it out")
    {"hloc": _import_hloc, "ivecs": _import_ranking}.get(form, _import_vectors)(Given(path, out, form, names, queries, space, nul, run))


@dataclasses.dataclass(frozen=True)
class Given:
    """What is to be imported, and what is known of it; see `import_file`."""

    path: str
    out: str
    form: str
    names: str | None
    queries: str | None
    space: str
    nul: bool
    run: Run

    def output(self, kind, source, what, *lists):
        """The output, by what the vectors or features are (None of a ranking), what the file is called, and how the lists are recorded."""
        params = {} if source is None else {"params": source.params.to_json()}
        self.run.report.detail(f"reads {self.path} as {self.form}, {amount(os.path.getsize(self.path))}, with {len(lists)} lists of names")
        return Output(self.out, kind, {"step": "import"} | params, [_made_of(self.path, what), *lists], self.run)


def _import_vectors(given):
    path, names = given.path, given.names
    vectors = open_matrix(path, given.form)
    listed, text = _names(names, given.nul, "--names")
    if len(listed) != len(vectors):
        raise ImgretError(f"{path} has {len(vectors)} rows, {names} has {len(listed)} names: give one name per row, in the same order")
    order = _order(listed, names)
    count, dim = map(int, vectors.shape)
    source = ImportedVectors(ImportedVectors.Params(dim, given.space))
    output = given.output("vectors", source, "vectors file", text.as_input("names"))
    if output.up_to_date():
        return
    with output.being_made():
        with output.create(Pipeline.of(ELSEWHERE, source)) as writer:
            texts, sizes = Texts.of(listed[row] for row in order), np.zeros((count, 2), np.int32)
            photos = _photo_writer(writer, "vectors", {"vectors": ((dim,), np.float32, {})}, texts, sizes)
            for block in _finite_blocks(path, vectors, order):
                photos.rows(vectors=block)
            writer.fingerprint = photos.fingerprint(output.recipe)
        given.run.report.note(f"{output.shown}: {counted(count, 'vector')} of {dim} dimensions")


def _finite_blocks(path, vectors, order):
    """The rows as float32 in another order, refused where they are not finite then."""
    step = block_rows(4 * vectors.shape[1])
    for start in range(0, len(order), step):
        with np.errstate(over="ignore"):  # what float32 cannot hold is refused below
            block = vectors[order[start : start + step]].astype(np.float32)
        if not np.isfinite(block).all():
            bad = order[start + int(np.flatnonzero(~np.isfinite(block).all(axis=1))[0])]
            raise ImgretError(f"{path}: row {bad + 1} holds NaN, or values that float32 cannot hold")
        yield block


def _photo_writer(writer, kind, data, names, sizes, failed=(), descriptors=0):
    """A `PhotoWriter` that has written all that came without a photo: its name and, where it is known, its size."""
    failed = list(failed)
    totals = {"N": len(names), "T": descriptors, "F": len(failed), "bytes of names": len(names.flat)}
    totals |= {f"bytes of failed/{text}": sum(len(row[text]) for row in failed) for text in FAILED_TEXTS}
    photos = PhotoWriter(writer, kind, data, totals)
    for start in range(0, len(names), META_ROWS):
        some = names[start : start + META_ROWS]
        unknown = np.full(len(some), -1, np.int64)
        meta = {"image_size": sizes[start : start + META_ROWS], "digest": np.zeros((len(some), 32), np.uint8)}
        photos.photos(some, meta | {"file_size": unknown, "file_mtime_ns": unknown})
    for row in failed:
        photos.fail(row["names"], row["code"], row["reason"], bytes(32), -1, -1)
    return photos


def _import_hloc(given):
    with HlocFile(given.path) as file:
        kind = ImportedFeatures if file.gives == "features" else ImportedVectors
        source = kind(kind.Params(file.dim, given.space))
        output = given.output(file.gives, source, "hloc file")
        if output.up_to_date():
            return
        with output.being_made():
            try:
                _make_of_hloc(output, file, source)
            except BadImage:  # what else there is has to be known before the next try: columns have the length they begin with
                file.examine()
                _make_of_hloc(output, file, source)
            images, total = int(np.count_nonzero(file.counts)), int(file.counts.sum())
            what = f"{counted(total, 'descriptor')} of {counted(images, 'image')}" if file.gives == "features" else counted(total, "vector")
            without = f"; {counted(len(file.counts) - images, 'image')} without any" if images < len(file.counts) else ""
            given.run.report.note(f"{output.shown}: {what}, {file.dim} dimensions{without}")
            if file.failed:
                name, bad = min(file.failed.items())
                said = f"{len(file.failed)} of {len(file.failed) + len(file.counts)} images could not be used"
                given.run.report.warn(f"{given.path}: {said} (imgret info --failed), for example {shown(name)}: {bad.reason}")


def _make_of_hloc(output, file, source):
    if not file.counts.any():
        raise ImgretError(f"{file.shown}: no image in it has a descriptor")
    with output.create(Pipeline.of(ELSEWHERE, source)) as writer:
        writer.fingerprint = _copy_hloc(file, writer, output.run.report).fingerprint(output.recipe)


def _copy_hloc(file, writer, report):
    """Write what an hloc file holds; gives the `PhotoWriter`."""
    kept, empty = np.flatnonzero(file.counts).tolist(), np.flatnonzero(file.counts == 0).tolist()
    failed = {file.names[row]: ("no-descriptors", NO_DESCRIPTORS) for row in empty}
    failed |= {name: (bad.code, bad.reason) for name, bad in file.failed.items()}
    failed = [{"names": name, "code": code, "reason": reason} for name, (code, reason) in sorted(failed.items())]
    names = Texts.of(file.names[row] for row in kept)
    photos = _photo_writer(writer, file.gives, file.columns(), names, file.sizes[kept], failed, int(file.counts.sum()))
    with report.progress(len(kept), "image") as progress:
        for row in kept:
            if file.gives == "features":
                photos.ragged(file.counts[row : row + 1])
            for block in file.rows(row):
                photos.rows(**block)
            progress.update()
    return photos


def _import_ranking(given):
    path, names, queries = given.path, given.names, given.queries
    ranks = open_matrix(path, "ivecs")
    gallery, text = _names(names, given.nul, "--names")
    order, lists = _order(gallery, names), [text.as_input("names")]
    asked = _default_queries(len(ranks))
    if queries is not None:
        asked, text = _names(queries, given.nul, "--queries")
        lists.append(text.as_input("queries"))
    if len(asked) != len(ranks):
        raise ImgretError(f"{path} has {len(ranks)} rows, {queries} has {len(asked)} names: give one query per row, in the same order")
    _order(asked, queries)
    output = given.output("ranking", None, "ranking file", *lists)
    if output.up_to_date():
        return
    with output.being_made():
        with output.create(None) as writer:
            writer.texts("query_names", asked)
            writer.texts("query_ids", asked)
            writer.texts("names", [gallery[number] for number in order])
            _copy_ranks(path, ranks, order, writer)
            writer.photos = Sameness.of_names(gallery)
            write_failed(writer, [])
        count, k = ranks.shape
        given.run.report.note(
            f"{output.shown}: {counted(count, 'query')}, {counted(k, 'rank')} each, {counted(len(gallery), 'photo')} in the gallery"
        )


def _copy_ranks(path, ranks, order, writer):
    """Write the ranks by the photos' places among the names in byte order; the rank is the score."""
    count, k = ranks.shape
    position = np.full(len(order) + 1, -1, np.int32)  # number -> place; the last one stands for -1
    position[order] = np.arange(len(order), dtype=np.int32)
    ids, scores = writer.column("ids", (k,), np.int32, count), writer.column("scores", (k,), np.float32, count)
    step = block_rows(4 * k)
    for start in range(0, count, step):
        block = np.asarray(ranks[start : start + step])
        _check_ranks(path, block, start, len(order))
        ids.append(position[block])
        scores.append(np.where(block < 0, np.nan, -np.arange(1, k + 1)).astype(np.float32))


def _check_ranks(path, block, start, gallery):
    """Refuse numbers that are no gallery photo's, are there twice, or come after the -1 that ends a row."""
    outside = (block < -1) | (block >= gallery)
    if outside.any():
        row, column = np.argwhere(outside)[0]
        raise ImgretError(
            f"{path}: row {start + row + 1} holds {block[row, column]}, while the gallery's {gallery} names have the numbers 0 to "
            f"{gallery - 1}: list the whole gallery in --names, in its order"
        )
    resumed = (block[:, 1:] >= 0) & (block[:, :-1] < 0)
    if resumed.any():
        raise ImgretError(f"{path}: row {start + int(np.argwhere(resumed)[0][0]) + 1} goes on after the -1 that ends it")
    ordered = np.sort(block, axis=1)
    twice = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
    if twice.any():
        row, column = np.argwhere(twice)[0]
        raise ImgretError(f"{path}: row {start + row + 1} holds {ordered[row, column]} twice")


def _default_queries(count):
    digits = max(5, len(str(count - 1)))
    return [b"query%0*d" % (digits, number) for number in range(count)]


def _order(listed, path):
    """The positions of names in byte order, refused where a name is there twice."""
    order = sorted(range(len(listed)), key=listed.__getitem__)
    for first, second in zip(order, order[1:], strict=False):
        if listed[first] == listed[second]:
            raise ImgretError(f"{path}: the name {shown(listed[first])} is there twice, in lines {first + 1} and {second + 1}")
    return order


def _names(path, nul, option):
    """The names that a file lists, none of them empty, and its text."""
    try:
        text = files.Text.read(path, files.NAMES_LIMIT, lambda error: ImgretError(f"{option} {path}: {why(error).lower()}"))
    except files.TooLarge:
        raise ImgretError(f"{option} {path} has more than {files.NAMES_LIMIT} bytes") from None
    names = [name for _, name in files.lines(text.stream(), nul=nul)]
    if b"" in names:
        raise ImgretError(f"{option} {path}, line {names.index(b'') + 1}: the name is empty")
    return names, text


def _made_of(path, kind):
    """How a file is recorded as an input."""
    with open(path, "rb") as file:
        return {"path": path, "kind": kind, "content": hashlib.file_digest(file, "sha256").hexdigest()}
