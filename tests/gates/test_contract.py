"""Every gate keeps the contract."""

from collections.abc import Callable
from functools import partial

import pytest
from support.contract import CHECKS, Make, check_gate
from torch import nn

import whatwhere as ww

GATES: dict[str, Make] = {
    "bam": partial(ww.BAM, reduction=2),
    "bam-released": partial(ww.BAM, preset="released", reduction=2),
    "bam-channel": partial(ww.BAM, branches="channel", reduction=2),
    "bam-spatial": partial(ww.BAM, branches="spatial", reduction=2),
    "bam-group": partial(ww.BAM, norm="group", reduction=2),
    "bam-no-norm": partial(ww.BAM, norm="none", reduction=2),
    "bam-norm-on-channels": partial(ww.BAM, final_norm="channels", reduction=2),
    "bam-1d": partial(ww.BAM, reduction=2, spatial_dims=1),
    "bam-3d": partial(ww.BAM, reduction=2, spatial_dims=3),
    "cbam": partial(ww.CBAM, reduction=2),
    "cbam-released": partial(ww.CBAM, preset="released", reduction=2),
    "cbam-channel": partial(ww.CBAM, branches="channel", reduction=2),
    "cbam-spatial": partial(ww.CBAM, branches="spatial"),
    "cbam-spatial-first": partial(ww.CBAM, order="spatial_first", reduction=2),
    "cbam-parallel": partial(ww.CBAM, order="parallel", reduction=2),
    "cbam-conv": partial(ww.CBAM, descriptor="conv", reduction=2),
    "cbam-1d": partial(ww.CBAM, reduction=2, spatial_dims=1),
    "cbam-3d": partial(ww.CBAM, reduction=2, spatial_dims=3, kernel_size=3),
    "se": partial(ww.SE, reduction=2),
    "se-3d": partial(ww.SE, reduction=2, spatial_dims=3),
    "channel": partial(ww.ChannelGate, reduction=2),
    "channel-lp-lse": partial(ww.ChannelGate, pools=("lp", "lse"), reduction=2),
    "spatial": ww.SpatialGate,
    "spatial-released": partial(ww.SpatialGate, preset="released"),
    "spatial-1d": partial(ww.SpatialGate, spatial_dims=1),
}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("make", GATES.values(), ids=GATES)
def test_contract(make: Make, check: Callable[[Make, int], None]) -> None:
    check(make, 12)


@pytest.mark.parametrize("make", [ww.BAM, ww.CBAM, ww.SE], ids=["bam", "cbam", "se"])
def test_contract_at_the_usual_reduction(make: Make) -> None:
    """Seventy channels are no multiple of sixteen."""
    check_gate(make, 70)


class _Spoilt(ww.SE):
    """A gate with a fault; each subclass must be caught by the check of the same name."""


class _Shapes(_Spoilt):
    def forward(self, x):
        return super().forward(x)[..., :1]


class _Precisions(_Spoilt):
    def forward(self, x):
        return super().forward(x).float()


class _Memory(_Spoilt):
    def forward(self, x):
        return super().forward(x).contiguous()


class _Positions(_Spoilt):
    def maps(self, x):
        return super().maps(x[..., :3])


class _Untouched(_Spoilt):
    def forward(self, x):
        return super().forward(x.mul_(1.5))


class _Identity(_Spoilt):
    def forward(self, x):
        return super().forward(x) + 0.0


class _Gradients(_Spoilt):
    def forward(self, x):
        return self._read(x).apply(*self._factors(self._read(x.detach())), self.strength)


class _Maps(_Spoilt):
    def forward(self, x):
        return 2 * super().forward(x)


@pytest.mark.parametrize(
    ("check", "fault"),
    [
        ("shapes", _Shapes),
        ("precisions", _Precisions),
        ("memory_format", _Memory),
        ("positions_matter", _Positions),
        ("input_untouched", _Untouched),
        ("identity", _Identity),
        ("gradients", _Gradients),
        ("maps", _Maps),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_contract_catches(check: str, fault: type[nn.Module]) -> None:
    by_name = {found.__name__: found for found in CHECKS}
    with pytest.raises((AssertionError, RuntimeError)):
        by_name[check](partial(fault, reduction=2), 12)
