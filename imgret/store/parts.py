"""Parts: how a long step is split, resumed, shared between processes and machines, and joined.

    OUT.parts/<recipe>/0001/plan.h5               what is to be done: names, sizes and times, frozen
    OUT.parts/<recipe>/0001/<plan>/000123.h5          a finished range of photos, a small store of OUT's own kind
    OUT.parts/<recipe>/0001/<plan>/000123.retry.h5    the same, but reading met an I/O error: the next run tries again
    OUT.parts/<recipe>/0001/<plan>/tmp-HOST-PID-...   being written

<plan> is the plan's content, so a process that outlived its plan cannot write into the folder of another.

There is no lock. A plan's folder comes into being complete, by renaming a folder that holds plan.h5: of two processes that try, the
file system lets one win, and the other uses the winner's. A part appears by an atomic rename, so it is whole or absent, and two
processes that make the same part make the same bytes. Whoever joins publishes OUT by one atomic rename and removes its plan and older
ones; a process whose folder has gone finds OUT complete.
"""

import contextlib
import os
import re
import shutil
import socket
import time

import numpy as np

from imgret.errors import ImgretError, why
from imgret.paths import check_folder
from imgret.store.hashing import of_json
from imgret.store.reader import Store
from imgret.store.writer import Writer, fsync, publish, temporary_name

PLAN_TRIES = 20  # another process may be faster each time, but not for ever
FOREIGN_LEFTOVER_SECONDS = 24 * 3600  # another machine's temporary files are swept after this


class FolderVanished(Exception):  # noqa: N818 - not an error: somebody else has finished
    """The folder of parts is gone: another process has published the output, or somebody has deleted it."""


def part_size(photos):
    """Photos per part: few enough that every core has work in a small set, many enough that a large one is thousands of files.

    A function of the plan alone, so every process agrees; the joined datasets do not depend on it.
    """
    size = 8
    while size < 256 and photos > 128 * size:
        size *= 2
    return size


class Plan:
    """The frozen list of photos of one output.

    Attributes
    ----------
    number : int
    folder : str
        Where the parts are.
    names : Texts
    sizes, mtimes : ndarray, shape (N,), int64
    """

    def __init__(self, folder, number, check=False):
        self.number = number
        path = os.path.join(folder, "plan.h5")
        if not os.path.exists(path):
            raise FolderVanished
        with Store(path, ("plan",)) as store:
            for problem in store.problems() if check else ():
                raise ImgretError(f"{store.shown}: {problem}")
            self.names = store.texts("names")
            self.sizes, self.mtimes = store.read("file_size"), store.read("file_mtime_ns")
            self.folder = os.path.join(folder, store.content[:16])
        self.part_size = part_size(len(self.names))

    def __len__(self):
        """Number of parts."""
        return -(-len(self.names) // self.part_size)

    def range(self, part):
        """First and last + 1 photo of a part."""
        return part * self.part_size, min((part + 1) * self.part_size, len(self.names))

    def path(self, part, retry=False):
        """Where a part is, or will be."""
        return os.path.join(self.folder, f"{part:06d}{'.retry' if retry else ''}.h5")

    def finished(self):
        """The parts that are there: (set of whole ones, set of those with I/O errors)."""
        try:
            names = os.listdir(self.folder)
        except FileNotFoundError:
            raise FolderVanished from None
        found = [re.fullmatch(r"(\d{6,})(\.retry)?\.h5", name) for name in names]
        whole = {int(match[1]) for match in found if match and not match[2]}
        return whole, {int(match[1]) for match in found if match and match[2]} - whole

    def matches(self, names, sizes, mtimes):
        """Whether this is the plan of these photos."""
        return self.names == names and np.array_equal(self.sizes, sizes) and np.array_equal(self.mtimes, mtimes)


class Parts:
    """The folder of parts of one output under one recipe.

    Parameters
    ----------
    out : str
        The output's path.
    recipe : str
        Its recipe, hex.
    """

    def __init__(self, out, recipe):
        self.out, self.recipe = out, recipe
        self.root = out + ".parts"
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
            with Writer(os.path.join(temporary, "plan.h5")) as writer:
                writer.texts("names", names)
                writer.array("file_size", sizes)
                writer.array("file_mtime_ns", mtimes)
                content = writer.finish("plan", recipe=self.recipe, params={})
                writer.publish(os.path.join(temporary, "plan.h5"))
            os.mkdir(os.path.join(temporary, content[:16]))
            fsync(temporary)
            # renaming onto a folder that is not empty fails: whoever is first has made the plan
            with contextlib.suppress(OSError):
                os.rename(temporary, os.path.join(self.folder, f"{number:04d}"))
                fsync(self.folder)
                return
        except FileNotFoundError:
            raise FolderVanished from None
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
        """Remove what is no longer needed: this plan and older ones (all, without a plan) and what other recipes left.

        A newer plan of the same recipe is somebody's work, and stays.
        """
        for number in self.numbers():
            if plan is None or number <= plan.number:
                self._drop(os.path.join(self.folder, f"{number:04d}"))
        sweep(self.folder)
        if not self.numbers():
            self._drop(self.folder)
        with contextlib.suppress(OSError):
            for name in os.listdir(self.root):
                # only what a run makes there: the folder may be a link, or hold what somebody else has put into it
                if os.path.join(self.root, name) != self.folder and re.fullmatch(r"[0-9a-f]{16}|tmp-.*", name):
                    self._drop(os.path.join(self.root, name))
            os.rmdir(self.root)

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


def sweep(folder):
    """Remove temporary files of processes that are gone (of another machine: a day old)."""
    for path, local, pid in _temporaries(folder):
        if not _in_use(path, local, pid):
            remove(path)


def sweep_of(folder, pids):
    """Remove the temporary files of processes of this machine that have just been ended."""
    for path, local, pid in _temporaries(folder):
        if local and pid in pids:
            remove(path)


def _temporaries(folder):
    """Yield (path, whether it is of this machine, process id) of each temporary file."""
    host = socket.gethostname()[:32]
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            match = re.fullmatch(r"tmp-(.*)-(\d+)-[0-9a-f]{8}\.h5", name)
            if match:
                yield os.path.join(folder, name), match[1] == host, int(match[2])


def remove(path):
    """Remove a file or a folder, if it is there."""
    if os.path.isdir(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            os.unlink(path)


@contextlib.contextmanager
def published(path):
    """A context manager for a plain file: gives a temporary path, and puts what was written there in its place if the block succeeds.

    Until then it is in the folder of parts of `path`, where the next run sweeps up after a process that was killed.

    Raises
    ------
    ImgretError
        If it cannot be written; what was there before is then untouched.
    """
    parts = Parts(path, of_json({"step": "plain"}))
    parts.prepare()
    temporary = parts.temporary()
    try:
        yield temporary
        publish(temporary, path)
    except OSError as error:
        raise ImgretError(f"{os.fsdecode(path)} cannot be written: {why(error)}; what was there before is untouched") from None
    finally:
        remove(temporary)
        parts.remove()


def _in_use(path, local, pid):
    if local:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except OSError:
            return True
        except OverflowError:
            return False  # no process has such a number
        return True
    with contextlib.suppress(OSError):
        return time.time() - os.stat(path).st_mtime < FOREIGN_LEFTOVER_SECONDS
    return True
