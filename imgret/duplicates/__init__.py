"""Which photos are copies of one another: arrays in, arrays out.

`exact` compares digests, `candidates` vectors, `geometry` where the local features of two photos lie, and `grouping` says which photo of
several to keep.
"""
