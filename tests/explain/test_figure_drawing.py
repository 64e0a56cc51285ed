"""What all figures share: a map over a picture, and names that are shown as they are in the room there is."""

import matplotlib as mpl
import numpy as np
import pytest
import torch

from whatwhere.data import scenes
from whatwhere.explain.figures import overlay, save
from whatwhere.explain.figures.drawing import Sheet
from whatwhere.explain.figures.lettering import fit, printable


def test_an_overlay_is_brightest_where_the_map_is():
    grey = torch.full((3, 60, 60), 128, dtype=torch.uint8)
    places = torch.zeros(6, 6)
    places[1, 4] = 1
    over = overlay(grey, places)
    assert over.shape == (60, 60, 3)
    assert over.dtype == np.float32
    assert 0 <= over.min() < over.max() <= 1
    row, column = np.unravel_index(over.sum(-1).argmax(), (60, 60))
    assert (row // 10, column // 10) == (1, 4)


def test_an_overlays_strength_goes_from_the_grey_picture_to_the_map():
    pixels = scenes.generate(1, seed=0).images[0]
    alone, covered = (overlay(pixels, torch.ones(2, 2), strength) for strength in (0, 1))
    red, green, blue = (channel.numpy() / 255 for channel in pixels)
    np.testing.assert_allclose(alone[..., 1], 0.299 * red + 0.587 * green + 0.114 * blue, atol=1e-6)
    np.testing.assert_array_equal(alone[..., 0], alone[..., 2])
    np.testing.assert_allclose(covered, np.broadcast_to(mpl.colormaps["inferno"](1.0)[:3], covered.shape), atol=1e-6)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a_$b$_<c>", "a_$b$_<c>"),
        ("Gro\u0308ße", "Größe"),
        ("猫.png", "\ufffd.png"),
        ("two\nlines\udcff\x00", "two\ufffdlines\ufffd\ufffd"),
        ("Ωμέγα Жук", "Ωμέγα Жук"),
        ("gpj.\u202ename", "gpj.\ufffdname"),
    ],
)
def test_names_are_shown_with_the_letters_there_are(text, shown):
    assert printable(text) == shown


def test_long_names_lose_their_middle():
    assert fit("layer1", 100) == "layer1"
    short = fit("features.denseblock4.denselayer16.conv2", 90)
    first, last = short.split("…")
    assert len(first) - len(last) in (0, 1)
    assert "features.denseblock4.denselayer16.conv2".startswith(first)
    assert "features.denseblock4.denselayer16.conv2".endswith(last)
    assert len(short) > 12
    assert fit("W" * 5000, 1) == "…"


def test_a_name_is_no_formula():
    drawn = []
    for name in ("a$b$", "a$c$"):
        sheet = Sheet(100, 20)
        text = sheet.line(0, 0, 100, name)
        sheet.figure.draw_without_rendering()
        drawn.append(text.get_window_extent().width)
    plain = Sheet(100, 20)
    text = plain.line(0, 0, 100, "ab")
    plain.figure.draw_without_rendering()
    assert min(drawn) > text.get_window_extent().width + 10


def test_a_save_that_fails_leaves_the_old_files(tmp_path):
    (tmp_path / "figure.png").write_text("old")
    figure = Sheet(100, 20).figure
    figure.text(0.5, 0.5, "$\\nonsense{$")
    with pytest.raises(ValueError, match="nonsense"):
        save(figure, tmp_path / "figure")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("figure.png", "old")]
