"""The command as a person meets it: what it prints, and the status it leaves with."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from whatwhere.cli.compare import Compare
from whatwhere.cli.main import main
from whatwhere.cli.plan import Plan


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The message of a command that must leave with status 2 and print nothing else."""
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    return printed.err


def test_plan_prints_the_sites(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--host", "resnet20", "--gate", "bam", "--image-size", "32"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "bam at bottlenecks of ResNet, start='preset'; MACs and bytes for one image"
    assert [line.split()[0] for line in lines[2:]] == ["layer1.2", "layer2.2", "2"]
    assert lines[2].split()[1:4] == ["bottleneck", "16", "32x32"]


def test_plan_takes_a_library_network_and_a_place(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--host", "torchvision/resnet18", "--gate", "cbam", "--exclude", r"layer[12].*"]) == 0
    assert "4 sites" in capsys.readouterr().out


def test_plan_takes_a_detector_at_its_own_size(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--host", "ssd-resnet8:norm=group", "--gate", "cbam", "--at", "heads"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:5] for line in lines[2:5]] == [
        ["before", "head.0", "head", "32", "24x24"],
        ["before", "head.1", "head", "64", "12x12"],
        ["before", "head.2", "head", "128", "6x6"],
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--host", "resnet21", "--gate", "bam"],
            "build('resnet21'): no such network\n  closest: 'resnet20', 'resnet18', 'resnet110'\n",
        ),
        (["--host", "resnet20", "--gate", "bma"], "gate 'bma': there is no gate 'bma'\n  closest: 'bam', 'cbam'\n"),
        (
            ["--host", "resnet20", "--gate", "bam:reducton=8"],
            "gate 'bam:reducton=8': bam has no option 'reducton'\n  closest: 'reduction', 'dilation'\n"
            "  fix: write name:option=value:option=value\n",
        ),
        (
            ["--host", "resnet20", "--gate", "bam", "--at", "layer5"],
            "plan(ResNet, 'bam', at='layer5'): no module matches 'layer5'; nothing was changed\n"
            "  closest: 'layer3', 'layer2', 'layer1'\n  fix: plan(model, 'bam') lists all 2 sites\n",
        ),
        (
            ["--host", "resnet20", "--gate", "bam", "--image-size", "0"],
            "plan --image-size: an image has at least one pixel\n  got: --image-size 0\n",
        ),
    ],
    ids=["host", "gate", "option", "site", "size"],
)
def test_plan_refuses(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(["plan", *arguments], capsys).startswith(message)


def test_unknown_data_is_refused_with_the_closest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(["compare", "--data", "cifar10O", "--out", str(tmp_path / "run")], capsys)
    assert said.splitlines()[1].strip() == "closest: 'cifar10', 'cifar100'"
    assert list(tmp_path.glob("run/*")) == []


def test_an_unknown_option_leaves_with_two(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["plan", "--host", "resnet20", "--gate", "bam", "--imagesize", "32"])
    assert left.value.code == 2
    assert "--image-size" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            errno.ENOSPC,
            "plan: no space left on device\n  got: /full/file\n"
            "  fix: free some space, then run the same command again; what is finished is kept\n",
        ),
        (
            errno.EROFS,
            "plan: read-only file system\n  got: /full/file\n"
            "  fix: make the folder writable, or choose another, then run the same command again; what is finished is"
            " kept\n",
        ),
        (
            errno.EPERM,
            "plan: operation not permitted\n  got: /full/file\n"
            "  fix: make the folder writable, or choose another, then run the same command again; what is finished is"
            " kept\n",
        ),
    ],
    ids=["full", "read-only", "forbidden"],
)
def test_a_disk_that_takes_nothing_is_a_message(
    code: int, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(self: Plan) -> int:
        raise OSError(code, os.strerror(code), "/full/file")

    monkeypatch.setattr(Plan, "run", fail)
    assert refused(["plan", "--host", "resnet20", "--gate", "bam"], capsys) == message


def test_a_failure_of_the_program_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Plan) -> int:
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr(Plan, "run", fail)
    with pytest.raises(OSError, match="input/output error"):
        main(["plan", "--host", "resnet20", "--gate", "bam"])


@pytest.mark.parametrize(("rank", "size", "speaks"), [("0", "2", True), ("1", "2", False), ("5", "2", True)])
def test_the_first_process_speaks_for_all_and_so_does_one_that_is_none_of_them(
    rank: str, size: str, speaks: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", size)
    assert main(["plan", "--host", "resnet20", "--gate", "bma"]) == 2
    assert bool(capsys.readouterr().err) == speaks


def test_what_stands_in_a_files_place_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run() -> int:
        words = "compare --host resnet8 --data scenes --limit 64 --epochs 1 --seeds 1 --gates none --quiet --threads 1"
        return main([*words.split(), "--out", str(tmp_path)])

    assert run() == 0
    (result,) = tmp_path.glob("none-*/result.json")
    result.unlink()
    result.mkdir()
    capsys.readouterr()
    assert run() == 2
    assert capsys.readouterr().err == (
        f"compare: is a directory\n  got: {result}\n"
        "  fix: move away what stands in the place of a file or folder, or choose another, then run the same command "
        "again; what is finished is kept\n"
    )
    result.rmdir()
    assert run() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1], ids=lambda number: number.name)
def test_a_scheduler_may_requeue_what_has_not_begun_to_train(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def told(self: Compare) -> int:
        try:
            signal.raise_signal(number)
        except Exception as error:
            raise AssertionError("taken for a failure of what was being done") from error
        return 0

    before = signal.getsignal(number)
    monkeypatch.setattr(Compare, "run", told)
    assert main(["compare"]) == 75
    assert capsys.readouterr().err == (
        f"compare: stopped by {number.name}\n  fix: run the same command again to go on\n"
    )
    assert signal.getsignal(number) == before


def test_a_command_that_trains_nothing_or_with_others_ends_by_the_signal_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []
    for verb in (Plan, Compare):
        monkeypatch.setattr(verb, "run", lambda self: seen.append(signal.getsignal(signal.SIGTERM)) or 0)
    assert main(["plan", "--host", "resnet20", "--gate", "bam"]) == 0
    monkeypatch.setenv("RANK", "0")
    assert main(["compare"]) == 0
    assert seen == 2 * [signal.getsignal(signal.SIGTERM)]


COMPARE = [
    *(sys.executable, "-m", "whatwhere", "compare", "--host", "resnet8", "--gates", "none,bam", "--seeds", "1"),
    *("--epochs", "3", "--batch-size", "32", "--threads", "1"),
]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image folder small enough that an epoch takes a second: two classes, dark and bright."""
    from PIL import Image

    root = tmp_path_factory.mktemp("images")
    generator = torch.Generator().manual_seed(0)
    for split, count in (("train", 120), ("val", 20)):
        for label, light in (("dark", 0), ("bright", 60)):
            folder = root / split / label
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = torch.randint(0, 196, (32, 32, 3), generator=generator, dtype=torch.uint8) + light
                Image.fromarray(pixels.numpy()).save(folder / f"{index}.png")
    return root


def compare(images: Path, out: Path) -> list[str]:
    """The command line of one small comparison."""
    return [*COMPARE, "--data", f"folder:{images}", "--image-size", "32", "--out", str(out)]


def wait_for(path: Path, folder: Path, process: "subprocess.Popen[str]") -> None:
    """Until a file of that name appears anywhere below the folder."""
    for _ in range(1200):
        if any(found.stat().st_size for found in folder.glob(f"*/{path}")):
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    raise AssertionError(f"no {path} in a minute")


def test_ctrl_c_and_kill_lose_nothing(images: Path, tmp_path: Path) -> None:
    """Stopped once by Ctrl-C and once by kill -9 in mid-epoch, the same command ends with the very same weights."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    subprocess.run(compare(images, whole), check=True, capture_output=True)
    for how, status in ((signal.SIGINT, 130), (signal.SIGKILL, -9)):
        process = subprocess.Popen(compare(images, broken), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        wait_for(Path("metrics.jsonl") if how == signal.SIGINT else Path("claim.json"), broken, process)
        process.send_signal(how)
        _, said = process.communicate()
        assert process.returncode == status
        if how == signal.SIGINT:
            assert said.splitlines()[-1] == "stopped; run the same command again to go on"
    done = subprocess.run(compare(images, broken), check=True, capture_output=True, text=True)
    assert "| none |" in done.stdout
    for trial in ("none-seed0-*", "bam-seed0-*"):
        (ours,), (theirs,) = broken.glob(trial), whole.glob(trial)
        assert (ours / "best.safetensors").read_bytes() == (theirs / "best.safetensors").read_bytes()
    again = subprocess.run(compare(images, broken), check=True, capture_output=True, text=True)
    assert again.stderr.count("finished before") == 2
