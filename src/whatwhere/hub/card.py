"""The model card: what a network is, how to use it, how it was trained, and what it is not."""

import json
from collections.abc import Mapping
from typing import Any

from whatwhere.hub.building import show_gate
from whatwhere.hub.config import NetworkConfig

__all__ = ["model_card"]

_SHOWN_CLASSES = 20


def model_card(config: NetworkConfig, *, trained: str = "", metadata: Mapping[str, Any] | None = None) -> str:
    """Markdown with the head that huggingface_hub reads.

    Args:
        config: the network's.
        trained: Markdown on data, recipe and results; "" says that none of it was recorded.
        metadata: more fields of the head, plain values.
    """
    kinds = sorted({str(one["gate"]) for one in config.gates.values()})
    head = {
        "library_name": "whatwhere",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "attention", *(kind.lower() for kind in kinds)],
        **(metadata or {}),
    }
    lines = ["---", *(f"{name}: {json.dumps(value)}" for name, value in head.items()), "---", ""]
    title = f"{config.host} with {' and '.join(kinds)}" if kinds else config.host
    lines += [f"# {_plain(title)}", "", _what(config), "", *_gates(config), *_use(config)]
    lines += ["## How it was trained", "", trained.strip() or "This was not recorded.", "", *_limits(config, trained)]
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    """Words from outside, so that they stay words in Markdown."""
    return "".join(f"\\{letter}" if letter in "\\`*_[]<>|#" else letter for letter in text)


def _what(config: NetworkConfig) -> str:
    stem = ", with a small-image stem" if config.stem == "small" else ""
    width = f", {config.width:.4g} times as wide" if config.width != 1 else ""
    rows, columns = config.image_size
    text = (
        f"An image classifier: the host `{config.host}`{stem}{width}, {config.num_classes:,} classes, for images of "
        f"{rows} x {columns} pixels and {config.in_channels} channels."
    )
    if config.classes:
        more = ", ..." if len(config.classes) > _SHOWN_CLASSES else ""
        text += f"\n\nClasses: {', '.join(map(_plain, config.classes[:_SHOWN_CLASSES]))}{more}."
    return text


def _gates(config: NetworkConfig) -> list[str]:
    if not config.gates:
        return ["It has no attention gates.", ""]
    lines = ["Its attention gates:", "", "| site | gate |", "|---|---|"]
    for site, one in config.gates.items():
        place = site if one["side"] == "output" else f"before {site}"
        lines.append(f"| {_plain(place)} | `{show_gate(one)}` |")
    return [*lines, ""]


def _use(config: NetworkConfig) -> list[str]:
    rows, columns = config.image_size
    shape = f"(1, {config.in_channels}, {rows}, {columns})"
    fed = (
        "network.normalise(images)" if config.mean and config.std else "images.float()  # normalised as in its training"
    )
    return [
        "## How to use it",
        "",
        "```python",
        "import torch",
        "from whatwhere.hub import load_network",
        "",
        'network = load_network("path/to/this/folder")',
        f"images = torch.zeros({shape}, dtype=torch.uint8)",
        f"logits = network({fed})",
        "```",
        "",
        'From the Hub: `whatwhere.hub.HubNetwork.from_pretrained("user/name")`. No code is loaded with it.',
        "",
    ]


def _limits(config: NetworkConfig, trained: str) -> list[str]:
    rows, columns = config.image_size
    limits = [
        f"It was trained at {rows} x {columns} pixels and tested on images of the same data set; other sizes, cameras "
        "and populations were not tried."
        if trained
        else "Nothing is recorded of what it was trained on, nor of how well it does.",
        "It answers with one of its classes whatever it is shown, and its softmax is not a calibrated probability.",
        "Nothing was measured about fairness, robustness or safety.",
    ]
    if config.gates:
        limits.append("A gate's map shows what the gate multiplied, which is not an explanation of the answer.")
    return ["## Limits", "", *(f"- {limit}" for limit in limits)]
