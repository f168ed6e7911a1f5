"""Photos that several processes are asked to describe together: the first looks for them, the others follow its plan."""

import contextlib
import fcntl
import os
import time

from imgret.found import Listing
from imgret.runs import stopping
from imgret.runs.takeover import what_changed
from imgret.store.hashing import of_json
from imgret.store.parts import LOOKING, FolderVanished

SECONDS = 900  # that a process waits at most for another, which may have been halted
STEP = 0.2


def looked_for(output, photos, there, compare):
    """The photos of one run, looked for by as few processes as can be.

    A shard follows the plan of another that was asked for the same, and while another is looking for the photos it waits for that; where
    no plan comes of it, it looks itself. The plan is published before any other looks.

    Parameters
    ----------
    output : imgret.runs.output.Output
    photos : imgret.listing.Given
    there : bool
        Whether a finished file of this recipe is there, of these photos or others.
    compare : callable
        `compare(listing)` gives the `imgret.runs.kept.Kept` of a listing that has changed.

    Returns
    -------
    tuple of (imgret.found.Listing, imgret.store.plans.Places or None)
        What a plan of them is to keep, for others to follow it.
    """
    identity = None if output.run.shard is None else photos.identity()
    if identity is None:
        return photos.listed(), None
    asked = of_json(identity)
    listing = _followed(output, asked, there)
    if listing is None:
        with output.parts.claimed(), stopping.at_stop(output.parts.leave), _turn(output.parts.folder):
            listing = _followed(output, asked, there)
            if listing is None:
                listing = photos.listed()
                if not (there and not what_changed(output.path, listing)):
                    how = {"follow": True, "places": listing.paths.kept(asked), "made": compare(listing).made(len(listing))}
                    with contextlib.suppress(FolderVanished):  # it is made again where it is needed
                        output.parts.plan(listing.names, listing.sizes, listing.mtimes, **how)
    return listing, listing.paths.kept(asked)


def _followed(output, asked, there):
    """The photos of a plan that is still to be worked by."""
    plan = output.parts.followed(asked)
    listing = None if plan is None or plan.asked != asked else Listing.planned(plan)
    if listing is None or (there and not what_changed(output.path, listing)):
        return None
    output.run.report.note(
        f"{output.shown}: {len(listing)} photos, as another shard has found them: what has come since waits for the same command "
        "without --shard"
    )
    return listing


@contextlib.contextmanager
def _turn(folder):
    """Context manager: nobody else is looking, as far as locks tell; or somebody was, and has ended."""
    path, waited = os.path.join(folder, LOOKING), False
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            file = stack.enter_context(open(path, "ab"))
            until = time.monotonic() + SECONDS
            while not _locked(file) and time.monotonic() < until:
                waited = True
                time.sleep(STEP)
        if waited:
            stack.close()  # others that have waited need not wait for this one
        yield
        if not waited:
            with contextlib.suppress(OSError):
                os.unlink(path)


def _locked(file):
    """Take a file's lock, unless another process holds it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
