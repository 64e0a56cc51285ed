"""In how many networks does `plan` find the right sites?

For timm the answer key is timm's own `feature_info`: the (channels, reduction) of every stage. The bottlenecks found
must be its entries of reduction 4 and more, without the deepest, and at most one site more. torchvision has no such
key; there the bottlenecks must lie at successive halvings, and the network must run with gates at every one.

    python benchmarks/reach.py            both tables, and benchmarks/results/reach.json
"""

import json
import platform
import re
import sys
import warnings
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import timm
import torch
import torchvision
from rich.console import Console
from rich.progress import track

import whatwhere as ww
from whatwhere.hosts import skeleton

RESULTS = Path(__file__).parent / "results" / "reach.json"

# timm's convolutional model files; hybrids whose maps stay maps are in, networks of tokens are out.
CONVOLUTIONAL = (
    "byobnet convmixer convnext csatv2 cspnet cspnext densenet dla dpn edgenext efficientnet fasternet fastvit "
    "focalnet ghostnet hardcorenas hgnet hrnet inception_next inception_resnet_v2 inception_v3 inception_v4 "
    "lcnetv2 mambaout metaformer mobilenetv3 mobilenetv5 nasnet nfnet pnasnet rdnet regnet repghost repvit res2net "
    "resnest resnet resnetv2 rexnet selecsls senet sknet starnet tresnet vgg vovnet xception xception_aligned"
)
QUALIFIERS = ("tf", "legacy", "nf", "dm", "gc", "eca", "ese", "inception", "wide")

# Attention networks, which `plan` must refuse or plan right.
NO_CNN = ("vit", "swin", "maxvit")


@dataclass(frozen=True)
class Row:
    """One network: what the key says, what was found, and whether they agree."""

    network: str
    key: list[tuple[int, int]] | None
    found: list[tuple[int, int]]
    sites: list[str]
    agrees: bool
    note: str = ""


def timm_row(name: str) -> Row:
    """Hold the plan of one timm network, the first of its family, against its feature_info."""
    model = skeleton(f"timm/{name}")
    with torch.device("meta"):
        info = timm.create_model(name, features_only=True).feature_info
    pairs = [pair for pair in zip(info.channels(), info.reduction(), strict=True) if pair[1] >= 4]
    key = [pair for pair in pairs if pair[1] < max(reduction for _, reduction in pairs)]
    try:
        sites = ww.plan(model, "bam", at="bottlenecks", input_size=model.pretrained_cfg["input_size"]).sites
    except ww.WhatwhereError as error:
        # a network of one resolution has no bottleneck, in the key as here
        return Row(f"timm/{name}", key, [], [], not key, str(error).splitlines()[0])
    found = [(site.channels, site.reduction) for site in sites]
    agrees = set(key) <= set(found) and len(found) <= len(key) + 1
    return Row(f"timm/{name}", key, found, [site.name for site in sites], agrees)


def torchvision_row(name: str) -> Row:
    """Plan, attach and run one torchvision network, all on the meta device."""
    model = skeleton(f"torchvision/{name}").to("meta").eval()
    try:
        plan = ww.attach_(model, "cbam", at="bottlenecks")
    except ww.WhatwhereError as error:
        refused = name.startswith(NO_CNN)
        return Row(f"torchvision/{name}", None, [], [], refused, str(error).splitlines()[0])
    reductions = [site.reduction for site in plan.sites]
    halving = all(small == 2 * large for large, small in pairwise(reductions))
    runs = model(torch.empty(2, 3, 224, 224, device="meta")).shape == (2, 1000)
    found = [(site.channels, site.reduction) for site in plan.sites]
    agrees = halving and len(found) in (3, 4) and runs
    return Row(f"torchvision/{name}", None, found, [site.name for site in plan.sites], agrees)


def families() -> list[str]:
    """The first network of every family: the names in one of timm's files that are alike up to their first digit."""
    first: dict[tuple[str, str], str] = {}
    for module in CONVOLUTIONAL.split():
        for name in timm.list_models(module=module):
            words = name.split("_")
            word = "_".join(words[: 2 if words[0] in QUALIFIERS else 1])
            if words[0] != "test":
                first.setdefault((module, re.split(r"\d", word)[0]), name)
    return list(first.values())


def pairs(values: list[tuple[int, int]] | None) -> str:
    """Channels@reduction, as the table shows them."""
    return " ".join(f"{channels}@{reduction}" for channels, reduction in values or []) or "-"


def main() -> int:
    """Print both tables and write the results; status 1 when an agreement falls below the target."""
    warnings.simplefilter("ignore")  # other libraries' deprecations while their networks are built
    plain = torchvision.models.list_models(module=torchvision.models)
    console = Console(stderr=True)
    rows = [torchvision_row(name) for name in track(plain, "torchvision", console=console)]
    rows += [timm_row(name) for name in track(families(), "timm", console=console)]
    for row in rows:
        mark = "yes" if row.agrees else "NO "
        print(f"{mark}  {row.network:34}  found {pairs(row.found):44}  key {pairs(row.key) if row.key else row.note}")
    counts = {}
    for library in ("torchvision", "timm"):
        mine = [row for row in rows if row.network.startswith(library)]
        counts[library] = {"agree": sum(row.agrees for row in mine), "of": len(mine)}
    versions = {"python": platform.python_version(), "whatwhere": ww.__version__}
    versions |= {module.__name__: module.__version__ for module in (torch, torchvision, timm)}
    RESULTS.parent.mkdir(exist_ok=True)
    table = {"format": 1, "versions": versions, "counts": counts, "rows": [asdict(row) for row in rows]}
    RESULTS.write_text(json.dumps(table, indent=1) + "\n")
    for library, count in counts.items():
        print(f"{library}: {count['agree']} of {count['of']} agree")
    return 0 if all(count["agree"] >= 0.9 * count["of"] for count in counts.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
