"""`whatwhere detect` as a person meets it: tables, files, pictures, and what it says of mistakes."""

import json
import signal

import pytest
from support.detection_files import write_coco, write_picture

from whatwhere.cli.detect import Detect
from whatwhere.cli.detect_evaluate import Evaluate
from whatwhere.cli.detect_predict import Predict
from whatwhere.cli.main import main
from whatwhere.data import detection_loading
from whatwhere.experiments import one_detector, runner

TINY = "detect train --limit 16 --image-size 48 --batch-size 8 --epochs 2 --quiet --gate bam:reduction=4"
TRIAL = "bam-reduction=4-seed0-*"


@pytest.fixture(scope="module", autouse=True)
def _few_scenes():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detection_loading, "_SCENES_POOL", (40, 0))
        patch.setattr(detection_loading, "_SCENES_TEST", (6, 1))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a finished trial."""
    out = tmp_path_factory.mktemp("runs")
    assert main([*TINY.split(), "--out", str(out)]) == 0
    (trial,) = out.glob(TRIAL)
    return trial


def said(capsys, *arguments, status=0):
    """Standard output and standard error of a command."""
    capsys.readouterr()
    assert main([str(one) for one in arguments]) == status
    return capsys.readouterr()


def refused(capsys, *arguments):
    """The message of a command that must leave with status 2 and print nothing else."""
    printed = said(capsys, *arguments, status=2)
    assert printed.out == ""
    return printed.err


def figures(printed):
    """The numbers of the first table."""
    return printed.out.splitlines()[2]


def test_training_again_reads_what_is_finished(trained, capsys, monkeypatch):
    monkeypatch.setattr(runner, "train", None)
    printed = said(capsys, *TINY.split(), "--out", trained.parent)
    lines = printed.out.splitlines()
    assert lines[0].startswith("| AP | AP50 | AP75 | AP small | AP medium | AP large | AR 1 |")
    assert lines[4].startswith("| class | objects | AP | AP50 |")
    assert sum(line.startswith(("| disc |", "| tee |")) for line in lines) == 2
    result = json.loads((trained / "result.json").read_text())
    assert lines[-1] == (f"ssd-resnet8, bam:reduction=4 at 3 sites, {result['parameters']:,} parameters: {trained}")
    assert f"| {100 * result['detection']['test']['ap']:.2f} |" in lines[2]


def test_evaluation_says_what_training_did_and_writes_it_down(trained, tmp_path, capsys):
    before = figures(said(capsys, *TINY.split(), "--out", trained.parent))
    printed = said(capsys, "detect", "evaluate", trained, "--out", tmp_path / "scores", "--batch-size", 4)
    assert figures(printed) == before
    assert printed.out.splitlines()[-1].startswith("6 images of scenes; something was found in ")
    assert printed.err == f"{tmp_path}/scores/: scores.json, results.json, curves.png\n"
    scores = json.loads((tmp_path / "scores" / "scores.json").read_text())
    assert (scores["part"], scores["images"], scores["data"]) == ("test", 6, "scenes")
    result = json.loads((trained / "result.json").read_text())
    assert scores["all"] == result["detection"]["test"]
    results = tmp_path / "scores" / "results.json"
    again = said(capsys, "detect", "evaluate", "--results", results, "--data", "scenes", "--image-size", 48)
    assert again.out == printed.out


@pytest.mark.parametrize(("part", "images"), [("test", 6), ("validation", 4), ("train", 16)])
def test_parts_are_as_the_trial_split_them(trained, tmp_path, capsys, part, images):
    printed = said(capsys, "detect", "evaluate", trained, "--part", part, "--out", tmp_path)
    assert printed.out.splitlines()[-1].startswith(f"{images} images of scenes; ")
    scores, result = (json.loads(file.read_text()) for file in (tmp_path / "scores.json", trained / "result.json"))
    if part == "validation":
        assert scores["all"]["ap"] == result["detection"]["validation"]
    assert scores["part"] == part


def test_a_part_of_other_data_is_not_split_as_the_trials(trained, tmp_path, capsys):
    coco = write_coco(tmp_path / "coco")
    message = refused(capsys, "detect", "evaluate", trained, "--data", f"coco:{coco}", "--part", "train")
    assert message == (
        f"detect evaluate('{trained}'): the detector was trained for other classes\n"
        "  got: 2 in the data (cat, dog), 10 in the trial (disc, ring, crescent, square, ...)\n"
        "  fix: data with the same classes in the same order\n"
    )


def test_the_first_images_alone(trained, capsys):
    printed = said(capsys, "detect", "evaluate", trained, "--limit", 2)
    assert printed.out.splitlines()[-1].startswith("2 images of scenes; ")


@pytest.fixture
def photos(tmp_path):
    for number in range(2):
        write_picture(tmp_path / "photos" / f"{number}.png", (50, 40), number)
    (tmp_path / "photos" / "broken.png").write_bytes(b"x")
    return tmp_path / "photos"


def test_pictures_are_looked_at_but_for_a_broken_one(trained, photos, tmp_path, capsys):
    out = tmp_path / "found"
    printed = said(capsys, "detect", "predict", trained, photos, "--out", out, "--least-score", "0.0")
    assert printed.out.splitlines() == [
        *(f"{out}/{name}" for name in ("detected.html", "detected.json", "results.json")),
        f"{out}/drawn/: 2 pictures",
    ]
    assert printed.err.startswith(f"detect predict('{photos}'): an image cannot be read ({photos}/broken.png: ")
    assert sorted(path.name for path in (out / "drawn").iterdir()) == ["0000.png", "0001.png"]
    results = json.loads((out / "results.json").read_text())
    assert {one["image_id"] for one in results} == {"0.png", "1.png"}
    assert {one["category_id"] for one in results} <= set(range(1, 11))


def test_pictures_of_a_set_go_by_its_numbers(trained, tmp_path, capsys):
    said(capsys, "detect", "predict", trained, "scenes", "--limit", 3, "--shown", 1, "--out", tmp_path)
    results = json.loads((tmp_path / "results.json").read_text())
    assert {one["image_id"] for one in results} == {0, 1, 2}
    assert len(list((tmp_path / "drawn").iterdir())) == 1
    coco = write_coco(tmp_path / "coco")
    assert main(["detect", "predict", str(trained), f"coco:{coco}", "--out", str(tmp_path / "there")]) == 2
    assert "the set has other classes than the detector" in capsys.readouterr().err
    assert not (tmp_path / "there" / "results.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            "--gate bma",
            "gate 'bma': there is no gate 'bma'\n  closest: 'bam', 'cbam'\n  fix: use one of se, bam, cbam, channel, "
            "spatial, or give any callable channels -> nn.Module\n",
        ),
        (
            "--gate bam@nowhere",
            "attach_(SSD, 'bam', at='nowhere'): no module matches 'nowhere'; nothing was changed\n"
            "  fix: plan(model, 'bam') lists all 3 sites\n",
        ),
        (
            "--detector ssd-resnet9",
            "build('ssd-resnet9', 1, image_size=48): no such detector\n  closest: 'ssd-resnet8'",
        ),
        (
            "--data coc",
            "load_detection('coc'): no detection set has this name\n  closest: 'coco', 'voc'\n"
            "  fix: one of coco, voc, scenes, coco:PATH or voc:PATH\n",
        ),
        (
            "--limit 0",
            "load_detection(limit=0): the limit must lie between 1 and the number of training images\n"
            "  got: 36 training images, 4 held for validation\n",
        ),
        ("--epochs 0", "Recipe(epochs=0): epochs is a whole number, 1 or more\n"),
        ("--threads 0", "detect train --threads: there must be at least one thread\n  got: --threads 0\n"),
    ],
)
def test_training_refuses(arguments, message, tmp_path, capsys):
    out = tmp_path / "runs"
    assert refused(capsys, *TINY.split(), "--out", out, *arguments.split()).startswith(message)
    assert not out.exists() or list(out.iterdir()) == []


def test_a_batch_of_one_is_told_what_to_do(tmp_path, capsys):
    """By the gate, at the first step; what its message names can be written after the gate's name."""
    words = [*TINY.split(), "--out", tmp_path, "--batch-size", 1, "--epochs", 1]
    assert refused(capsys, *words) == (
        "BAM(32): in training, batch norm needs more than one value per channel\n  got: shape (1, 32, 24, 24)\n"
        "  fix: norm='group' works for a batch of one; or use a larger batch, or gate.eval()\n"
    )
    said(capsys, *words, "--gate", "bam:reduction=4:norm=group")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "detect evaluate: a trial's folder or --results FILE\n  got: neither\n  fix: name one of them\n"),
        (
            "a --results b",
            "detect evaluate: a trial's folder or --results FILE\n  got: both\n  fix: name one of them\n",
        ),
        ("--results b", "detect evaluate --results: the images must be named\n  fix: --data coco:PATH\n"),
        (
            "--results nowhere.json --data scenes",
            "detect evaluate --results nowhere.json: the file cannot be read\n  got: No such file or directory\n",
        ),
        (
            "a --limit 0",
            "detect evaluate --limit 0: there must be at least one image\n"
            "  fix: --limit 1 or more; without it all are looked at\n",
        ),
        (
            "a --batch-size 0",
            "detect evaluate --batch-size 0: a batch has at least one image\n  fix: --batch-size 1, or more\n",
        ),
        ("--results b --data coc", "load_test('coc'): no detection set has this name\n  closest: 'coco', 'voc'\n"),
        (
            "--results b --data voc --image-size 9",
            "load_test('voc', image_size=9): the images of this set have the size they were published in\n",
        ),
        ("nowhere", "detect evaluate('nowhere'): there is no trial in that folder\n  got: no trial.json\n"),
    ],
)
def test_evaluation_refuses(arguments, message, capsys):
    assert refused(capsys, "detect", "evaluate", *arguments.split()).startswith(message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            "",
            "detect predict: pictures must be named\n"
            "  fix: whatwhere detect predict MODEL photos; or scenes, coco:PATH, voc:PATH\n",
        ),
        (
            "x --least-score 2",
            "detect predict --least-score 2.0: a score lies between 0 and 1\n  fix: --least-score 0.3\n",
        ),
        ("x --limit 0", "detect predict --limit 0: it is 1 or more\n  fix: --limit 1\n"),
        ("x --shown -1", "detect predict --shown -1: it is 0 or more\n  fix: --shown 1\n"),
        (
            "qqq",
            "detect predict('qqq'): there is no file, folder or data set of this name\n"
            "  fix: an image, a folder, a pattern in quotes, coco, voc, scenes, coco:PATH or voc:PATH\n",
        ),
    ],
)
def test_prediction_refuses(arguments, message, trained, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert refused(capsys, "detect", "predict", trained, *arguments.split()) == message


def test_a_trial_that_is_none_is_refused(tmp_path, capsys):
    message = refused(capsys, "detect", "predict", tmp_path, "scenes")
    assert message.startswith(f"detect predict('{tmp_path}'): there is no trial in that folder\n  got: no trial.json\n")


def test_sigterm_leaves_a_checkpoint_and_the_same_command_goes_on(trained, tmp_path, capsys, monkeypatch):
    """75 for a scheduler to requeue it; the weights in the end are those of the trial that was not stopped."""
    words, build = [*TINY.split(), "--out", str(tmp_path)], runner.kind_of("detect").build
    steps = []

    def struck(self, spec, splits):
        arm = build(spec, splits)

        def strike(module, inputs):
            steps.append(module.training)
            if sum(steps) == 3:
                signal.raise_signal(signal.SIGTERM)

        arm.model.register_forward_pre_hook(strike)
        return arm

    with monkeypatch.context() as patch:
        patch.setattr(type(runner.kind_of("detect")), "build", struck)
        printed = said(capsys, *words, status=75)
    assert printed.err == (
        "train: stopped by SIGTERM at epoch 2, after step 1 of 2\n  fix: the same call goes on from there\n"
    )
    (trial,) = tmp_path.glob(TRIAL)
    assert (trial / "checkpoint.pt").exists()
    assert not (trial / "result.json").exists()
    message = refused(capsys, "detect", "evaluate", trial)
    assert message.startswith(f"detect evaluate('{trial}'): the trial is not finished\n")
    said(capsys, *words)
    assert (trial / "best.safetensors").read_bytes() == (trained / "best.safetensors").read_bytes()


def test_a_signal_before_training_begins(tmp_path, capsys, monkeypatch):
    def ask(*_, **__):
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(one_detector, "build_detector", ask)
    printed = said(capsys, *TINY.split(), "--out", tmp_path, status=75)
    assert printed.err == "detect: stopped by SIGTERM\n  fix: run the same command again to go on\n"


@pytest.mark.parametrize("step", [Evaluate(), Predict(None)], ids=["evaluate", "predict"])
def test_what_does_not_train_is_ended_by_signals_and_by_ctrl_c(step, capsys, monkeypatch):
    assert not Detect(step).trains

    def interrupt(self):
        assert signal.getsignal(signal.SIGTERM) == before
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(type(step), "run", interrupt)
    words = ["detect", "evaluate"] if isinstance(step, Evaluate) else ["detect", "predict", "x"]
    assert said(capsys, *words, status=130).err.startswith("stopped")
