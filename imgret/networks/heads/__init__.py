"""Heads: what a network's layers give to vectors, or to local features (`base` says what one is)."""

HEADS = {
    "avg": "imgret.networks.heads.vectors:Avg",
    "max": "imgret.networks.heads.vectors:Max",
    "gem": "imgret.networks.heads.vectors:Gem",
    "rmac": "imgret.networks.heads.vectors:Rmac",
    "crow": "imgret.networks.heads.vectors:Crow",
    "cam": "imgret.networks.heads.vectors:Cam",
    "fc": "imgret.networks.heads.vectors:FullyConnected",
    "netvlad": "imgret.networks.heads.netvlad:NetVlad",
    "attention": "imgret.networks.heads.attention:Attention",
    "se": "imgret.networks.heads.excitation:SqueezeExcitation",
    "none": "imgret.networks.heads.columns:Columns",
    "regions": "imgret.networks.heads.regions:Regions",
    "patches": "imgret.networks.heads.patches:Patches",
    "keypoints": "imgret.networks.heads.keypoints:Detected",
}
