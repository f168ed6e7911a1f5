"""The layout of every kind of store, as data: what is in its files, what readers check, what `info` counts, what `export` gives.

Files are validated against it and docs/format.md is generated from it. A new kind is an entry of `KINDS`.
"""

import re

from imgret.store.schema import Column, Export, Kind

FORMAT = "imgret"
PIPELINE_GROUP = "pipeline"  # arrays of the fitted components, each under its hash
META_GROUP = "meta"  # the `DOCUMENTS`
BLOCKS_GROUP = "blocks"  # checksums of the columns' blocks, see `imgret.store.blocks`
GROUP_NAME = re.compile(r"[a-z0-9_-]{1,64}")  # what a column under a group may be called
NUMBERS = ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float16", "float32", "float64")
AXES = {
    "N": "images",
    "T": "descriptors",
    "D": "descriptor dimensions",
    "P": "keypoint properties",
    "V": "vector dimensions",
    "E": "entries",
    "S": "bytes, or dimensions, of a signature",
    "F": "failed photos",
    "R": "index rows",
    "B": "bytes",
    "Q": "queries",
    "k": "ranks",
    "L": "ranks that were looked at",
    "M": "reference photos",
    "W": "1 of a crowded gallery, 0 of any other",
    "C": "columns of what an index keeps of a photo",
}


PHOTO = (
    Column(
        "names",
        ("N",),
        ("text",),
        "the photos' names, as bytes of the file system, in byte order, each once; of a row per box (`extract --boxes`) the queries' own",
        in_order=True,
    ),
    Column("image_size", ("N", 2), ("int32",), "width and height of the upright photo at full size, in pixels"),
    Column("digest", ("N", 32), ("uint8",), "SHA-256 of the photo's bytes (zero for vectors that came without photos)"),
    Column("file_size", ("N",), ("int64",), "size of the photo's file in bytes"),
    Column(
        "file_mtime_ns", ("N",), ("int64",), "modification time of the photo's file in nanoseconds; not part of `content`", hashed=False
    ),
    Column(
        "photo_names", ("N",), ("text",), "only where there is a row per box: the name of the photo that the box is of", optional="boxes"
    ),
    Column(
        "box",
        ("N", 4),
        ("float32",),
        "only where there is a row per box: x1, y1, x2, y2 in pixels of the upright photo at full size, clipped to the photo",
        optional="boxes",
        corners=True,
    ),
    Column(
        "origin",
        ("N",),
        ("uint64",),
        "only where it is known of every photo: XXH3-64 of what was extracted of it, which all that is made of that has too (of several "
        "extractions: of theirs); what is made again takes over rows by it; not part of `content`",
        hashed=False,
        optional="origin",
    ),
)

FAILED = (
    Column("failed/names", ("F",), ("text",), "photos that could not be used, in byte order"),
    Column(
        "failed/code",
        ("F",),
        ("text",),
        "why, in one word: unreadable, not-a-file, not-an-image, unsupported, truncated, too-large, box-outside, no-descriptors, "
        "not-finite or crashed; malformed where it was imported",
    ),
    Column("failed/reason", ("F",), ("text",), "why, in one sentence"),
    Column("failed/digest", ("F", 32), ("uint8",), "SHA-256 of the photo's bytes; zero where they could not be read"),
    Column("failed/file_size", ("F",), ("int64",), "size of the file in bytes"),
    Column("failed/file_mtime_ns", ("F",), ("int64",), "modification time of the file in nanoseconds; not part of `content`", hashed=False),
)

MATRICES = ("npy", "fvecs", "bvecs")

FEATURES = Kind(
    "features",
    "a features store",
    "features",
    (
        *PHOTO,
        Column("offsets", ("N+1",), ("int64",), "photo i has the descriptors offsets[i] to offsets[i+1]", counts="T"),
        Column(
            "keypoints",
            ("T", "P"),
            ("float32",),
            "one row per descriptor; the attribute `columns` names the properties: x y, then what is known of scale, size, angle, score",
            finite=False,
        ),
        Column(
            "descriptors",
            ("T", "D"),
            ("uint8", "float16", "float32"),
            "one row per descriptor, as the extractor stores them; the attribute `descriptor_type` is float, uint8 or binary",
        ),
        *FAILED,
    ),
    photos=True,
    counted={"T": "descriptors"},
    matrix="descriptors",
    export=Export("matrix", MATRICES, ("names", "offsets", "keypoints", "decoded")),
)

VECTORS = Kind(
    "vectors",
    "a vectors store",
    "vectors",
    (*PHOTO, Column("vectors", ("N", "V"), ("float32", "float16"), "one row per photo"), *FAILED),
    photos=True,
    matrix="vectors",
    export=Export("matrix", (*MATRICES, "hloc"), ("names",)),
)

WORDS = Kind(
    "words",
    "a words store",
    "words",
    (
        *PHOTO,
        Column("offsets", ("N+1",), ("int64",), "photo i has the entries offsets[i] to offsets[i+1], sorted by their words", counts="E"),
        Column("word", ("E",), ("uint32",), "the visual word of each entry"),
        Column("weight", ("E",), ("float32",), "how often the word occurs, or what a descriptor weighs in it", optional="weight"),
        Column(
            "signature",
            ("E", "S"),
            ("uint8", "float16"),
            "what is kept of the descriptors beside their word: bits, the first of a byte in its lowest place, or numbers",
            optional="signature",
        ),
        Column(
            "geometry",
            ("E", 4),
            ("uint16",),
            "x and y in pixels, rounded; log2 of the scale, as (log2 + 8) · 256; the angle in 65536ths of a turn",
            optional="geometry",
        ),
        Column(
            "descriptor",
            ("E",),
            ("uint32",),
            "which of the photo's descriptors each entry is of, where one has several words",
            optional="descriptor",
        ),
        *FAILED,
    ),
    version=1,
    older={},
    photos=True,
    counted={"E": "entries"},
    export=Export("entries", ("npz", "trec"), ("names",)),
)

CODEBOOK = Kind("codebook", "a codebook", "a codebook", (), export=Export("arrays", MATRICES, ("array",)))

ROWS = Column("rows", ("R",), ("int64",), "the photo that each row of the index stands for")

# What `imgret.chance` learns: optional, and no part of `content`, which it follows from.
CHANCE = (
    Column(
        "chance/tails",
        ("N", 2),
        ("float32",),
        "of the scores of each photo with reference photos, which nearly all do not match: where the upper fifth starts, and the scale of "
        "what is above; NaN where that is not known",
        hashed=False,
        optional="chance",
        finite=False,
    ),
    Column("chance/photos", ("M",), ("int64",), "the reference photos: those with the smallest digests", hashed=False, optional="chance"),
    Column(
        "chance/vectors",
        ("M", "C"),
        ("int16",),
        "what the structure keeps of them, decoded, in the length 3000",
        hashed=False,
        optional="chance",
    ),
    Column("chance/lengths", ("M",), ("float32",), "its lengths", hashed=False, optional="chance"),
    Column(
        "chance/crowded",
        ("W", 2),
        ("float32",),
        "where so many photos match others that their tails hold matches: start and scale of the common tail of chance scores, in units of "
        "the distance between the first and the third tenth of a photo's scores, the start from the latter",
        hashed=False,
        optional="chance",
    ),
)

HASHES = Column(
    "vector_hash",
    ("N",),
    ("uint64",),
    "only where the code of a photo follows from its vector and the quantiser alone: XXH3 of the vector, by which codes are copied",
    hashed=False,
    optional="copied",
)

INDEX = Kind(
    "index",
    "an index",
    "an index",
    (
        *PHOTO,
        ROWS,
        Column(
            "structure/",
            (),
            NUMBERS,
            "the searchable structure, as its method lays it out: `structure/faiss` is the bytes of a FAISS index; where that is a graph "
            "which has equal rows once, node i stands for the rows `structure/members[starts[i]:starts[i+1]]`, `structure/starts`; of an "
            "inverted file, word `words[i]` has the entries `word_offsets[i]` to `word_offsets[i+1]` of `signature`, `weight` and "
            "`geometry`, whose rows are in `photo[byte_offsets[i]:byte_offsets[i+1]]` as gaps of one byte below 224, two, or five; "
            "`idf`, `lp_idf` by word, `norms` and `lengths` by row",
        ),
        *CHANCE,
        HASHES,
        *FAILED,
    ),
    version=3,
    older={
        1: {
            "columns": (
                *PHOTO,
                ROWS,
                Column("index", ("B",), ("uint8",), "the searchable structure: the bytes of a FAISS index", stands_for="structure/faiss"),
                *FAILED,
            ),
            "facts_in_info": ("dim",),
            "documents_in_attributes": True,
        },
        2: {"documents_in_attributes": True},
    },
    photos=True,
    export_instead="vectors",
)

EVIDENCE = (
    Column(
        "evidence",
        ("Q", "L"),
        ("float32",),
        "what was counted of the first ranks (the fact `counts` says what: inliers); NaN where nobody looked",
        optional="evidence",
        finite=False,
    ),
    Column(
        "maps",
        ("Q", "L", 3, 3),
        ("float32",),
        "homographies from places of the query photo to places of the photo found, in pixels of upright photos; NaN where none is known",
        optional="maps",
        finite=False,
    ),
)

RANKING = Kind(
    "ranking",
    "a ranking",
    "a ranking",
    (
        Column("query_names", ("Q",), ("text",), "the query photos' names"),
        Column("query_ids", ("Q",), ("text",), "the queries' own names; they differ where one photo asks several times"),
        Column(
            "query_box",
            ("Q", 4),
            ("float32",),
            "only where a query asked with a box: x1, y1, x2, y2 in pixels of the query photo; NaN for those that asked with all of it",
            optional="boxes",
            finite=False,
        ),
        Column("names", ("N",), ("text",), "the names of the photos that were searched, in byte order"),
        Column("ids", ("Q", "k"), ("int32",), "positions in `names`, best first; -1 where the list is shorter"),
        Column("scores", ("Q", "k"), ("float32",), "higher is always better (L2 as -d²); NaN where there is no id", finite=False),
        *EVIDENCE,
        *FAILED,
    ),
    counted={"Q": "queries", "k": "ranks", "N": "gallery"},
    export=Export("ranking", ("trec", "tsv", "ivecs", "pairs"), ("names", "queries", "k")),
)

# What reranking makes for a few queries, in OUT.parts: of a ranking what differs from query to query.
RANKS = Kind(
    "ranks",
    "a part of a ranking",
    "a part of a ranking",
    tuple(column for column in RANKING.columns if column.path in ("ids", "scores", "evidence", "maps")),
)

# What a long step works from, in OUT.parts/<recipe>/<plan>/plan.h5; never published under a user's name.
PLAN = Kind(
    "plan",
    "a plan",
    "a plan",
    (
        Column("names", ("N",), ("text",), "the photos of the output, in byte order", in_order=True),
        Column("file_size", ("N",), ("int64",), "size of each file in bytes when the plan was made"),
        Column("file_mtime_ns", ("N",), ("int64",), "modification time of each file when the plan was made"),
        Column("made", ("P",), ("int64",), "those of them that are to be made; all, without it", optional="made"),
        # where the photos are, for shards that follow the plan without looking for them
        Column("heads", ("H",), ("text",), "what comes before names in their paths", optional="paths"),
        Column("which", ("N",), ("int32",), "the head of each path; below zero, -1 less its place in `whole`", optional="paths"),
        Column("whole", ("W",), ("text",), "paths that do not end with the name", optional="paths"),
    ),
)

KINDS = {kind.name: kind for kind in (FEATURES, VECTORS, WORDS, CODEBOOK, INDEX, RANKING)}  # those that are published
ALL_KINDS = KINDS | {RANKS.name: RANKS, PLAN.name: PLAN}

ATTRIBUTES = {
    "format": 'always "imgret"',
    "kind": " or ".join([", ".join(list(KINDS)[:-1]), list(KINDS)[-1]]),
    "schema_version": "version of this kind's layout (integer)",
    "created": "when it was published, UTC, ISO 8601",
    "recipe": "identity of how it was made, known before work starts: kind, method, versions, parameters, the inputs' `content` (hex)",
    "content": "identity of what is in it: hash over the columns, the pipeline and the facts (hex, XXH3-128)",
    "fingerprint": "per-photo kinds: hash of the recipe and every (name, digest): the same on every machine (hex)",
    "photos": "per-photo kinds and rankings: which photos they are about: the sum of the XXH3-128 of all names, then of all "
    "digests with names where these are known (hex)",
}

# JSON, each a dataset of `META_GROUP`: unlike an attribute it may be of any size, and unlike a text of variable length it is where the
# file says that it is, and not in a heap that libhdf5 has to walk.
DOCUMENTS = {
    "generated_by": "versions of imgret and the libraries it used; a list of those of a library that several made it with",
    "params": "step, method and parameters",
    "inputs": "what it was made from: path, kind, content of each",
    "pipeline": "the tree of fitted components that made it: component, version, params, arrays by hash, inputs, and `places`, where files "
    "such as a network's weights were found, which is part of no identity",
    "info": "facts found on the way: what was sampled, objective, chosen layout",
    "facts": "only where there is any: what reading the columns takes besides, such as the `dim` of an index",
    "checksums": "XXH3-128 of each column by its path; SHA-256 of params, inputs, pipeline, info and facts by `@` and the name, of a "
    "column's attribute by `#`, the path, `.` and the name, of what else the file says of itself by `#` alone; XXH3-128 of the checksums "
    "of a column's blocks by `#` and the path",
}
