"""Encoders: one photo's descriptors and a codebook to one vector, vectors and a projection to shorter vectors, or several vectors to one.

An encoder is made from its parameters and a fitted codebook. `takes` says what it reads ("features" or "vectors"), `codebooks` which
codebook methods it accepts, the property `dim` how long its vectors are. What takes features has `encode(descriptors)`, a function of
one photo's descriptors, bit for bit, under one BLAS thread; what takes vectors has `encode_block(vectors)`. What joins several vectors
of each photo takes their number in place of a codebook, and has `join(parts)`. Vectors come out L2-normalised.
"""

ENCODERS = {
    "vlad": "imgret.encoders.vlad:Vlad",
    "fisher": "imgret.encoders.fisher:Fisher",
    "project": "imgret.encoders.project:Project",
    "concat": "imgret.encoders.concat:Concat",
}
