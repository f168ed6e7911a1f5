"""Parts: how a long step is split, resumed, shared between processes and machines, and joined.

    OUT.parts/<recipe>/0001/plan.h5               what is to be done: names, sizes and times, frozen
    OUT.parts/<recipe>/0001/<plan>/000123.h5          a finished range of photos, a small store of OUT's own kind
    OUT.parts/<recipe>/0001/<plan>/000123.retry.h5    the same, but reading met an I/O error: the next run tries again
    OUT.parts/<recipe>/0001/<plan>/tmp-...         being written, see `imgret.store.temporaries`
    OUT.parts/<recipe>/own-...                    somebody is at work here, see `imgret.store.claims`
    OUT.parts/<recipe>/looking.h5                 somebody looks for the photos of a plan, see `imgret.runs.looking`
    OUT.parts/<recipe>/finished.h5                what is finished, while another file has its place

<plan> is the plan's content, so a process that outlived its plan cannot write into the folder of another. Where OUT.parts is a link,
outputs may share what it leads to: <recipe> is then followed by what tells this output from others.

There is no lock that anybody waits for, but for the listing of photos: shards leave it to the first. A plan's folder comes into being
complete, by renaming a folder that holds plan.h5: of two processes that try, the file system lets one win, and the other uses the
winner's. A part appears by an atomic rename, so it is whole or absent, and two processes that make the same part make the same bytes.
Whoever joins publishes OUT by one atomic rename. A plan goes with the last process that works by it, and a folder with the last claim
on it. Parts of another recipe are another command's work: they go with a publication, once nothing has been done about them for a day.
What imgret has not made stays where it is.
"""

import contextlib
import errno
import hashlib
import itertools
import os
import re

from imgret.errors import ImgretError, why
from imgret.paths import check_folder, target
from imgret.store.claims import Claim, abandoned, claimed, sweep_claims
from imgret.store.erasing import foreign, remove
from imgret.store.plans import FolderVanished, Plan, whole_plan, write_plan
from imgret.store.temporaries import quiet, sweep, temporary_name
from imgret.store.writer import fsync, publish, rename, write_error

TRIES = 50  # another process may be faster each time, but not for ever
TRAINING = "training"  # a folder: what a training works with, see `imgret.training.keeping`
FINISHED = ("checkpoint.h5", TRAINING, "finished.h5")  # what a step without a plan leaves
LOOKING = "looking.h5"  # locked by who looks for the photos
TAKEN = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)  # of renaming onto a folder that is not empty: whoever is first has made the plan


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
        self._key, self._claim, self._plan = recipe[:16] + self._identity(), None, None
        self._left = None  # of `clear`: whether what it left to others, all plans or older ones, is to go with the last claim
        self.folder = os.path.join(self.root, self._key)

    def _identity(self):
        """What tells the output from others whose parts may lie beside its own; the same on every machine that has the folder mounted."""
        if not os.path.islink(self.root):
            return ""
        folder, name = os.path.split(os.path.abspath(self.out))
        with contextlib.suppress(OSError):
            return "-" + hashlib.sha256(f"{os.stat(folder).st_ino} {name}".encode("utf-8", "surrogateescape")).hexdigest()[:8]
        return ""

    @contextlib.contextmanager
    def claimed(self):
        """Context manager: the folder is there, and nobody else removes it, until the outermost such block ends."""
        if self._claim is not None:
            yield self
            return
        self.prepare()
        try:
            yield self
        finally:
            self.leave()

    def prepare(self):
        """Make the folder and claim it; sweep what processes left that are gone.

        Raises
        ------
        ImgretError
            If the output's folder is missing or cannot be written to.
        """
        parent, self._left = check_folder(self.out), None
        try:
            self._free_claim()
            self._claim = self._claimed()
            self._claim.plan(self._plan or 0)
        except OSError as error:
            self.leave()
            in_the_way = f"{os.fsdecode(self.root)} is no folder" if os.path.lexists(self.root) and not os.path.isdir(self.root) else ""
            raise ImgretError(f"{os.fsdecode(self.out)} cannot be written: {in_the_way or why(error)} ({os.fsdecode(parent)})") from None
        sweep(self.folder)
        sweep_claims(self.folder)

    def _claimed(self):
        for attempt in range(TRIES):
            self.folder = next(folder for folder in self._folders() if os.path.isdir(folder) or not os.path.lexists(folder))
            try:
                os.makedirs(self.folder, exist_ok=True)
                return Claim(self.folder)
            except (FileNotFoundError, FileExistsError):  # another process removes it, or makes it, just now
                if attempt == TRIES - 1:
                    raise
        return None

    def _folders(self):
        """Where the parts may be: elsewhere, where a file is in the way."""
        yield os.path.join(self.root, self._key)
        yield from (os.path.join(self.root, f"{self._key}.{number}") for number in itertools.count(1))

    def temporary(self):
        """A temporary file's name in this folder, which is made again if somebody has removed it."""
        if self._claim is not None and not os.path.isdir(self.folder):
            self.prepare()
        return temporary_name(self.folder)

    def publish(self, temporary, put):
        """Make a file that is whole durable, and give it the output's name by `put(temporary, out)`."""
        publish(temporary, self.out, put)

    @property
    def kept(self):
        """Where a finished file waits whose place is taken."""
        return os.path.join(self.folder, FINISHED[-1])

    def numbers(self):
        """Numbers of the plans that are there, oldest first."""
        return [number for number in self._taken() if os.path.isdir(self._folder_of(number))]

    def _taken(self):
        """Numbers that no new plan can have, in order."""
        with contextlib.suppress(FileNotFoundError):
            return sorted({int(name) for name in os.listdir(self.folder) if re.fullmatch(r"\d{4,9}", name)})
        return []

    def _folder_of(self, number):
        return os.path.join(self.folder, f"{number:04d}")

    def followed(self, asked):
        """The newest plan if a shard has to follow it that asks so, see `imgret.store.plans.Places`; else None.

        One that does not say what was asked for is followed by all, one that nobody has been at for a day, which is abandoned, by none.
        """
        plan = self._newest()
        return plan if plan is not None and self._holds(plan, asked) else None

    def _newest(self):
        numbers = self.numbers()
        return whole_plan(self._folder_of(numbers[-1]), numbers[-1]) if numbers else None

    def _holds(self, plan, asked):
        return plan.asked_by(asked) and not quiet(self._folder_of(plan.number))

    def is_planned(self, names, sizes, mtimes):
        """Whether the newest plan that is there makes all of these photos."""
        plan = self._newest()
        return plan is not None and plan.matches(names, sizes, mtimes)

    def plan(self, names, sizes, mtimes, follow=False, places=None, made=None):
        """The plan to work by: the newest that is there if it fits (or with `follow`, see `followed`), else a new one.

        Parameters
        ----------
        names : Texts
        sizes, mtimes : ndarray, shape (N,), int64
        follow : bool
            Use a plan that is there even where it differs: the shards of one output must not disagree.
        places : imgret.store.plans.Places, optional
            Where the photos are, and who is to know.
        made : ndarray, shape (P,), int64, optional
            Which of the photos have to be made; all by default.

        Raises
        ------
        FolderVanished
            If somebody removes the folder meanwhile.
        """
        for _ in range(TRIES):
            plan, asked = self._newest(), None if places is None else places.asked
            if plan is not None and (plan.matches(names, sizes, mtimes, made) or (follow and self._holds(plan, asked))):
                self._plan = plan.number
                if self._claim is not None:
                    self._claim.plan(plan.number)
                if os.path.isdir(plan.folder):  # not removed by somebody who did not know yet that it is worked by
                    sweep(plan.folder)
                    return plan
                continue
            self._publish_plan(max(self._taken(), default=0) + 1, (names, sizes, mtimes), places, made)
        raise ImgretError(
            f"no sound plan could be written to {os.fsdecode(self.folder)}: remove that folder and run the same command again"
        )

    def _publish_plan(self, number, photos, places, made):
        temporary = self.temporary()
        try:
            os.mkdir(temporary)
            write_plan(temporary, os.fsdecode(self.out), self.recipe, photos, places, made)
            fsync(temporary)
            rename(temporary, self._folder_of(number))
        except FileNotFoundError:
            raise FolderVanished from None
        except OSError as error:
            if error.errno not in TAKEN:
                raise write_error(os.fsdecode(self.out), error) from None
        finally:
            remove(temporary)

    def has_work(self):
        """Whether there is something in the folder that the same command takes up: a plan with its parts, a checkpoint, a finished file."""
        return bool(self._taken()) or any(os.path.exists(os.path.join(self.folder, name)) for name in FINISHED)

    def older_plans(self, plan):
        """Plans before this one, newest first: what they finished is taken over."""
        for number in reversed(self.numbers()):
            if number < plan.number:
                with contextlib.suppress(FolderVanished, ImgretError):
                    yield Plan(self._folder_of(number), number)

    def leave(self):
        """Give the claim up; remove the folder if there is nothing in it: a step that had nothing to keep leaves no trace."""
        self._free_claim()
        if self._left is not None:  # others have cleared meanwhile, and left it to this process
            self._clear(self._left)
            self._left = None
        if not self._shared():
            remove(os.path.join(self.folder, LOOKING))  # of who was ended while looking
        if abandoned(self.folder):
            sweep_claims(self.folder)
        for folder in (self.folder, self.root):
            with contextlib.suppress(OSError):
                os.rmdir(folder)

    def _free_claim(self):
        if self._claim is not None:
            self._claim.release()
            self._claim = None

    def remove(self):
        """Remove what an output that has just been published makes needless: see `clear`, and parts of other recipes where nothing is
        alive or newer than a day, as what another command is at, or was interrupted at, is not.
        """
        for folder in self._others():
            if not claimed(folder) and (abandoned(folder) or quiet(folder)):
                self._drop(folder)
        self.clear()

    def clear(self, all_plans=False):
        """Remove what is in the output under this recipe: the plan that was worked by and older ones, or all, unless somebody else still
        works by them, whose task it is then. A newer plan is somebody's work, and stays.
        """
        if self._clear(all_plans) and self._claim is not None:
            self._left = all_plans
        self._close()

    def _clear(self, all_plans):
        """Whether others are there, to whom something may be left."""
        with contextlib.suppress(OSError):  # the output is in its place by now: what cannot be listed waits for the next run
            for number in self.numbers():
                if (all_plans or (self._plan is not None and number <= self._plan)) and not self._shared(number):
                    self._drop(self._folder_of(number))
        if self._shared():
            return True
        for name in FINISHED:
            remove(os.path.join(self.folder, name))
        return False

    def clear_plans_of(self, names, sizes, mtimes):
        """Remove the plans of just these photos, which are in the output; one of others is somebody's work, and stays."""
        for number in self.numbers():
            folder = self._folder_of(number)
            with contextlib.suppress(FolderVanished, ImgretError):
                if Plan(folder, number).lists(names, sizes, mtimes) and not self._shared(number):
                    self._drop(folder)
        self._close()

    def _shared(self, plan=None):
        """Whether another process is at work here."""
        return claimed(self.folder, plan, but=self._claim)

    def _others(self):
        """Folders of other recipes: only what a run makes there; the folder may be a link, or hold what somebody else has put into it."""
        own = re.compile(r"[0-9a-f]{16}" + re.escape(self._key[16:]) + r"(\.\d+)?")
        with contextlib.suppress(OSError):
            found = [os.path.join(self.root, name) for name in os.listdir(self.root) if own.fullmatch(name)]
            return [folder for folder in found if folder != self.folder]
        return []

    def _close(self):
        """Sweep what others left or were removing when they died; remove the folders that are empty now."""
        for folder in (self.folder, self.root):
            sweep(folder)
        if self._claim is None:
            self.leave()

    def _drop(self, folder):
        """Remove a folder, from one moment to the next for every other process, unless there is something in it to be left there."""
        going = folder
        if not foreign(folder):
            going = temporary_name(self.root)
            with contextlib.suppress(OSError):
                os.rename(folder, going)
        remove(going)
