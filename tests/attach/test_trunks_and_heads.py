"""Which networks have heads like a detector's, and where the trunk of a detector ends."""

import pytest
import torch
import torchvision
from detectors import detector
from torch import nn
from torchvision.models import detection

import whatwhere as ww
from whatwhere.attach.sites import Finder
from whatwhere.attach.trace import trace
from whatwhere.errors import AttachError


class Auxiliary(nn.Module):
    """A small FCN: one classifier reads the trunk's last stage but one, another its last, of the same resolution."""

    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(*(nn.Conv2d(*channels, 3, 2, 1) for channels in ((3, 8), (8, 16), (16, 16))))
        self.last = nn.Sequential(*(nn.Sequential(nn.Conv2d(16, 16, 3, 1, 1), nn.ReLU()) for _ in range(2)))
        self.classifier, self.auxiliary = nn.Conv2d(16, 5, 1), nn.Conv2d(16, 5, 1)

    def forward(self, x):
        x = self.trunk(x)
        return self.classifier(self.last(x)), self.auxiliary(x)


class Reading(nn.Module):
    """A trunk of some halvings, and two single convolutions on the map of each of the steps named."""

    def __init__(self, steps, read, enlarge=1):
        super().__init__()
        self.trunk = nn.ModuleList(nn.Conv2d(given, 8, 3, 2, 1) for given in (3, *[8] * (steps - 1)))
        self.classes, self.boxes = (nn.ModuleList(nn.Conv2d(8, n, 1) for _ in read) for n in (6, 4))
        self.read, self.enlarge = read, enlarge

    def forward(self, x):
        maps = [x := step(x) for step in self.trunk]
        read = [maps[at] for at in self.read]
        if self.enlarge > 1:
            read = [nn.functional.interpolate(x, scale_factor=self.enlarge) for x in read]
        return [(classes(x), boxes(x)) for x, classes, boxes in zip(read, self.classes, self.boxes, strict=True)]


def _names(model, at, side=32):
    with torch.device("meta"):
        return [site.name for site in ww.plan(model, "se", at=at, input_size=(3, side, side)).sites]


class TestNetworksLikeDetectors:
    def test_an_auxiliary_classifier_is_no_box_predictor(self):
        with pytest.raises(AttachError, match="no two predictions are made from one map"):
            _names(Auxiliary(), "heads")
        assert _names(Auxiliary(), "stages") == ["trunk.0", "trunk.1", "auxiliary"]

    @pytest.mark.parametrize("name", ["fcn_resnet50", "deeplabv3_resnet50"])
    def test_torchvisions_segmentation_networks_as_they_come(self, name):
        with torch.device("meta"):
            model = torchvision.models.get_model(name, weights=None, weights_backbone=None, aux_loss=True)
        found = Finder(trace(model, (3, 64, 64)))
        assert found.find("heads") == []
        assert len(found.find("stages")) == len(found.find("bottlenecks")) + 1

    def test_two_decoders_are_no_predictors_of_what_they_enlarge(self):
        model = Reading(3, [2])
        for kind in (model.classes, model.boxes):
            kind[0] = nn.Sequential(nn.Upsample(scale_factor=4), kind[0])
        with pytest.raises(AttachError, match="no two predictions are made from one map"):
            _names(model, "heads")

    def test_two_outputs_of_a_classifier_cut_no_trunk(self):
        names = [f"trunk.{step}" for step in range(1, 7)]
        assert _names(Reading(7, [6]), "bottlenecks", 256) == names[:-1]
        assert _names(Reading(7, [6]), "stages", 256) == names

    def test_a_detector_of_several_resolutions_has_a_trunk_down_to_a_thirty_second(self):
        assert _names(Reading(7, [3, 4, 5, 6]), "bottlenecks", 256) == ["trunk.1", "trunk.2", "trunk.3"]
        assert _names(Reading(7, [3, 4, 5, 6]), "stages", 256) == [f"trunk.{step}" for step in (1, 2, 3, 4)]


class TestTheLastMapOfATrunk:
    @pytest.mark.parametrize("read", [[2], [0, 1, 2]], ids=["one-resolution", "several"])
    def test_nothing_makes_smaller_but_predictions_read(self, read):
        assert _names(Reading(3, read), "stages") == ["trunk.0", "trunk.1", "trunk.2"]

    def test_a_pyramid_takes(self):
        assert [site.name for site in ww.plan(detector("faster"), "se", at="stages").sites][
            -1
        ] == "backbone.body.layer4.1"

    def test_no_prediction_reads_as_it_is(self):
        """As in a detector of points: its one map of predictions is an enlarged one."""
        assert _names(Reading(3, [2], enlarge=4), "stages") == ["trunk.0", "trunk.1", "trunk.2"]

    def test_is_not_named_where_it_runs_on_regions(self):
        names = [site.name for site in ww.plan(detector("c4"), "se", at="stages").sites]
        assert names == ["backbone.layer1.1", "backbone.layer2.1", "backbone.layer3.1"]

    def test_an_extra_layer_of_a_thirty_second_counts_as_the_trunks(self):
        with torch.device("meta"):
            model = detection.ssd300_vgg16(weights=None, weights_backbone=None)
        assert Finder(trace(model, partly=True)).find("stages")[-1].name == "backbone.extra.1.3"
