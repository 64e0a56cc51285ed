"""The page of an explanation in a real browser, from the disk: it draws what it says, and every name stays text."""

from dataclasses import replace
from pathlib import Path

import pytest
from made_explanations import CLASSES, SITES, large_explanation, made_explanation, network

from whatwhere.report.explained import page as rendered

EVIL = "<img src=x onerror=alert(1)>"
GATED, BARE = 0, 1
# a copy is read, since the page's own canvas is not meant for reading and a browser would say so
READ = """(drawn) => {
  const { width, height } = drawn;
  const copy = Object.assign(document.createElement("canvas"), { width, height });
  const context = copy.getContext("2d", { willReadFrequently: true });
  context.drawImage(drawn, 0, 0);
  return [...context.getImageData(0, 0, width, height).data];
}"""
CAM = len(SITES)


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("explained")
    gated = network(f"gated{EVIL}", classes=tuple(f"{name}{EVIL}" for name in CLASSES))
    alien = b"\xff".decode("utf-8", "surrogateescape")
    evil = made_explanation(2, 64, name=f"{{}}{EVIL}{alien}", problems=(EVIL,), gated=gated)
    short = network("shallow", (SITES[0], SITES[3]))
    beside = made_explanation(2, 64, gated=network("deep"), bare=short)
    for shown in beside.pictures:
        shown.looks[1].sites.update({name: shown.looks[0].sites[name] for name, _, _ in (SITES[0], SITES[3])})
    made = {"plain": made_explanation(side=64), "evil": evil, "beside": beside, "large": large_explanation()}
    made["single"] = replace(
        made_explanation(1, 64),
        networks=(made["plain"].networks[0],),
        pictures=[replace(shown, looks=shown.looks[:1]) for shown in made["plain"].pictures[:1]],
    )
    paths = {name: folder / f"{name}.html" for name in made}
    for name, path in paths.items():
        path.write_text(rendered(made[name]), encoding="utf-8")
    return paths


@pytest.fixture
def visit(visit_file, pages):
    """Opens one of the pages and waits until its first picture is drawn."""

    def open_(name="plain", width=1280, height=900, **options):
        page = visit_file(pages[name], width, height, **options)
        page.locator(".viewer .place", has_text="1 of").wait_for()
        return page

    return open_


def pixels(page, network=GATED) -> list[int]:
    """The canvas of one network, as it is drawn."""
    canvas = page.locator(".panel").nth(network).locator(".picture > canvas")
    return canvas.evaluate(READ)


def said(page, selector, network=GATED) -> str:
    return page.locator(".panel").nth(network).locator(selector).inner_text()


def move(page, slider, value):
    page.locator(slider).fill(str(value))


def turned(page, place):
    page.locator(".viewer .place", has_text=f"{place} of").wait_for()


def unlike(one, other) -> float:
    return sum(abs(a - b) for a, b in zip(one, other, strict=True)) / len(one)


def test_every_stop_of_the_slider_has_its_own_overlay(visit):
    page = visit()
    seen = []
    for stop in (0, 2, 3, CAM):
        move(page, "#stop", stop)
        seen.append(pixels(page))
    assert all(unlike(one, other) > 1 for place, one in enumerate(seen) for other in seen[:place])


def test_a_stop_says_its_gate_its_map_and_its_factor(visit):
    page = visit()
    move(page, "#stop", 0)
    assert page.locator(".sites .at").inner_text().split("\n") == ["layer1.0", "stop 1 of 4"]
    assert page.locator("#stop").get_attribute("aria-valuetext") == "layer1.0"
    assert said(page, ".site") == "layer1.0"
    assert said(page, ".gate") == "CBAM(64) · map 56×56 · factor 0.020 to 0.940 · spread 0.110"
    move(page, "#stop", CAM)
    assert said(page, ".site") == "CAM of tench"
    assert said(page, ".gate") == "at layer4, as a share of its highest value"


def test_without_strength_or_with_plain_the_picture_is_bare(visit):
    page = visit()
    covered = pixels(page)
    move(page, "#strength", 0)
    assert page.locator(".strength .share").inner_text() == "0 %"
    bare = pixels(page)
    assert unlike(covered, bare) > 5
    original = page.evaluate(
        """async () => {
          const { jpeg, width, height } = JSON.parse(document.getElementById("data").textContent).pictures[0];
          const image = new Image();
          image.src = `data:image/jpeg;base64,${jpeg}`;
          await image.decode();
          const canvas = Object.assign(document.createElement("canvas"), { width, height });
          canvas.getContext("2d").drawImage(image, 0, 0);
          return [...canvas.getContext("2d").getImageData(0, 0, width, height).data];
        }"""
    )
    assert bare == original
    move(page, "#strength", 50)
    assert pixels(page) == covered
    plain = page.get_by_role("button", name="plain picture")
    plain.click()
    assert plain.get_attribute("aria-pressed") == "true"
    assert pixels(page) == original
    plain.click()
    assert pixels(page) == covered


def test_full_strength_is_the_colour_of_the_value(visit):
    page = visit()
    move(page, "#stop", CAM)
    move(page, "#strength", 100)
    seen = pixels(page)
    side = int((len(seen) // 4) ** 0.5)
    wanted = page.evaluate(
        """() => {
          const data = JSON.parse(document.getElementById("data").textContent);
          const { h, w, low, high, data: text } = data.pictures[0].looks[0].cams[0];
          const value = low + (high - low) * atob(text).charCodeAt(h * w - 1) / 255;
          const lut = atob(data.lut);
          const entry = 3 * Math.round(255 * value);
          return [0, 1, 2].map((part) => lut.charCodeAt(entry + part));
        }"""
    )
    last = 4 * (side * side - 1)
    assert seen[last : last + 3] == wanted, "the last pixel lies beyond the centre of the last cell"


def test_the_class_changes_the_cam_of_its_own_network(visit):
    page = visit()
    move(page, "#stop", CAM)
    gated, bare = pixels(page, GATED), pixels(page, BARE)
    chosen = page.get_by_label("class of the CAM").first
    assert chosen.locator("option").all_inner_texts()[:2] == ["tench, 70.0 %", "English springer, 17.5 %"]
    chosen.select_option(index=1)
    assert unlike(pixels(page, GATED), gated) > 1
    assert pixels(page, BARE) == bare
    assert said(page, ".site") == "CAM of English springer"


def test_right_and_wrong_are_said_in_words(visit):
    page = visit()
    assert said(page, ".said").split() == ["says", "tench,", "70.0", "%", "right"]
    page.locator(".strip button").nth(2).click()
    turned(page, 3)
    assert said(page, ".said").split()[-4:] == ["wrong,", "it", "is", "tench"]


def test_the_scale_of_this_picture_and_of_all(visit):
    page = visit()
    move(page, "#stop", 0)
    page.locator(".strip button").nth(1).click()
    turned(page, 2)
    everywhere, words = pixels(page), said(page, ".numbers")
    ends = said(page, ".low"), said(page, ".high")
    page.get_by_role("button", name="this picture", exact=True).click()
    assert unlike(pixels(page), everywhere) > 0.1
    assert said(page, ".numbers") == words
    here = said(page, ".low"), said(page, ".high")
    assert words == f"{here[0]} to {here[1]} on this picture, {ends[0]} to {ends[1]} on all that are shown"
    assert here != ends


def test_arrow_keys_turn_pictures_and_gates(visit):
    page = visit()
    page.keyboard.press("ArrowRight")
    turned(page, 2)
    assert page.locator(".name").inner_text() == "photo 1.jpg"
    assert page.locator(".strip [aria-current=true]").count() == 1
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    turned(page, 6)
    page.keyboard.press("ArrowUp")
    assert page.locator("#stop").input_value() == "1"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert page.locator("#stop").input_value() == "0"


def test_a_control_keeps_its_arrow_keys_and_so_does_the_page_elsewhere(visit):
    page = visit()
    move(page, "#stop", CAM)
    page.locator("#strength").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#strength").input_value() == "55"
    assert page.locator(".place").inner_text() == "1 of 6"
    page.locator("#stop").focus()
    page.keyboard.press("ArrowLeft")
    assert page.locator("#stop").input_value() == str(CAM - 1)
    assert page.locator(".place").inner_text() == "1 of 6"
    page.evaluate("document.activeElement.blur(); document.documentElement.style.scrollBehavior = 'auto'")
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    page.keyboard.press("ArrowRight")
    assert page.locator(".place").inner_text() == "1 of 6"


def test_the_strip_is_one_stop_of_tab_and_the_arrows_go_through_it(visit):
    page = visit()
    page.get_by_role("link", name="Diagnosis of each gate").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    turned(page, 2)
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == f"photo 1.jpg, {CLASSES[1]}"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "picture before"


def test_everything_else_is_reached_by_tab(visit):
    page = visit()
    move(page, "#stop", 0)
    page.locator(".strip button").first.focus()
    reached = []
    for _ in range(11):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate("(({ id, ariaLabel, textContent: text }) => id || ariaLabel || text)(document.activeElement)")
        )
    assert reached[:8] == [
        *("picture before", "next picture", "stop", "strength"),
        *("all pictures", "this picture", "outline", "plain picture"),
    ]
    assert reached[8] == "class-0"
    assert reached[9].startswith("channel ")
    assert reached[10] == "class-1"


def test_a_bar_says_its_channel_when_pointed_at_or_focused(visit):
    page = visit()
    move(page, "#stop", 0)
    panel = page.locator(".panel").first
    assert panel.locator(".bars button").count() == 24
    rest = panel.locator(".channel").inner_text()
    assert rest.startswith("The 12 most raised and the 12 most lowered of 64, about their mean of 0.")
    values = page.evaluate(
        """() => {
          const { low, high, data } =
            JSON.parse(document.getElementById("data").textContent).pictures[0].looks[0].sites[0].channels;
          return [...atob(data)].map((letter) => low + (high - low) * letter.charCodeAt(0) / 255);
        }"""
    )
    first, last = panel.locator(".bars button").first, panel.locator(".bars button").last
    first.hover()
    top = max(range(64), key=values.__getitem__)
    assert panel.locator(".channel").inner_text().startswith(f"channel {top}: factor {values[top]:.3f}, ")
    assert panel.locator(".channel").inner_text().endswith(" above the mean")
    page.mouse.move(0, 0)
    assert panel.locator(".channel").inner_text() == rest
    last.focus()
    bottom = min(range(64), key=values.__getitem__)
    assert panel.locator(".channel").inner_text().startswith(f"channel {bottom}: factor {values[bottom]:.3f}, ")
    page.keyboard.press("ArrowLeft")
    assert not panel.locator(".channel").inner_text().startswith(f"channel {bottom}: ")
    assert panel.locator(".channel").inner_text().endswith(" below the mean")


def test_the_profile_is_drawn_through_all_channels(visit):
    page = visit()
    move(page, "#stop", 3)
    line = page.locator(".panel path.line").first.get_attribute("d")
    assert line.count("L") == 511
    assert said(page, ".profile").startswith("All 512 channels in order, ")


def test_a_gate_that_weighs_one_thing_alone_says_so(visit):
    page = visit()
    move(page, "#strength", 0)
    bare = pixels(page)
    move(page, "#strength", 100)
    move(page, "#stop", 1)
    assert said(page, ".note") == "This gate weighs channels only, all positions alike: the picture is shown plain."
    assert pixels(page) == bare
    assert page.locator(".panel .ramp").first.is_hidden()
    move(page, "#stop", 2)
    assert said(page, ".note") == "This gate weighs positions only, all channels alike."
    assert page.locator(".panel .channels").first.is_hidden()


def test_a_bare_network_shows_its_cam_at_every_stop(visit):
    page = visit()
    move(page, "#stop", CAM)
    cam = pixels(page, BARE)
    assert page.locator(".panel .note").nth(BARE).is_hidden()
    for stop in (0, 3):
        move(page, "#stop", stop)
        assert pixels(page, BARE) == cam
        assert said(page, ".note", BARE) == "This network has no gates: its CAM is shown at every stop."


def test_networks_with_other_sites_meet_at_the_same_depth(visit):
    page = visit("beside")
    met = []
    for stop in range(CAM + 1):
        move(page, "#stop", stop)
        met.append((said(page, ".site", GATED), said(page, ".site", BARE)))
    assert met == [
        ("layer1.0", "layer1.0"),
        ("layer2.0", "layer1.0"),
        ("layer3.0", "layer4.0"),
        ("layer4.0", "layer4.0"),
        ("CAM of tench", "CAM of tench"),
    ]


def test_the_outline_is_where_there_is_a_mask(visit):
    page = visit()
    covered = pixels(page)
    outline = page.get_by_role("button", name="outline")
    outline.click()
    edged = pixels(page)
    changed = [at for at in range(0, len(edged), 4) if edged[at : at + 3] != covered[at : at + 3]]
    assert 100 < len(changed) < len(edged) // 40
    assert {tuple(edged[at : at + 3]) for at in changed} == {(0, 0, 0), (255, 255, 255)}
    page.keyboard.press("ArrowRight")
    turned(page, 2)
    assert outline.is_hidden()


def test_changes_are_announced_politely(visit):
    page = visit()
    status = page.get_by_role("status")
    assert status.get_attribute("aria-live") == "polite"
    move(page, "#stop", 0)
    assert status.text_content().startswith("photo 0.jpg; layer1.0; resnet18 with cbam says tench, 70.0 %")
    assert page.locator("output, [aria-live]").count() == 1


@pytest.mark.parametrize("name", ["plain", "evil", "beside", "single"])
def test_a_phone_never_scrolls_sideways(visit, name):
    page = visit(name, 360, 740)
    for part in page.locator("details:visible").all():
        part.locator("summary").click()
    for stop in range(CAM + 1):
        move(page, "#stop", stop)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert page.evaluate("document.body.scrollWidth") <= 360


def test_names_that_are_markup_are_shown_as_text(visit):
    page = visit("evil")
    assert page.locator(".name").inner_text() == f"0{EVIL}\ufffd"
    assert page.locator(".label").inner_text() == f"truly tench{EVIL}"
    assert page.locator(".said b").first.inner_text() == f"tench{EVIL}"
    assert page.locator(".panel h4").first.inner_text() == f"gated{EVIL}"
    assert page.locator(".problems").get_by_text(EVIL).is_visible()
    assert page.locator("img").count() == 2, "the thumbnails"


def test_scores_can_be_chosen_and_sorted(visit):
    page = visit()
    figure = page.locator("figure.scores")
    figure.get_by_role("button", name="road").click()
    assert figure.locator("[data-part=road]").is_visible()
    assert figure.locator("[data-part=pointing]").is_hidden()
    table = figure.locator("[data-part=road] table")
    assert table.locator("tbody tr").count() == 2 + len(SITES)
    table.get_by_role("button", name="mean").click()
    assert "resnet18" in table.locator("tbody tr").first.inner_text()


def test_a_hundred_pictures_are_soon_there(visit):
    page = visit("large")
    print(f"\n100 pictures: interactive after {page.evaluate('performance.now()'):.0f} ms")
    page.locator(".strip button").nth(99).click()
    turned(page, 100)
    assert page.locator("#stop").get_attribute("max") == "16"


def test_without_scripts_the_tables_are_there(visit_file, pages):
    page = visit_file(pages["plain"], java_script_enabled=False)
    assert page.get_by_text("the tables below need none").is_visible()
    assert page.locator(".viewer").is_hidden()
    assert page.locator("#diagnoses tbody tr").count() == len(SITES)
