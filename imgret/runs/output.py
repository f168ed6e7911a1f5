"""What to do about an output: make it, leave it because it is up to date, or refuse."""

import contextlib
import os

from imgret.errors import ImgretError
from imgret.store.hashing import of_json
from imgret.store.parts import Parts
from imgret.store.reader import Store, is_hdf5
from imgret.store.writer import Writer


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
    overwrite : bool
        Lift the refusal of other parameters.

    Attributes
    ----------
    recipe : str
        Identity of what is to be made, hex.
    """

    def __init__(self, path, kind, params, inputs=(), overwrite=False):
        self.path, self.kind, self.params, self.inputs, self.overwrite = os.fspath(path), kind, params, list(inputs), overwrite
        self.shown = os.fsdecode(self.path)
        if not os.path.basename(self.path) or os.path.isdir(self.path):
            raise ImgretError(f"-o '{self.shown}' names a folder, a file is needed")
        if os.path.exists(self.path) and not os.path.isfile(self.path):
            raise ImgretError(f"-o {self.shown} is not a regular file: choose another -o")
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
        if os.path.exists(self.path) and os.path.exists(path) and os.path.samefile(self.path, path):
            raise ImgretError(f"{self.shown} is both an input and the output: choose another -o")

    def existing(self):
        """The finished file, open, if it is there and of this recipe; None if it has to be made.

        Raises
        ------
        ImgretError
            If the file there has other parameters, is of another kind or no store at all, and `overwrite` is not set.
        """
        if not os.path.exists(self.path):
            return None
        try:
            store = Store(self.path)
        except ImgretError as error:
            if not is_hdf5(self.path) and os.path.getsize(self.path):
                raise ImgretError(f"{error}; imgret replaces no file that is not its own: choose another -o, or remove it") from None
            if self.overwrite:
                return None
            raise ImgretError(f"{error}; it would be replaced: choose another -o, or give --overwrite") from None
        if store.recipe == self.recipe and store.kind == self.kind:
            return store
        try:
            differences = self._differences(store)
        finally:
            store.close()
        if differences and not self.overwrite:
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

    def finished_by_another(self):
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

    def freshen(self):
        """Touch the output where it is older than an input: for make."""
        newest = max((os.stat(entry["path"]).st_mtime_ns for entry in self.inputs if os.path.exists(entry["path"])), default=0)
        if os.stat(self.path).st_mtime_ns < newest:
            os.utime(self.path)

    def up_to_date(self, report):
        """Whether the finished file is there, inputs and all; says so."""
        store = self.existing()
        if store is None:
            if os.path.exists(self.path):
                report.note(f"{self.shown}: its inputs have changed, making it again")
            return False
        store.close()
        self.freshen()
        self.parts.remove()
        report.note(f"{self.shown} is up to date")
        return True

    @contextlib.contextmanager
    def create(self, pipeline, info=None, facts=None):
        """Write the output in one go: a context manager that gives a `Writer`; the file appears if the block succeeds.

        `pipeline` is an `imgret.pipeline.Pipeline` or None; `info` and `facts` dicts that may be filled within the block.
        """
        self.parts.prepare()
        try:
            with Writer(self.parts.temporary()) as writer:
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
        writer.publish(self.path)


def input_of(store):
    """How an open store is recorded as an input."""
    return {"path": os.fsdecode(store.path), "kind": store.kind, "content": store.content}


def _flat(value, prefix=""):
    if isinstance(value, dict):
        return {name: item for key, part in value.items() for name, item in _flat(part, f"{prefix}{key}.").items()}
    return {prefix[:-1]: value}
