"""Where a number was measured."""

import platform
import subprocess

import torch

import whatwhere
from whatwhere.experiments import environment as module
from whatwhere.experiments.environment import environment


def test_versions_device_and_threads_are_this_process():
    found = environment()
    assert found["versions"]["whatwhere"] == whatwhere.__version__
    assert found["versions"]["torch"] == torch.__version__
    assert found["versions"]["python"] == platform.python_version()
    assert found["threads"] == torch.get_num_threads()
    assert found["device"].split(" ")[0] in ("cpu", "cuda", "mps", "xpu")


def _git(folder, *words):
    who = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(folder), *who, *words], check=True, capture_output=True)


def test_the_commit_is_that_of_our_own_checkout_with_a_mark_for_changes(tmp_path, monkeypatch):
    folder = tmp_path / "package" / "experiments"
    folder.mkdir(parents=True)
    assert module._commit(folder) is None
    _git(tmp_path, "init", "-q")
    assert module._commit(folder) is None, "installed inside a checkout that is not ours"
    (folder / "environment.py").write_text("1")
    _git(tmp_path, "add", ".")
    _git(tmp_path, "commit", "-q", "-m", "first")
    commit = module._commit(folder)
    assert len(commit) == 40
    (folder.parent / "other.py").write_text("2")
    assert module._commit(folder) == f"{commit}+changes"
    monkeypatch.setenv("PATH", "")
    assert module._commit(folder) is None


def test_a_machine_that_does_not_name_its_processor_is_named_by_kind(monkeypatch):
    monkeypatch.setattr(module.Path, "read_text", lambda self: "processor : 0\n")
    assert module._cpu_name() == platform.machine()


def test_a_copy_that_was_never_installed_tells_its_version(monkeypatch):
    monkeypatch.setattr("importlib.metadata.version", None)
    assert environment()["versions"]["whatwhere"] == whatwhere.__version__
