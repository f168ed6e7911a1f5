"""What every component of a pipeline says of itself: its parameters, and the codebooks and inputs that it is made over.

Whoever puts components together (`pipeline`, the steps) follows these declarations; nothing is found out by trying.
"""

import dataclasses
import itertools
import types

from imgret import registry

MOST_TRIED = 5  # codebooks that are tried in every order
VOCABULARIES = ("kmeans", "akm", "hkm", "product", "scalar")  # methods of codebooks that have words


@dataclasses.dataclass(frozen=True)
class Need:
    """A codebook that a component is made with.

    Attributes
    ----------
    role : str
        What it is for, in a word or two ("words", "projection").
    methods : tuple of str
        The codebook methods that will do.
    optional : bool
        Whether the component can do without.
    """

    role: str
    methods: tuple
    optional: bool = False

    def __str__(self):
        return " or ".join(self.methods)


class Component:
    """Base of extractors, codebooks, encoders and indexes.

    Parameters
    ----------
    params : Params
    *codebooks : fitted codebooks
        One for each of `needs`, in their order; None where an optional one is left out.

    Attributes
    ----------
    name : str
        As the family's table has it.
    version : int
        Raised where the same parameters come to mean something else.
    needs : tuple of Need
        The codebooks it is made with: none, one or several.
    branches : tuple of (int, int or None)
        How many inputs it is made over, at least and at most: none (0, 0) for what begins with photos or rows, (1, 1), or (2, None) for
        what joins several descriptions of the same photos.
    seeded : bool
        Whether `params` has a `seed`.
    reading : dict
        How it reads photos, where that is not as usual: kept beside its parameters, so that new photos are read alike.
    """

    name = None
    version = 1
    needs = ()
    branches = (0, 0)
    seeded = False
    reading = types.MappingProxyType({})

    @dataclasses.dataclass(frozen=True)
    class Params(registry.Params):
        """None."""

    def __init__(self, params, *codebooks):
        self.params = params
        self.codebooks = codebooks + (None,) * (len(self.needs) - len(codebooks))

    @property
    def codebook(self):
        """The codebook of a component that is made with one, or None."""
        return self.codebooks[0] if self.codebooks else None

    def over(self, widths):
        """The component, over inputs of these columns: one for each, None where it is not known. What has no inputs stays as it is."""
        return self

    @classmethod
    def arranged(cls, codebooks):
        """Fitted codebooks in the order of `needs`, None where an optional one is not among them."""
        places, _, _ = cls.assigned([codebook.name for codebook in codebooks])
        return [None if place is None else codebooks[place] for place in places]

    @classmethod
    def takes_branches(cls, count):
        """Whether it can be made over so many inputs."""
        least, most = cls.branches
        return least <= count and (most is None or count <= most)

    @classmethod
    def assigned(cls, methods):
        """Which of some codebooks goes where.

        Parameters
        ----------
        methods : sequence of str
            The codebooks' methods. Where two would do for one need, they go by their order.

        Returns
        -------
        places : list of (int or None)
            For each of `needs` the position in `methods`, None where it is left out.
        missing : Need or None
            The first need that is not met.
        left : int or None
            Position of the first codebook that nothing needs.
        """
        orders = itertools.permutations(range(len(methods))) if len(methods) <= MOST_TRIED else iter([range(len(methods))])
        # the first of the best: what is needed comes before what is left over, and the given order before all others
        return min((cls._assigned(methods, order) for order in orders), key=lambda found: (found[1] is not None, found[2] is not None))

    @classmethod
    def _assigned(cls, methods, order):
        places, left, missing = [], list(order), None
        for need in cls.needs:
            place = next((place for place in left if methods[place] in need.methods), None)
            places.append(place)
            if place is not None:
                left.remove(place)
            elif not need.optional:
                missing = missing or need
        return places, missing, left[0] if left else None
