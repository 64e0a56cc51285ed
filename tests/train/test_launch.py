"""One command becomes several processes, or one of them."""

import os
import sys

import pytest
import torch

from whatwhere.errors import RunError
from whatwhere.train import launch as module
from whatwhere.train.launch import expand_hosts, is_first, launch

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


@pytest.mark.parametrize("word", ["1", "True", "yes", "y", "ON", "t", "0", "false", "no", "off"])
def test_the_word_for_the_cpu_is_read_as_accelerate_reads_it(word, monkeypatch):
    from accelerate.utils import parse_flag_from_env

    monkeypatch.setenv("ACCELERATE_USE_CPU", word)
    assert module.cpu_wanted() == parse_flag_from_env("ACCELERATE_USE_CPU")
