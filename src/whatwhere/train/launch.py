"""From one command to the processes of one trial: this machine's, torchrun's or SLURM's."""

import os
import re
import sys
from collections.abc import Mapping, Sequence

from whatwhere.errors import RunError
from whatwhere.train.workers import stop_with_launcher, supervise

__all__ = ["cpu_wanted", "expand_hosts", "is_first", "launch", "processes"]

_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
_SLURM = ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_JOB_ID")
# The ports that SLURM's jobs meet at: outside those that systems hand out by themselves, mostly.
_FIRST_PORT, _PORTS = 20_000, 10_000


def launch(devices: int | None, num_nodes: int | None, arguments: Sequence[str] | None = None) -> int | None:
    """Become one of the processes that train together, or start them and wait.

    - Started by torchrun (or whatever sets RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT): these are
      checked, and this process goes on as its rank.
    - Started by SLURM's srun with more than one task: those variables are set from SLURM's, and this process goes on.
    - Else, with ``devices`` above 1: this very command is started so many times on this machine, one process a GPU, or,
      where there is none (``ACCELERATE_USE_CPU=1`` does without), processes that share out the CPU's threads.

    Call it before anything expensive, in the main thread; the processes meet when training starts, not here.

    Args:
        devices: processes on each machine; None takes what the environment says, one without it.
        num_nodes: machines; likewise.
        arguments: the words after ``whatwhere``; None for those of this process.

    Returns:
        None: go on in this process. Else the exit status of those that were started, to be passed on: 0, 2 for a
        mistake of the user (it has been told), 75 when they were stopped by SIGTERM or SIGUSR1 and kept a checkpoint,
        130 after Ctrl-C.

    Raises:
        RunError: a number is below 1, the environment contradicts itself or the two numbers, there are fewer GPUs than
            ``devices``, several machines and nobody to start them, or a process was killed.
    """
    for word, number in (("--devices", devices), ("--num-nodes", num_nodes)):
        if number is not None and number < 1:
            raise RunError(f"{word} {number}: there must be at least one")
    if any(name in os.environ for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")):
        _check_torchrun(os.environ, devices, num_nodes)
        stop_with_launcher()
        _settle_device()
        return None
    if _slurm_tasks(os.environ) > 1:
        os.environ.update(_from_slurm(os.environ))
        _check_counts(os.environ, devices, num_nodes)
        _settle_device()
        return None
    if (num_nodes or 1) > 1:
        raise RunError(
            f"--num-nodes {num_nodes}: one command cannot start processes on other machines",
            fix="start the same command on each of them with torchrun --nnodes=... --nproc-per-node=... "
            "--rdzv-backend=c10d --rdzv-endpoint=HOST:PORT -m whatwhere ..., or all of them with SLURM's srun",
        )
    if (devices or 1) == 1:
        return None
    return _start_here(devices or 1, arguments)


def is_first() -> bool:
    """Whether this process is rank 0, which prints and writes for all; so is one that trains alone."""
    return os.environ.get("RANK", "0") == "0"


def processes() -> int:
    """How many were started to train together, as the environment says; 1 for a process that trains alone."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def cpu_wanted() -> bool:
    """Whether ``ACCELERATE_USE_CPU`` has GPUs left alone, by any word that Accelerate takes for yes."""
    return os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes", "y", "on", "t")


def _start_here(devices: int, arguments: Sequence[str] | None) -> int:
    import torch

    if _on_cpu():
        device = {"ACCELERATE_USE_CPU": "true"}
    else:
        found = torch.accelerator.device_count()
        if devices > found:
            raise RunError(
                f"--devices {devices}: there are not so many GPUs",
                got=f"{found} on this machine",
                fix=f"--devices {found}, or ACCELERATE_USE_CPU=1 in the environment for processes on the CPU",
            )
        device = {}
    threads = {"OMP_NUM_THREADS": str(max(1, torch.get_num_threads() // devices))}
    words = sys.orig_argv[1:] if arguments is None else ["-m", "whatwhere", *arguments]
    return supervise([sys.executable, *words], devices, {**threads, **os.environ, **device})


def _on_cpu() -> bool:
    """Whether several processes would train on the CPU: asked for, or nothing here that processes could share out."""
    import torch

    if cpu_wanted():
        return True
    found = torch.accelerator.current_accelerator(check_available=True)
    return found is None or found.type == "mps"


def _settle_device() -> None:
    """Say "CPU" outright where there is nothing else: without it Accelerate takes each process to be alone."""
    if _on_cpu():
        os.environ["ACCELERATE_USE_CPU"] = "true"


def _check_torchrun(found: Mapping[str, str], devices: int | None, num_nodes: int | None) -> None:
    missing = [name for name in _TORCHRUN if not found.get(name)]
    if missing:
        raise RunError(
            f"launch: torchrun sets {', '.join(_TORCHRUN)}, and {', '.join(missing)} cannot be found",
            got=", ".join(f"{name}={found[name]}" for name in _TORCHRUN if found.get(name)),
            fix="start with torchrun, or unset RANK, WORLD_SIZE and LOCAL_RANK to train in one process",
        )
    rank, size, local = (_whole(name, found) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    _check_range("RANK", rank, size)
    _check_range("LOCAL_RANK", local, size)
    port = _whole("MASTER_PORT", found)
    if not 0 < port < 2**16:
        raise RunError("launch: MASTER_PORT is a port, from 1 to 65535", got=f"MASTER_PORT={port}")
    _check_counts(found, devices, num_nodes)


def _whole(name: str, found: Mapping[str, str]) -> int:
    try:
        return int(found[name])
    except ValueError:
        raise RunError(f"launch: {name} is a whole number", got=f"{name}={found[name]}") from None


def _check_range(name: str, value: int, size: int) -> None:
    if not 0 <= value < size:
        raise RunError(
            f"launch: {name} counts from 0 and stays below WORLD_SIZE, the number of processes",
            got=f"{name}={value}, WORLD_SIZE={size}",
            fix="give every process the same WORLD_SIZE and each its own RANK; torchrun does",
        )


def _check_counts(found: Mapping[str, str], devices: int | None, num_nodes: int | None) -> None:
    """The numbers asked for against those that torchrun or SLURM brought about."""
    size = int(found["WORLD_SIZE"])
    nodes = found.get("GROUP_WORLD_SIZE") or found.get("SLURM_STEP_NUM_NODES")  # torchrun's name for it, and SLURM's
    asked = [f"--devices {devices}"] * (devices is not None) + [f"--num-nodes {num_nodes}"] * (num_nodes is not None)
    wrong_size = devices is not None and devices * (num_nodes or int(nodes or 1)) != size
    wrong_nodes = num_nodes is not None and nodes is not None and int(nodes) != num_nodes
    if wrong_size or wrong_nodes:
        raise RunError(
            f"{' '.join(asked)}: another number of processes was started",
            got=f"WORLD_SIZE={size}" + (f" on {nodes} machines" if nodes and int(nodes) > 1 else ""),
            fix="leave --devices and --num-nodes out, or have torchrun (--nproc-per-node, --nnodes) or srun "
            "(--ntasks-per-node, --nodes) start as many",
        )


def _slurm_tasks(found: Mapping[str, str]) -> int:
    """Tasks of the step that this process is one of; a job's own script is no step, whatever tasks the job may have."""
    if "SLURM_STEP_ID" not in found:
        return 1
    number = found.get("SLURM_STEP_NUM_TASKS") or found.get("SLURM_NTASKS") or "1"
    return int(number) if number.isdecimal() else 1


def _from_slurm(found: Mapping[str, str]) -> dict[str, str]:
    """What torchrun would have set. All tasks choose the first machine of the step and a port from the job's number."""
    nodes = found.get("SLURM_STEP_NODELIST") or found.get("SLURM_NODELIST") or found.get("SLURM_JOB_NODELIST")
    missing = [name for name in _SLURM if name not in found] + ["SLURM_STEP_NODELIST"] * (not nodes)
    if missing:
        raise RunError(
            f"launch: srun sets {', '.join(missing)}, which cannot be found",
            fix="pass SLURM's environment on (srun --export=ALL), or start with torchrun",
        )
    rank, local, job = (_whole(name, found) for name in _SLURM)
    step = found["SLURM_STEP_ID"]
    size = _slurm_tasks(found)
    _check_range("SLURM_PROCID", rank, size)
    port = _FIRST_PORT + (job + int(step if step.isdecimal() else 0)) % _PORTS
    return {
        "RANK": str(rank),
        "WORLD_SIZE": str(size),
        "LOCAL_RANK": str(local),
        "MASTER_ADDR": found.get("MASTER_ADDR") or expand_hosts(nodes or "")[0],
        "MASTER_PORT": found.get("MASTER_PORT") or str(port),
    }


def expand_hosts(text: str) -> list[str]:
    """The machines of a SLURM node list, in order: "n[01-03,07],m5" is n01, n02, n03, n07, m5.

    Raises:
        RunError: it is empty, or is no such list.
    """
    hosts: list[str] = []
    try:
        for part in re.findall(r"(?:[^,\[\]]|\[[^\[\]]*\])+|[\[\]]", text):
            hosts += _expand(part)
    except ValueError:
        hosts.clear()
    if not hosts:
        raise RunError("launch: SLURM's list of machines cannot be read", got=repr(text), fix="set MASTER_ADDR")
    return hosts


def _expand(part: str) -> list[str]:
    head, bracket, rest = part.partition("[")
    if not bracket:
        if "]" in head:
            raise ValueError(part)
        return [head]
    inside, _, tail = rest.partition("]")
    return [head + number + end for number in _numbers(inside) for end in _expand(tail)]


def _numbers(inside: str) -> list[str]:
    """ "01-03,07" is 01, 02, 03, 07: as many digits as the first has."""
    numbers: list[str] = []
    for item in inside.split(","):
        first, dash, last = item.partition("-")
        numbers += [f"{n:0{len(first)}d}" for n in range(int(first), int(last if dash else first) + 1)]
    return numbers
