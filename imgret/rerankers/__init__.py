"""Rerankers: a ranking and what it needs to a better ranking; several rankings to one.

What a reranker takes it says itself (`base.Reranker`).
"""

ROLES = ("features", "words", "vectors", "index", "graph", "reference")  # what may be given besides rankings: each an option of the command

RERANKERS = {
    "spatial": "imgret.rerankers.spatial:Spatial",
    "weak-geometry": "imgret.rerankers.weak_geometry:WeakGeometry",
    "hpm": "imgret.rerankers.hpm:Hpm",
    "scsm": "imgret.rerankers.scsm:Scsm",
    "offsets": "imgret.rerankers.offsets:Offsets",
    "max-regions": "imgret.rerankers.max_regions:MaxRegions",
    "region-similarity": "imgret.rerankers.region_similarity:RegionSimilarity",
    "aqe": "imgret.rerankers.aqe:Aqe",
    "alpha-qe": "imgret.rerankers.alpha_qe:AlphaQe",
    "rank-weighted": "imgret.rerankers.rank_weighted:RankWeighted",
    "dqe": "imgret.rerankers.dqe:Dqe",
    "words-qe": "imgret.rerankers.words_qe:WordsQe",
    "k-reciprocal": "imgret.rerankers.k_reciprocal:KReciprocal",
    "hello-neighbour": "imgret.rerankers.hello_neighbour:HelloNeighbour",
    "diffusion": "imgret.rerankers.diffusion:Diffusion",
    "fuse": "imgret.rerankers.fuse:Fuse",
    "fuse-adaptive": "imgret.rerankers.fuse_adaptive:FuseAdaptive",
    "fuse-graph": "imgret.rerankers.fuse_graph:FuseGraph",
}
