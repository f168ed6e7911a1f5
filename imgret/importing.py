"""Where Python finds modules: never in the current folder, which may be a stranger's photos with a `random.py` among them.

Python puts that folder first on its path for `python -m` and `python -c`, and where PYTHONPATH has an empty entry, as
`export PYTHONPATH=$PYTHONPATH:/my/lib` makes one. A folder that PYTHONPATH names in full is the user's own word, and stays.
"""

import contextlib
import os
import re
import sys

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # the folder that `imgret` is in
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
# the package's place is on a worker's path for one import, which brings nothing else with it: it may be the current folder
IMPORT = f"import sys; sys.path.insert(0, {PACKAGE!r}); import imgret; sys.path.pop(0); "
LIBRARY = re.compile(r"([^\s/:'\"]+\.so[.\d]*): ([^\n]+)")  # what the system's loader says: which, and why


def unloadable(error):
    """What to say where a native library cannot be loaded; "" of any other `ImportError`, which is a fault of a program.

    Parameters
    ----------
    error : ImportError

    Returns
    -------
    str
    """
    while error is not None:
        if found := LIBRARY.search(str(error)):
            return f"out of memory, or a broken installation: {found[1]} cannot be loaded ({found[2].strip()})"
        error = error.__cause__ or error.__context__
    return ""


def leave_current_folder():
    """Take the current folder off this process's path, and off those of all processes that it starts."""
    named = _named()
    with contextlib.suppress(OSError):  # it has been deleted: nothing is imported from it
        here = os.getcwd()
        if not sys.flags.safe_path and sys.path[:1] in ([""], [here]):
            del sys.path[0]
        if len(named) < len(_entries()) and not sys.flags.ignore_environment and here not in named and here in sys.path:
            sys.path.remove(here)
    os.environ["PYTHONSAFEPATH"] = "1"
    if "PYTHONPATH" in os.environ:
        os.environ["PYTHONPATH"] = os.pathsep.join(named)


def environment():
    """The environment of a worker that begins with `IMPORT`: this process's, less the current folder, and one thread for BLAS."""
    places = _named()
    with contextlib.suppress(OSError):
        if not os.path.samefile(PACKAGE, os.curdir):
            places.insert(0, PACKAGE)  # libraries may lie beside the package: `pip install --target`
    return dict(os.environ, PYTHONSAFEPATH="1", PYTHONPATH=os.pathsep.join(places)) | dict.fromkeys(ONE_THREAD, "1")


def _entries():
    value = os.environ.get("PYTHONPATH")
    return value.split(os.pathsep) if value else []


def _named():
    """The entries of PYTHONPATH that do not stand for whatever folder is the current one."""
    return [entry for entry in _entries() if os.path.normpath(entry) != os.curdir]
