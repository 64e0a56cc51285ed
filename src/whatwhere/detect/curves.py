"""Precision over recall, class by class, and a drawing of it."""

import io
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Curves", "draw"]

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9")
_GREY = "#b0b0b0"
_DOTS_PER_INCH = 200


@dataclass(frozen=True, eq=False)
class Curves:
    """The highest precision that is had at each recall or a higher one.

    Attributes:
        classes: the name of each row.
        at: for each IoU that a detection must reach, float32 (classes, 101): precision at the recalls 0, 0.01, ..., 1;
            0 where a recall is never reached, NaN throughout for a class without objects.
    """

    classes: tuple[str, ...]
    at: Mapping[float, Tensor]

    def mean(self, iou: float) -> Tensor:
        """float32 (101,), over the classes that have objects."""
        return self.at[iou].nanmean(0)


def draw(curves: Curves) -> bytes:
    """A PNG, 200 dots an inch: each class thin and grey, their mean in colour, one line for each IoU.

    The same curves give the same bytes, whatever the user has set for matplotlib.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    recall, file = torch.linspace(0, 1, 101).numpy(), io.BytesIO()
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({"font.size": 8, "axes.linewidth": 0.6})
        figure = Figure(figsize=(4.2, 3.4), dpi=_DOTS_PER_INCH, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
        lowest = min(curves.at)
        axes.plot(recall, curves.at[lowest].T.numpy(), color=_GREY, linewidth=0.4)
        for colour, iou in zip(_COLOURS, sorted(curves.at), strict=False):
            axes.plot(recall, curves.mean(iou).numpy(), color=colour, label=f"mean, IoU {iou:g}")
        axes.plot([], [], color=_GREY, linewidth=0.4, label=f"each class, IoU {lowest:g}")
        axes.legend(frameon=False)
        figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()
