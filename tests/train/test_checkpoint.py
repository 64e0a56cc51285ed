"""Checkpoints: there and back, and everything that must not be believed."""

import hashlib
import io
import os
import pickle

import pytest
import torch
from train.toy import toy_net

from whatwhere.errors import RunError
from whatwhere.train import Epoch
from whatwhere.train.checkpoint import (
    Checkpoint,
    check_network,
    check_trial,
    load_checkpoint,
    load_weights,
    pack_weights,
    save_checkpoint,
)

EPOCH = Epoch(1, 0.1, 0.7, 0.5, 0.6, 0.55, 2.0, 100.0)
FIX = "  fix: delete it to train this trial from the start"


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "checkpoint.pt"
    model = toy_net().state_dict()
    save_checkpoint(path, Checkpoint(dict(model), {"state": {}}, {}, (EPOCH,), {"lr": 0.1, "m": (0.5,)}, "abc"))
    return path


def test_there_and_back(path):
    found = load_checkpoint(path, Epoch)
    assert found.history == (EPOCH,)
    assert found.trial == {"lr": 0.1, "m": (0.5,)}
    assert all(torch.equal(found.model[name], value) for name, value in toy_net().state_dict().items())
    assert load_checkpoint(path.with_name("other.pt"), Epoch) is None


def test_any_reader_of_torch_files_can_open_it(path):
    content = torch.load(path, weights_only=True)
    assert content["best_digest"] == "abc"


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:10],
        lambda data: data[: len(data) // 2],
        lambda data: data[:-1],
        lambda data: data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :],
        lambda data: b"hello world" * 100,
        lambda data: pickle.dumps({"model": 1}),
    ],
    ids=["empty", "ten bytes", "half", "one byte short", "one bit flipped", "text", "plain pickle"],
)
def test_damaged(path, damage):
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(RunError) as caught:
        load_checkpoint(path, Epoch)
    assert str(caught.value) == (
        f"train: '{path}' is damaged, or is no checkpoint of whatwhere; it was not read\n{FIX}"
    )


class Trap:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (self.target,)


def sealed(content):
    buffer = io.BytesIO()
    torch.save(content, buffer)
    tag = b"sha256:" + hashlib.sha256(buffer.getvalue()).hexdigest().encode()
    return buffer.getvalue()[:-2] + len(tag).to_bytes(2, "little") + tag


def test_code_is_refused_even_with_a_right_digest(path):
    sprung = path.with_name("sprung")
    path.write_bytes(sealed({"model": Trap(str(sprung))}))
    with pytest.raises(RunError) as caught:
        load_checkpoint(path, Epoch)
    assert str(caught.value) == (
        f"train: '{path}' holds more than tensors and plain values, which could run code; it was not loaded\n"
        "  fix: do not trust where it came from; delete it to train this trial from the start"
    )
    assert not sprung.exists()


@pytest.mark.parametrize("content", [{"model": {}}, [1], {"format": 4}], ids=["no format", "a list", "a later format"])
def test_another_format(path, content):
    path.write_bytes(sealed(content))
    with pytest.raises(RunError) as caught:
        load_checkpoint(path, Epoch)
    assert str(caught.value) == f"train: '{path}' is no checkpoint that this version of whatwhere wrote\n{FIX}"


@pytest.mark.parametrize("number", [1, 2])
def test_an_earlier_format(path, number):
    path.write_bytes(sealed({"format": number}))
    with pytest.raises(RunError) as caught:
        load_checkpoint(path, Epoch)
    assert str(caught.value) == (
        f"train: '{path}' was written by an earlier version of whatwhere, whose checkpoints hold other things\n"
        "  fix: finish the trial with that version, or delete it to train this trial from the start"
    )


def test_another_trial(path):
    check_trial(path, {"lr": 0.1, "seed": 0}, {"lr": 0.1, "seed": 0})
    with pytest.raises(RunError) as caught:
        check_trial(path, {"lr": 0.2, "seed": 1, "epochs": 2}, {"lr": 0.1, "seed": 0, "epochs": 2})
    assert str(caught.value) == (
        f"train: '{path}' belongs to another trial\n  got: lr=0.2, seed=1; in the file lr=0.1, seed=0\n"
        "  fix: give each trial its own folder, or delete the file to train from the start"
    )


@pytest.mark.parametrize(
    ("found", "got"),
    [
        (lambda: toy_net(width=4), "'conv.weight' is (8, 3, 3, 3) in the network and (4, 3, 3, 3) in the file"),
        (lambda: torch.nn.Sequential(), "'conv.weight' is (8, 3, 3, 3) in the network and nothing in the file"),
    ],
    ids=["narrower", "empty"],
)
def test_another_network(path, found, got):
    with pytest.raises(RunError) as caught:
        check_network(path, toy_net().state_dict(), found().state_dict())
    assert str(caught.value) == (
        f"train: '{path}' belongs to another network\n  got: {got}\n"
        "  fix: give each trial its own folder, or delete the file to train from the start"
    )


def test_weights_there_and_back(tmp_path):
    model = toy_net().to(memory_format=torch.channels_last)
    model.tied = model.head
    data = pack_weights(model.state_dict())
    (tmp_path / "best.safetensors").write_bytes(data)
    found = load_weights(tmp_path / "best.safetensors", hashlib.sha256(data).hexdigest())
    assert all(torch.equal(found[name], value) for name, value in model.state_dict().items())


def test_weights_that_are_not_the_trials(tmp_path):
    path = tmp_path / "best.safetensors"
    with pytest.raises(RunError) as caught:
        load_weights(path, "0")
    fix = f"  fix: delete '{tmp_path}' to train from the start"
    assert str(caught.value) == f"train: cannot read '{path}': No such file or directory\n{fix}"
    path.write_bytes(b"0")
    with pytest.raises(RunError) as caught:
        load_weights(path, "0")
    assert str(caught.value) == f"train: '{path}' is not the file that this trial wrote\n{fix}"
