import pytest
import torch

from whatwhere.data import scenes
from whatwhere.data.shapes import SHAPES, distance_maps
from whatwhere.errors import DataError


@pytest.fixture(scope="module")
def some():
    return scenes.generate(300, seed=7)


def test_shapes_and_types(some):
    assert (some.images.shape, some.images.dtype) == ((300, 3, 32, 32), torch.uint8)
    assert some.labels.bincount().tolist() == [30] * 10
    assert len(scenes.CLASSES) == len(set(scenes.CLASSES)) == 10


def _same(one, other):
    return all(torch.equal(getattr(one, part), getattr(other, part)) for part in ("images", "labels", "boxes", "masks"))


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 250])
def test_the_first_images_do_not_depend_on_how_many_are_drawn(some, count):
    assert _same(scenes.generate(count, seed=7), some.take(torch.arange(count)))


def test_threads_and_torchs_own_seed_change_nothing(some):
    threads = torch.get_num_threads()
    torch.manual_seed(123)
    try:
        torch.set_num_threads(3 - min(threads, 2))
        assert _same(scenes.generate(300, seed=7), some)
    finally:
        torch.set_num_threads(threads)


def test_no_two_images_are_alike_within_or_across_seeds(some):
    other = scenes.generate(300, seed=8)
    together = torch.cat((some.images, other.images)).flatten(1)
    assert len({row.numpy().tobytes() for row in together}) == 600


@pytest.mark.parametrize("size", [24, 32, 65])
def test_boxes_are_the_tightest_round_the_masks(size):
    drawn = scenes.generate(100, seed=1, image_size=size)
    for box, mask in zip(drawn.boxes, drawn.masks, strict=True):
        rows, columns = mask.nonzero(as_tuple=True)
        expected = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert box.tolist() == [float(edge) for edge in expected]


@pytest.mark.parametrize("size", [32, 64])
def test_targets_are_whole_and_stand_anywhere(size):
    drawn = scenes.generate(500, seed=3, image_size=size)
    width, height = (drawn.boxes[:, 2:] - drawn.boxes[:, :2]).unbind(1)
    assert min(width.min(), height.min()) >= size / 8
    assert max(width.max(), height.max()) <= size * 9 / 16 + 1
    centres = (drawn.boxes[:, :2] + drawn.boxes[:, 2:]) / 2 / size
    assert centres.amin(0).max() < 0.3
    assert centres.amax(0).min() > 0.7
    border = torch.cat((drawn.masks[:, 0], drawn.masks[:, -1]), 1).float().mean()
    assert border < 0.02


def test_the_stripes_are_where_the_mask_is(some):
    grey = some.images.float().mean(1)
    change = torch.zeros_like(grey)
    change[:, 1:-1, 1:-1] = (4 * grey[:, 1:-1, 1:-1] - grey[:, :-2, 1:-1] - grey[:, 2:, 1:-1]).sub(
        grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:]
    )
    inside = torch.stack([picture[mask].abs().mean() for picture, mask in zip(change, some.masks, strict=True)])
    outside = torch.stack([picture[~mask].abs().mean() for picture, mask in zip(change, some.masks, strict=True)])
    assert (inside > outside).float().mean() > 0.9


def test_a_mask_is_the_shape_that_the_label_says():
    drawn = scenes.generate(1000, seed=0, image_size=64)
    boxes = (drawn.boxes[:, 2:] - drawn.boxes[:, :2]).prod(1)
    share = drawn.masks.sum((1, 2)) / boxes
    filled = {name: share[drawn.labels == i].mean().item() for i, name in enumerate(scenes.CLASSES)}
    assert filled["disc"] == pytest.approx(torch.pi / 4, abs=0.02)
    assert filled["ring"] == pytest.approx(torch.pi / 4 * (1 - (0.5 / 0.95) ** 2), abs=0.02)
    assert filled["square"] > 0.7
    assert filled["star"] < 0.45
    x0, y0, x1, y1 = drawn.boxes.long().unbind(1)
    empty = drawn.masks[torch.arange(1000), (y0 + y1) // 2, (x0 + x1) // 2].logical_not()
    rings = drawn.labels == scenes.CLASSES.index("ring")
    assert bool(empty[rings].all())
    assert not bool(empty[drawn.labels == scenes.CLASSES.index("disc")].any())


@pytest.mark.parametrize("index", range(10), ids=SHAPES)
def test_no_outline_is_changed_by_a_mirror_or_leaves_its_circle(index):
    distance = distance_maps()[index]
    torch.testing.assert_close(distance, distance.flip(-1), rtol=0, atol=1e-5)
    axis = (torch.arange(64) + 0.5) / 32 - 1
    radius = 1.25 * (axis.square() + axis.square()[:, None]).sqrt()
    assert bool((distance[radius > 1.22] > 0).all())
    assert 0.08 < (distance < 0).float().mean() < 0.45


def test_distances_to_the_disc_are_exact():
    axis = ((torch.arange(64) + 0.5) / 32 - 1) * 1.25
    exact = (axis.square() + axis.square()[:, None]).sqrt() - 0.9
    torch.testing.assert_close(distance_maps()[SHAPES.index("disc")], exact, rtol=0, atol=3e-3)


@pytest.mark.parametrize(
    ("count", "seed", "size"), [(-1, 0, 32), (1, -1, 32), (1, 0, 23)], ids=["count", "seed", "size"]
)
def test_arguments_out_of_range_are_refused(count, seed, size):
    with pytest.raises(DataError) as caught:
        scenes.generate(count, seed=seed, image_size=size)
    assert str(caught.value) == (
        "scenes.generate(count, seed, image_size): count and seed are 0 or more, image_size is 24 or more\n"
        f"  got: count {count}, seed {seed}, image_size {size}"
    )
