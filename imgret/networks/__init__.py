"""Networks, below the families: `backbones` cut open at their layers, their `weights`, photos as `views`, `heads` that make vectors of it.

PyTorch is imported only when it is needed.
"""
