"""What gates do from epoch to epoch."""

import json
from dataclasses import replace

import pytest
import torch
from support.explain_cases import gated, images

import whatwhere as ww
from whatwhere.data import load
from whatwhere.experiments import Comparison, finished_trials, run_trials
from whatwhere.experiments.gate_history import GateHistory, read_history
from whatwhere.train import Recipe


def gates(model):
    return [module for module in model.modules() if isinstance(module, ww.BAM)]


def test_a_line_an_epoch_with_the_way_its_profile_went(tmp_path):
    model, x = gated("bam"), images(8)
    history = GateHistory(model, x, tmp_path)
    with torch.no_grad(), ww.record(model) as before:
        model(x)
    history.note(1)
    for gate in gates(model):
        for weight in gate.parameters():
            weight.data *= 1.5
    with torch.no_grad(), ww.record(model) as after:
        model(x)
    history.note(2)
    history.note(3)
    first, second, third = read_history(tmp_path)
    assert [line["epoch"] for line in (first, second, third)] == [1, 2, 3]
    for i, name in enumerate(before):
        assert first["gates"][i]["site"] == name
        assert first["gates"][i]["drift"] is None
        moved = after[name].channels.mean(0) - before[name].channels.mean(0)
        assert second["gates"][i]["drift"] == pytest.approx(float(moved.square().mean().sqrt()), rel=1e-5)
        assert third["gates"][i]["drift"] == 0
        assert second["gates"][i]["sd_images"] == pytest.approx(after[name].figures["sd_images"])


def test_a_run_that_goes_on_writes_what_one_without_a_break_would(tmp_path):
    model, x = gated("cbam"), images(4)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for folder in (whole, broken):
        folder.mkdir()

    def weights(epoch: int) -> None:
        torch.manual_seed(epoch)
        for weight in model.parameters():
            weight.data.normal_(std=0.2)

    history = GateHistory(model, x, whole)
    for epoch in (1, 2, 3):
        weights(epoch)
        history.note(epoch)
    for epoch in (1, 2, 3):  # a new process each time
        weights(epoch)
        GateHistory(model, x, broken).note(epoch)
    assert (whole / "gates.jsonl").read_bytes() == (broken / "gates.jsonl").read_bytes()
    weights(2)  # the third epoch was lost before its checkpoint, and the second is done again
    GateHistory(model, x, broken).note(2)
    assert [line["epoch"] for line in read_history(broken)] == [1, 2]


def test_training_is_left_as_it_was(tmp_path):
    model = gated("bam").train()
    state = {key: value.clone() for key, value in model.state_dict().items()}
    random = torch.get_rng_state()
    GateHistory(model, images(4), tmp_path).note(1)
    assert model.training
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_every_trial_with_gates_keeps_them(tmp_path):
    splits = load("scenes", limit=80)
    splits = replace(
        splits, validation=splits.validation.take(torch.arange(20)), test=splits.test.take(torch.arange(20))
    )
    recipe = Recipe(epochs=2, batch_size=40, padding=0)
    comparison = Comparison(
        "resnet8", ("none", "bam", "cbam"), "scenes", seeds=1, recipe=recipe, stem="small", limit=80
    )
    run_trials(comparison.trials(), tmp_path, splits)
    none, bam, cbam = (tmp_path / trial.name for trial in comparison.trials())
    assert not (none / "gates.jsonl").exists()
    for folder, sites in ((bam, 2), (cbam, 3)):
        lines = read_history(folder)
        assert [line["epoch"] for line in lines] == [1, 2]
        assert [len(line["gates"]) for line in lines] == [sites, sites]
        assert all(gate["drift"] > 0 for gate in lines[1]["gates"])
    (result,) = finished_trials([comparison.trials()[1]], tmp_path)
    assert [gate["site"] for gate in result.gates] == [gate["site"] for gate in read_history(bam)[1]["gates"]]
    assert all(gate["probed"] == 20 and gate["moved"] > 0 for gate in result.gates)


def test_a_damaged_file_loses_its_bad_lines_alone(tmp_path):
    history = GateHistory(gated("se"), images(2), tmp_path)
    history.note(1)
    with open(tmp_path / "gates.jsonl", "a") as file:
        file.write('{"epoch": 2, "gat\n[]\n')
    (tmp_path / "gates.safetensors").write_bytes(b"?")
    history.note(3)
    found = read_history(tmp_path)
    assert [line["epoch"] for line in found] == [1, 3]
    assert found[1]["gates"][0]["drift"] is None
    assert json.dumps(found, allow_nan=False)
    assert read_history(tmp_path / "nowhere") == []
