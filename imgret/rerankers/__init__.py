"""Rerankers: a ranking and what it needs to a better ranking; several rankings to one.

What a reranker takes it says itself (`base.Reranker`).
"""

RERANKERS = {
    "fuse": "imgret.rerankers.fuse:Fuse",
    "spatial": "imgret.rerankers.spatial:Spatial",
}
