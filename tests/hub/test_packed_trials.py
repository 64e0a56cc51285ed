"""A finished trial becomes a folder with its network and an honest card; everything else is refused by name."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from whatwhere.cli.pack import Pack
from whatwhere.data import ImageSet, Splits
from whatwhere.errors import HostError, RunError, WhatwhereError
from whatwhere.experiments import packing, run_trials
from whatwhere.experiments.spec import Comparison
from whatwhere.hub import load_network
from whatwhere.train import Recipe

ARMS = ("none", "bam:preset=released", "wider:parameters=80000", "extra_block", "se@blocks/frozen")


def _images(count: int, seed: int) -> ImageSet:
    draw = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8, generator=draw)
    return ImageSet(images, torch.arange(count) % 2)


SPLITS = Splits("folder:/srv/me/secret/pets", ("cat", "dog"), _images(24, 0), _images(8, 1), _images(20, 2),
                (0.5, 0.4, 0.3), (0.2, 0.2, 0.2))  # fmt: skip
SPECS = {
    (arm, seed): Comparison("resnet8", ARMS, SPLITS.name, 2, Recipe(epochs=1, batch_size=12), stem="small").trial(
        arm, seed
    )
    for arm in ARMS
    for seed in (0, 1)
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    run_trials(list(SPECS.values()), folder, SPLITS)
    (folder / "comparison.json").write_text(json.dumps({"seeds": 2}))
    return folder


@pytest.fixture
def run(finished, tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(packing, "load", lambda name, **_: SPLITS)
    return shutil.copytree(finished, tmp_path / "run")


def trial(run: Path, arm: str, seed: int = 0) -> Path:
    return run / SPECS[arm, seed].name


@pytest.mark.parametrize("arm", [arm for arm in ARMS if arm != "extra_block"])
def test_the_packed_network_is_the_trained_one(arm, run, tmp_path, capsys) -> None:
    assert Pack(trial(run, arm), tmp_path / "out").run() == 0
    assert capsys.readouterr().out == f"{tmp_path}/out/: config.json, model.safetensors, README.md\n"
    network = load_network(tmp_path / "out")
    best = load_file(trial(run, arm) / "best.safetensors")
    state = network.network.state_dict()
    assert state.keys() == best.keys()
    assert all(torch.equal(state[name], tensor) for name, tensor in best.items())
    with torch.no_grad():
        right = network(network.normalise(SPLITS.test.images)).argmax(1) == SPLITS.test.labels
    stated = json.loads((trial(run, arm) / "result.json").read_text())["test_accuracy"]
    assert right.float().mean().item() == pytest.approx(stated)
    assert (network.config.classes, network.config.image_size) == (("cat", "dog"), (8, 8))


def test_the_card_tells_the_recipe_the_seeds_and_the_limits(run, tmp_path) -> None:
    arm = "bam:preset=released"
    Pack(trial(run, arm), tmp_path / "out").run()
    card = (tmp_path / "out" / "README.md").read_text()
    values = {
        name: [
            100 * json.loads((trial(run, name, seed) / "result.json").read_text())["test_accuracy"] for seed in (0, 1)
        ]
        for name in (arm, "none")
    }
    assert "| batch_size | 12 |" in card
    assert "On `folder:pets` (images: 24 to train on, 8 to choose the epoch by, 20 to test), with seed 0: " in card
    assert "secret" not in card + (tmp_path / "out" / "config.json").read_text()
    assert f"These weights: **{values[arm][0]:.2f} %** of the test images right" in card
    assert f"when they were packed: {values[arm][0]:.2f} %." in card
    for name, said in ((arm, f"{arm}@bottlenecks"), ("none", "the bare host")):
        seeds = ", ".join(f"{seed}: {value:.2f}" for seed, value in enumerate(values[name]))
        row = next(
            line for line in card.splitlines() if line.startswith(f"| {said} | 2 | {sum(values[name]) / 2:.2f} |")
        )
        assert row.endswith(f"| {seeds} |")
    assert "Against the bare host, paired over 2 seeds: " in card
    assert "The seeds differ by what the standard deviation says; this folder holds one of them." in card
    assert "## Limits" in card
    head = card.split("---\n")[1]
    assert f'"metrics": [{{"type": "accuracy", "value": {values[arm][0] / 100}}}]' in head


def test_a_folder_that_does_not_say_how_many_seeds_there_were_to_be_allows_no_statement(run, tmp_path) -> None:
    (run / "comparison.json").unlink()
    Pack(trial(run, "bam:preset=released"), tmp_path / "out").run()
    card = (tmp_path / "out" / "README.md").read_text()
    (line,) = [line for line in card.splitlines() if line.startswith("Against the bare host, paired over 2 seeds: ")]
    assert line.endswith(": no statement, for nothing here says how many seeds there were to be.")
    assert "Holm" not in line


def test_one_seed_allows_no_statement(run, tmp_path) -> None:
    shutil.rmtree(trial(run, "none", 1))
    shutil.rmtree(trial(run, "bam:preset=released", 1))
    Pack(trial(run, "bam:preset=released"), tmp_path / "out").run()
    card = (tmp_path / "out" / "README.md").read_text()
    assert "percentage points: pending (1 of 2 seeds)." in card
    assert "One seed was trained, so nothing is known of how much another would differ." in card


def test_other_recipes_and_broken_results_beside_it_do_not_count(run, tmp_path) -> None:
    (trial(run, "none", 1) / "result.json").write_text("{}")
    other = json.loads((trial(run, "bam:preset=released", 1) / "trial.json").read_text())
    other["recipe"]["lr"] = 0.5
    (trial(run, "bam:preset=released", 1) / "trial.json").write_text(json.dumps(other))
    Pack(trial(run, "bam:preset=released"), tmp_path / "out").run()
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| bam:preset=released@bottlenecks | 1 |" in card
    assert "| the bare host | 1 |" in card


def refused(run: Path, folder: Path, out: Path) -> list[str]:
    with pytest.raises(WhatwhereError) as found:
        Pack(folder, out).run()
    assert isinstance(found.value, RunError | HostError)
    assert not (out / "config.json").exists()
    return str(found.value).replace(str(run), "run").splitlines()


def test_a_control_that_changes_the_host(run, tmp_path) -> None:
    folder = trial(run, "extra_block")
    assert refused(run, folder, tmp_path / "out") == [
        f"pack('run/{folder.name}'): the arm 'extra_block' has blocks of the host where gates would stand, and no "
        "config can say that",
        "  fix: pack a trial of the bare host, of a gate or of a wider host",
    ]


def test_a_folder_that_is_no_trial(run, tmp_path) -> None:
    lines = refused(run, run, tmp_path / "out")
    assert lines[:2] == ["pack('run'): there is no trial in that folder", "  got: a folder of 10 trials"]
    assert lines[2].startswith("  closest: 'bam-preset=released-seed0-")
    fix = "  fix: name the folder of one trial: the one that has trial.json, result.json and best.safetensors"
    assert lines[3] == fix
    assert refused(run, run / "nothing", tmp_path / "out") == [
        "pack('run/nothing'): there is no trial in that folder",
        "  got: no trial.json",
        fix,
    ]


def test_files_that_are_missing_or_changed(run, tmp_path) -> None:
    folder, out = trial(run, "none"), tmp_path / "out"
    call = f"pack('run/{folder.name}')"
    whole = (folder / "best.safetensors").read_bytes()
    weights = load_file(folder / "best.safetensors")
    copied = "  fix: the trial's folder is not whole: copy it again"

    (folder / "best.safetensors").unlink()
    assert refused(run, folder, out) == [f"{call}: there is no best.safetensors", copied]
    (folder / "best.safetensors").write_bytes(whole[:-50])
    lines = refused(run, folder, out)
    assert (lines[0], lines[2]) == (f"{call}: best.safetensors is damaged", copied)
    save_file({**weights, "fc.weight": torch.zeros(2, 3)}, folder / "best.safetensors")
    assert refused(run, folder, out) == [
        f"{call}: best.safetensors is not of this trial's network",
        "  got: 'fc.weight' is (2, 3) in the file and (2, 64) in the network",
        copied,
    ]
    (folder / "best.safetensors").write_bytes(whole)
    stated = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps({**stated, "test_accuracy": 90}))
    assert refused(run, folder, out)[0].startswith(f"{call}: result.json cannot be believed: ")
    (folder / "result.json").unlink()
    assert refused(run, folder, out) == [
        f"{call}: the trial is not finished",
        "  got: no result.json",
        "  fix: make the call that began it again",
    ]
    (folder / "trial.json").write_text("{")
    assert refused(run, folder, out)[0] == f"{call}: trial.json cannot be read"


def test_an_accuracy_that_does_not_come_out_again(run, tmp_path, monkeypatch) -> None:
    folder = trial(run, "none")
    Pack(folder, tmp_path / "once").run()
    network = load_network(tmp_path / "once")
    answers = network(network.normalise(SPLITS.test.images)).argmax(1)
    changed = replace(SPLITS, test=ImageSet(SPLITS.test.images, 1 - answers))
    monkeypatch.setattr(packing, "load", lambda name, **_: changed)
    stated = json.loads((folder / "result.json").read_text())["test_accuracy"]
    assert refused(run, folder, tmp_path / "out") == [
        f"pack('run/{folder.name}'): best.safetensors does not give the test accuracy that result.json states",
        f"  got: 0.00 %, where result.json has {100 * stated:.2f} %",
        "  fix: one of the two files, or the data, is not what it was when the trial was finished",
    ]


def test_a_target_that_holds_something_else(run, tmp_path) -> None:
    (tmp_path / "README.md").write_text("mine")
    assert refused(run, trial(run, "none"), tmp_path) == [
        f"pack(out='{tmp_path}'): the folder holds something else, and its README.md would be overwritten; nothing was "
        "written",
        "  fix: name a new folder",
    ]


def test_specs_of_one_setting_differ_in_arm_and_seed_alone() -> None:
    assert len({packing._setting(spec) for spec in SPECS.values()}) == 1
    assert packing._setting(replace(SPECS["none", 0], limit=5)) != packing._setting(SPECS["none", 0])
