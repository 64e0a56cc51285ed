"""`whatwhere kernels` as a person meets it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from whatwhere.cli import kernels
from whatwhere.cli.kernels import Kernels
from whatwhere.cli.main import main
from whatwhere.ops import cpu
from whatwhere.ops.cpu import build, target
from whatwhere.ops.dispatch import VARIABLE

REFERENCE = "| reference | yes | all | all | needs none |"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache on a system that can have kernels, where compiling and loading take no time."""

    def compile_nothing(path: Path, environment: dict[str, str], tell: Callable[[str], None]) -> bytes:
        tell("compiling")
        return b"a library"

    monkeypatch.setenv("WHATWHERE_CACHE", str(tmp_path))
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(target, "unsupported", lambda: None)
    monkeypatch.setattr(build, "_environment", dict)
    monkeypatch.setattr(build, "_compiled", compile_nothing)
    monkeypatch.setattr(cpu, "_loaded", False)
    monkeypatch.setattr(cpu, "_failure", lambda path, written: cpu.cache.fault(path))
    return tmp_path / "kernels"


def test_it_builds_once_and_says_what_would_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["kernels"]) == 0
    printed = capsys.readouterr()
    path = folder / target.name()
    lines = printed.out.splitlines()
    assert printed.err == "compiling\n"
    assert lines[:3] == [
        f"built the CPU kernels in 0 s: {path}",
        "",
        "| backend | available | devices | dtypes | build |",
    ]
    assert "| cpu | yes | cpu | float32, bfloat16 | 0 seconds old |" in lines
    assert lines[-4:] == [
        REFERENCE,
        "",
        f"the cpu kernels are in {path}",
        "8x256x56x56 float32 contiguous on cpu: cpu would run (the fastest for float32 on cpu)",
    ]
    assert main(["kernels"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert printed.out.splitlines()[0] == "| backend | available | devices | dtypes | build |"
    assert main(["kernels", "--force"]) == 0
    assert capsys.readouterr().out.startswith("built the CPU kernels in ")


def test_check_only_looks(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["kernels", "--check"]) == 1
    printed = capsys.readouterr()
    problem = f"not built for {target.words()}"
    assert f"| cpu | no: {problem} | cpu | float32, bfloat16 | none |" in printed.out
    assert printed.out.splitlines()[-1] == (
        f"8x256x56x56 float32 contiguous on cpu: reference would run (cpu: {problem})"
    )
    assert printed.err == ""
    assert not folder.exists()
    assert main(["kernels"]) == main(["kernels", "--check"]) == 0


def test_a_system_without_kernels_is_well(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(target, "unsupported", lambda: "the C++ kernels are for Linux, and this is Darwin")
    assert main(["kernels"]) == 0
    out = capsys.readouterr().out
    assert "| cpu | no: the C++ kernels are for Linux, and this is Darwin |" in out
    assert REFERENCE in out
    assert not folder.exists()


def test_a_build_that_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("CXX", "no-such-g++")
    monkeypatch.setattr(target, "unsupported", lambda: None)
    assert main(["kernels", "--force"]) == 1
    printed = capsys.readouterr()
    assert "would run" in printed.out  # what there is without them
    assert printed.err == (
        "build(): there is no C++ compiler\n  got: CXX=no-such-g++\n"
        "  fix: install g++, or set CXX to a compiler; without the kernels plain torch runs\n"
    )


def test_a_library_that_does_not_load_is_not_well(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cpu, "_failure", lambda path, written: "the system does not load the library: why")
    assert main(["kernels"]) == 1
    assert "| cpu | no: the system does not load the library: why | cpu |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            "--shape 4096,4096,999,999 --layout channels_last --dtype bfloat16",
            "4096x4096x999x999 bfloat16 channels_last on cpu: cpu would run (the fastest for bfloat16 on cpu)",
        ),
        ("--shape 1,2,3", "1x2x3 float32 contiguous on cpu: cpu would run (the fastest for float32 on cpu)"),
        (
            "--dtype float16",
            "8x256x56x56 float16 contiguous on cpu: reference would run (no kernels take float16 on cpu)",
        ),
        (
            "--dtype float64 --device cuda",
            "8x256x56x56 float64 contiguous on cuda: reference would run (no kernels take float64 on cuda)",
        ),
    ],
)
def test_any_map_on_any_device(options: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["kernels", *options.split()]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == said


def test_the_environment_variable_has_its_way(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(VARIABLE, "reference")
    assert main(["kernels"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == (
        "8x256x56x56 float32 contiguous on cpu: reference would run (WHATWHERE_BACKEND=reference asks for it)"
    )


SHAPE = (
    "kernels --shape: a map has a batch, channels and one to three spatial sizes, none of them 0, and less than "
    "2^60 numbers\n  got: --shape {}\n  fix: for example --shape 8,256,56,56\n"
)


@pytest.mark.parametrize("shape", ["1,2", "1,2,3,4,5,6", "1,2,0", "1,-2,-3", "1,2,a", "", "9,9,99999999999999999999"])
def test_a_bad_shape(shape: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["kernels", f"--shape={shape}"]) == 2
    assert capsys.readouterr() == ("", SHAPE.format(shape))
    assert not folder.exists()


@pytest.mark.parametrize(("dtype", "closest"), [("flot32", "  closest: 'float32'\n"), ("int8", ""), ("nn", "")])
def test_a_bad_dtype(dtype: str, closest: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["kernels", "--dtype", dtype]) == 2
    assert capsys.readouterr().err == (
        f"kernels --dtype: torch has no such floating-point type\n  got: --dtype {dtype}\n{closest}"
        "  fix: one of float32, bfloat16, float16, float64\n"
    )


def test_to_look_and_to_build_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["kernels", "--check", "--force"]) == 2
    assert capsys.readouterr().err == (
        "kernels --check --force: to look and to build anew exclude each other\n  fix: give one\n"
    )


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-3, "0 seconds"), (1.9, "1 second"), (119, "1 minute"), (7300, "2 hours"), (9e5, "10 days")],
)
def test_how_old_a_build_is(seconds: float, words: str) -> None:
    assert kernels._age(seconds) == words


def test_a_terminal_sees_what_is_going_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert Kernels().run() == 0
    printed = capsys.readouterr()
    assert "compiling" in printed.err
    assert "┏━" in printed.out
