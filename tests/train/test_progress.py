"""The line on the terminal, and silence elsewhere."""

import io
import sys

from train.toy import RECIPE, toy_net, toy_splits

from whatwhere.train import train
from whatwhere.train.progress import ProgressLine


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_silent_without_a_terminal(tmp_path, capsys):
    train(toy_net(), toy_splits(), RECIPE, seed=0, folder=tmp_path)
    captured = capsys.readouterr()
    assert captured.out + captured.err == ""


def test_silent_when_not_wanted(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with ProgressLine("trial", 2, 10, done=0, shown=False) as line:
        line.show(1, 5, loss=0.5, noted="accuracy 25.0%", speed=1234.0)
    assert sys.stderr.getvalue() == ""


def test_what_it_shows(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("COLUMNS", "150")
    monkeypatch.setenv("TERM", "xterm")
    with ProgressLine("trial[0]", 2, 10, done=1, shown=True) as line:
        line.show(2, 5, loss=0.5, noted="accuracy 25.0%", speed=1234.0)
    shown = sys.stderr.getvalue()
    assert "trial[0]" in shown
    assert "epoch 2/2  loss 0.500  accuracy 25.0%  1,234 images/s" in shown
