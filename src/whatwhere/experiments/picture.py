"""A summary as a picture: what arms are compared by, of every seed, beside what each arm costs."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from whatwhere.experiments.measures import MEASURES, measure_of

__all__ = ["draw"]

# Okabe and Ito's colours, which people with the common colour blindnesses tell apart.
_BLUE, _ORANGE, _GREEN, _GREY = "#0072B2", "#D55E00", "#009E73", "#707070"
# Means are drawn this much above their row, so that they do not hide the seeds.
_LIFT = 0.2


def draw(summary: Mapping[str, Any]) -> bytes:
    """A PNG: per arm the test accuracy or AP (seeds, mean, 95 % interval), time and parameters relative to the host."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    arms = summary["arms"]
    figure = Figure(figsize=(11, 1.6 + 0.6 * len(arms)), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    scores, time, parameters = figure.subplots(1, 3, sharey=True, width_ratios=(1.9, 1, 1))
    _scores(scores, arms, measure_of(summary))
    batch = arms[0]["latency_batch"]
    _relative(time, arms, "ms_per_image", f"time of a forward, batch {batch}", _ORANGE, "{:.3g} ms/image")
    _relative(parameters, arms, "parameters", "parameters", _GREEN, "{:,}")
    scores.set_yticks(range(len(arms)), [_label(arm) for arm in arms])
    scores.set_ylim(len(arms) - 0.5, -0.5)
    comparison = summary["comparison"]
    epochs = comparison["recipe"]["epochs"]
    figure.suptitle(f"{comparison['host']} on {comparison['data']}, epochs: {epochs}, test split", fontsize=11)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def _scores(axes: Any, arms: Sequence[Mapping[str, Any]], measure: str) -> None:
    seeds = sorted({seed for arm in arms for seed in arm["seeds"]}, key=int)
    for seed in seeds:
        points = [(arm["seeds"][seed], place) for place, arm in enumerate(arms) if seed in arm["seeds"]]
        axes.plot(*zip(*points, strict=True), "o-", color=_GREY, linewidth=0.7, markersize=4, alpha=0.9, zorder=1)
    for place, arm in enumerate(arms):
        moments = arm[measure]
        if moments is None:
            continue
        row = place - _LIFT
        axes.plot(moments["mean"], row, "D", color=_BLUE, markersize=6, zorder=3)
        if moments["low"] is not None:
            axes.plot((moments["low"], moments["high"]), (row, row), color=_BLUE, linewidth=2, zorder=2)
    axes.set_xlabel(f"test {MEASURES[measure]}, %")
    axes.set_title("grey: seeds, lines join a seed\nblue: mean and its own (unpaired) 95 % interval", fontsize=9)
    axes.grid(axis="x", alpha=0.3)


def _relative(axes: Any, arms: Sequence[Mapping[str, Any]], key: str, title: str, colour: str, form: str) -> None:
    """Bars of ``key`` as multiples of the first arm's, the value itself written beside each."""
    base = arms[0][key]
    for place, arm in enumerate(arms):
        if base and arm[key] is not None:
            share = arm[key] / base
            axes.barh(place, share, height=0.55, color=colour, alpha=0.85)
            axes.text(share, place, f"  ×{share:.4g}\n  {form.format(arm[key])}", va="center", fontsize=8)
    axes.axvline(1, color="black", linewidth=0.8, linestyle="--")
    shares = [arm[key] / base for arm in arms if base and arm[key] is not None]
    axes.set_xlim(0, 1.9 * max(shares, default=1))
    axes.set_xlabel("relative to none")
    axes.set_title(title, fontsize=9)


def _label(arm: Mapping[str, Any]) -> str:
    return f"{arm['gate']}\nat {arm['at']}" if arm["at"] else str(arm["gate"])
