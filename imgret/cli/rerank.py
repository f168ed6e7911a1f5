"""`imgret rerank`."""

import click

from imgret.cli import options
from imgret.rerankers import RERANKERS, ROLES

HELP = {
    "features": "A features store of the photos that were searched; repeatable, as several may hold them together.",
    "words": "A words store of them; repeatable.",
    "vectors": "A vectors store of them; repeatable.",
    "index": "The index that was searched, where it is asked again.",
    "graph": "A ranking of the photos that were searched among themselves: `imgret search INDEX VECTORS -k 50 -o GRAPH`; repeatable.",
    "reference": "A ranking of photos that match nothing, one for each RUN; repeatable.",
}


def roles(*but):
    """What the photos that were searched are known by, `but` for some roles."""

    def decorate(command):
        for role in reversed(ROLES):
            if role not in but:
                command = click.option(f"--{role}", multiple=True, type=options.PATH, help=HELP[role])(command)
        return command

    return decorate


@click.command("rerank")
@click.argument("rankings", nargs=-1, type=options.PATH, metavar="RUN...", callback=options.needed)
@options.out("ranking store")
@options.method(RERANKERS, None, "How.  [required]")
@roles()
@click.option(
    "--queries",
    multiple=True,
    type=options.PATH,
    help="What the queries are described by: stores, photos, or folders of photos; without it they are photos of the gallery. Repeatable.",
)
@click.option("--verified", is_flag=True, help="Expand by photos only whose evidence says that they match: short for --set verified=true.")
@options.settings
@options.device
@options.jobs
@options.shard
@options.run
def command(rankings, out, method, settings, queries, verified, **given):
    """Make a ranking better: by geometry, by asking again with what was found, by neighbours; or make one of several.

    RUN is a ranking store of `imgret search`, or a TREC run; for -m fuse and its like several, of the same photos. What a method looks at
    besides is named by options; `imgret help reranking` says what each method takes. Photos beyond those that are looked at stay in
    their order below.
    """
    options.explain(RERANKERS, "reranker", method, settings)
    if method is None:
        raise click.UsageError("Missing option '-m' / '--method'.")
    from imgret.stages.rerank import rerank

    known = {role: given.pop(role) for role in ROLES}
    settings = (*settings, "verified=true") if verified else settings
    rerank(rankings, out, method=method, settings=settings, queries=queries, roles=known, **options.running(given))
