import io
import random

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from torchvision.transforms import RandomResizedCrop, v2

from whatwhere.data.crop import draw_box, middle, random_crop


def _encoded(pixels, kind="PNG", **options):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind, **options)
    return out.getvalue()


def _noise(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [(375, 500), (500, 375), (256, 256)], ids=str)
def test_boxes_are_spread_as_those_of_torchvision(size):
    height, width = size
    chance = random.Random(0)
    ours = np.array([draw_box(width, height, chance) for _ in range(3000)])
    image = torch.empty(3, height, width)
    theirs = np.array([RandomResizedCrop.get_params(image, (0.08, 1), (3 / 4, 4 / 3)) for _ in range(3000)])
    left, top, wide, high = ours.T
    assert (left >= 0).all()
    assert (top >= 0).all()
    assert (left + wide <= width).all()
    assert (top + high <= height).all()
    for our, their in zip((top, left, high, wide, high * wide), (*theirs.T, theirs[:, 2] * theirs[:, 3]), strict=True):
        spread = their.std()
        assert abs(our.mean() - their.mean()) < 0.1 * spread
        assert abs(our.std() - spread) < 0.1 * spread
    assert 0.07 < (wide * high).min() / (width * height) < 0.1


@pytest.mark.parametrize(
    ("size", "box"), [((1000, 10), (493, 0, 13, 10)), ((10, 1000), (0, 493, 10, 13)), ((1, 1), (0, 0, 1, 1))], ids=str
)
def test_an_image_too_narrow_for_any_box_gives_its_middle(size, box):
    class Never(random.Random):
        def uniform(self, a, b):
            return b if b == 1 else 0  # the whole area at ratio 1, which fits nowhere but in a square

    assert draw_box(*size, Never(0)) == box


def test_a_crop_is_that_part_of_the_image_scaled():
    pixels = _noise(60, 80)
    chance = random.Random(3)
    box = draw_box(80, 60, chance)
    mirrored = chance.random() < 0.5
    crop = random_crop(_encoded(pixels), 16, random.Random(3))
    left, top, wide, high = box
    expected = v2.functional.resized_crop(
        torch.from_numpy(pixels).permute(2, 0, 1), top, left, high, wide, [16, 16], antialias=True
    )
    assert torch.equal(crop, expected.flip(-1) if mirrored else expected)


def test_half_of_the_crops_are_mirrored():
    ramp = np.broadcast_to(np.arange(0, 250, 5, dtype=np.uint8)[None, :, None], (50, 50, 3))
    data = _encoded(np.ascontiguousarray(ramp))
    rising = [
        int(crop[0, 0, 0]) < int(crop[0, 0, -1])
        for crop in (random_crop(data, 8, random.Random(i)) for i in range(400))
    ]
    assert 160 < sum(rising) < 240


def test_a_large_jpeg_is_decoded_small_and_shows_the_same(monkeypatch):
    smooth = np.asarray(Image.fromarray(_noise(6, 8)).resize((400, 300), Image.Resampling.BICUBIC))
    plain, jpeg = _encoded(smooth, compress_level=0), _encoded(smooth, "JPEG", quality=95)
    whole = [random_crop(plain, 24, random.Random(i)) for i in range(20)]
    sizes, draft = [], JpegImageFile.draft

    def watched(self, mode, size):
        sizes.append(size)
        return draft(self, mode, size)

    monkeypatch.setattr(JpegImageFile, "draft", watched)
    small = [random_crop(jpeg, 24, random.Random(i)) for i in range(20)]
    assert len(sizes) == 20
    assert set(sizes) == {(100, 75), (50, 37)}
    apart = [(one.float() - other.float()).abs().mean() for one in whole for other in small]
    matched = apart[::21]
    assert max(matched) < 10  # boxes are rounded to pixels of the small picture
    assert float(np.median(apart)) > 30


@pytest.mark.parametrize("size", [(50, 70), (70, 50), (9, 31), (256, 256)], ids=str)
def test_the_middle_is_what_torchvision_gives(size):
    pixels = _noise(*size)
    expected = v2.Compose([v2.Resize(256, antialias=True), v2.CenterCrop(224)])(
        torch.from_numpy(pixels).permute(2, 0, 1)
    )
    assert torch.equal(middle(_encoded(pixels), 224), expected)


def test_grey_images_become_rgb():
    out = io.BytesIO()
    Image.new("L", (20, 20), 77).save(out, "PNG")
    for image in (middle(out.getvalue(), 8), random_crop(out.getvalue(), 8, random.Random(0))):
        assert image.shape == (3, 8, 8)
        assert image.unique().tolist() == [77]
