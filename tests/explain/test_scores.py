"""Localisation scores: worked by hand, at their two fixed points (the mask itself, no information), and by chance."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from whatwhere.errors import DataError
from whatwhere.explain.scores import THRESHOLDS, Localisation, best_iou, chance, energy, iou_curves, pointing

SIZES = [(1, 2), (5, 7), (16, 9), (32, 32)]
SCORES = [pointing, energy, iou_curves]


def some_masks(images: int, size: tuple[int, int]) -> Tensor:
    """Random masks, each with a pixel on and a pixel off."""
    masks = torch.rand(images, *size) < 0.3
    masks[:, 0, 0], masks[:, -1, -1] = True, False
    return masks


def row(*values: float) -> Tensor:
    return torch.tensor([[values]], dtype=torch.float32)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("score", SCORES)
def test_the_mask_itself_scores_one(score: Callable[..., Tensor], size: tuple[int, int]) -> None:
    masks = some_masks(4, size)
    masks[0] = True
    assert (score(masks.float(), masks) == 1).all()
    assert (score(masks.half() * 3 - 7, masks) == 1).all()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("value", [0.0, 0.3, -7.1, 1e30])
@pytest.mark.parametrize("small", [(1, 1), (3, 2), (40, 40)])
def test_a_map_without_information_scores_the_share_of_the_area(
    size: tuple[int, int], value: float, small: tuple[int, int]
) -> None:
    masks, maps = some_masks(3, size), torch.full((3, *small), value)
    share = masks.sum((1, 2)).double() / masks[0].numel()
    assert torch.equal(chance(masks), share)
    assert torch.equal(pointing(maps, masks), share)
    assert torch.equal(energy(maps, masks), share)
    assert torch.equal(iou_curves(maps, masks), share[:, None].expand(3, len(THRESHOLDS)))


def test_rounding_is_no_information() -> None:
    masks, maps = some_masks(2, (8, 8)), torch.full((2, 8, 8), 0.7)
    maps[:, 0, 0] = torch.nextafter(torch.tensor(0.7), torch.tensor(1.0))
    assert torch.equal(pointing(maps, masks), chance(masks))
    maps[:, 0, 0] = 0.70001  # this is more than rounding, and on the mask
    assert pointing(maps, masks).tolist() == [1, 1]


def test_maps_are_brought_to_the_pixels_by_areas() -> None:
    # (0, 1) over four pixels is (0, 1/4, 3/4, 1)
    right = torch.tensor([[[False, False, True, True]]])
    assert energy(row(0, 1), right).tolist() == [1.75 / 2]
    assert iou_curves(row(0, 1), right, (0.2, 0.5, 0.9)).tolist() == [[2 / 3, 1, 0.5]]
    # rows and columns are not mixed up
    tall = torch.tensor([[[0.0], [1.0]]])
    assert energy(tall, right.transpose(1, 2)).tolist() == [1.75 / 2]


def test_the_range_is_taken_after_the_change_of_size() -> None:
    # (0, 1, 1, 0) over two is (1/2, 1/2), which is no information
    assert pointing(row(0, 1, 1, 0), torch.tensor([[[True, False]]])).tolist() == [0.5]
    # (0, 2, 4, 6) over two is (1, 5)
    assert energy(row(0, 2, 4, 6), torch.tensor([[[True, False]]])).tolist() == [0]
    # (0, 0, 0, 4, 8, 0) over three is (0, 2, 4)
    halves = iou_curves(row(0, 0, 0, 4, 8, 0), torch.tensor([[[False, True, True]]]), (0.5, 0.6))
    assert halves.tolist() == [[1, 0.5]]


def test_a_threshold_is_reached_by_what_equals_it() -> None:
    mask = torch.tensor([[[False, False, True, True]]])
    curve = iou_curves(row(0, 1, 3, 4), mask, (0.25, 0.5, 0.75, 1.0))
    assert curve.tolist() == [[2 / 3, 1, 1, 0.5]]
    tenths = torch.arange(11.0)[None, None]
    whole = torch.ones(1, 1, 11, dtype=torch.bool)
    assert torch.allclose(iou_curves(tenths, whole, (0.1, 0.3, 0.7)) * 11, torch.tensor([10.0, 8, 4]).double())


def test_pointing_shares_a_tie() -> None:
    mask = torch.tensor([[[True, False, False, False]]])
    assert pointing(row(2, 1, 2, 0), mask).tolist() == [0.5]
    assert pointing(row(0, 1, 2, 0), mask).tolist() == [0]
    assert pointing(row(2, 1, 1, 0), mask).tolist() == [1]
    assert pointing(row(2, 1.999, 1, 0), mask).tolist() == [1]


def test_pointing_sees_a_plateau_through_interpolation() -> None:
    # each cell becomes three pixels; from the middle of the second to that of the third, four are the largest
    mask = torch.zeros(1, 1, 12, dtype=torch.bool)
    mask[..., 4] = True
    assert pointing(row(0, 0.7, 0.7, 0.1), mask).tolist() == [0.25]


def test_energy_is_counted_from_the_smallest_value() -> None:
    mask = torch.tensor([[[False, False, True, False]]])
    assert energy(row(2, 3, 6, 2), mask).tolist() == [0.8]
    assert energy(row(-3, -2, 1, -3), mask).tolist() == [0.8]


@pytest.mark.parametrize("score", [pointing, energy])
def test_random_maps_score_chance_on_average(score: Callable[[Tensor, Tensor], Tensor]) -> None:
    masks = some_masks(1, (9, 6)).expand(3000, 9, 6)
    excess = score(torch.rand(3000, 9, 6), masks) - chance(masks)
    assert abs(excess.mean()) < 4 * excess.std() / math.sqrt(3000)


@pytest.mark.parametrize("score", SCORES)
def test_no_corner_is_preferred(score: Callable[[Tensor, Tensor], Tensor]) -> None:
    maps, masks = torch.rand(50, 3, 2), some_masks(50, (9, 7))
    assert torch.allclose(score(maps.flip(1, 2), masks.flip(1, 2)), score(maps, masks))


@pytest.mark.parametrize("score", SCORES)
def test_scale_and_offset_do_not_matter(score: Callable[..., Tensor]) -> None:
    maps, masks = torch.rand(5, 7, 4), some_masks(5, (21, 30))
    plain = score(maps, masks)
    assert torch.equal(score(maps * 8, masks), plain)
    assert torch.allclose(score(maps.double() * 3.7 - 40, masks), plain, atol=1e-2)
    assert not torch.allclose(score(-maps, masks), plain, atol=1e-2)


@pytest.mark.parametrize("score", SCORES)
def test_images_do_not_matter_to_each_other(score: Callable[..., Tensor]) -> None:
    maps, masks = torch.rand(6, 7, 4), some_masks(6, (11, 13))
    maps[1], masks[3] = 2, False
    maps[4] *= 1e-9
    plain, order = score(maps, masks), torch.randperm(6)
    assert plain[3].isnan().all()
    assert not plain[[0, 1, 2, 4, 5]].isnan().any()
    assert plain.dtype == torch.float64
    assert torch.equal(score(maps[order], masks[order])[order.argsort()].nan_to_num(9), plain.nan_to_num(9))
    alone = torch.cat([score(maps[i : i + 1], masks[i : i + 1]) for i in range(6)])
    assert torch.equal(alone.nan_to_num(9), plain.nan_to_num(9))


def test_nothing_is_changed_or_differentiated() -> None:
    maps, masks = torch.rand(2, 3, 3, requires_grad=True), some_masks(2, (3, 3))
    before, as_they_were = maps.detach().clone(), masks.clone()
    assert not any(score(maps, masks).requires_grad for score in SCORES)
    assert torch.equal(maps, before)
    assert torch.equal(masks, as_they_were)


def test_chance_of_an_empty_mask_is_unknown() -> None:
    masks = torch.zeros(2, 2, 2, dtype=torch.bool)
    masks[1, 0, 0] = True
    assert chance(masks).nan_to_num(9).tolist() == [9, 0.25]


def test_the_best_threshold_is_one_for_all_images() -> None:
    curves = torch.tensor([[0.9, 0.5, 0.5, 0.0], [math.nan] * 4, [0.0, 0.5, 0.5, 0.9]]).double()
    threshold, values = best_iou(curves, (0.1, 0.2, 0.3, 0.4))
    assert threshold == 0.2
    assert values.nan_to_num(9).tolist() == [0.5, 9, 0.5]
    # by the mean, where the median would choose the other
    assert best_iou(torch.tensor([[0.9, 0.7], [0.9, 0.7], [0.0, 0.7]]), (0.1, 0.2))[0] == 0.2


def test_many_batches_are_one() -> None:
    maps, masks = torch.rand(9, 5, 5), some_masks(9, (10, 15))
    masks[4] = False
    scores = Localisation()
    for part in (slice(0, 2), slice(2, 7), slice(7, 9)):
        scores.update(maps[part], masks[part])
    summary = scores.summary()
    kept = torch.arange(9) != 4
    threshold, overlaps = best_iou(iou_curves(maps, masks))
    whole = dict(pointing=pointing(maps, masks), energy=energy(maps, masks), iou=overlaps, chance=chance(masks))
    assert summary.keys() == whole.keys()
    for name, values in whole.items():
        assert summary[name].n == 8
        assert summary[name].mean == pytest.approx(values[kept].mean().item())
        assert summary[name].sd == pytest.approx(values[kept].std().item())
    assert scores.threshold == threshold


def test_nothing_to_score_is_no_summary() -> None:
    scores = Localisation()
    assert (scores.summary(), scores.threshold) == ({}, None)
    scores.update(torch.rand(2, 3, 3), torch.zeros(2, 3, 3, dtype=torch.bool))
    assert (scores.summary(), scores.threshold) == ({}, None)


@pytest.mark.parametrize(
    ("call", "function"),
    [
        ("pointing", pointing),
        ("energy", energy),
        ("iou_curves", iou_curves),
        ("update", lambda maps, masks: Localisation().update(maps, masks)),
    ],
)
def test_errors(call: str, function: Callable[[Tensor, Tensor], object]) -> None:
    masks, maps = some_masks(3, (4, 4)), torch.rand(3, 2, 2)
    for broken in (math.nan, math.inf):
        maps[1:, 0, 1] = broken
        with pytest.raises(DataError) as caught:
            function(maps, masks)
        assert str(caught.value) == (
            f"{call}(maps, masks): maps must be finite\n  got: NaN or infinity in 2 of 3, first in maps[1]"
        )
    rule = f"{call}(maps, masks): maps must be (B, h, w), and masks bool (B, H, W), one for each\n  got: "
    wrong = {
        "maps (2, 2, 2), masks (3, 4, 4) of torch.bool": (torch.rand(2, 2, 2), masks),
        "maps (3, 2, 2), masks (3, 4, 4) of torch.float32": (torch.rand(3, 2, 2), masks.float()),
        "maps (3, 1, 2, 2), masks (3, 4, 4) of torch.bool": (torch.rand(3, 1, 2, 2), masks),
        "maps (3, 2, 2), masks (3, 1, 4, 4) of torch.bool": (torch.rand(3, 2, 2), masks[:, None]),
    }
    for got, arguments in wrong.items():
        with pytest.raises(DataError) as caught:
            function(*arguments)
        assert str(caught.value) == rule + got
