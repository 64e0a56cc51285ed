"""Measured times: interleaved, without gradients, and everything put back."""

import pytest
import torch
from torch import Tensor, nn

from whatwhere.cost import latency
from whatwhere.errors import HostError


class Spy(nn.Module):
    """Notes each call: who, whether gradients and training are on, the input."""

    def __init__(self, name: str, calls: list[tuple[str, bool, bool, int, Tensor]]) -> None:
        super().__init__()
        self.name, self.calls = name, calls
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        state = (torch.is_grad_enabled(), self.norm.training, torch.get_num_threads())
        self.calls.append((self.name, *state, x))
        return self.norm(x)


def test_rounds_are_interleaved_and_begin_with_another_module_each_time() -> None:
    calls: list[tuple[str, bool, bool, int, Tensor]] = []
    spies = {name: Spy(name, calls) for name in "abc"}
    result = latency(spies, (2, 3, 4, 4), rounds=4, warmup=2, threads=1)
    assert "".join(name for name, *_ in calls) == "abcabc" + "abc" + "bca" + "cab" + "abc"
    assert {(grad, training, threads) for _, grad, training, threads, _ in calls} == {(False, False, 1)}
    assert all(torch.equal(x, calls[0][-1]) for *_, x in calls)
    assert list(result) == ["a", "b", "c"]


def test_result_says_what_it_was_measured_with() -> None:
    one = latency({"norm": nn.BatchNorm2d(3).to(torch.float64)}, (2, 3, 4, 4), rounds=5, threads=1)["norm"]
    assert 0 < one.low_ms <= one.median_ms <= one.high_ms
    assert (one.rounds, one.threads, one.shapes) == (5, 1, ((2, 3, 4, 4),))
    assert (one.dtype, one.device, one.torch_version) == ("float64", "cpu", torch.__version__)


def test_modes_threads_random_state_and_buffers_are_put_back() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout())
    model[0].eval()
    threads, numbers = torch.get_num_threads(), torch.get_rng_state()
    latency({"model": model}, (2, 3, 4, 4), rounds=1, threads=threads + 1)
    assert [module.training for module in model.modules()] == [True, False, True]
    assert model[0].num_batches_tracked.item() == 0
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), numbers)


def test_modes_and_threads_are_put_back_after_a_failure() -> None:
    model = nn.Conv2d(3, 3, 1)
    threads = torch.get_num_threads()
    with pytest.raises(RuntimeError):
        latency({"model": model}, (1, 2, 4, 4), threads=threads + 1)
    assert model.training
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(
    "inputs",
    [torch.ones(2, 3), (2, 3), [(2, 3)], (torch.ones(2, 3),), ((2, 3),)],
    ids=["tensor", "shape", "list", "tuple-of-tensors", "tuple-of-shapes"],
)
def test_ways_to_give_one_input(inputs: object) -> None:
    assert latency({"relu": nn.ReLU()}, inputs, rounds=1)["relu"].shapes == ((2, 3),)  # type: ignore[arg-type]


def test_several_inputs() -> None:
    result = latency({"bilinear": nn.Bilinear(3, 4, 5)}, [(2, 3), torch.ones(2, 4)], rounds=1)
    assert result["bilinear"].shapes == ((2, 3), (2, 4))


def test_a_longer_computation_takes_longer() -> None:
    result = latency({"small": nn.Linear(8, 8), "large": nn.Linear(8, 200_000)}, (8, 8), rounds=9)
    assert result["large"].low_ms > result["small"].high_ms


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_waits_for_the_device() -> None:
    slow = nn.Sequential(*[nn.Linear(4096, 4096, bias=False) for _ in range(8)]).cuda()
    one = latency({"slow": slow}, (4096, 4096), rounds=3)["slow"]
    assert one.device == torch.cuda.get_device_name()
    assert one.median_ms > 8 * 2 * 4096**3 / 1e15 * 1e3  # no GPU does 1e15 float32 operations a second


@pytest.mark.parametrize(
    ("options", "got", "rule"),
    [
        ({"rounds": 0}, "rounds=0", "rounds must be at least 1"),
        ({"warmup": -1}, "warmup=-1", "warmup must be at least 0"),
        ({"threads": 0}, "threads=0", "threads must be at least 1"),
    ],
    ids=["rounds", "warmup", "threads"],
)
def test_options_it_cannot_take(options: dict[str, int], got: str, rule: str) -> None:
    with pytest.raises(HostError) as caught:
        latency({"relu": nn.ReLU()}, (2, 3), **options)  # type: ignore[arg-type]
    assert str(caught.value) == f"latency('relu'): {rule}\n  got: {got}"


def test_needs_a_module() -> None:
    with pytest.raises(HostError) as caught:
        latency({}, (2, 3))
    assert str(caught.value) == (
        "latency({}): needs at least one module\n  fix: latency({'name': module}, (1, 3, 224, 224))"
    )


@pytest.mark.parametrize(
    ("inputs", "rule"),
    [
        ([], "needs an input, a tensor or a shape with its batch"),
        ([(2, -1)], "an input is a tensor or a shape of positive integers"),
    ],
    ids=["none", "negative"],
)
def test_malformed_inputs(inputs: list[tuple[int, ...]], rule: str) -> None:
    with pytest.raises(HostError) as caught:
        latency({"relu": nn.ReLU()}, inputs)
    assert caught.value.rule == f"latency('relu'): {rule}"
