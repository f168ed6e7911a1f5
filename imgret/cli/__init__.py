"""The command line: one module per step, listed once in `COMMANDS`, in pipeline order."""

COMMANDS = ("extract", "import", "codebook", "encode", "index", "search", "evaluate", "export", "info")
