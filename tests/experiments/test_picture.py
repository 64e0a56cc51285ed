"""The picture is drawn from any summary, and shows what the summary says."""

import struct

import matplotlib as mpl
import pytest

from whatwhere.experiments.picture import draw


def _arm(gate, values, ms=1.0, parameters=1000, interval=True):
    mean = sum(values) / max(len(values), 1)
    moments = {"mean": mean, "low": mean - 1 if interval else None, "high": mean + 1 if interval else None}
    return {
        "gate": gate,
        "at": None if gate == "none" else "blocks",
        "seeds": {str(seed): value for seed, value in enumerate(values)},
        "accuracy": moments if values else None,
        "ms_per_image": ms,
        "parameters": parameters,
        "latency_batch": 32,
    }


def _summary(*arms):
    return {"arms": arms, "comparison": {"host": "resnet20", "data": "scenes", "recipe": {"epochs": 2}}}


@pytest.mark.parametrize(
    "summary",
    [
        _summary(_arm("none", [80, 81, 82]), _arm("se", [82, 83, 84], 1.2, 1100), _arm("bam", [80, 84])),
        _summary(_arm("none", [80], interval=False), _arm("se", [82], interval=False)),
        _summary(_arm("none", [80, 81], None), _arm("bam:combine=product:reduction=8:preset=released", [], None)),
        _summary(_arm("none", [])),
    ],
    ids=["three seeds", "one seed", "untimed, unfinished", "nothing"],
)
def test_a_picture_is_a_png_and_matplotlibs_state_stays(summary):
    before = dict(mpl.rcParams), mpl.get_backend()
    image = draw(summary)
    assert image.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", image[16:24])
    assert width == 1650
    assert height == 150 * 1.6 + 90 * len(summary["arms"])
    assert (dict(mpl.rcParams), mpl.get_backend()) == before


def test_another_accuracy_makes_another_picture():
    first, second = (_summary(_arm("none", [80, value])) for value in (81, 83))
    assert draw(first) == draw(first) != draw(second)
