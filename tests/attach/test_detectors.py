"""Whole detectors: the same places, from a forward that is followed until it depends on values."""

import pytest
import torch
import torchvision
from detectors import detections, detector, images, losses
from snapshot import same_bits, snapshot
from torch import nn
from torchvision.models import detection
from torchvision.ops import FrozenBatchNorm2d

import whatwhere as ww
from whatwhere.attach import Gated
from whatwhere.attach.sites import Finder
from whatwhere.attach.trace import trace
from whatwhere.errors import AttachError, GateError

R50 = ["layer1.2", "layer2.3", "layer3.5"]
R50_BLOCKS = [f"layer{i}.{j}.bn3" for i, n in enumerate((3, 4, 6, 3), 1) for j in range(n)]
P2 = [f"backbone.fpn.layer_blocks.{level}" for level in (3, 2, 1, 0)]
P6 = [f"backbone.fpn.{name}" for name in ("layer_blocks.2", "layer_blocks.1", "layer_blocks.0")]
P6 += ["backbone.fpn.extra_blocks.p6", "backbone.fpn.extra_blocks.p7"]
EXTRAS = [f"backbone.extra.{i}.3" for i in (1, 2, 3, 4)]


def body(names):
    return [f"backbone.body.{name}" for name in names]


SITES = {  # bottlenecks, blocks (or how many), heads, unplaced heads, where the forward is cut
    "fasterrcnn_resnet50_fpn": (body(R50), body(R50_BLOCKS), P2, 1, "rpn"),
    "fasterrcnn_resnet50_fpn_v2": (body(R50), body(R50_BLOCKS), P2, 1, "rpn"),
    "maskrcnn_resnet50_fpn": (body(R50), body(R50_BLOCKS), P2, 1, "rpn"),
    "keypointrcnn_resnet50_fpn": (body(R50), body(R50_BLOCKS), P2, 1, "rpn"),
    "retinanet_resnet50_fpn": (body(R50), body(R50_BLOCKS), P6, 0, "RetinaNet"),
    "retinanet_resnet50_fpn_v2": (body(R50), body(R50_BLOCKS), P6, 0, "RetinaNet"),
    "fcos_resnet50_fpn": (body(R50), body(R50_BLOCKS), P6, 0, "FCOS"),
    "fasterrcnn_mobilenet_v3_large_fpn": (body(["3", "6", "12"]), 10, P2[2:], 1, "rpn"),
    "fasterrcnn_mobilenet_v3_large_320_fpn": (body(["3", "6", "12"]), 10, P2[2:], 1, "rpn"),
    "ssd300_vgg16": (
        ["backbone.features.15", "backbone.features.22", "backbone.extra.0.7.4"],
        0,
        ["backbone.extra.0.7.4", *EXTRAS],
        1,
        "SSD",
    ),
    "ssdlite320_mobilenet_v3_large": (
        ["backbone.features.0.3", "backbone.features.0.6", "backbone.features.0.13"],
        10,
        ["backbone.features.0.13", "backbone.features.1.3", *(f"backbone.extra.{i}.2" for i in range(4))],
        0,
        "SSD",
    ),
}


@pytest.mark.parametrize("name", SITES)
def test_sites_of_torchvisions_detectors(name):
    """Every place of one trace; what `plan` makes of places is asked of the small detectors below."""
    bottlenecks, blocks, heads, unplaced, cut = SITES[name]
    with torch.device("meta"):
        model = getattr(detection, name)(weights=None, weights_backbone=None)
    found = Finder(trace(model, partly=True))
    sites = {place: found.find(place) for place in ("bottlenecks", "blocks", "heads")}
    names = {place: [site.name for site in of] for place, of in sites.items()}
    assert names["bottlenecks"] == bottlenecks
    assert [site.reduction for site in sites["bottlenecks"]] == [4, 8, 16]
    assert (names["blocks"] if isinstance(blocks, list) else len(names["blocks"])) == blocks
    assert names["heads"] == heads
    assert {(site.kind, site.side) for site in sites["heads"]} == {("head", "output")}
    assert [found.unplaced(place) for place in sites] == [0, 0, unplaced]
    assert found.trace.cut_name == cut


def test_stages_end_with_the_trunk():
    plan = ww.plan(detector("retina"), "se", at="stages")
    assert [site.name for site in plan.sites] == body(["layer1.1", "layer2.1", "layer3.1", "layer4.1"])


def test_a_trunk_whose_last_stage_runs_on_regions():
    plan = ww.plan(detector("c4"), "bam")
    assert [site.name for site in plan.sites] == ["backbone.layer1.1", "backbone.layer2.1", "backbone.layer3.1"]


class TestTheEnd:
    def test_the_plan_says_where_the_forward_could_be_followed_no_further(self):
        plan = ww.plan(detector("faster"), "se", at="heads")
        assert str(plan).splitlines()[-2:] == [
            "not placed: 1 such maps have no module of their own",
            "seen until the forward of rpn depends on the values of its tensors; nothing after that can carry a gate",
        ]

    def test_a_module_after_it(self):
        with pytest.raises(AttachError) as caught:
            ww.plan(detector("c4"), "se", at=["roi_heads.box_head.0"])
        assert str(caught.value).splitlines()[0] == (
            "plan(FasterRCNN, 'se', at=['roi_heads.box_head.0']): 'roi_heads.box_head.0' is never called in this"
            " forward, which is followed until rpn depends on values; nothing was changed"
        )

    def test_a_place_that_what_was_seen_does_not_have(self):
        with torch.device("meta"):
            model = detection.ssd300_vgg16(weights=None, weights_backbone=None)
        with pytest.raises(AttachError) as caught:
            ww.plan(model, "se", at="blocks")
        assert str(caught.value).splitlines() == [
            "plan(SSD, 'se', at='blocks'): no residual branch is added to a shortcut in this network, as far as its"
            " forward shows; nothing was changed",
            "  got: places it has: bottlenecks (3), stages (4), transitions (6), heads (5); seen until SSD depends on"
            " values",
            "  fix: name modules instead: at=[...] or a regular expression",
        ]

    def test_a_forward_that_is_seen_whole_says_nothing(self):
        with torch.device("meta"):
            plan = ww.plan(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, 2)), "se", at=["0"])
        assert plan.cut_in == ""


@pytest.mark.parametrize(
    "options",
    [{}, {"input_size": (3, 40, 60)}, {"inputs": (images(),)}, {"inputs": ([torch.empty(3, 30, 50)],)}],
    ids=["default", "size", "two-images", "one-image"],
)
def test_levels_are_those_of_the_resized_images(options):
    plan = ww.plan(detector("faster"), "se", at="bottlenecks", **options)
    assert [(site.name, site.reduction) for site in plan.sites] == [
        (f"backbone.body.layer{i}.1", 2 ** (i + 1)) for i in (1, 2, 3)
    ]


@pytest.mark.parametrize(
    ("name", "at"),
    [
        *(("faster", "bottlenecks"), ("faster", "heads"), ("retina", "heads"), ("fcos", "blocks")),
        *(("ssdlite", "heads"), ("c4", "bottlenecks")),
    ],
)
def test_an_identity_start_changes_no_detection_and_no_loss(name, at):
    bare, model = detector(name), detector(name)
    ww.attach_(model, "bam", at=at, start="identity")
    expected = detections(bare)
    assert all(len(boxes) for boxes, *_ in expected)
    assert same_bits(detections(model), expected)
    assert same_bits(losses(model.train()), losses(bare.train()))


def test_a_gate_is_seen_in_the_detections():
    model = detector("faster")
    ww.attach_(model, "bam")
    assert not same_bits(detections(model), detections(detector("faster")))


@pytest.mark.parametrize("name", ["faster", "ssdlite"])
def test_every_tensor_of_a_checkpoint_loads(name):
    model, bare = detector(name), detector(name)
    ww.attach_(model, "cbam")
    state = {key: torch.full_like(tensor, 3) for key, tensor in bare.state_dict().items()}
    assert list(model.load_state_dict(state, strict=True)) == [[], []]
    loaded = model.state_dict()
    assert sum(bool((loaded[key] == 3).all()) for key in state) == len(state)
    assert same_bits(dict(ww.host_state_dict(model)), state)
    assert list(bare.load_state_dict(ww.host_state_dict(model), strict=True)) == [[], []]


@pytest.mark.parametrize(("name", "at"), [("faster", "bottlenecks"), ("ssdlite", "heads")])
def test_detaching_leaves_no_trace(name, at):
    model = detector(name).train()
    before = snapshot(model)
    ww.attach_(model, "bam", at=at)
    ww.detach_(model)
    assert {**snapshot(model), "random": before["random"]} == before  # gates are drawn at random


def test_gates_are_saved_and_loaded(tmp_path):
    model, other = detector("faster"), detector("faster")
    ww.attach_(model, "bam")
    ww.save_gates(model, tmp_path / "gates.safetensors")
    ww.load_gates(other, tmp_path / "gates.safetensors")
    assert same_bits(detections(other), detections(model))


@pytest.mark.parametrize("frozen", ["kind", "mode"])
def test_the_gates_own_norms_train_beside_frozen_ones(frozen):
    model = detector("faster")
    if frozen == "mode":
        _with_batch_norms_(model)
    ww.attach_(model, "bam")
    model.train()
    if frozen == "mode":
        _freeze_(model)
    gates = [module.gate for module in model.modules() if isinstance(module, Gated)]
    norms = {key: buffer.clone() for key, buffer in _running(gates).items()}
    host = {key: tensor.clone() for key, tensor in ww.host_state_dict(model).items()}
    sum(losses(model).values()).backward()
    assert len(gates) == 3
    assert norms
    assert [key for key, buffer in _running(gates).items() if torch.equal(buffer, norms[key])] == []
    assert [name for gate in gates for name, p in gate.named_parameters() if p.grad is None] == []
    assert same_bits(dict(ww.host_state_dict(model)), host)


def _running(gates):
    found = ((f"{i}.{name}", buffer) for i, gate in enumerate(gates) for name, buffer in gate.named_buffers())
    return {name: buffer for name, buffer in found if "running" in name}


def _with_batch_norms_(model):
    for parent in list(model.backbone.body.modules()):
        for key, child in parent.named_children():
            if isinstance(child, FrozenBatchNorm2d):
                setattr(parent, key, nn.BatchNorm2d(len(child.weight)))


def _freeze_(model):
    """The backbone in eval mode during training, which takes its gates along, and the gates back in training mode."""
    model.backbone.eval()
    for module in model.backbone.modules():
        if isinstance(module, Gated):
            module.gate.train()


class TestOneImage:
    def test_group_norm_trains_on_it(self):
        model = detector("faster").train()
        ww.attach_(model, "bam:norm=group")
        total = sum(losses(model, 1).values())
        total.backward()
        assert torch.isfinite(total)

    def test_batch_norm_says_why_it_cannot(self):
        model = detector("faster").train()
        ww.attach_(model, "bam")
        with pytest.raises(GateError) as caught:
            losses(model, 1)
        assert str(caught.value).splitlines()[-1] == (
            "  fix: norm='group' works for a batch of one; or use a larger batch, or gate.eval()"
        )


class OneModuleAScale(nn.Module):
    """A small SSD of the papers' form: at every scale one module takes one map and gives classes and boxes."""

    def __init__(self):
        super().__init__()
        self.trunk = nn.ModuleList(_step(*channels) for channels in ((3, 8), (8, 16), (16, 16)))
        self.head = nn.ModuleList(Predicting(channels) for channels in (8, 16, 16))

    def forward(self, images):
        x, found = torch.stack(list(images)), []
        for step, head in zip(self.trunk, self.head, strict=True):
            x = step(x)
            found.append(head(x))
        logits, boxes = (torch.cat(kind, 1) for kind in zip(*found, strict=True))
        return [(box[score.max(1).values > 0], score) for box, score in zip(boxes, logits, strict=True)]


def _step(given, taken):
    return nn.Sequential(nn.Conv2d(given, taken, 3, 2, 1), nn.ReLU())


class Predicting(nn.Module):
    def __init__(self, channels, shared=False):
        super().__init__()
        self.shared = nn.Conv2d(channels, channels, 1) if shared else nn.Identity()
        self.classes, self.boxes = nn.Conv2d(channels, 6, 3, padding=1), nn.Conv2d(channels, 8, 3, padding=1)

    def forward(self, x):
        x = self.shared(x)
        return tuple(y.flatten(2).mT.unflatten(2, (2, -1)).flatten(1, 2) for y in (self.classes(x), self.boxes(x)))


class TestHeads:
    def test_the_gate_stands_before_the_one_module_of_a_scale(self):
        plan = ww.plan(OneModuleAScale(), "se", at="heads", input_size=(3, 32, 48))
        assert [(s.name, s.kind, s.side, s.channels, s.size) for s in plan.sites] == [
            ("head.0", "head", "input", 8, (16, 24)),
            ("head.1", "head", "input", 16, (8, 12)),
            ("head.2", "head", "input", 16, (4, 6)),
        ]

    def test_the_trunk_does_not_see_it(self):
        model, seen = OneModuleAScale().eval(), []
        batch = torch.rand(2, 3, 32, 48)
        model.trunk[2].register_forward_hook(lambda module, args, output: seen.append(output))
        model(batch)
        ww.attach_(model, "bam", at="heads", input_size=(3, 32, 48))
        model(batch)
        assert torch.equal(*seen)

    def test_a_fork_inside_the_module_is_the_place(self):
        model = OneModuleAScale()
        model.head[1] = Predicting(16, shared=True)
        plan = ww.plan(model, "se", at="heads", input_size=(3, 32, 48))
        assert [site.name for site in plan.sites] == ["head.0", "head.1.shared", "head.2"]

    def test_levels_of_one_size_are_told_apart(self):
        model = OneModuleAScale()
        model.trunk[2][0].stride = (1, 1)
        plan = ww.plan(model, "se", at="heads", input_size=(3, 32, 48))
        assert [site.name for site in plan.sites] == ["head.0", "head.1", "head.2"]

    @pytest.mark.parametrize("name", ["resnet18", "googlenet"])
    def test_a_classification_network_has_none(self, name):
        options = {"init_weights": False, "aux_logits": False} if name == "googlenet" else {}
        with torch.device("meta"):
            model = torchvision.models.get_model(name, **options)
        with pytest.raises(AttachError) as caught:
            ww.plan(model, "se", at="heads")
        assert str(caught.value).splitlines()[0] == (
            f"plan({type(model).__name__}, 'se', at='heads'): no two predictions are made from one map in this network,"
            " as far as its forward shows; nothing was changed"
        )


class Padding(nn.Module):
    """Copies images of their own sizes into one batch, and scales it in place through a view."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(_step(3, 8), _step(8, 8), _step(8, 8))

    def forward(self, images):
        batch = images[0].new_zeros(len(images), 3, 32, 48)
        for image, place in zip(images, batch, strict=True):
            place[:, : image.shape[1], : image.shape[2]].copy_(image)
        x = self.body[0](batch)
        x.flatten(1).mul_(2)
        return self.body[2](self.body[1](x))


class TestWritesThroughViews:
    def test_a_batch_that_images_are_copied_into_comes_from_them(self):
        plan = ww.plan(Padding(), "se", at="bottlenecks", inputs=([torch.empty(3, 30, 40), torch.empty(3, 32, 48)],))
        assert [(site.name, site.side) for site in plan.sites] == [("body.1", "input"), ("body.1.1", "output")]

    def test_a_map_changed_through_a_view_is_another_map(self):
        found = trace(Padding(), inputs=([torch.empty(3, 32, 48)] * 2,))
        first, second = (next(call for call in found.calls if call.names == (name,)) for name in ("body.0", "body.1"))
        assert second.first > first.output
        assert first.output in found.values[second.first].parents
