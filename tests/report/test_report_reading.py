"""What is in a folder is what is reported, however far it has come and whoever had a hand in it."""

import json
import random

import pytest
from made_runs import comparison, course, made_reproduction, made_run, write, write_trial

from whatwhere.errors import RunError
from whatwhere.report import report
from whatwhere.report.page import page
from whatwhere.report.plain import as_csv, as_markdown
from whatwhere.report.reading import read


def run_of(folder):
    (run,) = read(folder).runs
    return run


def trial_of(folder, arm="se", seed=1, **options):
    return folder / comparison(**options).trial(arm, seed).name


def edit(path, **changes):
    write(path, {**json.loads(path.read_text()), **changes})


def message(folder) -> str:
    with pytest.raises(RunError) as error:
        report(folder)
    return str(error.value)


FIX = "\n  fix: name a folder that `whatwhere compare` or `whatwhere reproduce` wrote (their --out)"


def test_a_folder_that_is_not_there(tmp_path):
    assert message(tmp_path / "runs") == f"report('{tmp_path}/runs'): there is no such folder{FIX}"


def test_an_empty_folder(tmp_path):
    assert message(tmp_path) == (
        f"report('{tmp_path}'): the folder holds neither comparison.json, summary.json nor reproduction.json\n"
        f"  got: an empty folder{FIX}"
    )


def test_a_folder_of_folders_names_those_that_are_meant(tmp_path):
    made_run(tmp_path / "one")
    (tmp_path / "other").mkdir()
    assert message(tmp_path) == (
        f"report('{tmp_path}'): the folder holds neither comparison.json, summary.json nor reproduction.json\n"
        f"  got: one, other\n  closest: '{tmp_path}/one'{FIX}"
    )


def test_nothing_that_can_be_read(tmp_path):
    (tmp_path / "comparison.json").write_text("{")
    assert message(tmp_path) == (
        f"report('{tmp_path}'): nothing in the folder can be read\n"
        f"  got: {tmp_path.name}: comparison.json: "
        "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)\n"
        "  fix: run the command that wrote it once more; it keeps finished trials"
    )


def test_a_place_that_cannot_be_written(tmp_path):
    made_run(tmp_path / "run")
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError) as error:
        report(tmp_path / "run", tmp_path / "file" / "report.html")
    assert str(error.value) == (
        f"report: cannot write '{tmp_path}/file/report.html': File exists\n"
        "  fix: move away what stands in the place of a file or folder, or choose another"
    )


def test_all_is_well(tmp_path):
    made_run(tmp_path)
    run = run_of(tmp_path)
    assert run.problems == ()
    assert [arm.name for arm in run.arms] == ["none", "se", "bam", "cbam"]
    assert {trial.state for trial in run.trials} == {"finished"}
    assert run.arms[1].ms == 0.8  # which only the summary knows
    assert [len(trial.gates) for trial in run.trials] == 3 * [0, 6, 6, 6]


def test_trials_that_are_not_finished(tmp_path):
    made_run(tmp_path)
    (trial_of(tmp_path) / "result.json").unlink()
    (trial_of(tmp_path, "bam", 2) / "result.json").unlink()
    write(trial_of(tmp_path, "bam", 2) / "claim.json", {"pid": 7, "machine": "elsewhere"})
    names = [trial_of(tmp_path).name, trial_of(tmp_path, "bam", 2).name]
    run = run_of(tmp_path)
    assert run.problems == (
        "summary.json does not agree with the results in the trials' folders; scores and differences here were "
        "computed from the results",
        run.problems[1],
        f"1 trial not finished: {names[0]} (4 of 4 epochs)",
    )
    assert run.problems[1].startswith(f"1 trial claimed: {names[1]} (4 of 4 epochs; ")
    se, bam, cbam = run.arms[1:]
    assert (len(se.seeds), len(bam.seeds), len(cbam.seeds)) == (2, 2, 3)
    assert se.difference["verdict"] == "pending (2 of 3 seeds)"
    assert cbam.difference["verdict"] == "better"
    assert se.ms == 0.8


def test_a_run_that_has_just_begun(tmp_path):
    asked = comparison(seeds=2)
    write(tmp_path / "comparison.json", {"format": 1, **asked.to_json()})
    run = run_of(tmp_path)
    assert run.problems[0].startswith("There is no summary.json yet")
    assert run.problems[1].startswith("8 trials not started: none-seed0-")
    assert run.problems[1].endswith(", and 2 more")
    write_trial(tmp_path, asked.trial("none", 0), 0)
    assert run_of(tmp_path).arms[0].seeds == {0: pytest.approx(65, abs=20)}
    assert "pending (0 of 2 seeds)" in page(read(tmp_path))


def test_a_torn_last_line(tmp_path):
    made_run(tmp_path)
    path = trial_of(tmp_path) / "metrics.jsonl"
    path.write_text(path.read_text()[:-30])
    run = run_of(tmp_path)
    assert run.problems[0] == f"{trial_of(tmp_path).name}: the last line of metrics.jsonl is torn"
    assert [len(trial.epochs) for trial in run.trials if trial.spec.name == trial_of(tmp_path).name] == [3]


def test_other_lines_that_cannot_be_read(tmp_path):
    made_run(tmp_path)
    path = trial_of(tmp_path) / "metrics.jsonl"
    path.write_bytes(b"\xff\xfe\n[]\n" + path.read_bytes())
    assert run_of(tmp_path).problems == (f"{path.parent.name}: lines of metrics.jsonl that cannot be read: 2",)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"test_accuracy": 7}, "its test_accuracy is 7"),
        ({"test_loss": 0.1}, "it was changed after it had been written"),
        ({"hash": "00000000"}, "it is the result of another trial (00000000, not {hash})"),
    ],
)
def test_a_result_that_cannot_be_believed_is_left_out_and_said(tmp_path, changes, why):
    made_run(tmp_path)
    edit(trial_of(tmp_path) / "result.json", **changes)
    run = run_of(tmp_path)
    why = why.format(hash=comparison().trial("se", 1).hash)
    assert run.problems[-1] == f"1 result cannot be believed: {trial_of(tmp_path).name}: {why}"
    assert sorted(run.arms[1].seeds) == [0, 2]


def test_a_result_at_odds_with_its_epochs_is_said(tmp_path):
    made_run(tmp_path)
    best = max(course(1, 1, 4), key=lambda line: line["validation_accuracy"])
    edit(trial_of(tmp_path) / "result.json", validation_accuracy=0.9, digest=None)
    assert run_of(tmp_path).problems == (
        f"{trial_of(tmp_path).name}: result.json says that epoch {best['epoch']} had a validation accuracy of 0.9000, "
        f"metrics.jsonl that it had {best['validation_accuracy']:.4f}",
    )


def test_a_trial_that_changed_under_its_name_is_said(tmp_path):
    made_run(tmp_path)
    edit(trial_of(tmp_path) / "trial.json", seed=5)
    there, here = comparison().trial("se", 5).hash, comparison().trial("se", 1).hash
    assert run_of(tmp_path).problems == (
        f"{trial_of(tmp_path).name}: trial.json is another trial's ({there}, not {here})",
    )


def test_a_summary_that_says_another_thing_than_the_results_is_not_believed(tmp_path):
    made_run(tmp_path)
    right = run_of(tmp_path).arms
    summary = json.loads((tmp_path / "summary.json").read_text())
    summary["arms"][1]["seeds"]["0"] = 99.0
    summary["arms"][1]["accuracy"]["mean"] = 99.0
    write(tmp_path / "summary.json", summary)
    run = run_of(tmp_path)
    assert run.problems[0].startswith("summary.json does not agree with the results")
    assert run.arms[1].score["mean"] == pytest.approx(right[1].score["mean"])
    assert run.arms[1].difference["p_holm"] == pytest.approx(right[1].difference["p_holm"])


def test_a_summary_alone_is_shown_as_it_is(tmp_path):
    made_run(tmp_path / "run")
    (tmp_path / "kept").mkdir()
    (tmp_path / "run" / "summary.json").rename(tmp_path / "kept" / "summary.json")
    run = run_of(tmp_path / "kept")
    assert run.problems == (
        "The trials' folders are not here: there is only what summary.json says, and no learning curves",
    )
    assert len(run.arms) == 4
    assert "<h3 id=" in page(read(tmp_path / "kept"))


def test_arms_that_are_one_trial_are_told_once(tmp_path):
    write(tmp_path / "comparison.json", comparison(("none", "bam", "bam@bottlenecks"), seeds=1).to_json())
    assert run_of(tmp_path).problems[-1].startswith("2 trials not started: ")


def test_a_reproduction_that_cannot_be_read_leaves_its_parts(tmp_path):
    made_reproduction(tmp_path)
    (tmp_path / "reproduction.json").write_text("[]")
    contents = read(tmp_path)
    assert contents.problems == (
        "reproduction.json cannot be read (reproduction.json: it holds no JSON object): "
        "the paper's figures are missing here",
    )
    assert [run.name for run in contents.runs] == ["resnet8-scenes"]


def test_a_part_that_is_missing_is_said(tmp_path):
    made_reproduction(tmp_path, folders=["resnet8-scenes", "later"])
    assert read(tmp_path).problems == ("later: comparison.json is missing",)


def test_no_folder_outside_is_read(tmp_path):
    made_run(tmp_path / "secret")
    made_reproduction(tmp_path / "table", folders=["../secret", str(tmp_path / "secret")])
    assert read(tmp_path / "table").runs == ()


ODD = (None, True, -1, 1e308, "", "<b>", [], [[]], {}, {"a": None}, "9" * 400)


def paths(value, path=()):
    """Every place in a JSON value."""
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from paths(child, (*path, key))


def changed(value, path, odd):
    if not path:
        return odd
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = changed(value[path[0]], path[1:], odd)
    return copy


@pytest.mark.parametrize(
    "name",
    ["reproduction.json", "part/comparison.json", "part/summary.json", "trial/result.json", "trial/trial.json"],
)
def test_whatever_stands_in_a_file_is_reported_or_refused(tmp_path, name):
    """Sixty values of each file are replaced by something else, one at a time."""
    made_reproduction(tmp_path)
    part = tmp_path / "resnet8-scenes"
    trial = part / comparison(host="resnet8").trial("bam", 0).name
    folder, _, file = name.rpartition("/")
    path = {"": tmp_path, "part": part, "trial": trial}[folder] / file
    whole = json.loads(path.read_text())
    if "digest" in whole:
        whole["digest"] = None  # or it would be known at once that something was changed
    draw = random.Random(0)
    for place in draw.sample(sorted(paths(whole), key=str), 60 if name != "trial/trial.json" else 20):
        write(path, changed(whole, place, draw.choice(ODD)))
        try:
            contents = read(tmp_path)
        except RunError:
            continue
        assert all(format_(contents) for format_ in (page, as_markdown, as_csv)), place
