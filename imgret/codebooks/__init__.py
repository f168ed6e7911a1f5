"""Codebooks: a sample of descriptors or vectors in, the arrays of one fitted component out.

`kmeans` learns visual words for VLAD, `gmm` a mixture for Fisher vectors, `pca` a projection of vectors or descriptors, `lw` one of
vectors that matching pairs whiten, `words` how often words occur, `hamming` the thresholds of Hamming embedding. The
others are the quantisers of the indexes of these names.
"""

CODEBOOKS = {
    "kmeans": "imgret.codebooks.kmeans:KMeans",
    "akm": "imgret.codebooks.akm:AKM",
    "hkm": "imgret.codebooks.hkm:HKM",
    "product": "imgret.codebooks.product:Product",
    "scalar": "imgret.codebooks.scalar:Scalar",
    "gmm": "imgret.codebooks.gmm:GMM",
    "pca": "imgret.codebooks.pca:PCA",
    "lw": "imgret.codebooks.lw:LW",
    "words": "imgret.codebooks.statistics:Statistics",
    "hamming": "imgret.codebooks.hamming:HammingThresholds",
    "pq": "imgret.codebooks.quantizers:PQ",
    "opq": "imgret.codebooks.quantizers:OPQ",
    "ivfpq": "imgret.codebooks.quantizers:IVFPQ",
    "ivf-flat": "imgret.codebooks.quantizers:IVFFlat",
}
DEFAULT = "kmeans"
