"""One command becomes several processes, or one of them; and they end as one."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
import torch

from whatwhere.errors import RunError
from whatwhere.train import launch as module
from whatwhere.train import workers
from whatwhere.train.launch import expand_hosts, is_first, launch
from whatwhere.train.workers import STOPPED, supervise

TORCHRUN = {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500"}
SLURM = {
    "SLURM_STEP_ID": "2",
    "SLURM_PROCID": "5",
    "SLURM_NTASKS": "8",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_NODELIST": "gpu[07-08],old3",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_JOB_ID": "1234567",
}


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch):
    """Neither torchrun nor SLURM; whatever a test or `launch` sets is gone afterwards."""
    for name in [*os.environ]:
        if name in TORCHRUN or name == "ACCELERATE_USE_CPU" or name.startswith(("SLURM_", "GROUP_", "LOCAL_")):
            monkeypatch.delenv(name)
    for name in (*TORCHRUN, "ACCELERATE_USE_CPU"):  # set and deleted, so that monkeypatch knows to remove them
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def _set(monkeypatch, values):
    for name, value in values.items():
        monkeypatch.setenv(name, value)


def _refused(devices=None, num_nodes=None):
    with pytest.raises(RunError) as caught:
        launch(devices, num_nodes)
    return str(caught.value)


# what this process is


@pytest.mark.parametrize("devices", [None, 1])
def test_one_process_goes_on_as_it_is(devices, monkeypatch):
    monkeypatch.setattr(module, "supervise", None)
    before = dict(os.environ)
    assert launch(devices, None) is None
    assert dict(os.environ) == before
    assert is_first()


@pytest.mark.parametrize(("devices", "num_nodes"), [(None, None), (4, None), (2, 2), (4, 1), (None, 2)])
def test_a_process_of_torchrun_goes_on_as_its_rank(devices, num_nodes, monkeypatch):
    _set(monkeypatch, {**TORCHRUN, "GROUP_WORLD_SIZE": str(num_nodes or 1)})
    assert launch(devices, num_nodes) is None
    assert {name: os.environ[name] for name in TORCHRUN} == TORCHRUN
    assert not is_first()


@pytest.mark.parametrize("accelerator", [None, "mps", "cuda"])
def test_without_a_gpu_accelerate_is_told_that_the_processes_train_on_the_cpu(accelerator, monkeypatch):
    device = accelerator and torch.device(accelerator)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: device)
    _set(monkeypatch, TORCHRUN)
    launch(None, None)
    assert os.environ.get("ACCELERATE_USE_CPU") == (None if accelerator == "cuda" else "true")


def test_a_task_of_slurm_becomes_a_rank(monkeypatch):
    _set(monkeypatch, SLURM)
    assert launch(4, 2) is None
    found = {name: os.environ[name] for name in TORCHRUN}
    assert found == {
        "RANK": "5",
        "WORLD_SIZE": "8",
        "LOCAL_RANK": "1",
        "MASTER_ADDR": "gpu07",
        "MASTER_PORT": "24569",
    }


def test_what_the_user_set_for_the_meeting_stays(monkeypatch):
    _set(monkeypatch, {**SLURM, "MASTER_ADDR": "head", "MASTER_PORT": "1111"})
    launch(None, None)
    assert (os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"]) == ("head", "1111")


def test_the_script_of_a_slurm_job_is_no_rank(monkeypatch):
    """sbatch sets the number of tasks although nobody has started them: waiting for them would never end."""
    _set(monkeypatch, {name: value for name, value in SLURM.items() if "STEP" not in name})
    assert launch(None, None) is None
    assert "RANK" not in os.environ


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("alone", ["alone"]),
        ("node[01-03,07],other5", ["node01", "node02", "node03", "node07", "other5"]),
        ("n[9-11]", ["n9", "n10", "n11"]),
        ("n[098-101]", ["n098", "n099", "n100", "n101"]),
        ("rack[1-2]n[1,3]-ib", ["rack1n1-ib", "rack1n3-ib", "rack2n1-ib", "rack2n3-ib"]),
        ("a,b-1.site", ["a", "b-1.site"]),
    ],
)
def test_a_node_list_is_written_out(text, hosts):
    assert expand_hosts(text) == hosts


@pytest.mark.parametrize("text", ["", "n[1-", "n]1", "n[a-b]", "n[]", "n[1-2]x["])
def test_a_node_list_that_is_none(text):
    with pytest.raises(RunError) as caught:
        expand_hosts(text)
    assert str(caught.value) == (
        f"launch: SLURM's list of machines cannot be read\n  got: {text!r}\n  fix: set MASTER_ADDR"
    )


# what is refused

NOT_INT = "launch: WORLD_SIZE is a whole number\n  got: WORLD_SIZE=two"
RANGE = (
    "launch: RANK counts from 0 and stays below WORLD_SIZE, the number of processes\n"
    "  got: RANK=4, WORLD_SIZE=4\n"
    "  fix: give every process the same WORLD_SIZE and each its own RANK; torchrun does"
)
MISSING = (
    "launch: torchrun sets RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT, and MASTER_ADDR cannot be found\n"
    "  got: RANK=1, WORLD_SIZE=4, LOCAL_RANK=1, MASTER_PORT=29500\n"
    "  fix: start with torchrun, or unset RANK, WORLD_SIZE and LOCAL_RANK to train in one process"
)
PORT = "launch: MASTER_PORT is a port, from 1 to 65535\n  got: MASTER_PORT=99999"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"WORLD_SIZE": "two"}, NOT_INT),
        ({"RANK": "4"}, RANGE),
        ({"RANK": "-1"}, RANGE.replace("RANK=4", "RANK=-1")),
        ({"LOCAL_RANK": "7"}, RANGE.replace("RANK", "LOCAL_RANK", 1).replace("RANK=4", "LOCAL_RANK=7")),
        ({"MASTER_ADDR": ""}, MISSING),
        ({"MASTER_PORT": "99999"}, PORT),
    ],
    ids=["size", "rank", "negative", "local rank", "missing", "port"],
)
def test_an_environment_that_contradicts_itself(changes, message, monkeypatch):
    _set(monkeypatch, {**TORCHRUN, **changes})
    assert _refused() == message


COUNT_FIX = (
    "  fix: leave --devices and --num-nodes out, or have torchrun (--nproc-per-node, --nnodes) or srun "
    "(--ntasks-per-node, --nodes) start as many"
)


@pytest.mark.parametrize(
    ("devices", "num_nodes", "nodes", "first", "got"),
    [
        (2, None, "1", "--devices 2", "WORLD_SIZE=4"),
        (2, None, None, "--devices 2", "WORLD_SIZE=4"),
        (4, 2, "1", "--devices 4 --num-nodes 2", "WORLD_SIZE=4"),
        (4, None, "2", "--devices 4", "WORLD_SIZE=4 on 2 machines"),
        (None, 2, "4", "--num-nodes 2", "WORLD_SIZE=4 on 4 machines"),
    ],
)
def test_a_wrong_world_size(devices, num_nodes, nodes, first, got, monkeypatch):
    _set(monkeypatch, {**TORCHRUN, **({"GROUP_WORLD_SIZE": nodes} if nodes else {})})
    assert _refused(devices, num_nodes) == (
        f"{first}: another number of processes was started\n  got: {got}\n{COUNT_FIX}"
    )


def test_a_wrong_number_of_slurm_tasks(monkeypatch):
    _set(monkeypatch, SLURM)
    assert _refused(2, 2) == (
        "--devices 2 --num-nodes 2: another number of processes was started\n"
        f"  got: WORLD_SIZE=8 on 2 machines\n{COUNT_FIX}"
    )


def test_slurm_without_its_variables(monkeypatch):
    _set(monkeypatch, {name: value for name, value in SLURM.items() if name not in ("SLURM_LOCALID", "SLURM_JOB_ID")})
    assert _refused() == (
        "launch: srun sets SLURM_LOCALID, SLURM_JOB_ID, which cannot be found\n"
        "  fix: pass SLURM's environment on (srun --export=ALL), or start with torchrun"
    )


def test_numbers_below_one():
    assert _refused(0) == "--devices 0: there must be at least one"
    assert _refused(1, -1) == "--num-nodes -1: there must be at least one"


def test_several_machines_need_somebody_to_start_them():
    assert _refused(2, 2) == (
        "--num-nodes 2: one command cannot start processes on other machines\n"
        "  fix: start the same command on each of them with torchrun --nnodes=... --nproc-per-node=... "
        "--rdzv-backend=c10d --rdzv-endpoint=HOST:PORT -m whatwhere ..., or all of them with SLURM's srun"
    )


def test_more_devices_than_there_are(monkeypatch):
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    assert _refused(4) == (
        "--devices 4: there are not so many GPUs\n"
        "  got: 2 on this machine\n"
        "  fix: --devices 2, or ACCELERATE_USE_CPU=1 in the environment for processes on the CPU"
    )


# what is started


@pytest.fixture
def started(monkeypatch):
    """What `launch` would have run, with two CPU threads a process."""
    calls = []
    monkeypatch.setattr(module, "supervise", lambda *call: calls.append(call) or 7)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 5)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: None)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    return calls


def test_this_very_command_is_started_again(started, monkeypatch):
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "whatwhere", "compare", "--devices", "2"])
    assert launch(2, 1) == 7
    (command, count, environment) = started[0]
    assert (command, count) == ([sys.executable, "-m", "whatwhere", "compare", "--devices", "2"], 2)
    assert (environment["OMP_NUM_THREADS"], environment["ACCELERATE_USE_CPU"]) == ("2", "true")
    assert environment["PATH"] == os.environ["PATH"]


def test_given_words_are_started_and_given_threads_kept(started, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    launch(3, None, ["compare", "--devices", "3"])
    (command, count, environment) = started[0]
    assert (command, count) == ([sys.executable, "-m", "whatwhere", "compare", "--devices", "3"], 3)
    assert environment["OMP_NUM_THREADS"] == "3"


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


@pytest.mark.parametrize("word", ["1", "True", "yes", "y", "ON", "t", "0", "false", "no", "off"])
def test_the_word_for_the_cpu_is_read_as_accelerate_reads_it(word, monkeypatch):
    from accelerate.utils import parse_flag_from_env

    monkeypatch.setenv("ACCELERATE_USE_CPU", word)
    assert module.cpu_wanted() == parse_flag_from_env("ACCELERATE_USE_CPU")


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
