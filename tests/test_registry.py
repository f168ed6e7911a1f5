"""Family tables and parameters: every way to give a parameter, and every way to give it wrong."""

import dataclasses
import importlib
import inspect

import pytest

from imgret.codebooks import CODEBOOKS
from imgret.encoders import ENCODERS
from imgret.errors import ImgretError, UsageError, bounded, listed, one_line, quoted
from imgret.evaluation import PROTOCOLS
from imgret.extractors import EXTRACTORS
from imgret.indexes import INDEXES
from imgret.registry import PLACE, SAMPLING, SPACE, Params, load, param

TABLES = {"extractor": EXTRACTORS, "codebook": CODEBOOKS, "encoder": ENCODERS, "index": INDEXES, "protocol": PROTOCOLS}


@dataclasses.dataclass(frozen=True)
class Sample(Params):
    """One field of every sort."""

    size: int = param(64, "words", minimum=1)
    level: int = param(3, "a level", minimum=0, maximum=9)
    most: int = param(3, "a bound from above", maximum=9)
    power: float = param(0.5, "an exponent", above=0)
    share: float = param(0.5, "a share", minimum=0, maximum=1)
    name: str = param("a", "a choice", choices=("a", "b"), role=SAMPLING)
    flag: bool = param(False, "a switch")
    bins: tuple[float, ...] = param((4.0, 6.0), "sizes", minimum=1)
    steps: tuple[str, ...] = param(("l2",), "steps", choices=("l2", "intra"))
    limit: int | None = param(None, "a limit", minimum=1)


@dataclasses.dataclass(frozen=True)
class Nothing(Params):
    """No field."""


@pytest.mark.parametrize(
    ("setting", "name", "value"),
    [
        ("size=3", "size", 3),
        (" size = 3 ", "size", 3),
        ("power=2", "power", 2.0),
        ("power=1e-3", "power", 0.001),
        ("name=b", "name", "b"),
        ("flag=yes", "flag", True),
        ("flag=Off", "flag", False),
        ("bins=1,2.5", "bins", (1.0, 2.5)),
        ("bins=", "bins", ()),
        ("steps=intra, l2", "steps", ("intra", "l2")),
        ("limit=none", "limit", None),
        ("limit=7", "limit", 7),
    ],
)
def test_parse(setting, name, value):
    params = Sample.parse([setting])
    assert getattr(params, name) == value
    assert type(getattr(params, name)) is type(value)
    assert params == dataclasses.replace(Sample(), **{name: value})
    assert Sample.from_json(params.to_json()) == params


LISTED = "size, level, most, power, share, name, flag, bins, steps, limit"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["size"], "--set takes NAME=VALUE, got 'size'"),
        (["=3"], f"this method has no parameter ``; it has: {LISTED}"),
        (["words=3"], f"this method has no parameter `words`; it has: {LISTED}"),
        (["size=3", "size=4"], "`size` is given twice"),
        (["size=3.0"], "`size` must be an integer, got '3.0'"),
        (["size="], "`size` must be an integer, got ''"),
        (["size=0"], "`size` must be a positive integer, got 0"),
        (["level=10"], "`level` must be an integer from 0 to 9, got 10"),
        (["most=10"], "`most` must be an integer of at most 9, got 10"),
        (["power=0"], "`power` must be a number above 0, got 0.0"),
        (["power=x"], "`power` must be a number, got 'x'"),
        (["power=inf"], "`power` must be a number above 0, got inf"),
        (["share=1.5"], "`share` must be a number from 0 to 1, got 1.5"),
        (["share=nan"], "`share` must be a number from 0 to 1, got nan"),
        (["name=c"], "`name` must be one of a, b, got 'c'"),
        (["flag=maybe"], "`flag` must be true or false, got 'maybe'"),
        (["bins=3,0"], "`bins` must be a number of at least 1, got 0.0"),
        (["bins=3,x"], "`bins` must be a number, got 'x'"),
        (["steps=l2,l1"], "`steps` must be one of l2, intra, got 'l1'"),
        (["limit=0"], "`limit` must be a positive integer, got 0"),
        (["limit=nil"], "`limit` must be an integer, got 'nil'"),
    ],
)
def test_parse_refuses(settings, message):
    with pytest.raises(UsageError) as caught:
        Sample.parse(settings)
    assert (str(caught.value), caught.value.exit_code) == (message, 2)


def test_options_of_their_own():
    assert Sample.parse([], size=5, level=None).size == 5
    with pytest.raises(UsageError, match=r"^`size` is given twice$"):
        Sample.parse(["size=4"], size=5)
    with pytest.raises(UsageError, match=r"^this method takes no `seed`; it has none$"):
        Nothing.parse([], seed=5)
    with pytest.raises(UsageError, match=r"^this method has no parameter `x`; it has none$"):
        Nothing.parse(["x=5"])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"words": 3}, "the file has parameters that this imgret does not know (['words']): upgrade imgret"),
        ([1], "the file has parameters that this imgret does not know ([1]): upgrade imgret"),
        ({"size": "3"}, "the file records a parameter that cannot be right: `size` must be a positive integer, got '3'"),
        ({"size": True}, "the file records a parameter that cannot be right: `size` must be a positive integer, got True"),
        ({"flag": 1}, "the file records a parameter that cannot be right: `flag` must be true or false, got 1"),
        ({"bins": 3}, "the file records a parameter that cannot be right: `bins` must be a list of values, got 3"),
        ({"name": ["a"]}, "the file records a parameter that cannot be right: `name` must be a word, got ('a',)"),
    ],
)
def test_from_json_refuses(data, message):
    with pytest.raises(ImgretError) as caught:
        Sample.from_json(data)
    assert (str(caught.value), caught.value.exit_code) == (message, 1)


def test_space_is_what_changes_the_meaning():
    assert "name" not in Sample().space()
    assert Sample().space()["bins"] == [4.0, 6.0]
    assert set(Sample().to_json()) - set(Sample().space()) == {"name"}


@pytest.mark.parametrize("family", TABLES)
def test_every_entry_of_every_table_is_a_component(family):
    for name in TABLES[family]:
        kind = load(TABLES[family], name, family)
        assert kind.name == name
        assert inspect.getdoc(kind)
        if family != "protocol":
            assert isinstance(kind.version, int)
            assert kind.Params() == kind.Params.from_json(kind.Params().to_json()) if name != "factory" else True
            for field in dataclasses.fields(kind.Params):
                assert not hasattr(Params, field.name)  # it would hide a method
                assert field.metadata["role"] in (SPACE, SAMPLING, PLACE)
                assert field.metadata["help"]
    with pytest.raises(UsageError) as caught:
        load(TABLES[family], "nothing", family)
    assert str(caught.value) == f"there is no {family} 'nothing'; choose one of: {', '.join(TABLES[family])}"


def test_tables_do_not_import_what_they_name():
    for module in ("codebooks", "encoders", "extractors", "indexes"):
        table = importlib.import_module(f"imgret.{module}")
        assert all(value.startswith(f"imgret.{module}.") for name, value in vars(table)[module.upper()].items())


def test_one_line_leaves_no_control_character():
    assert one_line("a\nb\tc\x1b[31m\x7f\x85é\udcff×") == "a\\x0ab\\x09c\\x1b[31m\\x7f\\x85é\udcff×"
    assert one_line("\u202eabc\u2028\ud800\udc9bé\u200d") == "\\u202eabc\\u2028\\ud800\\x9bé\u200d"


def test_what_is_quoted_from_a_file_is_cut():
    assert quoted("a" * 120) == "a" * 120
    assert quoted("a" * 121) == "a" * 120 + "..."
    assert quoted("\n" * 10**6) == "\\x0a" * 30 + "..."
    assert quoted(["x" * 200]).startswith("['xxx")
    assert len(quoted({"a": list(range(10**5))})) == 123
    assert listed(["a", "b\t"]) == "a, b\\x09"
    assert listed([*"abcdefg"]) == "a, b, c, d, e, ..."
    assert str(ImgretError("m" * 3000)) == bounded("m" * 3000) == "m" * 1000 + " ... " + "m" * 1000
    assert str(UsageError("short")) == "short"
