"""Family tables (`name -> "module:Class"`) and the parameters of what they name.

A component keeps its parameters in a frozen dataclass `Params`, the only place where a default lives. `param` declares one
field; `Params.parse` reads `--set NAME=VALUE`; `Params.from_json` reads what a store recorded.
"""

import dataclasses
import importlib
import math
import types
import typing

from imgret.errors import ImgretError, UsageError, quoted

SPACE = "space"  # changes what a descriptor or vector means
SAMPLING = "sampling"  # changes how many, how large or how precisely: noted only
PLACE = "place"  # where something is found: kept beside the parameters, part of no identity


def load(table, name, family):
    """Import the class that `table` gives for `name`.

    Parameters
    ----------
    table : dict of str to str
        `name -> "module:Class"`.
    name : str
    family : str
        What the table holds, in the singular, for the message ("encoder").

    Raises
    ------
    UsageError
        If the table has no such name.
    """
    try:
        module, _, attribute = table[name].partition(":")
    except KeyError:
        raise UsageError(f"there is no {family} '{quoted(name)}'; choose one of: {', '.join(table)}") from None
    return getattr(importlib.import_module(module), attribute)


def param(default, help, *, role=SPACE, choices=None, minimum=None, maximum=None, above=None, newer=False):
    """One field of a `Params` dataclass, with the bounds that `Params` checks.

    `minimum` and `maximum` are inclusive, `above` is exclusive. `role` is `SPACE`, `SAMPLING` or `PLACE`. For a tuple field the bounds and
    choices hold for each element. A `newer` field is recorded only where it is not at its default: what was recorded before there was
    such a field stays what it was.
    """
    metadata = {
        "help": help,
        "role": role,
        "choices": choices,
        "minimum": minimum,
        "maximum": maximum,
        "above": above,
        "newer": newer,
    }
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class Params:
    """Base of every component's parameters: checks types and bounds when made."""

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = _coerce(field, getattr(self, field.name))
            object.__setattr__(self, field.name, value)

    @classmethod
    def parse(cls, settings, **given):
        """Parameters from `NAME=VALUE` strings; `given` holds those that have an option of their own (None means not given).

        Raises
        ------
        UsageError
            For an unknown name (the valid ones are listed), a name given twice, or a value of the wrong type or out of range.
        """
        fields = {field.name: field for field in dataclasses.fields(cls)}
        values = {name: value for name, value in given.items() if value is not None}
        unknown = [name for name in values if name not in fields]
        if unknown:
            raise UsageError(f"this method takes no `{unknown[0]}`; {_listing(fields)}")
        for setting in (settings,) if isinstance(settings, str) else settings:
            name, equals, text = setting.partition("=")
            name = name.strip().replace("-", "_")
            if not equals:
                raise UsageError(f"--set takes NAME=VALUE, got '{quoted(setting)}'")
            if name not in fields:
                raise UsageError(f"this method has no parameter `{quoted(name)}`; {_listing(fields)}")
            if name in values:
                raise UsageError(f"`{name}` is given twice")
            values[name] = _from_text(fields[name], text.strip())
        return cls(**values)

    @classmethod
    def from_json(cls, data):
        """Parameters as a store recorded them.

        Raises
        ------
        ImgretError
            If a recorded name is unknown here or its value does not fit.
        """
        fields = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(data, dict) or not set(data) <= fields:
            names = sorted(set(data) - fields) if isinstance(data, dict) else data
            raise ImgretError(f"the file has parameters that this imgret does not know ({quoted(names)}): upgrade imgret")
        try:
            return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in data.items()})
        except UsageError as error:
            raise ImgretError(f"the file records a parameter that cannot be right: {error}") from None

    def to_json(self):
        """Plain values, ready for JSON: tuples become lists. Without `places`."""
        return self._plain(lambda role: role != PLACE)

    def places(self):
        """The parameters that say where something is found: `from_json` takes them together with `to_json`."""
        return self._plain(lambda role: role == PLACE)

    def space(self):
        """The part of `to_json` that changes what a descriptor or vector means."""
        return self._plain(lambda role: role == SPACE)

    def _plain(self, wanted):
        fields = [field for field in dataclasses.fields(self) if wanted(field.metadata["role"])]
        known = [field.name for field in fields if not field.metadata["newer"] or getattr(self, field.name) != field.default]
        values = {name: getattr(self, name) for name in known}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _listing(fields):
    return f"it has: {', '.join(fields)}" if fields else "it has none"


def kind_of(field):
    """(element type, is a tuple, may be None) of a field's annotation."""
    annotation, optional = field.type, False
    if isinstance(annotation, types.UnionType):
        members = typing.get_args(annotation)
        optional = type(None) in members
        annotation = next(member for member in members if member is not type(None))
    if typing.get_origin(annotation) is tuple:
        return typing.get_args(annotation)[0], True, optional
    return annotation, False, optional


def _from_text(field, text):
    element, many, optional = kind_of(field)
    if optional and text.lower() == "none":
        return None
    if many:
        return tuple(_scalar(field, element, part.strip()) for part in text.split(",") if part.strip())
    return _scalar(field, element, text)


def _scalar(field, element, text):
    if element is bool:
        words = {"true": True, "yes": True, "1": True, "on": True, "false": False, "no": False, "0": False, "off": False}
        if text.lower() not in words:
            raise UsageError(f"`{field.name}` must be true or false, got '{quoted(text)}'")
        return words[text.lower()]
    try:
        return element(text)
    except ValueError:
        raise UsageError(f"`{field.name}` must be {_noun(element)}, got '{quoted(text)}'") from None


def _coerce(field, value):
    element, many, optional = kind_of(field)
    if value is None and optional:
        return None
    if many:
        if not isinstance(value, tuple):
            raise UsageError(f"`{field.name}` must be a list of values, got {quoted(repr(value))}")
        return tuple(_bounded(field, element, item) for item in value)
    return _bounded(field, element, value)


def _bounded(field, element, value):
    rule = field.metadata
    if element is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            value = float(value)
        except OverflowError:
            value = math.inf  # refused below
    good = isinstance(value, element) and not (element is int and isinstance(value, bool))
    if good and element is float:
        good = math.isfinite(value)
    if good and rule["choices"] is not None and value not in rule["choices"]:
        choices = ", ".join(str(choice) for choice in rule["choices"])
        raise UsageError(f"`{field.name}` must be one of {choices}, got {quoted(repr(value))}")
    if good and rule["minimum"] is not None:
        good = value >= rule["minimum"]
    if good and rule["maximum"] is not None:
        good = value <= rule["maximum"]
    if good and rule["above"] is not None:
        good = value > rule["above"]
    if not good:
        raise UsageError(f"`{field.name}` must be {_range(rule, element)}, got {quoted(repr(value))}")
    return value


def _noun(element):
    return {int: "an integer", float: "a number", str: "a word", bool: "true or false"}[element]


def _range(rule, element):
    if element is int and rule["minimum"] == 1 and rule["maximum"] is None:
        return "a positive integer"
    words = [_noun(element)]
    if rule["minimum"] is not None and rule["maximum"] is not None:
        words.append(f"from {rule['minimum']} to {rule['maximum']}")
    elif rule["minimum"] is not None:
        words.append(f"of at least {rule['minimum']}")
    elif rule["maximum"] is not None:
        words.append(f"of at most {rule['maximum']}")
    if rule["above"] is not None:
        words.append(f"above {rule['above']}")
    return " ".join(words)
