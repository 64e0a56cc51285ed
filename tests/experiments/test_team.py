"""Two processes, on this machine's CPU, run the same trials together: one decides, both train, and both end."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from whatwhere.errors import RunError
from whatwhere.train.workers import supervise

SCRIPT = str(Path(__file__).parent / "team_of_two.py")
ENVIRONMENT = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
LOST = "train: another process of this trial has ended; 2 trained it together"


def test_two_processes_fail_stop_run_and_skip_together(tmp_path):
    """Every line is said once. What fails in both is told and the next goes on; a signal to one process stops both."""
    words = [sys.executable, SCRIPT, str(tmp_path), "all", "stopped", "none", "none"]
    done = subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    none, se = sorted(folder.name for folder in tmp_path.iterdir())
    assert re.sub(r"test [\d.]+ %(, best epoch \d, [\d.]+ s)?", "test", done.stderr).splitlines() == [
        "1/2 none seed 0: failed: train: no, says all",
        "2/2 se seed 0: failed: train: no, says all",
        f"compare: 2 of 2 trials failed: {none}, {se}",
        "  got: train: no, says all (a)",
        "  fix: b",
        "train: stopped by a signal to another process at epoch 1, after step 4 of 4",
        "  fix: the same call goes on from there",
        "1/2 none seed 0: test",
        "2/2 se seed 0: test",
        "1/2 none seed 0: test, finished before",
        "2/2 se seed 0: test, finished before",
    ]
    assert not list(tmp_path.glob("*/claim.json"))


def test_a_failure_of_one_process_ends_both_and_is_told(tmp_path, capfd):
    """The other waits for it in the middle of a step, and would for half an hour."""
    assert supervise([sys.executable, SCRIPT, str(tmp_path), "one"], 2, ENVIRONMENT) == 2
    said = capfd.readouterr().err.splitlines()
    assert said[0] == LOST
    assert said[-4:] == ["rank 1 of 2 said:", "process 1 of 2, alone: train: no, says one", "  got: a", "  fix: b"]
    assert not list(tmp_path.glob("*/claim.json"))


def test_a_killed_process_ends_both_and_is_named(tmp_path, capfd):
    start = time.monotonic()
    with pytest.raises(RunError, match=r"^--devices 2: rank 1 of 2 was killed by SIGKILL\n"):
        supervise([sys.executable, SCRIPT, str(tmp_path), "killed"], 2, ENVIRONMENT)
    assert time.monotonic() - start < 120  # and not the half hour that the other would wait
    assert capfd.readouterr().err.splitlines()[0] == LOST
    assert [path.name for path in tmp_path.glob("*/trial.json")] == ["trial.json"]
    assert not list(tmp_path.glob("*/claim.json"))
