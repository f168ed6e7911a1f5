"""What a shell offers where TAB is pressed, beyond choices and files; nothing here loads more than names."""

from click.shell_completion import CompletionItem


def configs(ctx, _, incomplete):
    """Ready configs, and for a step its tables in one; else files."""
    from imgret import config

    found = config.names()
    if ctx.command.name != "build":
        found = [f"{name}:{table}" for name in found for table, content in config.read(name).items() if content["run"] == ctx.command.name]
    return [each for each in found if each.startswith(incomplete)] or _files(incomplete)


def codebooks(_, __, incomplete):
    """Files, and the codebooks of the package."""
    from imgret import ready

    found = [ready.PREFIX + name for name in ready.names()]
    return [each for each in found if incomplete and each.startswith(incomplete)] or _files(incomplete)


def _files(incomplete):
    return [CompletionItem(incomplete, type="file")]
