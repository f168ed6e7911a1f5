"""imgret: from a folder of photos to an index that finds the same object or place.

The command line is `imgret`; from Python, `imgret.open` and the steps as functions (`imgret help python`).
"""

__version__ = "0.1.0"

# of `imgret.api`, which is loaded when one of them is asked for: the command line starts without it
API = (
    *("open", "Opened", "Codebook", "Features", "Hit", "Index", "Ranking", "Vectors"),
    *("ImgretError", "Report", "Run"),
    *("build", "codebook", "encode", "evaluate", "export", "extract", "import_file", "index", "rerank", "search", "train"),
)


def __getattr__(name):
    if name not in API:
        raise AttributeError(f"module 'imgret' has no attribute '{name}'")
    from imgret import api

    return getattr(api, name)


def __dir__():
    return [*globals(), *API]
