"""One trial, one process, whoever else comes, dies or is restarted."""

import json
import os
import socket
import subprocess
import sys
import time

import pytest

from whatwhere.experiments import claim as module
from whatwhere.experiments.claim import claim, holder

DEAD = 2**22 + 1  # above Linux's largest process number


OUTERMOST = "pid:[4026531836]"


def _write(path, **changes):
    """A claim without boot and namespace, as earlier versions wrote it, unless the changes have them."""
    mine = {"machine": socket.gethostname(), "pid": os.getpid(), "started": None}
    path.write_text(json.dumps({**mine, **changes}))


def test_a_claim_is_exclusive_and_removed_at_the_end(tmp_path):
    path = tmp_path / "claim.json"
    with claim(path) as ours, claim(path) as second:
        assert (ours, second) == (True, False)
        assert holder(path) == f"process {os.getpid()} on {socket.gethostname()}"
    assert not path.exists()


def test_ctrl_c_releases_the_claim_and_passes_through(tmp_path):
    with pytest.raises(KeyboardInterrupt), claim(tmp_path / "claim.json"):
        raise KeyboardInterrupt
    assert not (tmp_path / "claim.json").exists()


@pytest.mark.parametrize(
    ("changes", "ours"),
    [
        ({"pid": DEAD}, True),
        ({}, False),
        ({"started": "1"}, True),
        ({"machine": "elsewhere", "pid": DEAD}, False),
    ],
    ids=["dead", "alive", "number used again", "another machine"],
)
def test_only_a_dead_process_of_this_machine_loses_its_claim(tmp_path, changes, ours):
    path = tmp_path / "claim.json"
    _write(path, **changes)
    with claim(path) as got:
        assert got == ours
    assert path.exists() != ours


@pytest.mark.parametrize(
    ("here", "there", "ours"),
    [
        (("b1", "pid:[1]"), ("b1", "pid:[1]"), True),
        (("b1", "pid:[1]"), ("b1", "pid:[2]"), False),
        (("b1", "pid:[1]"), ("b2", "pid:[1]"), False),
        (("b1", OUTERMOST), ("b1", "pid:[2]"), False),
        (("b1", OUTERMOST), ("b2", OUTERMOST), True),
        (("b1", OUTERMOST), (None, None), True),
        ((None, None), ("b1", OUTERMOST), False),
        ((None, None), (None, None), True),
    ],
    ids=[
        *("same container", "another container", "a container elsewhere", "a container seen from outside"),
        *("machine restarted", "earlier version", "not told here", "not told anywhere"),
    ],
)
def test_containers_of_one_name_do_not_take_over_each_others_claims(tmp_path, monkeypatch, here, there, ours):
    monkeypatch.setattr(module, "_boot", lambda: here[0])
    monkeypatch.setattr(module, "_namespace", lambda: here[1])
    path = tmp_path / "claim.json"
    _write(path, pid=DEAD, boot=there[0], namespace=there[1])
    with claim(path) as got:
        assert got == ours


def test_a_claim_of_a_process_that_lived_before_the_restart_is_dead_whatever_runs_under_its_number(tmp_path):
    path = tmp_path / "claim.json"
    _write(path, boot="before", namespace=module._namespace())
    with claim(path) as ours:
        assert ours == (module._namespace() == OUTERMOST)


@pytest.mark.parametrize("dead", [False, True], ids=["fresh", "taken over"])
def test_a_claim_that_cannot_be_written_whole_is_removed(tmp_path, monkeypatch, dead):
    def full(handle):
        raise OSError(28, "No space left on device")

    path = tmp_path / "claim.json"
    if dead:
        _write(path, pid=DEAD)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device"), claim(path):
        pass
    assert not path.exists()


def test_a_longer_claim_is_overwritten_whole(tmp_path):
    path = tmp_path / "claim.json"
    _write(path, pid=DEAD, words="x" * 10_000)
    with claim(path) as ours:
        assert ours
        assert json.loads(path.read_text()) == module._self()


def test_without_locks_or_rights_a_dead_claim_is_left(tmp_path, monkeypatch):
    path = tmp_path / "claim.json"
    _write(path, pid=DEAD)
    for function in ("fcntl.flock", "os.open"):
        with monkeypatch.context() as patch:
            patch.setattr(function, _refuse_after_creation(os.open))
            with claim(path) as ours:
                assert not ours
    assert path.exists()


def _refuse_after_creation(really):
    def refuse(path, flags, *mode):
        if flags & os.O_CREAT and isinstance(path, os.PathLike):
            return really(path, flags, *mode)
        raise PermissionError(13, "Permission denied")

    return refuse


@pytest.mark.parametrize(("age", "ours"), [(0, False), (3600, True)], ids=["being written", "left by a crash"])
@pytest.mark.parametrize("text", ["", "[1]", '{"mach'], ids=["empty", "no object", "cut"])
def test_an_unreadable_claim_is_believed_for_a_minute(tmp_path, text, age, ours):
    path = tmp_path / "claim.json"
    path.write_text(text)
    os.utime(path, (time.time() - age, time.time() - age))
    with claim(path) as got:
        assert got == ours


def test_a_claim_that_became_anothers_is_not_removed(tmp_path):
    path = tmp_path / "claim.json"
    with claim(path):
        _write(path, machine="elsewhere")
    assert path.exists()


# The module alone, without the package and torch, so that all processes reach the claim at the same moment.
_CONTENDER = """
import runpy, sys, time
claim = runpy.run_path(sys.argv[1])["claim"]
time.sleep(max(0, float(sys.argv[3]) - time.time()))
with claim(__import__("pathlib").Path(sys.argv[2])) as ours:
    time.sleep(1 if ours else 0)
print(ours)
"""


def test_of_many_that_find_a_dead_claim_one_gets_it(tmp_path):
    path = tmp_path / "claim.json"
    _write(path, pid=DEAD)
    words = [sys.executable, "-c", _CONTENDER, module.__file__, str(path), str(time.time() + 0.8)]
    crowd = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(6)]
    assert sorted(process.communicate(timeout=30)[0].strip() for process in crowd) == ["False"] * 5 + ["True"]
    assert not path.exists()
