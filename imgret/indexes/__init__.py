"""Indexes: vectors or visual words in, the best rows for a query out.

A `faiss` index is built in memory, serialised as `faiss` itself would, and opened again from a memory map without copying. What is
added here: layouts for any dimension, refusals before the work, and rankings whose ties break by row.
"""

INDEXES = {
    "flat": "imgret.indexes.flat:Flat",
    "pq": "imgret.indexes.pq:PQ",
    "opq": "imgret.indexes.pq:OPQ",
    "ivfpq": "imgret.indexes.ivf:IVFPQ",
    "ivf-flat": "imgret.indexes.ivf:IVFFlat",
    "hnsw": "imgret.indexes.hnsw:HNSW",
    "inverted": "imgret.indexes.inverted.index:Inverted",
    "factory": "imgret.indexes.factory:Factory",
}
DEFAULT = "flat"
