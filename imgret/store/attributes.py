"""Reading attributes that a stranger may have written."""

import json

import h5py
import numpy as np

from imgret.errors import ImgretError

MAX_DEPTH = 200  # of the JSON in attributes


def text_attribute(attributes, name):
    """A text attribute, '' where there is none."""
    value = scalar_attribute(attributes, name, h5py.h5t.TypeStringID)
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return value if isinstance(value, str) else ""


def scalar_attribute(attributes, name, wanted):
    """One value, or None where there is none of this HDF5 type: reading another one may crash the library."""
    if name not in attributes:
        return None
    attribute = attributes.get_id(name)
    return attributes[name] if isinstance(attribute.get_type(), wanted) and attribute.shape == () else None


def version_attribute(attributes, shown):
    """`schema_version`, of the file called `shown` in messages.

    Raises
    ------
    ImgretError
        If there is none.
    """
    value = scalar_attribute(attributes, "schema_version", h5py.h5t.TypeIntegerID)
    if not isinstance(value, (int, np.integer)) or value < 1:
        raise ImgretError(f"{shown} is damaged: it has no 'schema_version'")
    return int(value)


def json_attribute(attributes, name, wanted, shown, optional=False):
    """What a JSON attribute of the file called `shown` holds, of the type `wanted`; with `optional` None where there is none.

    Raises
    ------
    ImgretError
        If it is no such JSON, or nested too deep.
    """
    try:
        value = json.loads(text_attribute(attributes, name) or "null", parse_constant=_refuse_constant, parse_float=_finite)
        _check_depth(value)
    except (ValueError, RecursionError):
        raise ImgretError(f"{shown} is damaged: its attribute '{name}' is not JSON") from None
    if value is None and optional:
        return None
    if not isinstance(value, wanted):
        raise ImgretError(f"{shown} is damaged: its attribute '{name}' holds another type than it should")
    return value


def _refuse_constant(text):
    raise ValueError(text)


def _finite(text):
    value = float(text)
    if not np.isfinite(value):
        raise ValueError(text)
    return value


def _check_depth(value):
    """Refuse JSON that is nested so deep that walking it would end in a RecursionError."""
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise ValueError("nested too deep")
        children = (list(item.values()) if isinstance(item, dict) else item for item in level if isinstance(item, (dict, list)))
        level = [child for group in children for child in group]
