"""Losses: what training makes small (`base` says what one is)."""

LOSSES = {
    "contrastive": "imgret.losses.contrastive:Contrastive",
    "triplet": "imgret.losses.triplet:Triplet",
    "sare": "imgret.losses.sare:SARE",
    "sfrs": "imgret.losses.sfrs:SFRS",
    "smooth-ap": "imgret.losses.smooth_ap:SmoothAP",
    "infonce": "imgret.losses.infonce:InfoNCE",
    "softmax": "imgret.losses.margins:Softmax",
    "arcface": "imgret.losses.margins:ArcFace",
    "cosface": "imgret.losses.margins:CosFace",
    "pml": "imgret.losses.pml:Library",
}
