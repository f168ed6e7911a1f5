"""What to do about an output: make it, leave it because it is up to date, or refuse."""

import contextlib
import os

from imgret import paths
from imgret.errors import ImgretError
from imgret.runs.run import Run
from imgret.store.hashing import of_json
from imgret.store.parts import FolderVanished, Parts
from imgret.store.reader import Store, is_hdf5
from imgret.store.writer import NotDurable, Writer


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

    Attributes
    ----------
    recipe : str
        Identity of what is to be made, hex.

    Raises
    ------
    ImgretError
        If it is no place for a file, or one of the inputs.
    """

    def __init__(self, path, kind, params, inputs=(), run=Run()):
        self.path, self.kind, self.params, self.inputs, self.run = os.fspath(path), kind, params, list(inputs), run
        self.shown = os.fsdecode(self.path)
        paths.check_file(self.path, "-o")
        contents = [{"kind": entry["kind"], "content": entry["content"]} for entry in self.inputs]
        self.recipe = of_json({"kind": kind, "params": params, "inputs": contents})
        self.parts = Parts(self.path, self.recipe)
        self._before = self._signature()
        for entry in self.inputs:
            self.spare(entry["path"])

    def spare(self, path):
        """Refuse an output that is the file at `path`, which is read.

        Raises
        ------
        ImgretError
        """
        if paths.same(self.path, path):
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
            store = Store(self.path)
        except ImgretError as error:
            if not is_hdf5(self.path) and os.path.getsize(self.path):
                raise ImgretError(f"{error}; imgret replaces no file that is not its own: choose another -o, or remove it") from None
            if self.run.overwrite:
                return None
            raise ImgretError(f"{error}; it would be replaced: choose another -o, or give --overwrite") from None
        if store.recipe == self.recipe and store.kind == self.kind:
            return store
        try:
            differences = self._differences(store)
        finally:
            store.close()
        if differences and not self.run.overwrite:
            raise ImgretError(
                f"{self.shown} was made with other parameters ({'; '.join(differences)}): "
                "choose another -o, or give --overwrite to replace it"
            )
        return None

    def _differences(self, store):
        if store.kind != self.kind:
            return [f"it is of the kind {store.kind}, this makes {self.kind}"]
        old, new = _flat(store.params), _flat(self.params)
        return [
            f"{name.removeprefix('params.')}: {old.get(name, 'not set')} there, {new.get(name, 'not set')} here"
            for name in sorted({*old, *new})
            if old.get(name) != new.get(name)
        ]

    @contextlib.contextmanager
    def being_made(self):
        """Context manager around all the work on the output; gives its folder of parts, prepared.

        Where another process finishes the output first, and takes the folder of parts away, that is success: it is told, and the block
        ends there, so nothing after it may build on what was to be done in it. What a signal does is decided elsewhere, in one place: the
        command line guards itself from start to end (`stopping.guard`), a program that calls steps does as it likes.

        Raises
        ------
        ImgretError
            What the block raised, or that the folder of parts has gone, and nobody has finished the output.
        """
        self._prepare()
        try:
            yield self.parts
            return
        except FolderVanished:
            failure = ImgretError(f"the folder of parts of {self.shown} has gone while it was being worked on: run the same command again")
        except NotDurable:
            raise
        except ImgretError as error:
            failure = error
        if not self._finished_by_another():
            raise failure
        self.run.report.note(f"{self.shown} was finished by another process")

    def _prepare(self):
        try:
            self.parts.prepare()
        except ImgretError:
            if not self._finished_by_another():
                raise
            self.parts.prepare()  # the other one has removed its own folder just now: there is room for another

    def _finished_by_another(self):
        """Whether another process has published this output since this one began."""
        if self._signature() == self._before:
            return False
        with contextlib.suppress(ImgretError), Store(self.path) as store:
            return store.recipe == self.recipe and store.kind == self.kind
        return False

    def _signature(self):
        try:
            status = os.stat(self.path)
        except OSError:
            return None
        return status.st_ino, status.st_size, status.st_mtime_ns

    def up_to_date(self):
        """Whether the finished file is there, inputs and all; says so."""
        store, report = self.existing(), self.run.report
        if store is None:
            if os.path.exists(self.path):
                report.note(f"{self.shown}: its inputs have changed, making it again")
            return False
        store.close()
        freshen(self.path, [entry["path"] for entry in self.inputs])
        self.parts.clear()
        report.note(f"{self.shown} is up to date")
        return True

    @contextlib.contextmanager
    def create(self, pipeline, info=None, facts=None):
        """Write the output in one go: a context manager that gives a `Writer`; the file appears if the block succeeds.

        `pipeline` is an `imgret.pipeline.Pipeline` or None; `info` and `facts` dicts that may be filled within the block.
        """
        self.parts.prepare()
        try:
            with Writer(self.parts.temporary(), self.shown) as writer:
                yield writer
                self.finish(writer, pipeline, info, facts)
        except BaseException:
            self.parts.leave()
            raise
        self.parts.remove()

    def finish(self, writer, pipeline, info=None, facts=None):
        """Write the attributes and publish."""
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
        writer.publish(self.parts.out)


def freshen(path, inputs):
    """Touch a finished file where it is older than an input: for make."""
    newest = max((os.stat(each).st_mtime_ns for each in inputs if os.path.exists(each)), default=0)
    if os.stat(path).st_mtime_ns < newest:
        os.utime(path)


def _flat(value, prefix=""):
    if isinstance(value, dict):
        return {name: item for key, part in value.items() for name, item in _flat(part, f"{prefix}{key}.").items()}
    return {prefix[:-1]: value}
