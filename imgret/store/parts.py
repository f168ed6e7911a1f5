"""Parts: how a long step is split, resumed, shared between processes and machines, and joined.

    OUT.parts/<recipe>/0001/plan.h5               what is to be done: names, sizes and times, frozen
    OUT.parts/<recipe>/0001/<plan>/000123.h5          a finished range of photos, a small store of OUT's own kind
    OUT.parts/<recipe>/0001/<plan>/000123.retry.h5    the same, but reading met an I/O error: the next run tries again
    OUT.parts/<recipe>/0001/<plan>/tmp-...         being written, see `imgret.store.temporaries`

<plan> is the plan's content, so a process that outlived its plan cannot write into the folder of another.

There is no lock. A plan's folder comes into being complete, by renaming a folder that holds plan.h5: of two processes that try, the
file system lets one win, and the other uses the winner's. A part appears by an atomic rename, so it is whole or absent, and two
processes that make the same part make the same bytes. Whoever joins publishes OUT by one atomic rename and removes its plan and older
ones; a process whose folder has gone finds OUT complete. Parts of another recipe are another command's work: they go with a publication,
once nothing has been done about them for a day.
"""

import contextlib
import errno
import os
import re
import shutil

from imgret.errors import ImgretError, why
from imgret.paths import check_folder, target
from imgret.store.hashing import of_json
from imgret.store.plans import FolderVanished, Plan
from imgret.store.temporaries import quiet, remove, sweep, temporary_name
from imgret.store.writer import Writer, fsync, publish, rename, write_error

PLAN_TRIES = 20  # another process may be faster each time, but not for ever
TAKEN = (errno.ENOTEMPTY, errno.EEXIST)  # of renaming onto a folder that is not empty: whoever is first has made the plan


class Parts:
    """The folder of parts of one output under one recipe.

    Parameters
    ----------
    out : str
        The output's path. What a link points at is written, and has its parts beside it: a rename goes no further than a file system.
    recipe : str
        Its recipe, hex.

    Attributes
    ----------
    out : str
        The output's place, to be given to what is finished; no link.
    """

    def __init__(self, out, recipe):
        self.out, self.recipe = target(out), recipe
        self.root = self.out + ".parts"
        self.folder = os.path.join(self.root, recipe[:16])

    def prepare(self):
        """Make the folder; sweep temporary files whose process is gone.

        Raises
        ------
        ImgretError
            If the output's folder is missing or cannot be written to.
        """
        parent = check_folder(self.out)
        try:
            os.makedirs(self.folder, exist_ok=True)
            probe = temporary_name(self.folder)
            with open(probe, "xb"):
                pass
            os.unlink(probe)
        except OSError as error:
            raise ImgretError(f"{os.fsdecode(self.out)} cannot be written: {why(error)} ({os.fsdecode(parent)})") from None
        sweep(self.folder)

    def temporary(self):
        """A temporary file's name in this folder."""
        return temporary_name(self.folder)

    def numbers(self):
        """Numbers of the plans that are there, oldest first."""
        with contextlib.suppress(FileNotFoundError):
            return sorted(int(name) for name in os.listdir(self.folder) if re.fullmatch(r"\d{4,9}", name))
        return []

    def plan(self, names, sizes, mtimes, follow=False):
        """The plan to work by: the newest that is there if it fits (or with `follow`, whatever it is), else a new one.

        Parameters
        ----------
        names : Texts
        sizes, mtimes : ndarray, shape (N,), int64
        follow : bool
            Use a plan that is there even where it differs: the shards of one output must not disagree.
        """
        for _ in range(PLAN_TRIES):
            numbers = self.numbers()
            if numbers:
                folder = os.path.join(self.folder, f"{numbers[-1]:04d}")
                plan = None
                try:
                    plan = Plan(folder, numbers[-1], check=True)
                except FolderVanished:
                    self._drop(folder)  # a folder without its plan is of no use to anybody
                    self.prepare()
                    continue
                except ImgretError:
                    pass  # damaged: a new plan takes its place
                if plan is not None and (follow or plan.matches(names, sizes, mtimes)):
                    sweep(plan.folder)
                    return plan
            number = numbers[-1] + 1 if numbers else 1
            self._publish_plan(number, names, sizes, mtimes)
        raise ImgretError(
            f"no sound plan could be written to {os.fsdecode(self.folder)}: remove that folder and run the same command again"
        )

    def _publish_plan(self, number, names, sizes, mtimes):
        temporary = self.temporary()
        try:
            os.mkdir(temporary)
            with Writer(os.path.join(temporary, "plan.h5"), os.fsdecode(self.out)) as writer:
                writer.texts("names", names)
                writer.array("file_size", sizes)
                writer.array("file_mtime_ns", mtimes)
                content = writer.finish("plan", recipe=self.recipe, params={})
                writer.keep()
            os.mkdir(os.path.join(temporary, content[:16]))
            fsync(temporary)
            rename(temporary, os.path.join(self.folder, f"{number:04d}"))
        except FileNotFoundError:
            raise FolderVanished from None
        except OSError as error:
            if error.errno not in TAKEN:
                raise write_error(os.fsdecode(self.out), error) from None
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def older_plans(self, plan):
        """Plans before this one, newest first: what they finished is taken over."""
        for number in reversed(self.numbers()):
            if number < plan.number:
                with contextlib.suppress(FolderVanished, ImgretError):
                    yield Plan(os.path.join(self.folder, f"{number:04d}"), number)

    def leave(self):
        """Remove the folder if there is nothing in it: a step that failed before it had anything to keep leaves no trace."""
        for folder in (self.folder, self.root):
            with contextlib.suppress(OSError):
                os.rmdir(folder)

    def remove(self, plan=None):
        """Remove what an output that has just been published makes needless: see `clear`, and parts of other recipes where nothing is
        alive or newer than a day, as what another command is at, or was interrupted at, is not.
        """
        for folder in self._others():
            if quiet(folder):
                self._drop(folder)
        self.clear(plan)

    def clear(self, plan=None):
        """Remove this plan and older ones (all, without a plan) of this recipe; a newer plan is somebody's work, and stays."""
        for number in self.numbers():
            if plan is None or number <= plan.number:
                self._drop(os.path.join(self.folder, f"{number:04d}"))
        sweep(self.folder)
        if not self.numbers():
            self._drop(self.folder)
        self._close()

    def clear_plans_of(self, names, sizes, mtimes):
        """Remove the plans of just these photos, which are in the output; one of others is somebody's work, and stays."""
        for number in self.numbers():
            folder = os.path.join(self.folder, f"{number:04d}")
            with contextlib.suppress(FolderVanished, ImgretError):
                if Plan(folder, number).matches(names, sizes, mtimes):
                    self._drop(folder)
        sweep(self.folder)
        self._close()

    def _others(self):
        """Folders of other recipes: only what a run makes there; the folder may be a link, or hold what somebody else has put into it."""
        with contextlib.suppress(OSError):
            found = [os.path.join(self.root, name) for name in os.listdir(self.root) if re.fullmatch(r"[0-9a-f]{16}", name)]
            return [folder for folder in found if folder != self.folder]
        return []

    def _close(self):
        """Sweep what others were removing when they died; remove the folders that are empty now."""
        sweep(self.root)
        self.leave()

    def _drop(self, folder):
        """Remove a folder, from one moment to the next for every other process."""
        going = temporary_name(self.root)
        with contextlib.suppress(OSError):
            os.rename(folder, going)
        remove(going)


def publish_part(writer, plan, part, kind, *, recipe, params, retry):
    """Finish a part and give it its name.

    Raises
    ------
    FolderVanished
        If the plan's folder is gone.
    """
    writer.finish(kind, recipe=recipe, params=params)
    try:
        writer.publish(plan.path(part, retry))
        if not retry:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(plan.path(part, True))
    except ImgretError:
        if not os.path.isdir(plan.folder):
            raise FolderVanished from None
        raise


@contextlib.contextmanager
def published(path):
    """A context manager for a plain file: gives a temporary path, and puts what was written there in its place if the block succeeds.

    Until then it is in the folder of parts of `path`, where the next run sweeps up after a process that was killed.

    Raises
    ------
    ImgretError
        If it cannot be written; what was there before is then untouched, or the error says that it is not.
    """
    parts = Parts(path, of_json({"step": "plain"}))
    parts.prepare()
    temporary = parts.temporary()
    try:
        yield temporary
        publish(temporary, parts.out)
    except OSError as error:
        raise write_error(os.fsdecode(path), error) from None
    finally:
        remove(temporary)
        parts.leave()
