"""Draw where the gates of a finished comparison look: a row of scenes, and how each arm's gate weighs the positions.

make demo
python examples/maps.py runs/demo docs/images/maps.png
"""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import interpolate

import whatwhere as ww
from whatwhere.data import load, normalise
from whatwhere.hosts import build

SCENES = 10
GATES = ("bam", "cbam")
USAGE = "usage: python examples/maps.py COMPARISON PICTURE, such as runs/demo docs/images/maps.png"


def trained(trial: Path, classes: int) -> nn.Module:
    """The network of one trial, with the weights of its best epoch."""
    spec = json.loads((trial / "trial.json").read_text())
    model = build(spec["host"], num_classes=classes, stem=spec["stem"])
    ww.attach_(model, spec["gate"], at=spec["at"], start=spec["start"], input_size=(3, 32, 32))
    model.load_state_dict(load_file(trial / "best.safetensors"))
    return model.eval()


def raised(model: nn.Module, images: Tensor) -> list[tuple[str, Tensor]]:
    """By how much each gate multiplies each position, mean over channels, (B, 1, H, W), by the name of its site."""
    with torch.no_grad(), ww.record(model) as records:
        model(images)
    return [(name, site.positions[:, None]) for name, site in records.items()]


def main(comparison: Path, out: Path) -> None:
    """Draw and write the picture."""
    splits = load("scenes")
    shown = splits.test.take(torch.arange(SCENES))
    pictures = shown.images.permute(0, 2, 3, 1)
    rows: list[tuple[str, list[Tensor] | None]] = [("scene", None)]
    for gate in GATES:
        trial = min(comparison.glob(f"{gate}-seed0-*/best.safetensors")).parent
        maps = raised(trained(trial, len(splits.classes)), normalise(shown.images, splits.mean, splits.std))
        chosen = max(maps, key=lambda one: one[1].flatten(1).std(1).mean() * (one[1].shape[-1] >= 16))
        rows.append(
            (
                f"{gate.upper()} at {chosen[0]}: bright where it raises",
                list(interpolate(chosen[1], size=32, mode="bilinear")),
            )
        )
    figure, axes = plt.subplots(len(rows), SCENES, figsize=(SCENES, len(rows) * 1.2))
    figure.subplots_adjust(left=0.005, right=0.995, top=0.93, bottom=0.01, wspace=0.04, hspace=0.28)
    for line, (label, maps) in zip(axes, rows, strict=True):
        for column, axis in enumerate(line):
            axis.imshow(pictures[column])
            if maps is not None:
                axis.imshow(maps[column][0], cmap="inferno", alpha=0.7)
            axis.set_xticks([])
            axis.set_yticks([])
        line[0].set_title(label, loc="left", fontsize=9)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=110)


def wrong(arguments: list[str]) -> str:
    """What is wrong with the command's arguments; "" when nothing is."""
    if len(arguments) != 2:
        return USAGE
    comparison = Path(arguments[0])
    missing = [gate for gate in GATES if not list(comparison.glob(f"{gate}-seed0-*/best.safetensors"))]
    if missing:
        return f"{comparison} holds no trained {' and no '.join(missing)} of seed 0; `make demo` trains them\n{USAGE}"
    return ""


if __name__ == "__main__":
    if message := wrong(sys.argv[1:]):
        print(message, file=sys.stderr)
        sys.exit(2)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
