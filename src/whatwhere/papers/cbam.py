"""The tables of CBAM (arXiv 1807.06521) as recipes: 1 to 5 on ImageNet-1K, 6 on COCO, 7 on VOC 2007.

Each function gives the trials that fill one table. Keyword arguments are those of ``reproduction``. Commands need
``--root FOLDER`` with FOLDER/imagenet/train and val, or shards of them, FOLDER/coco or FOLDER/VOCdevkit; ``--dry-run``
needs no images, measures a step on your device and says how long a table takes. Errors are top-1, mean average
precisions (mAP) at an IoU of 0.5 or more; both in percent.
"""

from typing import Any

from whatwhere.papers.profiles import Profile
from whatwhere.papers.reproduction import Reproduction, reproduction

__all__ = ["table_1", "table_2", "table_3", "table_4", "table_5", "table_6", "table_7"]


def table_1(profile: Profile = "paper", **changes: Any) -> Reproduction:
    """Which pools the channel gate reads, in a ResNet-50.

    Command: ``whatwhere reproduce cbam/1 --root FOLDER``.
    Paper: 24.56 bare, 23.14 average, 23.20 maximum, 22.80 both, one run each.
    Ours: not run.
    """
    return reproduction("cbam/1", "pools of the channel gate", profile, **changes)


def table_2(profile: Profile = "paper", **changes: Any) -> Reproduction:
    """What the spatial gate reads, and with how large a kernel, in a ResNet-50.

    Command: ``whatwhere reproduce cbam/2 --root FOLDER``.
    Paper: 22.80 channel gate alone, 22.66 with pools over the channels and a 7x7 kernel, one run each.
    Ours: not run.
    """
    return reproduction("cbam/2", "the spatial gate", profile, **changes)


def table_3(profile: Profile = "paper", **changes: Any) -> Reproduction:
    """Channel first, spatial first, or both at once, in a ResNet-50.

    Command: ``whatwhere reproduce cbam/3 --root FOLDER``.
    Paper: 22.66 channel first, 22.78 spatial first, 22.95 in parallel, one run each.
    Ours: not run.
    """
    return reproduction("cbam/3", "order of the two gates", profile, **changes)


def table_4(profile: Profile = "paper", **changes: Any) -> Reproduction:
    """SE and CBAM in eight hosts.

    Command: ``whatwhere reproduce cbam/4 --root FOLDER``.
    Paper: ResNet-50 24.56 bare, 23.14 with SE, 22.66 with CBAM, one run each.
    Ours: not run.
    """
    return reproduction("cbam/4", "ImageNet-1K", profile, **changes)


def table_5(profile: Profile = "paper", **changes: Any) -> Reproduction:
    """SE and CBAM in MobileNets.

    Command: ``whatwhere reproduce cbam/5 --root FOLDER``.
    Paper: width 0.7 34.86 bare, 32.50 with SE, 31.51 with CBAM, one run each.
    Ours: not run.
    """
    return reproduction("cbam/5", "MobileNets", profile, **changes)


def table_6(profile: Profile = "paper", **changes: Any) -> Reproduction:
    """CBAM in every block of Faster R-CNN's ResNets on COCO.

    Command: ``whatwhere reproduce cbam/6 --root FOLDER``; ``--rows ResNet50`` for one host.
    Paper: mAP@.5 with ResNet-50 46.2 bare, 48.2 with CBAM; over all IoU 27.0 and 28.1, one run each.
    Ours: not run.
    """
    return reproduction("cbam/6", "COCO", profile, **changes)


def table_7(profile: Profile = "paper", **changes: Any) -> Reproduction:
    """SE and CBAM before the classifiers of StairNet, two trunks, and SSD without, on VOC 2007.

    Command: ``whatwhere reproduce cbam/7 --root FOLDER``. MobileNets start fresh: torchvision has no weights of
    theirs.
    Paper: StairNet on VGG-16 78.9 bare, 79.1 with SE, 79.3 with CBAM; on MobileNet 70.1, 70.0 and 70.5, one run each.
    Ours: not run.
    """
    return reproduction("cbam/7", "VOC 2007", profile, **changes)
