"""In how many networks does `plan` find the right sites?

For timm the answer key is timm's own `feature_info`: the (channels, reduction) of every stage. The bottlenecks found
must be its entries of reduction 4 and more, without the deepest, and at most one site more. torchvision has no such
key; there the bottlenecks must lie at successive halvings, and the network must run with gates at every one.

    python benchmarks/reach.py            both tables, and benchmarks/results/reach.json
"""

import json
import platform
import sys
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path

import timm
import torch
import torchvision
from rich.console import Console
from rich.progress import track

import whatwhere as ww
from whatwhere.hosts import skeleton

RESULTS = Path(__file__).parent / "results" / "reach.json"

# One network a family; a family is what timm's documentation lists under a name of its own. No attention-only
# networks; hybrids whose maps stay maps are in.
FAMILIES = """
resnet18 resnet50d resnext50_32x4d wide_resnet50_2 seresnet50 seresnext26d_32x4d ecaresnet50t skresnet18 resnest14d
res2net50_26w_4s res2next50 resnetrs50 resnetaa50 resnetblur50 resnetv2_50 gcresnet33ts bat_resnext26ts
densenet121 rdnet_tiny dla34 dla60x dla60_res2net dpn68
efficientnet_b0 efficientnet_lite0 efficientnet_es tf_efficientnetv2_s mobilenetv1_100 mobilenetv2_100
mobilenetv3_large_100 mobilenetv4_conv_small mnasnet_100 semnasnet_100 spnasnet_100 fbnetc_100 fbnetv3_b mixnet_s
tinynet_a lcnet_100 hardcorenas_a rexnet_100 ghostnet_100 ghostnetv2_100 repghostnet_050
regnetx_004 regnety_004 regnetv_040 regnetz_b16 gernet_s repvgg_a0 mobileone_s0 repvit_m0_9
vgg11_bn legacy_xception xception41 inception_v3 inception_v4 inception_resnet_v2 inception_next_tiny
nasnetalarge pnasnet5large selecsls42b hrnet_w18_small ese_vovnet19b_dw
cspresnet50 cspresnext50 cspdarknet53 cs3darknet_m cs3edgenet_x darknet53
convnext_atto convnextv2_atto dm_nfnet_f0 eca_nfnet_l0 nf_resnet50 nf_regnet_b0
hgnet_tiny hgnetv2_b0 tresnet_m legacy_senet154 focalnet_tiny_srf mambaout_femto starnet_s1 fasternet_t0
poolformer_s12 edgenext_xx_small fastvit_t8 convmixer_768_32
""".split()

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
    """Hold the plan of one timm network against its feature_info."""
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
    halving = all(small == 2 * large for large, small in zip(reductions, reductions[1:], strict=False))
    runs = model(torch.empty(2, 3, 224, 224, device="meta")).shape == (2, 1000)
    found = [(site.channels, site.reduction) for site in plan.sites]
    agrees = halving and len(found) in (3, 4) and runs
    return Row(f"torchvision/{name}", None, found, [site.name for site in plan.sites], agrees)


def pairs(values: list[tuple[int, int]] | None) -> str:
    """Channels@reduction, as the table shows them."""
    return " ".join(f"{channels}@{reduction}" for channels, reduction in values or []) or "-"


def main() -> int:
    """Print both tables and write the results; status 1 when an agreement falls below the target."""
    warnings.simplefilter("ignore")  # other libraries' deprecations while their networks are built
    plain = [name for name in torchvision.models.list_models(module=torchvision.models)]
    console = Console(stderr=True)
    rows = [torchvision_row(name) for name in track(plain, "torchvision", console=console)]
    rows += [timm_row(name) for name in track(FAMILIES, "timm", console=console)]
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
