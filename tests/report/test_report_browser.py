"""The page in a real browser, from the disk: no errors, no network, and it does what its buttons say."""

from itertools import pairwise
from pathlib import Path

import pytest
from made_runs import comparison, made_reproduction, made_run

from whatwhere.report import report

EVIL = "<img src=x onerror=alert(1)>"
ARMS = ("none", "se", "bam", "cbam", f"se@{EVIL}")


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    made_run(folder / "plain", comparison(ARMS, seeds=3, epochs=12))
    made_reproduction(folder / "table")
    made_run(folder / "half", comparison(seeds=2), finished=1)
    return {name: report(folder / name)[0] for name in ("plain", "table", "half")}


@pytest.fixture
def visit(visit_file, pages):
    """Opens one of the pages."""

    def open_(name="plain", width=1280, height=900, **options):
        return visit_file(pages[name], width, height, **options)

    return open_


def first_column(table) -> list[str]:
    return [text.strip() for text in table.locator("tbody th span:not(.chip)").all_inner_texts()]


def results(page):
    return page.locator("#run-1 table").first


def test_a_click_sorts_the_table_and_a_second_one_turns_it_round(visit):
    table = results(visit())
    before = first_column(table)
    head = table.get_by_role("columnheader", name="accuracy %")
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    up = first_column(table)
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert first_column(table) == up[::-1]
    assert sorted(up) == sorted(before)
    means = [float(text.split(" ")[0]) for text in table.locator("tbody tr td:nth-child(2)").all_inner_texts()]
    assert means == sorted(means, reverse=True)


def test_the_keyboard_sorts_too_and_what_is_not_known_stays_last(visit):
    page = visit()
    table = results(page)
    button = table.get_by_role("button", name="difference")
    button.focus()
    for direction in ("ascending", "descending"):
        page.keyboard.press("Enter")
        assert table.locator("[aria-sort]:not([aria-sort=none])").get_attribute("aria-sort") == direction
        assert first_column(table)[-1] == "none"
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Space")
    assert table.get_by_role("columnheader", name="n", exact=True).get_attribute("aria-sort") == "ascending"


def test_words_are_sorted_as_words(visit):
    table = results(visit())
    table.get_by_role("button", name="arm").click()
    assert first_column(table) == ["bam", "cbam", "none", "se", f"se@{EVIL}"]


def test_a_curve_toggles(visit):
    page = visit()
    figure = page.locator("figure.curves")
    lines = figure.locator("g[data-arm='2']")
    button = figure.locator("button[data-toggle='2']")
    assert "bam" in button.inner_text()
    assert lines.first.is_visible()
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    assert lines.first.is_hidden()
    figure.get_by_role("button", name="training loss").click()
    assert figure.locator("[data-part='train_loss']").is_visible()
    assert figure.locator("[data-part='validation_accuracy']").is_hidden()
    assert figure.locator("[data-part='train_loss'] g[data-arm='2']").is_hidden()
    button.focus()
    page.keyboard.press("Space")
    assert button.get_attribute("aria-pressed") == "true"
    assert figure.locator("[data-part='train_loss'] g[data-arm='2']").is_visible()


def test_seeds_and_bands_toggle(visit):
    figure = visit().locator("figure.curves")
    for name, line in (("seeds", "path.seed"), ("bands", "path.band")):
        assert figure.locator(line).first.is_visible()
        figure.get_by_role("button", name=name).click()
        assert figure.locator(line).first.is_hidden()
    assert figure.locator("path.mean").first.is_visible()


def test_the_arrow_keys_read_the_curves(visit):
    page = visit()
    plot = page.locator("figure.curves .plot").first
    assert (plot.get_attribute("aria-valuemin"), plot.get_attribute("aria-valuemax")) == ("1", "12")
    last = page.locator("[data-toggle='1'] .now").inner_text()
    plot.focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert plot.get_attribute("aria-valuenow") == "2"
    read = page.locator("[data-toggle='1'] .now").inner_text()
    assert float(read) < float(last)
    assert plot.get_attribute("aria-valuetext").startswith("epoch 2: none ")
    assert f"se {read}" in plot.get_attribute("aria-valuetext")
    assert page.locator(".cursor").first.is_visible()
    page.keyboard.press("Tab")
    assert page.locator(".cursor").first.is_hidden()
    assert page.locator("[data-toggle='1'] .now").inner_text() == last


def test_pointing_reads_the_curves(visit):
    page = visit()
    plot = page.locator("figure.curves .plot").first
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    page.mouse.move(box["x"] + 1, box["y"] + 20)
    assert plot.get_attribute("aria-valuenow") == "1"
    page.mouse.move(box["x"] + box["width"] - 2, box["y"] + 20)
    assert plot.get_attribute("aria-valuenow") == "12"


@pytest.mark.parametrize("width", [1280, 360])
def test_each_line_of_a_gate_ends_at_its_letter(visit, width):
    page = visit(width=width)
    figure = page.get_by_role("figure", name="gates of bam over epochs")
    assert figure.locator("svg path").count() == 12
    assert figure.locator("ol.key li").first.inner_text().split() == [
        *("a", "layer1.0", "drift", "0.013,", "between", "images", "0.02"),
    ]
    outer = figure.bounding_box()
    for plot in figure.locator(".plot").all():
        assert plot.locator(".letter").all_inner_texts() == list("abcdef")
        boxes = sorted((box.bounding_box() for box in plot.locator(".letter").all()), key=lambda box: box["y"])
        assert all(one["y"] + one["height"] <= other["y"] + 0.5 for one, other in pairwise(boxes))
        assert all(box["x"] + box["width"] < outer["x"] + outer["width"] for box in boxes)


@pytest.mark.parametrize("width", [1280, 360])
def test_a_tick_stands_beside_its_rule(visit, width):
    page = visit(width=width)
    for chart in page.locator(".chart:visible").all():
        rules = [rule.bounding_box() for rule in chart.locator(".rule.across").all()]
        texts = [text.bounding_box() for text in chart.locator(".ys span").all()]
        assert [text["y"] + text["height"] / 2 for text in texts] == pytest.approx([rule["y"] for rule in rules], abs=2)


def test_costs_can_be_chosen_and_points_say_their_figures(visit):
    page = visit()
    figure = page.locator("#cost-1 + figure")
    figure.get_by_role("button", name="milliseconds").click()
    assert figure.locator("[data-part='ms']").is_visible()
    assert figure.locator("[data-part='parameters']").is_hidden()
    point = figure.locator("[data-part='ms'] .point").first
    assert point.locator(".tip").is_hidden()
    point.focus()
    assert point.locator(".tip").is_visible()
    assert point.locator(".tip").inner_text().startswith("none: ")


@pytest.mark.parametrize(("name", "width"), [("plain", 360), ("table", 360), ("half", 360), ("plain", 1280)])
def test_the_page_never_scrolls_sideways(visit, name, width):
    page = visit(name, width, 740)
    for part in page.locator("details").all():
        part.locator("summary").click()
    for point in page.locator(".point:visible").all():
        point.focus()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("document.body.scrollWidth") <= width


def test_a_name_that_is_markup_is_shown_and_never_run(visit):
    page = visit()
    assert page.get_by_text(EVIL).first.is_visible()
    assert page.locator("img").count() == 0


def test_light_and_dark_differ_and_both_can_be_read(visit):
    colours = "(([c, b]) => [c, b].map((x) => x.match(/\\d+/g).map(Number).reduce((p, q) => p + q)))"
    shown = "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    ink, paper = visit(color_scheme="light").evaluate(f"{colours}({shown})")
    assert paper - ink > 400
    ink, paper = visit(color_scheme="dark").evaluate(f"{colours}({shown})")
    assert ink - paper > 400


def test_print_opens_everything_and_hides_the_controls(visit):
    page = visit(color_scheme="dark")
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    assert page.locator(".controls").first.is_hidden()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details[open]").count() == 0


def test_without_scripts_it_is_still_a_report(visit):
    page = visit(java_script_enabled=False)
    assert results(page).locator("tbody tr").count() == len(ARMS)
    assert page.locator("figure.curves path.mean").first.is_visible()
    assert page.get_by_role("button", name="training loss").count() == 0
