"""Ways to train a network (`base` says what one is)."""

TRAINERS = {
    "contrastive": "imgret.trainers.tuples:Contrastive",
    "triplet": "imgret.trainers.tuples:Triplet",
    "netvlad": "imgret.trainers.places:NetVlad",
    "sare": "imgret.trainers.places:Sare",
    "sfrs": "imgret.trainers.sfrs:Sfrs",
    "smooth-ap": "imgret.trainers.balanced:SmoothAP",
    "infonce": "imgret.trainers.balanced:InfoNCE",
    "metric": "imgret.trainers.balanced:Metric",
    "instance": "imgret.trainers.instance:Instance",
    "classification": "imgret.trainers.classification:Classification",
}
