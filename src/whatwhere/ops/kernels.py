"""What a set of kernels is: the five functions of ``plain.py``, by their names."""

from typing import Protocol

from torch import Tensor

from whatwhere.ops.planes import Pooled

__all__ = ["Kernels"]


class Kernels(Protocol):
    """A module or an object with these functions; ``plain.py`` says what each of them does."""

    def pool(
        self, x: Tensor, dim: int, weight: Tensor | None, largest: bool, index: bool
    ) -> tuple[Tensor, Tensor | None, Tensor | None]: ...

    def pool_weight_gradient(
        self, x: Tensor, dim: int, mean: Tensor, largest: Tensor | None, index: Tensor | None
    ) -> Tensor: ...

    def apply(
        self,
        x: Tensor,
        row: Tensor | None,
        column: Tensor | None,
        how: str,
        strength: Tensor | None,
        residual: Tensor | None,
        relu: bool,
    ) -> Tensor: ...

    def apply_gradients(
        self, gradient: Tensor, x: Tensor, row: Tensor | None, column: Tensor | None, how: str, strength: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]: ...

    def map_gradient(
        self,
        x: Tensor,
        gradient: Tensor | None,
        row: Tensor | None,
        column: Tensor | None,
        how: str,
        strength: Tensor | None,
        across: Pooled | None,
        down: Pooled | None,
        extra: Tensor | None,
    ) -> Tensor: ...
