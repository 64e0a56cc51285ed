"""Whatever runs a gate's operations, the gate is the same: output, gradients, statistics, bytes kept, kernels run."""

import contextlib
import warnings
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import torch
from gates.test_contract import GATES
from support.contract import channels_last, images, randomise_
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

import whatwhere as ww
from whatwhere.errors import KernelError
from whatwhere.ops import cpu, dispatch

built = pytest.mark.skipif(cpu.problem() is not None, reason=f"no CPU kernels: {cpu.problem()}")
BACKENDS = ["reference", pytest.param("cpu", marks=built)]
backends = pytest.mark.parametrize("backend", BACKENDS)


def step(gate: nn.Module, x: Tensor, **more: Any) -> list[Tensor]:
    """Output, gradients and buffers of one forward and backward, the gate's buffers left as they were."""
    before = {name: value.clone() for name, value in gate.named_buffers()}
    gate.zero_grad()
    x = x.detach().requires_grad_()
    out = gate(x, **more)
    weight = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).reshape(out.shape)
    (out * weight).sum().backward()
    found = [out.detach(), x.grad, *(p.grad for p in gate.parameters()), *(b.clone() for b in gate.buffers())]
    for name, value in gate.named_buffers():
        value.copy_(before[name])
    return found


@pytest.fixture
def formulas(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Runs a function on formulas alone, differentiated by torch."""

    def run(function: Any, *arguments: Any, **more: Any) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(dispatch, "choose", lambda x: None)
            return function(*arguments, **more)

    return run


@backends
@pytest.mark.parametrize("train", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("make", GATES.values(), ids=GATES)
def test_every_gate_is_its_formula(make: Any, train: bool, backend: str, formulas: Any) -> None:
    for start in ("preset", "identity"):
        gate = randomise_(make(12, start=start)).train(train)
        for size in ("oblong", "tall"):
            x = images(gate, 3, size)
            wanted = formulas(step, gate, x)
            layouts = [x] if gate.spatial_dims == 1 else [x, channels_last(x)]
            for laid in layouts:
                with ww.backend(backend):
                    found = step(gate, laid)
                assert found[0].stride() == found[1].stride() == laid.stride()
                for one, other in zip(found, wanted, strict=True):
                    # what comes before a batch norm has gradients of zero, but for rounding of what adds up to it
                    torch.testing.assert_close(one, other, rtol=2e-4, atol=2e-3)


@backends
@pytest.mark.parametrize("make", [ww.SE, ww.BAM, ww.CBAM])
def test_the_rest_of_a_block_is_taken_along(make: Any, backend: str) -> None:
    gate = randomise_(make(32))
    x, residual = images(gate), images(gate, 2).flip(0).requires_grad_()
    with ww.backend(backend):
        found = step(gate, x, residual=residual, relu=True)
        moved, residual.grad = residual.grad, None
        apart = nn.Sequential(gate, _Add(residual), nn.ReLU())
        wanted = step(apart, x)
    torch.testing.assert_close(moved, residual.grad)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


class _Add(nn.Module):
    def __init__(self, residual: Tensor) -> None:
        super().__init__()
        self.residual = [residual]

    def forward(self, x: Tensor) -> Tensor:
        return x + self.residual[0]


@backends
@pytest.mark.parametrize(
    "make", [ww.SE, ww.SpatialGate, partial(ww.CBAM, branches="channel"), partial(ww.BAM, branches="channel")]
)
@pytest.mark.parametrize("shape", [(4, 32, 1, 1), (4, 32, 1, 3)], ids=str)
def test_one_number_an_element_is_not_the_result(make: Any, shape: Any, backend: str, formulas: Any) -> None:
    """Where a map is as small as what multiplies it, the product must not be written over the factor."""
    gate, x = randomise_(make(32)), torch.randn(shape)
    wanted = formulas(step, gate, x)
    with ww.backend(backend):
        found = step(gate, x)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=2e-4, atol=2e-3)


@backends
@pytest.mark.parametrize(
    ("make", "most"),
    [(ww.SE, 1.01), (ww.CBAM, 1.05), (partial(ww.CBAM, order="spatial_first"), 1.05), (ww.BAM, 1.25)],
    ids=["se", "cbam", "cbam-spatial-first", "bam"],
)
def test_bytes_kept_for_backward(make: Any, most: float, backend: str) -> None:
    """In maps of 256 channels; parameters do not count."""
    gate = make(256)
    own = {parameter.untyped_storage().data_ptr() for parameter in gate.parameters()}
    x = torch.randn(2, 256, 28, 28, requires_grad=True)
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with ww.backend(backend), saved_tensors_hooks(pack, lambda tensor: tensor):
        out = gate(x)
    maps = sum(kept.values()) / x.untyped_storage().nbytes()
    assert out.requires_grad
    assert 1 <= maps <= most


COUNTS = {
    "se": (ww.SE, ["pool", "apply"], ["apply_gradients", "map_gradient"]),
    "cbam": (ww.CBAM, ["pool", "pool", "apply"], ["apply_gradients", "pool_weight_gradient", "map_gradient"]),
    "bam": (ww.BAM, ["pool", "apply"], ["apply_gradients", "map_gradient"]),
}


@built
@pytest.mark.parametrize(("make", "forward", "backward"), COUNTS.values(), ids=COUNTS)
def test_kernels_launched(make: Any, forward: list[str], backward: list[str]) -> None:
    gate, x = make(32), torch.randn(2, 32, 5, 7, requires_grad=True)

    def run(function: Any) -> tuple[Any, list[str]]:
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            result = function()
        names = [event.name for event in sorted(profile.events(), key=lambda event: event.time_range.start)]
        return result, [name.removeprefix("whatwhere::") for name in names if name.startswith("whatwhere::")]

    with ww.backend("cpu"):
        out, launched = run(lambda: gate(x))
        assert launched == forward
        _, launched = run(out.sum().backward)
        assert launched == backward
        with torch.no_grad():
            _, launched = run(lambda: gate.eval()(x))
        assert launched == forward


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of torch's own, about what torch's forward mode uses
def test_what_torch_traces_is_formulas() -> None:
    gate, x = ww.CBAM(32).eval(), torch.randn(3, 32, 5, 7)
    wanted = gate(x)
    graph = torch.fx.symbolic_trace(gate)
    called = {node.target.__name__ for node in graph.graph.nodes if callable(node.target)}
    assert called >= {"pool_positions", "pool_channels", "apply_factor"}
    torch.testing.assert_close(graph(x), wanted)
    exported = torch.export.export(gate, (x,), strict=True)
    assert not [node for node in exported.graph.nodes if "whatwhere" in str(node.target)]
    torch.testing.assert_close(exported.module()(x), wanted)
    each = torch.func.vmap(lambda image: gate(image[None])[0])(x)
    torch.testing.assert_close(each, wanted)
    moved = torch.func.jvp(gate, (x,), (torch.ones_like(x),))[1]
    slope = torch.func.jacrev(lambda t: gate(x + t))(torch.zeros(()))
    torch.testing.assert_close(moved, slope, rtol=1e-4, atol=1e-5)


def test_half_precision_under_autocast_and_in_itself(formulas: Any) -> None:
    gate, x = randomise_(ww.BAM(32)).eval(), torch.randn(2, 32, 9, 7)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(gate(x), formulas(gate, x), rtol=2e-2, atol=2e-2)
        half = x.bfloat16()
        assert gate(half).dtype == torch.bfloat16
    gate.bfloat16()
    torch.testing.assert_close(gate(half), formulas(gate, half), rtol=2e-2, atol=2e-2)


class TestBackend:
    def test_an_unknown_name(self) -> None:
        with pytest.raises(KernelError) as found, ww.backend("tritn"):
            pass
        assert str(found.value) == (
            "backend('tritn'): there is no such backend\n"
            "  closest: 'triton'\n"
            "  fix: one of auto, reference, cpu, triton"
        )

    def test_no_name(self) -> None:
        with pytest.raises(KernelError) as found, ww.backend(None):
            pass
        assert str(found.value).splitlines()[0] == "backend(None): there is no such backend"

    def test_a_device_it_does_not_take(self) -> None:
        with pytest.raises(KernelError) as found:
            dispatch._fits(dispatch.table()[0], torch.zeros(2, 8, 3, 3), None, "backend('triton')")
        assert str(found.value) == (
            "backend('triton'): the triton kernels take float32, float16, bfloat16 on cuda\n"
            "  got: float32 on cpu\n"
            "  fix: backend('auto') runs the rest in plain torch"
        )

    def test_an_unknown_name_in_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WHATWHERE_BACKEND", "cuda")
        with pytest.raises(KernelError) as found:
            ww.SE(8)(torch.zeros(2, 8, 3, 3))
        assert str(found.value).splitlines()[0] == "WHATWHERE_BACKEND=cuda: there is no such backend"

    @pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU, and it can run")
    def test_one_that_cannot_run_here(self) -> None:
        with pytest.raises(KernelError) as found, ww.backend("triton"):
            pass
        assert str(found.value) == (
            "backend('triton'): the triton kernels cannot run here\n"
            "  got: torch sees no CUDA device\n"
            "  fix: backend('auto') takes what can run"
        )

    @built
    def test_a_dtype_it_does_not_take(self) -> None:
        gate = ww.SE(8, dtype=torch.float64)
        with ww.backend("cpu"), pytest.raises(KernelError) as found:
            gate(torch.zeros(2, 8, 3, 3, dtype=torch.float64))
        assert str(found.value) == (
            "backend('cpu'): the cpu kernels take float32, bfloat16 on cpu\n"
            "  got: float64 on cpu\n"
            "  fix: backend('auto') runs the rest in plain torch"
        )

    @built
    def test_strides_it_does_not_take(self) -> None:
        x = torch.zeros(2, 8, 3, 6)[..., ::2]
        with ww.backend("cpu"), pytest.raises(KernelError) as found:
            ww.SE(8)(x)
        assert str(found.value) == (
            "backend('cpu'): the cpu kernels take maps that are contiguous or channels_last\n"
            "  got: shape (2, 8, 3, 3), strides (144, 18, 6, 2)\n"
            "  fix: x.contiguous(), or backend('auto')"
        )
        ww.SE(8)(x)  # auto

    def test_it_ends_with_its_block(self) -> None:
        x = torch.zeros(2, 8, 3, 3)
        for _ in range(2):
            with contextlib.suppress(ZeroDivisionError), ww.backend("reference"):
                assert dispatch.explain(x) == ("reference", "backend('reference') asks for it")
                _ = 1 / 0
            assert "asks" not in dispatch.explain(x)[1]

    def test_kernels_that_cannot_run_are_named_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cpu, "problem", lambda: "not built for torch 3 on a toaster")
        monkeypatch.delenv("WHATWHERE_BACKEND", raising=False)
        dispatch._say_once.cache_clear()
        gate, x = ww.SE(8), torch.zeros(2, 8, 3, 3)
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            gate(x)
            gate(x)
        assert [str(one.message) for one in found] == [
            "gates run in plain torch, for the cpu kernels cannot: not built for torch 3 on a toaster. "
            "`whatwhere kernels` tells more; WHATWHERE_BACKEND=reference makes this silent."
        ]
        assert dispatch.explain(x) == ("reference", "cpu: not built for torch 3 on a toaster")


@backends
def test_numbers_that_a_hook_makes_alike_for_all_images(backend: str, formulas: Any) -> None:
    gate, x = randomise_(ww.CBAM(32)), torch.randn(3, 32, 5, 7)
    gate.channel.branch.register_forward_hook(lambda module, given, out: out.mean(0, keepdim=True))
    gate.spatial.conv.register_forward_hook(lambda module, given, out: out.mean(0, keepdim=True))
    wanted = formulas(step, gate, x)
    with ww.backend(backend):
        found = step(gate, x)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=2e-4, atol=2e-3)
