"""Extractors: a photo to local features."""

EXTRACTORS = {
    "sift": "imgret.extractors.sift:Sift",
    "rootsift": "imgret.extractors.sift:RootSift",
    "dense-sift": "imgret.extractors.dense:DenseSift",
}
