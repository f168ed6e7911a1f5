"""Rerankers: a ranking and what it needs to a better ranking; several rankings to one.

What a reranker takes it says itself (`base.Reranker`).
"""

ROLES = ("features", "words", "vectors", "index", "graph", "reference")  # what may be given besides rankings: each an option of the command

RERANKERS = {
    "fuse": "imgret.rerankers.fuse:Fuse",
    "spatial": "imgret.rerankers.spatial:Spatial",
    "weak-geometry": "imgret.rerankers.weak_geometry:WeakGeometry",
    "hpm": "imgret.rerankers.hpm:Hpm",
    "scsm": "imgret.rerankers.scsm:Scsm",
    "offsets": "imgret.rerankers.offsets:Offsets",
}
