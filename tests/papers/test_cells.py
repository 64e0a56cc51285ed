"""What agrees with the papers' counts, what does not, and that the reasons given are true."""

import time
from collections import Counter
from decimal import ROUND_HALF_UP, Decimal
from math import prod
from pathlib import Path

import pytest

from whatwhere.attach import attach_, plan
from whatwhere.cost import measure
from whatwhere.detect.building import skeleton as detect_skeleton
from whatwhere.hosts import block, skeleton
from whatwhere.papers.cells import VARIANTS, Cell, as_grid, cells, count
from whatwhere.papers.reasons import REASONS
from whatwhere.papers.rows import Row, rows

pytest.importorskip("torchvision")

# table, printed host, row, figure, paper, ours: all that does not agree
DISAGREE = [
    ("bam/1a", "ResNet50", "baseline", "parameters", "23.68", "23.71"),
    ("bam/1c", "ResNet50", "baseline", "parameters", "23.68", "23.71"),
    ("bam/1c", "ResNet50", "ResBlock", "parameters", "25.14", "25.17"),
    ("bam/1c", "WRN28 (w=8)", "BAM", "parameters", "23.56", "23.42"),
    ("bam/1c", "ResNeXt29 8x64d", "baseline", "parameters", "34.4", "34.5"),
    ("bam/3b", "MobileNet (ρ=192/224)", "baseline at 192", "gmacs", "0.439", "0.418"),
    ("bam/3b", "MobileNet (ρ=192/224)", "BAM at 192", "gmacs", "0.456", "0.433"),
    ("bam/3b", "SqueezeNet v1.1", "baseline", "gmacs", "0.290", "0.349"),
    ("bam/3b", "SqueezeNet v1.1", "BAM", "gmacs", "0.304", "0.369"),
    ("bam/5", "ResNeXt29 16x64d", "SE", "parameters", "68.81", "68.77"),
    ("cbam/1", "ResNet50", "AvgPool (SE)", "parameters", "25.92", "28.09"),
    ("cbam/1", "ResNet50", "AvgPool (SE)", "gmacs", "3.94", "3.86"),
    ("cbam/1", "ResNet50", "MaxPool", "parameters", "25.92", "28.09"),
    ("cbam/1", "ResNet50", "MaxPool", "gmacs", "3.94", "3.86"),
    ("cbam/1", "ResNet50", "AvgPool & MaxPool", "parameters", "25.92", "28.09"),
    ("cbam/1", "ResNet50", "AvgPool & MaxPool", "gmacs", "4.02", "3.86"),
    ("cbam/2", "ResNet50", "channel", "gmacs", "3.860", "3.863"),
    ("cbam/2", "ResNet50", "channel + spatial (1x1 conv, k=3)", "gmacs", "3.862", "3.869"),
    ("cbam/5", "MobileNet (α=0.7)", "SE", "parameters", "2.71", "2.70"),
    ("cbam/7", "MobileNet StairNet", "CBAM", "parameters", "6.00", "5.99"),
]
# what agrees under another count than the first tried, and what that one gives
OTHERWISE = [
    ("bam/2", "WRN28 (w=8)", "BAM", "gmacs", "3.36 with the 100 classes of CIFAR-100"),
    ("bam/2", "ResNeXt29 8x64d", "baseline", "gmacs", "4.98 with the 100 classes of CIFAR-100"),
    ("bam/2", "ResNeXt29 8x64d", "BAM-C", "parameters", "35.61 with final_norm=channels"),
    ("bam/3a", "ResNet101", "baseline", "gmacs", "2.43 with the 100 classes of CIFAR-100"),
    ("bam/3a", "WRN28 (w=8)", "BAM", "gmacs", "3.36 with the 100 classes of CIFAR-100"),
    ("bam/3a", "ResNeXt29 8x64d", "baseline", "gmacs", "4.98 with the 100 classes of CIFAR-100"),
    ("bam/3a", "DenseNet100-BC (k=12)", "BAM", "parameters", "0.85 with final_norm=channels"),
    ("bam/3b", "MobileNet", "BAM", "parameters", "4.33 with final_norm=channels"),
    ("bam/3b", "MobileNet (ρ=192/224)", "BAM at 192", "parameters", "4.33 with final_norm=channels"),
    ("bam/4b", "MobileNet StairNet", "BAM", "parameters", "6.01 with final_norm=channels"),
    ("bam/5", "WRN28 (w=8)", "BAM", "gmacs", "3.36 with the 100 classes of CIFAR-100"),
]


def row(table: str, host: str, label: str) -> Row:
    return next(one for one in rows(table) if (one.host, one.label) == (host, label))


def key(cell: Cell) -> tuple[str, str, str, str]:
    return f"{cell.row.paper}/{cell.row.table}", cell.row.printed_host, cell.row.label, cell.figure


def printed_as(figure: str, exact: float) -> str:
    """The count with as many decimals as the printed figure."""
    return f"{exact:.{len(figure.partition('.')[2])}f}"


@pytest.fixture(scope="module")
def found() -> list[Cell]:
    return cells()


def test_how_many_agree(record_property: pytest.FixtureRequest) -> None:
    start = time.process_time()
    found = cells()
    record_property("measured", f"cells counts all rows in {time.process_time() - start:.0f} s of processor time")
    agreeing = Counter(f"{cell.row.paper}/{cell.row.table}" for cell in found if cell.agrees)
    counted = Counter(f"{cell.row.paper}/{cell.row.table}" for cell in found)
    assert {table: (agreeing[table], counted[table]) for table in counted} == {
        "bam/1a": (8, 9),
        "bam/1c": (5, 9),
        "bam/2": (24, 24),
        "bam/3a": (32, 32),
        "bam/3b": (36, 40),
        "bam/4b": (6, 6),
        "bam/5": (15, 16),
        "cbam/1": (2, 8),
        "cbam/2": (10, 12),
        "cbam/4": (48, 48),
        "cbam/5": (11, 12),
        "cbam/7": (7, 8),
    }
    assert (agreeing.total(), counted.total()) == (204, 224)


def test_all_that_does_not_agree(found: list[Cell]) -> None:
    differing = [
        (
            f"{cell.row.paper}/{cell.row.table}",
            cell.row.printed_host,
            cell.row.label,
            cell.figure,
            cell.paper,
            cell.ours,
        )
        for cell in found
        if not cell.agrees
    ]
    assert differing == DISAGREE
    assert list(REASONS) == [line[:4] for line in DISAGREE]
    assert all(cell.why for cell in found if not cell.agrees)


def test_all_that_agrees_only_under_another_count(found: list[Cell]) -> None:
    assert [(*key(cell), cell.why) for cell in found if cell.agrees and cell.why] == OTHERWISE
    said = {cell.counted_as for cell in found if cell.agrees and cell.why}
    alone = {"none, 1000 classes", "bam:final_norm=map", "bam:final_norm=none"}
    assert said == {*alone, "bam:final_norm=channels, 1000 classes"}


def test_bam_fits_best_with_norms_over_all_channels_and_always_with_one_of_its_variants() -> None:
    networks = {}
    for one in (one for table in ("bam/1a", "bam/2", "bam/3a", "bam/3b") for one in rows(table) if one.arm != "none"):
        networks.setdefault((one.host, one.arm, one.at, one.parameters), one)
    misses = {
        options: [(one.printed_host, one.label) for one in networks.values() if not fits(one, options)]
        for options in VARIANTS["bam"]
    }
    assert len(networks) == 28
    assert misses["final_norm=channels"] == [
        ("ResNeXt29 8x64d", "BAM-C"),
        ("DenseNet100-BC (k=12)", "BAM"),
        ("MobileNet", "BAM"),
    ]
    assert [len(missed) for missed in misses.values()] == [3, 6, 14]
    assert not set.intersection(*map(set, misses.values()))


def fits(one: Row, options: str) -> bool:
    """Whether the parameters of a row with BAM agree under these options."""
    return printed_as(str(one.parameters), count(one, f"{one.arm}:{options}").parameters / 1e6) == one.parameters


def test_a_thousand_classes_fit_all_multiply_accumulates_of_cifar_but_one() -> None:
    cifar = [one for table in ("bam/2", "bam/3a", "bam/5") for one in rows(table)]
    misses = {
        classes: [
            (one.table, one.printed_host, one.label)
            for one in cifar
            if printed_as(str(one.gmacs), count(one, first(one), classes).gmacs / 1e9) != one.gmacs
        ]
        for classes in (100, 1000)
    }
    assert len(cifar) == 36
    assert len(misses[100]) == 6
    assert misses[1000] == [("5", "ResNeXt29 16x64d", "SE")]


def first(one: Row) -> str:
    """The arm of a row as it is first counted."""
    return f"{one.arm}:{VARIANTS[one.arm][0]}" if one.arm in VARIANTS else one.arm


@pytest.mark.parametrize(
    ("table", "host", "label"),
    [
        ("bam/3b", "imagenet/resnet18", "BAM"),
        ("cbam/4", "imagenet/resnet18", "CBAM"),
        ("bam/3a", "densenet100-bc-k12", "BAM"),
        ("bam/1c", "wrn28-8", "WideResBlock"),
        ("cbam/5", "imagenet/mobilenet-0.7", "SE"),
    ],
)
def test_the_count_is_that_of_the_network_with_its_gates_attached(table: str, host: str, label: str) -> None:
    one = row(table, host, label)
    size = (3, one.image_size, one.image_size)
    model = skeleton(host, num_classes=100 if one.dataset == "cifar100" else 1000)
    attach_(model, block(host) if one.arm == "extra_block" else one.arm, at=one.at, input_size=size)
    cost = measure(model, (1, *size), training=False)
    assert (count(one).parameters, count(one).gmacs) == (cost.parameters, cost.macs)


# --- the reasons ---


def test_table_1_leaves_biases_out() -> None:
    def counted(host: str, extra: bool) -> int:
        model = skeleton(host, num_classes=100)
        if extra:
            attach_(model, block(host), at="bottlenecks", input_size=(3, 32, 32))
        return sum(p.numel() for name, p in model.named_parameters() if not name.endswith("bias"))

    assert f"{counted('resnet50', False) / 1e6:.2f}" == row("bam/1a", "resnet50", "baseline").parameters
    assert f"{counted('resnet50', True) / 1e6:.2f}" == row("bam/1c", "resnet50", "ResBlock").parameters
    assert f"{counted('resnext29-8x64d', False) / 1e6:.2f}" == "34.49"


def test_table_1c_has_the_wide_resnets_bam_with_reduction_4() -> None:
    one = row("bam/1c", "wrn28-8", "BAM")
    for options in VARIANTS["bam"]:
        assert f"{count(one, f'bam:reduction=4:{options}').parameters / 1e6:.2f}" == one.parameters


def test_mobilenet_at_192_with_last_maps_of_7_pixels() -> None:
    last = skeleton("imagenet/mobilenet").blocks[11:]  # type: ignore[index]
    channels = 512
    larger, smaller = (measure(last, (1, channels, size, size), training=False).macs for size in (14, 12))
    bare, bam = (count(row("bam/3b", "imagenet/mobilenet", label)).gmacs for label in ("baseline at 192", "BAM at 192"))
    assert f"{(bare + larger - smaller) / 1e9:.3f}" == "0.439"
    assert f"{(bam + larger - smaller) / 1e9:.3f}" == "0.454"


def test_squeezenet_without_its_classifier_and_what_bam_adds() -> None:
    bare, bam = (row("bam/3b", "torchvision/squeezenet1_1", label) for label in ("baseline", "BAM"))
    model = skeleton(bare.host)
    classifier = measure(model.classifier, (1, 512, 13, 13), training=False).macs  # type: ignore[arg-type]
    assert f"{(count(bare).gmacs - classifier) / 1e9:.3f}" == "0.263"
    gates = plan(model, "bam", at="bottlenecks", input_size=(3, 224, 224))
    assert [site.channels for site in gates.sites] == [64, 128, 256]
    assert f"{gates.macs / 1e9:.3f} {sum(cost.macs for cost in gates.costs[1:]) / 1e9:.3f}" == "0.020 0.013"
    assert f"{float(str(bam.gmacs)) - float(str(bare.gmacs)):.3f}" == "0.014"


def test_two_more_se_gates_in_the_resnext() -> None:
    one = row("bam/5", "resnext29-16x64d", "SE")
    more = plan(skeleton(one.host), "se", at="bottlenecks", input_size=(3, 32, 32))
    assert len(more.sites) == 2
    assert f"{(count(one).parameters + more.parameters) / 1e6:.2f}" == one.parameters


def test_cbams_table_1_prints_bams_cost() -> None:
    bare, bam = (row("bam/3b", "imagenet/resnet50", label) for label in ("baseline", "BAM"))
    assert {one.parameters for one in rows("cbam/1")[1:]} == {bam.parameters}
    assert [one.gmacs for one in rows("cbam/1")[1:]] == [bam.gmacs, bam.gmacs, "4.02"]
    assert f"{(2 * count(bam).gmacs - count(bare).gmacs) / 1e9:.2f}" == "4.02"
    assert {one.parameters for one in rows("cbam/2")[:2]} == {"28.09"}
    assert row("cbam/4", "imagenet/resnet50", "SE").gmacs == rows("cbam/2")[0].gmacs == "3.860"


def test_what_a_second_pool_and_a_kernel_cost_in_cbams_table_2() -> None:
    se, channel, conv3, conv7, pool3, pool7 = rows("cbam/2")
    second_pool = count(channel).gmacs - count(se).gmacs
    for one in (pool3, pool7):
        assert f"{count(one).gmacs / 1e9:.3f}" == one.gmacs
        assert f"{(count(one).gmacs - second_pool) / 1e9:.3f}" != one.gmacs
    assert f"{count(conv7).gmacs / 1e9:.3f}" == conv7.gmacs == "3.869"
    assert f"{(count(conv7).gmacs - count(conv3).gmacs) / 1e9:.4f}" == "0.0006"


def test_the_narrow_mobilenets_se_with_hidden_units_rounded_to_the_nearest() -> None:
    one = row("cbam/5", "imagenet/mobilenet-0.7", "SE")
    model = skeleton(one.host)
    gates = plan(model, "se", at=one.at, input_size=(3, 224, 224))
    nearest = [(site.channels, round(site.channels / 16)) for site in gates.sites]
    rounded = sum(2 * channels * hidden + channels + hidden for channels, hidden in nearest)
    bare = sum(prod(p.shape) for p in model.parameters())
    assert [f"{(bare + more) / 1e6:.4f}" for more in (gates.parameters, rounded)] == ["2.7047", "2.7099"]


def test_detectors_are_counted_with_their_gates_attached() -> None:
    one = row("cbam/7", "stairnet300-mobilenet", "CBAM")
    model = detect_skeleton(one.host, 20)
    attach_(model, "cbam", at="heads", input_size=(3, 300, 300))
    assert count(one).parameters == sum(p.numel() for p in model.parameters())


def test_what_stairnets_cbam_lacks() -> None:
    one = row("cbam/7", "stairnet300-mobilenet", "CBAM")
    ours = count(one, "cbam:mlp_bias=True").parameters
    assert f"{ours / 1e6:.5f}" == "5.99107"
    assert [f"{(ours + more) / 1e6:.2f}" for more in (3925, 3926)] == ["5.99", one.parameters]


def test_ssd_as_its_paper_has_it_has_fewer_parameters() -> None:
    """Four anchors at the finest scale, not six: 26.29, where both papers print 26.5."""
    fewer = 2 * (9 * 512 + 1) * (21 + 4)
    assert f"{(count(row('bam/4b', 'ssd300-vgg16', 'baseline')).parameters - fewer) / 1e6:.2f}" == "26.29"


# --- what is shown ---


def test_progress_is_told_row_by_row() -> None:
    told: list[tuple[int, int]] = []
    cells(["bam/1a"], lambda done, of: told.append((done, of)))
    assert told == [(done, 9) for done in range(1, 10)]


def test_the_table() -> None:
    found = cells(["cbam/5"])
    grid = as_grid(found)
    assert found[1].exact == 282_957_078
    assert grid.rows[1] == ("cbam/5", "MobileNet (α=0.7)", "baseline", "GMACs", "0.283", "0.283", "yes", "none", "")
    assert [line[6] for line in grid.rows] == ["yes", "yes", "no", *["yes"] * 9]
    assert len(grid.notes) == 2
    assert list(as_grid(cells(["bam/5"])).notes[-2:]) == [
        "Agree only under another count than the first tried: 1.",
        "1000 classes: 100 would do if the paper rounded twice, first to three decimals; it does not say.",
    ]


def test_rounding_twice_explains_what_1000_classes_do(found: list[Cell]) -> None:
    odd = [cell for cell in found if "1000 classes" in cell.counted_as]
    assert len(odd) == 6
    for cell in odd:
        exact = Decimal(count(cell.row, cell.counted_as.removesuffix(", 1000 classes")).gmacs).scaleb(-9)
        once = exact.quantize(Decimal("0.001"), ROUND_HALF_UP)
        assert str(once.quantize(Decimal("0.01"), ROUND_HALF_UP)) == cell.paper


def test_the_document_is_what_the_command_prints(found: list[Cell]) -> None:
    agreeing = sum(cell.agrees for cell in found)
    text = (Path(__file__).parents[2] / "docs" / "cells.md").read_text()
    assert text == f"{as_grid(found).markdown()}{agreeing} of {len(found)} cells agree\n"
