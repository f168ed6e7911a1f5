"""The command line: one module per command, listed once in `COMMANDS`: the steps in pipeline order, then what is not one."""

COMMANDS = (
    "build",
    "train",
    "extract",
    "import",
    "codebook",
    "encode",
    "index",
    "search",
    "rerank",
    "duplicates",
    "evaluate",
    "export",
    "info",
    "help",
)
