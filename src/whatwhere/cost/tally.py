"""What the operations of one forward cost, read off their shapes as torch dispatches them."""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

__all__ = ["Kept", "Tally"]

_aten = torch.ops.aten

# Products with a vector, which torch's table of formulas leaves out: every element of the matrix is used once.
_MATRIX_ARGUMENT = {_aten.mv: 0, _aten.addmv: 1, _aten.dot: 0, _aten.vdot: 0}
# The CPU's attention, which the table of older torch leaves out, costs what the GPU's does.
_FORMULAS = {
    _aten._scaled_dot_product_flash_attention_for_cpu: flop_registry[_aten._scaled_dot_product_flash_attention],
    **flop_registry,
}
# Their first argument gives a shape or is overwritten; its values are not read.
_FIRST_IS_NOT_READ = {
    *(_aten.copy_, _aten.fill_, _aten.zero_, _aten.bernoulli_, _aten.normal_, _aten.uniform_),
    *(_aten.zeros_like, _aten.ones_like, _aten.full_like, _aten.rand_like, _aten.randn_like),
    *(_aten.new_zeros, _aten.new_ones, _aten.new_full),
}
_ONLY_ALLOCATES = {_aten.empty, _aten.empty_like, _aten.empty_strided, _aten.new_empty, _aten.new_empty_strided}


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _bytes(tensor: Tensor) -> int:
    """Bytes of the elements that lie apart in memory: an expanded dimension counts once."""
    elements = 1
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        elements *= 1 if stride == 0 and size > 0 else size
    return elements * tensor.element_size()


def _distinct(tensors: list[Tensor]) -> int:
    """Bytes of the distinct tensors among these."""
    seen = {(_storage(t), t.storage_offset(), tuple(t.shape), t.stride()): _bytes(t) for t in tensors}
    return sum(seen.values())


def _tensors(tree: object) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _changed(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[list[Tensor], list[Tensor]]:
    """The arguments that the operation writes by its schema, and the arguments that it does not read."""
    written: list[Tensor] = []
    unread = _tensors(args[:1]) if func._overloadpacket in _FIRST_IS_NOT_READ else []
    for position, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            given = _tensors(args[position] if position < len(args) else kwargs.get(argument.name))
            written += given
            if argument.is_out:
                unread += given
    return written, unread


class Tally(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up multiply-accumulates and bytes over the operations dispatched inside it.

    ``macs`` are half of what torch's table of FLOP formulas says, plus products with a vector. ``bytes_moved`` adds,
    for each operation, its distinct tensor arguments and its outputs; an operation whose outputs all lie in the memory
    of its arguments and which writes none of them (a view) adds nothing, nor does an allocation.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.macs = 0
        self.bytes_moved = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Runs the operation, then counts it."""
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        packet = func._overloadpacket
        if packet in _FORMULAS:
            self.macs += _FORMULAS[packet](*args, **kwargs, out_val=out) // 2
        elif packet in _MATRIX_ARGUMENT:
            self.macs += args[_MATRIX_ARGUMENT[packet]].numel()
        if packet not in _ONLY_ALLOCATES:
            self.bytes_moved += _moved(func, args, kwargs, out)
        return out


def _moved(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: object) -> int:
    arguments = _tensors((args, kwargs))
    homes = {_storage(tensor) for tensor in arguments}
    changed, unread = _changed(func, args, kwargs)
    written = changed + [tensor for tensor in _tensors(out) if _storage(tensor) not in homes]
    if not written:
        return 0
    read = [tensor for tensor in arguments if not any(tensor is other for other in unread)]
    return _distinct(read) + _distinct(written)


class Kept:
    """What autograd holds in place of one saved tensor: its storage, so that the storage can be counted."""

    def __init__(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        self.key, self.bytes, self._storage = int(storage._cdata), int(storage.nbytes()), storage
