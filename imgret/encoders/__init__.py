"""Encoders: one photo's local features to one vector, vectors and a projection to shorter vectors, or several vectors to one.

What an encoder takes, gives and needs it says itself (`base.Encoder`).
"""

ENCODERS = {
    "vlad": "imgret.encoders.vlad:Vlad",
    "fisher": "imgret.encoders.fisher:Fisher",
    "project": "imgret.encoders.project:Project",
    "concat": "imgret.encoders.concat:Concat",
}
