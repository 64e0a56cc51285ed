import pytest
import torch

from whatwhere.data import scenes_many
from whatwhere.data.detection_loading import load_detection
from whatwhere.errors import DataError


@pytest.fixture(scope="module")
def some():
    return scenes_many.generate_many(200, seed=7, image_size=48)


def _same(one, other):
    pairs = zip(vars(one.known.objects).values(), vars(other.known.objects).values(), strict=True)
    return torch.equal(one.images, other.images) and all(torch.equal(*pair) for pair in pairs)


def test_shapes_and_types(some):
    assert (some.images.shape, some.images.dtype) == ((200, 3, 48, 48), torch.uint8)
    assert some.sizes.tolist() == [[48, 48]] * 200
    assert list(some.ids) == list(range(200))
    kinds = torch.float32, torch.int64, torch.float32, torch.bool, torch.bool
    assert tuple(each.dtype for each in vars(some.objects(0)).values()) == kinds
    assert not some.known.objects.crowd.any()
    assert not some.known.objects.difficult.any()


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 150])
def test_the_first_images_do_not_depend_on_how_many_are_drawn(some, count):
    fewer = scenes_many.generate_many(count, seed=7, image_size=48)
    assert len(fewer) == count
    assert _same(fewer, some.take(torch.arange(count)))


def test_threads_and_torchs_own_seed_change_nothing(some):
    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    torch.manual_seed(123)
    try:
        torch.set_num_threads(3 - min(threads, 2))
        assert _same(scenes_many.generate_many(200, seed=7, image_size=48), some)
    finally:
        torch.set_num_threads(threads)
        torch.random.set_rng_state(state)


def test_no_two_images_are_alike_within_or_across_seeds(some):
    other = scenes_many.generate_many(100, seed=8, image_size=48)
    together = torch.cat((some.images, other.images)).flatten(1)
    assert len({row.numpy().tobytes() for row in together}) == 300


def test_none_to_six_objects_of_every_shape():
    drawn = scenes_many.generate_many(1000, seed=0, image_size=48)
    counts = torch.tensor([len(drawn.objects(i)) for i in range(1000)]).bincount()
    assert len(counts) == 7
    assert 25 <= counts[0] <= 80
    assert counts[1:].min() > 70
    shapes = drawn.known.objects.labels.bincount()
    assert len(shapes) == 10
    assert shapes.min() > 0.8 * shapes.float().mean()


@pytest.mark.parametrize("size", [48, 96])
def test_objects_are_a_sixth_to_half_of_the_image_and_stand_anywhere(size):
    boxes = scenes_many.generate_many(500, seed=3, image_size=size).known.objects.boxes
    assert bool((boxes >= 0).all())
    assert bool((boxes <= size).all())
    assert bool((boxes[:, 2:] > boxes[:, :2]).all())
    longer = (boxes[:, 2:] - boxes[:, :2]).amax(1)
    assert longer.max() <= size * 0.5 + 3
    assert longer.quantile(0.02) > size * 0.14
    assert longer.quantile(0.02) < size * 0.2
    assert longer.quantile(0.98) > size * 0.4
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2 / size
    assert centres.amin(0).max() < 0.15
    assert centres.amax(0).min() > 0.85


def test_boxes_and_areas_are_of_what_is_seen(monkeypatch):
    fronts = []
    plain = scenes_many._objects
    monkeypatch.setattr(scenes_many, "_objects", lambda scene, shape: (fronts.append(scene), plain(scene, shape))[1])
    drawn = scenes_many.generate_many(100, seed=5, image_size=64)
    (scene,) = fronts
    hidden = 0
    for i in range(100):
        known, numbers = drawn.objects(i), [n for n in scene.front[i].unique().tolist() if n]
        assert len(known) == len(numbers)
        for box, area, number in zip(known.boxes.tolist(), known.areas.tolist(), numbers, strict=True):
            rows, columns = (scene.front[i] == number).nonzero(as_tuple=True)
            assert box == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert area == len(rows)
            assert len(rows) >= 0.6 * scene.whole[i, number]
            hidden += len(rows) < scene.whole[i, number]
    assert hidden > 20


def test_an_object_that_would_hide_too_much_is_left_out(monkeypatch):
    counts = []
    for share in (0.6, 0.0):
        monkeypatch.setattr(scenes_many, "_APART", 0.0)  # the first place is taken, whatever stands there
        monkeypatch.setattr(scenes_many, "_SEEN", share)
        counts.append(len(scenes_many.generate_many(300, seed=5, image_size=48).known.objects))
    assert counts[0] < 0.95 * counts[1]


def test_an_object_looks_other_than_the_ground_and_some_are_striped(some):
    spread = []
    for i in range(len(some)):
        for x0, y0, x1, y1 in some.objects(i).boxes.long().tolist():
            spread.append(some.images[i, :, y0:y1, x0:x1].float().std((1, 2)).mean())
    alone = [some.images[i].float().std((1, 2)).mean() for i in range(len(some)) if not len(some.objects(i))]
    assert torch.stack(spread).mean() > 1.3 * torch.stack(alone).mean()


def test_the_embedded_set_by_name():
    splits = load_detection("scenes", image_size=48, limit=700)
    assert (splits.name, splits.scoring) == ("scenes", "coco")
    assert splits.classes == scenes_many.CLASSES
    assert splits.categories == tuple(range(1, 11))
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [700, 200, 500]
    assert set(splits.train.ids).isdisjoint(splits.validation.ids)
    first = splits.train.ids[0]
    assert torch.equal(splits.train.image(0), scenes_many.generate_many(first + 1, seed=0, image_size=48).images[first])
    assert _same(splits.test, scenes_many.generate_many(500, seed=1, image_size=48))


@pytest.mark.parametrize(
    ("count", "seed", "size"), [(-1, 0, 96), (1, -1, 96), (1, 0, 47)], ids=["count", "seed", "size"]
)
def test_arguments_out_of_range_are_refused(count, seed, size):
    with pytest.raises(DataError) as caught:
        scenes_many.generate_many(count, seed=seed, image_size=size)
    assert str(caught.value) == (
        "generate_many(count, seed, image_size): count and seed are 0 or more, image_size is 48 or more\n"
        f"  got: count {count}, seed {seed}, image_size {size}"
    )
