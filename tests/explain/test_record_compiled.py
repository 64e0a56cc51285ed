"""`record` and `WithMaps` where compilers are at work."""

import pytest
import torch
from torch import nn

import whatwhere as ww
from whatwhere.explain import WithMaps, record


def small(gate: str) -> nn.Module:
    """One gate; compilers take long over more."""
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 16, 3), getattr(ww, gate)(16), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return nn.Sequential(nn.Sequential(*layers)).eval()


@pytest.mark.parametrize("compiled", ["whole", "in place", "a part", "wrapped", "a function"])
@pytest.mark.parametrize("gate", ["BAM", "CBAM", "SE"])
def test_a_compiled_network_is_watched_too(gate, compiled):
    model, x = small(gate), torch.randn(2, 3, 8, 8)
    with torch.no_grad(), record(model) as wanted:
        model(x)
        model(x + 1)
    torch._dynamo.reset()
    watched = called = model
    if compiled == "whole":
        watched = called = torch.compile(model, fullgraph=True, backend="aot_eager")
    elif compiled == "in place":
        model.compile(backend="eager")
    elif compiled == "a part":
        model[0] = torch.compile(model[0], backend="eager")
    elif compiled == "wrapped":
        watched = called = nn.Sequential(torch.compile(model, fullgraph=True, backend="eager"))
    else:
        called = torch.compile(lambda x: model(x), backend="eager")
    with torch.no_grad():
        called(x)
        with record(watched) as records:
            called(x)
            called(x + 1)
        called(x)
    assert [name[-3:] for name in records] == list(wanted) == ["0.1"]
    for site, other in zip(records.values(), wanted.values(), strict=True):
        assert (site.calls, site.figures["images"]) == (2, 4)
        torch.testing.assert_close(site.channels, other.channels)
        assert site.figures["sd_images"] == pytest.approx(other.figures["sd_images"], abs=1e-6)


@pytest.mark.parametrize("gate", ["BAM", "CBAM", "SE"])
def test_maps_leave_compiled_and_exported_programs_as_outputs(gate, tmp_path):
    model, x = small(gate), torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        wanted = model[0][1].maps(model[0][0](x))
        torch._dynamo.reset()
        exported = torch.export.export(WithMaps(model), (x,))
        torch.export.save(exported, tmp_path / "program.pt2")
        programs = [
            WithMaps(model),
            torch.compile(WithMaps(model), fullgraph=True, backend="aot_eager"),
            torch.export.load(tmp_path / "program.pt2").module(),
        ]
        for program in programs:
            output, maps = program(x)
            torch.testing.assert_close(output, model(x))
            assert list(maps) == ["0.1"]
            torch.testing.assert_close(maps["0.1"], wanted._asdict())
    assert model[0][1].observers == ()
