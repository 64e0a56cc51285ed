"""The page of what a detector finds in a real browser, from the disk."""

import pytest
from made_detections import large_detected, made_detected, sight

from whatwhere.report.detected import page as rendered

READ = """(drawn) => {
  const { width, height } = drawn;
  const copy = Object.assign(document.createElement("canvas"), { width, height });
  const context = copy.getContext("2d", { willReadFrequently: true });
  context.drawImage(drawn, 0, 0);
  return [...context.getImageData(0, 0, width, height).data];
}"""

SAID = """document.querySelector("[role=status]").textContent.startsWith(
  document.querySelector("article:not([hidden]) h3").textContent)"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("detected")
    bare = made_detected(gates=(), scores=(), sights=[sight(number, gates=(), known=False) for number in range(2)])
    long = made_detected(sights=[sight(number, name="a" * 90 + "{}", boxes=60) for number in range(3)])
    made = {"plain": made_detected(), "bare": bare, "long": long, "large": large_detected()}
    for name, detected in made.items():
        (folder / f"{name}.html").write_text(rendered(detected), encoding="utf-8")
    return {name: folder / f"{name}.html" for name in made}


@pytest.fixture
def visit(visit_file, pages):
    """Opens one of the pages and waits until its first picture is there."""

    def open_(name="plain", width=1280, height=900, **options):
        page = visit_file(pages[name], width, height, **options)
        turned(page, 1)
        return page

    return open_


def turned(page, place):
    page.locator(".sights .place", has_text=f"{place} of").wait_for()
    page.wait_for_function(SAID)


def article(page):
    return page.locator("article:visible")


def test_one_picture_is_shown_and_the_arrows_turn_it(visit):
    page = visit()
    assert article(page).count() == 1
    page.locator(".strip button").first.focus()
    page.keyboard.press("ArrowRight")
    turned(page, 2)
    assert article(page).locator("h3").inner_text() == "photo 1.jpg"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    turned(page, 4)
    page.get_by_role("button", name="next picture").click()
    turned(page, 1)


def test_the_slider_sifts_the_boxes_of_every_picture(visit):
    page = visit()
    shown = article(page).locator(".found li:visible")
    assert shown.count() == 8
    page.locator("#least").fill("0.6")
    assert shown.count() == 5
    assert article(page).locator(".tally").inner_text() == "5 of 11 boxes; truly 2 objects"
    page.locator("#least").fill("0.05")
    assert shown.count() == 11
    page.locator(".strip button").nth(1).click()
    turned(page, 2)
    assert shown.count() == 11
    assert page.locator("#least").get_attribute("aria-valuetext") == "0.05: 11 of 11 boxes"


def test_boxes_lie_on_the_picture_where_they_should(visit):
    page = visit()
    scene = article(page).locator(".scene").bounding_box()
    box = article(page).locator(".true li").first.bounding_box()
    shares = [(box["x"] - scene["x"]) / scene["width"], (box["y"] - scene["y"]) / scene["height"]]
    shares += [box["width"] / scene["width"], box["height"] / scene["height"]]
    assert shares == pytest.approx([0.1, 0.2, 0.5, 0.7], abs=0.01)


def test_the_surest_box_is_on_top(visit):
    depths = (
        article(visit())
        .locator(".found li")
        .evaluate_all("all => all.map(one => Number(getComputedStyle(one).zIndex))")
    )
    assert depths == sorted(depths, reverse=True)
    assert len(set(depths)) == len(depths)


def test_boxes_words_and_truth_go_and_come(visit):
    page = visit()
    for name, part in (("boxes", ".found li"), ("words", ".found b"), ("truth", ".true li")):
        button = page.get_by_role("button", name=name, exact=True)
        assert article(page).locator(f"{part}:visible").count() > 0
        button.click()
        assert article(page).locator(f"{part}:visible").count() == 0
        assert button.get_attribute("aria-pressed") == "false"
        button.click()


def test_a_map_is_laid_over_the_picture_and_taken_off(visit):
    page = visit()
    layer, maps = article(page).locator(".scene canvas"), page.locator(".maps button")
    assert maps.count() == 2
    assert layer.is_hidden()
    assert maps.first.locator("canvas").evaluate(READ) != maps.nth(1).locator("canvas").evaluate(READ)
    maps.first.click()
    one = layer.evaluate(READ)
    assert maps.first.get_attribute("aria-pressed") == "true"
    assert (
        page.locator(".gate").inner_text().startswith("backbone.layer1 · CBAM(64) · map 40×40 · spread 0.110. Factor ")
    )
    maps.nth(1).click()
    assert layer.evaluate(READ) != one
    page.locator("#strength").fill("0")
    assert page.locator(".share").inner_text() == "0 %"
    maps.nth(1).click()
    assert layer.is_hidden()
    page.keyboard.press("ArrowUp")
    assert maps.first.get_attribute("aria-pressed") == "true"


def test_the_map_is_brightest_where_it_is_highest(visit):
    page = visit()
    page.locator(".maps button").first.click()
    page.locator("#strength").fill("100")
    page.get_by_role("button", name="this picture", exact=True).click()
    canvas = article(page).locator(".scene canvas")
    width, height = canvas.evaluate("one => [one.width, one.height]")
    values = canvas.evaluate(READ)
    light = [sum(values[4 * at : 4 * at + 3]) for at in range(width * height)]
    top = max(range(len(light)), key=light.__getitem__)
    assert (top // width / height, top % width / width) == pytest.approx((0.3, 0.6), abs=0.05)
    assert page.locator(".ramp .low").inner_text() == "0.200"


@pytest.mark.parametrize("name", ["plain", "bare", "long"])
def test_a_phone_never_scrolls_sideways(visit, name):
    page = visit(name, 360, 740)
    for place in range(page.locator("article").count()):
        page.locator(".strip button").nth(place).click()
        turned(page, place + 1)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_without_gates_there_is_nothing_about_maps(visit):
    page = visit("bare")
    assert page.locator(".maps, #strength, [data-layer=truth]").count() == 0
    page.keyboard.press("ArrowUp")
    assert article(page).locator(".found li:visible").count() > 0


def test_without_scripts_boxes_from_0_3_on_and_all_pictures_are_there(visit_file, pages):
    page = visit_file(pages["plain"], java_script_enabled=False)
    assert article(page).count() == 4
    assert article(page).first.locator(".found li:visible").count() == 8
    assert article(page).first.locator(".true li:visible").count() == 2
    assert page.get_by_text("is switched off here").is_visible()
    assert page.locator(".strip, .maps, #least, [data-turn]").locator("visible=true").count() == 0
    assert page.locator("[data-part]:visible").count() == 3


def test_many_pictures_are_soon_there(visit):
    page = visit("large")
    page.locator(".strip button").nth(59).click()
    turned(page, 60)
    assert page.locator(".maps button").count() == 16
