"""Input stores, each open only while it is read: a step may be given thousands of them, and a process may hold few files open."""

import collections
import functools
import threading

from imgret.errors import changed
from imgret.store.reader import Store

MOST_OPEN = 16  # stores at once: each takes a file descriptor and a megabyte


class Stores:
    """The stores that a step reads: a context manager.

    Those that were read last are open, as many as `most`; any thread may read them.

    Parameters
    ----------
    most : int
    """

    def __init__(self, most=MOST_OPEN):
        self._most, self._opened, self._lock = most, collections.OrderedDict(), threading.RLock()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Close all that are open."""
        with self._lock:
            while self._opened:
                self._opened.popitem()[1].close()

    def add(self, path, kinds=None, wanted_by="this step"):
        """One more store, which must be there and sound now; see `imgret.store.reader.Store`.

        Returns
        -------
        InputStore

        Raises
        ------
        ImgretError
        """
        with self._lock:
            store = Store(path, kinds, wanted_by)
            added = InputStore(self, store)
            self._keep(added, store)
        return added

    def reading(self, method, asked, arguments, named):
        """What a method of an input's `Store` gives; it is opened for that, if it is not."""
        with self._lock:
            if asked in self._opened:
                self._opened.move_to_end(asked)
            else:
                self._keep(asked, _again(asked))
            return method(self._opened[asked], *arguments, **named)

    def _keep(self, asked, store):
        self._opened[asked] = store
        if len(self._opened) > self._most:
            self._opened.popitem(last=False)[1].close()


def _again(known):
    """The `Store` of an input that has been open before, open."""
    store = Store(known.path, verified=known.verified)
    if (store.kind, store.content) != (known.kind, known.content):
        store.close()
        raise changed(store.shown)
    return store


def _when_open(method):
    @functools.wraps(method)
    def read(self, *arguments, **named):
        return self._stores.reading(method, self, arguments, named)

    return read


class InputStore:
    """A store that may be closed: what is known of it stays, and reading it opens it again, as long as it is the same.

    It has those methods and attributes of `imgret.store.reader.Store` that steps need of their inputs.
    """

    def __init__(self, stores, store):
        self._stores = stores
        self.path, self.shown, self.kind, self.layout, self.sizes = store.path, store.shown, store.kind, store.layout, store.sizes
        self.content, self.pipeline, self.generated_by, self.verified = store.content, store.pipeline, store.generated_by, store.verified
        self.photos, self.facts, self.params, self.inputs = store.photos, store.facts, store.params, store.inputs
        self.info = store.info
        self._extents = {path: (store.shape(path), store.dtype(path)) for path in store.column_names()}

    as_input, __len__ = Store.as_input, Store.__len__
    has, shape, dtype = Store.has, Store.shape, Store.dtype
    read, texts, photo_names = map(_when_open, (Store.read, Store.texts, Store.photo_names))
    descriptor_range, attribute, pipeline_array = map(_when_open, (Store.descriptor_range, Store.attribute, Store.pipeline_array))
