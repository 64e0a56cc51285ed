"""How others name the tensors of a ResNet with gates, told in torchvision's names and ours."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from whatwhere.gates.released import (
    BAM_KEYS,
    CBAM_KEYS,
    PYTORCHCV_BAM_KEYS,
    PYTORCHCV_CBAM_KEYS,
    PYTORCHCV_SE_KEYS,
    TIMM_CBAM_KEYS,
    TIMM_SE_KEYS,
)

__all__ = ["LAYOUTS", "GateNames", "Layout", "Target", "recognise"]

# The preset or options under which our gate computes what the file's does.
_BAM, _CBAM, _TIMM_CBAM, _SE = "bam:preset=released", "cbam:preset=released", "cbam:norm=batch", "se"

_Name = Callable[[re.Match[str]], str]


class Target(NamedTuple):
    """Where a tensor of the file belongs.

    ``gate`` is "" for a tensor of the host, whose ``name`` is torchvision's. Otherwise it is the gate as ``attach_`` is
    told it, ``place`` the block ("layer1.0") or stage ("layer1") whose end it stands at, and ``name`` its own.
    """

    gate: str
    place: str
    name: str


@dataclass(frozen=True)
class GateNames:
    """Keys of one kind of gate: a pattern with a group ``rest``, the place they tell, and the modules of ``rest``."""

    gate: str
    key: re.Pattern[str]
    place: _Name
    names: Mapping[str, str]


@dataclass(frozen=True)
class Layout:
    """One library's way to name, and to build, a ResNet with gates.

    Args:
        name: what messages call it.
        gates: the kinds of gates it has.
        host: patterns of the host's keys and torchvision's name for them; a key that none matches keeps its name.
        stride: the convolution of a bottleneck block that has the stride; None where one name stands for both kinds.
        padded_pool: whether the first max-pool is torchvision's, padded by one, or has its windows shifted.
        plain_blocks: whether gates of two-convolution blocks read the batch norm, as when attached, or a ReLU after it.
    """

    name: str
    gates: tuple[GateNames, ...]
    host: tuple[tuple[re.Pattern[str], _Name], ...] = field(default=())
    stride: str | None = "conv2"
    padded_pool: bool = True
    plain_blocks: bool = True

    def target(self, key: str) -> Target | None:
        """Where the tensor belongs; None for a gate's tensor that no gate of ours has."""
        of_gate = False
        for kind in self.gates:
            found = kind.key.fullmatch(key)
            if found is not None:
                of_gate = True
                module, _, leaf = found["rest"].rpartition(".")
                if module in kind.names:
                    return Target(kind.gate, kind.place(found), f"{kind.names[module]}.{leaf}")
        if of_gate:
            return None
        for pattern, name in self.host:
            found = pattern.fullmatch(key)
            if found is not None:
                return Target("", "", name(found))
        return Target("", "", key)

    def owns(self, key: str) -> bool:
        """Whether a gate of this layout is named so."""
        return any(kind.key.fullmatch(key) for kind in self.gates)


def recognise(keys: Iterable[str]) -> Layout | None:
    """The layout that names a gate as one of the keys does; None for a file without gates."""
    keys = list(keys)
    return next((layout for layout in LAYOUTS if any(map(layout.owns, keys))), None)


def _block(found: re.Match[str]) -> str:
    return found["block"]


def _unit(found: re.Match[str]) -> str:
    """pytorchcv's unit, counted from 1, as torchvision's block."""
    return f"layer{found['stage']}.{int(found['unit']) - 1}"


def _before(found: re.Match[str]) -> str:
    """The stage before the unit that begins with a BAM."""
    return f"layer{int(found['stage']) - 1}"


def _joined(text: str, found: re.Match[str]) -> str:
    return found.expand(text)


def _unit_layer(found: re.Match[str]) -> str:
    return f"{_unit(found)}.{found['part']}{found['number']}.{found['leaf']}"


def _unit_shortcut(found: re.Match[str]) -> str:
    return f"{_unit(found)}.downsample.{'01'[found['part'] == 'bn']}.{found['leaf']}"


_OF_BLOCK = r"(?P<block>layer\d+\.\d+)\.{}\.(?P<rest>.+)"
_OF_UNIT = r"features\.stage(?P<stage>\d+)\.unit(?P<unit>\d+)\.{}\.(?P<rest>.+)"
_IN_UNIT = r"features\.stage(?P<stage>\d+)\.unit(?P<unit>\d+)\.(?:res_unit\.)?"
_LEAF = r"(?P<part>conv|bn)\.(?P<leaf>\w+)"

_RELEASED = Layout(
    "the released code",
    gates=(
        GateNames(_BAM, re.compile(r"bam(?P<stage>\d)\.(?P<rest>.+)"), partial(_joined, r"layer\g<stage>"), BAM_KEYS),
        GateNames(_CBAM, re.compile(_OF_BLOCK.format("cbam")), _block, CBAM_KEYS),
    ),
)
_PYTORCHCV_HOST = (
    (re.compile(r"features\.init_block\.(?:conv\.)?" + _LEAF), partial(_joined, r"\g<part>1.\g<leaf>")),
    (re.compile(_IN_UNIT + r"body\.conv(?P<number>\d)\." + _LEAF), _unit_layer),
    (re.compile(_IN_UNIT + r"identity_conv\." + _LEAF), _unit_shortcut),
    (re.compile(r"output\.(?P<leaf>\w+)"), partial(_joined, r"fc.\g<leaf>")),
)
_PYTORCHCV = Layout(
    "pytorchcv",
    gates=(
        GateNames(_BAM, re.compile(_OF_UNIT.format("bam")), _before, PYTORCHCV_BAM_KEYS),
        GateNames(_CBAM, re.compile(_OF_UNIT.format("cbam")), _unit, PYTORCHCV_CBAM_KEYS),
    ),
    host=_PYTORCHCV_HOST,
)
_PYTORCHCV_SE = Layout(
    "pytorchcv",
    gates=(GateNames(_SE, re.compile(_OF_UNIT.format("se")), _unit, PYTORCHCV_SE_KEYS),),
    host=_PYTORCHCV_HOST,
    stride=None,
)
_TIMM = Layout(
    "timm",
    gates=(
        GateNames(_TIMM_CBAM, re.compile(_OF_BLOCK.format("se")), _block, TIMM_CBAM_KEYS),
        GateNames(_SE, re.compile(_OF_BLOCK.format("se")), _block, TIMM_SE_KEYS),
    ),
)
_TIMM_LEGACY = Layout(
    "timm's legacy_seresnet",
    gates=(GateNames(_SE, re.compile(_OF_BLOCK.format("se_module")), _block, TIMM_SE_KEYS),),
    host=(
        (re.compile(r"layer0\.(?P<rest>.+)"), partial(_joined, r"\g<rest>")),
        (re.compile(r"last_linear\.(?P<leaf>\w+)"), partial(_joined, r"fc.\g<leaf>")),
    ),
    stride="conv1",
    padded_pool=False,
    plain_blocks=False,
)

LAYOUTS = (_RELEASED, _PYTORCHCV, _PYTORCHCV_SE, _TIMM, _TIMM_LEGACY)
