"""Class activation maps: as torchcam gives them and as a few lines by hand do, and no trace of them afterwards."""

import copy
from functools import cache

import pytest
import torch
import torchvision
from support.awkward import Plain
from torch import nn
from torch.nn import functional as F
from torchcam import methods

import whatwhere as ww
from whatwhere.errors import HostError
from whatwhere.explain.activation import METHODS, Cam, cams
from whatwhere.explain.layer import layers

GRADIENTS = ["gradcam", "gradcampp", "xgradcam", "layercam"]
GATES = {"bare": None, "bam": "bottlenecks", "cbam": "blocks", "se": "blocks"}
SIZE = (3, 64, 64)


@cache
def resnet(gate="bare"):
    torch.manual_seed(1)
    model = torchvision.models.resnet18(weights=None, num_classes=10)
    if gate != "bare":
        ww.attach_(model, gate, at=GATES[gate], input_size=SIZE)
    return model.eval()


def pictures(count=3, size=SIZE):
    return torch.randn(count, *size, generator=torch.Generator().manual_seed(5))


def naive(model, method, layer, images, classes):
    """torchcam as its own pages show it, but for the 1e-8 that it adds to the largest value: some maps are as small."""
    kind = getattr(methods, METHODS[method])
    with torch.enable_grad(), kind(model.eval(), layers(model)[layer]) as extractor:
        return normal(extractor(classes, scores=model(images), normalized=False)[0].detach())


def by_hand(model, layer, images, classes):
    seen = []
    with layers(model)[layer].register_forward_hook(lambda _, args, output: seen.append(output)):
        score = model(images).gather(1, classes[:, None]).sum()
    (slope,) = torch.autograd.grad(score, seen)
    return normal(F.relu((slope.mean((2, 3), keepdim=True) * seen[0]).sum(1)).detach())


def normal(maps):
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return ((maps - low) / (high - low)).nan_to_num(0)


class Small(Plain):
    """The head reads positions, so that the methods differ from one another."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(32 * 4 * 4, 5)

    def forward(self, x):
        return self.head(self.stage3(self.stage2(self.stage1(x))).flatten(1))


class InPlace(Small):
    """The layer's output is changed in place by what follows."""

    def forward(self, x):
        x = self.stage3[:2](self.stage2(self.stage1(x)))
        return self.head(F.relu(x, inplace=True).flatten(1))


class Twice(Small):
    """The layer is called twice, one upon the other."""

    def __init__(self):
        super().__init__()
        self.again = nn.Conv2d(32, 32, 3, padding=1)

    def forward(self, x):
        x = self.stage3(self.stage2(self.stage1(x)))
        return self.head(F.relu(self.again(F.relu(self.again(x)))).flatten(1))


class Branches(Small):
    """What comes before the layer goes around it too, into a product whose factors autograd keeps."""

    def forward(self, x):
        before = self.stage2(self.stage1(x))
        after = self.stage3(before)
        return self.head((after * F.avg_pool2d(before, 2)).flatten(1))


class Pair(Plain):
    def forward(self, x):
        return super().forward(x), x


class Broken(Plain):
    """Fails in its head, after the layer."""

    def forward(self, x):
        super().forward(x)
        raise KeyboardInterrupt if x[0, 0, 0, 0] > 1e6 else ZeroDivisionError("the user's own")


def small(kind=Small, seed=1):
    torch.manual_seed(seed)
    return kind().eval()


def images16(count=2):
    return pictures(count, (3, 16, 16))


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("method", GRADIENTS)
def test_as_torchcam_naively(method, gate):
    model, images, classes = resnet(gate), pictures(), torch.tensor([[3, 0], [7, 7], [1, 9]])
    found = cams(model, images, method=method, classes=classes)
    assert found.layer == "layer4"
    assert found.maps.shape == (3, 2, 2, 2)
    for k in range(2):
        expected = naive(model, method, "layer4", images, classes[:, k].tolist())
        torch.testing.assert_close(found.maps[:, k], expected, atol=1e-5, rtol=1e-5)
    assert found.maps.amax() > 0.99


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("layer", ["layer2", "layer3.0", "layer4"])
def test_as_by_hand(gate, layer):
    """Through gates between layer and logits too, twice over the same graph."""
    model, images, classes = resnet(gate), pictures(), torch.tensor([[3, 0], [7, 7], [1, 9]])
    found = cams(model, images, layer=layer, classes=classes)
    for k in range(2):
        torch.testing.assert_close(found.maps[:, k], by_hand(model, layer, images, classes[:, k]), atol=1e-4, rtol=1e-4)


def test_the_gated_output_is_meant():
    model = copy.deepcopy(resnet())
    ww.attach_(model, "bam", at=["layer4"], input_size=SIZE)
    with Cam(model, input_size=SIZE) as cam:
        model(pictures())
        with torch.no_grad():
            assert torch.equal(
                cam._map, model.layer4(model.layer3(model.layer2(model.layer1(stem(model, pictures())))))
            )


def stem(model, images):
    return model.maxpool(model.relu(model.bn1(model.conv1(images))))


@pytest.mark.parametrize("kind", [Small, InPlace, Twice, Branches])
@pytest.mark.parametrize("method", GRADIENTS)
def test_awkward_networks(method, kind):
    model, classes = small(kind), torch.tensor([[4], [0]])
    layer = {InPlace: "stage3.1", Twice: "again"}.get(kind, "stage3")
    found = cams(model, images16(), method=method, layer=layer, classes=classes)
    expected = naive(model, method, layer, images16(), classes[:, 0].tolist())
    torch.testing.assert_close(found.maps[:, 0], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("method", ["scorecam", "sscam", "iscam"])
def test_methods_without_gradients(method):
    model, classes = small(), torch.tensor([[4, 1], [0, 0]])
    with Cam(model, method, "stage3") as cam:
        logits = model(images16())
        assert not logits.requires_grad
        maps = cam(logits, classes)
        assert torch.equal(cam(logits, classes[:, 1:]), maps[:, 1:])
    torch.manual_seed(0)
    expected = naive(model, method, "stage3", images16(), [4, 0])
    torch.testing.assert_close(maps[:, 0], expected, atol=1e-5, rtol=1e-4)


def test_smooth_noise_is_the_same_for_every_class_and_batch():
    model, classes = small(), torch.tensor([[4, 1], [0, 2]])
    with Cam(model, "smoothgradcampp", input_size=(3, 16, 16)) as cam:
        first = cam(model(images16()), classes)
        torch.rand(7)
        logits = model(images16())
        assert torch.equal(cam(logits, classes.flip(1)), first.flip(1))
    torch.manual_seed(0)
    expected = naive(model, "smoothgradcampp", "stage3", images16(), [4, 0])
    torch.testing.assert_close(first[:, 0], expected, atol=1e-5, rtol=1e-4)


def test_methods_differ():
    model = small()
    found = [cams(model, images16(), method=method, classes=2).maps for method in METHODS]
    assert all(not torch.allclose(a, b, atol=1e-3) for n, a in enumerate(found) for b in found[:n])


def test_several_batches_in_one_with():
    model = small()
    batches = [images16(2), images16(4)[2:], images16(1)]
    with Cam(model, input_size=(3, 16, 16)) as cam:
        found = [cam(logits := model(batch), logits.argmax(1, keepdim=True)) for batch in batches]
    for batch, maps in zip(batches, found, strict=True):
        assert torch.equal(maps, cams(model, batch).maps)


def test_two_at_once():
    """One forward serves several methods and layers."""
    model, classes = small(), torch.tensor([[4], [0]])
    with (
        Cam(model, "gradcam", "stage2") as early,
        Cam(model, "layercam", "stage3") as late,
        Cam(model, "scorecam", "stage3") as third,
    ):
        logits = model(images16())
        found = [one(logits, classes) for one in (early, late, third)]
    assert torch.is_grad_enabled()
    expected = [("gradcam", "stage2"), ("layercam", "stage3"), ("scorecam", "stage3")]
    for maps, (method, layer) in zip(found, expected, strict=True):
        torch.testing.assert_close(maps, cams(model, images16(), method=method, layer=layer, classes=classes).maps)


class TestCams:
    def test_most_probable(self):
        model = small()
        found = cams(model, images16(), top=3)
        with torch.no_grad():
            logits = model(images16())
        order = logits.softmax(1).sort(1, descending=True)
        torch.testing.assert_close(found.logits, logits)
        assert torch.equal(found.classes, order.indices[:, :3])
        torch.testing.assert_close(found.probabilities, order.values[:, :3])
        assert found.maps.shape == (2, 3, 4, 4)

    @pytest.mark.parametrize("classes", [3, torch.tensor([3, 3]), torch.tensor([[3], [3]])])
    def test_given(self, classes):
        found = cams(small(), images16(), classes=classes)
        assert found.classes.tolist() == [[3], [3]]
        assert torch.equal(found.maps, cams(small(), images16(), classes=3).maps)

    def test_no_graph(self):
        found = cams(small(), images16())
        assert not any(t.requires_grad for t in (found.maps, found.probabilities, found.logits))

    def test_a_map_of_one_value_is_zero(self):
        model = small()
        nn.init.zeros_(model.head.weight)
        assert cams(model, images16(), classes=0).maps.abs().max() == 0


class TestWhateverTheCallerHas:
    def expected(self):
        return cams(small(), images16(), classes=1).maps

    def test_frozen(self):
        model = small().requires_grad_(False)
        assert torch.equal(cams(model, images16(), classes=1).maps, self.expected())
        assert not any(parameter.requires_grad for parameter in model.parameters())

    @pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
    def test_modes_of_autograd(self, mode):
        model, expected = small(), self.expected()
        with mode():
            before = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
            assert torch.equal(cams(model, images16(), classes=1).maps, expected)
            assert (torch.is_grad_enabled(), torch.is_inference_mode_enabled()) == before

    @pytest.mark.parametrize("method", METHODS)
    def test_pictures_made_in_inference_mode(self, method):
        model = small(Branches)
        expected = cams(model, images16(), method=method, classes=1).maps
        with torch.inference_mode():
            images = images16() * 1
            assert images.is_inference()
            assert torch.equal(cams(model, images, method=method, classes=1).maps, expected)

    def test_train_mode(self):
        model = small().train()
        assert torch.equal(cams(model, images16(), classes=1).maps, self.expected())

    @pytest.mark.parametrize("method", METHODS)
    def test_bfloat16_and_channels_last(self, method):
        model = small().to(torch.bfloat16).to(memory_format=torch.channels_last)
        images = images16().to(torch.bfloat16).contiguous(memory_format=torch.channels_last)
        maps = cams(model, images, method=method, classes=1).maps
        assert maps.dtype == torch.float32
        torch.testing.assert_close(maps, cams(small(), images16(), method=method, classes=1).maps, atol=0.1, rtol=0)

    def test_the_cube_of_a_small_gradient_in_half_precision(self):
        model = small()
        nn.init.normal_(model.head.weight, std=1e-4)
        expected = cams(model, images16(), method="gradcampp", classes=1).maps
        maps = cams(model.half(), images16().half(), method="gradcampp", classes=1).maps
        torch.testing.assert_close(maps, expected, atol=0.02, rtol=0)

    def test_autocast(self):
        with torch.autocast("cpu", torch.bfloat16):
            maps = cams(small(), images16(), classes=1).maps
        torch.testing.assert_close(maps, self.expected(), atol=0.1, rtol=0)


def test_the_early_part_has_no_graph():
    model, states = small(), {}
    for name in ("stage1", "stage2", "stage3", "head"):
        model.get_submodule(name).register_forward_hook(
            lambda _, args, output, name=name: states.update({name: output.requires_grad})
        )
    with Cam(model, input_size=(3, 16, 16)) as cam:
        logits = model(images16())
        assert states == {"stage1": False, "stage2": False, "stage3": False, "head": True}
        cam(logits, torch.tensor([[1], [1]]))


def state(model):
    names = (
        "_forward_hooks",
        "_forward_pre_hooks",
        "_forward_hooks_always_called",
        "_forward_hooks_with_kwargs",
        "_forward_pre_hooks_with_kwargs",
        "_backward_hooks",
        "training",
    )
    modules = [[copy.copy(getattr(module, name)) for name in names] for module in model.modules()]
    parameters = [(parameter.requires_grad, parameter.grad) for parameter in model.parameters()]
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
    return modules, parameters, modes, [list(vars(module)) for module in model.modules()], tensors


def same(before, after):
    tensors = before[-1]
    return before[:-1] == after[:-1] and all(torch.equal(tensors[name], after[-1][name]) for name in tensors)


@pytest.mark.parametrize("method", METHODS)
def test_no_trace(method):
    model = small().train()
    model.stage2.eval()
    model.stage1.requires_grad_(False)
    model.stage1.register_forward_hook(lambda *_: None)
    before, random = state(model), torch.get_rng_state()
    cams(model, images16(), method=method)
    assert same(before, state(model))
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.parametrize("method", ["gradcam", "scorecam"])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_no_trace_after_a_forward_that_fails(method, mode):
    model = small(Broken).train()
    with mode():
        before = state(model)
        with pytest.raises(ZeroDivisionError, match="the user's own"), Cam(model, method, "stage3"):
            model(images16())
        assert same(before, state(model))
        with pytest.raises(KeyboardInterrupt), Cam(model, method, "stage3"):
            model(images16() + 1e7)
        assert same(before, state(model))


def test_the_grad_mode_is_back_as_soon_as_the_forward_has_ended():
    model = small(Broken)
    with torch.no_grad(), Cam(model, layer="stage3"):
        with pytest.raises(ZeroDivisionError):
            model(images16())
        assert not torch.is_grad_enabled()


def test_a_users_exception_passes_through():
    model = small().train()
    before, error = state(model), RuntimeError("the user's own")

    def use():
        with Cam(model, input_size=(3, 16, 16)) as cam:
            cam(model(images16()), torch.tensor([[0], [0]]))
            raise error

    with pytest.raises(RuntimeError) as caught:
        use()
    assert caught.value is error
    assert same(before, state(model))


def test_a_forward_that_is_not_a_call():
    """As ``model.forward_head(model.forward_features(images))`` is: nobody would give the grad mode back."""
    model, classes = small(), torch.tensor([[0], [1]])
    expected = cams(model, images16(), classes=classes).maps
    with Cam(model, input_size=(3, 16, 16)) as cam:
        assert torch.equal(cam(model.forward(images16()), classes), expected)
        with torch.no_grad():
            model.forward(images16())
            assert not torch.is_grad_enabled()


def test_may_be_entered_again():
    model = small()
    cam = Cam(model, input_size=(3, 16, 16))
    found = []
    for _ in range(2):
        with cam:
            found.append(cam(model(images16()), torch.tensor([[0], [1]])))
    assert torch.equal(*found)


def said(call):
    with pytest.raises(HostError) as caught:
        call()
    return str(caught.value).splitlines()


class TestMessages:
    def test_unknown_method(self):
        assert said(lambda: Cam(small(), "grad-cam")) == [
            "Cam(Small, 'grad-cam'): there is no method 'grad-cam'",
            "  closest: 'gradcam', 'xgradcam', 'gradcampp'",
            "  fix: the methods are gradcam, gradcampp, smoothgradcampp, xgradcam, layercam, scorecam, sscam, iscam",
        ]

    def test_unknown_layer(self):
        assert said(lambda: Cam(small(), layer="stage33")) == [
            "Cam(Small, 'gradcam', layer='stage33'): no module of the network is called 'stage33'",
            "  closest: 'stage3', 'stage3.2', 'stage3.1'",
            "  fix: leave layer out, and the last feature map is taken",
        ]

    def test_the_inside_of_a_wrapper_is_no_layer(self):
        model = small()
        ww.attach_(model, "se", at=["stage3"], input_size=(3, 16, 16))
        for name in ("stage3.host", "stage3.gate"):
            assert said(lambda name=name: Cam(model, layer=name))[1].startswith("  closest: 'stage3")

    def test_no_layer_found(self):
        model = nn.Sequential(nn.Conv2d(3, 8, 4), nn.Flatten(), nn.Linear(8, 2))
        assert said(lambda: cams(model, torch.zeros(1, 3, 4, 4))) == [
            "Cam(Sequential, 'gradcam'): no module of the network gives a feature map of more than one position",
            "  got: Sequential on images of 4 x 4 pixels",
            "  fix: take larger images, or name the layer",
        ]

    @pytest.mark.parametrize("method", ["gradcam", "scorecam"])
    def test_a_layer_that_gives_no_map(self, method):
        assert said(lambda: cams(small(), images16(), method=method, layer="head")) == [
            f"Cam(Small, '{method}', layer='head'): the output of 'head' is no feature map "
            "(images, channels, rows, columns)",
            "  got: a tensor (2, 5)",
            "  fix: leave layer out, and the last feature map is taken",
        ]

    @pytest.mark.parametrize("number", [5, -1])
    def test_class_out_of_range(self, number):
        rule = f"class {number} of a network with 5 classes (0 to 4)"
        assert said(lambda: cams(small(), images16(), classes=number)) == [f"cams(Small, images): {rule}"]
        with Cam(small(), input_size=(3, 16, 16)) as cam:
            assert said(lambda: cam(torch.zeros(2, 5), torch.tensor([[0], [number]]))) == [
                f"cam(logits, classes): {rule}"
            ]

    @pytest.mark.parametrize("top", [0, 6])
    def test_top(self, top):
        assert said(lambda: cams(small(), images16(), top=top)) == [
            "cams(Small, images): top is a number of classes",
            f"  got: top={top} of a network with 5 classes",
        ]

    @pytest.mark.parametrize(
        ("classes", "got"),
        [
            (torch.zeros(3, 1, dtype=torch.int64), "int64 (3, 1)"),
            (torch.zeros(2, 0, dtype=torch.int64), "int64 (2, 0)"),
            (torch.zeros(2, 1), "float32 (2, 1)"),
        ],
    )
    def test_classes_that_do_not_fit(self, classes, got):
        assert said(lambda: cams(small(), images16(), classes=classes)) == [
            "cams(Small, images): classes are int64 (images, classes), at least one for each image",
            f"  got: {got} for 2 images",
        ]

    @pytest.mark.parametrize(
        ("output", "got"), [((torch.zeros(2, 5),), "a tuple"), (torch.zeros(2, 5, 1), "a tensor (2, 5, 1)")]
    )
    def test_logits_that_do_not_fit(self, output, got):
        with Cam(small(), input_size=(3, 16, 16)) as cam:
            assert said(lambda: cam(output, torch.zeros(2, 1, dtype=torch.int64))) == [
                "cam(logits, classes): the network's output is one tensor of logits (images, classes)",
                f"  got: {got}",
                "  fix: wrap the network in a module that returns the logits alone",
            ]

    def test_a_network_that_returns_a_tuple(self):
        lines = said(lambda: cams(small(Pair), images16()))
        assert lines[:2] == [
            "cams(Pair, images): the network's output is one tensor of logits (images, classes)",
            "  got: a tuple",
        ]

    @pytest.mark.parametrize("method", ["gradcam", "scorecam"])
    def test_no_forward_yet(self, method):
        model, logits, classes = small(), torch.zeros(2, 5), torch.zeros(2, 1, dtype=torch.int64)
        expected = [
            "cam(logits, classes): 'stage3' has not run",
            "  fix: call the network first, inside the same `with`, and not what torch.compile made of it",
        ]
        with Cam(model, method, input_size=(3, 16, 16)) as cam:
            assert said(lambda: cam(logits, classes)) == expected
            model(images16())
        assert said(lambda: cam(logits, classes)) == expected

    def test_logits_of_an_earlier_forward(self):
        model, classes = small(), torch.zeros(2, 1, dtype=torch.int64)
        fix = "  fix: give logits of the last forward inside the `with`, and a layer that they depend on"
        with Cam(model, input_size=(3, 16, 16)) as cam:
            logits = model(images16())
            model(images16())
            lines = said(lambda: cam(logits, classes))
            assert lines[0] == "cam(logits, classes): the logits have no gradient at 'stage3'"
            assert "appears to not have been used" in lines[1]
            assert lines[2] == fix
            detached = said(lambda: cam(model(images16()).detach(), classes))
            assert detached[1].startswith("  got: element 0 of tensors does not require grad")
            assert detached[2] == fix

    def test_what_the_network_raises_is_its_own(self):
        model = small()
        with Cam(model, "smoothgradcampp", input_size=(3, 16, 16)) as cam:
            logits = model(images16())
            model.head = nn.Linear(3, 5)
            with pytest.raises(RuntimeError, match="mat1 and mat2"):
                cam(logits, torch.zeros(2, 1, dtype=torch.int64))


def test_a_compiled_network_is_looked_at_as_it_is():
    model, images = small(), torch.randn(2, 3, 16, 16)
    found = cams(torch.compile(model, backend="eager"), images)
    assert torch.equal(found.maps, cams(model, images).maps)
