"""Where a number was measured: versions, device, threads and the commit of this package."""

import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

from whatwhere.train.launch import cpu_wanted

__all__ = ["device", "environment"]


def device() -> torch.device:
    """Where trials are trained: what Accelerate chooses (``ACCELERATE_USE_CPU=1`` for the CPU)."""
    from accelerate import PartialState

    return torch.device("cpu") if cpu_wanted() else torch.device(PartialState().device)


def environment() -> dict[str, Any]:
    """JSON-able: whatwhere's, torch's and Python's versions, device, threads, and commit (None outside a checkout)."""
    from whatwhere import __version__

    return {
        "versions": {
            "whatwhere": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "device": _device_name(),
        "threads": torch.get_num_threads(),
        "commit": _commit(Path(__file__).parent),
    }


def _device_name() -> str:
    kind = device().type
    if kind == "cuda":
        return f"cuda ({torch.cuda.get_device_name()})"
    return f"{kind} ({_cpu_name()})" if kind == "cpu" else kind


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()


def _commit(folder: Path) -> str | None:
    """The commit that this file was taken from, with "+changes" when the folder differs from it."""
    if not _git(folder, "ls-files", Path(__file__).name):  # installed inside somebody else's checkout
        return None
    commit = _git(folder, "rev-parse", "HEAD")
    changes = _git(folder, "status", "--porcelain", "--", "..")
    return f"{commit}+changes" if commit and changes else commit or None


def _git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), *words]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
