"""Rerankers: a ranking and what it needs to a better ranking; several rankings to one.

What a reranker takes it says itself (`base.Reranker`).
"""

ROLES = ("features", "words", "vectors", "index", "graph", "reference")  # what may be given besides rankings: each an option of the command

RERANKERS = {
    "spatial": "imgret.rerankers.spatial:Spatial",
    "fuse": "imgret.rerankers.fuse:Fuse",
    "fuse-adaptive": "imgret.rerankers.fuse_adaptive:FuseAdaptive",
}
