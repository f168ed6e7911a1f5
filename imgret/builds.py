"""Folders that `imgret build` has made: which of their files is which, and where the photos are.

A build is a folder of the stores of one config, and `imgret.json`, which is written last. What that file says of places is part of no
identity: it may be wrong by now, or a stranger's, so what it names is checked before it is believed.
"""

import dataclasses
import json
import os

from imgret.errors import ImgretError, quoted
from imgret.formats import files
from imgret.names import to_bytes, to_text
from imgret.paths import word

MANIFEST = "imgret.json"
LIMIT = 16 << 20  # bytes
FORMAT = "imgret build"
VERSION = 1


class Damaged(ImgretError):
    """A manifest that says nothing: a build can be gone on with by what its stores say.

    Attributes
    ----------
    what : str
        What is wrong, without the remedy.
    """

    def __init__(self, what, folder):
        super().__init__(f"{what}: {again(folder)}")
        self.what = what


@dataclasses.dataclass(frozen=True)
class Build:
    """What a build holds.

    Attributes
    ----------
    folder : str
    config : str
        The config that it was made by: a name, or the path of a file.
    index : str
        Path of the index.
    vectors : str
        Path of the vectors that it was made of.
    features : str, optional
        Path of the local features that these were made of, where there are any.
    roots : tuple of str
        Folders that the photos' names are relative to: of several the first that has one.
    tables : dict
        The config's tables, as they were then.
    learned : bool
        Whether codebooks were learned from other photos.
    contents : dict of str to str
        The `content` of each store of the folder, by its name, as it was made.
    """

    folder: str
    config: str
    index: str
    vectors: str
    features: str | None = None
    roots: tuple = ()
    tables: dict = dataclasses.field(default_factory=dict)
    learned: bool = False
    contents: dict = dataclasses.field(default_factory=dict)

    def manifest(self):
        """The bytes of the file that `read` takes it from."""
        said = {"format": FORMAT, "version": VERSION, "config": to_text(os.fsencode(self.config))}
        said |= {name: os.path.basename(path) for name, path in self._stores() if path is not None}
        said |= {"roots": [to_text(os.fsencode(root)) for root in self.roots], "learned": self.learned, "tables": self.tables}
        said["contents"] = self.contents
        return json.dumps(said, indent=1).encode() + b"\n"

    def _stores(self):
        return ("index", self.index), ("vectors", self.vectors), ("features", self.features)

    def content_of(self, path):
        """The `content` of one of its stores, as it was made; None where that is not known."""
        return self.contents.get(os.path.basename(path))

    def path_of(self, name):
        """Where a photo is now: bytes, to be opened from any folder; None where it is not to be found.

        Parameters
        ----------
        name : bytes
        """
        return below(self.roots, name)


def below(roots, name):
    """Where a photo (bytes) is below folders: in the first that has it, bytes; None where none has."""
    for root in roots:
        path = os.path.join(os.fsencode(root), name)
        if os.path.isfile(path):
            return path
    return None


def is_build(path):
    """Whether a path is the folder of a build."""
    return os.path.isfile(os.path.join(path, os.fsencode(MANIFEST) if isinstance(path, bytes) else MANIFEST))


def read(folder):
    """The `Build` in a folder.

    Raises
    ------
    Damaged
        If its `imgret.json` is not what imgret writes.
    ImgretError
        If there is none that can be read, or it is of a later imgret.
    """
    folder = os.fsdecode(folder)
    path = os.path.join(folder, MANIFEST)
    try:
        said = _said(path)
        if said["version"] > VERSION:
            raise ImgretError(f"{path} is of a later imgret: upgrade imgret")
        return Build(
            folder,
            _text(said, "config"),
            *(_within(folder, said, name) for name in ("index", "vectors", "features")),
            tuple(os.fsdecode(to_bytes(root)) for root in _texts(said, "roots")),
            _tables(said),
            said.get("learned") is True,
            _contents(said),
        )
    except ValueError as error:
        raise Damaged(f"{path} is damaged ({quoted(str(error))})", folder) from None


def again(folder):
    """What is to be done where a build lacks something."""
    return f"run `imgret build` with the same photos and -o {word(folder)} again"


def removed(path, folder):
    """The same where one of its files is in the way."""
    return f"remove {word(path)}, and {again(folder)}"


def _said(path):
    """What a manifest says, of whatever version."""
    try:
        said = json.loads(files.read_bytes(path, LIMIT))
    except files.TooLarge:
        raise ValueError(f"it is larger than {LIMIT >> 20} MiB") from None
    except (ValueError, RecursionError):
        raise ValueError("it is no JSON") from None
    if not isinstance(said, dict) or said.get("format") != FORMAT or not isinstance(said.get("version"), int):
        raise ValueError("it is no manifest of a build")
    return said


def _tables(said):
    tables = said.get("tables", {})
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        raise ValueError("`tables` are not those of a config")
    return tables


def _contents(said):
    contents = said.get("contents", {})
    if not isinstance(contents, dict) or not all(isinstance(content, str) for content in contents.values()):
        raise ValueError("`contents` are not those of stores")
    return contents


def _text(said, name):
    if not isinstance(said.get(name), str):
        raise ValueError(f"`{name}` is no text")
    return said[name]


def _texts(said, name):
    found = said.get(name)
    if not isinstance(found, list) or not all(isinstance(each, str) and os.path.isabs(each) and "\0" not in each for each in found):
        raise ValueError(f"`{name}` is no list of folders")
    return found


def _within(folder, said, name):
    """The path of one of the folder's own files: what leads elsewhere is not believed."""
    if said.get(name) is None and name == "features":
        return None
    found = _text(said, name)
    if not found or os.path.basename(found) != found or found in (".", "..") or "\0" in found:
        raise ValueError(f"`{name}` is no file of its folder")
    return os.path.join(folder, found)


def index_of(path):
    """The path of the index that a path means: a build's, or the path itself where it is no build."""
    return read(path).index if is_build(path) else path


def roots_of(index):
    """Where the photos of an index are, as far as a build says: of its folder, or of the index in it; () where there is none."""
    folder = folder_of(index)
    return read(folder).roots if is_build(folder) else ()


def folder_of(index):
    """The folder that would be the build of an index, or of the folder itself."""
    return index if os.path.isdir(index) else os.path.dirname(index)


def roots_there(index):
    """The same, for what opens the photos.

    Raises
    ------
    ImgretError
        If one of them is no longer there.
    """
    roots = roots_of(index)
    for root in roots:
        if not os.path.isdir(root):
            folder = folder_of(index)
            raise ImgretError(
                f"the photos of {os.fsdecode(folder)} are no longer in {root}: "
                f"run `imgret build PLACE -o {word(folder)}` where they are now, or give --photos PLACE"
            )
    return roots
