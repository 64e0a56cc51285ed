"""Folding batch norms into the layers before them, for inference, and back."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.jit import ScriptModule
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils import _pytree as pytree

from whatwhere.attach.folded import LAYERS, NORMS, Folded, fold, kind, numbers, refuse_folded
from whatwhere.attach.gated import Gated, gated_modules
from whatwhere.attach.trace import Call, trace
from whatwhere.errors import AttachError

__all__ = ["Folding", "fold_norms", "unfold_norms"]

_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")


@dataclass(frozen=True)
class Folding:
    """Which batch norms of one network were folded, and which were not; ``print(folding)`` is a table.

    Attributes:
        host: class name of the network.
        folded: the name of every norm that was folded, and of the layer it was folded into.
        left: the name of every other batch norm, and why it was left as it is.
    """

    host: str
    folded: dict[str, str]
    left: dict[str, str]

    def __str__(self) -> str:
        if not self.folded and not self.left:
            return f"{self.host} has no batch norms to fold"
        title = f"{len(self.folded)} of {len(self.folded) + len(self.left)} batch norms of {self.host} folded"
        rows = [("norm", "folded into"), *self.folded.items()] if self.folded else []
        rows += [("norm", "left alone, for"), *self.left.items()] if self.left else []
        width = max(len(name) for name, _ in rows)
        return "\n".join([title, *(f"{name.ljust(width)}  {said}" for name, said in rows)])


def fold_norms(
    model: nn.Module, *, input_size: Sequence[int] | None = None, inputs: Sequence[Any] | None = None
) -> Folding:
    """Fold batch norms into the convolutions and linears before them, in place, and say which.

    A norm is folded when it reads exactly what one layer gave, nothing else reads that, each of the two is called once
    in a forward, and both belong to the host or both to one gate: so that gates may still be disabled or detached.
    Found by one forward on fake tensors, it holds for forwards that take the same branches.

    The output stays the same but for rounding: new numbers are computed in float64 and rounded once. They cost the
    folded layers' memory once more, for the tensors that were trained stay where they are: ``state_dict``,
    ``parameters`` and ``save_gates`` know only these, and what is loaded into a folded network is folded again. Unfold
    before changing tensors in another way (``functional_call``, a layer replaced, a conversion to synchronised norms).
    In float16, small numbers may lose digits.

    A folded network is for inference: in training mode its forward raises, and no gradient reaches the folded layers'
    own tensors. Attach gates before folding. Copying, pickling, compiling, exporting and moving it work.

    Args:
        model: the network, in eval mode, bare or with gates.
        input_size, inputs: as in ``plan``.
    Raises:
        AttachError: in training mode, when norms are folded already, or when the network cannot be traced.
    Example:
        >>> host = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()).eval()
        >>> fold_norms(host).folded
        {'1': '0'}
    """
    call = f"fold_norms({type(model).__name__})"
    _check(model, call)
    named = model.named_modules()
    names = [name for name, one in named if isinstance(one, _BatchNorm) or kind(type(one)) in NORMS]
    if not names:
        return Folding(type(model).__name__, {}, {})
    flow = _Flow(model, input_size, inputs, call)
    folded: dict[str, str] = {}
    left: dict[str, str] = {}
    for name in names:
        try:
            folded[name] = flow.layer_before(name)
        except _LeftAlone as reason:
            left[name] = str(reason)
    for name, layer in folded.items():
        fold(model.get_submodule(layer), model.get_submodule(name))
    return Folding(type(model).__name__, folded, left)


def unfold_norms(model: nn.Module) -> None:
    """Undo ``fold_norms``, in place: all modules are what they were, and their tensors were never changed.

    Raises:
        AttachError: no norm of the network is folded.
    """
    folded = [module for module in model.modules() if isinstance(module, Folded)]
    if not folded:
        raise AttachError(
            f"unfold_norms({type(model).__name__}): no norm of the network is folded",
            fix="fold_norms(model) folds them",
        )
    for module in folded:
        for one in (module, *getattr(module, "partner", ())):  # the other may lie outside this part of a network
            if isinstance(one, Folded):
                one.restore()


def _check(model: nn.Module, call: str) -> None:
    if not isinstance(model, nn.Module) or isinstance(model, ScriptModule):
        raise AttachError(
            f"{call}: a network is an nn.Module written in Python; nothing was changed", got=type(model).__name__
        )
    refuse_folded(model, call)
    training = [name for name, module in model.named_modules() if module.training]
    if training:
        raise AttachError(
            f"{call}: norms are folded in eval mode; nothing was changed",
            got=f"in training mode: {len(training)}, the first {training[0] or 'the network itself'!r}",
            fix="model.eval() first",
        )


class _LeftAlone(Exception):
    """Why a norm is not folded."""


class _Watched(nn.Module):
    """Calls a network, its gates on, and then reads all tensors that it returned or keeps, which are so seen to be."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: Any) -> None:
        for gated in gated_modules(self.network).values():
            gated.enabled = True
        returned = pytree.tree_leaves(self.network(*inputs))
        kept = [vars(part) for part in self.network.modules()]
        opened = [vars(leaf) for leaf in returned if not isinstance(leaf, Tensor) and hasattr(leaf, "__dict__")]
        for leaf in (*returned, *pytree.tree_leaves((kept, opened))):
            if isinstance(leaf, Tensor):
                leaf.detach()


class _Flow:
    """Who reads what in one forward of a network."""

    def __init__(self, model: nn.Module, input_size: Any, inputs: Any, call: str) -> None:
        self.model = model
        self.trace = trace(_Watched(model), input_size, inputs, call)
        self.readers, self.counts = self.trace.readers(), self.trace.times_called()
        self.gates = {id(call.module.gate) for call in self.trace.calls if isinstance(call.module, Gated)}
        self.owners = Counter(id(tensor) for part in model.modules() for tensor in part._parameters.values())
        self.calls: dict[str, list[Call]] = {}
        for one in self.trace.calls:
            for name in one.names:
                self.calls.setdefault(_own(name), []).append(one)

    def layer_before(self, name: str) -> str:
        """The layer that the norm can be folded into.

        Raises:
            _LeftAlone: there is none, and why.
        """
        norm: Any = self.model.get_submodule(name)
        if kind(type(norm)) not in NORMS:
            raise _LeftAlone(f"a {type(norm).__name__} may do more than a plain batch norm")
        if norm.running_mean is None or norm.running_var is None:
            raise _LeftAlone("it has no running statistics")
        calls = self.calls.get(name, [])
        if len(calls) != 1:
            raise _LeftAlone(f"it is called {len(calls)} times in one forward")
        call, between = calls[0], calls[0].first
        if between is None:
            raise _LeftAlone("it is not called with one map")
        giver = self._giver(between)
        layer = _own(giver.names[0])
        self._check_channels(between, call.output, giver.module, layer)
        self._check_alone(between, giver, call, layer)
        _check_numbers(self.model.get_submodule(layer), norm, layer, self.owners)
        return layer

    def _giver(self, between: int) -> Call:
        """The call of the layer that gave the value, as it is."""
        value = self.trace.values[between]
        if not value.stack:
            raise _LeftAlone("it reads the network's input")
        giver = self.trace.calls[value.stack[-1]]
        if kind(type(giver.module)) not in LAYERS or giver.output != between:
            raise _LeftAlone(f"it reads a {value.op!r} of {type(giver.module).__name__}, not what a layer gave")
        return giver

    def _check_channels(self, between: int, after: int | None, module: nn.Module, layer: str) -> None:
        """The norm must act on the layer's channels, and change no dtype."""
        given, taken = self.trace.values[after or 0], self.trace.values[between]
        dims = 0 if isinstance(module, nn.Linear) else len(module.kernel_size)  # type: ignore[arg-type]
        if len(taken.shape) != 2 + dims:
            raise _LeftAlone(f"what it normalises are not the channels of {layer!r}")
        if given.dtype != taken.dtype:
            raise _LeftAlone(f"it makes {given.dtype} of {taken.dtype}")

    def _check_alone(self, between: int, giver: Call, norm: Call, layer: str) -> None:
        """Nothing but the norm may see what the layer gave, on one side of every gate's border."""
        times = self.counts[id(giver.module)]
        if times != 1:
            raise _LeftAlone(f"{layer!r} is called {times} times in one forward")
        if any(norm.index not in self.trace.values[reader].stack for reader in self.readers[between]):
            raise _LeftAlone(f"what {layer!r} gave is read, returned or kept elsewhere, too")
        for call in self.trace.calls:
            if call.output == between or between in call.inputs:
                name = _own(call.names[0])
                module = self.model.get_submodule(name)
                if "forward" in vars(module) or any(getattr(module, hooks) for hooks in _HOOKS):
                    raise _LeftAlone(f"{name!r} has hooks, or a forward put upon it, which see what {layer!r} gave")
        if self._gates_around(giver) != self._gates_around(norm):
            raise _LeftAlone(f"{layer!r} is on the other side of a gate's border")

    def _gates_around(self, call: Call) -> list[int]:
        return [one for one in (*call.stack, call.index) if id(self.trace.calls[one].module) in self.gates]


def _check_numbers(layer: nn.Module, norm: nn.Module, name: str, owners: Counter[int]) -> None:
    """The layer's tensors must be its own, and with the norm they must be finite."""
    own = [tensor for tensor in layer._parameters.values() if tensor is not None]
    if layer._parameters.get("weight") is None:
        raise _LeftAlone(f"the weight of {name!r} is no parameter")
    if any(owners[id(tensor)] > 1 for tensor in own):
        raise _LeftAlone(f"{name!r} shares its tensors with another module")
    if any(tensor.is_meta for tensor in own):
        raise _LeftAlone(f"{name!r} is on the meta device and has no numbers")
    if not all(tensor.isfinite().all() for tensor in numbers(layer, norm)):
        raise _LeftAlone(f"with it, {name!r} would not be finite in {own[0].dtype}")


def _own(name: str) -> str:
    """A module's name in the network, from that in the watched network."""
    return name.removeprefix("network").removeprefix(".")
