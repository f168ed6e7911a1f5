"""What `-v` tells of any step, in the same words: what is read, with what it is made, why it is made again."""

import resource
import sys

from imgret.store.versions import own

SHOWN = 5  # of many alike


def amount(size):
    """Bytes in a person's words."""
    return f"{size / 1e9:.3g} GB" if size >= 1e9 else f"{size / 1e6:.3g} MB"


def tell_versions(report):
    """The versions that this process works with, once."""
    if report.verbosity < 1 or not report.first("versions"):
        return  # they take a while to be found
    report.detail("with " + ", ".join(f"{name} {version}" for name, version in own().items()))


def tell_cost(report, seconds):
    """What a command has taken: time, and the most memory that this process had, and that a worker had."""
    unit = 1 if sys.platform == "darwin" else 1024
    own, worker = (resource.getrusage(who).ru_maxrss * unit for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    report.detail(f"took {seconds:.3g} s, at most {amount(own)} of memory" + (f", a worker {amount(worker)}" if worker else ""))


def tell_inputs(report, stores, role="reads"):
    """What stores hold, the first few of them.

    Parameters
    ----------
    report : imgret.runs.report.Report
    stores : list of Store
    role : str
        What is done with them.
    """
    for store in stores[:SHOWN]:
        counts = [f"{store.sizes[axis]} {name}" for axis, name in store.layout.counts.items() if axis in store.sizes]
        if store.layout.matrix:
            counts.append(f"{store.shape(store.layout.matrix)[1]} columns of {store.dtype(store.layout.matrix)}")
        report.detail(f"{role} {store.shown}, {store.layout.noun}" + (f": {', '.join(counts)}" if counts else ""))
    if len(stores) > SHOWN:
        report.detail(f"{role} {len(stores) - SHOWN} more; {sum(map(len, stores))} photos in all")


def changes(before, inputs):
    """Yield how the inputs of a file differ from those it would be made of now, a sentence each.

    Parameters
    ----------
    before, inputs : list of dict
        `{path, kind, content}` of each.
    """
    old, new = _by_content(before), _by_content(inputs)
    gone, come = [old[key] for key in old if key not in new], [new[key] for key in new if key not in old]
    paths = {path for path, _ in come}
    for path, kind in come:
        yield f"{path} ({kind}) has changed" if path in {path for path, _ in gone} else f"{path} ({kind}) is new"
    for path, kind in gone:
        if path not in paths:
            yield f"{path} ({kind}) is no longer read"
    if not gone and not come:
        yield "its inputs are the same, in another number or order"


def _by_content(entries):
    """(kind, content) -> (path, kind); of a file that may be a stranger's."""
    entries = [entry for entry in entries if isinstance(entry, dict)]
    return {(str(entry.get("kind")), str(entry.get("content"))): (str(entry.get("path")), str(entry.get("kind"))) for entry in entries}


def tell_changes(report, shown, found):
    """What of a file has changed, a sentence each, of the file called `shown`: the first few."""
    found = list(found)
    for text in found[:SHOWN]:
        report.detail(f"{shown}: {text}")
    if len(found) > SHOWN:
        report.detail(f"{shown}: {len(found) - SHOWN} more changes")
