"""What cannot be built is refused with the words to mend it."""

from collections.abc import Callable

import pytest

import whatwhere as ww
from whatwhere.errors import GateError

REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "channels-zero": (lambda: ww.SE(0), "SE(0): channels must be a whole number of at least 1"),
    "channels-float": (lambda: ww.BAM(64.0), "BAM(64.0): channels must be a whole number of at least 1"),
    "channels-bool": (lambda: ww.CBAM(True), "CBAM(True): channels must be a whole number of at least 1"),
    "reduction": (
        lambda: ww.SE(64, reduction=0),
        "SE(64, reduction=0): reduction must be a whole number of at least 1",
    ),
    "dilation": (lambda: ww.BAM(64, dilation=0), "BAM(64, dilation=0): dilation must be a whole number of at least 1"),
    "convs": (
        lambda: ww.BAM(64, dilated_convs=-1),
        "BAM(64, dilated_convs=-1): dilated_convs must be a whole number of at least 0",
    ),
    "preset": (
        lambda: ww.BAM(64, preset="relased"),
        "BAM(64, preset='relased'): preset must be one of 'paper', 'released'\n  closest: 'released'",
    ),
    "combine": (
        lambda: ww.BAM(64, combine="summ"),
        "BAM(64, combine='summ'): combine must be one of 'sum', 'product', 'max'\n  closest: 'sum'",
    ),
    "branches": (
        lambda: ww.BAM(64, branches="chanel"),
        "BAM(64, branches='chanel'): branches must be one of 'both', 'channel', 'spatial'\n  closest: 'channel'",
    ),
    "norm": (lambda: ww.BAM(64, norm="layer"), "BAM(64, norm='layer'): norm must be one of 'batch', 'group', 'none'"),
    "final-norm": (
        lambda: ww.BAM(64, final_norm="maps"),
        "BAM(64, final_norm='maps'): final_norm must be one of 'map', 'channels', 'none'\n  closest: 'map'",
    ),
    "flag": (lambda: ww.BAM(64, inner_norm=1), "BAM(64, inner_norm=1): inner_norm must be one of True, False"),
    "start": (
        lambda: ww.CBAM(64, start="zero"),
        "CBAM(64, start='zero'): start must be one of 'preset', 'identity'",
    ),
    "rank": (lambda: ww.SE(64, spatial_dims=4), "SE(64, spatial_dims=4): spatial_dims must be one of 1, 2, 3"),
    "order": (
        lambda: ww.CBAM(64, order="channel"),
        "CBAM(64, order='channel'): order must be one of 'channel_first', 'spatial_first', 'parallel'\n"
        "  closest: 'channel_first'",
    ),
    "descriptor": (
        lambda: ww.SpatialGate(64, descriptor="pools"),
        "SpatialGate(64, descriptor='pools'): descriptor must be one of 'pool', 'conv'\n  closest: 'pool'",
    ),
    "even-kernel": (
        lambda: ww.SpatialGate(64, kernel_size=4),
        "SpatialGate(64, kernel_size=4): an even kernel cannot keep the size of the map\n  fix: use kernel_size=3 or 5",
    ),
    "kernel": (
        lambda: ww.SpatialGate(64, kernel_size=0),
        "SpatialGate(64, kernel_size=0): kernel_size must be a whole number of at least 1",
    ),
    "pool": (
        lambda: ww.ChannelGate(64, pools="mean"),
        "ChannelGate(64, pools='mean'): pools must be one of 'avg', 'max', 'lp', 'lse', 'both'\n  closest: 'max'",
    ),
    "pool-in-a-list": (
        lambda: ww.ChannelGate(64, pools=["avg", "both"]),
        "ChannelGate(64, pools='both'): pools must be one of 'avg', 'max', 'lp', 'lse'",
    ),
    "no-pools": (
        lambda: ww.ChannelGate(64, pools=()),
        "ChannelGate(64, pools=()): a gate needs at least one pool, and each only once\n"
        "  fix: choose from 'avg', 'max', 'lp', 'lse'",
    ),
    "pool-twice": (
        lambda: ww.CBAM(64, pools=("avg", "avg")),
        "CBAM(64, pools=('avg', 'avg')): a gate needs at least one pool, and each only once\n"
        "  fix: choose from 'avg', 'max', 'lp', 'lse'",
    ),
    "combine-of-one": (
        lambda: ww.BAM(64, branches="channel", combine="max"),
        "BAM(64, branches='channel', combine='max'): combine says nothing about the channel branch alone\n"
        "  fix: leave combine out, or use branches='both'",
    ),
    "dilation-of-channel": (
        lambda: ww.BAM(64, branches="channel", dilation=2),
        "BAM(64, branches='channel', dilation=2): dilation says nothing about the channel branch alone\n"
        "  fix: leave dilation out, or use branches='spatial'",
    ),
    "pools-of-spatial": (
        lambda: ww.CBAM(64, branches="spatial", pools="avg"),
        "CBAM(64, branches='spatial', pools=('avg',)): pools says nothing about the spatial branch alone\n"
        "  fix: leave pools out, or use branches='channel'",
    ),
    "kernel-of-channel": (
        lambda: ww.CBAM(64, branches="channel", kernel_size=3),
        "CBAM(64, branches='channel', kernel_size=3): kernel_size says nothing about the channel branch alone\n"
        "  fix: leave kernel_size out, or use branches='spatial'",
    ),
    "group-of-one": (
        lambda: ww.BAM(16, norm="group"),
        "BAM(16, norm='group', reduction=16): "
        "a group norm over one hidden unit is constant, and the gate would not see its input\n"
        "  got: 16 channels // 16\n"
        "  fix: use reduction=8 or less, norm='batch', or inner_norm=False",
    ),
}


@pytest.mark.parametrize(("build", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(build: Callable[[], object], message: str) -> None:
    with pytest.raises(GateError) as found:
        build()
    assert str(found.value) == message


def test_an_even_kernel_is_refused_under_the_name_the_user_wrote() -> None:
    with pytest.raises(GateError) as found:
        ww.CBAM(64, kernel_size=4)
    assert str(found.value).splitlines()[0] == "CBAM(64, kernel_size=4): an even kernel cannot keep the size of the map"


def test_an_unknown_argument_is_pythons_own_error() -> None:
    with pytest.raises(TypeError, match="reduction_ratio"):
        ww.CBAM(64, reduction_ratio=8)
