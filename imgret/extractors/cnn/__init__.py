"""Features of networks: photos through a torchvision network to a pooled vector, or to local features.

`extractor.Cnn` is the extractor; `params` what can be set, `networks` the network and its layers, `weights` its weights, `views` the
photos as it takes them, `pooling` maps to vectors, `regions` the grids, `fields` where a column of a map looks. PyTorch is imported
only when it is needed.
"""
