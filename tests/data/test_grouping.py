import pytest
import torch

from whatwhere.data.grouping import grouped_order


def _sizes(upright, others):
    return torch.tensor([[5, 3]] * upright + [[3, 5], [4, 4]] * others)[: upright + others]


def _order(sizes, seed=0, batch_size=4):
    return grouped_order(sizes, torch.Generator().manual_seed(seed), batch_size)


@pytest.mark.parametrize(("upright", "others"), [(37, 66), (3, 2), (0, 9), (8, 8), (1, 0), (7, 7)])
def test_every_image_comes_once_and_at_most_two_batches_are_mixed(upright, others):
    sizes = _sizes(upright, others)
    order = _order(sizes)
    assert order.dtype == torch.int64
    assert order.sort().values.tolist() == list(range(upright + others))
    tall = sizes[order, 0] > sizes[order, 1]
    mixed = sum(len(set(batch.tolist())) > 1 for batch in tall.split(4))
    assert mixed <= 2


def test_orders_differ_by_seed_and_repeat_by_seed():
    sizes = _sizes(40, 61)
    assert torch.equal(_order(sizes), _order(sizes))
    assert not torch.equal(_order(sizes), _order(sizes, seed=1))


def test_batches_of_both_kinds_alternate_at_random():
    sizes = _sizes(200, 200)
    kinds = (sizes[:, 0] > sizes[:, 1])[_order(sizes)[::4]]
    changes = (kinds[1:] != kinds[:-1]).float().mean()
    assert 0.3 < changes < 0.7


def test_what_is_left_over_is_other_images_each_time():
    sizes = _sizes(41, 42)
    last = {tuple(_order(sizes, seed=seed)[80:].tolist()) for seed in range(20)}
    assert len(last) == 20


def test_images_of_a_kind_are_in_random_company():
    sizes = _sizes(400, 0)
    assert not torch.equal(_order(sizes), torch.arange(400))
    together = _order(sizes).view(-1, 4).sort(1).values
    assert (together[:, 1:] == together[:, :-1] + 1).float().mean() < 0.05
