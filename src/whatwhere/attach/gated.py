"""The visible wrapper that puts a gate behind (or before) a module and keeps the module's names in checkpoints."""

from collections.abc import Iterator, MutableMapping
from typing import Any

from torch import Tensor, nn

__all__ = ["WRAPPER_NAMES", "Gated", "GatedContainer", "gate_prefixes", "gated_modules", "wrap"]

# What belongs to the wrapper; every other attribute set on it is the host's.
WRAPPER_NAMES = ("host", "gate", "before", "enabled")


class Gated(nn.Module):
    """``gate(host(...))``, or ``host(gate(x), ...)`` when the gate stands before the host.

    In state dicts the host's tensors keep the names they had without the gate, and the gate's stand beside them as
    ``<name>.gate.*``; a checkpoint of the bare host loads with ``strict=True`` and leaves the gate as it is. Attributes
    of the host can be read and set through the wrapper.

    A checkpoint that has some of a network's gates and not others also loads: each wrapper sees its own keys only.
    """

    def __init__(self, host: nn.Module, gate: nn.Module, before: bool = False) -> None:
        super().__init__()
        self.host = host
        self.gate = gate
        self.before = before
        self.enabled = True
        self.training = host.training
        self.register_state_dict_post_hook(_shorten)  # type: ignore[no-untyped-call]
        self._register_load_state_dict_pre_hook(_lengthen, with_module=True)  # type: ignore[no-untyped-call]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if not self.enabled:
            return self.host(*args, **kwargs)
        if self.before:
            return self.host(self.gate(args[0]), *args[1:], **kwargs)
        return self.gate(self.host(*args, **kwargs))

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            host = self.__dict__.get("_modules", {}).get("host")
            if host is None:
                raise
            return getattr(host, name)

    def __setattr__(self, name: str, value: Any) -> None:
        host = self.__dict__.get("_modules", {}).get("host")
        if host is None or name in WRAPPER_NAMES or name == "training" or name.startswith("_"):
            super().__setattr__(name, value)
        else:
            setattr(host, name, value)


class GatedContainer(Gated):
    """A gated ``Sequential`` or the like: its parts are still there to index and to walk over."""

    def __len__(self) -> int:
        host: Any = self.host
        return len(host)

    def __iter__(self) -> Iterator[nn.Module]:
        host: Any = self.host
        yield from host

    def __getitem__(self, index: Any) -> Any:
        host: Any = self.host
        return host[index]

    def __setitem__(self, index: Any, module: nn.Module) -> None:
        host: Any = self.host
        host[index] = module

    def __delitem__(self, index: Any) -> None:
        host: Any = self.host
        del host[index]


def wrap(host: nn.Module, gate: nn.Module, before: bool) -> Gated:
    """Wrap ``host``; one that has a length stays a container."""
    return (GatedContainer if hasattr(host, "__len__") else Gated)(host, gate, before)


def gated_modules(model: nn.Module) -> dict[str, Gated]:
    """The wrappers in ``model``, each once, by the name its host had before any gate was there."""
    named = model.named_modules()
    return {".".join(_bare(model, name)): module for name, module in named if isinstance(module, Gated)}


def gate_prefixes(model: nn.Module) -> tuple[str, ...]:
    """What the keys of gates start with in the model's state dict, under every name that a gated module has."""
    named = model.named_modules(remove_duplicate=False)
    return tuple(".".join(_bare(model, name)) + ".gate." for name, module in named if isinstance(module, Gated))


def _bare(model: nn.Module, name: str) -> Iterator[str]:
    module: Any = model
    for part in name.split("."):
        if not (isinstance(module, Gated) and part == "host"):
            yield part
        module = module._modules[part]


def _shorten(module: nn.Module, state: MutableMapping[str, Tensor], prefix: str, local_metadata: Any) -> None:
    """Take ``host.`` out of the keys that were just written, in their order, and out of the module versions."""
    inner = f"{prefix}host."
    for key in [key for key in state if key.startswith(prefix)]:
        tensor = state.pop(key)
        state[prefix + key.removeprefix(inner) if key.startswith(inner) else key] = tensor
    metadata = getattr(state, "_metadata", {})
    for key in [key for key in metadata if key == inner[:-1] or key.startswith(inner)]:
        metadata[(prefix + key[len(inner) :]).removesuffix(".")] = metadata.pop(key)


def _lengthen(module: nn.Module, state: MutableMapping[str, Tensor], prefix: str, local_metadata: Any, *_: Any) -> None:
    """Put ``host.`` back; where a checkpoint knows nothing of this gate, the gate keeps what it has."""
    ours = f"{prefix}gate."
    known = any(key.startswith(ours) for key in state)
    for key in [key for key in state if key.startswith(prefix) and not key.startswith(ours)]:
        state[f"{prefix}host.{key[len(prefix) :]}"] = state.pop(key)
    if not known:
        gate: Any = module.gate
        state.update({ours + key: tensor for key, tensor in gate.state_dict().items()})
