"""The papers' figures as printed, held to an independent transcription where that lies beside the checkout."""

import csv
from collections import Counter
from pathlib import Path

import pytest

from whatwhere.attach.sites import PLACES
from whatwhere.detect.building import skeleton as detect_skeleton
from whatwhere.errors import RunError
from whatwhere.gates import named
from whatwhere.hosts import skeleton
from whatwhere.papers.rows import METRICS, Row, rows, tables

TRANSCRIPTION = Path(__file__).parents[3] / "shared" / "reference" / "paper_tables.csv"
ALL = [row for table in tables() for row in rows(table)]
CLASSIFIERS = [row for row in ALL if not row.detection]
# How the transcription words an ablation, and the arm that stands for it here; without words it is the gate alone.
ARMS = {
    "dilation=1 reduction=16": "bam:dilation=1",
    "dilation=2 reduction=16": "bam:dilation=2",
    "dilation=4 reduction=16": "bam",
    "dilation=6 reduction=16": "bam:dilation=6",
    "dilation=4 reduction=4": "bam:reduction=4",
    "dilation=4 reduction=8": "bam:reduction=8",
    "dilation=4 reduction=32": "bam:reduction=32",
    "branches=channel": "bam:branches=channel",
    "branches=spatial": "bam:branches=spatial",
    "combine=max": "bam:combine=max",
    "combine=product": "bam:combine=product",
    "combine=sum": "bam",
    "the host's own block, added where BAM would stand": "extra_block",
    "BAM-C": "bam",
    "spatial=none pools=avg (SE)": "se",
    "spatial=none pools=max": "cbam:branches=channel:pools=max",
    "spatial=none pools=avg+max": "cbam:branches=channel",
    "spatial=none": "cbam:branches=channel",
    "spatial=conv1x1 kernel=3": "cbam:descriptor=conv:kernel_size=3",
    "spatial=conv1x1 kernel=7": "cbam:descriptor=conv",
    "spatial=pool kernel=3": "cbam:kernel_size=3",
    "spatial=pool kernel=7": "cbam",
    "order=channel,spatial": "cbam",
    "order=spatial,channel": "cbam:order=spatial_first",
    "order=parallel": "cbam:order=parallel",
}
HOSTS = {
    "preresnet110": "preresnet164",
    "squeezenet1.1": "torchvision/squeezenet1_1",
    "mobilenet-192": "mobilenet",
    "faster-rcnn resnet50": "fasterrcnn-resnet50-c4",
    "faster-rcnn resnet101": "fasterrcnn-resnet101-c4",
    "ssd vgg16": "ssd300-vgg16",
    "ssd mobilenet": "ssd300-mobilenet",
    "stairnet vgg16": "stairnet300-vgg16",
    "stairnet mobilenet": "stairnet300-mobilenet",
}


def number(text: str | None) -> float | None:
    return float(text) if text else None


def figures(row: Row) -> list[tuple[object, ...]]:
    """Every figure of a row with all that it belongs to."""
    head = (f"{row.paper}/{row.table}", row.dataset, row.host.removeprefix("imagenet/"), row.arm, row.at == "blocks")
    costs = (number(row.parameters), number(row.gmacs))
    return [(*head, *costs, metric, float(value)) for metric, value in row.metrics.items()]


def transcribed(line: dict[str, str]) -> tuple[object, ...]:
    gate, host = line["gate"], HOSTS.get(line["host"], line["host"])
    arm = ARMS[line["variant"]] if line["variant"] else gate
    # where the gates of MobileNet stand is not described, so that it has no place of a name
    at_blocks = line["placement"] == "blocks" and not (host.startswith("mobilenet") and line["dataset"] != "coco")
    costs = (number(line["params_million"]), number(line["gmacs"]))
    head = (f"{line['paper']}/{line['table']}", line["dataset"], host, arm, at_blocks)
    return (*head, *costs, line["metric"], float(line["value"]))


def test_every_figure_is_the_transcriptions() -> None:
    if not TRANSCRIPTION.exists():
        pytest.skip(f"the transcription is not beside this checkout ({TRANSCRIPTION.name})")
    with TRANSCRIPTION.open(encoding="utf-8") as file:
        theirs = Counter(transcribed(line) for line in csv.DictReader(file))
    ours = Counter(figure for row in ALL for figure in figures(row))
    assert sum(theirs.values()) == 220
    assert ours == theirs


def test_the_tables() -> None:
    assert {table: len(rows(table)) for table in tables()} == {
        "bam/1a": 9,
        "bam/1b": 6,
        "bam/1c": 9,
        "bam/2": 12,
        "bam/3a": 16,
        "bam/3b": 20,
        "bam/4a": 2,
        "bam/4b": 6,
        "bam/5": 8,
        "cbam/1": 4,
        "cbam/2": 6,
        "cbam/3": 4,
        "cbam/4": 24,
        "cbam/5": 6,
        "cbam/6": 4,
        "cbam/7": 8,
    }


def test_figures_keep_the_digits_that_are_printed() -> None:
    by_label = {row.label: row for row in rows("bam/1a")}
    assert by_label["r=4"].parameters == "26.30"
    assert by_label["d=4"].metrics == {"error_top1": "20.00"}
    mobilenet = next(row for row in rows("cbam/5") if (row.host, row.arm) == ("imagenet/mobilenet", "se"))
    assert (mobilenet.parameters, mobilenet.gmacs) == ("5.07", "0.570")
    assert mobilenet.metrics == {"error_top1": "29.97", "error_top5": "10.63"}


def test_labels_tell_the_rows_of_a_host_apart() -> None:
    for table in tables():
        keys = [(row.host, row.label) for row in rows(table)]
        assert len(set(keys)) == len(keys)


def test_what_a_row_may_hold() -> None:
    for row in ALL:
        assert set(row.metrics) <= set(METRICS)
        assert row.metrics
        assert (row.at is None) == (row.arm == "none")
        assert row.image_size in ((None,) if row.detection else (32, 192, 224))
    assert {row.at for row in CLASSIFIERS} - {*PLACES, None} == {r"stem|blocks\.\d+\.(depthwise|pointwise)"}


def test_every_arm_can_be_built() -> None:
    for arm in {row.arm for row in ALL} - {"none", "extra_block"}:
        assert named(arm)(32).channels == 32


@pytest.mark.parametrize("host", sorted({row.host for row in CLASSIFIERS}))
def test_every_host_can_be_built(host: str) -> None:
    pytest.importorskip("torchvision")
    assert all(parameter.is_meta for parameter in skeleton(host).parameters())


@pytest.mark.parametrize("host", sorted({row.host for row in ALL if row.detection}))
def test_every_detector_can_be_built(host: str) -> None:
    pytest.importorskip("torchvision")
    assert all(parameter.is_meta for parameter in detect_skeleton(host, 20).parameters())


def test_an_unknown_table_is_refused() -> None:
    with pytest.raises(RunError) as caught:
        rows("bam/3")
    assert str(caught.value) == (
        "rows('bam/3'): the papers have no such table\n"
        "  closest: 'cbam/3', 'bam/3b', 'bam/3a'\n"
        "  fix: one of bam/1a, bam/1b, bam/1c, bam/2, bam/3a, bam/3b, bam/4a, bam/4b, bam/5, cbam/1, cbam/2, cbam/3, "
        "cbam/4, cbam/5, cbam/6, cbam/7"
    )
