"""Insertion, deletion and ROAD on networks whose probability is a known function of the pixels."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from whatwhere.errors import DataError, RunError
from whatwhere.explain.perturbing import PERCENTILES, blurred, insertion_deletion, road

WIDTH, HEIGHT = 5, 4


class Weighted(nn.Module):
    """The probability of class 0 is a weighted sum of the pixels of the first channel; that of class 1 is the rest."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = weights
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        assert not torch.is_grad_enabled()
        assert not self.training
        self.seen.append(images.clone())
        share = (images[:, 0] * self.weights).sum((1, 2)).clamp(0, 1)
        return torch.stack([share.log(), (1 - share).log()], 1)


def five_pixels() -> Tensor:
    """A weight of a fifth on each of five of the twenty pixels, on none of the corners."""
    weights = torch.zeros(HEIGHT, WIDTH)
    weights.view(-1)[[1, 7, 8, 12, 16]] = 0.2
    return weights


def ones(images: int = 1) -> Tensor:
    return torch.ones(images, 2, HEIGHT, WIDTH)


def against_zero(model: nn.Module, maps: Tensor, steps: int, label: int = 0) -> tuple[float, float]:
    """Both areas of one map on an image of ones, with zero at the other end."""
    classes = torch.tensor([label])
    insertion, deletion = insertion_deletion(
        model, ones(), maps[None], classes, steps=steps, insertion_from=torch.zeros_like
    )
    return insertion.item(), deletion.item()


def net() -> nn.Module:
    """A small network with a norm, in training mode."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3)
    )


def test_areas_are_those_computed_by_hand() -> None:
    model, weights = Weighted(five_pixels()), five_pixels()
    # falls from 1 to 0 within the first 5 of 20 pixels: a triangle
    assert against_zero(model, weights, 20) == pytest.approx((0.875, 0.125))
    # the same after the other 15 pixels
    assert against_zero(model, -weights, 20) == pytest.approx((0.125, 0.875))
    # of class 1 all is the other way round
    assert against_zero(model, weights, 20, label=1) == pytest.approx((0.125, 0.875))


def test_shares_are_the_true_ones() -> None:
    weights = five_pixels()
    # after 7, 13 and 20 of 20 pixels
    assert against_zero(Weighted(weights), weights, 3) == pytest.approx((1 - 3.5 / 20, 3.5 / 20))
    assert against_zero(Weighted(weights), weights, 1) == pytest.approx((0.5, 0.5))
    # more steps than pixels
    assert against_zero(Weighted(weights), weights, 1000) == pytest.approx((0.875, 0.125))


def test_each_network_input_is_the_one_described() -> None:
    image, order = torch.randn(1, 2, HEIGHT, WIDTH), torch.randperm(20).view(1, HEIGHT, WIDTH)
    model = Weighted(five_pixels())
    insertion_deletion(model, image, order.float(), torch.tensor([0]), steps=4, batch_size=3)
    assert [len(batch) for batch in model.seen] == [3, 3, 3, 1]
    inserted, deleted = torch.cat(model.seen).split(5)
    for step in range(5):
        changed = (order >= 20 - 5 * step).expand(2, HEIGHT, WIDTH)
        assert torch.equal(inserted[step], torch.where(changed, image[0], blurred(image)[0]))
        assert torch.equal(deleted[step], torch.where(changed, 0.0, image[0]))


def test_deleted_pixels_become_what_was_asked() -> None:
    model = Weighted(five_pixels())
    insertion_deletion(model, ones(), ones()[:, 0], torch.tensor([0]), steps=1, deletion_to=lambda image: image * 3)
    assert torch.equal(torch.cat(model.seen)[-1], ones()[0] * 3)


def test_ties_have_no_corner() -> None:
    size, model = 40, Weighted(torch.zeros(40, 40))
    maps = torch.zeros(2, 5, 5)
    maps[1] = 3
    insertion_deletion(model, torch.ones(2, 1, size, size), maps, torch.zeros(2).long(), steps=2)
    first, second = (half[4, 0] for half in torch.cat(model.seen).split(6))
    assert torch.equal(first, second)
    assert first.sum() == size * size / 2
    for part in (first[:20], first[20:], first[:, :20], first[:, 20:]):
        assert abs(part.mean().item() - 0.5) < 4 * 0.5 / np.sqrt(part.numel())


def test_a_map_without_information_falls_in_between() -> None:
    weights = five_pixels()
    best, worst = against_zero(Weighted(weights), weights, 20)[1], against_zero(Weighted(weights), -weights, 20)[1]
    assert best < against_zero(Weighted(weights), torch.ones(1, 1), 20)[1] < worst


def test_maps_are_brought_to_the_pixels() -> None:
    right = torch.zeros(HEIGHT, WIDTH)
    right[:, -1] = 0.25
    # (0, 1) over five columns rises, so the last column of four pixels goes first
    assert against_zero(Weighted(right), torch.tensor([[0.0, 1.0]]), 20) == pytest.approx((0.9, 0.1))


def test_an_image_alone_has_the_numbers_it_has_in_a_batch() -> None:
    model, images, maps = net(), torch.randn(5, 3, 9, 7), torch.rand(5, 3, 3)
    classes = torch.tensor([0, 2, 1, 1, 0])
    whole = torch.stack(insertion_deletion(model, images, maps, classes, steps=6))
    assert whole.shape == (2, 5)
    order = torch.tensor([3, 0, 4, 2, 1])
    turned = torch.stack(insertion_deletion(model, images[order], maps[order], classes[order], steps=6))
    assert torch.equal(turned, whole[:, order])
    alone = insertion_deletion(model, images[3:4], maps[3:4], classes[3:4], steps=6)
    assert torch.equal(torch.cat(alone), whole[:, 3])
    small = torch.stack(insertion_deletion(model, images, maps, classes, steps=6, batch_size=2))
    assert torch.allclose(small, whole, atol=1e-6)


class Broken(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        raise KeyError("the user's own")


@pytest.mark.parametrize("broken", [False, True])
def test_nothing_is_left_on_the_network(broken: bool) -> None:
    model = nn.Sequential(net(), nn.Dropout(), *([Broken()] if broken else []))
    model[0][1].eval()
    modes = [module.training for module in model.modules()]
    before, chance = {name: tensor.clone() for name, tensor in model.state_dict().items()}, torch.get_rng_state()
    images, maps = torch.ones(2, 3, 6, 6), torch.eye(3).expand(2, 3, 3).clone().requires_grad_()
    given = images.clone()
    try:
        insertion_deletion(model, images, maps, torch.tensor([0, 1]))
        assert not broken
    except KeyError:
        assert broken
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), chance)
    assert torch.equal(images, given)
    assert torch.is_grad_enabled()


class GivenMaps:
    """What torchcam's metric asks of its extractor, for maps that are there already."""

    def __init__(self, model: nn.Module, maps: Tensor) -> None:
        self.model, self.maps = model, maps

    def __call__(self, *_: object) -> list[Tensor]:
        return [self.maps]

    def fuse_cams(self, maps: list[Tensor]) -> Tensor:
        return maps[0]

    @contextmanager
    def _hooks_off(self) -> Iterator[None]:
        yield


def test_torchcam_agrees() -> None:
    metrics = pytest.importorskip("torchcam.metrics")
    model, images, maps = net(), torch.randn(3, 3, 8, 10), torch.rand(3, 4, 5)
    insertion, deletion = insertion_deletion(
        model, images, maps, torch.tensor([2, 0, 1]), steps=16, insertion_from=torch.zeros_like
    )
    metric = metrics.DeletionInsertionMetric(GivenMaps(model, maps), lambda logits: logits.softmax(1), steps=16)
    metric.update(images, [2, 0, 1])
    theirs = metric.summary()
    assert insertion.mean().item() == pytest.approx(theirs["insertion_auc"], abs=1e-5)
    assert deletion.mean().item() == pytest.approx(theirs["deletion_auc"], abs=1e-5)
    assert insertion.std() > 1e-4


@pytest.mark.parametrize("size", [(224, 260), (45, 33), (3, 1)])
def test_the_blur_is_gaussian(size: tuple[int, int]) -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    images = torch.randn(2, 3, *size)
    sigma = 5 * min(size) / 224
    oracle = ndimage.gaussian_filter(
        images.double().numpy(), sigma, axes=(2, 3), mode="nearest", radius=int(np.ceil(3 * sigma))
    )
    assert blurred(images).dtype == torch.float32
    assert torch.allclose(blurred(images).double(), torch.from_numpy(oracle), atol=1e-5)


def some_road(maps: Tensor, images: int = 1, percentiles: tuple[int, ...] = PERCENTILES) -> Tensor:
    """ROAD on a network that looks at a bright square on dark ground."""
    pytest.importorskip("pytorch_grad_cam")
    mask = square()
    picture = torch.stack([mask, mask])[None].float().repeat(images, 1, 1, 1)
    return road(Weighted(mask / mask.sum()), picture, maps, torch.zeros(images).long(), percentiles)


def square() -> Tensor:
    mask = torch.zeros(12, 10)
    mask[3:7, 4:8] = 1
    return mask


def test_road_tells_a_perfect_map_from_its_inverse() -> None:
    perfect, inverse = some_road(square()[None]).item(), some_road(-square()[None]).item()
    flat = some_road(torch.ones(1, 2, 2)).item()
    assert perfect > 0.2
    assert inverse == pytest.approx(-perfect, abs=0.1)
    assert abs(flat) < 0.1
    apart = [some_road(square()[None], percentiles=(percentile,)).item() for percentile in PERCENTILES]
    assert perfect == pytest.approx(np.mean(apart), abs=0.02)  # each alone draws other noise
    assert max(apart) - min(apart) > 0.1


def test_road_is_the_same_for_an_image_alone_and_leaves_no_trace() -> None:
    maps, chance = torch.stack([square(), -square(), square()]), torch.get_rng_state()
    whole = some_road(maps, 3)
    assert whole.dtype == torch.float32
    assert torch.equal(torch.get_rng_state(), chance)
    assert whole[0] == whole[2] != whole[1]
    torch.rand(3)
    assert torch.equal(whole, torch.cat([some_road(one[None]) for one in maps]))


def test_road_needs_grad_cam(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pytorch_grad_cam.metrics.road", None)
    with pytest.raises(RunError) as caught:
        road(net(), torch.ones(1, 3, 8, 8), torch.ones(1, 2, 2), torch.tensor([0]))
    assert str(caught.value) == (
        "road(model, images, maps, classes): grad-cam is not installed\n"
        "  got: import of pytorch_grad_cam.metrics.road halted; None in sys.modules\n"
        "  fix: pip install grad-cam"
    )


def test_errors() -> None:
    call = "insertion_deletion(model, images, maps, classes)"
    maps, images, classes = torch.ones(2, 3, 3), torch.ones(2, 3, 8, 8), torch.tensor([0, 1])
    broken = maps.clone()
    broken[1, 0, 0] = torch.nan
    with pytest.raises(DataError) as caught:
        insertion_deletion(net(), images, broken, classes)
    assert str(caught.value) == f"{call}: maps must be finite\n  got: NaN or infinity in 1 of 2, first in maps[1]"
    rule = f"{call}: images must be (B, C, H, W), maps (B, h, w) and classes (B,)\n  got: "
    for wrong, got in [
        ((images[0], maps, classes), "images (3, 8, 8), maps (2, 3, 3), classes (2,)"),
        ((images, maps[:, None], classes), "images (2, 3, 8, 8), maps (2, 1, 3, 3), classes (2,)"),
        ((images, maps, classes[:1]), "images (2, 3, 8, 8), maps (2, 3, 3), classes (1,)"),
        ((images, maps, classes[:, None]), "images (2, 3, 8, 8), maps (2, 3, 3), classes (2, 1)"),
        ((images, maps[:1], classes), "images (2, 3, 8, 8), maps (1, 3, 3), classes (2,)"),
    ]:
        with pytest.raises(DataError) as caught:
            insertion_deletion(net(), *wrong)
        assert str(caught.value) == rule + got
