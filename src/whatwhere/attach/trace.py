"""One dummy forward of a host, written down: which tensors were made from which, and by which modules.

Nothing is computed: the forward runs on fake tensors, through a copy of the module tree with its hooks taken off. The
host itself is not called and not changed.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode
from torch.nn.modules.conv import _ConvNd
from torch.nn.parameter import is_lazy
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from whatwhere.cost import fake_double
from whatwhere.errors import AttachError, HostError, first_line

__all__ = ["Call", "Trace", "Value", "trace"]

_CONVOLUTIONS = ("convolution", "conv1d", "conv2d", "conv3d", "_convolution")


@dataclass(frozen=True)
class Value:
    """One version of one tensor. ``depth`` counts the convolutions on the longest path from the host's input."""

    index: int
    shape: tuple[int, ...]
    op: str
    parents: tuple[int, ...]
    stack: tuple[int, ...]  # the calls that were open when it was made, outermost first
    depth: int
    fed: bool  # computed from the host's input, not from parameters alone
    channels_first: bool  # False between a permute to (B, *S, C) and the one back
    dtype: torch.dtype
    device: torch.device


@dataclass
class Call:
    """One call of one module: its names in the host, the values it took and the single tensor it gave, if it did."""

    index: int
    names: tuple[str, ...]
    module: nn.Module
    stack: tuple[int, ...]
    inputs: tuple[int, ...]
    first: int | None  # the first positional argument, when that is a tensor
    output: int | None = None


@dataclass
class Trace:
    """All values and module calls of one forward, in order.

    ``size`` is that of the host's input, or of what the host resizes it to before its first convolution.
    """

    values: list[Value] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    batch: int = 2
    spatial_dims: int = 2
    size: tuple[int, ...] = ()
    names: frozenset[str] = frozenset()  # of all modules of the host, called or not
    cut_in: Call | None = None  # the call during which the forward could be followed no further
    goes_down: bool = False  # a strided convolution was not reached before that

    @property
    def cut_name(self) -> str:
        """The name of the module that ``cut_in`` called, the class of the host for its own forward; empty for none."""
        return "" if self.cut_in is None else self.cut_in.names[0] or type(self.cut_in.module).__name__

    def is_map(self, index: int) -> bool:
        """Whether the value is a feature map (B, C, *S) computed from the input, by at least one convolution."""
        value = self.values[index]
        ranked = len(value.shape) == self.spatial_dims + 2 and value.shape[0] == self.batch
        return ranked and value.dtype.is_floating_point and value.channels_first and value.fed and value.depth > 0

    def level(self, index: int) -> int:
        """How often the map has been halved since the input: log2 of the reduction, rounded."""
        spatial = self.values[index].shape[2:]
        ratios = [math.log2(full / now) for full, now in zip(self.size, spatial, strict=True) if now]
        return round(sum(ratios) / len(ratios)) if ratios else 0

    def readers(self) -> Mapping[int, list[int]]:
        """For every value, the values computed directly from it."""
        found: dict[int, list[int]] = {value.index: [] for value in self.values}
        for value in self.values:
            for parent in value.parents:
                found[parent].append(value.index)
        return found

    def times_called(self) -> Mapping[int, int]:
        """How often each module was called, by ``id``."""
        counts: dict[int, int] = {}
        for call in self.calls:
            counts[id(call.module)] = counts.get(id(call.module), 0) + 1
        return counts


class _Recorder(TorchDispatchMode):
    def __init__(self, trace: Trace) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.trace, self.open = trace, list[int]()
        self.current: dict[int, int] = {}
        self.writers: dict[int, int] = {}  # by storage: the value last written into a part of it
        self.alive: list[Tensor] = []  # an id is a tensor's only as long as the tensor lives

    def value_of(self, tensor: Tensor) -> int:
        if id(tensor) not in self.current:
            self.note(tensor, "given", (), fed=False)
        index = self.current[id(tensor)]
        writer = self.writers.get(_storage(tensor), index) if self.writers else index
        if writer > index:  # a view of the same memory was written into: this is no longer what it was
            parents = (index, writer) if self.trace.values[index].fed else (writer,)
            self.note(tensor, "written", parents, stack=self.trace.values[writer].stack)
        return self.current[id(tensor)]

    def note(
        self,
        tensor: Tensor,
        op: str,
        parents: tuple[int, ...],
        fed: bool | None = None,
        order: Any = None,
        stack: tuple[int, ...] | None = None,
    ) -> None:
        values = self.trace.values
        depth = max((values[parent].depth for parent in parents), default=0) + (op in _CONVOLUTIONS)
        fed = any(values[parent].fed for parent in parents) if fed is None else fed
        shape, stack = tuple(tensor.shape), tuple(self.open) if stack is None else stack
        first = op in _CONVOLUTIONS or all(values[parent].channels_first for parent in parents)
        if op == "permute" and len(order) == self.trace.spatial_dims + 2:
            first = order[1] == 1 or ((order[1] == len(order) - 1 or first) and order[-1] != 1)
        where = tensor.dtype, tensor.device
        values.append(Value(len(values), shape, op, parents, stack, depth, fed, first, *where))
        self.current[id(tensor)] = len(values) - 1
        self.alive.append(tensor)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        taken = tuple(dict.fromkeys(self.value_of(tensor) for tensor in _tensors((args, kwargs))))
        result = func(*args, **(kwargs or {}))
        parents = tuple(index for index in taken if self.trace.values[index].fed)
        for tensor in _tensors(result):
            self.note(tensor, func.overloadpacket.__name__.removesuffix("_"), parents, order=args[-1])
        for tensor in _written(func, args, kwargs or {}) if parents else ():
            self.writers[_storage(tensor)] = self.current[id(tensor)]
        return result


def _tensors(tree: object) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, Tensor)]


def _written(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Tensor]:
    """The tensors an operation writes into, as its schema says."""
    formal = func._schema.arguments
    given = {**{one.name: value for one, value in zip(formal, args, strict=False)}, **kwargs}
    return _tensors([given.get(one.name) for one in formal if one.alias_info is not None and one.alias_info.is_write])


def _storage(tensor: Tensor) -> int:
    """What views of the same memory have in common."""
    return tensor.untyped_storage()._cdata if tensor.layout is torch.strided else id(tensor)


def _shadow(host: nn.Module, fakes: FakeTensorMode, call: str) -> nn.Module:
    """The host's structure on fake tensors, in eval mode, without the user's hooks."""
    try:
        shadow = fake_double(host, fakes)[0].eval()
    except HostError as error:
        raise AttachError(
            f"{call}: the network cannot be copied, and nothing is run on the network itself; nothing was changed",
            got=error.got,
            fix=error.fix,
        ) from error
    for module in shadow.modules():
        module._forward_hooks.clear()
        module._forward_pre_hooks.clear()
    return shadow


@contextmanager
def _listening(shadow: nn.Module, recorder: _Recorder) -> Iterator[None]:
    names: dict[int, list[str]] = {}
    for name, module in shadow.named_modules(remove_duplicate=False):
        names.setdefault(id(module), []).append(name)
    calls = recorder.trace.calls

    def enter(module: nn.Module, args: Any, kwargs: Any) -> None:
        inputs = tuple(recorder.value_of(tensor) for tensor in _tensors((args, kwargs)))
        first = recorder.value_of(args[0]) if args and isinstance(args[0], Tensor) else None
        calls.append(Call(len(calls), tuple(names[id(module)]), module, tuple(recorder.open), inputs, first))
        recorder.open.append(len(calls) - 1)

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        call = calls[recorder.open.pop()]
        call.output = recorder.value_of(output) if isinstance(output, Tensor) else None

    for module in {id(module): module for module in shadow.modules()}.values():
        module.register_forward_pre_hook(enter, with_kwargs=True)
        module.register_forward_hook(leave)
    yield


def trace(
    host: nn.Module,
    input_size: Sequence[int] | None = None,
    inputs: Sequence[Any] | None = None,
    call: str = "trace",
    partly: bool = False,
) -> Trace:
    """Run one fake forward of ``host`` and return what happened.

    Args:
        host: any network; it is not changed.
        input_size: (channels, *spatial) of its one input; a batch of two is made of it. None: the channels of the first
            convolution, at 224 px a side (64 in three dimensions).
        inputs: the positional arguments instead, for a host that takes something else than one map; tensors among them
            give shapes and dtypes only. A list of images (channels, *spatial) is a batch.
        call: what to name in messages.
        partly: where the forward depends on the values of its tensors, be content with what was seen until then.
    Raises:
        AttachError: when the host has no convolution, cannot run on this input, or depends on values before its
            first convolution (at all, unless ``partly``).
    """
    _refuse_odd(host, call)
    parameter = next((p for p in host.parameters() if p.is_floating_point()), torch.empty(0))
    if inputs is None:
        size = _input_size(host, input_size, call)
        inputs = (torch.empty(2, *size, device="meta", dtype=parameter.dtype),)
    inputs = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    result = Trace(names=frozenset(name for name, _ in host.named_modules(remove_duplicate=False) if name))
    recorder = _Recorder(result)
    fakes = FakeTensorMode(allow_non_fake_inputs=True)
    shadow = _shadow(host, fakes, call)
    with fakes, torch.no_grad():
        faked = pytree.tree_map_only(Tensor, lambda t: _fake(t, parameter.device), inputs)
        result.batch, result.size = _frame(host, faked, call)
        result.spatial_dims = len(result.size)
        for tensor in _tensors(faked):
            recorder.note(tensor, "input", (), fed=True)
        with recorder, _listening(shadow, recorder):
            try:
                shadow(*faked)
            except (DataDependentOutputException, DynamicOutputShapeException) as error:
                if not partly or not any(value.op == "convolution" for value in result.values):
                    raise _depends_on_values(call, error) from error
                result.cut_in = result.calls[recorder.open[-1]]
                result.goes_down = any(_strided(module) for module in _never_called(shadow, result))
            except Exception as error:  # the network is the user's and may fail in any way
                shapes = ", ".join(str(tuple(tensor.shape)) for tensor in _tensors(faked))
                raise AttachError(
                    f"{call}: the network does not run on this input; nothing was changed",
                    got=f"inputs {shapes}; {type(error).__name__}: {first_line(error)}",
                    fix="give the input_size=(channels, height, width) it takes, or inputs=(...) as you call it",
                ) from error
    result.size = _resized(result)
    return result


def _depends_on_values(call: str, error: Exception) -> AttachError:
    return AttachError(
        f"{call}: the network's forward depends on the values of its tensors; nothing was changed",
        got=f"{error}, and only shapes are known while planning",
        fix="attach to the part of the network that does not",
    )


def _never_called(shadow: nn.Module, trace: Trace) -> Iterator[nn.Module]:
    called = trace.times_called()
    return (module for module in shadow.modules() if id(module) not in called)


def _strided(module: nn.Module) -> bool:
    return isinstance(module, _ConvNd) and not module.transposed and max(module.stride) > 1


def _frame(host: nn.Module, inputs: Sequence[Any], call: str) -> tuple[int, tuple[int, ...]]:
    """How many images the first argument with a map has, and their spatial size; a list of images is a batch."""
    dims = next((len(module.kernel_size) for module in host.modules() if isinstance(module, _ConvNd)), None)
    for argument in inputs:
        maps = [tensor for tensor in _tensors(argument) if tensor.ndim >= 3]
        if maps and isinstance(argument, (list, tuple)) and maps[0].ndim - 1 == dims:
            return len(maps), tuple(maps[0].shape[1:])
        if maps:
            return maps[0].shape[0], tuple(maps[0].shape[2:])
    raise AttachError(f"{call}: no input is a map (batch, channels, size, ...); nothing was changed")


def _resized(trace: Trace) -> tuple[int, ...]:
    """The input's size, or that of the map the first convolution takes where the input is resampled before it."""
    first = next((value for value in trace.values if value.fed and value.depth), None)
    if first is None:
        return trace.size
    before = set(first.parents)
    for value in reversed(trace.values[: first.index]):
        if value.index in before:
            if "upsample" in value.op:
                return trace.values[max(first.parents)].shape[2:]
            before.update(value.parents)
    return trace.size


def _fake(tensor: Tensor, device: torch.device) -> Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype, device=device if tensor.is_meta else tensor.device)


def _refuse_odd(host: nn.Module, call: str) -> None:
    """What no fake forward can run through."""
    if not isinstance(host, nn.Module) or isinstance(host, torch.jit.ScriptModule):
        raise AttachError(
            f"{call}: a host is an nn.Module written in Python; nothing was changed", got=type(host).__name__
        )
    lazy = next((name for name, p in host.named_parameters() if is_lazy(p)), None)
    if lazy is not None:
        raise AttachError(
            f"{call}: the network has parameters whose shape is not known yet; nothing was changed",
            got=lazy,
            fix="run it on one batch first",
        )


def _input_size(host: nn.Module, asked: Sequence[int] | None, call: str) -> tuple[int, ...]:
    """The (channels, *spatial) asked for, or what the first convolution takes, at a usual size."""
    convolutions = [module for module in host.modules() if isinstance(module, _ConvNd)]
    if asked is None:
        if not convolutions:
            raise AttachError(
                f"{call}: the network has no convolution, so there is nothing to size an input by",
                fix="give input_size=(channels, height, width)",
            )
        dims = len(convolutions[0].kernel_size)
        return (convolutions[0].in_channels, *[64 if dims == 3 else 224] * dims)
    kinds = {len(module.kernel_size) for module in convolutions}
    size = tuple(asked) if isinstance(asked, Sequence) else ()
    fits = len(size) > 1 and (not kinds or len(size) - 1 in kinds)
    if not fits or not all(isinstance(length, int) and length > 0 for length in size):
        raise AttachError(
            f"{call}: input_size is (channels, height, width), all positive whole numbers; nothing was changed",
            got=f"input_size={asked!r}",
            fix="leave the batch out: input_size=(3, 224, 224)",
        )
    return size
