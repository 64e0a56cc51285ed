"""One trial on two processes: the same numbers as on one, and clean ends when one of them is lost."""

import pytest
import torch
from safetensors.torch import load_file
from train.toy import read_epochs
from train.two_ranks import finish, run, start

from whatwhere.errors import RunError
from whatwhere.train.ranks import Ranks

CLOSE = 1e-4  # of losses, relative; 3e-7 was measured


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Folders of the same trial: on one process, on two, begun on either and ended on the other, and other recipes."""
    place = tmp_path_factory.mktemp("ranks")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert run(place / "one") == ""
        assert run(place / "one then two", strike=("SIGUSR1", 0, 3)) == (
            "train: stopped by SIGUSR1 at epoch 1, after step 3 of 5"
        )
        assert run(place / "few last, one", images=67) == ""
        assert run(place / "average, one", ema=0.8) == ""
        (first, second) = finish(
            start(
                {"folder": place / "two"},
                {"folder": place / "two then one", "strike": ("SIGTERM", 1, 7)},
                {"folder": place / "one then two"},
                {"folder": place / "few last, two", "images": 67},
                {"folder": place / "average, two", "ema": 0.8},
                {"folder": place / "odd", "batch_size": 9},
                {"folder": place / "accumulated", "accumulate": 3, "batch_size": 18, "sync_norm": False},
            )
        )
        assert run(place / "two then one") == ""
    finally:
        torch.set_num_threads(threads)
    return place, first, second


def losses(folder):
    epochs = read_epochs(folder / "metrics.jsonl")
    return [loss for one in epochs for loss in (one.train_loss, one.validation_loss)]


@pytest.mark.parametrize("name", ["two", "two then one", "one then two"])
def test_the_same_trial_however_many_processes(place, name):
    one, other = place[0] / "one", place[0] / name
    assert losses(other) == pytest.approx(losses(one), rel=CLOSE)
    assert len(losses(one)) == 4
    expected, found = load_file(one / "best.safetensors"), load_file(other / "best.safetensors")
    for part in ("running_mean", "running_var", "num_batches_tracked", "conv1.weight"):
        for each in (key for key in expected if key.endswith(part)):
            torch.testing.assert_close(found[each], expected[each], rtol=1e-3, atol=1e-4, msg=each)


def test_an_average_is_the_same_too(place):
    assert losses(place[0] / "average, two") == pytest.approx(losses(place[0] / "average, one"), rel=CLOSE)
    assert losses(place[0] / "average, one")[1] != pytest.approx(losses(place[0] / "one")[1], rel=1e-2)


def test_a_last_batch_too_small_to_share_goes_to_both(place):
    one, two = (read_epochs(place[0] / f"few last, {number}" / "metrics.jsonl") for number in ("one", "two"))
    assert [each.train_loss for each in two] == pytest.approx([each.train_loss for each in one], rel=CLOSE)
    assert [each.train_accuracy for each in two] == [each.train_accuracy for each in one]


def test_what_the_two_said(place):
    _, first, second = place
    odd = "train(Recipe(batch_size=9, accumulate=1)): a batch is shared evenly by the processes and their micro-batches"
    stopped = "train: stopped by {} at epoch 2, after step 5 of 5"
    for (status, errors, _), name in ((first, "a signal to another process"), (second, "SIGTERM")):
        assert status == 0
        assert errors == ["", stopped.format(name), "", "", "", odd, ""]
    assert len(losses(place[0] / "accumulated")) == 4


@pytest.mark.parametrize("struck", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_rank_that_is_killed_ends_the_other_and_the_checkpoint_is_good(place, tmp_path, struck):
    ends = finish(start({"folder": tmp_path, "strike": ("SIGKILL", struck, 7)}))
    assert ends[struck][0] == -9
    status, (rule,), _ = ends[1 - struck]
    assert status == 0
    assert rule == "train: another process of this trial has ended; 2 trained it together"
    assert len(losses(tmp_path)) == 2
    assert run(tmp_path) == ""
    assert losses(tmp_path) == pytest.approx(losses(place[0] / "one"), rel=CLOSE)


def test_a_rank_without_memory_in_the_middle_of_a_backward_still_finds_out_what_would_fit(tmp_path):
    ends = finish(start({"folder": tmp_path, "strike": ("memory", 1, 3)}))
    assert [errors for _, errors, _ in ends] == [
        ["train: another process of this trial has ended; 2 trained it together"],
        ["train: out of memory at epoch 1, batch of 16"],
    ]


def test_alone_everything_is_plain():
    ranks, values = Ranks(), torch.tensor([1.0])
    assert ranks.sum(values) is values
    assert ranks.joined(values) is values
    assert (ranks.any(True), ranks.any(False), ranks.share(7)) == (True, False, (0, 7))
    assert [Ranks(rank, 3).share(7) for rank in range(3)] == [(0, 2), (2, 4), (4, 7)]


def test_an_error_of_the_first_is_everyones():
    def fail():
        raise RunError("rule")

    with pytest.raises(RunError, match="rule"):
        Ranks().alone(fail)
