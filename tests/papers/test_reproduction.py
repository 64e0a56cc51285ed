"""Recipes: which trials fill which rows, under which profile, and what is said of it."""

import inspect
import json
import re
from pathlib import Path

import pytest

from whatwhere.errors import RunError
from whatwhere.experiments.arms import build_network
from whatwhere.experiments.detecting import build_detector
from whatwhere.papers import RECIPES, recipe, rows, tables
from whatwhere.papers.profiles import PROFILES

SMOKE = recipe("bam/1b")("smoke")
RESULTS = Path(__file__).parents[2] / "results"


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("table", RECIPES)
def test_every_row_of_every_table_is_filled_by_one_arm_of_its_host(table, profile):
    asked = recipe(table)(profile)
    pairs = [(part, row, arm) for part in asked.parts for row, arm in part.rows]
    assert [row.label for _, row, _ in pairs] == [row.label for row in rows(table)] or profile != "smoke"
    assert len(pairs) == len(rows(table))
    for part, row, arm in pairs:
        assert arm in part.comparison.gates
        spec = part.comparison.trial(arm, 0)
        assert spec.at == row.at or (part.comparison.host, table, spec.at) == ("resnet8", "cbam/5", "blocks")
        small = "ssd-resnet8" if row.detection else "resnet8"
        assert part.comparison.host.partition(":")[0] == (small if profile == "smoke" else row.host)
        assert part.comparison.task == ("detect" if row.detection else "classify")
    assert all(part.comparison.gates[0] == "none" for part in asked.parts)
    assert len({part.folder for part in asked.parts}) == len(asked.parts)


def test_all_tables_have_a_recipe_in_their_order():
    assert tuple(RECIPES) == tables()
    assert {table for table in tables() if rows(table)[0].detection} == {"bam/4a", "bam/4b", "cbam/6", "cbam/7"}


@pytest.mark.parametrize("table", RECIPES)
def test_a_recipe_says_its_command_the_papers_figures_and_ours(table):
    text = inspect.getdoc(RECIPES[table]) or ""
    assert f"Command: ``whatwhere reproduce {table}" in text
    assert "Paper: " in text
    assert "Ours: " in text
    printed = {figure for row in rows(table) for figure in row.metrics.values()}
    said = text.split("Paper: ")[1].split("Ours:")[0]
    figures = [word.strip(",.;") for word in said.split() if word[:1].isdigit() and "." in word.strip(",.;")]
    assert figures
    assert set(figures) - printed <= ({"21.1", "0.7"})  # a replication's, and a width


@pytest.mark.parametrize(("table", "folder"), [("bam/1b", "bam-1b-resnet20"), ("bam/3a", "bam-3a-resnet20")])
def test_a_recipes_own_figures_are_those_of_a_result_file(table, folder):
    found = json.loads((RESULTS / folder / "reproduction.json").read_text())
    said = (inspect.getdoc(RECIPES[table]) or "").split("Ours: ")[1]
    measured = [row["ours"] for row in found["rows"]]
    assert re.findall(r"\d\d\.\d\d", said) == [f"{ours['metrics']['error_top1']['mean']:.2f}" for ours in measured]
    assert {ours["n"] for ours in measured} == {int(re.search(r"n = (\d+)", said)[1])}


def test_the_papers_recipe_is_what_is_known_and_says_what_is_not():
    cifar = recipe("bam/1a")("paper")
    training = cifar.parts[0].comparison.recipe
    assert (training.epochs, training.batch_size, training.lr, training.weight_decay) == (300, 128, 0.1, 5e-4)
    assert (training.schedule, training.nesterov, training.decay_norms) == ("step", False, True)
    assert [round(300 * milestone) for milestone in training.milestones] == [150, 225]
    assert "not the paper's text" in cifar.unverified[0]
    imagenet = recipe("cbam/4")("paper")
    assert [round(90 * milestone) for milestone in imagenet.parts[0].comparison.recipe.milestones] == [30, 60]
    assert imagenet.stand_ins == ()


def test_the_papers_detectors_are_trained_by_what_is_known_and_the_rest_is_said():
    coco, voc = (recipe(table)("paper") for table in ("cbam/6", "cbam/7"))
    assert [(part.comparison.host, part.comparison.image_size) for part in coco.parts] == [
        ("fasterrcnn-resnet50-c4:weights=imagenet", 600),
        ("fasterrcnn-resnet101-c4:weights=imagenet", 600),
    ]
    assert {(part.comparison.data, part.comparison.start) for part in coco.parts} == {("coco", "identity")}
    training = coco.parts[0].comparison.recipe
    assert (training.epochs, training.batch_size, training.lr, training.weight_decay) == (4, 2, 2e-3, 1e-4)
    assert training.milestones == (350_000 / 490_000,)
    assert any("not the paper" in words for words in coco.unverified)
    assert any("trained without gates" in words for words in coco.unverified)
    assert coco.stand_ins == ()
    training = voc.parts[0].comparison.recipe
    assert (training.epochs, training.batch_size, training.lr, training.weight_decay) == (250, 32, 1e-3, 5e-4)
    assert {(part.comparison.data, part.comparison.start) for part in voc.parts} == {("voc", "preset")}
    assert any("SSD's usual recipe, not the paper" in words for words in voc.unverified)


def test_detectors_without_published_weights_start_fresh_and_it_is_said():
    asked = recipe("bam/4b")("paper")
    assert [part.comparison.host for part in asked.parts] == [
        "ssd300-vgg16:weights=imagenet",
        "stairnet300-vgg16:weights=imagenet",
        "ssd300-mobilenet",
        "stairnet300-mobilenet",
    ]
    assert asked.stand_ins == (
        "ssd300-mobilenet starts from fresh weights: torchvision has none of its trunk",
        "stairnet300-mobilenet starts from fresh weights: torchvision has none of its trunk",
    )
    pytest.importorskip("torchvision")
    from whatwhere.detect.networks.catalogue import OWN

    hosts = {row.host for table in tables() for row in rows(table) if row.detection}
    assert {host for host in hosts if OWN[host].imagenet is None} == {"ssd300-mobilenet", "stairnet300-mobilenet"}


def test_what_stands_in_for_a_detector_is_said():
    assert recipe("cbam/6")("smoke", limit=64).stand_ins == (
        "ssd-resnet8 stands in for Faster R-CNN with ResNet50",
        "ssd-resnet8 stands in for Faster R-CNN with ResNet101",
        "scenes stands in for coco",
        "64 training images of all",
        "6 epochs, not 4",
    )
    assert recipe("bam/4a")("short").stand_ins == ("20,000 training images of all", "images of 480 pixels")
    asked = recipe("bam/4a")("paper", host="fasterrcnn-resnet18-fpn", data="scenes")
    assert (asked.parts[0].comparison.host, asked.parts[0].comparison.image_size) == ("fasterrcnn-resnet18-fpn", None)
    own = recipe("bam/4a")("paper", host="fasterrcnn-resnet101-c4:weights=here.pt", data="coco:there")
    assert own.stand_ins == ("coco:there stands in for coco",)
    assert own.parts[0].comparison.image_size == 600


@pytest.mark.parametrize("table", ["bam/4a", "bam/4b", "cbam/6", "cbam/7"])
def test_every_arm_of_a_small_detector_can_be_built(table):
    pytest.importorskip("torchvision")
    for part in recipe(table)("smoke").parts:
        for arm in part.comparison.gates:
            built = build_detector(part.comparison.trial(arm, 0), 10)
            assert bool(built.sites) == (arm != "none")


def test_mobilenet_of_192_pixels_is_a_part_of_its_own():
    parts = {part.folder: part.comparison.image_size for part in recipe("bam/3b")("paper").parts}
    assert parts["imagenet-mobilenet-imagenet-224"] == 224
    assert parts["imagenet-mobilenet-imagenet-192"] == 192


def test_a_short_run_keeps_the_ratio_of_the_sizes_so_that_no_two_rows_become_one():
    parts = {part.folder: [row.label for row, _ in part.rows] for part in recipe("bam/3b")("short").parts}
    assert parts["imagenet-mobilenet-imagenet-128"] == ["baseline", "BAM"]
    assert parts["imagenet-mobilenet-imagenet-110"] == ["baseline at 192", "BAM at 192"]


@pytest.mark.parametrize(("data", "size"), [("cifar100", None), ("scenes", None), ("folder:there", 128)])
def test_data_that_stand_in_keep_their_size_where_they_have_one(data, size):
    assert {part.comparison.image_size for part in recipe("cbam/1")("short", data=data).parts} == {size}


def test_a_place_that_a_stand_in_does_not_have_gives_way_and_it_is_said():
    asked = recipe("cbam/5")("smoke")
    assert asked.parts[0].comparison.gates == ("none", "se", "cbam")
    assert r"cbam at blocks of resnet8, not at stem|blocks\.\d+\.(depthwise|pointwise)" in asked.stand_ins
    (part,) = recipe("cbam/5")("paper").only("cbam.*,CBAM").parts[:1]
    assert part.comparison.trial(part.rows[0][1], 0).at == r"stem|blocks\.\d+\.(depthwise|pointwise)"


@pytest.mark.parametrize(("table", "profile"), [("cbam/5", "smoke"), ("bam/3a", "smoke")])
def test_every_arm_of_a_stand_in_can_be_built(table, profile):
    for part in recipe(table)(profile).parts:
        for arm in part.comparison.gates:
            assert bool(build_network(part.comparison.trial(arm, 0), (3, 32, 32), 10).sites) == (arm != "none")


def test_more_epochs_than_the_papers_are_said_too():
    assert recipe("cbam/4")("modern").stand_ins == ("100 epochs, not 90",)
    assert recipe("cbam/4")("paper", epochs=91).stand_ins == ("91 epochs, not 90",)


def test_what_stands_in_is_said():
    assert SMOKE.stand_ins == (
        "resnet8 stands in for ResNet50",
        "scenes stands in for cifar100",
        "2,000 training images of all",
        "2 epochs, not 300",
    )
    asked = recipe("bam/1b")("short", host="resnet20", epochs=6, limit=20_000)
    assert asked.stand_ins == ("resnet20 stands in for ResNet50", "20,000 training images of all", "6 epochs, not 300")
    assert asked.parts[0].comparison.recipe.precision == "bf16"


def test_fewer_epochs_keep_the_share_of_the_warm_up():
    whole, short = (recipe("bam/1b")("modern", epochs=epochs).parts[0].comparison.recipe for epochs in (None, 20))
    assert (whole.epochs, whole.warmup_epochs) == (200, 5.0)
    assert (short.epochs, short.warmup_epochs) == (20, 0.5)


@pytest.mark.parametrize(
    ("wanted", "hosts", "arms"),
    [
        ("resnet50", {"resnet50"}, {"none", "bam"}),
        ("ResNet50,wrn28-10", {"resnet50", "wrn28-10"}, {"none", "bam"}),
        (r"wrn28-\d+", {"wrn28-8", "wrn28-10"}, {"none", "bam"}),
    ],
)
def test_rows_are_chosen_by_host(wanted, hosts, arms):
    asked = recipe("bam/3a")("paper").only(wanted)
    assert {part.comparison.host for part in asked.parts} == hosts
    assert {arm for part in asked.parts for arm in part.comparison.gates} == arms


def test_the_yardstick_stays_when_rows_are_chosen_by_arm():
    asked = recipe("bam/1b")("paper").only("bam:combine=.*")
    assert asked.parts[0].comparison.gates == ("none", "bam:combine=max", "bam:combine=product")
    assert [arm for _, arm in asked.parts[0].rows] == ["bam:combine=max", "bam:combine=product"]


def test_a_row_that_is_not_there_is_told_with_those_that_are():
    with pytest.raises(RunError) as caught:
        recipe("bam/5")("paper").only("resnet500")
    lines = str(caught.value).splitlines()
    assert lines[0] == "reproduce('bam/5', rows='resnet500'): no row goes by 'resnet500'"
    assert lines[1].startswith("  closest: 'ResNet50'")
    assert lines[2].startswith("  fix: a host, an arm or a label of the table: resnet50, ResNet50, se, ")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: recipe("bam/1d"),
            "reproduce('bam/1d'): the papers have no such table\n"
            "  closest: 'cbam/1', 'bam/1c', 'bam/1b'\n"
            f"  fix: one of {', '.join(RECIPES)}",
        ),
        (
            lambda: recipe("bam/1b")("tiny"),
            "reproduce(profile='tiny'): no such profile\n  fix: one of paper, modern, short, smoke",
        ),
        (
            lambda: SMOKE.only("bam("),
            "reproduce('bam/1b', rows='bam('): 'bam(' is no regular expression\n"
            "  got: missing ), unterminated subpattern at position 3",
        ),
        (
            lambda: SMOKE.only(","),
            "reproduce('bam/1b', rows=','): there must be at least one row\n  fix: leave rows out for all of them",
        ),
    ],
)
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(RunError) as caught:
        call()
    assert str(caught.value) == message


def test_further_arms_join_every_host():
    asked = recipe("bam/2")("paper").only("resnet50").with_arms(["wider", "bam/frozen"])
    assert asked.parts[0].comparison.gates == ("none", "bam@blocks", "bam", "wider", "bam/frozen")
    assert len(asked.parts[0].rows) == 3
