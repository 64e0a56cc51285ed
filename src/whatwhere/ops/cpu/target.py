"""What a build of the kernels is for: these sources, this torch, this CPU; another build is never loaded."""

import hashlib
import platform
import sys
from functools import cache
from pathlib import Path

import torch

__all__ = ["flags", "name", "sources", "unsupported", "words"]

_COMMON = ("-O3", "-fopenmp", "-fno-math-errno", "-fno-trapping-math")
# As torch compiles its own vector types for what `torch.backends.cpu.get_cpu_capability` may find.
_VECTORS = {
    "AVX512": ("-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mavx2", "-mfma", "-mf16c"),
    "AVX2": ("-mavx2", "-mfma", "-mf16c"),
}


def sources() -> list[Path]:
    """The files to compile, and nothing that they include."""
    return sorted(Path(__file__).parent.glob("*.cpp"))


def flags() -> list[str]:
    """The compiler's, beside those that torch's loader gives it."""
    found = _capability()
    macros = [f"-DCPU_CAPABILITY={found}"]
    if found in _VECTORS:
        macros.append(f"-DCPU_CAPABILITY_{found}")
    return [*_COMMON, *macros, *_VECTORS.get(found, ())]


def unsupported() -> str | None:
    """Why there are no kernels for this system, or None."""
    if sys.platform != "linux":
        return f"the C++ kernels are for Linux, and this is {platform.system()}"
    return None


def words() -> str:
    """This torch and this CPU, for messages."""
    return f"torch {torch.__version__} on {_capability()} {platform.machine()}"


@cache
def name() -> str:
    """The file name of a build: who it is for, legibly, and a hash of all that must not differ."""
    parts = [torch.__version__, str(torch.version.git_version), str(torch.compiled_with_cxx11_abi())]
    parts += [platform.machine(), *platform.libc_ver(), *flags()]
    digest = hashlib.sha256("\0".join(parts).encode())
    headers = {header for source in sources() for header in source.parent.glob("*.h")}
    for path in sorted({*sources(), *headers}):
        digest.update(f"\0{path.name}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return f"cpu-torch{torch.__version__}-{_capability()}-{platform.machine()}-{digest.hexdigest()[:12]}.so"


def _capability() -> str:
    """Of the instruction sets torch knows, the one to compile for; the compiler's own elsewhere, NEON on ARM."""
    found = torch.backends.cpu.get_cpu_capability()
    return found if found in _VECTORS else "DEFAULT"
