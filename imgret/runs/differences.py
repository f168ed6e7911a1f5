"""How a store that is there differs from what a step would make."""


def differences_of(store, kind, params):
    """What is otherwise in a store than in a step's own: a list of words, empty where the same was asked for.

    Parameters
    ----------
    store : imgret.store.reader.Store
    kind : str
    params : dict
        Step, method and parameters.
    """
    if store.kind != kind:
        return [f"it is of the kind {store.kind}, this makes {kind}"]
    old, new = _flat(store.params), _flat(params)
    return [
        f"{name.removeprefix('params.')}: {old.get(name, 'not set')} there, {new.get(name, 'not set')} here"
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    ]


def _flat(value, prefix=""):
    if isinstance(value, dict):
        return {name: item for key, part in value.items() for name, item in _flat(part, f"{prefix}{key}.").items()}
    return {prefix[:-1]: value}
