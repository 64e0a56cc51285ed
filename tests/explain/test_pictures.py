"""Pixels and masks as a network is given them, files that cannot be read, and reading ahead."""

import gc
import io
import os
import threading
import warnings

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from support.image_files import KINDS_OF_PIXELS, SIZE, box_mask, noise, read_pictures, write_image, write_voc

from whatwhere.data.annotations import Annotated, Object
from whatwhere.explain import framing, reading
from whatwhere.explain.framing import framed, masks
from whatwhere.explain.reading import pictures


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("shape", [(8, 8), (6, 12), (12, 6)])
def test_masks_follow_the_turn_and_the_cut_of_the_pixels(orientation, shape):
    """A white box on black, framed, is the mask of that box: the pixels say where it went."""
    pixels = np.zeros((24, 48), np.uint8)
    pixels[4:16, 8:28] = 255
    known = Annotated(None, (48, 24), (Object("dog", (8, 4, 28, 16)),))
    seen = framed(Image.fromarray(pixels), orientation, shape, 1)[0]
    mask = masks(known, (48, 24), orientation, shape)["dog"]
    assert mask.shape == seen.shape == shape
    assert mask.is_contiguous()
    assert ((seen > 127) == mask).float().mean() > 0.9
    assert mask[seen == 255].all()
    assert not mask[seen == 0].any()


def test_annotation_of_the_image_as_it_is_seen_is_not_turned_again():
    known = Annotated(None, (8, 16), (Object("dog", (0, 4, 2, 7)),))
    assert torch.equal(masks(known, (16, 8), 6, SIZE)["dog"], box_mask(0, 0, 2, 3))


def test_what_no_score_counts_is_no_object():
    objects = (
        Object("dog", (0, 0, 4, 4), difficult=True),
        Object("cat", (0, 0, 4, 4), crowd=True),
        Object("dog", (4, 0, 8, 8)),
    )
    found = masks(Annotated(None, (8, 8), objects), (8, 8), 1, SIZE)
    assert list(found) == ["dog"]
    assert torch.equal(found["dog"], box_mask(4, 0, 8, 8))


def test_small_objects_keep_a_pixel_and_cut_ones_none():
    def mask(*box):
        return masks(Annotated(None, (160, 80), (Object("dog", box),)), (160, 80), 1, SIZE).get("dog")

    assert torch.equal(mask(52, 31, 54, 33), box_mask(1, 3, 2, 4))
    assert torch.equal(mask(0, 0, 46, 80), box_mask(0, 0, 1, 8))
    assert mask(0, 0, 44, 80) is None
    assert mask(121, 0, 122, 80) is None


# Pixels.


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_by_exif(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    source = Image.fromarray(noise(24, 24))
    for suffix in (".png", ".tif", ".webp"):
        path = tmp_path / f"a{suffix}"
        source.save(path, exif=exif, **({"lossless": True} if suffix == ".webp" else {}))
        with Image.open(path) as opened:
            upright = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
        (one,), _ = read_pictures(path, size=(24, 24))
        assert torch.equal(one.pixels, torch.from_numpy(upright.copy()).permute(2, 0, 1)), suffix


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_an_orientation_that_is_none_turns_nothing(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    (one,), problems = read_pictures(write_image(tmp_path / "a.jpg", size=(8, 8), exif=exif))
    assert (one.pixels.shape, problems) == ((3, 8, 8), [])


@pytest.mark.parametrize(
    "exif",
    [
        b"II*\0\x08\0\0\0\xff\xff\x12\x01",
        b"no EXIF at all",
        b"II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x03\0\0\0six\0\0\0\0\0",
    ],
    ids=["broken off", "text", "orientation in words"],
)
def test_broken_exif_turns_nothing_and_warns_nobody(tmp_path, exif):
    (one,), problems = read_pictures(write_image(tmp_path / "a.jpg", exif=b"Exif\0\0" + exif))
    assert (one.name, problems) == ("a.jpg", [])


def test_the_middle_of_the_asked_shape_is_taken(tmp_path):
    pixels = np.zeros((8, 32, 3), np.uint8)
    pixels[:, 8:24] = noise(8, 16)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (one,), _ = read_pictures(tmp_path, size=(8, 16))
    assert torch.equal(one.pixels, torch.from_numpy(pixels[:, 8:24]).permute(2, 0, 1))
    (one,), _ = read_pictures(tmp_path, size=(8, 8))
    assert torch.equal(one.pixels, torch.from_numpy(pixels[:, 12:20]).permute(2, 0, 1))


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (2, 3)])
def test_thin_images_are_pictures_too(tmp_path, size):
    (one,), problems = read_pictures(write_image(tmp_path / "a.png", size=size))
    assert one.pixels.flatten(1).unique(dim=1).flatten().tolist() == [10, 20, 30]
    assert (one.pixels.shape, problems) == ((3, 8, 8), [])


@pytest.mark.parametrize(
    ("mode", "colour", "suffix", "rgb"),
    [*KINDS_OF_PIXELS, ("I", -5, ".tif", (0, 0, 0))],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_kind_of_pixel(tmp_path, mode, colour, suffix, rgb, channels):
    path = tmp_path / f"a{suffix}"
    Image.new(mode, (12, 9), colour).save(path)
    (one,), problems = read_pictures(path, channels=channels)
    grey = round(0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2])
    assert one.pixels.flatten(1).unique(dim=1).flatten().tolist() == (list(rgb) if channels == 3 else [grey])
    assert problems == []


def test_a_palette_with_a_transparent_colour(tmp_path):
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 9, 8, 7])
    image.save(tmp_path / "a.png", transparency=bytes([0, 128]))
    (one,), _ = read_pictures(tmp_path)
    assert one.pixels[:, 0, 0].tolist() == [9, 8, 7]


def test_of_an_animation_the_first_picture_is_taken(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    (one,), _ = read_pictures(tmp_path)
    assert one.pixels[:, 0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize(("size", "decoded"), [((640, 480), (80, 60)), ((127, 100), (127, 100)), ((128, 32), (64, 16))])
def test_a_large_jpeg_is_decoded_small(tmp_path, monkeypatch, size, decoded):
    ramp = np.tile(np.linspace(0, 255, size[1])[:, None, None], (1, size[0], 3)).astype(np.uint8)
    Image.fromarray(ramp).save(tmp_path / "a.jpg", quality=95)
    really, sizes = framing.rgb, []
    monkeypatch.setattr(framing, "rgb", lambda picture: sizes.append(really(picture).size) or really(picture))
    (one,), _ = read_pictures(tmp_path, size=(8, 8) if size != (127, 100) else (50, 50))
    assert sizes == [decoded]
    rows = one.pixels.float().mean((0, 2))
    expected = (torch.arange(len(rows)) + 0.5) / len(rows) * 255
    assert (rows - expected).abs().max() < 8


# What cannot be read.


def test_broken_files_are_told_and_lose_no_other(tmp_path):
    out = io.BytesIO()
    Image.fromarray(noise(64, 64)).save(out, "JPEG")
    (tmp_path / "b.jpg").write_bytes(out.getvalue()[:1500])
    (tmp_path / "c.png").touch()
    (tmp_path / "d.jpg").write_text("I am no picture")
    Image.new("F", (8, 8), 0.5).save(tmp_path / "e.tif")
    for name in ("a", "f"):
        write_image(tmp_path / f"{name}.png")
    found = pictures([str(tmp_path)], image_size=SIZE)
    for _ in range(2):  # read anew, the lines are not told twice
        assert [one.name for one in found] == ["a.png", "f.png"]
        (broken_off, *others) = found.problems
        assert broken_off.startswith("b.jpg: OSError: ")
        assert broken_off.endswith("; left out")
        no_kind = "UnidentifiedImageError: it is of no kind that Pillow knows, or breaks off in its header"
        assert others == [
            f"c.png: {no_kind}; left out",
            f"d.jpg: {no_kind}; left out",
            "e.tif: ValueError: floating-point pixels, whose range is not known; left out",
        ]
    assert len(found) == 6


def test_a_line_on_a_name_that_is_no_text_can_be_written(tmp_path):
    root = write_voc(tmp_path, a=[])
    os.mkdir(os.fsencode(root) + b"/\xff")
    odd = root / os.fsdecode(b"\xff")
    for folder in ("Annotations", "JPEGImages"):
        (root / folder).rename(odd / folder)
    (odd / "Annotations" / "a.xml").write_text("<")
    _, (line,) = read_pictures(f"voc:{odd}")
    assert line.startswith(
        f"a.jpg: pictures('voc:{root}/\\udcff'): an annotation cannot be read: {root}/\ufffd/Annotat"
    )
    assert line.encode()


def test_beyond_pillows_limit_an_image_is_left_out_and_at_its_warning_it_is_read(tmp_path, monkeypatch):
    write_image(tmp_path / "a.png", size=(10, 10))
    write_image(tmp_path / "b.png", size=(10, 15))
    write_image(tmp_path / "c.png", size=(10, 21))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    filters = list(warnings.filters)
    found, problems = read_pictures(tmp_path)
    assert [one.name for one in found] == ["a.png", "b.png"]
    assert problems == [
        "c.png: DecompressionBombError: Image size (210 pixels) exceeds limit of 200 pixels, could be decompression "
        "bomb DOS attack.; left out"
    ]
    assert warnings.filters == filters


# Reading ahead.


def test_only_a_few_are_read_ahead_and_in_order(tmp_path, monkeypatch):
    for i in range(40):
        write_image(tmp_path / f"{i:02}.png", (i, 0, 0))
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    really, opened = reading._open, []
    monkeypatch.setattr(reading, "_open", lambda place: opened.append(place.path) or really(place))
    found = pictures([str(tmp_path)], image_size=SIZE)
    assert (len(found), opened) == (40, [])
    ahead = []
    for i, one in enumerate(found):
        assert (one.name, int(one.pixels[0, 0, 0])) == (f"{i:02}.png", i)
        ahead.append(len(opened) - i)
    assert max(ahead) == 5


def test_whoever_stops_early_leaves_no_thread_and_no_open_file(tmp_path):
    """An open file that is let go of is a warning, and so an error here."""
    for i in range(40):
        write_image(tmp_path / f"{i:02}.png")
    threads = threading.active_count()
    walk = iter(pictures([str(tmp_path)], image_size=SIZE))
    assert next(walk).name == "00.png"
    walk.close()
    gc.collect()
    assert threading.active_count() == threads
