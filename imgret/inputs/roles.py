"""What a reranker is given, by role: paths, and whether they are what it takes."""

import dataclasses
import os

from imgret import builds
from imgret.errors import ImgretError, UsageError, counted
from imgret.rerankers import ROLES

DESCRIBING = ("features", "words", "vectors")  # roles that stores of this kind have


@dataclasses.dataclass(frozen=True)
class Given:
    """What a reranker is given, by paths: JSON for worker processes.

    Attributes
    ----------
    rankings : list of str
    roles : dict of str to list of str
        Of `ROLES`: those that are given.
    queries : list of str
        Stores that describe the queries.
    photos : dict of str to str
        Paths of query photos by their names, as `os.fsdecode` gives them.
    device : str
    """

    rankings: list
    roles: dict
    queries: list = dataclasses.field(default_factory=list)
    photos: dict = dataclasses.field(default_factory=dict)
    device: str = "auto"

    @property
    def paths(self):
        """All that is read."""
        return [*self.rankings, *(path for paths in self.roles.values() for path in paths), *self.queries]


def check_roles(kind, given, rankings):
    """Refuse what a reranker does not take, and what it lacks.

    Parameters
    ----------
    kind : type
        The `Reranker`.
    given : dict of str to list
        By role.
    rankings : int

    Raises
    ------
    UsageError
    """
    least, most = kind.rankings
    if rankings < least:
        raise UsageError(f"-m {kind.name} puts rankings together: give at least {least}")
    if most is not None and rankings > most:
        raise UsageError(
            f"-m {kind.name} takes {counted(most, 'ranking')}, and {rankings} are given: rerank each, or put them together (-m fuse)"
        )
    known = {role for taken in kind.takes for role in taken.roles}
    for role in ROLES:
        if given.get(role) and role not in known:
            raise UsageError(f"-m {kind.name} takes no --{role}: leave it out")
    if len(given.get("index", ())) > 1:
        raise UsageError("--index is given twice: one index is asked again, give the one that was searched")
    for taken in kind.takes:
        there = [role for role in taken.roles if given.get(role)]
        options = " or ".join(f"--{role}" for role in taken.roles)
        if not there and not taken.optional:
            raise UsageError(f"-m {kind.name} needs {options} {taken.why}")
        if len(there) > 1:
            raise UsageError(f"-m {kind.name} takes {options}, not both: leave one out")


def of_build(path, role):
    """The file of a build that has a role, None where it has none; of what is no build, itself.

    Raises
    ------
    ImgretError
        For another folder.
    """
    if builds.is_build(path):
        build = builds.read(path)
        return {"index": build.index, "features": build.features, "vectors": build.vectors}.get(role)
    if os.path.isdir(path):
        raise ImgretError(f"--{role} {os.fsdecode(path)} is a folder: give a store, or the folder of a build")
    return path


def in_builds(roles):
    """Paths by role, with the files of builds where their folders are given.

    Raises
    ------
    ImgretError
    """
    found = {role: [of_build(path, role) for path in paths] for role, paths in roles.items()}
    for role, paths in found.items():
        for path, given in zip(paths, roles[role], strict=True):
            if path is None:
                raise ImgretError(f"--{role}: the build {os.fsdecode(given)} has no {role}: give a store")
    return found
