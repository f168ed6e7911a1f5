"""imgret: from a folder of photos to an index that finds the same object or place."""

__version__ = "0.1.0"
