"""The contract that every gate keeps, whatever it computes: ``check_gate(make, channels)`` or the parts in ``CHECKS``.

``make(channels, **more)`` builds the gate; ``more`` is ``start``, ``device`` or ``dtype``. Checks that look at values
first give the gate random weights and statistics, because a gate may start as a constant.
"""

import copy
import json
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from whatwhere.errors import GateError

__all__ = ["CHECKS", "Make", "bits", "channels_last", "check_gate", "images", "randomise_", "sizes"]

Make = Callable[..., nn.Module]

# How far a gate in this precision may be from the same gate in float64, on inputs and outputs of about 1.
PRECISIONS = {torch.float64: 1e-12, torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}
BITS = {torch.float64: torch.int64, torch.float32: torch.int32, torch.float16: torch.int16, torch.bfloat16: torch.int16}


def bits(x: Tensor) -> Tensor:
    """The raw bits as integers, so that -0.0 is not 0.0."""
    return x.detach().contiguous().view(BITS[x.dtype])


def sizes(dims: int) -> dict[str, tuple[int, ...]]:
    """Map sizes that catch square, even and large-map assumptions."""
    return {"oblong": (5, 8, 3)[:dims], "tall": (9, 4, 2)[:dims], "odd": (7, 3, 5)[:dims], "one": (1, 1, 1)[:dims]}


def images(gate: nn.Module, batch: int = 2, size: str = "oblong", dtype: torch.dtype = torch.float32) -> Tensor:
    """A seeded batch that fits the gate."""
    draw = torch.Generator().manual_seed(batch)
    shape = (batch, gate.channels, *sizes(gate.spatial_dims)[size])
    return torch.randn(shape, generator=draw, dtype=torch.float64).to(dtype)


def channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format={4: torch.channels_last, 5: torch.channels_last_3d}[x.ndim])


@torch.no_grad()
def randomise_(gate: nn.Module, seed: int = 0) -> nn.Module:
    """Random weights of a size that keeps the logits near 1, biases, norms and running statistics."""
    draw = torch.Generator().manual_seed(seed)
    for module in gate.modules():
        for name, value in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
            if not value.is_floating_point():
                continue
            noise = torch.randn(value.shape, generator=draw, dtype=torch.float64)
            if value.ndim > 1:
                noise = noise / value[0].numel() ** 0.5
            elif name == "running_var":
                noise = 0.5 + noise.abs()
            else:
                noise = 0.3 * noise + (name == "weight")
            value.copy_(noise)
    return gate


def _eval(make: Make, channels: int, dtype: torch.dtype = torch.float32) -> nn.Module:
    return randomise_(make(channels, dtype=dtype)).eval()


def shapes(make: Make, channels: int) -> None:
    gate = _eval(make, channels)
    for train in (False, True):
        for size in sizes(gate.spatial_dims):
            for batch in (2, 3):
                x = images(gate, batch, size)
                out = gate.train(train)(x)
                assert out.shape == x.shape, (size, batch, train)
                assert out.isfinite().all(), (size, batch, train)


def batch_of_one(make: Make, channels: int) -> None:
    gate = _eval(make, channels)
    for size in sizes(gate.spatial_dims):
        x = images(gate, 1, size)
        out = gate.eval()(x)
        assert out.shape == x.shape
        torch.testing.assert_close(out, gate(torch.cat([x, x + 1]))[:1])
        try:
            assert gate.train()(x).isfinite().all()
        except GateError as error:
            assert "in training, batch norm needs more than one value per channel" in str(error).splitlines()[0]  # noqa: PT017


def few_channels(make: Make, channels: int) -> None:
    built = 0
    for few in (1, 2, 3, 17):
        try:
            gate = _eval(make, few)
        except GateError as error:
            assert str(error).count("\n") >= 1, "a refusal says what was got and what to do"  # noqa: PT017
            continue
        built += 1
        x = images(gate)
        assert gate(x).shape == x.shape
        assert gate.train()(x).isfinite().all()
    assert built, "at least one of these widths must work"


def precisions(make: Make, channels: int) -> None:
    exact = _eval(make, channels, torch.float64)
    x = images(exact, dtype=torch.float64)
    wanted = exact(x)
    for dtype, tolerance in PRECISIONS.items():
        gate = make(channels, dtype=dtype).eval()
        assert {value.dtype for value in gate.parameters()} == {dtype}
        gate.load_state_dict(exact.state_dict())
        out = gate(x.to(dtype))
        assert out.dtype == dtype
        torch.testing.assert_close(out.double(), wanted, atol=tolerance, rtol=tolerance)


def memory_format(make: Make, channels: int) -> None:
    gate = _eval(make, channels)
    x = images(gate)
    for batch in (x, x.flip(0)):
        assert gate(batch).is_contiguous()
    if gate.spatial_dims > 1:
        form = {2: torch.channels_last, 3: torch.channels_last_3d}[gate.spatial_dims]
        out = gate(channels_last(x))
        assert out.is_contiguous(memory_format=form)
        assert not out.is_contiguous()
        torch.testing.assert_close(out.contiguous(), gate(x))


def strides(make: Make, channels: int) -> None:
    """A map that is a view of another one gives what its copy gives."""
    gate = _eval(make, channels)
    x = images(gate)
    wide = torch.stack([x, x + 1], dim=-1)
    torch.testing.assert_close(gate(wide[..., 0]), gate(x))
    torch.testing.assert_close(gate(x.transpose(0, 1).contiguous().transpose(0, 1)), gate(x))


def input_untouched(make: Make, channels: int) -> None:
    gate = _eval(make, channels)
    x = images(gate)
    before = x.clone()
    gate.train()(x)
    gate.maps(x)
    assert torch.equal(bits(x), bits(before))


def maps(make: Make, channels: int) -> None:
    gate = _eval(make, channels)
    x = images(gate)
    ones = (1,) * gate.spatial_dims
    found = gate.maps(x)
    assert found.channel is not None or found.spatial is not None
    if found.channel is not None:
        assert found.channel.shape == (2, channels, *ones)
    if found.spatial is not None:
        assert found.spatial.shape in {(2, 1, *x.shape[2:]), x.shape}
    assert torch.broadcast_shapes(found.factor.shape, x.shape) == x.shape
    assert ((found.factor > 0) & (found.factor < 2)).all()
    torch.testing.assert_close(gate(x), x * found.factor)


def positions_matter(make: Make, channels: int) -> None:
    """Every position moves the channel map, and its own value in the spatial map."""
    gate = _eval(make, channels, torch.float64)
    x = images(gate, 1, dtype=torch.float64)
    before = gate.maps(x)
    directions = torch.randn(8, channels, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for position in torch.ones_like(x[0, 0]).nonzero().tolist():
        at = (0, slice(None), *position)
        after = []
        for direction in directions:
            other = x.clone()
            other[at] += 10 * direction
            after.append(gate.maps(other))
        if before.channel is not None:
            moves = [(new.channel - before.channel).abs().max() for new in after]
            assert max(moves) > 1e-6, f"position {position} does not reach the channel map"
        if before.spatial is not None:
            moves = [(new.spatial - before.spatial)[at].abs().max() for new in after]
            assert max(moves) > 1e-6, f"position {position} does not reach its own value in the spatial map"


def samples_apart(make: Make, channels: int) -> None:
    """In eval mode no image sees another."""
    gate = _eval(make, channels, torch.float64)
    x = images(gate, 3, dtype=torch.float64)
    together = gate(x)
    for i in range(3):
        torch.testing.assert_close(gate(x[i : i + 1]), together[i : i + 1])


def state_dict(make: Make, channels: int) -> None:
    gate = _eval(make, channels)
    other = make(channels).eval()
    other.load_state_dict(gate.state_dict(), strict=True)
    x = images(gate)
    assert torch.equal(other(x), gate(x))


def rebuilt(make: Make, channels: int) -> None:
    for start in ("preset", "identity"):
        gate = make(channels, start=start)
        config = gate.config()
        from_config = type(gate)(**json.loads(json.dumps(config)))
        from_repr = eval(repr(gate), {type(gate).__name__: type(gate)})
        for other in (from_config, from_repr):
            assert type(other) is type(gate)
            assert other.config() == config
            assert repr(other) == repr(gate)
            other.load_state_dict(gate.state_dict(), strict=True)
            x = images(gate)
            assert torch.equal(other.eval()(x), gate.eval()(x))


def copies(make: Make, channels: int) -> None:
    gate = _eval(make, channels)
    x = images(gate)
    for other in (copy.deepcopy(gate), pickle.loads(pickle.dumps(gate))):
        assert torch.equal(other(x), gate(x))
        assert other.config() == gate.config()
        assert not {id(p) for p in other.parameters()} & {id(p) for p in gate.parameters()}


def meta(make: Make, channels: int) -> None:
    gate = make(channels, device="meta")
    x = images(gate).to("meta")
    out = gate(x)
    assert out.device.type == "meta"
    assert out.shape == x.shape
    assert all(value.is_meta for value in gate.state_dict().values())


def identity(make: Make, channels: int) -> None:
    for dtype in PRECISIONS:
        gate = randomise_(make(channels, start="identity", dtype=dtype))
        with torch.no_grad():
            gate.strength.zero_()
        x = images(gate, dtype=dtype)
        x[0, 0] = -0.0
        for train in (True, False):
            assert torch.equal(bits(gate.train(train)(x)), bits(x)), (dtype, train)
    gate = make(channels, start="identity")
    assert gate.strength.shape == ()
    assert gate.strength.item() == 0.0
    assert isinstance(gate.strength, nn.Parameter)


def identity_learns(make: Make, channels: int) -> None:
    """The first step moves the strength alone, the next ones everything else."""
    gate = make(channels, start="identity")
    x = images(gate, 4)
    target = x * torch.linspace(0, 2, channels).reshape(-1, *[1] * gate.spatial_dims)
    optimiser = torch.optim.SGD(gate.parameters(), lr=0.5)
    first = {name: value.detach().clone() for name, value in gate.named_parameters()}
    still = []
    for _ in range(4):
        optimiser.zero_grad()
        ((gate(x) - target) * x).square().mean().backward()
        assert all(value.grad is not None for value in gate.parameters())
        optimiser.step()
        still.append({name for name, value in gate.named_parameters() if torch.equal(value, first[name])})
    assert still[0] == set(first) - {"strength"}
    assert len(still[1]) < len(still[0])
    assert not {name for name in still[3] if first[name].ndim > 1}


def strength_is_the_gate(make: Make, channels: int) -> None:
    gate = randomise_(make(channels, start="identity")).eval()
    x = images(gate)
    for strength in (0.25, 1.0):
        with torch.no_grad():
            gate.strength.fill_(strength)
        torch.testing.assert_close(gate(x), x * (1 + strength * (gate.maps(x).factor - 1)))


def gradients(make: Make, channels: int) -> None:
    """Numerical differentiation agrees, for the input and every parameter, in training and in eval mode."""
    for start in ("preset", "identity"):
        gate = randomise_(make(channels, start=start, dtype=torch.float64))
        names, values = zip(*gate.named_parameters(), strict=True)
        x = images(gate, 2, "odd", torch.float64)[..., :2].clone().requires_grad_()
        for train in (True, False):
            gate.train(train)

            def run(x: Tensor, *values: Tensor, gate: nn.Module = gate, names: tuple[str, ...] = names) -> Tensor:
                return torch.func.functional_call(gate, dict(zip(names, values, strict=True)), (x,))

            assert torch.autograd.gradcheck(run, (x, *values), fast_mode=True), (start, train)


def wrong_inputs(make: Make, channels: int) -> None:
    gate = make(channels).eval()
    x, name = images(gate), type(gate).__name__
    with pytest.raises(GateError) as found:
        gate(torch.cat([x, x], dim=1))
    first = f"{name}({channels}): the input has {2 * channels} channels, not {channels}"
    assert str(found.value).splitlines()[0] == first
    for wrong in (x[0], x[..., None]):
        with pytest.raises(GateError) as found:
            gate(wrong)
        first = f"{name}({channels}): the input has {wrong.ndim} dimensions, not {x.ndim}"
        assert str(found.value).splitlines()[0] == first


CHECKS: tuple[Callable[[Make, int], None], ...] = (
    shapes,
    batch_of_one,
    few_channels,
    precisions,
    memory_format,
    strides,
    input_untouched,
    maps,
    positions_matter,
    samples_apart,
    state_dict,
    rebuilt,
    copies,
    meta,
    identity,
    identity_learns,
    strength_is_the_gate,
    gradients,
    wrong_inputs,
)


def check_gate(make: Make, channels: int) -> None:
    """Hold a gate to the whole contract."""
    for check in CHECKS:
        torch.manual_seed(0)
        check(make, channels)
