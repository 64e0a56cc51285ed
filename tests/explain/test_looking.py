"""`explain`: one look at every picture, and numbers that are those of the parts."""

import copy

import pytest
import torch
from support.explain_cases import gated

import whatwhere as ww
from whatwhere.data import scenes
from whatwhere.errors import DataError, HostError
from whatwhere.explain import Localisation, Picture, Pictures, cams, embedded, explain, pictures
from whatwhere.explain.judging import ALL_GATES, MIDDLE
from whatwhere.explain.looking import SHUFFLED
from whatwhere.hosts import build
from whatwhere.hub import GatedNetwork, NetworkConfig

COUNT = 18  # more than a batch


@pytest.fixture(scope="module")
def networks() -> dict[str, GatedNetwork]:
    return {"with": embedded("cbam"), "without": embedded("none")}


@pytest.fixture(scope="module")
def shown() -> Pictures:
    return pictures(["scenes"], image_size=(32, 32), limit=COUNT)


@pytest.fixture(scope="module")
def found(networks, shown):
    return explain(networks, shown, source="scenes", shown=17, faithful=2, sanity=True, probe=17)


def batch(network: GatedNetwork, shown: Pictures) -> torch.Tensor:
    return network.normalise(torch.stack([one.pixels for one in shown]))


def test_each_picture_has_the_maps_of_its_most_probable_classes(networks, shown, found):
    assert [one.name for one in found.pictures] == [f"scenes {i}" for i in range(17)]
    assert (found.count, found.source, found.method) == (COUNT, "scenes", "gradcam")
    for place, (name, network) in enumerate(networks.items()):
        wanted = cams(network.network, batch(network, shown), top=3)
        assert found.networks[place].name == name
        assert found.networks[place].layer == wanted.layer == "layer3"
        for i, one in enumerate(found.pictures):
            look = one.looks[place]
            assert look.classes == tuple(wanted.classes[i].tolist())
            assert look.probabilities == pytest.approx(wanted.probabilities[i].tolist(), abs=1e-5)
            torch.testing.assert_close(look.cams, wanted.maps[i], atol=1e-4, rtol=1e-4)


def test_each_picture_has_what_every_gate_did_to_it(networks, shown, found):
    network = networks["with"]
    with torch.no_grad(), ww.record(network.network) as records:
        network(batch(network, shown))
    for i, one in enumerate(found.pictures):
        assert list(one.looks[0].sites) == list(records)
        assert one.looks[1].sites == {}
        for name, site in one.looks[0].sites.items():
            torch.testing.assert_close(site.positions, records[name].positions[i], atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(site.channels, records[name].channels[i], atol=1e-5, rtol=1e-5)


def test_scores_are_those_of_the_maps_on_the_masks(networks, shown, found):
    network = networks["with"]
    masks = torch.stack([one.masks[one.label] for one in shown])
    made = cams(network.network, batch(network, shown))
    wanted = {"cam": Localisation()}
    wanted["cam"].update(made.maps[:, 0], masks)
    with torch.no_grad(), ww.record(network.network) as records:
        network(batch(network, shown))
    for name, site in records.items():
        wanted[name] = Localisation()
        wanted[name].update(site.positions, masks)
    scores = {(one.map, one.score): one for one in found.networks[0].scores}
    for name, local in wanted.items():
        summary = local.summary()
        for score in ("pointing", "energy", "iou"):
            assert scores[name, score].moments.n == COUNT
            assert scores[name, score].moments.mean == pytest.approx(summary[score].mean, abs=0.02)
            assert scores[name, score].chance == pytest.approx(float(masks.float().mean()))
        for score in ("insertion", "deletion"):
            assert scores[name, score].moments.n == 2
            assert 0 < scores[name, score].chance < 1
    assert found.problems == () or found.problems[0].startswith("ROAD was not measured")
    assert (ALL_GATES, "energy") in scores
    assert not any(one.map == ALL_GATES for one in found.networks[1].scores)


def test_maps_of_a_trained_network_find_the_objects_and_those_of_a_random_one_do_not(found):
    for network in found.networks:
        scores = {(one.map, one.score): one for one in network.scores}
        for score in ("pointing", "energy", "iou"):
            trained, random, middle = (scores[kind, score] for kind in ("cam", f"cam{SHUFFLED}", MIDDLE))
            assert trained.moments.low > 2 * trained.chance
            assert max(random.moments.mean, middle.moments.mean) < trained.moments.mean
        for score in ("energy", "iou"):
            assert scores[f"cam{SHUFFLED}", score].moments.high < scores["cam", score].moments.low
        assert (f"{MIDDLE}{SHUFFLED}", "energy") not in scores
    assert (f"layer1.0.bn2{SHUFFLED}", "iou") in {(one.map, one.score) for one in found.networks[0].scores}


def test_what_is_right_is_counted_and_gates_are_diagnosed(networks, shown, found):
    with_gates, without = found.networks
    for one, network in zip(found.networks, networks.values(), strict=True):
        with torch.no_grad():
            answers = network(batch(network, shown)).argmax(1)
        labels = torch.tensor([scenes.CLASSES.index(picture.label) for picture in shown])
        assert one.accuracy == pytest.approx(float((answers == labels).float().mean()))
    assert without.diagnoses == ()
    assert [one.images for one in with_gates.diagnoses] == [COUNT] * 3
    assert all(one.flipped * 17 == pytest.approx(round(one.flipped * 17)) for one in with_gates.diagnoses)
    assert all(one.classes is not None for one in with_gates.diagnoses)


def test_a_class_that_is_asked_for_comes_first(networks):
    few = pictures(["scenes"], image_size=(32, 32), limit=3)
    for target in ("star", str(scenes.CLASSES.index("star"))):
        found = explain({"a": networks["without"]}, few, target=target, top=2)
        for one in found.pictures:
            first, *others = one.looks[0].classes
            assert scenes.CLASSES[first] == "star"
            assert len(others) == 2
            assert first not in others


class Given:
    """Pictures that are there already."""

    def __init__(self, *found: Picture) -> None:
        self._found = found
        self.problems = ["broken.jpg: it is broken; left out"]

    def __len__(self) -> int:
        return len(self._found)

    def __iter__(self):
        return iter(self._found)


def test_pictures_without_classes_and_objects_are_looked_at_all_the_same(networks):
    one = scenes.generate(1, seed=5)
    found = explain({"a": networks["with"]}, Given(Picture("photo.jpg", one.images[0], "", {})), sanity=True)
    assert found.problems == ("broken.jpg: it is broken; left out",)
    assert found.networks[0].accuracy is None
    assert found.networks[0].scores == ()
    assert found.pictures[0].mask is None
    assert found.networks[0].diagnoses[0].classes is None


def test_no_picture_is_no_explanation(networks):
    with pytest.raises(DataError) as error:
        explain({"a": networks["with"]}, Given())
    assert str(error.value) == ("explain: there is no picture to look at\n  got: broken.jpg: it is broken; left out")


def test_a_class_that_was_asked_for_is_not_held_against_others(networks):
    drawn = scenes.generate(2, seed=5)
    masks = {"star": drawn.masks[0]}, {"ring": drawn.masks[1]}
    given = Given(*(Picture("a", image, "", mask) for image, mask in zip(drawn.images, masks, strict=True)))

    def counted(target: str | None) -> int:
        (network,) = explain({"a": networks["without"]}, given, target=target).networks
        return next(one.moments.n for one in network.scores if one.map == "cam")

    assert (counted(None), counted("star")) == (2, 1)


def test_the_folders_of_imagenet_are_told_by_the_names_of_its_classes():
    model = build("torchvision/mobilenet_v3_small").eval()
    classes = ("tench", *map(str, range(1, 1000)))
    facts = {"classes": classes, "mean": (0.5,) * 3, "std": (0.2,) * 3}
    network = GatedNetwork(NetworkConfig("torchvision/mobilenet_v3_small", 1000, (64, 64), **facts), model).eval()
    image = torch.zeros(3, 64, 64, dtype=torch.uint8)
    found = explain({"a": network}, Given(Picture("a.jpg", image, "n01440764", {})))
    assert found.pictures[0].label == "tench"
    assert found.networks[0].accuracy in (0, 1)


def test_a_network_that_gives_nan_is_refused(networks):
    network = copy.deepcopy(networks["without"])
    network.network.fc.bias.data[3] = torch.nan
    few = pictures(["scenes"], image_size=(32, 32), limit=2)
    with pytest.raises(HostError) as error:
        explain({"a": network}, few)
    assert str(error.value) == (
        "explain('a'): the network gives NaN or infinity\n"
        "  fix: a checkpoint that is whole; or the mean and std that it was trained with"
    )


def test_pictures_of_another_size_are_refused(networks):
    with pytest.raises(HostError) as error:
        explain(networks, pictures(["scenes"], image_size=(40, 32), limit=2))
    assert str(error.value) == (
        "explain('with'): the pictures are not of the network's size\n  got: 3 x 40 x 32, not 3 x 32 x 32"
    )


def test_objects_of_a_class_that_the_network_does_not_know_are_taken_together(networks):
    one = scenes.generate(1, seed=5)
    left, right = torch.zeros(2, 32, 32, dtype=torch.bool)
    left[:, :8] = right[:, 24:] = True
    found = explain({"a": networks["with"]}, Given(Picture("a", one.images[0], "dog", {"dog": left, "cat": right})))
    assert torch.equal(found.pictures[0].mask, left | right)
    assert {score.chance for score in found.networks[0].scores} == {0.5}


def test_the_networks_stay_as_they_were(networks, shown):
    network = GatedNetwork(NetworkConfig("resnet8", 10, (32, 32), mean=(0.5,) * 3, std=(0.2,) * 3), gated("cbam"))
    network.train()
    state = {key: value.clone() for key, value in network.state_dict().items()}
    random = torch.get_rng_state()
    explain({"a": network}, pictures(["scenes"], image_size=(32, 32), limit=4), sanity=True, faithful=1)
    assert network.training
    assert network.network.training
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    assert all(weight.grad is None and weight.requires_grad for weight in network.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def test_a_class_that_does_not_exist(networks, shown):
    for target, closest in (("stat", "\n  closest: 'star'"), ("10", "")):
        with pytest.raises(HostError) as error:
            explain(networks, shown, target=target)
        assert str(error.value) == (
            f"explain(target={target!r}): 'with' has no such class\n  got: 10 classes, numbered 0 to 9{closest}"
        )
