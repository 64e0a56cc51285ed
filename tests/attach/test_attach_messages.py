"""What a refusal says, word for word."""

import pytest
import torch
import torchvision
from support.awkward import Untraceable
from support.cases import HOSTS, host
from torch import nn

import whatwhere as ww

LIST = "  fix: plan(model, 'bam') lists all 2 sites"
CALLABLE = "  fix: a gate is a callable channels -> nn.Module"
RUNS = "  fix: give the input_size=(channels, height, width) it takes, or inputs=(...) as you call it"


class Halves(nn.Module):
    def __init__(self, channels):
        super().__init__()

    def forward(self, x):
        return x[:, ::2]


class Pairs(Halves):
    def forward(self, x):
        return x, x


def broken(channels):
    raise RuntimeError("no such gate here")


def broken_key(channels):
    return {64: nn.Identity}[channels]()


def any_module(channels):
    return nn.Identity()


def never(site):
    return False


def lines(model, gate="bam", call=ww.attach_, **options):
    with pytest.raises(ww.WhatwhereError) as caught:
        call(model, gate, **{"input_size": (3, 16, 24), **options})
    return str(caught.value).splitlines()


SITES = {
    "unknown": (
        "stage5",
        "attach_(Plain, 'bam', at='stage5'): no module matches 'stage5'; nothing was changed",
        "  closest: 'stage3', 'stage2', 'stage1'",
        LIST,
    ),
    "unknown-inside": (
        "stage1.9",
        "attach_(Plain, 'bam', at='stage1.9'): no module matches 'stage1.9'; nothing was changed",
        "  closest: 'stage1.2', 'stage1.1', 'stage1.0'",
        LIST,
    ),
    "regex-without-match": (
        r"layer\d",
        r"attach_(Plain, 'bam', at='layer\\d'): no module matches 'layer\\d'; nothing was changed",
        LIST,
    ),
    "bad-regex": (
        "stage(",
        "attach_(Plain, 'bam', at='stage('): 'stage(' is no regular expression: "
        "missing ), unterminated subpattern at position 5; nothing was changed",
    ),
    "one-unknown-in-a-list": (
        ["stage1", "stage22"],
        "attach_(Plain, 'bam', at=['stage1', 'stage22']): no module matches 'stage22'; nothing was changed",
        "  closest: 'stage2', 'stage3', 'stage1'",
        LIST,
    ),
    "predicate": (
        never,
        "attach_(Plain, 'bam', at=never): the predicate is true for none of 12 sites; nothing was changed",
        "  fix: plan(model, 'bam', at='.*') lists them all",
    ),
    "no-map": (
        "head",
        "attach_(Plain, 'bam', at='head'): 'head' does not give one feature map; nothing was changed",
    ),
    "no-residual": (
        "blocks",
        "attach_(Plain, 'bam', at='blocks'): no residual branch is added to a shortcut in this network,"
        " as far as its forward shows; nothing was changed",
        "  got: places it has: bottlenecks (2), stages (3), transitions (4)",
        "  fix: name modules instead: at=[...] or a regular expression",
    ),
}


@pytest.mark.parametrize("kind", SITES)
def test_places(kind):
    at, *expected = SITES[kind]
    assert lines(host("plain"), at=at) == expected


def test_an_empty_list():
    assert lines(host("plain"), at=[])[0].startswith("attach_(Plain, 'bam', at=[]): ")


@pytest.mark.parametrize("at", ["mix", ["mix"]], ids=["regex", "list"])
def test_a_module_called_twice(at):
    first, *_ = lines(host("shared-module"), at=at)
    assert first == (
        f"attach_(SharedModule, 'bam', at={at!r}): 'mix' is called 2 times in one forward,"
        " and a gate there would act every time; nothing was changed"
    )


def test_a_module_that_is_there_and_never_called():
    assert lines(host("indexed"), at="stage2")[0] == (
        "attach_(Indexed, 'bam', at='stage2'): 'stage2' is never called in this forward; nothing was changed"
    )


def test_a_part_called_gate():
    assert lines(host("named-gate")) == [
        "attach_(NamedGate, 'bam', at='bottlenecks'): the wrapper around 'stage2' would hide its own 'host';"
        " nothing was changed",
        "  fix: exclude 'stage2', or name a module inside or around it",
    ]


def test_everything_excluded():
    assert lines(host("plain"), exclude=".*") == [
        "attach_(Plain, 'bam', at='bottlenecks'): exclude='.*' leaves none of the 2 sites; nothing was changed",
        "  got: stage1.2, stage2.2",
    ]


def test_exclude_that_is_no_regex():
    assert lines(host("plain"), exclude="stage(")[0] == (
        "attach_(Plain, 'bam', at='bottlenecks'): 'stage(' is no regular expression: "
        "missing ), unterminated subpattern at position 5; nothing was changed"
    )


def test_exclude_with_an_unknown_name():
    assert lines(host("plain"), exclude=["stage1.2", "stage22"])[0].startswith(
        "attach_(Plain, 'bam', at='bottlenecks'): "
    )


GATES = {
    "unknown": (
        "bamm",
        "gate 'bamm': there is no gate 'bamm'",
        "  closest: 'bam', 'cbam'",
        "  fix: use one of se, bam, cbam, channel, spatial, or give any callable channels -> nn.Module",
    ),
    "unknown-option": (
        "bam:reductio=8",
        "gate 'bam:reductio=8': bam has no option 'reductio'",
        "  closest: 'reduction', 'dilation'",
        "  fix: write name:option=value:option=value",
    ),
    "option-without-value": (
        "bam:reduction",
        "gate 'bam:reduction': 'reduction' sets nothing",
        "  fix: write name:option=value:option=value",
    ),
    "bad-value": ("bam:reduction=0", "BAM(16, reduction=0): reduction must be a whole number of at least 1"),
    "other-shape": (
        Halves,
        "attach_(Plain, Halves, at='bottlenecks'): a gate must give a map of the shape it takes; nothing was changed",
        "  got: (2, 8, 16, 24) from (2, 16, 16, 24)",
    ),
    "no-tensor": (
        Pairs,
        "attach_(Plain, Pairs, at='bottlenecks'): a gate must give a map of the shape it takes; nothing was changed",
        "  got: tuple from (2, 16, 16, 24)",
    ),
    "raises": (
        broken,
        "attach_(Plain, broken, at='bottlenecks'): the gate cannot be built for, or run on, the map at 'stage1.2';"
        " nothing was changed",
        "  got: shape (2, 16, 16, 24); RuntimeError: no such gate here",
        CALLABLE,
    ),
    "raises-key-error": (
        broken_key,
        "attach_(Plain, broken_key, at='bottlenecks'): the gate cannot be built for, or run on, the map at 'stage1.2';"
        " nothing was changed",
        "  got: shape (2, 16, 16, 24); KeyError: 16",
        CALLABLE,
    ),
    "instance": (
        ww.BAM(16),
        "attach_(Plain, BAM(...)): a gate is a name, or a callable channels -> nn.Module; nothing was changed",
        "  got: an instance of BAM",
        "  fix: give the class, or functools.partial of it: each site gets a gate of its own",
    ),
    "none": (
        None,
        "attach_(Plain, None): a gate is a name, or a callable channels -> nn.Module; nothing was changed",
        "  got: NoneType",
        "  fix: give the class, or functools.partial of it: each site gets a gate of its own",
    ),
}


@pytest.mark.parametrize("kind", GATES)
def test_gates(kind):
    gate, *expected = GATES[kind]
    assert lines(host("plain"), gate) == expected


def test_a_foreign_instance_is_named_on_one_line():
    first, *rest = lines(host("plain"), nn.Sequential(nn.Conv2d(16, 16, 1)))
    assert first.endswith("; nothing was changed")
    assert [line[:6] for line in rest] == ["  got:", "  fix:"]


@pytest.mark.parametrize("gate", ["bam", any_module], ids=["named", "any-module"])
def test_an_unknown_start(gate):
    first, *rest = lines(host("plain"), gate, start="identiy")
    assert "start='identiy'): start must be one of 'preset', 'identity'" in first
    assert rest[0] == "  closest: 'identity'"


INPUTS = {
    "channels": (
        (1, 16, 24),
        "  got: inputs (2, 1, 16, 24); RuntimeError: Given groups=1, weight of size [16, 3, 3, 3], "
        "expected input[2, 1, 16, 24] to have 3 channels, but got 1 channels instead",
    ),
}


@pytest.mark.parametrize("kind", INPUTS)
def test_inputs_it_does_not_take(kind):
    size, got = INPUTS[kind]
    assert lines(host("plain"), call=ww.plan, input_size=size) == [
        "plan(Plain, 'bam', at='bottlenecks'): the network does not run on this input; nothing was changed",
        got,
        RUNS,
    ]


@pytest.mark.parametrize("size", [(1, 3, 16, 24), (16, 24), 24, (3, -1, 24), (3, 16.0, 24)], ids=str)
def test_sizes_that_are_none(size):
    assert lines(host("plain"), input_size=size) == [
        "attach_(Plain, 'bam', at='bottlenecks'): input_size is (channels, height, width), all positive whole numbers;"
        " nothing was changed",
        f"  got: input_size={size}",
        "  fix: leave the batch out: input_size=(3, 224, 224)",
    ]


def test_inputs_without_a_map():
    assert lines(host("plain"), call=ww.plan, input_size=None, inputs=(torch.zeros(2, 3),)) == [
        "plan(Plain, 'bam', at='bottlenecks'): no input is a map (batch, channels, size, ...); nothing was changed"
    ]


def test_no_convolution():
    assert lines(nn.Sequential(nn.Linear(24, 4)), call=ww.plan, input_size=None) == [
        "plan(Sequential, 'bam', at='bottlenecks'): the network has no convolution, so there is nothing to size an"
        " input by",
        "  fix: give input_size=(channels, height, width)",
    ]
    assert lines(nn.Sequential(nn.Linear(24, 4))) == [
        "attach_(Sequential, 'bam', at='bottlenecks'): no map is downsampled after the stem in this network,"
        " as far as its forward shows; nothing was changed",
        "  got: places it has: none",
        "  fix: name modules instead: at=[...] or a regular expression",
    ]


class Chosen(nn.Module):
    """Looks at its input before its first convolution."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)

    def forward(self, x):
        return self.conv(x) if x.sum() > 0 else x


def test_a_forward_that_depends_on_values():
    assert lines(Untraceable(), call=ww.plan) == [
        "plan(Untraceable, 'bam', at='bottlenecks'): no map is downsampled after the stem in this network,"
        " as far as its forward shows; nothing was changed",
        "  got: places it has: none; seen until Untraceable depends on values",
        "  fix: name modules instead: at=[...] or a regular expression",
    ]


def test_a_forward_that_depends_on_values_before_its_first_convolution():
    first, got, *fix = lines(Chosen(), call=ww.plan)
    assert first.startswith("plan(Chosen")
    assert first.endswith("the network's forward depends on the values of its tensors; nothing was changed")
    assert got == "  got: aten._local_scalar_dense.default, and only shapes are known while planning"
    assert fix == ["  fix: attach to the part of the network that does not"]


@pytest.mark.parametrize("name", ["vit_b_16", "swin_t"])
def test_attention_networks(name):
    with torch.device("meta"):
        model = torchvision.models.get_model(name)
    assert lines(model, input_size=(3, 224, 224)) == [
        f"attach_({type(model).__name__}, 'bam', at='bottlenecks'): no map is downsampled after the stem in this"
        " network, as far as its forward shows; nothing was changed",
        "  got: places it has: none",
        "  fix: name modules instead: at=[...] or a regular expression",
    ]


@pytest.mark.parametrize("kind", ["at", "input", "carried"])
@pytest.mark.parametrize("call", [ww.plan, ww.attach_], ids=["plan", "attach_"])
def test_the_first_line_names_the_call_that_was_made(call, kind):
    model = HOSTS["plain"].build()
    if kind == "carried":
        ww.attach_(model, "bam", input_size=(3, 16, 24))
    options = {"at": {"at": "stage9"}, "input": {"input_size": (1, 16, 24)}, "carried": {}}[kind]
    assert lines(model, call=call, **options)[0].startswith(f"{call.__name__}(Plain")
