"""What all gates share: the input they take, the maps they show, the way they start."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from whatwhere.errors import GateError
from whatwhere.ops import Reading, factor, read

__all__ = ["Factors", "Gate", "Maps", "Observer"]


class Maps(NamedTuple):
    """What a gate computed for one batch.

    Attributes:
        channel: (B, C, 1, ...) one number a channel, or None for a gate without that branch.
        spatial: (B, 1, *S) one number a position, or None. (B, C, *S) for ``BAM(final_norm="channels")``.
        factor: what the gate multiplies the input by, broadcastable to it; a strength is not in it.

    ``channel`` and ``spatial`` are what the gate's paper calls them: BAM's are logits, CBAM's and SE's lie in (0, 1).
    """

    channel: Tensor | None
    spatial: Tensor | None
    factor: Tensor


class Factors(NamedTuple):
    """What a gate read off its map, ready to be applied: the arguments of ``ops.factor``."""

    channel: Tensor | None
    spatial: Tensor | None
    how: str


class Observer(Protocol):
    """Told by a gate, in every forward, what it is about to apply to which map."""

    def __call__(self, gate: "Gate", x: Tensor, factors: Factors) -> None: ...


class Gate(nn.Module):
    """A module that multiplies a map by a factor which it reads from that map.

    A gate is its ``_factors``; ``maps`` shows them, ``forward`` applies them, and takes the rest of a residual block
    along in the same read and write if asked to: ``gate(x, residual, relu=True)`` is ``relu(gate(x) + residual)``. With
    ``start="identity"`` a gate has one more parameter, the number ``strength`` (zero at first), and computes
    ``x * (1 + strength * (factor - 1))``: the input to the bit until the first step of training, the full gate at
    strength 1.

    Shape: x, residual (B, C, *S) -> (B, C, *S); dtype, device and memory format of x are kept.
    Kept for backward: x, and numbers a channel or a position; BAM also keeps three maps of C // reduction channels.
    Raises:
        GateError: on an input with another number of channels or dimensions or of another dtype, and on a batch of one
            in training where a batch norm would have a single value to normalise.
    """

    # The keyword arguments that make this gate, preset by preset; the first preset is the default.
    presets: ClassVar[Mapping[str, Mapping[str, Any]]]
    # Where in a host the gate's paper puts it.
    place: ClassVar[str] = "blocks"
    channels: int
    spatial_dims: int
    preset: str
    strength: nn.Parameter | None
    # Told in every forward; whoever puts one in takes it out again. A copy of a gate, and a pickled one, has none.
    observers: tuple[Observer, ...] = ()

    def __init__(self, channels: int, preset: str, options: Mapping[str, Any]) -> None:
        super().__init__()
        self.channels, self.preset = channels, preset
        for name, value in options.items():
            setattr(self, name, value)
        self.register_parameter("strength", None)

    @abstractmethod
    def _factors(self, reading: Reading) -> Factors:
        """The formula, for an input that has been checked."""

    def maps(self, x: Tensor) -> Maps:
        """Return the channel map, the spatial map and the factor for the batch ``x`` (B, C, *S)."""
        factors = self._factors(self._read(x))
        return Maps(factors.channel, factors.spatial, factor(*factors))

    def forward(self, x: Tensor, residual: Tensor | None = None, relu: bool = False) -> Tensor:
        reading = self._read(x)
        factors = self._factors(reading)
        for observer in self.observers:
            observer(self, x, factors)
        return reading.apply(*factors, self.strength, residual, relu)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "observers"}

    def _read(self, x: Tensor) -> Reading:
        dtype = next(self.parameters()).dtype
        _require(x, type(self).__name__, self.channels, self.spatial_dims, dtype, self._batch_norms())
        return read(x)

    def start_at_identity_(self) -> None:
        """Give the gate a ``strength`` of zero, so that its output is its input until training moves it."""
        like = next(self.parameters())
        self.strength = nn.Parameter(torch.zeros((), device=like.device, dtype=like.dtype))

    def config(self) -> dict[str, Any]:
        """The keyword arguments, all JSON-able, that build this gate again: ``type(gate)(**gate.config())``."""
        start = "preset" if self.strength is None else "identity"
        given = {"preset": self.preset} if len(self.presets) > 1 else {}
        options = {name: getattr(self, name) for name in self.presets[self.preset]}
        options = {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}
        return {"channels": self.channels, **given, **options, "start": start}

    def __repr__(self) -> str:
        usual = {"preset": next(iter(self.presets)), "start": "preset", **self.presets[self.preset]}
        config = self.config()
        config.pop("channels")
        said = [str(self.channels)]
        for name, value in config.items():
            value = tuple(value) if isinstance(value, list) else value
            if value != usual[name]:
                said.append(f"{name}={value!r}")
        return f"{type(self).__name__}({', '.join(said)})"

    def _batch_norms(self) -> Sequence[str]:
        """What the batch norms now in training normalise: 'vectors' (one value an image), 'maps', or nothing."""
        if not self.training:
            return ()
        return tuple(
            "vectors" if name.startswith("channel.") else "maps"
            for name, module in self.named_modules()
            if isinstance(module, _BatchNorm) and module.training
        )


@fx.wrap
def _require(
    x: Tensor, name: str, channels: int, spatial_dims: int, dtype: torch.dtype, batch_norms: Sequence[str]
) -> None:
    if x.ndim != spatial_dims + 2:
        raise GateError(
            f"{name}({channels}): the input has {x.ndim} dimensions, not {spatial_dims + 2}",
            got=f"shape {tuple(x.shape)}",
            fix=f"give (batch, {channels}, {', '.join(['size'] * spatial_dims)}), or build it with spatial_dims=",
        )
    if x.shape[1] != channels:
        raise GateError(
            f"{name}({channels}): the input has {x.shape[1]} channels, not {channels}",
            got=f"shape {tuple(x.shape)}",
            fix=f"{name}({x.shape[1]}) fits this map; channels are dimension 1",
        )
    if 0 in x.shape[2:]:
        raise GateError(f"{name}({channels}): the map has no positions", got=f"shape {tuple(x.shape)}")
    if x.dtype != dtype and not torch.is_autocast_enabled(x.device.type):
        raise GateError(
            f"{name}({channels}): the input and the gate have different dtypes",
            got=f"{x.dtype} into a gate of {dtype}",
            fix=f"gate.to({x.dtype}), or run under torch.autocast",
        )
    if batch_norms and x.shape[0] == 1 and ("vectors" in batch_norms or x[0, 0].numel() == 1):
        raise GateError(
            f"{name}({channels}): in training, batch norm needs more than one value per channel",
            got=f"shape {tuple(x.shape)}",
            fix="norm='group' works for a batch of one; or use a larger batch, or gate.eval()",
        )
