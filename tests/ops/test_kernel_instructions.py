"""The C++ kernels need no more instructions than they did: Callgrind counts them, ``instructions.json`` keeps them.

The counts are of AVX2, as Callgrind knows no AVX-512, and of one compiler and one torch, whose vector types the kernels
are made of. Where they are meant to change, this writes them anew, and the difference belongs into the same commit::

    REFRESH_COUNTS=1 .venv/bin/pytest tests/ops/test_kernel_instructions.py
"""

import json
import os
import platform
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from whatwhere.ops import operators
from whatwhere.ops.cpu import build, target

HERE = Path(__file__).parent
KEPT = HERE / "instructions.json"
LIMIT = 1.05
COMPILER = shlex.split(os.environ.get("CXX") or "c++")
REFRESH = bool(os.environ.get("REFRESH_COUNTS"))
CALL = re.compile(r"Client Request: (.+: (\d+)x(\d+) \w+), (\d+)\n(?:.*\n){,4}?summary: (\d+)")
LOOP = re.compile(r"(for \(; k \+ kPack <= columns; k \+= kPack\)) step\(k, Whole\{\}, Whole\{\}\);")

Counts = dict[str, float]


def compiler() -> str | None:
    """Its version, or None where there is no compiler or it finds none of Valgrind's headers."""
    if shutil.which(COMPILER[0]) is None:
        return None
    source = "#include <valgrind/callgrind.h>\n__VERSION__\n"
    done = subprocess.run([*COMPILER, "-E", "-x", "c++", "-"], input=source, capture_output=True, text=True)
    return None if done.returncode else done.stdout.splitlines()[-1].strip('"')


def conditions() -> dict[str, str]:
    """What the counts depend on beside the kernels, or skip: the major version of the compiler, torch's minor one."""
    if platform.machine() != "x86_64" or target.unsupported():
        pytest.skip("the counts are of AVX2 on Linux")
    if shutil.which("ninja") is None or shutil.which("valgrind") is None or (version := compiler()) is None:
        pytest.skip("no C++ compiler, no ninja or no Valgrind with its headers")
    return {"compiler": version.split(".")[0], "torch": ".".join(torch.__version__.split(".")[:2])}


def run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stderr[-4000:]}"


@pytest.fixture
def count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Counts]:
    """Builds the kernels for AVX2, unless the cache has them, and counts: instructions an element, by case and map."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    monkeypatch.setattr(target, "name", target.name.__wrapped__)

    def counted() -> Counts:
        library, program, dumps = build.build(), tmp_path / "instructions", tmp_path / "dumps"
        installed = Path(torch.__file__).parent
        links = [f"-L{installed}/lib", "-ltorch_cpu", "-lc10", f"-Wl,-rpath,{installed}/lib"]
        source = str(HERE / "instructions.cpp")
        run([*COMPILER, "-std=c++20", f"-I{installed}/include", source, "-o", str(program), *links])
        schemas = [str(getattr(torch.ops.whatwhere, name).default._schema) for name in operators.__all__]
        callgrind = ["valgrind", "--tool=callgrind", "--instr-atstart=no", "--combine-dumps=yes", "--dump-line=no"]
        run([*callgrind, f"--callgrind-out-file={dumps}", str(program), str(library), *schemas])
        return an_element(dumps.read_text())

    return counted


def an_element(dumps: str) -> Counts:
    """From calls with 1 image and with 17, what an element of the other 16 costs; a call's own cost cancels out."""
    calls: dict[tuple[str, int], dict[int, int]] = {}
    for case, rows, columns, images, instructions in CALL.findall(dumps):
        calls.setdefault((case, int(rows) * int(columns)), {})[int(images)] = int(instructions)
    return {case: round((of[17] - of[1]) / (16 * elements), 3) for (case, elements), of in calls.items()}


def grown(kept: Counts, found: Counts) -> list[str]:
    """The cases that need more than the limit allows, a line each."""
    return [
        f"{case}: {kept[case]} -> {new} instructions an element ({new / kept[case] - 1:+.1%})"
        for case, new in found.items()
        if new > kept[case] * LIMIT
    ]


def test_no_kernel_needs_more_instructions(
    count: Callable[[], Counts], record_property: Callable[[str, object], None]
) -> None:
    here = conditions()
    kept = json.loads(KEPT.read_text())
    if not REFRESH and (of := {key: kept[key] for key in here}) != here:
        pytest.skip(f"the counts are of {of}, and here is {here}")
    found = count()
    if REFRESH:
        KEPT.write_text(json.dumps(here | {"instructions an element": found}, indent=2) + "\n")
        pytest.skip(f"{KEPT.name} written anew")
    before = kept["instructions an element"]
    assert list(found) == list(before), "other cases than were counted; REFRESH_COUNTS=1 counts them"
    worse = grown(before, found)
    assert not worse, "\n".join(["more instructions than there were; if they must be, REFRESH_COUNTS=1:", *worse])
    changes = [new / before[case] - 1 for case, new in found.items()]
    record_property("measured", f"instructions of the CPU kernels: {min(changes):+.1%} to {max(changes):+.1%}")


def test_the_limit() -> None:
    kept = {"apply": 2.0, "pool": 1.0}
    assert grown(kept, {"apply": 2.1, "pool": 0.5}) == []
    assert grown(kept, {"apply": 2.11, "pool": 1.0}) == ["apply: 2.0 -> 2.11 instructions an element (+5.5%)"]


@pytest.mark.slow
def test_a_slower_loop_is_found_out(
    count: Callable[[], Counts], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every pack taken as the last one is, which need not be full: every kernel needs more."""
    conditions()
    before = count()
    opaque = '{ int64_t n = kPack; asm volatile("" : "+r"(n)); step(k, n, n); }'
    changed = 0
    for source in target.sources()[0].parent.glob("*.[ch]*"):
        text, places = LOOP.subn(rf"\1 {opaque}", source.read_text())
        (tmp_path / source.name).write_text(text)
        changed += places
    assert changed == 1, f"the sources have no such place any more: {LOOP.pattern}"
    monkeypatch.setattr(target, "sources", lambda: sorted(tmp_path.glob("*.cpp")))
    monkeypatch.setenv("WHATWHERE_CACHE", str(tmp_path / "cache"))
    assert {line.split(",")[0] for line in grown(before, count())} == set(operators.__all__)
