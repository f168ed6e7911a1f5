"""What to do about an output: make it, leave it because it is up to date, or refuse."""

import contextlib
import functools
import heapq
import operator
import os

from imgret import paths
from imgret.errors import ImgretError
from imgret.pipeline import libraries
from imgret.runs import details, stopping
from imgret.runs.differences import differences_of
from imgret.runs.run import Run
from imgret.store.hashing import of_json
from imgret.store.parts import FolderVanished, Parts
from imgret.store.placing import Place, Taken
from imgret.store.reader import Store, is_hdf5
from imgret.store.writer import NotDurable, Writer, publish

STORE = "a store (HDF5)"
PHOTOS = "photos"  # the kind of an input that is no file
TRIES = 3  # a folder of parts may go once, by somebody's hand


class FinishedElsewhere(Exception):  # noqa: N818 - not an error: it is there
    """Another process has published the same output."""


class Output:
    """One step's output file.

    Parameters
    ----------
    path : str
    kind : str
    params : dict
        Step, method and parameters: what must be the same for a file to be built upon or rebuilt.
    inputs : list of dict
        `{path, kind, content}` of each input.
    run : imgret.runs.run.Run
        Its `overwrite` lifts the refusal of other parameters.
    as_given : list of dict, optional
        `inputs` in the order in which they were given, where it makes no difference: what was made when it did is up to date.

    Attributes
    ----------
    recipe : str
        Identity of what is to be made, hex.
    names : Texts or None
        The photos that it is to hold, described or failed, where the recipe does not say.
    opened, is_own : callable
        What opens such a file, and what says by its first bytes whether one is of the format.
    form : str
        What it is: a key of `imgret.paths.ENDINGS`.

    Raises
    ------
    ImgretError
        If it is no place for a file, or one of the inputs.
    """

    opened = staticmethod(Store)
    is_own = staticmethod(is_hdf5)
    form = STORE

    def __init__(self, path, kind, params, inputs=(), run=Run(), as_given=None):
        self.path, self.kind, self.params, self.inputs, self.run = os.fspath(path), kind, params, list(inputs), run
        self.shown = os.fsdecode(self.path)
        paths.check_file(self.path, "-o")
        self.recipe = self._recipe_of(self.inputs)
        self._known_as = {self.recipe, self.recipe if as_given is None else self._recipe_of(as_given)}
        self.parts, self.names = Parts(self.path, self.recipe), None
        self._place = Place(self.path)
        details.tell_versions(run.report)
        self.spare([*(entry["path"] for entry in self.inputs if entry["kind"] != PHOTOS), *run.reads])

    def _recipe_of(self, inputs):
        contents = [{"kind": entry["kind"], "content": entry["content"]} for entry in inputs]
        return of_json({"kind": self.kind, "params": self.params, "inputs": contents})

    def spare(self, files, listing=None):
        """Refuse an output that is one of `files`, which are read, or one of the photos of an `imgret.found.Listing`.

        Raises
        ------
        ImgretError
        """
        if any(paths.same(self.path, file) for file in files) or (listing is not None and paths.is_photo(self.path, listing)):
            raise ImgretError(f"{self.shown} is both an input and the output: choose another -o")

    def existing(self):
        """The finished file, open, if it is there and of this recipe; None if it has to be made.

        Raises
        ------
        ImgretError
            If the file there has other parameters, is of another kind or no store at all, and is not to be replaced.
        """
        if not os.path.exists(self.path):
            return None
        try:
            store = self.opened(self.path)
        except ImgretError as error:
            if not self.is_own(self.path) and os.path.getsize(self.path):
                raise ImgretError(f"{error}; imgret replaces no file that is not its own: choose another -o, or remove it") from None
            if self.run.overwrite:
                return None
            raise ImgretError(f"{error}; it would be replaced: choose another -o, or give --overwrite") from None
        if store.recipe in self._known_as and store.kind == self.kind:
            return store
        with store:
            differences = differences_of(store, self.kind, self.params)
            details.tell_changes(self.run.report, self.shown, differences or details.changes(store.inputs, self.inputs))
        if differences and not self.run.overwrite:
            raise ImgretError(
                f"{self.shown} was made with other parameters ({'; '.join(differences)}): "
                "choose another -o, or give --overwrite to replace it"
            )
        return None

    @contextlib.contextmanager
    def being_made(self):
        """Context manager around all the work on the output; gives its folder of parts, prepared.

        Where another process finishes the output first, that is success: it is told, and the block ends there, so nothing after it may
        build on what was to be done in it. What a signal does is decided elsewhere, in one place: the command line guards itself from
        start to end (`stopping.guard`), a program that calls steps does as it likes.

        Raises
        ------
        ImgretError
            What the block raised, or that the folder of parts has gone, and nobody has finished the output.
        """
        if text := paths.misnamed(self.path, self.form):
            self.run.report.warn(text)
        with contextlib.ExitStack() as stack:
            self._claim(stack)
            stack.enter_context(stopping.at_stop(self.parts.leave, self.parts.has_work))
            try:
                yield self.parts
                return
            except FolderVanished:
                failure = ImgretError(
                    f"the folder of parts of {self.shown} has gone while it was being worked on: run the same command again"
                )
            except FinishedElsewhere:
                failure = None
            except NotDurable:
                raise
            except ImgretError as error:
                failure = error
            if failure is not None and not self.finished_elsewhere():
                raise failure
            self.parts.clear()
            self.run.report.note(f"{self.shown} was finished by another process")

    def made(self, work):
        """What `work(parts)` gives, done within `being_made`: again where somebody removes the folder of parts. None where another process
        has finished the output.
        """
        for attempt in range(TRIES):
            again = False
            with self.being_made() as parts:
                try:
                    return work(parts)
                except FolderVanished:
                    again = attempt < TRIES - 1 and not self.finished_elsewhere()
                    if not again:
                        raise
            if not again:
                break
        return None

    def give_way(self):
        """End what `being_made` holds where another process has published the output.

        Raises
        ------
        FinishedElsewhere
        """
        if self.finished_elsewhere():
            raise FinishedElsewhere

    def _claim(self, stack):
        try:
            stack.enter_context(self.parts.claimed())
        except ImgretError:
            if not self.finished_elsewhere():
                raise
            stack.enter_context(self.parts.claimed())  # the other one has removed its own folder just now: there is room for another

    def finished_elsewhere(self, fingerprint=None):
        """Whether another process has published this output since this one began: with this fingerprint, where it is known."""
        if not self._place.changed:
            return False
        with contextlib.suppress(ImgretError), self.opened(self.path) as store:
            return self._is_this(store) and fingerprint in (None, store.fingerprint)
        return False

    def _is_this(self, store):
        """Whether a store is what is to be made here."""
        if store.recipe != self.recipe or store.kind != self.kind:
            return False
        if self.names is None:
            return True
        there = heapq.merge(store.texts("names"), store.texts("failed/names"))
        return len(store) + store.sizes["F"] == len(self.names) and all(map(operator.eq, there, self.names))

    def up_to_date(self, whole=lambda store: True):
        """Whether the finished file is there, inputs and all; says so. One that is not `whole` is made again."""
        store, report = self.existing(), self.run.report
        if store is None:
            if self._taken_up(whole):
                return True
            if os.path.exists(self.path):
                report.note(f"{self.shown}: its inputs have changed, making it again")
            return False
        with store:
            if not whole(store):
                return False
        freshen(self.path, [entry["path"] for entry in self.inputs])
        self.parts.clear(all_plans=True)
        report.note(f"{self.shown} is up to date")
        return True

    def _taken_up(self, whole):
        """Publish what an earlier run had finished when its place was taken."""
        path = self.parts.kept
        try:
            with self.opened(path) as store:
                if not self._is_this(store) or not whole(store) or next(store.problems(), None) is not None:
                    return False
                fingerprint = store.fingerprint
        except ImgretError:
            return False
        with self.being_made():
            publish(path, self.parts.out, functools.partial(self._put, fingerprint=fingerprint, keep=True))
            self.parts.remove()
            self.run.report.note(f"{self.shown}: it had been finished before, and is in its place now")
        return True

    @contextlib.contextmanager
    def create(self, pipeline, info=None, facts=None):
        """Write the output in one go: a context manager that gives a `Writer`; the file appears if the block succeeds.

        `pipeline` is an `imgret.pipeline.Pipeline` or None; `info` and `facts` dicts that may be filled within the block.
        """
        with self.parts.claimed():
            with Writer(self.parts.temporary(), self.shown) as writer:
                yield writer
                self.finish(writer, pipeline, info, facts, keep=True)
            self.parts.remove()

    def finish(self, writer, pipeline, info=None, facts=None, keep=False):
        """Write the attributes and publish.

        Parameters
        ----------
        writer : imgret.store.writer.Writer
        pipeline : imgret.pipeline.Pipeline or None
        info, facts : dict, optional
        keep : bool
            Keep what is finished for the next run, where another file has its place.

        Raises
        ------
        FinishedElsewhere
        ImgretError
            Also if a file has appeared in the place, or the one there has changed, and is not to be replaced.
        """
        writer.finish(
            self.kind,
            recipe=self.recipe,
            params=self.params,
            inputs=self.inputs,
            pipeline=None if pipeline is None else pipeline.node,
            arrays=None if pipeline is None else pipeline.arrays,
            info=info,
            facts=facts,
        )
        writer.publish(self.parts.out, functools.partial(self._put, fingerprint=writer.fingerprint, keep=keep))

    def tell_mixed(self, writer, pipeline):
        """Say so where the photos in it were described by several versions of what describes them."""
        text = writer.made_by.mixed(self.shown, libraries(pipeline.node))
        if text:
            self.run.report.warn(text)

    def _put(self, temporary, _, *, fingerprint, keep):
        for _ in range(TRIES):
            try:
                return self._place.put(temporary)
            except Taken:
                if self.finished_elsewhere(fingerprint):
                    raise FinishedElsewhere from None
                if not self._may_be_replaced():
                    break
                self._place.look()
        if keep:
            os.replace(temporary, self.parts.kept)
        raise ImgretError(
            f"{self.shown} was put there, or changed, while this command ran, and is left as it is: move it away and run the same command "
            f"again, which finds what is done in {os.fsdecode(self.parts.root)}"
        )

    def _may_be_replaced(self):
        """Whether the user wants what is there now replaced, and it is imgret's."""
        if not self.run.overwrite:
            return False
        with contextlib.suppress(ImgretError):
            store = self.existing()
            if store is not None:
                store.close()
            return True
        return False


def freshen(path, inputs):
    """Touch a finished file where it is older than an input: for make."""
    newest = max((os.stat(each).st_mtime_ns for each in inputs if os.path.exists(each)), default=0)
    if os.stat(path).st_mtime_ns < newest:
        os.utime(path)
