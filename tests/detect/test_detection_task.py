"""Detectors trained by the engine: what is learnt, noted, refused, and left as it was."""

import json
from dataclasses import replace

import pytest
import torch
from support.detection_parts import made_objects, made_part
from support.few_scenes import RECIPE, few_scenes, small_ssd
from torch import nn
from train.toy import toy_net, toy_splits

import whatwhere as ww
from whatwhere.data.scenes_many import CLASSES
from whatwhere.detect import Detection, TrainedDetector, evaluate, judge, numbers
from whatwhere.errors import GateError, RunError
from whatwhere.train import train

SPLITS = few_scenes()


def run(folder, recipe=RECIPE, *, model=None, splits=SPLITS, **kwargs):
    model = small_ssd() if model is None else model
    return train(model, Detection(splits, model), recipe, seed=0, folder=folder, **kwargs)


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def gated(gate="bam:reduction=4", name="ssd-resnet8"):
    model = small_ssd(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        ww.attach_(model, gate, input_size=(3, 48, 48))
    return model


def test_the_loss_falls_and_its_parts_sum_to_it(tmp_path):
    heard = []
    trained = run(tmp_path, replace(RECIPE, epochs=5), on_epoch=heard.append)
    first, last = lines(tmp_path)[0], lines(tmp_path)[-1]
    assert last["train_loss"] < 0.5 * first["train_loss"]
    for one in heard:
        parts = one.train_classes, one.train_boxes, one.train_proposals
        assert sum(parts) == pytest.approx(one.train_loss, rel=1e-5)
        assert one.train_classes > 0 < one.train_boxes
        assert one.train_proposals == 0
        assert (one.score, one.validation_voc07) == (one.validation_ap, None)
    assert isinstance(trained, TrainedDetector)
    assert trained.validation == heard[trained.best_epoch - 1].score == max(one.score for one in heard)
    assert (list(trained.per_class), trained.epochs) == (list(CLASSES), 5)


def test_what_comes_out_is_what_the_best_weights_find(tmp_path):
    model = small_ssd()
    trained = run(tmp_path, model=model)
    found = evaluate(model, SPLITS.test, batch_size=2)
    assert trained.measures == numbers(judge(SPLITS, SPLITS.test, found))
    assert not any(module.training for module in model.modules())


def two_stages():
    """A Faster R-CNN of a few thousand weights."""
    from torchvision.models.detection import FasterRCNN
    from torchvision.models.detection.rpn import AnchorGenerator
    from torchvision.ops import MultiScaleRoIAlign

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        trunk = nn.Sequential(nn.Conv2d(3, 16, 7, 8, 3), nn.BatchNorm2d(16), nn.ReLU())
        trunk.out_channels = 16
        return FasterRCNN(
            trunk,
            min_size=48,
            max_size=80,
            rpn_anchor_generator=AnchorGenerator(((8, 16),), ((1.0,),)),
            box_roi_pool=MultiScaleRoIAlign(["0"], 3, 2),
            box_head=nn.Sequential(nn.Flatten(), nn.Linear(144, 16), nn.ReLU()),
            box_predictor=Predictor(16, len(CLASSES) + 1),
        )


class Predictor(nn.Module):
    def __init__(self, width, outputs):
        super().__init__()
        self.scores, self.boxes = nn.Linear(width, outputs), nn.Linear(width, 4 * outputs)

    def forward(self, regions):
        return self.scores(regions), self.boxes(regions)


def test_a_detector_of_two_stages_has_proposals_to_learn(tmp_path):
    run(tmp_path, model=two_stages())
    for one in lines(tmp_path):
        assert one["train_proposals"] > 0
        parts = sum(one[f"train_{part}"] for part in ("classes", "boxes", "proposals"))
        assert parts == pytest.approx(one["train_loss"], rel=1e-5)


def test_the_progress_line_has_the_parts_that_there_are():
    task = Detection(SPLITS, small_ssd())
    assert task.words([1.25, 0.5, 0.0]) == "classes 1.250  boxes 0.500"
    assert task.words([1.25, 0.5, 2.0]) == "classes 1.250  boxes 0.500  proposals 2.000"


def sparse(known):
    """Images of which only those numbered have an object to learn; validation and test as ever."""
    nothing = made_objects([], [])
    images = [SPLITS.train.image(i) for i in range(len(SPLITS.train))]
    objects = [SPLITS.train.objects(i) if i in known else nothing for i in range(len(images))]
    return replace(SPLITS, train=made_part(objects, images=images))


@pytest.mark.parametrize("build", [small_ssd, two_stages], ids=["ssd", "faster r-cnn"])
def test_batches_in_which_nothing_is_are_trained_on(tmp_path, build):
    """Of six batches of two, five at least are without any object."""
    splits = sparse({3})
    trained = run(tmp_path, replace(RECIPE, batch_size=2, epochs=1), model=build(), splits=splits)
    assert trained.epochs == 1
    assert lines(tmp_path)[0]["train_loss"] > 0


def test_a_batch_without_objects_teaches_an_ssd_nothing_and_two_stages_what_nothing_is(tmp_path):
    for model, learns in ((small_ssd(), False), (two_stages(), True)):
        forward = Detection(SPLITS, model).forward(model, RECIPE, torch.device("cpu"), 2)
        images, _ = forward.blank(2)
        empty = [one._replace(boxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.int64)) for one in images]
        loss, parts = forward(images, empty)
        loss.backward()
        assert (loss.item() > 0) == learns
        assert parts.shape == (3,)
        assert all(weight.grad.isfinite().all() for weight in model.parameters() if weight.grad is not None)


@pytest.mark.parametrize("augment", ["none", "flip", "scale", "ssd", None])
def test_every_way_of_changing_images_trains(tmp_path, augment):
    run(tmp_path, replace(RECIPE, epochs=1, augment=augment))
    assert lines(tmp_path)[0]["train_loss"] > 0


def test_by_default_images_are_changed_as_suits_the_detector(tmp_path):
    def losses(name, augment, build):
        run(tmp_path / name, replace(RECIPE, epochs=1, augment=augment), model=build())
        return lines(tmp_path / name)[0]["train_loss"]

    assert losses("a", None, small_ssd) == losses("b", "ssd", small_ssd) != losses("c", "flip", small_ssd)
    assert losses("d", None, two_stages) == losses("e", "flip", two_stages) != losses("f", "none", two_stages)


def test_an_average_is_what_is_judged_and_left(tmp_path):
    """The first step's weights begin it; of two steps, the average is the middle between what they left."""
    judged = {}
    for name, ema in (("plain", None), ("average", 0.5)):
        model = small_ssd()
        judged[name] = []
        task = Detection(SPLITS, model)
        evaluate_part = task.evaluate

        def note(network, *rest, name=name, evaluate_part=evaluate_part):
            judged[name].append([weight.detach().clone() for weight in network.parameters()])
            return evaluate_part(network, *rest)

        task.evaluate = note
        train(model, task, replace(RECIPE, epochs=2, batch_size=12, ema=ema), seed=0, folder=tmp_path / name)
        assert all(map(torch.equal, judged[name][2], model.parameters()))
    (first, second, _), (same, middle, _) = judged["plain"], judged["average"]
    assert all(map(torch.equal, first, same))
    for one, other, mean in zip(first, second, middle, strict=True):
        torch.testing.assert_close(mean, (one + other) / 2)


def test_micro_batches_take_the_same_images(tmp_path):
    """Their losses differ from the whole batch's by the objects and batch norms of each alone."""
    recipe = replace(RECIPE, epochs=1, lr=1e-6)
    for name, accumulate in (("whole", 1), ("halves", 2)):
        run(tmp_path / name, replace(recipe, accumulate=accumulate))
    (whole,), (halves,) = lines(tmp_path / "whole"), lines(tmp_path / "halves")
    assert halves["train_loss"] == pytest.approx(whole["train_loss"], rel=0.15)
    assert halves["train_loss"] != whole["train_loss"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"compile": True}, "train(Recipe(compile=True)): no detector is trained that way\n  fix: compile=False"),
        (
            {"label_smoothing": 0.1},
            "train(Recipe(label_smoothing=0.1)): no detector is trained that way\n  fix: label_smoothing=0.0",
        ),
        (
            {"flip": False},
            "train(Recipe(flip=False)): no detector is trained that way\n"
            "  fix: flip=True; augment= says how images and boxes are changed",
        ),
        (
            {"batch_size": 6, "accumulate": 4},
            "train(Recipe(batch_size=6, accumulate=4)): a batch is shared evenly by the processes and their "
            "micro-batches\n  got: 1 x 4 micro-batches\n  fix: batch_size=4 or batch_size=8",
        ),
    ],
    ids=["compile", "smoothing", "flip", "accumulate"],
)
def test_what_detectors_cannot_do_is_refused(tmp_path, changes, message):
    with pytest.raises(RunError) as caught:
        run(tmp_path / "trial", replace(RECIPE, **changes))
    assert str(caught.value) == message
    assert not (tmp_path / "trial").exists()


def test_graphs_are_refused_even_where_only_they_were_asked_for():
    recipe = replace(RECIPE, compile=True, graphs=True)
    object.__setattr__(recipe, "compile", False)
    with pytest.raises(RunError) as caught:
        Detection(SPLITS, small_ssd()).check(recipe)
    assert str(caught.value) == "train(Recipe(graphs=True)): no detector is trained that way\n  fix: graphs=False"


@pytest.mark.parametrize("part", ["train", "validation", "test"])
@pytest.mark.parametrize("count", [0, 3])
def test_a_part_without_objects_is_refused(tmp_path, part, count):
    """A crowd is none to learn or to find."""
    crowd = made_objects([[1, 1, 9, 9]], [0], crowd=[True])
    splits = replace(SPLITS, **{part: made_part([crowd] * count, sizes=[(48, 48)] * count)})
    with pytest.raises(RunError) as caught:
        run(tmp_path, splits=splits)
    assert str(caught.value) == (
        f"train: 'scenes' has no objects in its {part} images\n  got: {count} images\n"
        "  fix: load it with enough images for each part"
    )


def test_labelled_images_are_not_changed_with_boxes(tmp_path):
    with pytest.raises(RunError) as caught:
        train(toy_net(), toy_splits(), replace(RECIPE, augment="ssd"), seed=0, folder=tmp_path)
    assert str(caught.value) == (
        "train(Recipe(augment='ssd')): labelled images are changed by padding and flip\n  fix: augment=None"
    )


@pytest.mark.parametrize(
    ("kind", "rest"),
    [("flipp", "\n  closest: 'flip'"), (3, "")],
)
def test_an_unknown_change_is_refused(kind, rest):
    with pytest.raises(RunError) as caught:
        replace(RECIPE, augment=kind)
    assert str(caught.value) == (
        f"Recipe(augment={kind!r}): no such augment{rest}\n  fix: augment is 'none' or 'flip' or 'scale' or 'ssd'"
    )


DIVERGED = "\n  fix: a lower lr, warmup_epochs, clip_norm, or precision='fp32'; the checkpoint before it stays"


def test_a_loss_that_is_no_number_ends_it_with_the_epoch(tmp_path):
    with pytest.raises(RunError) as caught:
        run(tmp_path, replace(RECIPE, lr=1e30))
    assert str(caught.value) == "train: the loss became nan at epoch 1, step 2" + DIVERGED


def test_weights_that_are_no_numbers_end_it_though_no_loss_tells(tmp_path):
    """After the only step of an epoch: nothing is found by such weights, which is no result."""
    with pytest.raises(RunError) as caught:
        run(tmp_path, replace(RECIPE, batch_size=12, lr=1e38))
    assert str(caught.value).startswith("train: the weights became nan or infinite: 'backbone.")
    assert str(caught.value).endswith(DIVERGED)
    assert not (tmp_path / "checkpoint.pt").exists()


def test_frozen_norms_of_a_trunk_leave_those_of_its_gates_free(tmp_path):
    """The trunk's statistics, weights and biases stay; the gates' own norms see the data and learn."""
    from safetensors.torch import save_file

    file = tmp_path / "trunk.safetensors"
    save_file({name: value.contiguous() for name, value in small_ssd().state_dict().items()}, file)
    model = gated(name=f"ssd-resnet8:norm=frozen:weights={file}")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    run(tmp_path / "trial", replace(RECIPE, epochs=1), model=model)
    after = model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    of_gates = {name for name in before if "gate" in name}
    norms = {name for name in before if name.endswith("running_mean")}
    assert {name for name in norms if name in of_gates} <= changed
    assert len(norms & of_gates) >= 2
    assert not {name for name in norms - of_gates if name.startswith("backbone.")} & changed
    weights = {name.replace("running_mean", "weight") for name in norms & of_gates}
    assert weights & changed == weights


def test_batches_of_one_image_train_where_norms_allow_it(tmp_path):
    run(tmp_path / "group", replace(RECIPE, batch_size=1, epochs=1), model=gated("bam:reduction=4:norm=group"))
    assert lines(tmp_path / "group")[0]["train_loss"] > 0
    with pytest.raises(GateError) as caught:
        run(tmp_path / "batch", replace(RECIPE, batch_size=1, epochs=1), model=gated())
    assert str(caught.value) == (
        "BAM(32): in training, batch norm needs more than one value per channel\n  got: shape (1, 32, 24, 24)\n"
        "  fix: norm='group' works for a batch of one; or use a larger batch, or gate.eval()"
    )


def test_the_callers_chance_and_mode_of_gradients_are_left(tmp_path):
    torch.manual_seed(11)
    before = torch.get_rng_state()
    run(tmp_path, replace(RECIPE, epochs=1))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.is_grad_enabled()


def test_the_trial_is_known_by_its_data(tmp_path):
    run(tmp_path, replace(RECIPE, epochs=1))
    with pytest.raises(RunError, match="got: train_images=13; in the file train_images=12"):
        run(tmp_path, replace(RECIPE, epochs=1), splits=few_scenes(train=13))


def test_what_voc_says_of_vocs_data_chooses_the_epoch(tmp_path):
    heard = []
    trained = run(tmp_path, splits=replace(SPLITS, scoring="voc"), on_epoch=heard.append)
    assert [one.score for one in heard] == [one.validation_voc07 for one in heard]
    assert set(trained.measures) >= {"ap", "voc07", "voc"}
    assert set(trained.per_class["disc"]) == {"category", "objects", "ap", "ap50", "voc07", "voc"}
