"""Building, keeping and loading the C++ kernels, with stand-ins of one line; and every way in which that fails."""

import ctypes
import errno
import fcntl
import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from whatwhere.errors import KernelError
from whatwhere.ops import cpu
from whatwhere.ops.cpu import build, cache, target

TOOLS = all(shutil.which(shlex.split(tool)[0]) for tool in (os.environ.get("CXX") or "c++", "ninja"))
needs_tools = pytest.mark.skipif(
    not (TOOLS and sys.platform == "linux"), reason="no C++ compiler, no ninja or no Linux"
)
STANDIN = 'extern "C" int standin() { return 7; }\n'


def compile_instead(monkeypatch: pytest.MonkeyPatch, folder: Path, text: str) -> Path:
    """Have these lines for the kernels' sources, and nothing loaded yet."""
    source = folder / "standin.cpp"
    source.write_text(text)
    monkeypatch.setattr(target, "sources", lambda: [source])
    monkeypatch.setattr(target, "name", getattr(target.name, "__wrapped__", target.name))
    monkeypatch.setattr(cpu, "_loaded", False)
    monkeypatch.delenv("CXX", raising=False)
    return source


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a cache that is empty, and a stand-in to build for it."""
    monkeypatch.setenv("WHATWHERE_CACHE", str(tmp_path / "cache"))
    compile_instead(monkeypatch, tmp_path, STANDIN)
    return tmp_path / "cache" / "kernels"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The stand-in as the compiler made it."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        folder = tmp_path_factory.mktemp("once")
        monkeypatch.setenv("WHATWHERE_CACHE", str(folder))
        compile_instead(monkeypatch, folder, STANDIN)
        said: list[str] = []
        path = build.build(report=said.append)
        assert said == [f"compiling 1 C++ file for {target.words()}"]
        assert sorted(path.parent.iterdir()) == sorted([path, path.parent / "lock"])
        return path.read_bytes()[:-32]


@pytest.fixture
def compiled(library: bytes, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Saves the compiler's time; counts how often it would have run."""
    times: list[Path] = []

    def found(path: Path, environment: dict[str, str], tell: Callable[[str], None]) -> bytes:
        times.append(path)
        return library

    monkeypatch.setattr(build, "_compiled", found)
    return times


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(KernelError) as caught:
        call()
    return str(caught.value)


@needs_tools
def test_what_is_built_is_kept_and_loads(kept: Path, compiled: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    path = build.build()
    assert path.parent == kept
    assert path.name.startswith(f"cpu-torch{torch.__version__}-")
    assert cpu.built() == path
    cpu.load()
    assert cpu.problem() is None
    assert ctypes.CDLL(str(path)).standin() == 7
    with monkeypatch.context() as closed:
        closed.setattr(build, "_alone", lambda *_: pytest.fail("a finished build must not need to write"))
        assert build.build() == path
    assert compiled == [path]
    assert build.build(force=True) == path
    assert compiled == [path, path]


@needs_tools
def test_a_damaged_library_is_never_loaded_and_built_anew(kept: Path, compiled: list[Path]) -> None:
    path = build.build()
    whole = path.read_bytes()
    damages = (b"", whole[:20], whole[: len(whole) // 2], whole[:-1], whole[:5000] + b"\xff" + whole[5001:])
    for turn, damaged in enumerate(damages):
        path.write_bytes(damaged)
        os.utime(path, (turn, turn))
        assert cpu.built() is None
        assert cpu.problem() == f"{path} is cut off or damaged"
        assert refused(cpu.load) == (
            f"load(): the CPU kernels cannot be used\n  got: {path} is cut off or damaged\n"
            "  fix: `whatwhere kernels` builds them"
        )
    assert build.build() == path
    assert path.read_bytes() == whole
    assert cpu.problem() is None


def test_a_library_that_the_system_does_not_load(kept: Path) -> None:
    kept.mkdir(parents=True)
    path = cache.write(b"no library at all, but all of it is there")
    assert cpu.problem() == f"the system does not load the library: {path}: invalid ELF header"


def test_builds_for_others_are_ignored(kept: Path) -> None:
    assert cpu.problem() == f"not built for {target.words()}"
    kept.mkdir(parents=True)
    (kept / "cpu-torch1.0.0-AVX2-x86_64-0123456789ab.so").write_bytes(b"")
    cpu._absent.cache_clear()
    assert cpu.problem() == (
        f"not built for {target.words()}; the cache has 1 for another torch, another CPU or other sources"
    )
    assert cpu.built() is None


@pytest.mark.parametrize(
    ("owner", "attribute", "value"),
    [
        (torch, "__version__", "2.11.0"),
        (torch.version, "git_version", "0" * 40),
        (torch, "compiled_with_cxx11_abi", lambda: "the other"),
        (torch.backends.cpu, "get_cpu_capability", lambda: "NO AVX"),
        (platform, "machine", lambda: "aarch64"),
        (platform, "libc_ver", lambda: ("glibc", "2.17")),
        (target, "_COMMON", ("-O0",)),
    ],
)
def test_another_torch_cpu_or_compilation_is_another_file(
    kept: Path, monkeypatch: pytest.MonkeyPatch, owner: object, attribute: str, value: object
) -> None:
    before = target.name()
    monkeypatch.setattr(owner, attribute, value)
    assert target.name() != before


def test_other_sources_are_another_file(kept: Path) -> None:
    (source,) = target.sources()
    names = {target.name()}
    for name, text in (("standin.cpp", "// changed"), ("planes.h", "// a header"), ("planes.h", "// changed")):
        source.with_name(name).write_text(text)
        names.add(target.name())
    assert len(names) == 4


@pytest.mark.parametrize(
    ("capability", "flags"),
    [
        ("AVX512", ["-DCPU_CAPABILITY=AVX512", "-DCPU_CAPABILITY_AVX512", "-mavx512f", "-mavx2", "-mfma"]),
        ("AVX2", ["-DCPU_CAPABILITY=AVX2", "-DCPU_CAPABILITY_AVX2", "-mavx2", "-mfma"]),
        ("SVE256", ["-DCPU_CAPABILITY=DEFAULT"]),
    ],
)
def test_the_compiler_is_told_what_the_cpu_has(
    monkeypatch: pytest.MonkeyPatch, capability: str, flags: list[str]
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    vectors = {"-mavx512bw", "-mavx512vl", "-mavx512dq", "-mf16c", "-fno-math-errno", "-fno-trapping-math"}
    assert [flag for flag in target.flags() if flag not in vectors] == ["-O3", "-fopenmp", *flags]


def test_the_folder_is_where_the_user_wants_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHATWHERE_CACHE", str(tmp_path / "mine"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache.folder() == tmp_path / "mine" / "kernels"
    monkeypatch.setenv("WHATWHERE_CACHE", "")
    assert cache.folder() == tmp_path / "xdg" / "whatwhere" / "kernels"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache.folder() == tmp_path / "home" / ".cache" / "whatwhere" / "kernels"
    monkeypatch.setenv("WHATWHERE_CACHE", "~/mine")
    assert cache.folder() == tmp_path / "home" / "mine" / "kernels"


def test_no_home_folder(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless(self: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", homeless)
    assert refused(build.build) == (
        "whatwhere.ops.cpu: there is no folder for built kernels\n  got: Could not determine home directory.\n"
        "  fix: set WHATWHERE_CACHE to a folder that can be written"
    )
    assert cpu.problem() == (
        "whatwhere.ops.cpu: there is no folder for built kernels; set WHATWHERE_CACHE to a folder that can be written"
    )


def test_a_system_that_has_no_kernels(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    assert cpu.problem() == "the C++ kernels are for Linux, and this is Darwin"
    assert refused(build.build) == (
        "build(): there are no CPU kernels for this system\n  got: the C++ kernels are for Linux, and this is Darwin\n"
        "  fix: plain torch runs"
    )


def test_no_compiler(kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-g++ -pipe")
    fix = "  fix: install g++, or set CXX to a compiler; without the kernels plain torch runs"
    assert refused(build.build) == f"build(): there is no C++ compiler\n  got: CXX=no-such-g++ -pipe\n{fix}"
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert refused(build.build) == f"build(): there is no C++ compiler\n  got: no c++ in PATH\n{fix}"
    assert not kept.exists()


def test_no_ninja(kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = tmp_path / "c++"
    compiler.touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(build.sysconfig, "get_path", lambda _: str(tmp_path))
    assert refused(build.build) == ("build(): torch builds with ninja, and there is none\n  fix: pip install ninja")
    (tmp_path / "ninja").touch(0o755)
    assert build._environment()["PATH"] == os.pathsep.join([str(tmp_path), str(tmp_path)])


@needs_tools
def test_a_compiler_that_fails_leaves_the_old_library(
    kept: Path, compiled: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = build.build()
    before = path.read_bytes()
    monkeypatch.undo()
    monkeypatch.setenv("WHATWHERE_CACHE", str(kept.parent))
    compile_instead(monkeypatch, kept.parent.parent, STANDIN)
    monkeypatch.setenv("CXX", "false")
    log = path.with_suffix(".log")
    assert refused(lambda: build.build(force=True)) == (
        "build(): the CPU kernels do not compile\n  got: ninja: build stopped: subcommand failed.\n"
        f"  fix: {log} has all that was said; without the kernels plain torch runs"
    )
    assert path.read_bytes() == before
    assert "FAILED" in log.read_text()
    assert sorted(kept.iterdir()) == sorted([kept / "lock", path, log])


@needs_tools
def test_the_first_error_of_the_compiler_is_told(kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = compile_instead(monkeypatch, tmp_path, "int fine;\n#error no such kernel\nint x = y;\n")
    rule, got, fix = refused(build.build).splitlines()
    assert rule == "build(): the CPU kernels do not compile"
    assert got.startswith(f"  got: {source}:2:")
    assert got.endswith("no such kernel")
    log = cache.place().with_suffix(".log")
    assert fix == f"  fix: {log} has all that was said; without the kernels plain torch runs"
    assert "x = y" in log.read_text()
    assert sorted(kept.iterdir()) == sorted([kept / "lock", log])


@needs_tools
def test_a_library_that_ends_the_process_ends_only_the_one_that_builds(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    throws = '#include <stdexcept>\nstatic int x = [] { throw std::runtime_error("another schema"); return 0; }();\n'
    compile_instead(monkeypatch, tmp_path, throws)
    assert refused(build.build).splitlines()[1] == "  got: what():  another schema"
    assert cpu.built() is None


@pytest.mark.parametrize(
    ("said", "first"),
    [
        ("[1/2] c++ a.cpp\na.cpp:3:1: error: one\nb.cpp:4:1: error: two", "a.cpp:3:1: error: one"),
        ("c++: fatal error: Killed signal terminated program cc1plus", None),
        ("a.o: in function f:\na.cpp:(.text+0x5): undefined reference to `g'\ncollect2: error: ld returned 1", 1),
        ("Traceback:\n  File x\nModuleNotFoundError: No module named 'setuptools'\n\n", 2),
    ],
)
def test_the_line_that_tells_most(said: str, first: str | int | None) -> None:
    expected = said if first is None else said.splitlines()[first] if isinstance(first, int) else first
    assert build._first_error(said) == expected


def test_something_in_the_place_of_the_folder(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept.parent.write_text("a file")
    monkeypatch.setattr(build, "_environment", dict)
    assert refused(build.build) == (
        f"build(): the cache cannot be written\n  got: not a directory: {kept}\n"
        "  fix: move away what stands in the place of a file or folder, or choose another; "
        "WHATWHERE_CACHE says where it is"
    )


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_folder_that_cannot_be_written(kept: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def closed(self: Path, **_: object) -> None:
        raise OSError(number, os.strerror(number), str(self))

    monkeypatch.setattr(build, "_environment", dict)
    monkeypatch.setattr(Path, "mkdir", closed)
    assert refused(build.build) == (
        f"build(): the cache cannot be written\n  got: {os.strerror(number).lower()}: {kept}\n"
        "  fix: make the folder writable, or choose another; WHATWHERE_CACHE says where it is"
    )


@needs_tools
def test_a_full_disk_leaves_no_half_file(kept: Path, compiled: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", full)
        assert refused(build.build) == (
            f"build(): the cache cannot be written\n  got: no space left on device: {kept}\n"
            "  fix: free some space; WHATWHERE_CACHE says where it is"
        )
    assert list(kept.iterdir()) == [kept / "lock"]
    assert build.build() == kept / target.name()


BUILDER = """
import sys
from pathlib import Path
from whatwhere.ops.cpu import build, target
target.sources = lambda: [Path(sys.argv[1])]
print(build.build(report=print))
"""


@needs_tools
def test_two_processes_at_once_after_one_that_was_killed(kept: Path, tmp_path: Path) -> None:
    """A builder is killed in the middle of compiling; then two start together: one builds, the other gets the same."""
    (source,) = target.sources()
    command = [sys.executable, "-c", BUILDER, str(source)]
    asleep = tmp_path / "asleep"
    asleep.write_text("#!/bin/sh\nexec sleep 60\n")
    asleep.chmod(0o755)
    killed = subprocess.Popen(command, env={**os.environ, "CXX": str(asleep)}, start_new_session=True)
    for _ in range(1200):
        if left := list(kept.glob(".build-*")):
            break
        time.sleep(0.05)
    assert left
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=120)[0].splitlines() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    path = cpu.built()
    assert path is not None
    assert [lines[-1] for lines in said] == [str(path)] * 2
    assert sum(f"compiling 1 C++ file for {target.words()}" in lines for lines in said) == 1
    assert sorted(kept.iterdir()) == sorted([path, kept / "lock"])


@needs_tools
def test_a_second_builder_says_that_it_waits(kept: Path, compiled: list[Path]) -> None:
    kept.mkdir(parents=True)
    said: list[str] = []
    waits = threading.Event()

    def tell(line: str) -> None:
        said.append(line)
        waits.set()

    with open(kept / "lock", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        other = threading.Thread(target=build.build, kwargs={"report": tell})
        other.start()
        assert waits.wait(20)
        assert compiled == []
    other.join()
    assert said == ["waiting for another process that builds them"]
    assert compiled == [cache.place()]


def test_the_kernels_themselves_build_and_load() -> None:
    """Built or found in the user's own cache; the operator then runs on the CPU what plain torch computes."""
    if not target.sources() or target.unsupported():
        pytest.skip("there are no CPU kernels here")
    if cpu.built() is None and not TOOLS:
        pytest.skip("no C++ compiler or no ninja")
    build.build()
    cpu.load()
    from whatwhere.ops import operators, plain

    x, row = torch.randn(2, 5, 33), torch.randn(2, 5)
    found = operators.apply(x, row, None, "sum", None, None, False)
    torch.testing.assert_close(found, plain.apply(x, row, None, "sum", None, None, False))
