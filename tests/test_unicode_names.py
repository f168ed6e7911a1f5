"""Names that are one text in two Unicode forms: told of wherever they keep things from matching, and matched where that is asked for."""

import json
import os
import threading
import unicodedata

import numpy as np
import pytest
from helpers import call, failures, photo
from helpers import stores as small_stores

from imgret.errors import UsageError
from imgret.evaluation import PROTOCOLS
from imgret.evaluation.forms import differing
from imgret.formats.lists import RankedLists
from imgret.names import Speller, composed, to_bytes
from imgret.registry import load

NFC, NFD = (lambda text, form=form: to_bytes(unicodedata.normalize(form, text)) for form in ("NFC", "NFD"))
NAMES = ["été/é1.jpg", "été/é2.jpg", "été/é3.jpg", "Ångström/ö1.jpg", "Ångström/ö2.jpg", "plain/x1.jpg", "plain/x2.jpg"]
GROUPS = {"été": 3, "Ångström": 2, "plain": 2}


def ranking(query=NFC, gallery=NFC, label="run"):
    """Perfect lists."""
    group = [name.partition("/")[0] for name in NAMES]
    order = [sorted(range(len(NAMES)), key=lambda other, own=own: (group[other] != group[own], other)) for own in range(len(NAMES))]
    names = [query(name) for name in NAMES]
    return RankedLists(label, names, list(names), [gallery(name) for name in NAMES], np.array(order))


def truth_of(name, folder, spell):
    """A ground truth of each protocol that has one, in a Unicode form."""
    groups = {}
    for each in NAMES:
        groups.setdefault(each.partition("/")[0], []).append(spell(each))
    short = lambda each: each.rpartition(b"/")[2].partition(b".")[0]  # noqa: E731 - as ground truths of Oxford write names
    path = folder / "truth"
    if name == "groups":
        rows = [b"%b,g%d" % (each, number) for number, group in enumerate(groups.values()) for each in group]
        path.write_bytes(b"\n".join([b"image,group", *rows]))
    elif name == "qrels":
        lines = [(one, other) for group in groups.values() for one in group for other in group if one != other]
        quoted = [b"%b 0 %b 1" % tuple("".join(f"%{byte:02x}" for byte in each).encode() for each in line) for line in lines]
        path.write_bytes(b"\n".join(quoted))
    elif name == "pairs":
        lines = [b"%b,%b" % (one, other) for group in groups.values() for one in group for other in group if one != other]
        path.write_bytes(b"\n".join([b"query,reference", *lines]))
    elif name == "places":
        rows = [b"%b,%d,0" % (each, 1000 * number) for number, group in enumerate(groups.values()) for each in group]
        path.write_bytes(b"\n".join([b"image,east,north", *rows]))
    elif name == "folders":
        path.write_bytes(b"\n".join(spell(each) for each in NAMES))
    elif name.startswith("r"):
        queries, gallery = [short(group[0]).decode() for group in groups.values()], [short(spell(each)).decode() for each in NAMES]
        own = [[gallery.index(short(each).decode()) for each in group[1:]] for group in groups.values()]
        entries = [{"bbx": [0, 0, 9, 9], "easy": ids, "hard": [], "junk": []} for ids in own]
        path = folder / "truth.json"
        path.write_text(json.dumps({"qimlist": queries, "imlist": gallery, "gnd": entries}, ensure_ascii=False), encoding="utf-8")
    else:
        path.mkdir()
        for number, group in enumerate(groups.values()):
            (path / f"q{number}_1_query.txt").write_bytes(b"oxc1_%b 0 0 9 9" % short(group[0]))
            for kind in ("good", "ok", "junk"):
                (path / f"q{number}_1_{kind}.txt").write_bytes(b"\n".join(map(short, group)) if kind == "good" else b"")
    return path


WITH_TRUTH = ["groups", "qrels", "places", "folders", "roxford5k", "rparis6k", "oxford5k", "paris6k", "pairs"]


def lists_for(name, *forms):
    lists = ranking(*forms)
    if name != "pairs":
        return lists
    scores = np.tile(np.linspace(1, 0, len(NAMES), dtype=np.float32), (len(NAMES), 1))
    return RankedLists(lists.label, lists.query_names, lists.query_ids, lists.names, lists.ids, scores)


def judged(name, lists, truth, **options):
    kind = load(PROTOCOLS, name, "protocol")
    return kind(kind.Params(), **options).judge(lists, truth).result()


def test_every_protocol_is_here_or_needs_it_not():
    digits = {"ukbench", "holidays", "copydays"}
    assert set(PROTOCOLS) == {*WITH_TRUTH, *digits}


@pytest.mark.parametrize("name", WITH_TRUTH)
@pytest.mark.parametrize(("query", "gallery", "truth"), [(NFD, NFD, NFC), (NFC, NFC, NFD), (NFC, NFD, NFC), (NFD, NFC, NFC)])
def test_matched_on_request(tmp_path, name, query, gallery, truth):
    path = truth_of(name, tmp_path, truth)
    same = judged(name, lists_for(name, truth, truth), path)
    assert "Unicode" not in str([same.warnings, same.conventions])
    found = judged(name, lists_for(name, query, gallery), path, normalize_names=True)
    assert found.measures == pytest.approx(same.measures)
    assert found.queries == same.queries
    first = min(name for spell in (query, gallery) for name in map(spell, NAMES) if name not in map(truth, NAMES))
    assert found.warnings[0] == (
        "5 names of the ranking differ from the ground truth's only in the Unicode form, NFC or NFD "
        f"(the first is '{first.decode()}'): they are matched"
    )
    assert found.warnings[1:] == same.warnings
    assert found.conventions["names"] == same.conventions["names"] + "; names that differ only in their Unicode form (NFC, NFD) match"


@pytest.mark.parametrize("name", WITH_TRUTH)
def test_told_of_without(tmp_path, name):
    path = truth_of(name, tmp_path, NFC)
    result = judged(name, lists_for(name, NFD, NFD), path)
    assert result.warnings[0] == (
        "5 names of the ranking differ from the ground truth's only in the Unicode form, NFC or NFD (the first is "
        f"'{NFD(NAMES[3]).decode()}'): give --normalize-names to match them"
    )


def test_told_of_where_nothing_else_is_shared(tmp_path):
    path, out = tmp_path / "truth.csv", tmp_path / "run.trec"
    path.write_bytes(b"image,group\n" + b"".join(NFC(each) + b",a\n" for each in NAMES[:3]))
    field = ["".join(f"%{byte:02X}" for byte in NFD(each)) for each in NAMES[:3]]
    out.write_text("".join(f"{one} Q0 {other} {rank} {9 - rank} x\n" for one in field for rank, other in enumerate(field, 1)))
    result = call("evaluate", out, "--protocol", "groups", "--truth", path, "--json")
    assert result.code == 1
    assert result.err.endswith(
        "; 3 names of the ranking differ from the ground truth's only in the Unicode form, NFC or NFD (the first is "
        f"'{NFD(NAMES[0]).decode()}'): give --normalize-names to match them\n"
    )
    result = call("evaluate", out, "--protocol", "groups", "--truth", path, "--json", "--normalize-names", "--resamples", 0)
    assert result.code == 0
    answer = json.loads(result.out)
    assert answer["runs"][0]["measures"]["map"] == 1
    assert answer["conventions"]["names"].endswith("Unicode form (NFC, NFD) match")
    assert "they are matched" in result.err


def test_a_pipe_is_read_once(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    text = b"image,group\n" + b"".join(NFC(each) + b",a\n" for each in NAMES[:3])
    writer = threading.Thread(target=pipe.write_bytes, args=(text,), daemon=True)
    writer.start()
    assert judged("groups", ranking(), pipe).measures["map"] == 1
    writer.join(10)
    with pytest.raises(UsageError, match="--normalize-names reads --truth twice: give a file, not a pipe"):
        judged("groups", ranking(), pipe, normalize_names=True)


def test_a_photo_of_each_form_is_two_photos(tmp_path):
    """Where both are there, none is taken for the other."""
    names = [NFC("é.jpg"), NFD("é.jpg"), b"a.jpg"]
    lists = RankedLists("run", [b"a.jpg"], [b"a.jpg"], names, np.array([[1, 0, 2]]))
    assert differing(lists, lambda: [NFC("é.jpg"), b"a.jpg"], lambda name: (name,)).names == []
    path = tmp_path / "t.csv"
    path.write_bytes(b"image,group\na.jpg,a\n" + NFC("é.jpg") + b",a\n")
    assert judged("groups", lists, path, normalize_names=True).measures["map"] == 0.5


def test_names_without_accents_cost_nothing():
    lists = RankedLists("run", [b"a"], [b"a"], [b"a", b"b"], np.array([[1, 0]]))
    assert differing(lists, lambda: pytest.fail("the ground truth was read again"), lambda name: (name,)).lists is lists


def test_spelling():
    spell = Speller([NFC("été/é.jpg"), NFC("ö"), b"\xff\xc3\xa9"])
    assert spell(NFD("été/é.jpg")) == NFC("été/é.jpg")
    assert spell(NFD("ö.png")) == NFC("ö") + b".png"
    assert spell(NFC("ö.png")) == NFC("ö.png")
    assert spell(b"\xffe\xcc\x81") == b"\xff\xc3\xa9"  # what is not UTF-8 stays beside what is
    assert composed(b"\xff\xfe") == b"\xff\xfe"
    assert spell(b"other") == b"other"


def test_files_of_lists_are_found_in_either_form(tmp_path):
    """A file system chooses the form of the names in it."""
    path, folder = tmp_path / "t.csv", tmp_path / "lists"
    path.write_bytes(b"image,group\n" + b"".join(NFC(each) + b",a\n" for each in ("é.jpg", "ö.jpg")))
    folder.mkdir()
    (folder / os.fsdecode(NFD("é.jpg") + b".txt")).write_bytes(NFC("ö.jpg") + b"\n")
    result = call("evaluate", folder, "--protocol", "groups", "--truth", path, "--json", "--resamples", 0)
    assert json.loads(result.out)["runs"][0]["measures"]["map"] == 1
    assert "1 files of lists are called as their queries only in another Unicode form (NFC, NFD)" in result.err


def test_boxes(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("é.png", "ö.png", "plain.png"):
        photo(os.fsencode(photos) + b"/" + NFD(name))
    (tmp_path / "b.csv").write_bytes(
        b"image,x1,y1,x2,y2\n" + b"".join(NFC(name) + b",5,5,99,99\n" for name in ("é.png", "ö.png", "plain.png"))
    )
    first = NFC("é.png").decode()
    result = call("extract", photos, "--boxes", tmp_path / "b.csv", "-o", tmp_path / "f.h5", "-j1")
    assert (
        f"2 of 3 boxes in {tmp_path / 'b.csv'} are left out: their photos are not among those given (for example '{first}'); "
        "2 of these photos are there under a name that differs only in its Unicode form, NFC or NFD "
        f"(the first is '{first}'): write the boxes' names as the photos have them\n"
    ) in result.err


def test_lists_of_photos(tmp_path):
    photo(os.fsencode(tmp_path) + b"/" + NFD("é.png"))
    photo(os.fsencode(tmp_path) + b"/a.png")
    (tmp_path / "list.txt").write_bytes(b"".join(os.fsencode(tmp_path) + b"/" + name + b"\n" for name in (NFC("é.png"), b"a.png")))
    assert call("extract", "--list", tmp_path / "list.txt", "-o", tmp_path / "f.h5", "-j1", "--max-failed", 1).code == 0
    assert (
        "it cannot be read: No such file or directory (there is one whose name differs only in its Unicode form, which is NFD there)"
        == failures(tmp_path / "f.h5").popitem()[1][1]
    )
    result = call("search", small_stores().index, "--list", tmp_path / "list.txt")
    assert "(there is one whose name differs only in its Unicode form, which is NFD there)" in result.err
