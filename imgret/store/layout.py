"""The layout of every kind of store, as data: files are validated against it and docs/format.md is generated from it."""

import dataclasses

FORMAT = "imgret"

SCHEMA_VERSIONS = {"features": 1, "vectors": 1, "codebook": 1, "index": 1, "ranking": 1, "plan": 1}


@dataclasses.dataclass(frozen=True)
class Column:
    """One dataset of a store.

    `shape` names the axes: N images, T descriptors, D descriptor dimensions, P keypoint properties, V vector dimensions, F failed
    photos, R index rows, B bytes, Q queries, k ranks. The dtype "text" stands for two datasets: `path` holds the bytes of all values
    one after the other (uint8), `path_offsets` where each begins and where the last ends (int64, one more than there are values).
    A store has all columns that are not `optional`, and of those that are all or none.
    """

    path: str
    shape: tuple
    dtypes: tuple
    meaning: str
    hashed: bool = True  # part of `content`
    optional: bool = False


PHOTO = (
    Column(
        "names",
        ("N",),
        ("text",),
        "the photos' names, as bytes of the file system, in byte order, each once; of a row per box (`extract --boxes`) the queries' own",
    ),
    Column("image_size", ("N", 2), ("int32",), "width and height of the upright photo at full size, in pixels"),
    Column("digest", ("N", 32), ("uint8",), "SHA-256 of the photo's bytes (zero for vectors that came without photos)"),
    Column("file_size", ("N",), ("int64",), "size of the photo's file in bytes"),
    Column("file_mtime_ns", ("N",), ("int64",), "modification time of the photo's file in nanoseconds; not part of `content`", False),
    Column("photo_names", ("N",), ("text",), "only where there is a row per box: the name of the photo that the box is of", optional=True),
    Column(
        "box",
        ("N", 4),
        ("float32",),
        "only where there is a row per box: x1, y1, x2, y2 in pixels of the upright photo at full size, clipped to the photo",
        optional=True,
    ),
)

FAILED = (
    Column("failed/names", ("F",), ("text",), "photos that could not be used, in byte order"),
    Column(
        "failed/code",
        ("F",),
        ("text",),
        "why, in one word: unreadable, not-a-file, not-an-image, truncated, too-large, box-outside, no-descriptors, not-finite or crashed",
    ),
    Column("failed/reason", ("F",), ("text",), "why, in one sentence"),
    Column("failed/digest", ("F", 32), ("uint8",), "SHA-256 of the photo's bytes; zero where they could not be read"),
    Column("failed/file_size", ("F",), ("int64",), "size of the file in bytes"),
    Column("failed/file_mtime_ns", ("F",), ("int64",), "modification time of the file in nanoseconds; not part of `content`", False),
)

KINDS = {
    "features": (
        *PHOTO,
        Column("offsets", ("N+1",), ("int64",), "photo i has the descriptors offsets[i] to offsets[i+1]"),
        Column(
            "keypoints",
            ("T", "P"),
            ("float32",),
            "one row per descriptor; the attribute `columns` names the properties: x y, then what is known of scale, size, angle, score",
        ),
        Column(
            "descriptors",
            ("T", "D"),
            ("uint8", "float16", "float32"),
            "one row per descriptor, as the extractor stores them; the attribute `descriptor_type` is float, uint8 or binary",
        ),
        *FAILED,
    ),
    "vectors": (
        *PHOTO,
        Column("vectors", ("N", "V"), ("float32", "float16"), "one row per photo"),
        *FAILED,
    ),
    "codebook": (),
    "index": (
        *PHOTO,
        Column("rows", ("R",), ("int64",), "the photo that each row of the index stands for"),
        Column("index", ("B",), ("uint8",), "the searchable structure: the bytes of a FAISS index"),
        *FAILED,
    ),
    "ranking": (
        Column("query_names", ("Q",), ("text",), "the query photos' names"),
        Column("query_ids", ("Q",), ("text",), "the queries' own names; they differ where one photo asks several times"),
        Column(
            "query_box",
            ("Q", 4),
            ("float32",),
            "only where a query asked with a box: x1, y1, x2, y2 in pixels of the query photo; NaN for those that asked with all of it",
            optional=True,
        ),
        Column("names", ("N",), ("text",), "the names of the photos that were searched, in byte order"),
        Column("ids", ("Q", "k"), ("int32",), "positions in `names`, best first; -1 where the list is shorter"),
        Column("scores", ("Q", "k"), ("float32",), "higher is always better (L2 as -d²); NaN where there is no id"),
        *FAILED,
    ),
}

# What a long step works from, in OUT.parts/<recipe>/<plan>/plan.h5; never published under a user's name.
PLAN = (
    Column("names", ("N",), ("text",), "the photos to do, in byte order"),
    Column("file_size", ("N",), ("int64",), "size of each file in bytes when the plan was made"),
    Column("file_mtime_ns", ("N",), ("int64",), "modification time of each file when the plan was made"),
)

COLUMNS = {**KINDS, "plan": PLAN}

ATTRIBUTES = {
    "format": 'always "imgret"',
    "kind": "features, vectors, codebook, index or ranking",
    "schema_version": "version of this kind's layout (integer)",
    "created": "when it was published, UTC, ISO 8601",
    "generated_by": "versions of imgret and the libraries it used (JSON)",
    "recipe": "identity of how it was made, known before work starts: kind, method, versions, parameters, the inputs' `content` (hex)",
    "content": "identity of what is in it: hash over the columns and the pipeline (hex, XXH3-128)",
    "fingerprint": "per-photo kinds: hash of the recipe and every (name, digest): the same on every machine (hex)",
    "params": "step, method and parameters (JSON)",
    "inputs": "what it was made from: path, kind, content of each (JSON)",
    "pipeline": "the tree of fitted components that made it: component, version, params, arrays by hash, inputs, and `places`, where files "
    "such as a network's weights were found, which is part of no identity (JSON)",
    "info": "facts found on the way: what was sampled, objective, chosen layout (JSON)",
    "checksums": "XXH3-128 of each column and of params, inputs, pipeline and info (JSON); `imgret info --check` verifies them",
}

PIPELINE_GROUP = "pipeline"  # arrays of the fitted components, each under its hash
