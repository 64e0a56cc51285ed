"""What a detector finds in a part: on one process and on two, and without a trace."""

import pytest
import torch
import torch.multiprocessing as mp
from detect.two_evaluators import IMAGES, Bright, bright_part, find_together
from support.detection_parts import made_objects, made_part

from whatwhere.detect import build
from whatwhere.detect.evaluating import evaluate
from whatwhere.errors import RunError


def same(one, other):
    mine, theirs = ((found.boxes, found.labels, found.scores) for found in (one, other))
    return all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(mine, theirs, strict=True))


@pytest.mark.parametrize("batch_size", [1, 2, 7, 50])
def test_one_entry_for_each_image_with_labels_from_0_and_the_surest_first(batch_size):
    part = bright_part()
    found = evaluate(Bright(), part, batch_size=batch_size)
    assert [len(one) for one in found] == [3, 0, 5, 1, 2, 4, 1]
    first = found[0]
    green, blue = (part.image(0)[channel, 0, 0].float() / 255 for channel in (1, 2))
    assert first.labels.tolist() == [2, 1, 0]
    torch.testing.assert_close(first.scores, torch.tensor([0.3, 0.2, 0.1]) * blue)
    torch.testing.assert_close(first.boxes[2], torch.tensor([0, 0, 1, 1]) * green)
    assert (first.boxes.dtype, first.labels.dtype, first.scores.dtype) == (torch.float32, torch.int64, torch.float32)
    assert found[1].boxes.shape == (0, 4)
    assert not first.boxes.requires_grad


def test_images_may_come_from_elsewhere():
    part = bright_part()
    expected = evaluate(Bright(), part, batch_size=3)
    found = evaluate(Bright(), part, batch_size=3, images=iter(part.images))
    assert all(map(same, found, expected))


@pytest.mark.parametrize("count", [IMAGES - 1, IMAGES + 1])
def test_more_or_fewer_images_than_the_part_has(count):
    part = bright_part()
    with pytest.raises(RunError) as caught:
        evaluate(Bright(), part, batch_size=2, images=[part.image(0)] * count)
    assert str(caught.value) == (
        "evaluate(model, part, images=images): the images are those of this process's share of the part\n"
        f"  got: {count} images for a share of 7\n"
        "  fix: give every image of the share once, in its order"
    )


def test_no_image_at_all():
    assert evaluate(Bright(), bright_part().take(torch.tensor([], dtype=torch.int64)), batch_size=2) == []


def test_nothing_is_left_behind():
    model = Bright().train()
    model.norm.eval()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    evaluate(model, bright_part(), batch_size=2)
    assert [module.training for module in model.modules()] == [True, False]
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert model.scale.grad is None
    assert torch.is_grad_enabled()


def test_an_exception_passes_through_and_modes_are_as_before():
    model, part = Bright().train(), bright_part()
    with pytest.raises(IndexError):
        evaluate(model, part, batch_size=2, images=[torch.zeros(3, 0, 0, dtype=torch.uint8)])
    assert model.training
    assert torch.is_grad_enabled()


def test_two_processes_find_what_one_finds(tmp_path):
    mp.spawn(find_together, (str(tmp_path),), nprocs=2)
    expected = evaluate(Bright(), bright_part(), batch_size=7)
    for rank, asked in enumerate(([0, 1, 2], [3, 4, 5, 6])):
        told = torch.load(tmp_path / f"{rank}.pt")
        assert told["asked"] == asked
        assert len(told["found"]) == IMAGES
        for tensors, one in zip(told["found"], expected, strict=True):
            wanted = (one.boxes, one.labels, one.scores)
            assert all(torch.equal(a, b) for a, b in zip(tensors, wanted, strict=True))
        assert told["rows"].tolist() == [[1 / 3 + 1] * 2] * 3


def test_no_image_is_padded_by_another() -> None:
    """A detector that pads a batch finds in each image what it finds there alone."""
    torch.manual_seed(0)
    model = build("fcos-resnet18-fpn", 2, image_size=64)
    model.score_thresh = 0.0
    images = [torch.randint(256, (3, *size), dtype=torch.uint8) for size in ((36, 64), (64, 36), (36, 64), (36, 64))]
    part = made_part([made_objects([], [])] * 4, images=images)
    alone, together = (evaluate(model, part, batch_size=size) for size in (1, 4))
    for one, other in zip(alone, together, strict=True):
        assert len(one) > 0
        assert torch.allclose(one.scores, other.scores, atol=1e-5)
        assert torch.allclose(one.boxes, other.boxes, atol=1e-2)


def test_a_batch_has_an_image() -> None:
    with pytest.raises(RunError) as caught:
        evaluate(Bright(), bright_part(), batch_size=0)
    assert str(caught.value) == "evaluate(batch_size=0): a batch has at least one image"
