"""Encoders: one photo's local features to one vector or to visual words, its vector to a shorter one, or several of its vectors to one.

What an encoder takes, gives and needs it says itself (`base.Encoder`).
"""

ENCODERS = {
    "vlad": "imgret.encoders.vlad:Vlad",
    "fisher": "imgret.encoders.fisher:Fisher",
    "bow": "imgret.encoders.bow:Bow",
    "hamming": "imgret.encoders.hamming:Hamming",
    "smk": "imgret.encoders.smk:Smk",
    "asmk": "imgret.encoders.asmk:Asmk",
    "project": "imgret.encoders.project:Project",
    "concat": "imgret.encoders.concat:Concat",
    "dba": "imgret.encoders.dba:Dba",
}
