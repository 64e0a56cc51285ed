"""The moving average against one made by hand."""

import torch
from train.toy import RECIPE, toy_net, toy_splits

from whatwhere.train import train
from whatwhere.train.averaging import Average


def test_it_is_the_formula_over_weights_and_statistics():
    model = toy_net()
    average = Average(model, 0.9)
    expected = {}
    for step in range(5):
        for value in model.state_dict().values():
            value.copy_(torch.randn(value.shape) if value.is_floating_point() else torch.tensor(step))
        average.update(model)
        for name, value in model.state_dict().items():
            old = expected.get(name, value.clone())
            expected[name] = 0.9 * old + 0.1 * value if value.is_floating_point() else value.clone()
    found = average.model.state_dict()
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, msg=name)


def test_the_average_is_what_is_evaluated_saved_and_left(tmp_path):
    from dataclasses import replace

    from safetensors.torch import load_file

    weights = []
    for decay, name in ((1e-12, "hardly"), (None, "none"), (0.9, "much")):
        model = toy_net()
        train(model, toy_splits(), replace(RECIPE, ema=decay), seed=0, folder=tmp_path / name)
        saved = load_file(tmp_path / name / "best.safetensors")
        assert all(torch.equal(saved[key], value) for key, value in model.state_dict().items())
        weights.append(saved["head.weight"])
    torch.testing.assert_close(weights[0], weights[1])
    assert not torch.allclose(weights[2], weights[1], rtol=1e-2)
