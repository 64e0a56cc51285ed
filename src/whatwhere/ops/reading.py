"""What a gate does with its map: read it, let other layers read it, and apply the factor."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from whatwhere.ops import dispatch, plain, reference
from whatwhere.ops.gradients import Apply, Open, Pool, Tape
from whatwhere.ops.kernels import Kernels
from whatwhere.ops.planes import Planes

__all__ = ["Reading", "read"]


class Reading(Protocol):
    """One map (B, C, *S) on its way through one gate: read as often as the gate likes, applied once.

    Attributes:
        map: the map itself, for layers that read it by themselves.
    """

    map: Tensor

    def pool_positions(self, pools: Sequence[str], spatial: Tensor | None = None) -> Tensor:
        """``reference.pool_positions`` of the map, or of ``map * spatial`` (B, 1, *S): (P, B, C) in the map's dtype."""

    def pool_channels(self, pools: Sequence[str], channel: Tensor | None = None) -> Tensor:
        """``reference.pool_channels`` of the map, or of ``map * channel`` (B, C, 1, ...): (B, P, *S)."""

    def apply(
        self,
        channel: Tensor | None,
        spatial: Tensor | None,
        how: str,
        strength: Tensor | None = None,
        residual: Tensor | None = None,
        relu: bool = False,
    ) -> Tensor:
        """``map * factor``, blended in by ``strength``; then add ``residual``, then take the ReLU. (B, C, *S).

        ``channel`` (B, C, 1, ...), ``spatial`` (B, 1, *S) and ``how`` are those of ``reference.factor``.
        """


def read(x: Tensor) -> Reading:
    """Begin to read a map, with the kernels that ``dispatch`` chooses for it.

    Programs that torch traces (compile, export, fx, functorch) get the formulas, which it can see through.
    """
    chosen = dispatch.choose(x)
    return _Formulas(x) if chosen is None else _Fused(x, *chosen)


class _Formulas:
    def __init__(self, x: Tensor) -> None:
        self.map = x

    def pool_positions(self, pools: Sequence[str], spatial: Tensor | None = None) -> Tensor:
        return reference.pool_positions(self.map, pools, spatial)

    def pool_channels(self, pools: Sequence[str], channel: Tensor | None = None) -> Tensor:
        return reference.pool_channels(self.map, pools, channel)

    def apply(
        self,
        channel: Tensor | None,
        spatial: Tensor | None,
        how: str,
        strength: Tensor | None = None,
        residual: Tensor | None = None,
        relu: bool = False,
    ) -> Tensor:
        out = self.map
        if how == "gates" and strength is None:
            # one after the other: of a product of both, a compiler would keep a map for backward
            for gate in (channel, spatial):
                out = out if gate is None else reference.apply_factor(out, gate, None)
        else:
            out = reference.apply_factor(out, reference.factor(channel, spatial, how), strength)
        return reference.finish_block(out, residual, relu)


class _Fused(_Formulas):
    """Runs kernels where they have the operation, and the formula where they do not."""

    def __init__(self, x: Tensor, planes: Planes, kernels: Kernels) -> None:
        super().__init__(x)
        self._x, self._tape = x, Tape(planes, kernels)
        self._tokens: dict[int, Tensor | None] = {1: None, 2: None}
        if torch.is_grad_enabled() and x.requires_grad:
            self._x, self.map, self._tokens[1], self._tokens[2] = Open.apply(x, self._tape)

    def pool_positions(self, pools: Sequence[str], spatial: Tensor | None = None) -> Tensor:
        pooled = self._pool(self._tape.planes.positions, pools, spatial)
        return super().pool_positions(pools, spatial) if pooled is None else torch.stack(pooled)

    def pool_channels(self, pools: Sequence[str], channel: Tensor | None = None) -> Tensor:
        pooled = self._pool(self._tape.planes.channels, pools, channel)
        if pooled is None:
            return super().pool_channels(pools, channel)
        return torch.stack(pooled, dim=1).reshape(self._x.shape[0], len(pools), *self._x.shape[2:])

    def _pool(self, dim: int, pools: Sequence[str], weight: Tensor | None) -> list[Tensor] | None:
        """One (B, N) for each pool, or None for what no kernel has: another pool, a second time along one dimension."""
        if not set(pools) <= {"avg", "max"} or dim in self._tape.pooled:
            return None
        weight, largest = self._numbers(weight, dim), "max" in pools
        if torch.is_grad_enabled():
            found = Pool.apply(self._x, self._tokens[dim], weight, self._tape, dim, largest, self.map)
        else:
            found = self._tape.kernels.pool(self._tape.planes.of(self._x), dim, weight, largest, False)
        return [found[0 if pool == "avg" else 1].to(self._x.dtype) for pool in pools]

    def apply(
        self,
        channel: Tensor | None,
        spatial: Tensor | None,
        how: str,
        strength: Tensor | None = None,
        residual: Tensor | None = None,
        relu: bool = False,
    ) -> Tensor:
        x, tape = self._x, self._tape
        wide_map = spatial is not None and spatial.shape[1] != 1
        if wide_map or tape.gate is not None or (residual is not None and not _alike(residual, x)):
            return super().apply(channel, spatial, how, strength, residual, relu)
        row = self._numbers(channel, tape.planes.channels)
        column = self._numbers(spatial, tape.planes.positions)
        if tape.planes.channels_last:
            row, column = column, row
        strength = None if strength is None else strength.to(plain.wide(x.dtype))
        if torch.is_grad_enabled():
            return Apply.apply(x, row, column, strength, residual, tape, how, relu, self.map)  # type: ignore[no-any-return]
        of = tape.planes.of
        added = None if residual is None else of(residual)
        return tape.planes.back(tape.kernels.apply(of(x), row, column, how, strength, added, relu))

    def _numbers(self, small: Tensor | None, dim: int) -> Tensor | None:
        """A channel or spatial map as kernels take it: a number for each element along ``dim``, wide and dense."""
        if small is None:
            return None
        shape = self._tape.planes.of(self._x).shape
        return small.flatten(1).to(plain.wide(self._x.dtype)).expand(shape[0], shape[dim]).contiguous()


def _alike(residual: Tensor, x: Tensor) -> bool:
    return residual.shape == x.shape and residual.dtype == x.dtype
