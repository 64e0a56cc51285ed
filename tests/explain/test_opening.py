"""Networks by whatever the user names."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import whatwhere as ww
from whatwhere.data import normalise, scenes
from whatwhere.errors import AttachError, HostError
from whatwhere.explain import embedded, open_network
from whatwhere.explain.opening import DEMO, class_numbers
from whatwhere.hosts import build


def trained(gate: str | None = None, classes: int = 10, host: str = "torchvision/resnet18"):
    torch.manual_seed(0)
    model = build(host, num_classes=classes)
    if gate is not None:
        ww.attach_(model, gate)
    return model.eval()


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """Checkpoints of a ResNet-18 with 10 outputs: bare, and with BAM."""
    folder = tmp_path_factory.mktemp("checkpoints")
    torch.save({"state_dict": trained().state_dict(), "epoch": 3}, folder / "bare.pth")
    save_file(trained("bam").state_dict(), folder / "bam.safetensors")
    torch.save(trained(host="torchvision/mobilenet_v2").state_dict(), folder / "mobilenet.pth")
    return folder


@pytest.mark.parametrize(("gate", "file"), [(None, "bare.pth"), ("bam", "bam.safetensors")])
def test_a_host_with_its_checkpoint(files, gate, file):
    network = open_network("torchvision/resnet18", checkpoint=files / file, gate=gate)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(network(x), trained(gate)(x))
    assert not network.training
    assert network.config.image_size == (224, 224)
    assert network.config.classes == tuple("0123456789")
    assert len(network.config.gates) == (3 if gate else 0)


def test_a_thousand_outputs_have_imagenets_names(tmp_path):
    torch.save(trained(classes=1000).state_dict(), tmp_path / "a.pth")
    network = open_network("torchvision/resnet18", checkpoint=tmp_path / "a.pth", image_size=96)
    assert network.config.image_size == (96, 96)
    assert len(network.config.classes) == 1000
    assert network.config.classes[207] == "golden retriever"
    assert network.config.mean == (0.485, 0.456, 0.406)


def test_a_host_for_small_images(tmp_path):
    torch.save(build("resnet8", num_classes=7, stem="small").state_dict(), tmp_path / "a.pth")
    config = open_network("resnet8", checkpoint=tmp_path / "a.pth").config
    assert (config.num_classes, config.image_size, config.stem) == (7, (32, 32), "small")


def test_a_saved_folder(tmp_path):
    ww.save_network(
        trained("cbam"),
        tmp_path,
        host="torchvision/resnet18",
        num_classes=10,
        image_size=(48, 64),
        classes="abcdefghij",
    )
    network = open_network(str(tmp_path))
    assert network.config.image_size == (48, 64)
    assert network.config.classes[3] == "d"
    assert len(network.config.gates) == 8


def said(*arguments: str, **options: object) -> str:
    with pytest.raises((HostError, AttachError)) as error:
        open_network(*arguments, **options)
    return str(error.value)


def test_weights_that_would_be_random_are_refused(tmp_path):
    assert said("torchvision/resnet18") == (
        "explain(model='torchvision/resnet18'): without a checkpoint its weights would be random, and its maps would "
        "say nothing\n"
        "  fix: --checkpoint FILE, --pretrained, or the folder that whatwhere pack wrote"
    )
    assert said("runs-of-mine").startswith("build('runs-of-mine'): no such network\n")


def test_options_that_say_nothing(files, tmp_path):
    bare = files / "bare.pth"
    assert said("torchvision/resnet18", checkpoint=bare, pretrained=True) == (
        "explain(model='torchvision/resnet18'): --checkpoint and --pretrained are two sets of weights\n"
        "  fix: leave one of them out"
    )
    assert said("torchvision/resnet18", checkpoint=bare, at="blocks") == (
        "explain(model='torchvision/resnet18'): --at says where gates stand, and none is named\n"
        "  fix: name them by --gate"
    )
    assert said(str(tmp_path), image_size=64, pretrained=True, at="blocks") == (
        f"explain(model={str(tmp_path)!r}): a saved folder has its own weights, gates and size\n"
        "  fix: leave out --at and --image-size and --pretrained"
    )


def test_timms_networks_say_what_they_take(tmp_path):
    model = build("timm/tf_mixnet_s", num_classes=5)
    torch.save(model.state_dict(), tmp_path / "a.pth")
    config = open_network("timm/tf_mixnet_s", checkpoint=tmp_path / "a.pth").config
    said = model.pretrained_cfg
    assert (config.mean, config.std) == (tuple(said["mean"]), tuple(said["std"]))
    assert config.image_size == said["input_size"][1:]


def test_a_host_for_small_images_at_another_size(tmp_path):
    torch.save(build("resnet8", num_classes=7, stem="small").state_dict(), tmp_path / "a.pth")
    config = open_network("resnet8", checkpoint=tmp_path / "a.pth", image_size=64).config
    assert (config.image_size, config.stem) == ((64, 64), "small")


def test_imagenets_folders_are_names_of_its_classes():
    classes = ("tench", *map(str, range(999)))
    assert class_numbers(classes)["n01440764"] == class_numbers(classes)["tench"] == 0
    assert class_numbers(("tench", "dog")) == {"tench": 0, "dog": 1}


def test_gates_that_differ_from_the_checkpoints(files):
    call = "explain(model='torchvision/resnet18', checkpoint="
    bam, bare = str(files / "bam.safetensors"), str(files / "bare.pth")
    assert said("torchvision/resnet18", checkpoint=Path(bam)) == (
        f"{call}{bam!r}): the checkpoint has gates, and none was named\n"
        "  got: 126 tensors of gates, the first 'layer1.1.gate.channel.final_norm.num_batches_tracked'\n"
        "  fix: --gate and --at as the network was made"
    )
    assert said("torchvision/resnet18", checkpoint=Path(bare), gate="bam") == (
        f"{call}{bare!r}): the checkpoint has no gates, and 'bam' was named\n"
        "  got: 122 tensors\n"
        "  fix: leave out --gate and --at"
    )
    assert said("torchvision/resnet18", checkpoint=Path(bam), gate="bam:reduction=8").startswith(
        f"{call}{bam!r}): the checkpoint is another network's\n  got: 'layer1.1.gate.channel."
    )
    assert "'layer1.0.bn2.gate.channel.branch.reduce.weight' is missing, and floating (4, 64)" in said(
        "torchvision/resnet18", checkpoint=Path(bam), gate="cbam"
    )


def test_a_checkpoint_of_another_host(files):
    text = said("torchvision/resnet18", checkpoint=files / "mobilenet.pth")
    assert text.splitlines()[1:] == [
        "  got: 'conv1.weight' is missing, and floating (64, 3, 7, 7) by the config",
        "  fix: name the host, --gate and --at as the network was made",
    ]


def test_no_checkpoint_there_and_no_such_host(files):
    path = files / "bear.pth"
    assert said("torchvision/resnet18", checkpoint=path) == (
        f"explain(model='torchvision/resnet18', checkpoint={str(path)!r}): there is no such file; nothing was changed\n"
        "  closest: 'bare.pth', 'mobilenet.pth'"
    )
    assert said("torchvision/resnet19", checkpoint=files / "bare.pth").startswith(
        "build('torchvision/resnet19'): torchvision has no such network\n  closest: 'torchvision/resnet18'"
    )


def test_folders_that_are_no_saved_network(tmp_path):
    call = f"explain(model={str(tmp_path)!r})"
    assert "there is no saved network in that folder" in said(str(tmp_path))
    assert said(str(tmp_path), gate="bam") == (
        f"{call}: a saved folder has its own weights, gates and size\n  fix: leave out --gate"
    )
    (tmp_path / "trial.json").write_text("{}")
    assert said(str(tmp_path)) == (
        f"{call}: this is the folder of a trial, which does not say how images are normalised\n"
        f"  fix: whatwhere pack {tmp_path} --out NETWORK, then explain --model NETWORK"
    )


@pytest.mark.parametrize("name", DEMO)
def test_the_embedded_networks_know_scenes_that_they_have_never_seen(name):
    network = embedded(name)
    unseen = scenes.generate(200, seed=2_000_003)
    config = network.config
    assert config.classes == scenes.CLASSES
    assert bool(config.gates) == (name != "none")
    with torch.no_grad():
        answers = network(normalise(unseen.images, config.mean, config.std)).argmax(1)
    assert float((answers == unseen.labels).float().mean()) > 0.93
    assert "## Training" in network.card or "scenes" in network.card


def test_the_embedded_networks_are_small():
    folder = Path(ww.__file__).parent / "explain" / "networks"
    sizes = {path.parent.name: path.stat().st_size for path in folder.glob("*/model.safetensors")}
    assert set(sizes) == set(DEMO)
    assert sum(sizes.values()) < 800_000
