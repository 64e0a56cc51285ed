"""`record`: what gates did, exactly, in constant memory and without a trace."""

import copy
import io
import pickle
import warnings

import pytest
import torch
from support.explain_cases import OtherGate, gated, images
from torch import nn

import whatwhere as ww
from whatwhere.attach.gated import gated_modules
from whatwhere.errors import AttachError
from whatwhere.explain import WithMaps, record
from whatwhere.explain.recording import Record, SiteRecord

GATES = {
    "bam": "bam",
    "bam_max": "bam:combine=max",
    "bam_channels": "bam:final_norm=channels",
    "bam_spatial": "bam:branches=spatial",
    "cbam": "cbam",
    "cbam_spatial": "cbam:branches=spatial",
    "se": "se",
}


def looked_at(model: nn.Module, x: torch.Tensor) -> dict[str, tuple[torch.Tensor, ww.Maps]]:
    """What each gate read, and its maps, by the gate's own word."""
    found = {}
    handles = [
        one.gate.register_forward_hook(
            lambda gate, inputs, output, name=name: found.update({name: (inputs[0], gate.maps(inputs[0]))})
        )
        for name, one in gated_modules(model).items()
    ]
    with torch.no_grad():
        model(x)
    for handle in handles:
        handle.remove()
    return found


@pytest.mark.parametrize("gate", GATES.values(), ids=GATES)
def test_it_holds_what_the_gates_computed(gate):
    model, x = gated(gate), images(5)
    with torch.no_grad(), record(model) as records:
        model(x)
    for name, (read, maps) in looked_at(model, x).items():
        site = records[name]
        for kept, wanted in ((site.channel, maps.channel), (site.spatial, maps.spatial), (site.factor, maps.factor)):
            assert (kept is None) == (wanted is None)
            assert kept is None or torch.equal(kept, wanted)
        whole = maps.factor.expand_as(read)
        assert site.shape == read.shape
        assert site.size == read.shape[2:]
        if maps.spatial is not None:
            torch.testing.assert_close(site.positions, whole.mean(1))
        if maps.channel is not None:
            torch.testing.assert_close(site.channels, whole.mean((2, 3)))
    assert list(records) == list(gated_modules(model))


def test_what_a_gate_does_not_weigh_is_none():
    with record(gated("se")) as channels_alone, record(gated("cbam:branches=spatial")) as nothing_ran:
        pass
    model, x = gated("se"), images(2)
    with record(model) as channels_alone:
        model(x)
    site = next(iter(channels_alone.values()))
    assert site.positions is None
    assert site.channels is not None
    model = gated("cbam:branches=spatial")
    with record(model) as positions_alone:
        model(x)
    site = next(iter(positions_alone.values()))
    assert site.positions is not None
    assert site.channels is None
    assert next(iter(nothing_ran.values())).factor is None


def directly(factors: list[torch.Tensor], low: float, high: float) -> dict[str, float]:
    """The figures of all images at once, from whole factors (B, C, H, W) in float64."""
    whole = torch.cat(factors).double()
    flat, edge = whole.flatten(1), 0.05 * (high - low)
    weights = whole.mean(1).flatten(1) - low
    weights = weights / weights.sum(1, keepdim=True)
    spaced = whole.flatten(2)[:, :: -(-whole.shape[1] // 128), :: -(-whole[0, 0].numel() // 100)]
    entropy = -(weights * weights.clamp(min=1e-300).log()).sum(1) / torch.tensor(float(weights.shape[1])).log()
    return {
        "mean": float(flat.mean()),
        "sd": float(flat.std(correction=0)),
        "low": float(flat.min()),
        "high": float(flat.max()),
        "sd_within": float(flat.var(1, correction=0).mean().sqrt()),
        "saturated_low": float((spaced < low + edge).double().mean()),
        "saturated_high": float((spaced > high - edge).double().mean()),
        "sd_images": float(spaced.var(0, correction=0).mean().sqrt()),
        "entropy": float(entropy.mean()),
        "dead": float((whole.mean((2, 3)).amax(0) < low + edge).double().mean()),
    }


@pytest.mark.parametrize(("gate", "span"), [("bam", (1, 2)), ("bam:combine=product", (1, 2)), ("cbam", (0, 1))])
def test_batches_add_up_to_the_statistics_of_all_images(gate, span):
    model, batches = gated(gate), [images(3, 1), images(1, 2), images(4, 3)]
    for module in model.modules():  # far from the middle, so that ends are reached
        if isinstance(module, ww.Gate):
            for weight in module.parameters():
                weight.data *= 4
    wanted = [looked_at(model, x) for x in batches]
    with torch.no_grad(), record(model) as records:
        for x in batches:
            model(x)
    for name, site in records.items():
        factors = [found[name][1].factor.expand_as(found[name][0]) for found in wanted]
        figures = dict(site.figures)
        for key, value in directly(factors, *span).items():
            assert figures[key] == pytest.approx(value, abs=1e-6), key
        assert figures["images"] == 8
        assert site.calls == 3
        assert site.factor is not None
        assert len(site.factor) == 4  # of the last batch alone


def test_a_constant_gate_has_no_spread_and_an_even_map():
    model = gated("bam")
    for one in gated_modules(model).values():
        for weight in one.gate.parameters():
            weight.data.zero_()
    with record(model) as records:
        model(images(6))
    for site in records.values():
        assert site.figures["sd"] == site.figures["sd_images"] == site.figures["sd_within"] == 0
        assert site.figures["mean"] == 1.5
        assert site.figures["entropy"] == pytest.approx(1)


def test_the_strength_is_in_what_positions_and_channels_were_multiplied_by():
    model = gated("cbam", start="identity")
    x = images(2)
    with record(model) as records:
        model(x)
    for site in records.values():
        assert site.strength == 0
        assert torch.equal(site.positions, torch.ones_like(site.positions))
        assert float(site.factor.max()) < 1
    next(iter(gated_modules(model).values())).gate.strength.data.fill_(0.5)
    with record(model) as records:
        model(x)
    site = next(iter(records.values()))
    torch.testing.assert_close(site.channels, 1 + 0.5 * (site.factor.mean((2, 3)) - 1))


def test_the_network_computes_what_it_computes_and_learns_what_it_learns():
    x, plain, watched = images(4), gated("bam").train(), gated("bam").train()
    plain(x).square().sum().backward()
    with record(watched, feature_maps=True) as records:
        out = watched(x)
        out.square().sum().backward()
    assert torch.equal(out, gated("bam").train()(x))
    assert watched.training
    for (name, one), other in zip(watched.named_parameters(), plain.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad), name
    assert all(torch.equal(a, b) for a, b in zip(watched.buffers(), plain.buffers(), strict=True))
    for site in records.values():
        kept = [site.channel, site.spatial, site.factor, site.positions, site.channels, site.before, site.after]
        assert not any(tensor.requires_grad for tensor in kept)


def traces(model: nn.Module) -> list[tuple[object, ...]]:
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return [(*(len(getattr(m, hook)) for hook in hooks), m.training, sorted(vars(m))) for m in model.modules()]


@pytest.mark.parametrize("gate", ["bam", OtherGate], ids=["own", "other"])
def test_no_trace_is_left_and_the_users_exception_passes(gate):
    model = gated(gate, at="blocks")
    before, state = traces(model), torch.get_rng_state()
    users = model.fc.register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError), record(model, feature_maps=True):
        model(images(2))
    users.remove()
    assert traces(model) == before
    assert all(m.observers == () for m in model.modules() if isinstance(m, ww.Gate))
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(RuntimeError), record(model):
        model(torch.zeros(2, 4, 32, 32))  # of other channels: the host raises
    assert traces(model) == before


def test_a_network_copied_or_pickled_while_it_is_watched_is_not_watched():
    model = gated("cbam")
    with record(model) as records:
        copied = copy.deepcopy(model)
        buffer = io.BytesIO()
        pickle.dump(model, buffer)
        other = pickle.loads(buffer.getvalue())
        copied(images(1))
        other(images(1))
    assert [site.calls for site in records.values()] == [0, 0, 0]


def test_blocks_inside_one_another_see_all_their_forwards():
    model = gated("cbam")
    with record(model) as outer:
        model(images(1))
        with record(model) as inner:
            model(images(2))
        WithMaps(model)(images(3))
    assert next(iter(outer.values())).figures["images"] == 6
    assert next(iter(inner.values())).figures["images"] == 2


def test_blocks_that_end_out_of_order_leave_no_trace():
    model = gated("bam")
    first, second = Record(model), Record(model)
    one, other = first.watch(), second.watch()
    one.__enter__()
    other.__enter__()
    one.__exit__(None, None, None)
    model(images(1))
    other.__exit__(None, None, None)
    assert all(gate.observers == () for gate in model.modules() if isinstance(gate, ww.Gate))
    assert [next(iter(seen.values())).calls for seen in (first, second)] == [0, 1]


@pytest.mark.parametrize("gate", ["bam", "cbam", "se", OtherGate], ids=["bam", "cbam", "se", "other"])
def test_a_batch_of_nothing_passes(gate):
    model = gated(gate, at="blocks")
    with record(model) as records:
        assert model(images(0)).shape == (0, 10)
        model(images(2))
    assert all(site.figures["images"] == 2 for site in records.values())


def tensors_in(site: SiteRecord) -> int:
    """Numbers that a record holds on to, wherever they are."""
    seen, waiting, total = set(), [vars(site)], 0
    while waiting:
        thing = waiting.pop()
        if isinstance(thing, nn.Module) or id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, torch.Tensor):
            total += thing.untyped_storage().nbytes() // thing.element_size()
        elif isinstance(thing, dict):
            waiting += thing.values()
        elif isinstance(thing, list | tuple):
            waiting += thing
        elif hasattr(thing, "__dict__"):
            waiting.append(vars(thing))
    return total


@pytest.mark.parametrize("gate", ["bam", "cbam"])
def test_no_whole_map_is_kept_unless_asked_for_and_nothing_grows(gate):
    model = gated(gate)
    with torch.no_grad(), record(model) as records:
        model(images(64))
        held = {name: tensors_in(site) for name, site in records.items()}
        model(images(64, 1))
        model(images(64, 2))
    for name, site in records.items():
        batch, channels, height, width = site.shape
        small = 4 * batch * (channels + height * width) + 128 * 100 + 4 * channels + 100
        assert tensors_in(site) == held[name] <= small < batch * channels * height * width
    with torch.no_grad(), record(model, feature_maps=True) as records:
        model(images(64))
    assert all(tensors_in(site) > 2 * torch.Size(site.shape).numel() for site in records.values())


def test_maps_are_what_the_gate_read_and_gave():
    model, x = gated("cbam"), images(2)
    with torch.no_grad(), record(model, feature_maps=True) as records:
        model(x)
    for name, (read, maps) in looked_at(model, x).items():
        assert torch.equal(records[name].before, read)
        torch.testing.assert_close(records[name].after, read * maps.factor)


def test_gates_of_other_libraries_show_what_they_do():
    model, x = gated(OtherGate, at="blocks"), images(3)
    with torch.no_grad(), record(model, feature_maps=True) as records:
        model(x)
    for name, site in records.items():
        assert site.gate == "OtherGate()"
        assert (site.channel, site.spatial, site.factor) == (None, None, None)
        gate = gated_modules(model)[name].gate
        factor = (gate.weight[:, None, None] * site.before.mean((2, 3), keepdim=True)).sigmoid().flatten(1)
        torch.testing.assert_close(site.channels, factor.detach())
        size = [t.square().mean(1).sqrt() for t in (site.after, site.before)]
        torch.testing.assert_close(site.positions, size[0] / size[1])
        assert site.figures == {"images": 3}


def test_gates_put_in_by_hand_go_by_their_own_names():
    model = nn.Sequential(nn.Conv2d(3, 16, 3), ww.BAM(16), nn.Conv2d(16, 32, 3), ww.CBAM(32)).eval()
    with record(model) as records:
        model(images(2))
    assert list(records) == ["1", "3"]
    gate = ww.SE(8).eval()
    with record(gate) as records:
        gate(torch.randn(1, 8, 4, 4))
    assert records["se"].calls == 1


def test_a_gate_that_is_switched_off_did_nothing():
    model = gated("bam")
    with record(model) as records, ww.disabled(model):
        model(images(2))
    assert [(site.calls, site.channels) for site in records.values()] == [(0, None), (0, None)]
    assert str(records).splitlines()[1].split() == ["layer1.0", "BAM(16)", "0", "–", "–", "–"]


def test_maps_of_several_sizes_have_no_spread_between_images():
    gate = ww.BAM(16).eval()
    with torch.no_grad(), record(gate) as records:
        gate(torch.randn(2, 16, 8, 8))
        gate(torch.randn(2, 16, 5, 7))
    assert records["bam"].figures["sd_images"] is None
    assert records["bam"].figures["sd_within"] is not None
    assert records["bam"].positions.shape == (2, 5, 7)


@pytest.mark.parametrize("dims", [1, 3])
def test_maps_of_one_and_three_dimensions(dims):
    gate = ww.CBAM(16, spatial_dims=dims).eval()
    size = (5, 4, 3)[:dims]
    with record(gate) as records:
        gate(torch.randn(2, 16, *size))
    assert records["cbam"].positions.shape == (2, *size)


def test_labels_tell_how_far_channels_belong_to_classes():
    gate = ww.SE(16).eval()
    labels = torch.arange(40) % 4
    drawn = torch.Generator().manual_seed(0)
    noise = torch.randn(40, 16, 3, 3, generator=drawn)
    apart = 0.01 * noise + 3 * torch.randn(4, 16, 1, 1, generator=drawn)[labels]
    shares = []
    for x in (apart, noise):
        with torch.no_grad(), record(gate) as records:
            for part, marks in zip(x.split(10), labels.split(10), strict=True):
                records.labels = marks
                gate(part)
        shares.append(records["se"].figures["classes"])
    assert shares[0] > 0.99
    assert shares[1] < 0.15


def test_gradients_flow_through_the_maps_that_are_outputs():
    model = gated("cbam")
    _, maps = WithMaps(model, sites="layer2.0.bn2")(images(2))
    assert list(maps) == ["layer2.0.bn2"]
    maps["layer2.0.bn2"]["spatial"].sum().backward()
    assert model.conv1.weight.grad.abs().sum() > 0


def test_messages(recwarn):
    warnings.simplefilter("error")
    with pytest.raises(AttachError) as error, record(gated(None)):
        pass
    assert str(error.value) == (
        "record(ResNet): the network carries no gates\n  fix: attach_(model, 'bam') puts some in"
    )
    with pytest.raises(AttachError) as error, record(gated("bam"), sites=["layer1.0", "layer2.1"]):
        pass
    assert str(error.value) == (
        "record(ResNet): there is no gate at 'layer2.1'\n"
        "  closest: 'layer2.0', 'layer1.0'\n"
        "  fix: one of 'layer1.0', 'layer2.0'"
    )
    with record(gated("bam")) as records:
        pass
    with pytest.raises(AttachError, match=r"^record\['layer9'\]: there is no gate at 'layer9'"):
        records["layer9"]
    with pytest.raises(AttachError) as error:
        WithMaps(gated(OtherGate, at="blocks"))
    assert str(error.value) == (
        "WithMaps(ResNet): gates of other libraries show no maps\n  fix: record(model) shows their effect"
    )
