"""Pickles from strangers, as data: plain containers, numbers, text and NumPy arrays. Nothing in them is ever called.

A pickle is a program. It is run here by a machine of its own that can do nothing but build such data, and that counts what it builds: a few
bytes could otherwise stand for gigabytes, or for dicts that take hours.
"""

import sys

from imgret.errors import ImgretError
from imgret.formats import files, opcodes
from imgret.formats.standins import Array, Dtype, Forbidden, Global, check_keys, named

LIMIT = 64 << 20  # bytes of a file
GROWTH, SPARE = 32, 16 << 20  # what is built may take so many times the file's size, and as many bytes more
_CONTAINERS = 1 << 21
_STEPS = 1 << 25
_LEFT_OUT = 1024  # numbers of the memo that may be


def load(path):
    """What a pickle holds: dicts, lists, tuples, sets, str, bytes, numbers, None; of arrays what `plain` takes.

    NumPy's numbers are Python's, `OrderedDict` and `defaultdict` are dicts. Keys and members of sets are text or whole numbers.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    object

    Raises
    ------
    ImgretError
        If the file asks for anything but data or for more than a file of its size can mean, is damaged, or is no pickle. Nothing has then
        been run.
    """
    data = files.read_bytes(path, LIMIT)
    try:
        return _Machine(len(data)).run(data)
    except Forbidden as forbidden:
        what = f"it is a pickle that asks for {forbidden}; only plain data and NumPy arrays are read"
        raise ImgretError(f"{path} is refused: {what}") from None
    except Exception as error:  # noqa: BLE001 - a machine run by a stranger's program raises anything
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise ImgretError(f"{path} is not a pickle that can be read ({reason})") from None


def plain(value):
    """An array of a pickle as Python has it, in lists; anything else as it is."""
    return value.values.tolist() if isinstance(value, Array) else value


class _Machine:
    """The pickle machine, without anything that leads out of it."""

    def __init__(self, size):
        self._stack, self._marks, self._memo = [], [], []
        self._left, self._containers = GROWTH * size + SPARE, 0

    def run(self, data):
        """What the program leaves."""
        at, end = 0, len(data)
        for _ in range(_STEPS):
            if at >= end:
                raise ValueError("pickle exhausted before seeing STOP")
            read, act = _TABLE[data[at]]
            at += 1
            if read is None:
                argument = at
            else:
                argument, at = read(data, at)
            if act is None:
                return self._stack.pop()
            act(self, argument)
        raise Forbidden(f"more than {_STEPS} steps")

    # what those that stand in need

    def spend(self, size):
        """Count bytes that are about to be, or have just been, set aside."""
        self._left -= size
        if self._left < 0:
            raise Forbidden("more memory than a file of its size can need")

    def latin(self, raw):
        """The bytes that a pickle has as text."""
        if isinstance(raw, str):
            self.spend(len(raw))
            return raw.encode("latin1")
        return raw

    def filled(self, target, items):
        """A dict with more items: keys and values in turn."""
        keys = items[::2]
        if not isinstance(target, dict) or len(items) % 2:
            raise ValueError("items of what is no dict")
        check_keys(keys)
        return self._grown(target, dict.update, zip(keys, items[1::2], strict=True))

    # what the words do

    def push(self, value):
        self.spend(sys.getsizeof(value))
        self._stack.append(value)

    def container(self, value):
        self._containers += 1
        if self._containers > _CONTAINERS:
            raise Forbidden(f"more than {_CONTAINERS} containers")
        self.push(value)

    def remembered(self, number):
        self._stack.append(self._memo[number])

    def remember(self, name, number):
        # a list is made as long as the largest number says
        if not 0 <= number <= len(self._memo) + _LEFT_OUT:
            raise Forbidden(f"memory it does not use ({name} {number})")
        if number >= len(self._memo):
            self.spend(8 * (number + 1 - len(self._memo)))
            self._memo.extend([None] * (number + 1 - len(self._memo)))
        self._memo[number] = self._stack[-1]

    def memoize(self, _):
        self._memo.append(self._stack[-1])

    def mark(self, _):
        self._marks.append(len(self._stack))

    def since_mark(self, _=None):
        start = self._marks.pop()
        items = self._stack[start:]
        del self._stack[start:]
        return items

    def pop(self, _):
        at_mark = self._marks and self._marks[-1] >= len(self._stack)
        (self._marks if at_mark else self._stack).pop()

    def duplicate(self, _):
        self._stack.append(self._stack[-1])

    def tuple_of(self, count):
        items = self._stack[-count:]
        del self._stack[-count:]
        self.container(tuple(items))

    def append(self, _):
        value = self._stack.pop()
        self._extended(self._stack[-1], [value])

    def appends(self, _):
        items = self.since_mark()
        self._extended(self._stack[-1], items)

    def set_item(self, _):
        items = self._stack[-2:]
        del self._stack[-2:]
        self.filled(self._stack[-1], items)

    def set_items(self, _):
        items = self.since_mark()
        self.filled(self._stack[-1], items)

    def add_items(self, _):
        members = self.since_mark()
        if not isinstance(self._stack[-1], set):
            raise ValueError("members of what is no set")
        check_keys(members)
        self._grown(self._stack[-1], set.update, members)

    def named(self, names):
        self._stack.append(named(*names))

    def named_on_stack(self, _):
        name, module = self._stack.pop(), self._stack.pop()
        if not isinstance(module, str) or not isinstance(name, str):
            raise ValueError("a name that is no text")
        self._stack.append(named(module, name))

    def reduce(self, _):
        arguments, called = self._stack.pop(), self._stack.pop()
        if not isinstance(called, Global) or not isinstance(arguments, tuple):
            raise ValueError("a call of what is nothing to call")
        self.container(called.call(self, *arguments))

    def build(self, _):
        state, target = self._stack.pop(), self._stack[-1]
        if not isinstance(target, Array | Dtype):
            raise Forbidden("an object (BUILD)")
        target.build(self, state)

    def _extended(self, target, items):
        if not isinstance(target, list):
            raise ValueError("items of what is no list")
        self._grown(target, list.extend, items)

    def _grown(self, target, grow, items):
        before = sys.getsizeof(target)
        grow(target, items)
        self.spend(sys.getsizeof(target) - before)
        return target


def _frozen(machine):
    members = machine.since_mark()
    check_keys(members)
    return frozenset(members)


def _remember_by(name):
    return lambda machine, number: machine.remember(name, number)


def _version(_, version):
    if version > 5:
        raise ValueError(f"unsupported pickle protocol: {version}")


def _forbid(name):
    def refuse(machine, _):
        raise Forbidden(f"an object ({name})")

    return refuse


def _unknown(machine, at):
    raise ValueError(f"it has no instruction at byte {at - 1}")


# What the machine may be told. Left out: all that makes an object of a class's own (NEWOBJ, INST, OBJ), persistent ids, extension codes,
# buffers out of band. GLOBAL, REDUCE and BUILD are what arrays are made of.
_ACTIONS = {
    **dict.fromkeys(opcodes.VALUES, _Machine.push),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _Machine.remembered),
    **{name: _remember_by(name) for name in ("PUT", "BINPUT", "LONG_BINPUT")},
    "PROTO": _version,
    "FRAME": lambda machine, size: None,
    "STOP": None,
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "EMPTY_LIST": lambda machine, _: machine.container([]),
    "EMPTY_DICT": lambda machine, _: machine.container({}),
    "EMPTY_SET": lambda machine, _: machine.container(set()),
    "LIST": lambda machine, _: machine.container(machine.since_mark()),
    "TUPLE": lambda machine, _: machine.container(tuple(machine.since_mark())),
    "DICT": lambda machine, _: machine.container(machine.filled({}, machine.since_mark())),
    "FROZENSET": lambda machine, _: machine.container(_frozen(machine)),
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "MARK": _Machine.mark,
    "POP": _Machine.pop,
    "POP_MARK": _Machine.since_mark,
    "DUP": _Machine.duplicate,
    "MEMOIZE": _Machine.memoize,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.appends,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "ADDITEMS": _Machine.add_items,
    "GLOBAL": _Machine.named,
    "STACK_GLOBAL": _Machine.named_on_stack,
    "REDUCE": _Machine.reduce,
    "BUILD": _Machine.build,
}
_READERS = opcodes.VALUES | opcodes.ARGUMENTS
_TABLE = [(None, _unknown)] * 256
for _code, _name in opcodes.NAMES.items():
    _TABLE[_code] = (_READERS.get(_name), _ACTIONS.get(_name, _forbid(_name)))
