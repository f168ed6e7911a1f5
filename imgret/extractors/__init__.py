"""Extractors: a photo to local features, or to one vector (`base.Extractor` says which)."""

EXTRACTORS = {
    "sift": "imgret.extractors.sift:Sift",
    "rootsift": "imgret.extractors.sift:RootSift",
    "dense-sift": "imgret.extractors.dense:DenseSift",
    "cnn": "imgret.extractors.cnn:Cnn",
    "hsv-hist": "imgret.extractors.hsv_hist:HsvHist",
    "color-moments": "imgret.extractors.color_moments:ColorMoments",
    "lbp": "imgret.extractors.lbp:Lbp",
    "hog": "imgret.extractors.hog:Hog",
    "gist": "imgret.extractors.gist:Gist",
}
DEFAULT = "rootsift"

# the family of what came from elsewhere: no choice of `extract`
IMPORTED = {
    "imported": "imgret.extractors.imported:ImportedVectors",
    "imported-features": "imgret.extractors.imported:ImportedFeatures",
}
