"""The gates' equations in plain NumPy, float64, written from the two papers and from nothing in ``src``.

Arrays are ``(B, C, *positions)`` with one, two or three dimensions of positions. Weights are dicts of arrays:

====================  ==========================================================================================
MLP                   ``w0`` (C/r, C), ``b0`` (C/r) or absent, ``w1`` (C, C/r), ``b1`` (C) or absent
BAM's channel branch  the MLP, norm ``n0`` after ``w0``, norm ``n1`` after ``w1``
BAM's spatial branch  ``reduce.w``, ``reduce.b``, norm ``reduce.n``; for each dilated convolution i ``d{i}.w``,
                      ``d{i}.b``, norm ``d{i}.n``; ``final.w``, ``final.b``, norm ``final.n``
CBAM's spatial map    ``w`` (1, 2, k, k), ``b`` or absent, norm ``n`` or absent; with ``descriptor="conv"`` also
                      ``point.w`` (1, C, 1, 1) and ``point.b``, and ``w`` is (1, 1, k, k)
SE                    the MLP
====================  ==========================================================================================

A norm is a dict of ``gamma``, ``beta`` and, for batch norm, ``mean`` and ``var`` (the running statistics).
BAM and CBAM take their two halves as ``weights["channel"]`` and ``weights["spatial"]``.
"""

from typing import Any, NamedTuple

import numpy as np

__all__ = [
    "Maps",
    "bam",
    "batch_norm",
    "cbam",
    "channel_gate",
    "conv",
    "group_norm",
    "mlp",
    "pool_channels",
    "pool_positions",
    "running_after",
    "se",
    "sigmoid",
    "spatial_gate",
]

EPS = 1e-5
Weights = dict[str, Any]


class Maps(NamedTuple):
    channel: np.ndarray | None
    spatial: np.ndarray | None
    factor: np.ndarray


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(0.5 * x))


def _positions(x: np.ndarray) -> tuple[int, ...]:
    return tuple(range(2, x.ndim))


def pool_positions(x: np.ndarray, kind: str) -> np.ndarray:
    """(B, C, *positions) to (B, C). CBAM section 3.1 (avg, max); released code (lp: p=2, a sum; log-sum-exp)."""
    axes = _positions(x)
    if kind == "avg":
        return x.sum(axes) / np.prod(x.shape[2:])
    if kind == "max":
        return x.max(axes)
    if kind == "lp":
        return np.sqrt((x * x).sum(axes))
    if kind == "lse":
        top = x.max(axes, keepdims=True)
        return top.reshape(x.shape[:2]) + np.log(np.exp(x - top).sum(axes))
    raise ValueError(kind)


def pool_channels(x: np.ndarray, kinds: tuple[str, ...]) -> np.ndarray:
    """(B, C, *positions) to (B, len(kinds), *positions): CBAM eq. 3, along the channel axis, in order."""
    each = {"avg": lambda: x.sum(1) / x.shape[1], "max": lambda: x.max(1)}
    return np.stack([each[kind]() for kind in kinds], axis=1)


def conv(x: np.ndarray, w: np.ndarray, b: np.ndarray | None = None, dilation: int = 1) -> np.ndarray:
    """Cross-correlation with odd kernel, stride 1 and the zero padding that keeps the size."""
    kernel, size = w.shape[2:], x.shape[2:]
    pad = [dilation * (k - 1) // 2 for k in kernel]
    padded = np.zeros((*x.shape[:2], *(s + 2 * p for s, p in zip(size, pad, strict=True))))
    padded[(..., *(slice(p, p + s) for s, p in zip(size, pad, strict=True)))] = x
    out = np.zeros((x.shape[0], w.shape[0], *size))
    for tap in np.ndindex(*kernel):
        window = padded[(..., *(slice(dilation * t, dilation * t + s) for t, s in zip(tap, size, strict=True)))]
        out += np.einsum("oi,bi...->bo...", w[(..., *tap)], window)
    return out if b is None else out + b.reshape(1, -1, *[1] * len(size))


def _affine(x: np.ndarray, n: Weights) -> np.ndarray:
    shape = (1, -1, *[1] * (x.ndim - 2))
    return x * n["gamma"].reshape(shape) + n["beta"].reshape(shape)


def batch_norm(x: np.ndarray, n: Weights, train: bool = False) -> np.ndarray:
    """Over (batch, positions): the batch's own mean and biased variance in training, the running ones otherwise."""
    shape = (1, -1, *[1] * (x.ndim - 2))
    axes = (0, *_positions(x))
    mean = x.mean(axes) if train else n["mean"]
    var = ((x - x.mean(axes, keepdims=True)) ** 2).mean(axes) if train else n["var"]
    return _affine((x - mean.reshape(shape)) / np.sqrt(var.reshape(shape) + EPS), n)


def running_after(x: np.ndarray, n: Weights, momentum: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """The running mean and (unbiased) variance after one training step on ``x``."""
    axes = (0, *_positions(x))
    count = x.size // x.shape[1]
    var = x.var(axes) * count / (count - 1)
    return (1 - momentum) * n["mean"] + momentum * x.mean(axes), (1 - momentum) * n["var"] + momentum * var


def group_norm(x: np.ndarray, n: Weights) -> np.ndarray:
    """One group: over everything that belongs to one sample."""
    flat = x.reshape(len(x), -1)
    normal = (flat - flat.mean(1, keepdims=True)) / np.sqrt(flat.var(1, keepdims=True) + EPS)
    return _affine(normal.reshape(x.shape), n)


def _norm(x: np.ndarray, n: Weights | None, kind: str, train: bool) -> np.ndarray:
    if kind == "none" or n is None:
        return x
    return batch_norm(x, n, train) if kind == "batch" else group_norm(x, n)


def _relu(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, 0.0)


def _linear(x: np.ndarray, w: np.ndarray, b: np.ndarray | None) -> np.ndarray:
    return x @ w.T if b is None else x @ w.T + b


def mlp(pooled: np.ndarray, w: Weights) -> np.ndarray:
    """W1 relu(W0 s + b0) + b1: CBAM eq. 2 without the biases, the released code with them."""
    return _linear(_relu(_linear(pooled, w["w0"], w.get("b0"))), w["w1"], w.get("b1"))


def _bam_channel(x: np.ndarray, w: Weights, o: dict[str, Any]) -> np.ndarray:
    """BAM: Mc(F) = BN(W1(W0 AvgPool(F) + b0) + b1), with a norm and a ReLU after W0.

    More than one pool is not in the paper; here they share the MLP as one batch and are summed before the last norm.
    """
    pooled = np.concatenate([pool_positions(x, kind) for kind in o["pools"]])
    hidden = _linear(pooled, w["w0"], w.get("b0"))
    if o["inner_norm"]:
        hidden = _norm(hidden, w.get("n0"), o["norm"], o["train"])
    if o["inner_relu"]:
        hidden = _relu(hidden)
    logits = sum(np.split(_linear(hidden, w["w1"], w.get("b1")), len(o["pools"])))
    if o["final_norm"] != "none":
        logits = _norm(logits, w.get("n1"), o["norm"], o["train"])
    return logits.reshape(*logits.shape, *[1] * (x.ndim - 2))


def _bam_spatial(x: np.ndarray, w: Weights, o: dict[str, Any]) -> np.ndarray:
    """BAM: Ms(F) = BN(f3(f2(f1(f0(F))))): 1x1, dilated 3x3s, 1x1 to one map."""
    layers = [("reduce", 1), *((f"d{i}", o["dilation"]) for i in range(o["dilated_convs"]))]
    hidden = x
    for name, dilation in layers:
        hidden = conv(hidden, w[f"{name}.w"], w[f"{name}.b"], dilation)
        if o["inner_norm"]:
            hidden = _norm(hidden, w.get(f"{name}.n"), o["norm"], o["train"])
        if o["inner_relu"]:
            hidden = _relu(hidden)
    logits = conv(hidden, w["final.w"], w["final.b"])
    if o["final_norm"] == "channels":
        logits = np.repeat(logits, x.shape[1], axis=1)
    if o["final_norm"] != "none":
        logits = _norm(logits, w.get("final.n"), o["norm"], o["train"])
    return logits


BAM_DEFAULTS: dict[str, Any] = {
    "combine": "sum",
    "branches": "both",
    "pools": ("avg",),
    "norm": "batch",
    "inner_norm": True,
    "inner_relu": True,
    "final_norm": "map",
    "dilation": 4,
    "dilated_convs": 2,
    "train": False,
}


def bam(x: np.ndarray, weights: Weights, **options: Any) -> Maps:
    """F' = F + F * M(F), M(F) = sigmoid(Mc(F) + Ms(F)): the two branches' logits and the factor 1 + M(F)."""
    o = BAM_DEFAULTS | options
    channel = _bam_channel(x, weights["channel"], o) if o["branches"] != "spatial" else None
    spatial = _bam_spatial(x, weights["spatial"], o) if o["branches"] != "channel" else None
    if channel is None or spatial is None:
        logits = spatial if channel is None else channel
    elif o["combine"] == "sum":
        logits = channel + spatial
    elif o["combine"] == "product":
        logits = channel * spatial
    else:
        logits = np.maximum(channel, spatial)
    return Maps(channel, spatial, 1 + sigmoid(logits))


def channel_gate(x: np.ndarray, w: Weights, *, pools: tuple[str, ...] = ("avg", "max")) -> np.ndarray:
    """CBAM eq. 2: Mc(F) = sigmoid(MLP(AvgPool(F)) + MLP(MaxPool(F))), one shared MLP, as (B, C, 1, ...)."""
    logits = sum(mlp(pool_positions(x, kind), w) for kind in pools)
    return sigmoid(logits).reshape(*x.shape[:2], *[1] * (x.ndim - 2))


def spatial_gate(
    x: np.ndarray,
    w: Weights,
    *,
    descriptor: str = "pool",
    described: tuple[str, ...] = ("avg", "max"),
    norm: str = "none",
    train: bool = False,
) -> np.ndarray:
    """CBAM eq. 3: Ms(F) = sigmoid(f7x7([AvgPool(F); MaxPool(F)])) as (B, 1, *positions)."""
    squeezed = pool_channels(x, described) if descriptor == "pool" else conv(x, w["point.w"], w.get("point.b"))
    return sigmoid(_norm(conv(squeezed, w["w"], w.get("b")), w.get("n"), norm, train))


def cbam(
    x: np.ndarray,
    weights: Weights,
    *,
    order: str = "channel_first",
    branches: str = "both",
    pools: tuple[str, ...] = ("avg", "max"),
    **spatial_options: Any,
) -> Maps:
    """CBAM eq. 1: F' = Mc(F) * F, F'' = Ms(F') * F'; spatial first or both from F as in Table 3."""

    def what(features: np.ndarray) -> np.ndarray:
        return channel_gate(features, weights["channel"], pools=pools)

    def where(features: np.ndarray) -> np.ndarray:
        return spatial_gate(features, weights["spatial"], **spatial_options)

    if branches == "channel":
        return Maps(what(x), None, what(x))
    if branches == "spatial":
        return Maps(None, where(x), where(x))
    if order == "spatial_first":
        spatial = where(x)
        channel = what(x * spatial)
    else:
        channel = what(x)
        spatial = where(x * channel if order == "channel_first" else x)
    return Maps(channel, spatial, channel * spatial)


def se(x: np.ndarray, w: Weights) -> Maps:
    """Squeeze-and-excitation eqs. 2 and 3: s = sigmoid(W1 relu(W0 z)), z the mean over positions."""
    factor = channel_gate(x, w, pools=("avg",))
    return Maps(factor, None, factor)
