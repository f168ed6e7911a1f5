"""Versions of imgret and the libraries it uses: whose work is in a file, and whether what describes photos is the same in all of it."""

import contextlib
import functools

import h5py

from imgret import __version__
from imgret.store.hashing import canonical

CORE = ("numpy", "h5py", "opencv-contrib-python", "opencv-contrib-python-headless", "faiss-cpu", "pillow")
LIBRARIES = (*CORE, "pillow-heif", "numba", "torch", "torchvision", "timm", "onnxruntime", "scikit-image")
DESCRIBING = (
    "opencv",
    "pillow",
    "pillow-heif",
    "torch",
    "torchvision",
    "timm",
    "onnxruntime",
)  # by which photos are decoded and described, as `family` has them
MOST, LONGEST = 64, 64  # versions of a library, letters of one, in a file that may be a stranger's


def family(name):
    """What a library is called, however it is packed."""
    return "opencv" if name.startswith("opencv") else name


@functools.cache
def _own():
    import importlib.metadata  # slow to import, and not needed by whoever only reads

    found = {"imgret": __version__, "hdf5": h5py.version.hdf5_version}
    for name in LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def own():
    """The versions of this process, as a file has them in `generated_by`: name -> version."""
    return dict(_own())


def versions_in(value):
    """What `generated_by` has of one library, a version or several, as a list."""
    several = value if isinstance(value, list) else [value]
    return [version[:LONGEST] for version in several[:MOST] if isinstance(version, str)]


def together(contributors):
    """Several `generated_by` as one: name -> version, or the list of all of them."""
    found = {}
    for generated_by in contributors:
        for name, value in generated_by.items():
            found.setdefault(name, set()).update(versions_in(value))
    return {name: min(versions) if len(versions) == 1 else sorted(versions)[:MOST] for name, versions in found.items() if versions}


def _families(generated_by):
    found = {}
    for name, value in generated_by.items():
        found.setdefault(family(name), set()).update(versions_in(value))
    return found


def mixed(contributors, libraries):
    """Those of some libraries of which there is more than one version.

    Parameters
    ----------
    contributors : sequence of dict
        `generated_by` of all whose work it is.
    libraries : iterable of str
        As `family` has them.

    Returns
    -------
    dict of str to list of str
    """
    found = {}
    for library in libraries:
        sets = {frozenset(_families(generated_by).get(library, ())) for generated_by in contributors}
        sets.discard(frozenset())
        # two packages of one library may be there at once; several versions of one package may not
        twice = any(len(versions_in(value)) > 1 for each in contributors for name, value in each.items() if family(name) == library)
        if len(sets) > 1 or twice:
            found[library] = sorted(frozenset.union(*sets))
    return found


def others(asking, asked, libraries):
    """Those of some libraries of which `asking` has a version that is none of `asked`'s: library -> (asking's versions, asked's).

    Parameters
    ----------
    asking, asked : dict
        `generated_by`.
    libraries : iterable of str
    """
    first, second = _families(asking), _families(asked)
    return {
        library: (sorted(first[library]), sorted(second[library]))
        for library in libraries
        if first.get(library) and second.get(library) and not first[library] <= second[library]
    }


class MadeBy:
    """Whose work is in a store that is being written."""

    def __init__(self):
        self._here, self._others = False, {}

    def here(self):
        """Photos were described, or failed to be, by this process."""
        self._here = True

    def copied(self, generated_by):
        """Something was copied from a store with this `generated_by`."""
        self._others.setdefault(canonical(generated_by), generated_by)

    @property
    def contributors(self):
        """Their `generated_by`; of this process, where it has copied all photos, less what describes them."""
        mine, copied = own(), list(self._others.values())
        if copied and not self._here:
            mine = {name: version for name, version in mine.items() if family(name) not in DESCRIBING}
        return [mine, *copied]

    @property
    def generated_by(self):
        """All of them together."""
        return together(self.contributors)

    def mixed(self, shown, libraries):
        """What to say where photos were described by several versions, '' where they were not; `shown` is the store in the sentence."""
        found = mixed(self.contributors, libraries)
        words = ", ".join(f"{library} {_listed(versions)}" for library, versions in found.items())
        return f"{shown}: its photos were described by {words}: remove what was extracted, and extract again, to have one" if words else ""


def asked_by_another(asking, asked, libraries, shown):
    """What to say of queries that other versions describe than a gallery's photos; '' where they are the same.

    Parameters
    ----------
    asking, asked, libraries : see `others`
    shown : str
        The gallery in the sentence.
    """
    found = others(asking, asked, libraries)
    if not found:
        return ""
    theirs = ", ".join(f"{library} {_listed(versions)}" for library, (_, versions) in found.items())
    ours = ", ".join(f"{library} {_listed(versions)}" for library, (versions, _) in found.items())
    return f"the photos in {shown} were described by {theirs}, the queries are by {ours}: scores may differ a little"


def _listed(versions):
    *first, last = versions[:9]
    return f"{', '.join(first)} and {last}" if first else last
