"""What a trained index learns before it is filled: centroids and rotations as plain arrays, of which no library needs to know.

Given these, an index is a pure function of its rows. They are learned by an index itself, or kept as a codebook of their own.
"""
