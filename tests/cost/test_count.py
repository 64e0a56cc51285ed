"""Counts against closed forms; and proof that nothing of the module is touched."""

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from whatwhere.cost import Cost, measure
from whatwhere.errors import GateError, HostError
from whatwhere.hosts import build


class Formula(nn.Module):
    """A module without parameters around a function."""

    def __init__(self, formula: Callable[..., object]) -> None:
        super().__init__()
        self.formula = formula

    def forward(self, *inputs: Tensor) -> object:
        return self.formula(*inputs)


B, C, H, W = 8, 16, 5, 4
MAP = 4 * B * C * H * W  # bytes of one float32 map
SHAPE = (B, C, H, W)


@pytest.mark.parametrize(
    ("formula", "moved", "kept"),
    [
        (lambda x: x * 2, 2 * MAP, 0),
        (lambda x: x * x, 2 * MAP, MAP),
        (lambda x: torch.sigmoid(x), 2 * MAP, MAP),
        (lambda x: torch.sigmoid(x) * x, 2 * MAP + 3 * MAP, 2 * MAP),
        (lambda x: torch.relu_(x * 2), 2 * MAP + 2 * MAP, MAP),
        (lambda x: x.mean((2, 3)), MAP + 4 * B * C, 0),
        (lambda x: F.max_pool2d(x, 2), MAP + (4 + 8) * B * C * 4, MAP + 8 * B * C * 4),
        (lambda x: x.amax(1, keepdim=True), MAP + MAP // C, MAP + MAP // C),
        (lambda x: x.flatten(2).transpose(1, 2)[:, ::2], 0, 0),
        (lambda x: x.mean(1, keepdim=True).expand_as(x) + x, (MAP + MAP // C) + (2 * MAP + MAP // C), 0),
        (lambda x: torch.cat([x, x], 1), MAP + 2 * MAP, 0),
        (lambda x: torch.empty_like(x).copy_(x), 2 * MAP, 0),
        (lambda x: torch.zeros_like(x), MAP, 0),
        (lambda x: torch.neg(x.detach(), out=torch.empty_like(x)), 2 * MAP, 0),
        (lambda x: {"maps": [x * x], "none": None}, 2 * MAP, MAP),
        (lambda x: (torch.sigmoid(x), x * 3)[1], 4 * MAP, 0),
    ],
    ids=[
        "constant-mul", "square", "sigmoid", "gate", "in-place", "mean", "max-pool", "amax", "views", "expanded",
        "concatenation", "copy", "zeros", "out", "dict", "dropped-branch",
    ],
)  # fmt: skip
def test_closed_forms_of_elementwise_work(formula: Callable[[Tensor], object], moved: int, kept: int) -> None:
    assert measure(Formula(formula), SHAPE) == Cost(0, 0, moved, kept)


@pytest.mark.parametrize(
    ("formula", "shapes", "macs"),
    [
        (torch.matmul, [(3, 4), (4, 5)], 3 * 4 * 5),
        (torch.matmul, [(2, 3, 4), (2, 4, 5)], 2 * 3 * 4 * 5),
        (torch.matmul, [(3, 4), (4,)], 3 * 4),
        (torch.matmul, [(4,), (4,)], 4),
        (torch.matmul, [(2, 3, 4), (4,)], 2 * 3 * 4),
        (torch.addmv, [(3,), (3, 4), (4,)], 3 * 4),
        (torch.baddbmm, [(2, 3, 5), (2, 3, 4), (2, 4, 5)], 2 * 3 * 4 * 5),
        (lambda a, b: torch.einsum("bij,bjk->bik", a, b), [(2, 3, 4), (2, 4, 5)], 2 * 3 * 4 * 5),
        (F.scaled_dot_product_attention, [(2, 3, 7, 8)] * 3, 2 * 2 * 3 * 7 * 7 * 8),
        (F.linear, [(2, 6, 4), (5, 4), (5,)], 2 * 6 * 4 * 5),
        (F.conv1d, [(2, 4, 9), (6, 4, 3)], 2 * 6 * 7 * 4 * 3),
        (F.conv3d, [(2, 4, 5, 6, 7), (6, 4, 3, 3, 3)], 2 * 6 * 3 * 4 * 5 * 4 * 27),
        (lambda x, w: F.conv2d(x, w, padding=1, groups=2), [(2, 4, 5, 5), (6, 2, 3, 3)], 2 * 6 * 25 * 2 * 9),
        (lambda x, w: F.conv_transpose2d(x, w, stride=2), [(2, 4, 5, 5), (4, 6, 3, 3)], 2 * 4 * 25 * 6 * 9),
        (lambda x, w: F.conv2d(x, w).relu() * 2, [(1, 1, 4, 4), (1, 1, 1, 1)], 16),
    ],
    ids=[
        "mm", "bmm", "mv", "dot", "batched-mv", "addmv", "baddbmm", "einsum", "attention", "linear", "conv1d", "conv3d",
        "grouped", "transposed", "with-elementwise",
    ],
)  # fmt: skip
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_multiply_accumulates(
    formula: Callable[..., object], shapes: list[tuple[int, ...]], macs: int, training: bool
) -> None:
    assert measure(Formula(formula), *shapes, training=training).macs == macs


def test_convolution_by_hand() -> None:
    conv = nn.Conv2d(4, 8, 3, padding=1)
    weights = 4 * 8 * 9 + 8
    read, written = 4 * (2 * 4 * 49 + weights), 4 * 2 * 8 * 49
    assert measure(conv, (2, 4, 7, 7)) == Cost(weights, 2 * 8 * 49 * 4 * 9, read + written, 4 * 2 * 4 * 49)


def test_batch_norm_by_hand() -> None:
    small = 4 * C  # bytes of one number a channel
    counter = 8 + 8  # num_batches_tracked, read and written
    training = Cost(2 * C, 0, counter + MAP + 4 * small + MAP + 2 * small, MAP + 2 * small)
    assert measure(nn.BatchNorm2d(C), SHAPE) == training
    assert measure(nn.BatchNorm2d(C), SHAPE, training=False) == Cost(2 * C, 0, MAP + 4 * small + MAP, 0)


def test_a_map_saved_by_two_operations_counts_once() -> None:
    block = nn.Sequential(nn.Conv2d(C, C, 1, bias=False), nn.ReLU(), nn.Conv2d(C, C, 1, bias=False))
    assert measure(block, SHAPE).bytes_kept == 2 * MAP  # the input, and the map between that both its users save


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_other_precisions(dtype: torch.dtype) -> None:
    size = torch.empty((), dtype=dtype).element_size()
    cost = measure(nn.Conv2d(4, 8, 3, padding=1, bias=False).to(dtype), (2, 4, 7, 7))
    assert cost == Cost(288, 2 * 8 * 49 * 36, size * (2 * 4 * 49 + 288 + 2 * 8 * 49), size * 2 * 4 * 49)


@pytest.mark.parametrize("kind", [nn.Conv1d, nn.Conv2d, nn.Conv3d], ids=["1d", "2d", "3d"])
def test_networks_of_one_to_three_dimensions(kind: type[nn.Module]) -> None:
    dims = int(kind.__name__[4])
    norm = getattr(nn, f"BatchNorm{dims}d")
    model = nn.Sequential(kind(2, 4, 3, padding=1), norm(4), nn.ReLU(inplace=True))
    assert measure(model, (2, 2, *(5,) * dims)).macs == 2 * 4 * 5**dims * 2 * 3**dims


def test_tensors_and_shapes_cost_the_same() -> None:
    model = build("resnet20", num_classes=10)
    images = torch.randn(2, 3, 32, 32)
    assert measure(model, images) == measure(model, (2, 3, 32, 32))
    assert images.grad is None
    assert not images.requires_grad


def test_channels_last_input_stays_channels_last() -> None:
    seen: list[bool] = []
    module = Formula(lambda x: seen.append(x.is_contiguous(memory_format=torch.channels_last)))
    measure(module, torch.randn(2, 4, 3, 5).to(memory_format=torch.channels_last))
    assert seen == [True]


def test_an_input_may_be_changed_in_place_and_is_not() -> None:
    x = torch.full(SHAPE, -1.0)
    assert measure(nn.ReLU(inplace=True), x).bytes_kept == MAP
    assert bool((x == -1).all())


def test_integer_inputs() -> None:
    embedding = nn.Embedding(10, 4)
    assert measure(embedding, torch.tensor([1, 2, 3])).bytes_kept == 3 * 8


def test_costs_grow_with_the_batch_alone() -> None:
    one, four = (measure(nn.Conv2d(3, 8, 3), (n, 3, 9, 9)) for n in (1, 4))
    assert four.parameters == one.parameters
    assert (four.macs, four.bytes_kept) == (4 * one.macs, 4 * one.bytes_kept)


def test_shared_parameters_count_once() -> None:
    linear = nn.Linear(4, 4)
    cost = measure(nn.Sequential(linear, linear), (2, 4))
    assert (cost.parameters, cost.macs) == (20, 2 * 2 * 16)


def test_modules_on_the_meta_device() -> None:
    conv = nn.Conv2d(3, 8, 3, device="meta")
    assert measure(conv, (1, 3, 9, 9)) == measure(nn.Conv2d(3, 8, 3), (1, 3, 9, 9))


def test_no_grad_outside_does_not_hide_what_is_kept() -> None:
    with torch.no_grad():
        assert measure(nn.Sigmoid(), SHAPE).bytes_kept == MAP


def test_torchvision_resnet50() -> None:
    pytest.importorskip("torchvision")
    model = build("torchvision/resnet50")
    cost = measure(model, (2, 3, 224, 224), training=False)
    assert cost.parameters == 25_557_032
    assert cost.macs == 2 * 4_089_184_256
    assert cost.bytes_kept == 0
    kept = measure(model, (2, 3, 224, 224)).bytes_kept
    assert kept == kept_for_real(model.train(), torch.randn(2, 3, 224, 224))


def kept_for_real(model: nn.Module, images: Tensor) -> int:
    """The same count over a true forward: every storage that a saved tensor lies in, less the module's own."""
    own = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}
    saved: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        saved.setdefault(tensor.untyped_storage().data_ptr(), tensor.detach())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = model(images)
    assert output.requires_grad
    return sum(t.untyped_storage().nbytes() for pointer, t in saved.items() if pointer not in own)


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("measured", [True, False], ids=["counts-training", "counts-evaluation"])
def test_module_is_left_untouched(training: bool, measured: bool) -> None:
    model = build("resnet20", num_classes=10).train(training)
    model.layer1.eval()
    modes = {name: module.training for name, module in model.named_modules()}
    with torch.no_grad():
        model.bn1.running_var.uniform_()
    before = copy.deepcopy(model.state_dict())
    tensors = {name: (id(t), t.data_ptr(), t._version) for name, t in model.state_dict(keep_vars=True).items()}
    numbers = torch.get_rng_state()
    measure(model, (2, 3, 32, 32), training=measured)
    after = model.state_dict(keep_vars=True)
    assert {name: (id(t), t.data_ptr(), t._version) for name, t in after.items()} == tensors
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), numbers)


def test_running_statistics_of_the_original_stay_while_a_true_forward_moves_them() -> None:
    norm = nn.BatchNorm2d(3)
    measure(norm, (2, 3, 4, 4), training=True)
    assert norm.num_batches_tracked.item() == 0
    assert bool((norm.running_mean == 0).all())
    assert bool((norm.running_var == 1).all())
    norm(torch.randn(2, 3, 4, 4))
    assert norm.num_batches_tracked.item() == 1


def test_dropout_draws_no_random_numbers() -> None:
    numbers = torch.get_rng_state()
    cost = measure(nn.Dropout(), SHAPE)
    assert cost.bytes_kept > 0
    assert torch.equal(torch.get_rng_state(), numbers)


def test_needs_an_input() -> None:
    with pytest.raises(HostError) as caught:
        measure(nn.ReLU())
    assert str(caught.value) == (
        "measure(ReLU): needs an input, a tensor or a shape with its batch\n  fix: for example (1, 3, 224, 224)"
    )


@pytest.mark.parametrize("wrong", [(1, 0, 3), (), (1, 2.5), 32, "x"], ids=str)
def test_malformed_inputs(wrong: object) -> None:
    with pytest.raises(HostError) as caught:
        measure(nn.ReLU(), wrong)  # type: ignore[arg-type]
    assert str(caught.value) == (
        "measure(ReLU): an input is a tensor or a shape of positive integers\n"
        f"  got: {wrong!r}\n"
        "  fix: for example (1, 3, 224, 224)"
    )


@pytest.mark.parametrize(
    "formula", [lambda x: x if x.sum() > 0 else -x, lambda x: x[x > 0]], ids=["branch", "data-dependent-shape"]
)
def test_forward_that_needs_values(formula: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(HostError) as caught:
        measure(Formula(formula), SHAPE)
    assert caught.value.rule == (
        "measure(Formula): the forward depends on the values of its tensors, and only shapes are known"
    )
    assert caught.value.fix == "measure the part that does not, or time the module with latency"


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize(
    ("module", "shape", "kind", "words"),
    [
        (nn.Conv2d(3, 4, 7), (1, 3, 5, 5), "RuntimeError", "Calculated padded input size per channel: (5 x 5)."),
        (nn.Conv2d(3, 4, 1), (1, 4, 5, 5), "RuntimeError", "Given groups=1, weight of size [4, 3, 1, 1]"),
        (Formula(lambda x: x.map), (1, 3, 5, 5), "AttributeError", ""),
        (Formula(lambda x, y: x + y), (1, 3), "TypeError", ""),
        (Formula(lambda x: 1 // 0), (1, 3), "ZeroDivisionError", "integer division or modulo by zero"),
    ],
    ids=["too small", "channels", "attribute", "arguments", "arithmetic"],
)
def test_forward_that_fails(module: nn.Module, shape: tuple[int, ...], kind: str, words: str, training: bool) -> None:
    with pytest.raises(HostError) as caught:
        measure(module, shape, training=training)
    assert caught.value.rule == f"measure({type(module).__name__}): the module does not run on this input"
    assert caught.value.got.startswith(f"{shape}; {kind}: {words}")
    assert "\n" not in caught.value.got
    assert caught.value.fix == "an input that the module takes, its batch included"


def test_a_mistake_that_the_module_itself_tells_of_passes_through() -> None:
    def refuse(x: Tensor) -> Tensor:
        raise GateError("gate: no")

    with pytest.raises(GateError, match=r"^gate: no$"):
        measure(Formula(refuse), SHAPE)
