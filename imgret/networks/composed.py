"""Parameters made of parts, one of which is chosen by a parameter of another: flat to look at and to record."""

import dataclasses

from imgret import registry


class Composed(registry.Params):
    """Base of what `composed` makes.

    It has the fields of all parts, so that `--set` can name any of them. Those of the shared parts and of the chosen one count: their own
    classes check them, and say what is `space`.
    """

    SHARED = ()
    KEY = ""
    CHOICES = {}

    def __post_init__(self):
        super().__post_init__()
        _ = self.parts  # made, they are checked

    def part(self, kind):
        """The parameters of one part, by its class."""
        return kind(**{field.name: getattr(self, field.name) for field in dataclasses.fields(kind)})

    @property
    def chosen(self):
        """The parameters of the chosen part."""
        return self.part(self.CHOICES[getattr(self, self.KEY)])

    @property
    def parts(self):
        """Those that count."""
        return [*map(self.part, self.SHARED), self.chosen]

    def idle(self):
        """Names of fields that belong to none of the parts that count, and differ from their defaults."""
        own = self._own()
        return [each.name for each in dataclasses.fields(self) if each.name not in own and getattr(self, each.name) != each.default]

    def recorded(self):
        """Names of the fields that `to_json` gives: those of the parts that count."""
        return self._own()

    def to_json(self):
        """Plain values of what is `recorded`, without `places`; see `imgret.registry.Params`."""
        names = self.recorded()
        return {name: value for name, value in super().to_json().items() if name in names}

    def places(self):
        """The parameters of the parts that say where something is found."""
        found = {}
        for part in self.parts:
            found |= part.places()
        return found

    def space(self):
        """What the parts say changes the meaning, in the order of the fields."""
        found = {}
        for part in self.parts:
            found |= part.space()
        return {each.name: found[each.name] for each in dataclasses.fields(self) if each.name in found}

    def _own(self):
        return {each.name for part in self.parts for each in dataclasses.fields(part)}


def composed(shared, key, choices, order=()):
    """A class of parameters: the fields of shared parts, and those of several parts of which one is chosen.

    Parameters
    ----------
    shared : sequence of type
        Classes of `imgret.registry.Params`.
    key : str
        The field of a shared part that chooses.
    choices : dict of str to type
        By the field's values.
    order : sequence of str
        Names of fields that come first.

    Returns
    -------
    type
        A frozen dataclass, of `Composed`.

    Raises
    ------
    TypeError
        If parts have a field of one name that is not the same, `role` apart: what it means for the space is each part's own affair.
    """
    fields = {}
    for kind in (*shared, *choices.values()):
        for each in dataclasses.fields(kind):
            if _declared(fields.setdefault(each.name, each)) != _declared(each):
                raise TypeError(
                    f"{kind.__qualname__} has another `{each.name}` than a part before it: one name, one type, default and help"
                )
    names = [*order, *(name for name in fields if name not in order)]
    made = [(name, fields[name].type, dataclasses.field(default=fields[name].default, metadata=fields[name].metadata)) for name in names]
    namespace = {"SHARED": tuple(shared), "KEY": key, "CHOICES": dict(choices)}
    return dataclasses.make_dataclass("Params", made, bases=(Composed,), namespace=namespace, frozen=True)


def _declared(field):
    return field.type, field.default, {name: value for name, value in field.metadata.items() if name != "role"}
