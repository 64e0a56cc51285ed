"""The tables of BAM (arXiv 1807.06514) as recipes.

Each function gives the trials that fill one table. Keyword arguments are those of ``reproduction``. FLOP are six times
the multiply-accumulates of a forward, over all images of all trials; ``--dry-run`` measures a step on your device and
says how long that is. Errors are top-1, mean average precisions (mAP) at an IoU of 0.5 or more; both in percent.
"""

from typing import Any

from whatwhere.papers.profiles import Profile
from whatwhere.papers.reproduction import Reproduction, reproduction

__all__ = ["table_1a", "table_1b", "table_1c", "table_2", "table_3a", "table_3b", "table_4a", "table_4b", "table_5"]


def table_1a(profile: Profile = "paper", **changes: Any) -> Reproduction:
    """Dilation and reduction of BAM in a ResNet-50 on CIFAR-100.

    Command: ``whatwhere reproduce bam/1a``.
    Paper: 21.49 bare, 20.00 with dilation 4 and reduction 16, one run each.
    Ours: not run.
    """
    return reproduction("bam/1a", "dilation and reduction", profile, **changes)


def table_1b(profile: Profile = "paper", **changes: Any) -> Reproduction:
    """Each branch of BAM alone, and three ways to join them, in a ResNet-50 on CIFAR-100.

    Command: ``whatwhere reproduce bam/1b``.
    Paper: 21.49 bare, 21.29 channel, 21.24 spatial, 20.28 max, 20.21 product, 20.00 sum, one run each.
    Ours: 71.89 bare, 72.53 channel, 72.38 spatial, 73.53 max, 72.27 product, 72.61 sum with a ResNet-20 in its place
    and six epochs of 20,000 images, n = 2 (``results/bam-1b-resnet20``); no difference is significant.
    """
    return reproduction("bam/1b", "branches and how they are joined", profile, **changes)


def table_1c(profile: Profile = "paper", **changes: Any) -> Reproduction:
    """BAM against one more of the host's own blocks in the same places, on CIFAR-100.

    Command: ``whatwhere reproduce bam/1c``.
    Paper: ResNet-50 21.49 bare, 21.02 with blocks, 20.00 with BAM; WRN-28-8 and ResNeXt-29 likewise, one run each.
    Ours: not run.
    """
    return reproduction("bam/1c", "against the host's own blocks", profile, **changes)


def table_2(profile: Profile = "paper", **changes: Any) -> Reproduction:
    """BAM at the bottlenecks against BAM in every block ("BAM-C"), four hosts on CIFAR-100.

    Command: ``whatwhere reproduce bam/2``.
    Paper: ResNet-50 21.49 bare, 20.88 in blocks, 20.00 at bottlenecks, one run each.
    Ours: not run.
    """
    return reproduction("bam/2", "bottlenecks against every block", profile, **changes)


def table_3a(profile: Profile = "paper", **changes: Any) -> Reproduction:
    """BAM in eight hosts on CIFAR-100.

    Command: ``whatwhere reproduce bam/3a``; ``--rows resnet50`` for one host.
    Paper: ResNet-50 21.49 bare, 20.00 with BAM, one run each; others have read 21.1 for the latter.
    Ours: 71.89 bare, 72.61 with BAM with a ResNet-20 in the place of ResNet-50 and six epochs of 20,000 images, n = 2
    (``results/bam-3a-resnet20``); the difference is not significant.
    """
    return reproduction("bam/3a", "CIFAR-100", profile, **changes)


def table_3b(profile: Profile = "paper", **changes: Any) -> Reproduction:
    """BAM in ten hosts on ImageNet-1K.

    Command: ``whatwhere reproduce bam/3b --root FOLDER`` with FOLDER/imagenet/train and val, or shards.
    Paper: ResNet-50 24.56 bare, 24.02 with BAM, one run each.
    Ours: not run.
    """
    return reproduction("bam/3b", "ImageNet-1K", profile, **changes)


def table_4a(profile: Profile = "paper", **changes: Any) -> Reproduction:
    """BAM at the bottlenecks of Faster R-CNN's ResNet-101 on COCO.

    Command: ``whatwhere reproduce bam/4a --root FOLDER`` with FOLDER/coco/annotations and images.
    Paper: mAP@.5 48.4 bare, 50.2 with BAM; over all IoU 29.1 and 30.4, one run each.
    Ours: not run.
    """
    return reproduction("bam/4a", "COCO", profile, **changes)


def table_4b(profile: Profile = "paper", **changes: Any) -> Reproduction:
    """BAM before the classifiers of StairNet, two trunks, and SSD without, on VOC 2007.

    Command: ``whatwhere reproduce bam/4b --root FOLDER`` with FOLDER/VOCdevkit/VOC2007 and VOC2012; ``--rows
    stairnet300-vgg16`` for one host. MobileNets start fresh: torchvision has no weights of theirs.
    Paper: StairNet on VGG-16 78.9 bare, 79.3 with BAM; on MobileNet 70.1 and 70.6, one run each.
    Ours: not run.
    """
    return reproduction("bam/4b", "VOC 2007", profile, **changes)


def table_5(profile: Profile = "paper", **changes: Any) -> Reproduction:
    """BAM against squeeze-and-excitation, four hosts on CIFAR-100.

    Command: ``whatwhere reproduce bam/5``.
    Paper: ResNet-50 20.72 with SE, 20.00 with BAM; PreResNet 21.85 and 21.96, one run each.
    Ours: not run.
    """
    return reproduction("bam/5", "against squeeze-and-excitation", profile, **changes)
