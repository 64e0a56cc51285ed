"""The gates of a network, by name."""

from collections.abc import Iterable

from torch import nn

from whatwhere.attach.gated import gated_modules
from whatwhere.errors import AttachError, closest
from whatwhere.gates import Gate

__all__ = ["bare", "gates_of", "unknown_site"]


def gates_of(model: nn.Module, sites: str | Iterable[str] | None, call: str) -> dict[str, nn.Module]:
    """The gates of a network by name, attached ones by their site's; all, or those asked for, in the network's order.

    Raises:
        AttachError: there are none, or one does not exist; in the name of ``call``.
    """
    found = {name: gated.gate for name, gated in gated_modules(model).items()}
    inside = {id(part) for gate in found.values() for part in gate.modules()}
    for name, module in model.named_modules():
        if isinstance(module, Gate) and id(module) not in inside:
            found[name or type(module).__name__.lower()] = module
            inside |= {id(part) for part in module.modules()}
    found = {".".join(part for part in name.split(".") if part != "_orig_mod"): gate for name, gate in found.items()}
    if not found:
        raise AttachError(f"{call}: the network carries no gates", fix="attach_(model, 'bam') puts some in")
    if sites is None:
        return found
    wanted = [sites] if isinstance(sites, str) else list(sites)
    for name in wanted:
        if name not in found:
            raise unknown_site(call, name, found)
    return {name: gate for name, gate in found.items() if name in wanted}


def unknown_site(call: str, name: str, known: Iterable[str]) -> AttachError:
    """What to say of a name that no gate goes by."""
    known = list(known)
    return AttachError(
        f"{call}: there is no gate at {name!r}",
        closest=closest(name, known),
        fix=f"one of {', '.join(map(repr, known[:8]))}{', ...' if len(known) > 8 else ''}",
    )


def bare(model: nn.Module) -> nn.Module:
    """The network that ``torch.compile`` wrapped."""
    return getattr(model, "_orig_mod", model)
