"""A network as the output of a step: a .safetensors file that says of itself what a store says."""

import contextlib
import functools
import json
import os

from imgret.errors import ImgretError
from imgret.networks import safetensors_files, trained
from imgret.runs.output import Output
from imgret.store.versions import own
from imgret.store.writer import write_error

DOCUMENTS = {"params": dict, "inputs": list, "extract": dict, "history": dict, "failed": list, "generated_by": dict}


class NetworkFile:
    """A network file of imgret, as far as it says of itself.

    Parameters
    ----------
    path : str

    Attributes
    ----------
    shown : str
    kind, recipe, content, fingerprint : str
    params, extract, history, generated_by : dict
    inputs, failed : list
    tensors : dict of str to tuple
        See `imgret.networks.safetensors_files.Header`.

    Raises
    ------
    ImgretError
        If it is none.
    """

    kind = trained.KIND

    def __init__(self, path):
        self.path = self.shown = path
        header = safetensors_files.read_header(path)
        metadata = trained.metadata_of(path, header)
        if metadata is None:
            raise ImgretError(f"{path} is not a network that imgret has trained")
        self.tensors, self.metadata = header.tensors, metadata
        self.recipe, self.content = (metadata.get(name, "") for name in ("recipe", "content"))
        self.fingerprint = self.content
        for name, kind in DOCUMENTS.items():
            setattr(self, name, trained.document(path, metadata, name, kind))
        if not all(isinstance(entry, dict) for entry in self.inputs):
            raise ImgretError(f"{path} is damaged: its inputs are not what imgret records")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def close(self):
        """Nothing is open."""

    def problems(self):
        """Yield what is wrong with its tensors, a sentence each."""
        arrays = safetensors_files.read(self.path)
        if trained.content_of(arrays) != self.content:
            yield "the tensors do not match the content that the file records: it is damaged"


class NetworkOutput(Output):
    """A network as an output; see `imgret.runs.output.Output`."""

    opened = staticmethod(NetworkFile)
    form = "a network"

    @staticmethod
    def is_own(path):
        """Whether a file is a network of imgret."""
        try:
            return trained.metadata_of(path) is not None
        except (ImgretError, OSError):
            return False

    def put(self, arrays, extract, history, failed):
        """Write the file and give it its name.

        Parameters
        ----------
        arrays : dict of str to ndarray
        extract, history : dict
        failed : list
        """
        with self.parts.claimed():
            temporary = self.parts.temporary()
            content = self.write(temporary, arrays, extract, history, failed)
            self.parts.publish(temporary, functools.partial(self._put, fingerprint=content, keep=True))
            self.parts.remove()

    def write(self, path, arrays, extract, history, failed):
        """Write such a file under any name.

        Returns
        -------
        str
            Its `content`.

        Raises
        ------
        ImgretError
            If it cannot be written; nothing of it is left.
        """
        content = trained.content_of(arrays)
        texts = {"params": self.params, "inputs": self.inputs, "extract": extract, "history": history, "failed": failed}
        texts |= {"generated_by": own()}
        metadata = {name: json.dumps(value, sort_keys=True) for name, value in texts.items()}
        metadata |= {"format": trained.FORMAT, "kind": self.kind, "schema_version": str(trained.SCHEMA)}
        metadata |= {"recipe": self.recipe, "content": content}
        try:
            safetensors_files.write(path, arrays, metadata)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.unlink(path)
            raise write_error(self.shown, error) from None
        return content
