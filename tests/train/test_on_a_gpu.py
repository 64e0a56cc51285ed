"""What only a CUDA device can show: graphs, the loss scaler, a real shortage of memory."""

from dataclasses import replace

import pytest
import torch
from train.toy import RECIPE, toy_net, toy_splits

from whatwhere.errors import RunError
from whatwhere.train import train

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def trained(folder, **changes):
    model = toy_net()
    return train(model, toy_splits(), replace(RECIPE, **changes), seed=0, folder=folder), model


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_the_toy_is_learnt_in_every_precision(tmp_path, precision):
    done, model = trained(tmp_path, precision=precision)
    assert done.test_accuracy > 0.9
    assert next(model.parameters()).device.type == "cuda"
    assert done.peak_bytes is not None


def test_graphs_change_rounding_only(tmp_path):
    (_, plain), (_, graphed) = (
        trained(tmp_path / name, **changes)
        for name, changes in (("plain", {}), ("graphs", {"compile": True, "graphs": True}))
    )
    for name, weight in plain.state_dict().items():
        torch.testing.assert_close(graphed.state_dict()[name], weight, rtol=1e-2, atol=1e-3)


def test_a_deterministic_trial_gives_the_same_bits(tmp_path):
    (_, first), (_, second) = (trained(tmp_path / name, deterministic=True) for name in ("a", "b"))
    assert all(torch.equal(first.state_dict()[name], weight) for name, weight in second.state_dict().items())


def test_a_shortage_of_memory_names_a_batch_that_fits(tmp_path):
    free, _ = torch.cuda.mem_get_info()
    width = max(8, free // (16 * 64 * 4 * 2))  # the map alone, forward, is half of what there is
    with pytest.raises(RunError, match=r"train: out of memory at epoch 1, batch of 16") as caught:
        train(toy_net(int(width)), toy_splits(), RECIPE, seed=0, folder=tmp_path)
    assert "accumulate=" in (caught.value.fix or "")
