"""The report page in a real browser: what it shows, its controls and keys, and that it asks nobody for anything."""

import dataclasses
import os
import re
import shutil
import socket

import numpy as np
import pages
import pytest
from helpers import call, photo

from imgret.html import page as page_module
from imgret.html.contract import Answer
from imgret.html.links import link
from imgret.names import to_text

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
CONTRAST = """(selectors) => {
  const parse = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const colour = parse(getComputedStyle(node).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
  };
  return selectors.flatMap((selector) => [...document.querySelectorAll(selector)].map((node) => {
    const [a, b] = [light(parse(getComputedStyle(node).color)), light(behind(node))].sort((x, y) => y - x);
    return [selector, (a + 0.05) / (b + 0.05)];
  }));
}"""

BREAK = """async (address) => {
  const seen = [];
  const all = new Promise((resolve) => {
    addEventListener("securitypolicyviolation", (event) => { if (seen.push(event.effectiveDirective) === 4) resolve(); });
  });
  new Image().src = address + "photo.jpg";
  fetch(address).catch(() => null);
  const script = document.createElement("script");
  script.textContent = "window.ran = true";
  document.body.append(script);
  document.body.setAttribute("style", "color: red");
  await Promise.race([all, new Promise((resolve) => setTimeout(resolve, 10000))]);
  return [seen.sort(), window.ran ?? false];
}"""


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    return pages.made(tmp_path_factory.mktemp("one"), pages.one_run())


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    return pages.made(tmp_path_factory.mktemp("two"), pages.two_runs())


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A page of 130 queries."""
    queries = [pages.query(f"q{i}", i % 6, pages.results([1, 2], _=pages.judgement(i / 200, "hm"))) for i in range(130)]
    return pages.made(tmp_path_factory.mktemp("many"), dataclasses.replace(pages.one_run(), queries=queries))


def cards(tab):
    """Names of the queries that are shown."""
    return tab.locator(".card h2").all_text_contents()  # not the inner text: the browser skips what is far away


def focused(tab):
    """What has the keyboard."""
    return tab.evaluate("document.activeElement.getAttribute('aria-label') ?? document.activeElement.tagName")


def texts(tab, selector):
    return tab.locator(selector).all_inner_texts()


# --- what is shown


def test_the_head_of_the_page(show, one):
    tab = show(one)
    assert tab.title() == "a report"
    assert texts(tab, "h1, #about, #note, #warnings li") == [
        "a report",
        "protocol groups · 5 queries · 6 photos shown",
        "A note.",
        "the lists are short",
    ]
    assert texts(tab, "#summary tr") == ["measure\trootsift", "map\t0.5000", "queries\t5"]
    tab.click("#conventions summary")
    assert texts(tab, "#conventions dt, #conventions dd") == ["ap", "finite sum", "query", "taken out"]
    assert texts(tab, "#legend span") == ["✓\nhit", "✗\nmiss", "∅\njunk", "◎\nquery photo"]
    assert tab.locator("noscript").is_hidden()


def test_the_curve_has_axes_and_a_legend(show, one):
    tab = show(one)
    assert tab.locator("#curves svg[role=img]").get_attribute("aria-label") == "Precision over recall: rootsift"
    ticks = ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]
    assert sorted(tab.locator("#curves text").all_text_contents()) == sorted([*ticks, *ticks, "recall", "precision"])
    assert texts(tab, "#curves .lines li") == ["rootsift"]
    points = [tuple(map(float, point.split(","))) for point in tab.locator("#curves polyline").get_attribute("points").split()]
    assert len(points) == 101
    (left, top), (right, bottom) = points[0], points[-1]
    assert (left, top, right) == (44, 10, 440)
    assert bottom == pytest.approx(10 + 236 / 2, abs=0.1)


def test_a_card(show, one):
    tab = show(one)
    assert cards(tab) == ["bridge_10", "tower", "abbey", "bridge_2", "crop"]
    first = tab.locator(".card").first
    assert first.locator(".facts p").all_inner_texts() == ["0.png", "AP 0.7500", "1 of 2 found", "first hit at 1"]
    assert [tile.get_attribute("aria-label") for tile in first.locator(".tile").all()] == [
        "query photo 0.png",
        "rank 1, query photo, score 0.9, 0.png",
        "rank 2, hit, score 0.8, 1.png",
        "rank 3, miss, score 0.7, 2.png",
    ]
    assert first.locator(".strip .line").all_inner_texts() == ["1\n◎", "2\n✓", "3\n✗"]
    styles = first.locator(".strip .tile").evaluate_all("tiles => tiles.map(tile => getComputedStyle(tile).borderTopStyle)")
    assert styles == ["double", "solid", "dashed"]
    third = tab.locator(".card").nth(1).locator(".strip .tile").nth(1)
    assert third.evaluate("tile => getComputedStyle(tile).borderTopStyle") == "dotted"
    assert tab.locator(".card").nth(2).locator(".facts p").all_inner_texts()[-1] == "no hit"
    assert tab.locator(".card").nth(3).locator(".facts").inner_text().split("\n")[-1] == "not evaluated"


def test_photos_are_decoded_from_the_page(show, one):
    tab = show(one, height=3000)
    playwright.expect(tab.locator("img[data-photo]")).to_have_count(0)
    sizes = tab.locator(".card img").evaluate_all(
        "async images => { for (const i of images) await i.decode(); return images.map(i => i.naturalWidth); }"
    )
    assert sizes == [160] * (4 + 4 + 4 + 3 + 2)


def test_the_box_lies_where_it_was_drawn(show, one):
    tab = show(one)
    box = tab.locator(".card").first.locator(".query svg")
    assert box.get_attribute("viewBox") == "0 0 160 120"
    rectangle = box.locator("rect").last
    assert [rectangle.get_attribute(name) for name in ("x", "y", "width", "height")] == ["10", "10", "50", "50"]
    tile, drawn = tab.locator(".card .tile").first.bounding_box(), rectangle.bounding_box()
    factor = (tile["width"] - 2) / 160  # a photo of 160 × 120 fills the tile within its border
    assert drawn["x"] - tile["x"] == pytest.approx(1 + 10 * factor, abs=3)
    assert drawn["width"] == pytest.approx(50 * factor, abs=5)
    assert tab.locator(".card").nth(1).locator(".query svg").count() == 0


def test_score_and_judgement_are_seen_below_every_result(show, tmp_path):
    """With as many digits as fit; all of them where they are asked for."""
    answer = Answer([(1, 0.87654321), (2, -1234.5678), (3, None), (0, 1.0)], matches=["sure", None, "no match"])
    tab = show(pages.made(tmp_path, pages.contents(pages.names(4), [pages.run("a")], [pages.query("q", 0, answer)])))
    assert texts(tab, ".strip .score") == ["0.877 · sure", "-1235", "no match", "1.00"]
    assert tab.locator(".strip .score").first.get_attribute("title") == "0.876543"
    assert tab.locator(".strip .tile").first.get_attribute("aria-label") == "rank 1, score 0.876543, sure, 1.png"
    tab.locator(".strip .tile").first.click()
    assert texts(tab, "#large figcaption")[1] == "1.png\nrank 1 · score 0.876543 · sure · 160 × 120 pixels"


def test_a_photo_that_is_not_there_is_a_tile_with_its_name(show, tmp_path):
    contents = pages.contents(["none.png", "0.png"], [pages.run("a")], [pages.query("q", 0, pages.results([1, 0]), box=[0, 0, 5, 5])])
    photo(tmp_path / "0.png")
    tab = show(pages.made(tmp_path, contents, roots=[tmp_path]))
    assert texts(tab, ".tile .absent") == ["none.png", "none.png"]
    tab.locator(".tile").first.click()
    assert texts(tab, "#large .absent, #large figcaption") == ["none.png", "none.png\nquery · no photo at hand"]


def test_a_search_without_a_protocol(show, tmp_path):
    contents = pages.contents(
        pages.names(2), [pages.run("index")], [pages.query("0.png", 0, pages.results([1])), pages.query("1.png", 1, pages.results([]))]
    )
    tab = show(pages.made(tmp_path, contents))
    for hidden in (
        "#failures-label",
        "#changed-label",
        "#gains-label",
        "[data-switch]",
        "#setting-label",
        "#legend",
        "#curves",
        "#conventions",
        "#summary table",
    ):
        assert not any(each.is_visible() for each in tab.locator(hidden).all()), hidden
    assert texts(tab, ".facts") == ["0.png", "1.png"]
    assert texts(tab, ".run p") == ["no result"]
    assert texts(tab, "#order option") == ["order of the queries", "name"]
    tab.keyboard.press("f")
    assert texts(tab, "#count") == ["2 of 2 queries shown"]


def test_a_page_without_queries(show, tmp_path):
    tab = show(pages.made(tmp_path, pages.contents([], [], [])))
    assert texts(tab, "#count, #cards") == ["0 of 0 queries shown", "No query is like that."]
    for key in ("j", "k", "o", "ArrowRight"):
        tab.keyboard.press(key)


# --- controls


def test_search_by_name(show, one):
    tab = show(one)
    tab.fill("#search", "BRIDGE")
    assert cards(tab) == ["bridge_10", "bridge_2"]
    assert texts(tab, "#count") == ["2 of 5 queries shown"]
    tab.fill("#search", "5.PNG")
    assert texts(tab, "#cards") == ["No query is like that."]
    tab.check("#results")
    assert cards(tab) == ["bridge_2", "crop"]
    tab.fill("#search", "")
    assert texts(tab, "#count") == ["5 of 5 queries shown"]


def test_only_failures(show, one):
    tab = show(one)
    assert texts(tab, "#failures-label") == ["only failures (first result that counts is no hit)"]
    tab.check("#failures")
    assert cards(tab) == ["tower", "abbey"]
    tab.fill("#search", "tower")
    assert texts(tab, "#count") == ["1 of 5 queries shown"]


def test_a_failure_beyond_what_is_shown(show, tmp_path):
    """Where all that is shown is junk or the query photo itself, the rank of the first hit decides."""
    runs = [pages.results([1], _=dataclasses.replace(pages.judgement(0.5, "j"), first_hit=first)) for first in (1, 2, None)]
    contents = pages.contents(pages.names(2), [pages.run("a")], [pages.query(f"q{i}", 0, run) for i, run in enumerate(runs)])
    tab = show(pages.made(tmp_path, contents))
    tab.check("#failures")
    assert cards(tab) == ["q1", "q2"]


@pytest.mark.parametrize(
    ("order", "wanted"),
    [
        ("name", ["abbey", "bridge_2", "bridge_10", "crop", "tower"]),
        ("AP, lowest first", ["abbey", "tower", "bridge_10", "crop", "bridge_2"]),
        ("AP, highest first", ["crop", "bridge_10", "tower", "abbey", "bridge_2"]),
        ("order of the queries", ["bridge_10", "tower", "abbey", "bridge_2", "crop"]),
    ],
)
def test_sorting(show, one, order, wanted):
    tab = show(one)
    tab.select_option("#order", label="name" if order != "name" else "AP, lowest first")
    tab.select_option("#order", label=order)
    assert cards(tab) == wanted


# --- two runs


def test_two_runs_are_compared(show, two):
    tab = show(two)
    assert texts(tab, "#summary tr") == [
        "measure\tbefore\tafter\tchange",
        "map\t0.5000\t0.6250\t+0.1250",
        "queries\t4\t4\t",
        "ns\t0.0000\t0.0000\t",
    ]
    assert texts(tab, "#comparison li") == ["after is above before by 0.1250 map."]
    first = tab.locator(".card").first
    assert first.locator(".run-head").all_inner_texts() == [
        "before\nAP 0.2500\n1 of 2 found\nfirst hit at 3",
        "after\nAP 0.7500\n1 of 2 found\nfirst hit at 1",
    ]
    assert first.locator(".gain").all_inner_texts() == ["AP ▲ +0.5000"]
    before, after = (strip.locator(".move").all_inner_texts() for strip in first.locator(".strip").all())
    assert before == ["▼1", "▼1", "▲2", "gone"]
    assert after == ["▲2", "▼1", "▼1", "new"]
    moved = first.locator(".strip").nth(1).locator("li").first
    assert moved.locator(".move").get_attribute("title") == "rank 3 in before, 1 in after"
    assert moved.locator(".tile").get_attribute("aria-label") == "rank 1, hit, score 0.9, ▲2, 3.png"
    assert tab.locator(".card").nth(1).locator(".move").all_inner_texts() == ["=", "=", "=", "="]
    assert tab.locator(".card").nth(1).locator(".gain").inner_text() == "AP = ±0.0000"
    assert tab.locator(".card").nth(3).locator(".run").nth(1).inner_text() == "after\n\nthis run has no such query"
    assert tab.locator(".card").nth(3).locator(".move, .gain").count() == 0


def test_only_changed_and_failures_of_two_runs(show, two):
    tab = show(two)
    tab.check("#changed")
    assert cards(tab) == ["gained", "lost", "only before"]
    tab.check("#failures")
    assert cards(tab) == ["gained", "lost"]
    assert texts(tab, "#failures-label") == ["only failures (first result that counts is no hit) in any run"]


def test_only_what_was_gained_or_lost(show, two):
    tab = show(two)
    assert tab.locator("#gains option").all_text_contents() == ["all", "better in after", "worse in after"]
    for label, wanted in (
        ("better in after", ["gained"]),
        ("worse in after", ["lost"]),
        ("all", ["gained", "same", "lost", "only before"]),
    ):
        tab.select_option("#gains", label=label)
        assert cards(tab) == wanted
    tab.select_option("#gains", label="worse in after")
    tab.select_option("#setting", "easy")
    assert cards(tab) == ["gained"]


@pytest.mark.parametrize(
    ("order", "wanted"),
    [
        ("AP of before, lowest first", ["only before", "gained", "same", "lost"]),
        ("AP of after, highest first", ["gained", "same", "lost", "only before"]),
        ("AP difference, lowest first", ["lost", "same", "gained", "only before"]),
        ("AP difference, highest first", ["gained", "same", "lost", "only before"]),
    ],
)
def test_sorting_two_runs(show, two, order, wanted):
    tab = show(two)
    tab.select_option("#order", label=order)
    assert cards(tab) == wanted


def test_another_setting(show, two):
    tab = show(two)
    assert tab.locator("#setting").input_value() == "medium"
    heights = []
    for setting in ("medium", "easy"):
        tab.select_option("#setting", setting)
        heights.append(tab.locator("#curves polyline").nth(1).get_attribute("points").split(",")[1].split()[0])
        assert tab.locator("#curves figcaption").inner_text() == f"Mean interpolated precision, {setting}"
    assert heights == ["69.0", "128.0"]
    first = tab.locator(".card").first
    assert [text.split("\n")[1] for text in first.locator(".run-head").all_inner_texts()] == ["AP 1.0000", "AP 0.5000"]
    assert first.locator(".gain").inner_text() == "AP ▼ −0.5000"
    assert tab.locator(".card").nth(1).locator(".run-head").all_inner_texts() == ["before\nnot evaluated", "after\nnot evaluated"]
    tab.select_option("#setting", "hard")
    assert tab.locator("#curves").is_hidden()
    assert tab.locator(".run-head", has_text="not evaluated").count() == 7
    tab.check("#failures")
    assert texts(tab, "#count") == ["0 of 4 queries shown"]


def test_three_runs_are_compared_with_the_first(show, tmp_path):
    contents = pages.contents(
        pages.names(4),
        [pages.run(label) for label in "abc"],
        [
            pages.query(
                "q", 0, *[pages.results(top, _=pages.judgement(ap, "hm")) for top, ap in (([1, 2], 0.5), ([2, 1], 0.75), ([3, 2], 0.25))]
            )
        ],
    )
    tab = show(pages.made(tmp_path, contents))
    assert [strip.locator(".move").all_inner_texts() for strip in tab.locator(".strip").all()] == [[], ["▲1", "▼1"], ["new", "="]]
    assert texts(tab, ".gain") == ["AP ▲ +0.2500 (b)", "AP ▼ −0.2500 (c)"]


# --- keys


def test_keys_move_between_queries_and_photos(show, one):
    tab = show(one)
    wanted = {"j": "bridge_10", "ArrowDown": "tower", "k": "bridge_10", "ArrowUp": "bridge_10"}
    for key, name in wanted.items():
        tab.keyboard.press(key)
        assert focused(tab) == f"query {name}"
    assert tab.evaluate("getComputedStyle(document.activeElement).boxShadow") != "none"
    for label in ("query photo 0.png", "rank 1, query photo, score 0.9, 0.png", "rank 2, hit, score 0.8, 1.png"):
        tab.keyboard.press("ArrowRight")
        assert focused(tab) == label
        assert tab.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    tab.keyboard.press("ArrowLeft")
    assert focused(tab) == "rank 1, query photo, score 0.9, 0.png"
    for _ in range(9):
        tab.keyboard.press("j")
    assert focused(tab) == "query crop"
    assert tab.evaluate("document.activeElement.getBoundingClientRect().bottom <= innerHeight")


def test_a_strip_is_one_stop_of_the_tab_key(show, one):
    tab = show(one)
    for key in ("j", "ArrowRight", "ArrowRight", "ArrowRight", "Tab"):
        tab.keyboard.press(key)
    assert focused(tab) == "query photo 1.png"
    for wanted in ("rank 2, hit, score 0.8, 1.png", "query photo 0.png"):
        tab.keyboard.press("Shift+Tab")
        assert focused(tab) == wanted


def test_search_has_a_key_and_takes_letters(show, one):
    tab = show(one)
    tab.keyboard.press("/")
    assert focused(tab) == "search by name"
    tab.keyboard.type("fj?k/o")
    assert tab.locator("#search").input_value() == "fj?k/o"
    assert not tab.locator("#failures").is_checked()
    tab.fill("#search", "bridge")
    tab.keyboard.press("Enter")
    assert focused(tab) == "query bridge_10"
    tab.keyboard.press("/")
    tab.keyboard.type("tower")  # in place of what was there
    assert cards(tab) == ["tower"]


def test_junk_is_hidden_by_a_key(show, one, two):
    tab = show(one)
    second = tab.locator(".card").nth(1)
    for wanted in (["1\n◎", "3\n✗"], ["1\n◎", "2\n∅", "3\n✗"]):
        tab.keyboard.press("h")
        assert second.locator(".strip .line").all_inner_texts() == wanted
    tab.check("#junk")
    for key in ("j", "j", "ArrowRight", "ArrowRight", "ArrowRight"):
        tab.keyboard.press(key)
    assert focused(tab) == "rank 3, miss, score 0.7, 2.png"
    tab = show(two)
    assert tab.locator("#junk-label").is_hidden()
    tab.keyboard.press("h")
    assert tab.locator(".strip .tile").count() == 17


def test_failures_have_a_key(show, one):
    tab = show(one)
    for wanted in (2, 5):
        tab.keyboard.press("f")
        assert len(cards(tab)) == wanted
    tab.keyboard.press("Control+f")
    assert len(cards(tab)) == 5


@pytest.mark.parametrize("key", ["o", "Enter", "click"])
def test_a_photo_is_shown_large(show, one, key):
    tab = show(one)
    for step in ("j", "ArrowRight", "ArrowRight", "ArrowRight"):
        tab.keyboard.press(step)
    if key == "click":
        tab.locator(".strip .tile").nth(1).click()
    else:
        tab.keyboard.press(key)
    assert tab.locator("#large").is_visible()
    assert texts(tab, "#large figcaption") == ["0.png\nquery · 160 × 120 pixels", "1.png\nrank 2, hit · score 0.8 · 160 × 120 pixels"]
    assert tab.locator("#large img").last.evaluate(
        "async image => { await image.decode(); return image.getBoundingClientRect().width > 300; }"
    )
    assert tab.locator("#large rect").count() == 2
    tab.keyboard.press("ArrowRight")
    assert texts(tab, "#large figcaption b") == ["0.png", "2.png"]
    tab.keyboard.press("j")  # the cards behind stay where they are
    tab.keyboard.press("Escape")
    assert tab.locator("#large").is_hidden()
    # a dialog tells that it is closed a moment later
    tab.wait_for_function("name => document.activeElement.getAttribute('aria-label') === name", arg="rank 3, miss, score 0.7, 2.png")


@pytest.mark.parametrize("key", ["o", "Enter"])
def test_a_query_is_shown_large_and_closed_by_the_mouse(show, one, key):
    tab = show(one)
    for way in ("button", "behind"):
        tab.keyboard.press("j")
        tab.keyboard.press(key)
        assert tab.locator("#large figure").count() == 1
        if way == "button":
            tab.click("#large .close")
        else:
            tab.mouse.click(3, 3)
        assert tab.locator("#large").is_hidden()


def test_the_keys_are_told(show, one):
    tab = show(one)
    for way in (lambda: tab.keyboard.press("?"), lambda: tab.click("#help")):
        way()
        assert tab.locator("#keys").is_visible()
        assert len(texts(tab, "#keys dt")) == 10
        tab.keyboard.press("f")
        tab.keyboard.press("Escape")
        assert tab.locator("#keys").is_hidden()
    assert len(cards(tab)) == 5


@pytest.mark.parametrize(("motion", "wanted"), [("reduce", "auto"), ("no-preference", "smooth")])
def test_motion_is_a_choice(show, one, motion, wanted):
    tab = show(one, reduced_motion=motion)
    tab.evaluate("() => { Element.prototype.scrollIntoView = (how) => { window.how = how.behavior; }; }")
    tab.keyboard.press("j")
    assert tab.evaluate("window.how") == wanted


# --- many queries


def test_cards_are_built_as_they_are_needed(show, many):
    tab = show(many)
    assert texts(tab, "#count") == ["130 of 130 queries shown"]
    assert len(cards(tab)) == 20
    assert tab.locator("img[data-photo]").count() > 0
    while len(cards(tab)) < 130:
        before = len(cards(tab))
        tab.evaluate("scrollTo(0, document.scrollingElement.scrollHeight)")
        tab.locator(".card").nth(before).wait_for(state="attached")
    assert cards(tab) == [f"q{i}" for i in range(130)]
    tab.select_option("#order", label="AP, highest first")
    assert cards(tab)[:3] == ["q129", "q128", "q127"]
    assert len(cards(tab)) < 130


def test_the_keyboard_reaches_all_cards(show, many):
    tab = show(many)
    for _ in range(60):
        tab.keyboard.press("j")
    assert focused(tab) == "query q59"


def test_paper_gets_all_cards(show, many):
    tab = show(many)
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    tab.emulate_media(media="print", color_scheme="dark")
    assert len(cards(tab)) == 130
    assert tab.locator("img[data-photo]").count() == 0
    assert tab.locator("#tools").is_hidden()
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert tab.evaluate("getComputedStyle(document.querySelector('.strip')).flexWrap") == "wrap"


# --- what was counted, boxes and matches


SHIFTED = np.array([[1, 0, 30], [0, 1, -20], [0, 0, 1]])


@pytest.fixture(scope="module")
def evident(tmp_path_factory):
    """A page of two queries, one with a box, whose first result was verified."""
    answer = Answer(
        [(1, 0.875), (2, 0.5), (3, 0.25)],
        matches=["sure"],
        evidence=["23 inliers", "1 inlier", None],
        maps=[SHIFTED, np.full((3, 3), np.nan)],
        points=[[10, 20, 40, 5, 100.5, 90, 130, 70, 60, 40, 90, 20]],
    )
    queries = [pages.query("boxed", 0, answer, box=[10, 40, 60, 90]), pages.query("whole", 4, answer)]
    contents = pages.contents(pages.names(5), [pages.run("index")], queries)
    return pages.made(tmp_path_factory.mktemp("evident"), contents)


def shapes(tab, place):
    return [shape.get_attribute("points") for shape in tab.locator(f"{place} polygon.box:not(.under)").all()]


def test_what_was_counted_is_seen(show, evident):
    tab = show(evident)
    assert texts(tab, ".card:first-child .strip .score") == ["0.875 · sure · 23 inliers", "0.500 · 1 inlier", "0.250"]
    tile = tab.locator(".strip .tile").first
    assert tile.get_attribute("aria-label") == "rank 1, score 0.875, sure, 23 inliers, 1.png"
    tile.click()
    assert texts(tab, "#large figcaption")[1] == "1.png\nrank 1 · score 0.875 · sure · 23 inliers · 160 × 120 pixels"


def test_boxes_are_drawn_where_the_query_lies(show, evident):
    """In the photo found and large: the corners as they were made, at the places of the thumbnail that stand for them."""
    tab = show(evident)
    assert shapes(tab, ".card:first-child") == ["40 20 90 20 90 70 40 70"]
    assert shapes(tab, ".card:last-child") == ["160 0 160 100 30 100 30 0"]  # all of the photo, clipped
    tile = tab.locator(".card .strip .tile").first
    assert tile.locator("svg").get_attribute("viewBox") == "0 0 160 120"
    at, drawn = tile.bounding_box(), tile.locator("polygon").last.bounding_box()
    inner = at["width"] - 8  # within the frame; a photo of 160 × 120 leaves room above and below
    assert drawn["x"] - at["x"] == pytest.approx(4 + inner * 40 / 160, abs=2)
    assert drawn["y"] - at["y"] == pytest.approx(4 + inner / 8 + inner * 20 / 160, abs=2)
    assert texts(tab, "#legend span") == ["where the query lies in the photo found"]
    tile.click()
    assert shapes(tab, "#large") == ["40 20 90 20 90 70 40 70"]
    assert tab.locator("#large rect.box").count() == 2


def place_in(tab, number, x, y):
    """Where a place of a photo of 160 × 120 is in the window, in the first or the second large photo."""
    frame = tab.locator("#large .large").nth(number).bounding_box()
    factor = min(frame["width"] / 160, frame["height"] / 120)
    left, top = frame["x"] + (frame["width"] - 160 * factor) / 2, frame["y"] + (frame["height"] - 120 * factor) / 2
    return pytest.approx((left + x * factor, top + y * factor), abs=1)


def middles(circles):
    return [(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2) for box in (each.bounding_box() for each in circles.all())]


@pytest.mark.parametrize("width", [360, 1280])
def test_matches_join_the_large_photos(show, evident, width):
    tab = show(evident, width=width)
    tab.locator(".strip .tile").first.click()
    playwright.expect(tab.locator("#large .links line")).to_have_count(3)
    for _ in range(2):
        wanted = []
        for x1, y1, x2, y2 in ((10, 20, 40, 5), (60, 40, 90, 20), (100.5, 90, 130, 70)):  # from left to right
            wanted += [place_in(tab, 0, x1, y1), place_in(tab, 1, x2, y2)]
        assert middles(tab.locator("#large .links circle")) == wanted
        assert len(set(tab.locator("#large .links line").evaluate_all("lines => lines.map(line => line.getAttribute('stroke'))"))) == 3
        width -= 60
        tab.set_viewport_size({"width": width, "height": 700})
        tab.wait_for_timeout(50)
    tab.keyboard.press("ArrowRight")  # nothing was found there
    assert tab.locator("#large .links").count() == 0
    tab.keyboard.press("ArrowLeft")
    assert tab.locator("#large .links line").count() == 3
    tab.keyboard.press("ArrowLeft")  # the query alone
    assert tab.locator("#large .links").count() == 0


def test_boxes_and_matches_are_switched(show, evident):
    tab = show(evident)
    boxes = tab.locator(".card .box").first
    own, other = tab.locator("#tools [data-switch=boxes] input"), tab.locator("#large [data-switch=boxes] input")
    assert boxes.is_visible()
    for turn in (own.uncheck, lambda: tab.keyboard.press("b"), lambda: tab.keyboard.press("b"), own.check):
        before = boxes.is_visible()
        turn()
        assert (boxes.is_visible(), own.is_checked(), other.is_checked()) == (not before,) * 3
    tab.fill("#search", "")
    tab.keyboard.type("bm")
    assert own.is_checked()
    tab.fill("#search", "")
    tab.locator(".strip .tile").first.click()
    lines = tab.locator("#large .links")
    matches = tab.locator("#large [data-switch=matches] input")
    for turn in (matches.uncheck, lambda: tab.keyboard.press("m")):
        before = lines.is_visible()
        turn()
        assert (lines.is_visible(), matches.is_checked()) == (not before,) * 2
    other.uncheck()
    assert not own.is_checked()
    assert not tab.locator("#large .box").first.is_visible()
    tab.keyboard.press("Escape")
    assert tab.locator("#tools [data-switch=matches]").count() == 0


def test_a_page_without_boxes_has_no_switch(show, one):
    tab = show(one)
    tab.keyboard.press("b")
    assert tab.locator(".box").first.is_visible()
    tab.locator(".strip .tile").first.click()
    assert tab.locator(".switches").is_hidden()


# --- hostile names


HOSTILE = [
    b"<script>alert(1)<script>.png",
    b"<img src=x onerror=alert(1)>.png",
    b"\"'`&amp;&lt;.png",
    b"<!--<script>.png",
    b"line\nbreak\t\x1b.png",
    b"caf\xe9 \xff.png",
    "日本 👍 \u202egnp.png".encode(),
    b"a" * 200 + b".png",
]
SHOWN = [
    "<script>alert(1)<script>.png",
    "<img src=x onerror=alert(1)>.png",
    "\"'`&amp;&lt;.png",
    "<!--<script>.png",
    "line\\x0abreak\\x09\\x1b.png",
    "caf\\xe9 \\xff.png",
    "日本 👍 \\u202egnp.png",
    "a" * 200 + ".png",
]


def test_hostile_names_are_text(show, tmp_path):
    for number, name in enumerate(HOSTILE):
        photo(os.path.join(os.fsencode(tmp_path), name), number)
    names = [to_text(name) for name in HOSTILE] + ["</script><script>alert(2)</script>"]
    wanted = [*SHOWN, names[-1]]
    queries = [
        pages.query(name, number, *[pages.results([number, 0], **{f"_{name}": pages.judgement(0.5, "hm")})] * 2)
        for number, name in enumerate(names)
    ]
    runs = [pages.run(name, [[name, 0.5]], [name], {name: [0.5] * 101}) for name in names[:2]]
    more = {
        "title": names[0],
        "protocol": names[1],
        "conventions": {names[2]: names[3]},
        "note": names[-1],
        "measure": "AP",
        "settings": names,
        "comparison": names,
    }
    links = [link(tmp_path / "report.html", os.path.join(os.fsencode(tmp_path), name)) for name in HOSTILE]
    path = pages.made(tmp_path, pages.contents(names, runs, queries, links=[*links, None], **more))
    tab = show(path, height=6000, photos=[each.removeprefix("./") for each in links])
    assert tab.title() == wanted[0]
    assert cards(tab) == wanted
    assert texts(tab, "h1, #note, #warnings li, #comparison li") == [
        wanted[0],
        wanted[-1],
        f"{wanted[0]}: {wanted[0]}",
        f"{wanted[1]}: {wanted[1]}",
        *wanted,
    ]
    assert tab.locator("#setting option").all_text_contents() == wanted
    assert tab.locator(".query .tile").evaluate_all("tiles => tiles.map(tile => tile.title)") == wanted
    playwright.expect(tab.locator("img[data-photo]")).to_have_count(0)
    assert tab.locator(".query img").count() == len(HOSTILE)
    assert tab.evaluate("[...document.querySelectorAll('script')].length") == 3
    assert tab.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
    for number in range(len(HOSTILE)):
        tab.locator(".query .tile").nth(number).click()
        playwright.expect(tab.locator("#large img").first).to_have_attribute("src", re.compile("^file:"))
        assert tab.locator("#large a").get_attribute("href") == links[number]
        tab.keyboard.press("Escape")
    tab.fill("#search", "\\xe9")
    assert cards(tab) == [wanted[5]]
    tab.keyboard.press("Enter")
    tab.keyboard.press("o")
    assert texts(tab, "#large figcaption b") == [wanted[5]]


def test_the_policy_keeps_the_page_from_asking(browser, one):
    """What the other tests never see happen is shown to be impossible: a picture or an answer from elsewhere, a script, a style."""
    tab = browser.new_page()
    tab.goto(f"file://{one}")
    with socket.create_server(("127.0.0.1", 0)) as server:
        broken = tab.evaluate(BREAK, f"http://127.0.0.1:{server.getsockname()[1]}/")
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()
    tab.close()
    assert broken == [["connect-src", "img-src", "script-src-elem", "style-src-attr"], False]


# --- sizes and colours


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_the_window(show, one, two, evident, width, scheme):
    for path in (one, two, evident):
        tab = show(path, width=width, color_scheme=scheme)
        assert tab.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
        tab.keyboard.press("j")
        if path == evident:
            tab.keyboard.press("ArrowRight")
            tab.keyboard.press("ArrowRight")
        tab.keyboard.press("o")
        box = tab.locator("#large").bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        tab.keyboard.press("Escape")
        tab.keyboard.press("?")
        assert tab.locator("#keys").bounding_box()["width"] <= width


@pytest.mark.parametrize("width", [360, 1280])
def test_all_results_are_in_the_window(show, tmp_path, width):
    """Also those of names that are much too long, which lose their middle."""
    names = ["holidays/2019/summer in the Alps/IMG_20190731_123456-0001.png", *pages.names(21)[1:]]
    contents = pages.contents(names, [pages.run("a")], [pages.query("q", 1, pages.results(range(20)))])
    tab = show(pages.made(tmp_path, contents), width=width)
    assert tab.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
    places = [tile.bounding_box() for tile in tab.locator(".strip .tile").all()]
    assert len(places) == 20
    assert all(place["x"] >= 0 and place["x"] + place["width"] <= width for place in places)
    name = tab.locator(".strip .name").first
    assert (name.text_content(), name.get_attribute("title")) == (names[0], names[0])
    cut = name.locator("span").evaluate_all("parts => parts.map((part) => [part.innerText, part.scrollWidth > part.clientWidth])")
    assert cut == [[names[0][:-9], True], ["-0001.png", False]]
    assert name.bounding_box()["width"] <= places[0]["width"]
    assert tab.locator(".strip .name").nth(1).locator("span").all_inner_texts() == ["1.png"]
    for key in ("j", *["ArrowRight"] * 21):
        tab.keyboard.press(key)
    assert focused(tab) == "rank 20, score -1, 19.png"


def test_eight_curves_are_told_apart(show, tmp_path):
    """By colour and by dashes, whichever the eyes or the printer have; of more runs the first are drawn."""
    runs = [pages.run(f"{'long/' * 20}run-{number}.h5", [["map", number / 10]], curves={"": [number / 10] * 101}) for number in range(9)]
    tab = show(pages.made(tmp_path, pages.contents(pages.names(1), runs, [pages.query("q", 0, *[pages.results([0])] * 9)])), width=360)
    for scheme in ("light", "dark"):
        tab.emulate_media(color_scheme=scheme)
        for drawn in ("#curves polyline", "#curves .lines path"):
            styles = "lines => lines.map(line => [getComputedStyle(line).stroke, getComputedStyle(line).strokeDasharray])"
            colours, dashes = (set(each) for each in zip(*tab.locator(drawn).evaluate_all(styles), strict=True))
            assert (len(colours), len(dashes)) == (8, 8)
    assert tab.locator("#curves figcaption").inner_text() == "Mean interpolated precision of the first 8 runs"
    assert [line.split("/")[-1] for line in texts(tab, "#curves .lines li")] == [f"run-{number}.h5" for number in range(8)]
    assert tab.locator("#summary tr").count() == 10  # a row each
    assert texts(tab, "#summary thead th") == ["run", "map"]
    assert tab.evaluate("document.scrollingElement.scrollWidth <= innerWidth")


def test_light_and_dark_are_readable(show, two, one):
    backs = {}
    for scheme in ("light", "dark"):
        for path in (one, two):
            tab = show(path, color_scheme=scheme)
            backs[scheme] = tab.evaluate("getComputedStyle(document.body).backgroundColor")
            tab.keyboard.press("j")
            selectors = [
                "h1",
                "#about",
                "#warnings li",
                "#comparison li",
                "td",
                "th",
                "figcaption",
                "#legend i",
                "#tools label",
                "#count",
                "h2",
            ]
            selectors += [".facts p", ".run-head span", ".sign", ".move", ".name", ".score", ".muted"]
            ratios = tab.evaluate(CONTRAST, selectors)
            assert len({selector for selector, _ in ratios}) >= 15
            assert [entry for entry in ratios if entry[1] < 4.5] == []
            strokes = "nodes => nodes.map(node => getComputedStyle(node).stroke)"
            assert backs[scheme] not in tab.locator("#curves polyline, #curves .grid").evaluate_all(strokes)
            assert tab.locator("#curves text").first.evaluate("node => getComputedStyle(node).fill") == tab.evaluate(
                "getComputedStyle(document.body).color"
            )
    assert backs == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 27)"}


def test_real_photos(show, tmp_path, data):
    root = data / "photos" / "scenes" / "images"
    names = sorted(os.listdir(root))[:12]
    queries = [
        pages.query(name, i, pages.results([i, *range(11)], _=pages.judgement(0.5, "q" + "hm" * 5 + "j"))) for i, name in enumerate(names)
    ]
    contents = pages.contents(names, [pages.run("rootsift")], queries)
    tab = show(pages.made(tmp_path, contents, roots=[root]))
    assert tab.locator(".absent").count() == 0
    decoded = (
        tab.locator(".card")
        .first.locator("img")
        .evaluate_all("async images => { for (const i of images) await i.decode(); return images.length; }")
    )
    assert decoded == 13
    assert page_module.is_report(str(tmp_path / "report.html"))


# What the commands write


@pytest.fixture
def ranked(tmp_path, monkeypatch):
    """Six photos of three things, two rankings that differ, and an index."""
    monkeypatch.chdir(tmp_path)
    os.mkdir("photos")
    names = [f"{thing}{number}.png" for thing in "abc" for number in range(2)]
    for number, name in enumerate(names):
        photo(f"photos/{name}", number)
    with open("truth.csv", "w") as file:
        file.write("image,group\n" + "".join(f"{name},{name[0]}\n" for name in names))
    for path, wrong in (("before.txt", "ab"), ("after.txt", "b")):
        with open(path, "w") as file:
            for query in names:
                good = next(name for name in names if name != query and name[0] == query[0])
                others = [name for name in names if name[0] != query[0]]
                row = [query, others[0], good, *others[1:]] if query[0] in wrong else [query, good, *others]
                file.writelines(f"{query} Q0 {name} {rank} {9 - rank} x\n" for rank, name in enumerate(row, 1))
    for command in (("extract", "photos", "-m", "hsv-hist", "-o", "v.h5"), ("index", "v.h5", "-o", "i.h5")):
        assert call(*command, "-q").code == 0
    return tmp_path


def test_a_page_of_evaluate(ranked, show):
    files = ("--html", "report.html", "--photos", "photos")
    result = call("evaluate", "before.txt", "after.txt", "--protocol", "groups", "--truth", "truth.csv", *files)
    assert result.code == 0, result.err
    tab = show(ranked / "report.html", photos=["photos/a0.png", "photos/b0.png"])
    assert tab.title() == "groups: before.txt, after.txt"
    assert cards(tab) == ["a0.png", "a1.png", "b0.png", "b1.png", "c0.png", "c1.png"]
    first = tab.locator(".card").first
    assert [strip.locator(".tile").first.get_attribute("class") for strip in first.locator(".strip").all()] == ["tile q", "tile q"]
    assert first.locator(".strip").first.locator(".tile").nth(1).get_attribute("class") == "tile m"
    assert first.locator(".strip").last.locator(".tile").nth(1).get_attribute("class") == "tile h"
    tab.keyboard.press("f")
    assert cards(tab) == ["a0.png", "a1.png", "b0.png", "b1.png"]
    tab.locator("#order").select_option(index=2)
    assert tab.locator(".card").count() == 4
    tab.locator(".card").first.locator(".strip .tile").nth(1).click()
    for number in range(2):
        playwright.expect(tab.locator("#large img").nth(number)).to_have_attribute("src", re.compile("^file:.*/photos/[ab]0.png$"))
    assert texts(tab, "#large figcaption") == [
        "a0.png\nquery · 160 × 120 pixels open the file",
        "b0.png\nrank 2, miss, before.txt · score 7 · rank 2 in before.txt, 3 in after.txt · 160 × 120 pixels open the file",
    ]


def test_a_page_of_search(ranked, show):
    result = call("search", "i.h5", "photos/a0.png", "photos/b1.png", "-k", "3", "--html", "found.html", "--photos", "photos")
    assert result.code == 0, result.err
    tab = show(ranked / "found.html")
    assert cards(tab) == ["photos/a0.png", "photos/b1.png"]
    assert [tab.locator(".card").nth(number).locator(".tile").count() for number in range(2)] == [4, 4]
    assert "found" not in tab.locator(".card").first.inner_text()


def test_a_page_that_was_moved_shows_its_thumbnails(ranked, browser):
    assert call("search", "i.h5", "photos/a0.png", "-k", "2", "--html", "found.html", "--photos", "photos", "--large").code == 0
    os.mkdir("elsewhere")
    tab = browser.new_page()
    broken = []
    tab.on("pageerror", lambda error: broken.append(error))
    tab.goto(f"file://{shutil.move('found.html', ranked / 'elsewhere')}")
    with tab.expect_event("requestfailed", lambda request: request.url.endswith("/elsewhere/photos/a0.png")):
        tab.locator(".tile").first.click()
    tab.wait_for_timeout(50)
    assert tab.locator("#large img").evaluate("image => image.src.startsWith('data:') && image.naturalWidth") == 160
    assert tab.locator("#large a").is_hidden()
    assert broken == []
    tab.close()
