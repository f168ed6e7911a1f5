"""Publishing plain files: whole beside their places, then all of those that belong together, or none."""

import contextlib
import filecmp
import functools
import os

from imgret.errors import ImgretError
from imgret.paths import same
from imgret.store.erasing import remove
from imgret.store.hashing import of_json
from imgret.store.parts import Parts
from imgret.store.placing import Place, Taken
from imgret.store.writer import NotDurable, write_error

RECIPE = of_json({"step": "plain"})
TRIES = 3


class PlainPlace(Place):
    """The place of a plain file.

    Parameters
    ----------
    path : str or bytes
    option : str
        What names it on the command line.
    """

    def __init__(self, path, option):
        super().__init__(path)
        self.option, self.shown = option, os.fsdecode(path)
        self.parts = Parts(path, RECIPE)

    @contextlib.contextmanager
    def explained(self):
        """Context manager: what the file system says of this file is told in a sentence."""
        try:
            yield
        except OSError as error:
            raise write_error(self.shown, error) from None

    def publish(self, temporary, overwrite=False, others=()):
        """Put a file that is whole there; of two processes that make the same one, both have made it.

        Parameters
        ----------
        temporary : str or bytes
        overwrite : bool
            Replace what has come to be there meanwhile.
        others : sequence of PlainPlace
            Not what has come to be at these: names that differ may lead to one file.

        Raises
        ------
        ImgretError
        """
        with self.explained():
            self.parts.publish(temporary, functools.partial(self._take, self.parts.temporary(), overwrite, others))

    def _take(self, backup, overwrite, others, temporary, _):
        for _ in range(TRIES):
            try:
                return self.put(temporary, backup)
            except Taken:
                with contextlib.suppress(OSError):
                    if filecmp.cmp(temporary, self.path, shallow=False):
                        return None
                if not overwrite or not os.path.isfile(self.path) or any(same(self.path, other.path) for other in others):
                    break
                self.look()
        raise ImgretError(
            f"{self.shown} was put there, or changed, while this command ran, and is left as it is: choose another {self.option}, "
            "or give --overwrite to replace it"
        )


@contextlib.contextmanager
def published(places, overwrite=False):
    """A context manager for plain files: gives a temporary path for each, and puts what was written there in their places if the block
    succeeds: all of it, or nothing.

    Until then it is in the folders of parts of the files, where the next run sweeps up after a process that was killed.

    Parameters
    ----------
    places : sequence of PlainPlace
    overwrite : bool
        Replace what has come to be there meanwhile.

    Raises
    ------
    ImgretError
        If one cannot be written; what was there before is then untouched, or it is said what is not.
    """
    with contextlib.ExitStack() as stack:
        temporaries = []
        for place in places:
            parts = stack.enter_context(place.parts.claimed())
            temporaries.append(parts.temporary())
            stack.callback(remove, temporaries[-1])
        yield temporaries
        done, doubts = [], []
        try:
            for place, temporary in zip(places, temporaries, strict=True):
                done.append(place)
                try:
                    place.publish(temporary, overwrite, done[:-1])
                except NotDurable as error:  # it is in its place
                    doubts.append(error)
        except BaseException as error:
            new = [place.shown for place in reversed(done) if not place.undo()]
            if new and isinstance(error, ImgretError):
                raise ImgretError(f"{error}; new already: {', '.join(new)}") from None
            raise
        finally:
            for place in places:
                place.settle()
        for error in doubts:
            raise error
