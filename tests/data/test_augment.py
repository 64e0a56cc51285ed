import pytest
import torch
from torch.nn import functional

from whatwhere.data import Augment
from whatwhere.errors import DataError


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def _images(count=64, height=9, width=12):
    return torch.randint(1, 256, (count, 3, height, width), dtype=torch.uint8)


@pytest.mark.parametrize(("padding", "flip"), [(4, True), (2, False), (0, True), (1, True)])
def test_each_image_is_its_own_shifted_and_flipped_copy(padding, flip):
    images = _images()
    result = Augment(padding, flip)(images, _generator())
    assert (result.shape, result.dtype) == (images.shape, torch.uint8)
    draws = _generator()
    offsets = torch.randint(2 * padding + 1, (64, 2), generator=draws) if padding else torch.zeros(64, 2).long()
    flips = torch.randint(2, (64, 1, 1, 1), generator=draws).flatten() if flip else torch.zeros(64).long()
    padded = functional.pad(images, (padding,) * 4)
    for i in range(64):
        y, x = offsets[i].tolist()
        expected = padded[i, :, y : y + 9, x : x + 12]
        assert torch.equal(result[i], expected.flip(-1) if flips[i] else expected)
    assert offsets.unique(dim=0).shape[0] > (1 if padding else 0)
    assert not flip or 16 <= int(flips.sum()) <= 48


def test_every_shift_and_both_sides_turn_up():
    image = torch.arange(1, 26, dtype=torch.uint8).view(1, 1, 5, 5)
    results = Augment(1)(image.expand(500, 1, 5, 5), _generator())
    assert results.flatten(1).unique(dim=0).shape[0] == 18


def test_the_generator_alone_decides_and_moves_on():
    images, augment = _images(), Augment()
    generator = _generator(3)
    first, second = augment(images, generator), augment(images, generator)
    torch.manual_seed(99)
    assert torch.equal(augment(images, _generator(3)), first)
    assert not torch.equal(first, second)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_the_same_images():
    images = _images()
    there = Augment()(images.cuda(), _generator())
    assert torch.equal(there.cpu(), Augment()(images, _generator()))


def test_the_images_given_are_left_alone():
    images = _images()
    before = images.clone()
    Augment()(images, _generator())
    assert torch.equal(images, before)


@pytest.mark.parametrize("count", [0, 1])
def test_few_images(count):
    assert Augment()(_images(count), _generator()).shape == (count, 3, 9, 12)


def test_negative_padding_is_refused():
    with pytest.raises(DataError) as caught:
        Augment(padding=-1)
    assert str(caught.value) == "Augment(padding=-1): padding is a number of pixels, 0 or more"


@pytest.mark.parametrize(
    ("images", "got"),
    [(torch.zeros(2, 3, 4, 4), "float32 (2, 3, 4, 4)"), (torch.zeros(3, 4, 4, dtype=torch.uint8), "uint8 (3, 4, 4)")],
    ids=["dtype", "axes"],
)
def test_other_images_are_refused(images, got):
    with pytest.raises(DataError) as caught:
        Augment()(images, _generator())
    assert str(caught.value) == f"Augment()(images): images are uint8 (B, C, H, W)\n  got: {got}"


def test_a_generator_elsewhere_is_refused():
    class Elsewhere:
        device = torch.device("cuda", 0)

    with pytest.raises(DataError) as caught:
        Augment()(_images(), Elsewhere())
    assert str(caught.value) == (
        "Augment()(images, generator): the generator must be on the CPU, the same draws for every device\n"
        "  got: a generator on cuda:0\n"
        "  fix: torch.Generator().manual_seed(seed)"
    )


def test_slices_of_a_batch_get_what_the_batch_gets():
    images, augment = _images(10), Augment(2)
    whole = augment(images, _generator(4))
    for first, last in ((0, 4), (4, 4), (4, 10)):
        part = augment(images[first:last], _generator(4), first=first, total=10)
        assert torch.equal(part, whole[first:last])


@pytest.mark.parametrize(("first", "total"), [(0, 3), (3, 6), (-1, 6), (1, None)])
def test_a_slice_outside_its_batch_is_refused(first, total):
    with pytest.raises(DataError) as caught:
        Augment()(_images(4), _generator(), first=first, total=total)
    assert str(caught.value) == (
        f"Augment()(images, first={first}, total={total}): the images lie within the larger batch\n  got: 4 images"
    )
