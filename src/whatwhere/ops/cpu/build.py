"""Building the kernels: torch's loader compiles them in a process of its own, and the library goes into the cache."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from whatwhere.errors import KernelError
from whatwhere.files import replace_file, way_out
from whatwhere.ops.cpu import cache, target

__all__ = ["build"]

_WORK = ".build-"
_ERROR = re.compile(r"error: |undefined reference|cannot find -l|what\(\): ")


def build(force: bool = False, report: Callable[[str], None] | None = None) -> Path:
    """Compile the kernels for this torch and this CPU, unless that is done already.

    Of several processes that build at once one does it and the others wait; one that is killed leaves nothing that
    stops the next.

    Args:
        force: build them anew.
        report: told what is going on, a line at a time.

    Returns:
        The library in the cache.

    Raises:
        KernelError: this system has no kernels; there is no compiler or no ninja; the compiler fails; the cache cannot
            be written. What was in the cache stays.
    Cost: about 70 s of processor time, spread over the cores, and 0.7 GB of memory a file that is being compiled.
    """
    tell = report or (lambda line: None)
    if (reason := target.unsupported()) is not None:
        raise KernelError("build(): there are no CPU kernels for this system", got=reason, fix="plain torch runs")
    path = cache.place()
    if not force and cache.fault(path) is None:
        return path
    environment = _environment()
    try:
        with _alone(path.parent, tell):
            if force or cache.fault(path) is not None:
                cache.write(_compiled(path, environment, tell))
                _log(path).unlink(missing_ok=True)
    except OSError as error:
        raise KernelError(
            "build(): the cache cannot be written",
            got=f"{(error.strerror or str(error)).lower()}: {error.filename or path.parent}",
            fix=f"{way_out(error) or 'choose another folder'}; WHATWHERE_CACHE says where it is",
        ) from error
    return path


def _environment() -> dict[str, str]:
    """The compiler process's: finds what this one finds, and a ninja installed beside this Python; speaks English."""
    scripts = sysconfig.get_path("scripts")
    path = os.pathsep.join(filter(None, [os.environ.get("PATH"), scripts]))
    compiler = os.environ.get("CXX") or "c++"
    if shutil.which(shlex.split(compiler)[0], path=path) is None:
        raise KernelError(
            "build(): there is no C++ compiler",
            got=f"CXX={compiler}" if os.environ.get("CXX") else "no c++ in PATH",
            fix="install g++, or set CXX to a compiler; without the kernels plain torch runs",
        )
    if shutil.which("ninja", path=path) is None:
        raise KernelError("build(): torch builds with ninja, and there is none", fix="pip install ninja")
    imports = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    # Whether a compiler will do, its own output says better than what torch makes of its name.
    plain = {"LC_ALL": "C", "TORCH_DONT_CHECK_COMPILER_ABI": "1"}
    return {**os.environ, "PATH": path, "PYTHONPATH": imports, **plain}


@contextmanager
def _alone(folder: Path, tell: Callable[[str], None]) -> Iterator[None]:
    """Hold the folder's lock, which the system takes back from a process that dies; clear away what such ones left."""
    import fcntl

    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tell("waiting for another process that builds them")
            fcntl.flock(file, fcntl.LOCK_EX)
        for left in folder.glob(f"{_WORK}*"):
            shutil.rmtree(left, ignore_errors=True)
        yield


def _compiled(path: Path, environment: dict[str, str], tell: Callable[[str], None]) -> bytes:
    sources = target.sources()
    tell(f"compiling {len(sources)} C++ file{'s' * (len(sources) != 1)} for {target.words()}")
    with TemporaryDirectory(prefix=_WORK, dir=path.parent) as work:
        # No -fopenmp for the linker: the library shall find torch's own OpenMP and its threads, not a second one.
        job = {
            "name": "whatwhere_cpu",
            "sources": [str(source) for source in sources],
            "extra_cflags": target.flags(),
            "build_directory": work,
        }
        command = [sys.executable, "-m", "whatwhere.ops.cpu.compile", json.dumps(job)]
        done = subprocess.run(command, cwd=work, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode == 0:
            return Path(work, "whatwhere_cpu.so").read_bytes()
    replace_file(_log(path), done.stdout)
    said = done.stdout.decode(errors="replace")
    raise KernelError(
        "build(): the CPU kernels do not compile",
        got=_first_error(said) or f"exit status {done.returncode}",
        fix=f"{_log(path)} has all that was said; without the kernels plain torch runs",
    )


def _first_error(said: str) -> str:
    """The line that tells most: the compiler's or linker's first complaint, else the last of all lines."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return next((line for line in lines if _ERROR.search(line)), lines[-1] if lines else "")


def _log(path: Path) -> Path:
    return path.with_suffix(".log")
