"""`compare` checks first, trains then, and tells what came of it, finished or not."""

import errno
import json
import os
import tempfile
from dataclasses import replace

import pytest

from whatwhere.errors import AttachError, GateError, RunError
from whatwhere.experiments import Comparison, Watch, classifying, compare
from whatwhere.experiments import comparison as module
from whatwhere.train import Recipe

COMPARISON = Comparison("tiny", ("none", "se", "bam"), "tiny", seeds=3, recipe=Recipe(epochs=2, batch_size=4))


@pytest.fixture
def gains(lab):
    """SE gains 5 points with a little noise; BAM gains the same in every seed."""
    for seed, noise in enumerate((0.0, 0.002, -0.002)):
        lab.accuracy["none", seed] = 0.80 + 0.01 * seed
        lab.accuracy["se", seed] = 0.85 + 0.01 * seed + noise
        lab.accuracy["bam", seed] = 0.81 + 0.01 * seed
    return lab


def test_the_summary_holds_accuracies_differences_costs_and_where_they_come_from(gains, tmp_path):
    summary = compare(COMPARISON, tmp_path)
    assert summary == json.loads((tmp_path / "summary.json").read_text())
    none, se, bam = summary["arms"]
    assert (none["gate"], none["at"], none["sites"], none["difference"]) == ("none", None, [], None)
    assert (se["gate"], se["at"], se["sites"]) == ("se", "blocks", ["conv"])
    assert none["accuracy"]["mean"] == pytest.approx(81)
    assert none["accuracy"]["sd"] == pytest.approx(1)
    assert se["seeds"] == pytest.approx({"0": 85, "1": 86.2, "2": 86.8})
    assert se["difference"]["mean"] == pytest.approx(5)
    assert se["difference"]["verdict"] == "better"
    assert bam["difference"]["verdict"] == "same difference in every seed: no statement"
    assert se["parameters"] == none["parameters"] + 20
    assert se["bytes_kept_per_image"] > 0
    assert se["ms_per_image_low"] <= se["ms_per_image"] <= se["ms_per_image_high"]
    assert (se["latency_batch"], summary["pending"]) == (4, [])
    assert summary["images"] == {"train": 8, "validation": 4, "test": 6}
    assert summary["comparison"]["stem"] == "small"
    assert len(summary["trained_on"]) == 1


def test_the_folder_holds_summary_table_picture_and_trials(gains, tmp_path):
    compare(COMPARISON, tmp_path)
    trials = {spec.name for spec in replace(COMPARISON, stem="small").trials()}
    assert set(os.listdir(tmp_path)) == {"comparison.json", "summary.json", "table.md", "picture.png", *trials}
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_the_yardstick_comes_first_wherever_it_was_named(gains, tmp_path):
    summary = compare(replace(COMPARISON, gates=("se", "none")), tmp_path)
    assert [arm["gate"] for arm in summary["arms"]] == ["none", "se"]


def test_a_rerun_trains_nothing_and_a_grown_one_only_what_is_new(gains, tmp_path):
    compare(replace(COMPARISON, gates=("none", "se"), seeds=1), tmp_path)
    gains.trained.clear()
    compare(replace(COMPARISON, gates=("none", "se"), seeds=1), tmp_path)
    assert gains.trained == []
    compare(replace(COMPARISON, seeds=2), tmp_path)
    assert gains.trained == [("bam", 0), ("none", 1), ("se", 1), ("bam", 1)]


def test_a_failing_trial_leaves_a_summary_of_the_others(gains, tmp_path):
    gains.fails["bam", 1] = RunError("train: the loss became nan at epoch 1, step 3")
    with pytest.raises(RunError) as caught:
        compare(COMPARISON, tmp_path)
    assert caught.value.rule.startswith("compare: 1 of 9 trials failed: bam-seed1-")
    assert caught.value.got == "train: the loss became nan at epoch 1, step 3"
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert [arm["accuracy"]["n"] for arm in summary["arms"]] == [3, 3, 2]
    assert summary["arms"][2]["difference"]["n"] == 2
    assert summary["arms"][0]["ms_per_image"] is None
    pending = [name.rsplit("-", 1)[0] for name in summary["pending"]]
    assert pending == ["bam-seed1"]
    assert "- Not finished: bam-seed1-" in (tmp_path / "table.md").read_text()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError("disk")], ids=["ctrl-c", "other"])
def test_what_is_finished_is_summarised_before_any_error_leaves_and_the_next_run_completes(gains, tmp_path, error):
    gains.fails["none", 1] = error
    with pytest.raises(type(error)) as caught:
        compare(COMPARISON, tmp_path)
    assert caught.value is error
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert [arm["accuracy"]["n"] for arm in summary["arms"]] == [1, 1, 1]
    gains.fails.clear()
    gains.trained.clear()
    assert compare(COMPARISON, tmp_path)["pending"] == []
    assert gains.trained[0] == ("none", 1)


class Ear(Watch):
    def __init__(self):
        self.heard = []

    def warned(self, message):
        self.heard.append(message)


def test_a_summary_that_fails_does_not_hide_the_first_error(gains, tmp_path, monkeypatch):
    def fail(summary):
        raise ValueError("no picture\nat all")

    monkeypatch.setattr(module, "draw", fail)
    gains.fails["none", 0] = RunError("train: no")
    ear = Ear()
    with pytest.raises(RunError, match=r"^compare: 1 of 9 trials failed: none-seed0-"):
        compare(COMPARISON, tmp_path, watch=ear)
    assert ear.heard == ["what was finished could not be summarised: no picture"]


def test_a_finished_comparison_can_be_had_from_a_folder_that_takes_no_files(gains, tmp_path, monkeypatch):
    whole = compare(COMPARISON, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}

    def closed(**_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(tempfile, "TemporaryFile", closed)
    ear = Ear()
    again = compare(COMPARISON, tmp_path, watch=ear)
    assert [arm["accuracy"] for arm in again["arms"]] == [arm["accuracy"] for arm in whole["arms"]]
    assert ear.heard == [f"{tmp_path} takes no files (Read-only file system): this summary was not written"]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    with pytest.raises(RunError) as caught:
        compare(replace(COMPARISON, seeds=4), tmp_path)
    assert str(caught.value) == (
        f"compare(out={str(tmp_path)!r}): the folder cannot be written\n"
        "  got: Read-only file system\n"
        "  fix: name a folder of your own with --out (out=)"
    )


def test_the_notes_say_what_the_bytes_are_of(gains, tmp_path):
    (note,) = (note for note in compare(COMPARISON, tmp_path)["notes"] if note.startswith("Per image: "))
    assert note.startswith(
        "Per image: MACs of a forward; kept, the bytes that training at batch 4 keeps for backward in float32; ms, "
        "the median of forwards at batch 4, arms interleaved, in float32 on "
    )


def test_a_first_trial_that_fails_still_draws(gains, tmp_path):
    gains.fails.update({(gate, seed): RunError("train: no") for gate in ("none", "bam") for seed in range(3)})
    with pytest.raises(RunError, match=r"^compare: 6 of 9 trials failed: "):
        compare(COMPARISON, tmp_path)
    assert "pending (0 of 3 seeds)" in (tmp_path / "table.md").read_text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"gates": ("se", "bam")},
            "compare(gates='se,bam'): 'none', the bare host as the yardstick, is missing\n  fix: gates='none,se,bam'",
        ),
        ({"gates": ()}, "compare(gates=''): 'none', the bare host as the yardstick, is missing\n  fix: gates='none'"),
        (
            {"gates": ("none", "se", "se")},
            "compare(gates='none,se,se'): 'se' is named twice\n  fix: name each gate once",
        ),
        (
            {"gates": ("none", "bam", "bam@bottlenecks")},
            "compare(gates='none,bam,bam@bottlenecks'): 'bam' and 'bam@bottlenecks' are one arm\n"
            "  fix: name each arm once",
        ),
        ({"seeds": 0}, "compare(seeds=...): there must be at least one seed\n  got: seeds=0"),
    ],
    ids=["no yardstick", "no gates", "twice", "two names", "no seeds"],
)
def test_nonsense_is_refused_before_anything_is_written(lab, tmp_path, changes, message):
    with pytest.raises(RunError) as caught:
        compare(replace(COMPARISON, **changes), tmp_path / "out")
    assert str(caught.value) == message
    assert not (tmp_path / "out").exists()


def test_an_unknown_gate_is_told_before_the_first_training(lab, tmp_path):
    with pytest.raises(GateError, match=r"^gate 'bamm': there is no gate 'bamm'\n  closest: 'bam', 'cbam'\n"):
        compare(replace(COMPARISON, gates=("none", "bamm")), tmp_path)
    with pytest.raises(AttachError, match=r"^attach_\(TinyHost, 'bamm'\): no gate has this name\n  closest: 'bam'$"):
        compare(replace(COMPARISON, gates=("none", "bamm"), at="conv"), tmp_path)
    assert lab.trained == []
    assert os.listdir(tmp_path) == []


def test_a_missing_library_is_told_before_the_first_training(lab, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None if name in ("scipy", "matplotlib") else name)
    with pytest.raises(RunError) as caught:
        compare(COMPARISON, tmp_path)
    assert str(caught.value) == (
        "compare: scipy, matplotlib must be installed first\n  fix: pip install 'whatwhere[lab]'"
    )


def test_a_folder_that_cannot_be_written_is_told_before_the_first_training(lab, tmp_path):
    out = tmp_path / "file"
    out.write_text("")
    with pytest.raises(RunError) as caught:
        compare(COMPARISON, out)
    assert str(caught.value).splitlines()[0] == f"compare(out={str(out)!r}): the folder cannot be written"


def test_a_folder_with_another_comparison_is_refused_with_every_difference(gains, tmp_path):
    compare(replace(COMPARISON, seeds=1), tmp_path)
    other = replace(COMPARISON, host="big", recipe=replace(COMPARISON.recipe, epochs=3))
    with pytest.raises(RunError) as caught:
        compare(other, tmp_path)
    assert str(caught.value) == (
        f"compare(out={str(tmp_path)!r}): the folder holds another comparison\n"
        "  got: host: 'tiny' there, 'big' here; recipe.epochs: 2 there, 3 here\n"
        "  fix: name another folder for this comparison"
    )


def test_a_folder_of_an_older_release_goes_on(gains, tmp_path):
    compare(replace(COMPARISON, seeds=1), tmp_path)
    path, trained = tmp_path / "comparison.json", len(gains.trained)
    written = json.loads(path.read_text())
    for later in ("task", "recipe.augment", "recipe.compile"):
        del written["setting"][later]
    path.write_text(json.dumps(written))
    compare(replace(COMPARISON, seeds=1), tmp_path)
    assert len(gains.trained) == trained


def test_a_broken_comparison_file_is_told(lab, tmp_path):
    (tmp_path / "comparison.json").write_text("{")
    with pytest.raises(RunError) as caught:
        compare(COMPARISON, tmp_path)
    assert str(caught.value) == (
        f"compare(out={str(tmp_path)!r}): its comparison.json cannot be read\n"
        f"  fix: delete {tmp_path / 'comparison.json'} if the folder is this comparison's, or name another one"
    )


def test_what_no_trial_could_do_is_refused_before_the_data_are_loaded(lab, tmp_path, monkeypatch):
    monkeypatch.setattr(classifying, "load", None)
    with pytest.raises(RunError, match=r"^train\(loggers=.*'foo'"):
        compare(COMPARISON, tmp_path, loggers=["foo"])
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(RunError) as caught:
        compare(COMPARISON, tmp_path)
    assert str(caught.value) == (
        "train(Recipe(batch_size=4, accumulate=1)): a batch is shared evenly by the processes and their micro-batches\n"
        "  got: 3 x 1 micro-batches\n"
        "  fix: batch_size=3 or batch_size=6"
    )
    assert list(tmp_path.iterdir()) == []
