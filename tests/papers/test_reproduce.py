"""`reproduce` from end to end on made-up images: the paper's figures beside ours, shared trials, going on."""

import json
from dataclasses import replace

import pytest
import torch

from whatwhere.cli.main import main
from whatwhere.data import ImageSet, Splits
from whatwhere.errors import RunError, Stopped
from whatwhere.experiments import classifying, runner
from whatwhere.papers import forecast, grid, recipe, reproduce
from whatwhere.train import Epoch, Trained


@pytest.fixture
def trained(monkeypatch):
    """Training by table: what was trained, and accuracies that grow with the seed."""
    done = []

    def train(model, splits, recipe, *, seed, folder, on_epoch, progress, loggers):
        gate = json.loads((folder / "trial.json").read_text())["gate"]
        if gate in fails:
            raise RunError(fails[gate])
        done.append((gate, seed))
        for epoch in range(1, recipe.epochs + 1):
            on_epoch(Epoch(epoch, 0.1, 1.0, 0.5, 1.0, 0.5, 1.0, 8.0))
        accuracy = {"none": 0.70, "bam": 0.75}.get(gate, 0.72) + 0.01 * seed + 0.001 * len(gate) * (seed == 1)
        return Trained(accuracy, 0.5, 1, 0.75, recipe.epochs, 1.0, 8.0)

    def images(n):
        return ImageSet(torch.randint(0, 256, (n, 3, 16, 16), dtype=torch.uint8), torch.arange(n) % 2)

    splits = Splits("scenes", ("a", "b"), images(8), images(4), images(6), (0.5,) * 3, (0.2,) * 3)
    monkeypatch.setattr(runner, "train", train)
    monkeypatch.setattr(classifying, "load", lambda name, **_: splits)
    fails = {}
    train.fails = fails
    return done, fails


def test_the_papers_figures_stand_beside_ours(trained, tmp_path):
    asked = recipe("bam/3a")("smoke").only("resnet50")
    found = reproduce(asked, tmp_path, command="whatwhere reproduce bam/3a")
    assert found == json.loads((tmp_path / "bam-3a-resnet50" / "reproduction.json").read_text())
    bare, gated = found["rows"]
    assert (bare["printed_host"], bare["ran_host"], bare["arm"]) == ("ResNet50", "resnet8", "none")
    assert bare["paper"] == {"parameters": "23.71", "gmacs": "1.22", "metrics": {"error_top1": "21.49"}}
    assert bare["ours"]["metrics"]["error_top1"]["mean"] == pytest.approx(100 - 71 - 0.4 / 3)
    ends = bare["ours"]["metrics"]["error_top1"]
    assert ends["low"] < ends["mean"] < ends["high"]
    assert (gated["ours"]["n"], gated["ours"]["declared"]) == (3, 3)
    assert gated["ours"]["difference"]["mean"] == pytest.approx(5 - 0.1 / 3)
    assert gated["ours"]["parameters"] > bare["ours"]["parameters"]
    table = (tmp_path / "bam-3a-resnet50" / "table.md").read_text()
    assert table == grid(found).markdown()
    assert "| ResNet50 (resnet8) |" in table
    assert "- Not the paper's experiment: resnet8 stands in for ResNet50; scenes stands in for cifar100; " in table


def test_tables_share_their_trials_and_a_second_call_trains_nothing(trained, tmp_path):
    done, _ = trained
    reproduce(recipe("bam/3a")("smoke").only("resnet50"), tmp_path)
    assert sorted(set(done)) == [(gate, seed) for gate in ("bam", "none") for seed in range(3)]
    done.clear()
    reproduce(recipe("bam/1b")("smoke"), tmp_path)
    assert {gate for gate, _ in done} == {"bam:branches=channel", "bam:branches=spatial", "bam:combine=max"} | {
        "bam:combine=product"
    }
    done.clear()
    reproduce(recipe("bam/1b")("smoke"), tmp_path)
    assert done == []
    assert {path.name for path in tmp_path.iterdir()} == {"trials", "bam-3a-resnet50", "bam-1b"}


def test_a_failing_arm_leaves_the_table_of_the_others(trained, tmp_path):
    _, fails = trained
    fails["bam:combine=max"] = "train: the loss became nan at epoch 1, step 3"
    with pytest.raises(RunError) as caught:
        reproduce(recipe("bam/1b")("smoke"), tmp_path)
    assert caught.value.rule.startswith("reproduce('bam/1b'): compare: 3 of 18 trials failed: bam-combine=max-seed0-")
    assert caught.value.got == "train: the loss became nan at epoch 1, step 3"
    found = json.loads((tmp_path / "bam-1b" / "reproduction.json").read_text())
    counts = {row["arm"]: row["ours"]["n"] for row in found["rows"]}
    assert counts == dict.fromkeys(counts, 3) | {"bam:combine=max": 0}
    line = next(line for line in grid(found).markdown().splitlines() if "bam:combine=max" in line)
    assert "| 0 of 3 |" in line
    assert "pending (0 of 3 seeds)" in line


def test_figures_of_another_training_are_not_taken_for_these(trained, tmp_path):
    def asked(epochs=2, seeds=2):
        return recipe("bam/1b")("smoke", epochs=epochs, seeds=seeds)

    reproduce(asked(), tmp_path)
    before = (tmp_path / "bam-1b" / "reproduction.json").read_bytes()
    with pytest.raises(RunError) as caught:
        reproduce(asked(epochs=1), tmp_path)
    assert caught.value.got == "recipe.epochs: 2 there, 1 here"
    assert (tmp_path / "bam-1b" / "reproduction.json").read_bytes() == before
    found = reproduce(asked(seeds=3), tmp_path)
    assert {(row["ours"]["n"], row["ours"]["declared"]) for row in found["rows"]} == {(3, 3)}


def test_a_signal_ends_all_hosts_and_not_one(trained, tmp_path, monkeypatch):
    done, _ = trained
    usual = runner.train

    def train(model, splits, recipe, *, seed, folder, **rest):
        if seed == 1:
            raise Stopped("train: stopped by SIGTERM at epoch 1, after step 3 of 9")
        return usual(model, splits, recipe, seed=seed, folder=folder, **rest)

    monkeypatch.setattr(runner, "train", train)
    asked = recipe("bam/2")("short").only("resnet50,wrn28-8")
    small = [replace(part, comparison=replace(part.comparison, host="resnet8")) for part in asked.parts]
    with pytest.raises(Stopped):
        reproduce(replace(asked, parts=tuple(small)), tmp_path)
    assert done == [("none", 0), ("bam", 0), ("bam", 0)]
    assert json.loads((tmp_path / asked.folder / "reproduction.json").read_text())["folders"] == [small[0].folder]


def test_a_file_in_the_folders_place_is_told_by_its_name(tmp_path):
    out = tmp_path / "taken"
    out.write_text("mine")
    with pytest.raises(RunError) as caught:
        reproduce(recipe("bam/3a")("smoke").only("resnet50"), out)
    assert str(caught.value) == (
        f"compare(out={str(out / 'bam-3a-resnet50' / 'resnet8-scenes')!r}): the folder cannot be written\n"
        "  got: Not a directory\n  fix: name a folder of your own with --out (out=)"
    )
    assert out.read_text() == "mine"


def test_a_summary_that_a_hand_changed_does_not_hide_the_failure(trained, tmp_path):
    asked = recipe("bam/3a")("smoke").only("resnet50")
    reproduce(asked, tmp_path)
    folder = tmp_path / "bam-3a-resnet50" / "resnet8-scenes"
    (folder / "summary.json").write_text("[]")
    (folder / "comparison.json").write_text("[]")
    with pytest.raises(RunError) as caught:
        reproduce(asked, tmp_path)
    assert str(caught.value) == (
        f"compare(out={str(folder)!r}): its comparison.json cannot be read\n"
        f"  fix: delete {folder / 'comparison.json'} if the folder is this comparison's, or name another one"
    )
    (folder / "comparison.json").unlink()
    assert reproduce(asked, tmp_path)["rows"][0]["ours"]["n"] == 3


def test_a_forecast_counts_what_is_left(trained, tmp_path):
    asked = recipe("bam/3a")("smoke", seeds=2).only("resnet50")
    before = forecast(asked, tmp_path)
    assert [(one.arm, one.trials, one.finished, one.images) for one in before] == [
        ("none", 2, 0, 8_000),
        ("bam", 2, 0, 8_000),
    ]
    assert all(one.seconds > 0 for one in before)
    assert list(tmp_path.iterdir()) == []
    reproduce(asked, tmp_path)
    assert [(one.finished, one.images, one.seconds) for one in forecast(asked, tmp_path)] == [(2, 0, 0.0)] * 2


def test_the_dry_run_writes_nothing_and_ends_with_the_sum(capsys, tmp_path):
    out = tmp_path / "out"
    words = ["reproduce", "bam/3a", "--rows", "resnet50", "--profile", "smoke", "--dry-run", "--out", str(out)]
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| host and data | arm | trials | finished | images | time |"
    assert lines[4].startswith("| all |  | 6 | 0 | 24,000 | ")
    assert not out.exists()


def test_the_command_ends_with_the_table(trained, capsys, tmp_path):
    words = ["reproduce", "bam/3a", "--rows", "resnet50", "--profile", "smoke", "--also", "bam/frozen,wider"]
    assert main([*words, "--out", str(tmp_path), "--quiet"]) == 0
    out, err = capsys.readouterr()
    folder = tmp_path / "bam-3a-resnet50"
    assert out == (folder / "table.md").read_text()
    assert err.splitlines() == [str(folder / name) for name in ("report.html", "report.md", "report.csv")]
    assert "BAM table 3a" in (folder / "report.html").read_text()
    summary = json.loads((tmp_path / "bam-3a-resnet50" / "resnet8-scenes" / "summary.json").read_text())
    arms = [arm["gate"] for arm in summary["arms"]]
    assert arms[:3] == ["none", "bam", "bam/frozen"]
    assert arms[3].startswith("wider:parameters=")


def test_an_unknown_table_ends_with_2_and_words(capsys):
    assert main(["reproduce", "bam/9"]) == 2
    assert capsys.readouterr().err.startswith("reproduce('bam/9'): the papers have no such table\n")
