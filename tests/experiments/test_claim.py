"""One trial, one run, whoever else comes, dies, sleeps or is restarted."""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from whatwhere.experiments import claim as module
from whatwhere.experiments import processes
from whatwhere.experiments.claim import ClaimLost, Observer, claim, holder

DEAD = 2**22 + 1  # above Linux's largest process number


OUTERMOST = "pid:[4026531836]"


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def quick(monkeypatch):
    """Claims are renewed at once, again and again."""
    monkeypatch.setattr(module, "_BEAT_SECONDS", 0.01)


def _until(what):
    for _ in range(3000):
        if what():
            return
        time.sleep(0.01)
    raise AssertionError("not in half a minute")


def _write(path, **changes):
    """A claim without boot, namespace and counter, as earlier versions wrote it, unless the changes have them."""
    mine = {"machine": socket.gethostname(), "pid": os.getpid(), "started": None}
    path.write_text(json.dumps({**mine, **changes}))


def _elsewhere(path, beat=0, token="t"):
    """A claim of another machine."""
    _write(path, machine="elsewhere", pid=7, beat=beat, token=token)


def test_a_claim_is_exclusive_and_removed_at_the_end(tmp_path):
    path = tmp_path / "claim.json"
    with claim(path) as ours, claim(path) as second:
        assert ours
        assert second is None
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
def test_only_a_dead_process_of_this_machine_loses_its_claim_at_once(tmp_path, changes, ours):
    path = tmp_path / "claim.json"
    _write(path, **changes)
    with claim(path) as got:
        assert bool(got) == ours
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
    monkeypatch.setattr(processes, "_boot", lambda: here[0])
    monkeypatch.setattr(processes, "_namespace", lambda: here[1])
    path = tmp_path / "claim.json"
    _write(path, pid=DEAD, boot=there[0], namespace=there[1])
    with claim(path) as got:
        assert bool(got) == ours


def test_a_claim_of_a_process_that_lived_before_the_restart_is_dead_whatever_runs_under_its_number(tmp_path):
    path = tmp_path / "claim.json"
    _write(path, boot="before", namespace=processes._namespace())
    with claim(path) as ours:
        assert bool(ours) == (processes._namespace() == OUTERMOST)


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
        found = json.loads(path.read_text())
        assert {**processes.describe_self(), "token": found["token"], "beat": 0} == found


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


# what another machine's counter says


def test_a_holder_renews_its_claim(tmp_path, quick):
    path = tmp_path / "claim.json"
    with claim(path) as held:
        _until(lambda: json.loads(path.read_text() or "{}").get("beat", 0) > 3)
        held.check()
    assert not path.exists()


def test_a_counter_that_stands_still_for_a_minute_of_the_observers_clock_is_dead(tmp_path, clock):
    path, observer = tmp_path / "claim.json", Observer(clock)
    _elsewhere(path)
    for after, state in ((0, "unsure"), (30, "unsure"), (30, "unsure"), (0.1, "dead")):
        clock.now += after
        assert observer.state(path) == state
    with claim(path, observer) as ours:
        assert ours
    assert observer.state(path) == "gone"


def test_a_counter_that_rises_is_alive_until_it_stood_still_for_a_minute(tmp_path, clock):
    path, observer = tmp_path / "claim.json", Observer(clock)
    for beat in range(3):
        _elsewhere(path, beat)
        assert observer.state(path) == ("alive" if beat else "unsure")
        with claim(path, observer) as ours:
            assert ours is None
        clock.now += 10
    clock.now += 50
    assert observer.state(path) == "alive"
    clock.now += 0.1
    assert observer.state(path) == "dead"


def test_a_counter_that_rose_some_time_while_nobody_looked_says_nothing_yet(tmp_path, clock):
    path, observer = tmp_path / "claim.json", Observer(clock)
    _elsewhere(path, 5)
    observer.state(path)
    clock.now += 3600
    _elsewhere(path, 300)
    assert observer.state(path) == "unsure"
    clock.now += 10
    _elsewhere(path, 301)
    assert observer.state(path) == "alive"


def test_one_who_takes_a_dead_claim_starts_a_new_count_for_all_who_watched(tmp_path, clock):
    path, observer = tmp_path / "claim.json", Observer(clock)
    _elsewhere(path)
    observer.state(path)
    clock.now += 100
    _elsewhere(path, token="u")
    with claim(path, observer) as ours:
        assert ours is None


@pytest.mark.parametrize("hours", [-1, 1])
def test_the_clocks_of_two_machines_are_never_compared(tmp_path, clock, monkeypatch, hours):
    """The file's time is an hour off, either way, and the clock on the wall cannot be read at all."""
    path, observer = tmp_path / "claim.json", Observer(clock)
    wrong = time.time() + 3600 * hours
    monkeypatch.setattr(time, "time", None)
    for beat in (0, 1):
        _elsewhere(path, beat)
        os.utime(path, (wrong, wrong))
        assert observer.state(path) == ("alive" if beat else "unsure")
    clock.now += 60.1
    with claim(path, observer) as ours:
        assert ours


@pytest.mark.parametrize("text", ["", "[1]", '{"mach', "\xff"], ids=["empty", "no object", "cut", "no text"])
def test_an_unreadable_claim_is_believed_for_a_minute(tmp_path, clock, text):
    path, observer = tmp_path / "claim.json", Observer(clock)
    path.write_bytes(text.encode("latin1"))
    os.utime(path, (0, 0))
    for after, ours in ((0, False), (60, False), (0.1, True)):
        clock.now += after
        with claim(path, observer) as got:
            assert bool(got) == ours


def test_a_claim_without_a_counter_is_believed_for_ever(tmp_path, clock):
    path, observer = tmp_path / "claim.json", Observer(clock)
    _write(path, machine="elsewhere")
    for _ in range(2):
        assert observer.state(path) == "untold"
        clock.now += 3600


# a holder that slept


def _lost(path, got):
    return (
        f"'{path.parent}': this process has lost the trial, for it did not renew claim.json in time\n"
        f"  got: {got}\n"
        "  fix: make the same call again: it leaves the trial to whoever has it, or goes on from the last checkpoint"
    )


def test_a_holder_that_lost_its_claim_is_interrupted_and_told(tmp_path, quick):
    path = tmp_path / "claim.json"

    def sleep():
        with claim(path):
            _elsewhere(path)
            time.sleep(60)

    with pytest.raises(ClaimLost) as caught:
        sleep()
    assert str(caught.value) == _lost(path, "process 7 on elsewhere has it")
    assert holder(path) == "process 7 on elsewhere"


def test_a_holder_whose_claim_is_gone_is_told_too(tmp_path, quick):
    path = tmp_path / "claim.json"

    def sleep():
        with claim(path):
            path.unlink()
            time.sleep(60)

    with pytest.raises(ClaimLost) as caught:
        sleep()
    assert str(caught.value) == _lost(path, "claim.json is gone")
    assert not path.exists()


def test_the_loss_is_seen_when_asked_for_before_anything_is_written(tmp_path):
    path = tmp_path / "claim.json"
    with claim(path) as held:
        held.check()
        _elsewhere(path)
        with pytest.raises(ClaimLost) as caught:
            held.check()
    assert str(caught.value) == _lost(path, "process 7 on elsewhere has it")


def test_only_the_main_thread_is_interrupted(tmp_path, quick):
    """A claim of another thread is lost without a Ctrl-C for the whole program."""
    path, seen = tmp_path / "claim.json", []

    def work():
        try:
            with claim(path) as held:
                _elsewhere(path)
                _until(lambda: not held._thread.is_alive())
                held.check()
        except ClaimLost as error:
            seen.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(seen) == 1


def test_a_claim_that_became_anothers_is_not_removed(tmp_path):
    path = tmp_path / "claim.json"
    with claim(path):
        _write(path, machine="elsewhere")
    assert path.exists()


def test_a_disk_that_is_full_for_a_while_does_not_lose_the_claim(tmp_path, quick, monkeypatch):
    path = tmp_path / "claim.json"
    really, calls = os.fsync, []

    def full(handle):
        calls.append(handle)
        if len(calls) in (2, 3):
            raise OSError(28, "No space left on device")
        really(handle)

    monkeypatch.setattr(os, "fsync", full)
    with claim(path) as held:
        _until(lambda: len(calls) > 5)
        held.check()


# The modules alone, without the rest of the package and torch, so that all processes reach the claim at one moment.
_ALONE = """
import pathlib, signal, sys, time, types
package = sys.modules["whatwhere.experiments"] = types.ModuleType("whatwhere.experiments")
package.__path__ = [sys.argv[1]]
from whatwhere.experiments import claim as module
from whatwhere.experiments.claim import Observer, claim
path = pathlib.Path(sys.argv[2])
"""

_CONTENDER = """
now = [0.0]
observer = Observer(lambda: now[0])
observer.state(path)
now[0] = 61.0
time.sleep(max(0, float(sys.argv[3]) - time.time()))
with claim(path, observer) as ours:
    time.sleep(1 if ours else 0)
print(ours is not None)
"""

# Another machine: its clock is an hour ahead, and its processes are none of ours.
_HOLDER = """
time.time = lambda really=time.time: really() + 3600
module.describe_self = lambda: {"machine": "elsewhere", "pid": 7}
module._BEAT_SECONDS = 0.02
with claim(path):
    print("held", flush=True)
    time.sleep(60)
"""


def _start(script, path, *words):
    folder = os.path.dirname(module.__file__)
    return subprocess.Popen(
        [sys.executable, "-c", _ALONE + script, folder, str(path), *words], stdout=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_of_many_that_find_a_dead_claim_one_gets_it(tmp_path, where):
    path = tmp_path / "claim.json"
    if where == "here":
        _write(path, pid=DEAD)
    else:
        _elsewhere(path)
    crowd = [_start(_CONTENDER, path, str(time.time() + 0.8)) for _ in range(6)]
    assert sorted(process.communicate(timeout=30)[0].strip() for process in crowd) == ["False"] * 5 + ["True"]
    assert not path.exists()


def test_two_processes_with_clocks_an_hour_apart(tmp_path, clock):
    """The other lives: it is let be, hours by our clock or not. It is stopped, and taken over; it wakes, and ends."""
    path, observer = tmp_path / "claim.json", Observer(clock)
    other = _start(_HOLDER, path)
    try:
        assert other.stdout.readline() == "held\n"
        assert observer.state(path) == "unsure"
        for _ in range(3):
            before = path.read_text()
            _until(lambda before=before: path.read_text() not in ("", before))
            clock.now += 55
            assert observer.state(path) == "alive"
        _stop_between_beats(other, path)
        observer.state(path)
        clock.now += 60.1
        with claim(path, observer) as ours:
            assert ours
            other.send_signal(signal.SIGCONT)
            assert other.wait(timeout=30) == 1
            ours.check()
    finally:
        other.kill()
        other.wait()
        other.stdout.close()


def test_a_holder_that_was_stopped_lock_in_hand_is_let_be(tmp_path, clock):
    path, observer = tmp_path / "claim.json", Observer(clock)
    _elsewhere(path)
    observer.state(path)
    clock.now += 60.1
    with open(path, "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with claim(path, observer) as ours:
            assert ours is None
    with claim(path, observer) as ours:
        assert ours


def _stop_between_beats(process, path):
    """One that is stopped in the middle of a beat holds the lock, and no one can take over from it."""
    while True:
        process.send_signal(signal.SIGSTOP)
        _until(lambda: _stopped(process.pid))
        with open(path, "r+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                process.send_signal(signal.SIGCONT)
                continue
        return


def _stopped(pid):
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] == "T"
