"""TensorBoard's files, a stand-in for W&B, and loggers that cannot be had."""

import sys
from types import SimpleNamespace

import pytest
from train.toy import RECIPE, read_epochs, toy_net, toy_splits

from whatwhere.errors import RunError
from whatwhere.train import train


def run(folder, *loggers, **kwargs):
    return train(toy_net(), toy_splits(), RECIPE, seed=0, folder=folder, loggers=loggers, **kwargs)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def interrupt(one):
        if one.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, "tensorboard", on_epoch=interrupt)
    run(tmp_path, "tensorboard")
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    epochs = read_epochs(tmp_path / "metrics.jsonl")
    found = [(point.step, point.value) for point in events.Scalars("validation_loss")]
    assert found == [(one.epoch, pytest.approx(one.validation_loss)) for one in epochs]


def test_wandb_is_told_each_epoch(tmp_path, monkeypatch):
    told, opened, closed = [], {}, []

    def init(**settings):
        opened.update(settings)
        return SimpleNamespace(log=lambda values, step: told.append((step, values)), finish=lambda: closed.append(1))

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    run(tmp_path, "wandb")
    epochs = read_epochs(tmp_path / "metrics.jsonl")
    assert [(step, values["train_loss"]) for step, values in told] == [(one.epoch, one.train_loss) for one in epochs]
    assert (opened["name"], opened["config"]["lr"], opened["config"]["seed"]) == (tmp_path.name, RECIPE.lr, 0)
    assert closed == [1]


def test_a_logger_that_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(RunError) as caught:
        run(tmp_path / "trial", "wandb")
    assert str(caught.value) == (
        "train(loggers=...): 'wandb' is not installed\n"
        "  got: import of wandb halted; None in sys.modules\n"
        "  fix: pip install wandb"
    )
    assert not (tmp_path / "trial").exists()


def test_a_logger_that_is_not_known(tmp_path):
    with pytest.raises(RunError) as caught:
        run(tmp_path, "tensorbord")
    assert str(caught.value) == (
        "train(loggers=...): no such logger: 'tensorbord'\n"
        "  closest: 'tensorboard'\n"
        "  fix: 'tensorboard' or 'wandb'; metrics.csv is always written"
    )


def test_one_name_instead_of_a_sequence(tmp_path):
    with pytest.raises(RunError) as caught:
        train(toy_net(), toy_splits(), RECIPE, seed=0, folder=tmp_path, loggers="wandb")
    assert str(caught.value) == ("train(loggers='wandb'): loggers are a sequence of names\n  fix: loggers=('wandb',)")
