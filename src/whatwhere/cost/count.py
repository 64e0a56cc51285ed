"""Exact cost of one forward of any module, from shapes alone."""

from collections.abc import Iterable
from dataclasses import dataclass
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)
from torch.autograd.graph import saved_tensors_hooks

from whatwhere.cost.double import fake_double
from whatwhere.cost.inputs import Input, as_tensors
from whatwhere.cost.tally import Kept, Tally
from whatwhere.errors import HostError, WhatwhereError, first_line

__all__ = ["Cost", "measure"]


@dataclass(frozen=True)
class Cost:
    """What a module costs for the inputs it was measured with (the whole batch, not one image).

    Attributes:
        parameters: elements of the distinct parameters, trainable or not.
        macs: multiply-accumulates of convolutions and matrix products in the forward; 1 MAC is 2 FLOPs.
        bytes_moved: bytes that the forward's operations read and write, each run by itself as eager torch does.
        bytes_kept: bytes that autograd holds for the backward when the forward has returned.
    """

    parameters: int
    macs: int
    bytes_moved: int
    bytes_kept: int


def measure(module: nn.Module, *inputs: Input, training: bool = True) -> Cost:
    """Counts parameters, multiply-accumulates, bytes moved and bytes kept of ``module(*inputs)``.

    Nothing is computed: a copy of the module's structure runs on tensors that have shapes and no data. A large network
    takes a fraction of a second and no memory, and the module itself (mode, buffers, gradients) and the random state
    are untouched. Forward hooks do run.

    What is counted, per operation that torch dispatches:

    - ``macs``: convolutions (also transposed), matrix products and scaled dot-product attention, padding included.
      Element-wise work is none; ``bytes_moved`` is where it shows.
    - ``bytes_moved``: one read of each distinct tensor argument and one write of each output; an argument changed in
      place is read and written; an expanded dimension counts once; views and allocations are free. A batch norm, which
      an eager kernel may read twice, is read once, and its running statistics are not counted as written, for torch's
      schema hides that. A fused operation counts once, as a fused operation should.
    - ``bytes_kept``: distinct storages that autograd saved, whole, and still holds at the end. Parameters and buffers
      do not count, an input does. Floating inputs are taken to require a gradient, as inside a network.
      Tensors that an ``autograd.Function`` keeps as plain attributes escape.

    Args:
        module: any module; half precision, 1-d to 3-d, with any output.
        inputs: tensors, or shapes with their batch, which stand for tensors of the module's own dtype and device.
        training: ``True`` counts training mode; ``False`` evaluation mode without gradients (nothing is kept).

    Raises:
        HostError: no input or a malformed one, or a forward that fails on it or needs the values of its tensors.
    """
    call = f"measure({type(module).__name__})"
    fakes = FakeTensorMode(allow_non_fake_inputs=True)
    double, stand_ins = fake_double(module, fakes)
    double.train(training)
    with fakes, torch.set_grad_enabled(training):
        given = as_tensors(module, inputs, lambda s, d, v: torch.empty(s, dtype=d, device=v), call)
        tensors = [_input(fakes.from_tensor(t), training) for t in given]
        macs, moved, kept = _run(double, tensors, stand_ins, call)
    return Cost(sum(p.numel() for p in module.parameters()), macs, moved, kept)


def _input(tensor: Tensor, training: bool) -> Tensor:
    """A stand-in that is no leaf, so that a module may change it in place."""
    return tensor.detach().requires_grad_(training and tensor.is_floating_point()).clone()


def _run(double: nn.Module, tensors: list[Tensor], stand_ins: Iterable[Tensor], call: str) -> tuple[int, int, int]:
    saved: WeakSet[Kept] = WeakSet()

    def pack(tensor: Tensor) -> Kept:
        kept = Kept(tensor)
        saved.add(kept)
        return kept

    def unpack(kept: Kept) -> Tensor:
        raise NotImplementedError("measure runs no backward")

    try:
        with Tally() as tally, saved_tensors_hooks(pack, unpack):
            output = double(*tensors)
    except (DataDependentOutputException, DynamicOutputShapeException) as error:
        raise HostError(
            f"{call}: the forward depends on the values of its tensors, and only shapes are known",
            got=str(error),
            fix="measure the part that does not, or time the module with latency",
        ) from error
    except WhatwhereError:
        raise
    except Exception as error:  # the module is the user's and may fail in any way
        raise HostError(
            f"{call}: the module does not run on this input",
            got=f"{' and '.join(str(tuple(t.shape)) for t in tensors)}; {type(error).__name__}: {first_line(error)}",
            fix="an input that the module takes, its batch included",
        ) from error
    constants = {Kept(tensor).key for tensor in stand_ins}
    kept = {one.key: one.bytes for one in saved if one.key not in constants}
    del output  # held until here: what nobody can reach any more is not kept
    return tally.macs, tally.bytes_moved, sum(kept.values())
