"""Names that a ranking and a ground truth write in different Unicode forms: found, told of, and matched where that is asked for."""

import dataclasses
import itertools

from imgret.errors import counted
from imgret.names import Speller, shown

REMEDY = "give --normalize-names to match them"


@dataclasses.dataclass(frozen=True)
class Differing:
    """What a ranking and a ground truth write in different forms.

    Attributes
    ----------
    names : list of bytes
        The ranking's, in byte order, each once.
    lists : imgret.formats.lists.RankedLists
        The ranking with these names as the ground truth has them.
    """

    names: list
    lists: object

    def __str__(self):
        verb = "differs" if len(self.names) == 1 else "differ"
        return (
            f"{counted(len(self.names), 'name')} of the ranking {verb} from the ground truth's only in the Unicode form, NFC or NFD "
            f"(the first is {shown(self.names[0])})"
        )


def differing(lists, reference, keys):
    """The names of a ranking that match nothing, and would in another Unicode form.

    Parameters
    ----------
    lists : imgret.formats.lists.RankedLists
    reference : callable
        Gives the names that the ranking's are matched with; asked only where one of these is not ASCII.
    keys : callable
        `keys(name)`: what a name is matched by, a tuple.

    Returns
    -------
    Differing
    """
    given = lists.names, lists.query_names, lists.query_ids
    if all(map(bytes.isascii, itertools.chain(*given))):
        return Differing([], lists)
    reference = list(reference())
    known, spell = {key for name in reference for key in keys(name)}, Speller(reference)

    def respelt(name):
        if name.isascii():
            return name
        other = spell(name)
        pairs = zip(keys(name), keys(other), strict=True)
        return other if any(old != new and old not in known and new in known for old, new in pairs) else name

    changed = {name: other for name in set(itertools.chain(*given)) if (other := respelt(name)) != name}
    if not changed:
        return Differing([], lists)
    renamed = [[changed.get(name, name) for name in names] for names in given]
    for names, new in ((given[0], renamed[0]), (given[2], renamed[2])):  # two that become one stay what they are
        taken = set(names)
        for place, (name, other) in enumerate(zip(names, new, strict=True)):
            if name != other and other in taken:
                new[place] = name
            taken.add(other)
    still = {name for names, new in zip(given, renamed, strict=True) for name, other in zip(names, new, strict=True) if name != other}
    names, query_names, query_ids = renamed
    return Differing(sorted(still), dataclasses.replace(lists, names=names, query_names=query_names, query_ids=query_ids))
