"""Indexes: vectors made searchable by faiss."""

INDEXES = {
    "flat": "imgret.indexes.flat:Flat",
    "pq": "imgret.indexes.pq:PQ",
    "opq": "imgret.indexes.pq:OPQ",
    "ivfpq": "imgret.indexes.ivf:IVFPQ",
    "ivf-flat": "imgret.indexes.ivf:IVFFlat",
    "hnsw": "imgret.indexes.hnsw:HNSW",
    "factory": "imgret.indexes.factory:Factory",
}
