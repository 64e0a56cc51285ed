"""The same folders through huggingface_hub's mixin, on local folders alone."""

import copy
import json
import pickle
import subprocess
import sys

import pytest
import torch

import whatwhere as ww
from whatwhere import hosts
from whatwhere.errors import HostError
from whatwhere.hub import load_network, save_network

huggingface_hub = pytest.importorskip("huggingface_hub")

IMAGES = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(5))


@pytest.fixture
def folder(tmp_path):
    model = hosts.build("resnet8", num_classes=3)
    ww.attach_(model, "cbam:preset=released")
    metadata = {"model-index": [{"name": "x", "results": [_RESULT]}]}
    save_network(
        model, tmp_path / "net", host="resnet8", num_classes=3, image_size=(8, 8), trained="n = 2.", metadata=metadata
    )
    return tmp_path / "net"


_RESULT = {
    "task": {"type": "image-classification"},
    "dataset": {"name": "scenes", "type": "scenes"},
    "metrics": [{"type": "accuracy", "value": 0.5}],
}


def test_from_pretrained_and_save_pretrained(folder, tmp_path) -> None:
    from whatwhere.hub import HubNetwork

    network = HubNetwork.from_pretrained(folder)
    assert isinstance(network, huggingface_hub.PyTorchModelHubMixin)
    assert torch.equal(network(IMAGES), load_network(folder)(IMAGES))
    network.save_pretrained(tmp_path / "again")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()
    assert torch.equal(load_network(tmp_path / "again")(IMAGES), network(IMAGES))
    card = huggingface_hub.ModelCard.load(tmp_path / "again" / "README.md")
    assert card.data.library_name == "whatwhere"
    assert card.data.tags == ["image-classification", "attention", "cbam"]
    assert card.data.eval_results[0].metric_value == 0.5
    assert "n = 2." in card.text


def test_copies_and_pickles(folder) -> None:
    from whatwhere.hub import HubNetwork

    network = HubNetwork.from_pretrained(str(folder))
    for copied in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert type(copied) is HubNetwork
        assert torch.equal(copied(IMAGES), network(IMAGES))


def test_a_refusal_leaves_the_folder_whole(folder) -> None:
    from whatwhere.hub import HubNetwork

    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    network = HubNetwork.from_pretrained(folder)
    ww.detach_(network.network)
    with pytest.raises(HostError) as found:
        network.save_pretrained(folder)
    assert str(found.value).splitlines()[0] == (
        f"HubNetwork.save_pretrained('{folder}'): its gates are not those of its config; nothing was written"
    )
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_broken_folder_is_told_in_its_name(folder) -> None:
    from whatwhere.hub import HubNetwork

    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "host": "resnet9"}))
    with pytest.raises(HostError) as found:
        HubNetwork.from_pretrained(folder)
    assert str(found.value).startswith(f"HubNetwork.from_pretrained('{folder}'): the host cannot be built: ")


def test_a_repository_is_fetched_without_its_pickles(folder, monkeypatch) -> None:
    from whatwhere.hub import HubNetwork

    asked = []
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda name, **options: asked.append((name, options)) or str(folder)
    )
    sys.modules["whatwhere.hub.mixin"].hub_network.cache_clear()
    network = sys.modules["whatwhere.hub"].HubNetwork.from_pretrained("somebody/net", revision="main")
    sys.modules["whatwhere.hub.mixin"].hub_network.cache_clear()
    assert HubNetwork is not type(network)
    files = ["config.json", "model.safetensors", "README.md"]
    assert asked == [("somebody/net", {"allow_patterns": files, "revision": "main"})]


def test_huggingface_hub_is_imported_when_it_is_asked_for() -> None:
    code = (
        "import sys, whatwhere.hub as hub; before = 'huggingface_hub' in sys.modules; hub.HubNetwork; "
        "print(before, 'huggingface_hub' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.split() == ["False", "True"]


def test_without_huggingface_hub(monkeypatch) -> None:
    from whatwhere.hub import mixin

    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(HostError) as found:
        mixin.hub_network.__wrapped__()
    assert str(found.value) == "HubNetwork: huggingface_hub is not installed\n  fix: pip install huggingface_hub"
