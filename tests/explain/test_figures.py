"""The figures show what the explanation holds: maps where they lie, numbers as they are, names as they are written."""

import itertools
import os

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

from whatwhere.data import scenes
from whatwhere.errors import AttachError, DataError
from whatwhere.explain.diagnosis import Diagnosis
from whatwhere.explain.explanation import Explanation, Look, Network, Shown, SiteLook
from whatwhere.explain.figures import Passed, cam_grid, depth, hierarchy, overlay, profiles, save
from whatwhere.explain.figures.drawing import WIDTH

NAMES = ("a_$b$_<c>.jpg", "\\frac{1}{2}.png", "Größe & 猫.png", "no\nline\udcff.png", "long " * 60)
CLASSES = ("ball_$x$", "tench", "church")
SITES = ("layer1", "features.$a_b$." + 5 * "denselayer", "layer3")


def _peak(row, column, size=6):
    """A map that is 1 at one place and 0 elsewhere."""
    places = torch.zeros(size, size)
    places[row, column] = 1
    return places


def _look(number, gated=True, positions=True, channels=True):
    generator = torch.Generator().manual_seed(number)
    sites = {
        site: SiteLook(
            1 + torch.rand(4, 4, generator=generator) if positions else None,
            1 + torch.rand(8 * 2**place, generator=generator) if channels else None,
        )
        for place, site in enumerate(SITES if gated else ())
    }
    return Look((1, 0), (0.93, 0.04), torch.stack((_peak(1, 4), _peak(4, 1))), sites)


def _explanation(count=5, networks=("bam_$n$", "plain"), label=CLASSES[0], masks=True, **look):
    drawn = scenes.generate(count, seed=0, image_size=48)
    pictures = [
        Shown(
            NAMES[number % len(NAMES)],
            drawn.images[number],
            label,
            drawn.masks[number] if masks else None,
            tuple(_look(number, **{"gated": not place, **look}) for place, _ in enumerate(networks)),
        )
        for number in range(count)
    ]
    diagnoses = tuple(Diagnosis(site, "BAM(8)", mean=1.25, sd_images=0.004, entropy=None) for site in SITES)
    known = tuple(Network(name, CLASSES, "layer4", () if place else diagnoses) for place, name in enumerate(networks))
    return Explanation("photos_$1$/*.jpg", "Grad-CAM", 9, known, pictures)


def _passed(count=2, sizes=(12, 6, 3), positions=True):
    drawn = scenes.generate(count, seed=0, image_size=48)

    def site(size):
        before, factor = torch.arange(float(size**2)).view(size, size), 1 + _peak(size - 1, size - 1, size) / 2
        return (before, before * factor, factor if positions else None)

    sites = {f"{SITES[place % 3]}.{place}": site(size) for place, size in enumerate(sizes)}
    return [Passed(NAMES[number], drawn.images[number], CLASSES[0], sites) for number in range(count)]


def _texts(figure):
    """All words of a figure as they will be drawn."""
    figure.draw_without_rendering()
    return [text for text in figure.findobj(mpl.text.Text) if text.get_visible() and text.get_text()]


def _words(figure):
    return [text.get_text() for text in _texts(figure)]


def _images(figure):
    """The arrays of all pictures, in the order they were put down."""
    return [np.asarray(image.get_array()) for axes in figure.axes for image in axes.images]


FIGURES = {
    "hierarchy": lambda: hierarchy(_passed()),
    "hierarchy, one picture, channels alone": lambda: hierarchy(_passed(1, positions=False)),
    "hierarchy, many sites": lambda: hierarchy(_passed(1, (12, 12, 9, 9, 6, 6, 3, 3))),
    "cam_grid": lambda: cam_grid(_explanation(3)),
    "cam_grid, one picture, one network": lambda: cam_grid(_explanation(1, ("bare",), gated=False)),
    "profiles": lambda: profiles(_mixed()),
    "profiles, one picture": lambda: profiles(_explanation(1)),
    "depth": lambda: depth(_explanation()),
    "depth, two gated networks": lambda: depth(_two_gated()),
}


def _mixed():
    """Pictures of three classes."""
    explanation = _explanation(6)
    for number, shown in enumerate(explanation.pictures):
        object.__setattr__(shown, "label", CLASSES[number % 3])
    return explanation


def _two_gated():
    first = _explanation()
    return Explanation("s", "Grad-CAM", 9, (first.networks[0], first.networks[0]), first.pictures)


@pytest.mark.parametrize("name", FIGURES)
def test_words_are_large_enough_and_nothing_lies_over_anything(name):
    figure = FIGURES[name]()
    texts = _texts(figure)
    page = figure.bbox.padded(1)
    assert figure.bbox.width / figure.dpi * 72 <= WIDTH + 0.01
    assert {text.get_fontsize() for text in texts} == {7}
    boxes = [(text.get_text(), mpl.text.Text.get_window_extent(text)) for text in texts]
    for words, box in boxes:
        assert page.x0 <= box.x0 < box.x1 <= page.x1, words
        assert page.y0 <= box.y0 < box.y1 <= page.y1, words
    for (words, box), (other, beside) in itertools.combinations(boxes, 2):
        assert not box.padded(-1).overlaps(beside.padded(-1)), (words, other)
    panels = [axes.get_window_extent().padded(-1) for axes in figure.axes]
    for first, second in itertools.combinations(panels, 2):
        assert not first.overlaps(second)
    inside = {text for axes in figure.axes for text in axes.texts}
    for text in set(texts) - inside:
        assert not any(text.get_window_extent().padded(-1).overlaps(panel) for panel in panels), text.get_text()


@pytest.mark.parametrize("name", ["hierarchy, one picture, channels alone", "cam_grid", "profiles", "depth"])
def test_both_files_are_whole_and_the_same_every_time(name, tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    paths = save(FIGURES[name](), tmp_path / "figure.v2")
    assert paths == (tmp_path / "figure.v2.png", tmp_path / "figure.v2.pdf")
    png, pdf = (path.read_bytes() for path in paths)
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert png.endswith(b"IEND\xaeB`\x82")
    assert pdf.startswith(b"%PDF-")
    assert pdf.endswith(b"%%EOF\n")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    save(FIGURES[name](), tmp_path / "again")
    assert sorted(os.listdir(tmp_path)) == ["again.pdf", "again.png", "figure.v2.pdf", "figure.v2.png"]
    assert ((tmp_path / "again.png").read_bytes(), (tmp_path / "again.pdf").read_bytes()) == (png, pdf)


def test_what_the_user_set_in_matplotlib_neither_changes_nor_counts(tmp_path):
    first = save(profiles(_explanation(1)), tmp_path / "first")[0].read_bytes()
    with mpl.rc_context({"font.size": 20, "text.usetex": True, "axes.grid": True, "image.cmap": "jet"}):
        before = dict(mpl.rcParams), mpl.get_backend()
        second = save(profiles(_explanation(1)), tmp_path / "second")[0].read_bytes()
        assert (dict(mpl.rcParams), mpl.get_backend()) == before
    assert first == second


def test_cam_grid_shows_the_map_and_the_probability_of_the_true_class():
    explanation = _explanation(2)
    figure = cam_grid(explanation)
    images = _images(figure)
    assert len(images) == 2 * (1 + 2)
    np.testing.assert_array_equal(images[0], explanation.pictures[0].pixels.permute(1, 2, 0))
    np.testing.assert_array_equal(images[1], overlay(explanation.pictures[0].pixels, _peak(4, 1)))
    words = _words(figure)
    assert words.count("P = 0.04") == words.count("ball_$x$") == 4
    assert words.count("bam_$n$") == words.count("plain") == words.count("input") == 2
    assert "Grad-CAM · photos_$1$/*.jpg" in words
    assert "ball_$x$ · a_$b$_<c>.jpg" in words


@pytest.mark.parametrize(("label", "colour"), [("", "#000000"), ("tench", "#000000"), ("church", "#d55e00")])
def test_cam_grid_falls_back_on_the_first_class(label, colour):
    figure = cam_grid(_explanation(1, ("bare",), label, gated=False))
    np.testing.assert_array_equal(_images(figure)[1], overlay(_explanation(1).pictures[0].pixels, _peak(1, 4)))
    (shown,) = [text for text in _texts(figure) if text.get_text() == "P = 0.93"]
    assert to_hex(shown.get_color()) == colour
    assert "tench" in _words(figure)


def test_cam_grid_outlines_the_objects_and_stops_at_most():
    outlined = cam_grid(_explanation(5), most=3)
    assert len(outlined.axes) == 9
    mask = _explanation(1).pictures[0].mask
    for axes in outlined.axes[:3]:
        (edge,) = axes.collections
        columns, rows = edge.get_paths()[0].vertices.T
        assert (rows.min(), rows.max()) == (mask.any(1).nonzero().min() - 0.5, mask.any(1).nonzero().max() + 0.5)
        assert (columns.min(), columns.max()) == (mask.any(0).nonzero().min() - 0.5, mask.any(0).nonzero().max() + 0.5)
        assert (axes.get_xlim(), axes.get_ylim()) == ((-0.5, 47.5), (47.5, -0.5))
    assert all(len(axes.collections) == 0 for axes in cam_grid(_explanation(1, masks=False)).axes)


def test_an_object_that_fills_the_picture_has_an_edge_and_none_has_none():
    explanation = _explanation(2)
    for shown, value in zip(explanation.pictures, (True, False), strict=True):
        shown.mask.fill_(value)
    panels = cam_grid(explanation).axes
    assert [len(axes.collections) for axes in panels] == [1, 1, 1, 0, 0, 0]
    assert all(len(axes.collections[0].get_paths()[0].vertices) > 4 for axes in panels[:3])


def test_hierarchy_shows_before_factor_and_after_on_common_scales():
    (passed,) = _passed(1)
    figure = hierarchy([passed])
    panels = [axes.images[0] for axes in figure.axes]
    assert len(panels) == 1 + 3 * 3
    for place, (before, after, factor) in enumerate(passed.sites.values()):
        first, middle, last = panels[1 + 3 * place : 4 + 3 * place]
        for panel, expected in ((first, before), (middle, factor), (last, after)):
            np.testing.assert_array_equal(panel.get_array(), expected)
        assert first.get_clim() == last.get_clim() == (0, float(after.max()))
        assert middle.get_clim() == (1, 1.5)
    words = _words(figure)
    assert words.count("before") == words.count("factor") == words.count("after") == 3
    assert words.count("factor 1.000 to 1.500") == 3
    assert "layer1.0" in words


def test_hierarchy_does_not_blow_a_constant_factor_up():
    (passed,) = _passed(1, (6,))
    ((site, (before, _, _)),) = passed.sites.items()
    noise = 1.25 + 1e-6 * torch.rand(6, 6)
    figure = hierarchy([Passed(passed.name, passed.pixels, "", {site: (before, before * noise, noise)})])
    low, high = figure.axes[2].images[0].get_clim()
    assert high - low == pytest.approx(0.02, rel=1e-3)
    assert (low + high) / 2 == pytest.approx(1.25, rel=1e-3)
    assert "factor 1.250 to 1.250" in _words(figure)


def test_hierarchy_has_one_factor_scale_for_all_pictures():
    (first,) = _passed(1, (6,))
    ((site, (before, _, _)),) = first.sites.items()
    low, high = (Passed("", first.pixels, "", {site: (before, before, torch.full((6, 6), f))}) for f in (1.1, 1.9))
    figure = hierarchy([low, high])
    assert figure.axes[2].images[0].get_clim() == figure.axes[6].images[0].get_clim() == pytest.approx((1.1, 1.9))


def test_hierarchy_of_gates_without_positions_has_no_factor():
    figure = hierarchy(_passed(2, positions=False))
    assert len(figure.axes) == 2 * (1 + 3 * 2)
    assert not any("factor" in words for words in _words(figure))


@pytest.mark.parametrize(
    ("sizes", "most", "shown"),
    [
        ((12, 6, 6, 3), 4, [0, 1, 2, 3]),
        ((12, 12, 6, 6, 3), 4, [1, 3, 4]),
        ((24, 12, 9, 6, 3, 3), 4, [1, 2, 3, 5]),
        ((12, 6, 3), 1, [2]),
    ],
)
def test_hierarchy_takes_the_last_site_of_each_size(sizes, most, shown):
    (passed,) = _passed(1, sizes)
    images = _images(hierarchy([passed], most))[1::3]
    sites = list(passed.sites.values())
    assert [image.shape for image in images] == [sites[place][0].shape for place in shown]


def test_profiles_are_sorted_means_with_a_band():
    explanation = _explanation(5)
    figure = profiles(explanation)
    assert len(figure.axes) == 3
    for axes, site in zip(figure.axes, SITES, strict=True):
        values = np.stack([shown.looks[0].sites[site].channels for shown in explanation.pictures])
        order = values.mean(0).argsort(kind="stable")
        (line,) = axes.lines
        np.testing.assert_allclose(line.get_ydata(), values.mean(0)[order])
        np.testing.assert_array_equal(line.get_xdata(), np.arange(1, values.shape[1] + 1))
        (band,) = axes.collections
        edge = {(x, round(y, 5)) for x, y in band.get_paths()[0].vertices}
        low, high = np.percentile(values[:, order], (10, 90), axis=0)
        assert {(place + 1, round(float(end), 5)) for ends in (low, high) for place, end in enumerate(ends)} <= edge
        assert axes.get_ylim() == (1, 2)
    assert figure.axes[0].get_title() == "layer1"
    assert "bam_$n$ · photos_$1$/*.jpg · n = 5, band: 10th to 90th percentile" in _words(figure)


def test_profiles_draw_each_class_through_fifty_channels_and_name_it():
    explanation = _mixed()
    for number, shown in enumerate(explanation.pictures):
        wide = 1 + torch.rand(200, generator=torch.Generator().manual_seed(number))
        shown.looks[0].sites["layer3"] = SiteLook(None, wide)
    figure = profiles(explanation)
    values = np.stack([shown.looks[0].sites["layer3"].channels for shown in explanation.pictures])
    *lines, mean = figure.axes[2].lines
    assert len(mean.get_xdata()) == 200
    order = values.mean(0).argsort(kind="stable")
    for place, line in enumerate(lines):
        assert len(line.get_xdata()) == 50
        np.testing.assert_allclose(line.get_ydata(), values[place::3].mean(0)[order][line.get_xdata() - 1])
    named = {text.get_text(): to_hex(text.arrow_patch.get_edgecolor()) for text in figure.axes[2].texts}
    assert named == dict(zip((*CLASSES, "mean"), ("#0072b2", "#d55e00", "#009e73", "#000000"), strict=True))
    assert [text.xy[1] for text in figure.axes[2].texts] == sorted(text.xy[1] for text in figure.axes[2].texts)


def test_profiles_draw_no_more_than_five_classes():
    explanation = _explanation(8)
    for number, shown in enumerate(explanation.pictures):
        object.__setattr__(shown, "label", f"class {max(0, number - 1)}")
    figure = profiles(explanation)
    assert len(figure.axes[0].lines) == 6
    assert {text.get_text() for text in figure.axes[2].texts} == {"mean", *(f"class {place}" for place in range(5))}


def test_profiles_of_a_gate_at_identity_are_flat_in_a_whole_range():
    explanation = _explanation(1)
    for site in SITES:
        explanation.pictures[0].looks[0].sites[site] = SiteLook(None, torch.ones(1))
    assert profiles(explanation).axes[0].get_ylim() == (1, 2)


def test_depth_writes_each_number_and_colours_it_over_its_range():
    networks = _explanation().networks
    diagnoses = (
        Diagnosis("first", "SE(8)", mean=0.5, sd_images=0.004, saturated_low=0.25, saturated_high=0.5, moved=0.75),
        Diagnosis("la_$y$er", "SE(8)", mean=2.0, sd_within=0.1, saturated_low=0.25, entropy=0.9, dead=0.0, flipped=0.5),
    )
    network = Network("se", CLASSES, "layer4", diagnoses)
    figure = depth(Explanation("s", "Grad-CAM", 9, (networks[1], network), []))
    (axes,) = figure.axes
    shares = axes.images[0].get_array()
    written = np.array([text.get_text() for text in axes.texts]).reshape(2, 9).tolist()
    assert written == [
        ["0.500", "0.004", "–", "0.750", "–", "–", "–", "–", "0.750"],
        ["2.000", "–", "0.100", "–", "0.900", "0.000", "–", "0.500", "–"],
    ]
    expected = [
        [0.25, 0.02, None, 0.75, None, None, None, None, 1],
        [1, None, 0.5, None, 0.5, 0, None, 1, None],
    ]
    assert [[None if share is None else pytest.approx(share) for share in row] for row in expected] == shares.tolist()
    assert [label.get_text() for label in axes.get_yticklabels()] == ["first", "la_$y$er"]
    assert axes.get_xticklabels()[4].get_text() == "entropy of\npositions\n0.8 to 1"


def test_depths_numbers_can_be_read_on_their_colours():
    diagnoses = tuple(Diagnosis(str(step), "SE(8)", mean=step / 20) for step in range(41))
    figure = depth(Explanation("s", "Grad-CAM", 9, (Network("se", CLASSES, "l", diagnoses),), []))
    (axes,) = figure.axes
    image = axes.images[0]
    colours = image.cmap(image.norm(image.get_array())).reshape(-1, 4)
    for text, colour in zip(axes.texts, colours, strict=True):
        assert _contrast(text.get_color(), colour) > 4, text.get_text()


def _contrast(first, second):
    """Of two colours, 1 to 21, as the web's guidelines for accessible content define it."""
    lights = []
    for colour in (first, second):
        parts = np.array(mpl.colors.to_rgb(colour))
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        lights.append(linear @ (0.2126, 0.7152, 0.0722) + 0.05)
    return max(lights) / min(lights)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: hierarchy([]), DataError, "hierarchy(pictures): there is no picture to draw"),
        (
            lambda: hierarchy(_passed(1, ())),
            AttachError,
            "hierarchy(pictures): the network has no gates\n"
            "  fix: attach_(model, 'bam') puts gates in; cam_grid shows a bare network",
        ),
        (
            lambda: cam_grid(_explanation(0)),
            DataError,
            "cam_grid(explanation): no picture was kept for showing\n  got: source 'photos_$1$/*.jpg'",
        ),
        (
            lambda: profiles(_explanation(0)),
            DataError,
            "profiles(explanation): no picture was kept for showing\n  got: source 'photos_$1$/*.jpg'",
        ),
        (
            lambda: profiles(_explanation(1), network=1),
            AttachError,
            "profiles(explanation, network=1): 'plain' has no gates\n  fix: attach_(model, 'bam') puts gates in",
        ),
        (
            lambda: profiles(_explanation(1, channels=False)),
            DataError,
            "profiles(explanation, network=0): no gate of 'bam_$n$' weighs channels\n"
            "  fix: hierarchy shows what gates do to positions",
        ),
        (
            lambda: depth(Explanation("s", "Grad-CAM", 1, _explanation(1).networks[1:])),
            AttachError,
            "depth(explanation): no network has gates\n  got: 'plain'\n  fix: attach_(model, 'bam') puts gates in",
        ),
    ],
)
def test_what_cannot_be_drawn_is_said(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message
