"""Which gates a network carries, and in what state they are."""

from dataclasses import dataclass

from torch import nn

from whatwhere.attach.gated import gated_modules

__all__ = ["Carried", "Status", "status"]


@dataclass(frozen=True)
class Carried:
    """One gate in a network: where it stands, what it is, and whether it acts, trains and learns.

    ``strength`` is that of ``start="identity"``, and None for a gate that started as its preset says.
    """

    name: str
    gate: str
    side: str
    enabled: bool
    training: bool
    parameters: int
    trainable: int
    strength: float | None


@dataclass(frozen=True)
class Status:
    """The gates of one network, in order; ``print(status)`` is a table."""

    host: str
    gates: list[Carried]

    def __str__(self) -> str:
        if not self.gates:
            return f"{self.host} carries no gates"
        total, trainable = (sum(getattr(gate, key) for gate in self.gates) for key in ("parameters", "trainable"))
        count = f"{len(self.gates)} gate{'s' * (len(self.gates) > 1)}"
        lines = [f"{self.host} carries {count}, {total:,} parameters, {trainable:,} of them trainable"]
        width = max(len(gate.name) for gate in self.gates)
        for gate in self.gates:
            words = ["on" if gate.enabled else "off", "train" if gate.training else "eval"]
            if gate.strength is not None:
                words.append(f"strength {gate.strength:.3g}")
            place = "" if gate.side == "output" else "(before) "
            lines.append(f"{gate.name.ljust(width)}  {place}{gate.gate}  {', '.join(words)}")
        return "\n".join(lines)


def status(model: nn.Module) -> Status:
    """Say which gates ``model`` carries; nothing is changed."""
    carried = []
    for name, gated in gated_modules(model).items():
        parameters = list(gated.gate.parameters())
        strength = getattr(gated.gate, "strength", None)
        carried.append(
            Carried(
                name=name,
                gate=repr(gated.gate).split("\n")[0].rstrip("("),
                side="input" if gated.before else "output",
                enabled=gated.enabled,
                training=gated.gate.training,
                parameters=sum(p.numel() for p in parameters),
                trainable=sum(p.numel() for p in parameters if p.requires_grad),
                strength=strength.item() if isinstance(strength, nn.Parameter) and not strength.is_meta else None,
            )
        )
    return Status(type(model).__name__, carried)
