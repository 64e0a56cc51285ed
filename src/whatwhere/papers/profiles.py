"""How the rows of a table are trained: the papers' recipe, today's, and two that end sooner."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from whatwhere.errors import RunError, closest
from whatwhere.experiments.arm_names import Start
from whatwhere.train import Recipe

__all__ = ["PROFILES", "Profile", "Setting", "setting"]

Profile = Literal["paper", "modern", "short", "smoke"]
PROFILES: tuple[Profile, ...] = get_args(Profile)


@dataclass(frozen=True)
class Setting:
    """What the rows of one data set have in common under one profile.

    Args:
        data: the data set trained on, as ``load`` names it.
        recipe: how.
        seeds: of each arm.
        host: what stands in for every row's host; None trains the row's own.
        image_size: of rows of 224 pixels, others in proportion, None leaves the row's own; of detectors the side to
            which they bring images, None for their own.
        limit: training images, None for all.
        options: what is added to the names of detectors whose trunk there are published weights for.
        start: how gates start: a trunk that was trained without them goes on as it was where they are the identity.
        unverified: what the profile takes for the papers' and no source confirms.
    """

    data: str
    recipe: Recipe
    seeds: int = 3
    host: str | None = None
    image_size: int | None = None
    limit: int | None = None
    options: str = ""
    start: Start = "preset"
    unverified: tuple[str, ...] = ()


def setting(dataset: str, profile: Profile) -> Setting:
    """The setting of a profile for the rows of ``dataset``, "cifar100", "imagenet1k", "coco" or "voc2007".

    * ``paper``: what is known of the papers' training, in float32. CBAM states ImageNet's 90 epochs, learning rate 0.1
      and a drop every 30 epochs (section 4.1); batch, decay and momentum are the released script's. For CIFAR-100
      neither paper's text was at hand: these are the defaults of the code base whose networks have exactly the printed
      numbers of parameters. Of detection CBAM states COCO's 490,000 iterations, ResNets pretrained on ImageNet and the
      code it is based on (section 4.4), whose settings the rest is; for VOC 300 pixels, 250 epochs, decay and momentum
      (section 4.5), and the rest is SSD's.
    * ``modern``: bf16, channels_last, a compiled step, label smoothing, averaged weights, a cosine; of these detectors
      are neither compiled nor smoothed, and COCO's not averaged.
    * ``short``: the modern arithmetic and few epochs; one trial of a ResNet-50 takes minutes on one recent GPU.
    * ``smoke``: does everything run? A small host on embedded images, in seconds (a small detector: minutes); nothing
      to compare with a paper.

    Raises:
        RunError: an unknown profile.
    """
    if profile not in PROFILES:
        raise RunError(
            f"reproduce(profile={profile!r}): no such profile",
            closest=closest(profile, PROFILES),
            fix=f"one of {', '.join(PROFILES)}",
        )
    if profile == "smoke":
        return _SMOKE_DETECTION if dataset in ("coco", "voc2007") else _SMOKE
    return _SETTINGS[dataset](profile)


def _cifar(profile: Profile) -> Setting:
    if profile == "short":
        return Setting("cifar100", Recipe(epochs=15, precision="bf16"))
    if profile == "modern":
        recipe = Recipe(epochs=200, warmup_epochs=5.0, precision="bf16", compile=True, label_smoothing=0.1, ema=0.999)
        return Setting("cifar100", recipe)
    recipe = Recipe(epochs=300, schedule="step", milestones=(0.5, 0.75), nesterov=False, decay_norms=True)
    unverified = (
        "epochs 300, batch 128, learning rate 0.1 divided by 10 at 150 and 225, momentum 0.9, decay 5e-4: the defaults "
        "of the code whose networks match the printed parameters, not the paper's text",
        "4-pixel crops and mirroring",
    )
    return Setting("cifar100", recipe, unverified=unverified)


def _imagenet(profile: Profile) -> Setting:
    if profile == "short":
        recipe = Recipe(epochs=16, lr=0.4, batch_size=1024, weight_decay=5e-5, warmup_epochs=2.0, precision="bf16")
        return Setting("imagenet", recipe, seeds=1, image_size=128, limit=130_000)
    if profile == "modern":
        recipe = Recipe(
            epochs=100,
            lr=0.4,
            batch_size=1024,
            weight_decay=5e-5,
            warmup_epochs=5.0,
            precision="bf16",
            compile=True,
            label_smoothing=0.1,
            ema=0.9999,
        )
        return Setting("imagenet", recipe)
    recipe = Recipe(
        epochs=90,
        batch_size=256,
        weight_decay=1e-4,
        schedule="step",
        milestones=(1 / 3, 2 / 3),
        nesterov=False,
        decay_norms=True,
    )
    unverified = (
        "batch 256, momentum 0.9, decay 1e-4 on every weight and a division by 10: the released script, not the paper",
        "BAM's ImageNet training: taken to be CBAM's, whose baselines it shares",
    )
    return Setting("imagenet", recipe, unverified=unverified)


def _coco(profile: Profile) -> Setting:
    if profile == "short":
        recipe = Recipe(epochs=4, batch_size=8, lr=0.01, weight_decay=1e-4, warmup_epochs=0.1, precision="bf16")
        return Setting("coco", recipe, seeds=1, image_size=480, limit=20_000, options=_PRETRAINED, start="identity")
    if profile == "modern":
        recipe = Recipe(
            epochs=26, batch_size=16, lr=0.02, weight_decay=1e-4, warmup_epochs=0.5, precision="bf16", augment="scale"
        )
        return Setting("coco", recipe, options=_PRETRAINED, start="identity")
    recipe = Recipe(
        epochs=4,
        batch_size=2,
        lr=2e-3,
        weight_decay=1e-4,
        schedule="step",
        milestones=(5 / 7,),
        nesterov=False,
        augment="flip",
    )
    unverified = (
        "COCO 2017's training and validation images: 2014's with 5,000 held out, taken to be CBAM's 5,000",
        "one image an iteration, learning rate 0.001 divided by 10 after 350,000 of 490,000 iterations, momentum 0.9, "
        "decay 1e-4, mirroring, a shorter side of 600 pixels and a longer of at most 1,000: the settings of the code "
        "that CBAM says it is based on, not the paper",
        "490,000 images would be 4.1 passes; here four over nine tenths of the images, two at once at twice the "
        "learning rate, for BAM's batch norms cannot take one image",
        "weights: torchvision's of ImageNet, trained without gates, which start as the identity; whether the papers' "
        "were trained with their gates is not said",
        "BAM's training: taken to be CBAM's, whose baseline it shares",
    )
    return Setting("coco", recipe, image_size=600, options=_PRETRAINED, start="identity", unverified=unverified)


def _voc(profile: Profile) -> Setting:
    if profile == "short":
        recipe = Recipe(epochs=20, batch_size=32, lr=2e-3, warmup_epochs=0.5, precision="bf16")
        return Setting("voc", recipe, seeds=1, limit=8_000, options=_PRETRAINED)
    if profile == "modern":
        recipe = Recipe(epochs=120, batch_size=32, lr=2e-3, warmup_epochs=1.0, precision="bf16", ema=0.999)
        return Setting("voc", recipe, options=_PRETRAINED)
    recipe = Recipe(
        epochs=250,
        batch_size=32,
        lr=1e-3,
        warmup_epochs=1.0,
        schedule="step",
        milestones=(2 / 3, 5 / 6),
        nesterov=False,
    )
    unverified = (
        "batch 32, learning rate 0.001 divided by 10 at 2/3 and 5/6, changed colours, zoom and crops: SSD's usual "
        "recipe, not the paper; one epoch of warm-up is added",
        "weights of VGG-16: torchvision's of ImageNet; what the trunks started from is not said",
        "BAM's training and where its gates stand: taken to be CBAM's, whose baselines it shares",
    )
    return Setting("voc", recipe, options=_PRETRAINED, unverified=unverified)


_PRETRAINED = ":weights=imagenet"
_SMOKE = Setting("scenes", Recipe(epochs=2, precision="bf16", padding=0), host="resnet8", limit=2_000)
_SMOKE_DETECTION = Setting(
    "scenes",
    Recipe(epochs=6, batch_size=32, lr=0.05, warmup_epochs=0.5, augment="flip"),
    host="ssd-resnet8",
    image_size=96,
)
_SETTINGS: Mapping[str, Callable[[Profile], Setting]] = {
    "cifar100": _cifar,
    "imagenet1k": _imagenet,
    "coco": _coco,
    "voc2007": _voc,
}
