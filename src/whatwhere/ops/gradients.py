"""The fused operations as autograd sees them: each keeps the map it reads and numbers a row or a column, no more.

The gradient of a gate's map has several parts: of the product, and of all that was pooled. Added up one by one they
cost a read and a write of the map each, so here they are *carried*: ``Open`` hands out stand-ins for its map, through
which the operations after it send what they know (the incoming gradient as it is; gradients of pooled numbers), and
its own backward writes the map's gradient once, from all of them.

A backward that is itself to be differentiated (``create_graph=True``) carries nothing: every operation differentiates
its plain formula, at ``seen``, the stand-in that is for everything else.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from whatwhere.ops import plain
from whatwhere.ops.kernels import Kernels
from whatwhere.ops.planes import Planes, Pooled

__all__ = ["Apply", "Open", "Pool", "Tape"]


@dataclass
class Tape:
    """What one reading computed and the gradient of its map needs again; small, and outside the graph."""

    planes: Planes
    kernels: Kernels
    gate: tuple[Tensor | None, Tensor | None, str, Tensor | None] | None = None
    pooled: dict[int, tuple[Tensor | None, Tensor | None]] = field(default_factory=dict)


class Open(Function):
    """Two stand-ins for a map, and one for the gradients pooled along each dimension of its planes.

    Shape: x (B, C, *S) -> x for the gate's operations, x for everything else, (2, B, K), (2, B, R).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, tape: Tape) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x)
        ctx.tape = tape
        batch, rows, columns = tape.planes.of(x).shape
        nothing = x.new_zeros((), dtype=plain.wide(x.dtype))
        return x.view_as(x), x.view_as(x), nothing.expand(2, batch, columns), nothing.expand(2, batch, rows)

    @staticmethod
    def backward(
        ctx: Any, carried: Tensor | None, other: Tensor | None, down: Tensor | None, across: Tensor | None
    ) -> tuple[Tensor | None, None]:
        if torch.is_grad_enabled():
            parts = [part for part in (carried, other) if part is not None]
            return (sum(parts) if parts else None), None  # type: ignore[return-value]
        if carried is None and down is None and across is None:
            return other, None
        tape: Tape = ctx.tape
        (x,) = ctx.saved_tensors
        of = tape.planes.of
        gradient = tape.kernels.map_gradient(
            of(x),
            None if carried is None else of(carried),
            *(tape.gate or (None, None, "gates", None)),
            _pooled(tape, 2, across),
            _pooled(tape, 1, down),
            None if other is None else of(other),
        )
        return tape.planes.back(gradient), None


def _pooled(tape: Tape, dim: int, gradients: Tensor | None) -> Pooled | None:
    if gradients is None:
        return None
    index, weight = tape.pooled[dim]
    return Pooled(gradients[0], None if index is None else gradients[1], index, weight)


class Pool(Function):
    """``kernels.pool`` along one dimension of the planes; its gradient travels by ``token``, one of ``Open``'s.

    Shape: x (B, C, *S), token (2, B, N), weight (B, P) or None -> mean (B, N) and, if asked for, largest (B, N).
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        token: Tensor | None,
        weight: Tensor | None,
        tape: Tape,
        dim: int,
        largest: bool,
        seen: Tensor,
    ) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        mean, most, index = tape.kernels.pool(tape.planes.of(x), dim, weight, largest, largest)
        ctx.save_for_backward(seen, weight, index)
        ctx.tape, ctx.dim, ctx.largest = tape, dim, largest
        tape.pooled[dim] = (index, None if weight is None else weight.detach())
        return (mean,) if most is None else (mean, most)

    @staticmethod
    def backward(ctx: Any, mean: Tensor | None, largest: Tensor | None = None) -> tuple[Any, ...]:
        x, weight, index = ctx.saved_tensors
        tape: Tape = ctx.tape
        given = [gradient for gradient in (mean, largest) if gradient is not None]
        if not given:
            return (None,) * 7
        if torch.is_grad_enabled():

            def formula(x: Tensor, weight: Tensor | None) -> list[Tensor]:
                found = plain.pool(tape.planes.of(x), ctx.dim, weight, ctx.largest, ctx.largest)
                return [value for value, wanted in zip(found, (mean, largest), strict=False) if wanted is not None]  # type: ignore[misc]

            dx, dweight = _differentiate(formula, (x, weight), given)
            return dx, None, dweight, None, None, None, None
        count = tape.planes.of(x).shape[ctx.dim]
        average = torch.zeros_like(given[0]) if mean is None else mean / count
        top = torch.zeros_like(average) if largest is None else largest
        dweight, token = None, torch.stack([average, top])
        if ctx.needs_input_grad[2]:
            dweight = tape.kernels.pool_weight_gradient(
                tape.planes.of(x), ctx.dim, token[0], token[1] if ctx.largest else None, index
            )
        return None, token if ctx.needs_input_grad[1] else None, dweight, None, None, None, None


class Apply(Function):
    """``kernels.apply``; the gradient of its map is the incoming one, which ``Open`` multiplies by the factor.

    Shape: x (B, C, *S), row (B, R), column (B, K), strength (), residual (B, C, *S) -> (B, C, *S).
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        row: Tensor | None,
        column: Tensor | None,
        strength: Tensor | None,
        residual: Tensor | None,
        tape: Tape,
        how: str,
        relu: bool,
        seen: Tensor,
    ) -> Tensor:
        of = tape.planes.of
        added = None if residual is None else of(residual)
        # .data: the map is a view of its planes, and hosts must be able to change a gate's output in place
        out = tape.planes.back(tape.kernels.apply(of(x), row, column, how, strength, added, relu)).data
        ctx.save_for_backward(seen, row, column, strength, out if relu else None)
        ctx.tape, ctx.how = tape, how
        tape.gate = (_apart(row), _apart(column), how, _apart(strength))
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        x, row, column, strength, out = ctx.saved_tensors
        tape, how = ctx.tape, ctx.how
        of = tape.planes.of
        if out is not None:
            gradient = torch.ops.aten.threshold_backward(gradient, out, 0)
        added = gradient if ctx.needs_input_grad[4] else None
        if torch.is_grad_enabled():

            def formula(*inputs: Tensor | None) -> list[Tensor]:
                return [plain.apply(of(inputs[0]), inputs[1], inputs[2], how, inputs[3], None, False)]

            return *_differentiate(formula, (x, row, column, strength), [of(gradient)]), added, None, None, None, None
        found: tuple[Tensor | None, ...] = (None, None, None)
        if any(ctx.needs_input_grad[1:4]):
            found = tape.kernels.apply_gradients(of(gradient), of(x), row, column, how, strength)
        return gradient if ctx.needs_input_grad[0] else None, *found, added, None, None, None, None


def _apart(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.detach()


def _differentiate(
    formula: Callable[..., Sequence[Tensor]], inputs: Sequence[Tensor | None], gradients: Sequence[Tensor]
) -> list[Tensor | None]:
    """Gradients of a formula, themselves differentiable, for those inputs that take one.

    Each input goes in under another name: a row may descend from the map, and that path is not this formula's.
    """
    inputs = [None if value is None else value.view_as(value) for value in inputs]
    wanted = [value for value in inputs if value is not None and value.requires_grad]
    found = iter(torch.autograd.grad(formula(*inputs), wanted, gradients, create_graph=True, allow_unused=True))
    return [next(found) if value is not None and value.requires_grad else None for value in inputs]
