"""Networks, below the families: `backbones` cut open at their layers, their `weights`, photos as `views`, maps pooled to vectors.

PyTorch is imported only when it is needed.
"""
