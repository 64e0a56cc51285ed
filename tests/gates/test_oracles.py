"""The oracles themselves: worked by hand where a number can be, and against the second, separate NumPy version."""

import numpy as np
import pytest
from support import oracles, released

MAP = np.array([[[[1.0, 2.0, 3.0], [4.0, 5.0, 9.0]]]])


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [("avg", 4.0), ("max", 9.0), ("lp", 136**0.5), ("lse", np.log(np.exp([1, 2, 3, 4, 5, 9]).sum()))],
)
def test_pools_by_hand(kind: str, wanted: float) -> None:
    assert oracles.pool_positions(MAP, kind).item() == pytest.approx(wanted, rel=1e-14)


def test_convolution_by_hand() -> None:
    w = np.zeros((1, 1, 3, 3))
    w[0, 0, 0, 1], w[0, 0, 1, 2] = 10, 1  # ten times the value above, once the value to the right
    wanted = [[2, 3, 0], [5 + 10, 9 + 20, 0 + 30]]
    np.testing.assert_array_equal(oracles.conv(MAP, w)[0, 0], wanted)
    wanted = [[3, 0, 0], [9, 0, 0]]  # two apart: nothing is above
    np.testing.assert_array_equal(oracles.conv(MAP, w, np.array([0.5]), dilation=2)[0, 0], np.add(wanted, 0.5))


def test_norms_by_hand() -> None:
    x = np.array([[1.0, 10.0], [3.0, 10.0]])
    n = {"gamma": np.array([2.0, 1.0]), "beta": np.array([0.5, -1.0]), "mean": np.zeros(2), "var": np.ones(2)}
    unit = 1 / np.sqrt(1 + 1e-5)
    np.testing.assert_allclose(oracles.batch_norm(x, n, True), [[0.5 - 2 * unit, -1], [0.5 + 2 * unit, -1]])
    np.testing.assert_allclose(
        oracles.batch_norm(x, n), [[0.5 + 2 * unit, 10 * unit - 1], [0.5 + 6 * unit, 10 * unit - 1]]
    )
    spread = 4.5 / np.sqrt(4.5**2 + 1e-5)
    np.testing.assert_allclose(oracles.group_norm(x[:1], n), [[0.5 - 2 * spread, spread - 1]])
    mean, var = oracles.running_after(x, n)
    np.testing.assert_allclose(mean, [0.2, 1.0])
    np.testing.assert_allclose(var, [0.9 + 0.1 * 2, 0.9])


def _norm(state: dict[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    leaves = {"gamma": "weight", "beta": "bias", "mean": "running_mean", "var": "running_var"}
    return {ours: state[f"{name}.{theirs}"] for ours, theirs in leaves.items()}


@pytest.mark.parametrize("train", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("size", [(6, 6), (9, 4), (3, 10)], ids=str)
def test_two_versions_of_bam_agree(size: tuple[int, int], train: bool) -> None:
    state = {name: value.numpy().astype(float) for name, value in released.bam_state(48).items()}
    what, where = "channel_att.gate_c.gate_c_", "spatial_att.gate_s.gate_s_"
    channel = {
        "w0": state[f"{what}fc_0.weight"], "b0": state[f"{what}fc_0.bias"], "n0": _norm(state, f"{what}bn_1"),
        "w1": state[f"{what}fc_final.weight"], "b1": state[f"{what}fc_final.bias"],
    }  # fmt: skip
    spatial = {}
    for ours, conv, norm in (
        ("reduce", "conv_reduce0", "bn_reduce0"), ("d0", "conv_di_0", "bn_di_0"), ("d1", "conv_di_1", "bn_di_1"),
        ("final", "conv_final", ""),
    ):  # fmt: skip
        spatial |= {f"{ours}.w": state[f"{where}{conv}.weight"], f"{ours}.b": state[f"{where}{conv}.bias"]}
        if norm:
            spatial[f"{ours}.n"] = _norm(state, f"{where}{norm}")
    x = np.random.default_rng(0).normal(size=(3, 48, *size))
    maps = oracles.bam(
        x, {"channel": channel, "spatial": spatial}, combine="product", final_norm="none", train=train
    )  # fmt: skip
    np.testing.assert_allclose(x * maps.factor, released.bam(x, released.bam_state(48), train), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("train", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("size", [(6, 6), (9, 4), (1, 1)], ids=str)
def test_two_versions_of_cbam_agree(size: tuple[int, int], train: bool) -> None:
    state = {name: value.numpy().astype(float) for name, value in released.cbam_state(48).items()}
    channel = {
        "w0": state["ChannelGate.mlp.1.weight"], "b0": state["ChannelGate.mlp.1.bias"],
        "w1": state["ChannelGate.mlp.3.weight"], "b1": state["ChannelGate.mlp.3.bias"],
    }  # fmt: skip
    spatial = {"w": state["SpatialGate.spatial.conv.weight"], "n": _norm(state, "SpatialGate.spatial.bn")}
    x = np.random.default_rng(0).normal(size=(3, 48, *size))
    maps = oracles.cbam(
        x, {"channel": channel, "spatial": spatial}, described=("max", "avg"), norm="batch", train=train
    )  # fmt: skip
    np.testing.assert_allclose(x * maps.factor, released.cbam(x, released.cbam_state(48), train), rtol=1e-9, atol=1e-12)
