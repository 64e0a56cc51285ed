"""The processes of one run end as one, with one exit status."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from whatwhere.errors import RunError
from whatwhere.train import workers
from whatwhere.train.workers import STOPPED, supervise


def _command(text):
    start = "import os, signal, sys, time\nrank = int(os.environ['RANK'])\n"
    return [sys.executable, "-c", start + textwrap.dedent(text)]


def test_every_process_knows_its_place(tmp_path):
    text = f"""
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "MINE")
    open(f"{tmp_path}/{{rank}}", "w").write(" ".join(os.environ[name] for name in names))
    """
    assert supervise(_command(text), 2, {**os.environ, "MINE": "x"}) == 0
    first, second = ((tmp_path / name).read_text().split() for name in "01")
    assert (first[:5], second[:5]) == (["0", "0", "2", "2", "127.0.0.1"], ["1", "1", "2", "2", "127.0.0.1"])
    assert first[5:] == second[5:]
    assert 0 < int(first[5]) < 2**16


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("", 0),
        ("sys.exit(2)", 2),
        ("sys.exit(75)", STOPPED),
        ("sys.exit(75 if rank else 0)", STOPPED),
        ("sys.exit(3 if rank else 75)", 3),
        ("sys.exit(2 if rank else 0)", 2),
    ],
)
def test_the_exit_status_is_passed_on(text, status):
    assert supervise(_command(text), 2, os.environ) == status


def test_a_signal_between_two_starts_reaches_the_later_process_too(monkeypatch):
    usual = workers._start

    def start(command, rank, *others):
        if rank == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return usual(command, rank, *others)

    monkeypatch.setattr(workers, "_start", start)
    began = time.monotonic()
    assert supervise(_command("time.sleep(30)"), 2, os.environ) == STOPPED
    assert time.monotonic() - began < 15


def test_rank_0_speaks_for_all(capfd):
    assert supervise(_command("print('said by', rank); print('warned by', rank, file=sys.stderr)"), 3, os.environ) == 0
    assert capfd.readouterr() == ("said by 0\n", "warned by 0\n")


def test_what_failed_in_another_rank_is_told_and_the_rest_ended(capfd, monkeypatch):
    monkeypatch.setattr(workers, "_LONG_GRACE_SECONDS", 0.1)
    text = """
    if rank == 1:
        print("train: no", file=sys.stderr)
        sys.exit(2)
    time.sleep(60)
    """
    start = time.monotonic()
    assert supervise(_command(text), 2, os.environ) == 2
    assert time.monotonic() - start < 30
    assert capfd.readouterr().err == "rank 1 of 2 said:\ntrain: no\n"


@pytest.mark.parametrize(
    ("number", "fix"),
    [
        (
            signal.SIGKILL,
            "where the system did so for want of memory, a smaller --batch-size or fewer --devices; "
            "the same command again goes on from the last checkpoint",
        ),
        (signal.SIGSEGV, "the same command again goes on from the last checkpoint"),
    ],
)
def test_a_killed_rank_ends_the_whole_run_and_is_named(number, fix, monkeypatch, tmp_path):
    """The others refuse to go by themselves, and even at SIGTERM."""
    monkeypatch.setattr(workers, "_GRACE_SECONDS", 0.2)
    text = f"""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    open(f"{tmp_path}/{{rank}}", "w").write(str(os.getpid()))
    if rank == 1:
        while not os.path.exists("{tmp_path}/0"):
            time.sleep(0.01)
        os.kill(os.getpid(), {int(number)})
    time.sleep(60)
    """
    start = time.monotonic()
    with pytest.raises(RunError) as caught:
        supervise(_command(text), 2, os.environ)
    assert time.monotonic() - start < 30
    assert str(caught.value) == (
        f"--devices 2: rank 1 of 2 was killed by {number.name}\n  got: the other processes were ended too\n  fix: {fix}"
    )
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "0").read_text()), 0)


# The module alone, without the package and torch, which would take seconds to import.
_LOAD = f"""
import os, sys
from importlib.util import module_from_spec, spec_from_file_location
spec = spec_from_file_location("workers", {workers.__file__!r})
workers = sys.modules["workers"] = module_from_spec(spec)
spec.loader.exec_module(workers)
"""

_LAUNCHER = f"""{_LOAD}
sys.exit(workers.supervise([sys.executable, "-c", sys.argv[1]], 2, os.environ))
"""


def _patient(folder, number, status):
    """A worker that needs a moment for its checkpoint."""
    return f"""{_LOAD}
import signal, time
rank = os.environ["RANK"]
def stop(number, frame):
    time.sleep(0.5)
    open(f"{folder}/kept{{rank}}", "w").close()
    sys.exit({status})
signal.signal({int(number)}, stop)
workers.stop_with_launcher()
with open(f"{folder}/up{{rank}}", "w") as file:
    file.write("up")
time.sleep(60)
"""


def _wait_for(*paths):
    for _ in range(600):
        if all(path.exists() and path.stat().st_size for path in paths):
            return
        time.sleep(0.05)
    raise AssertionError(f"not all of {paths} in half a minute")


def _launcher(worker, folder):
    process = subprocess.Popen([sys.executable, "-c", _LAUNCHER, worker])
    _wait_for(folder / "up0", folder / "up1")
    return process


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, STOPPED), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_a_signal_to_the_launcher_reaches_all_and_their_checkpoint_is_waited_for(number, status, tmp_path):
    process = _launcher(_patient(tmp_path, number, status), tmp_path)
    process.send_signal(number)
    assert process.wait(timeout=30) == status
    assert (tmp_path / "kept0").exists()
    assert (tmp_path / "kept1").exists()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, STOPPED), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_stopped_before_there_was_anything_to_keep(number, status, tmp_path):
    worker = f"""
import os, signal, time
signal.signal(signal.SIGINT, signal.SIG_DFL)
with open("{tmp_path}/up" + os.environ["RANK"], "w") as file:
    file.write("up")
time.sleep(60)
"""
    process = _launcher(worker, tmp_path)
    process.send_signal(number)
    assert process.wait(timeout=30) == status


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can be asked to tell of a parent's death")
def test_the_workers_of_a_killed_launcher_stop_too(tmp_path):
    process = _launcher(_patient(tmp_path, signal.SIGTERM, 75), tmp_path)
    process.kill()
    process.wait()
    for _ in range(600):
        if (tmp_path / "kept0").exists() and (tmp_path / "kept1").exists():
            return
        time.sleep(0.05)
    raise AssertionError("the workers go on")
