"""Miners: which photos are compared with which in training (`base` says what one is)."""

MINERS = {
    "hard": "imgret.miners.hard:Hard",
    "semi-hard": "imgret.miners.hard:SemiHard",
    "sampled": "imgret.miners.sampled:Sampled",
    "random": "imgret.miners.random:Random",
}
