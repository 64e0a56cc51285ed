"""The page of an explanation: what it holds, how large it is, and nothing in it that a name could have smuggled in."""

import base64
import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from made_explanations import CLASSES, diagnosis, large_explanation, made_explanation, network, photograph
from PIL import Image

from whatwhere.explain.explanation import Explanation, Look, Score, Shown, SiteLook
from whatwhere.moments import describe
from whatwhere.report.embedded import embedded
from whatwhere.report.encoded import colours
from whatwhere.report.explained import page
from whatwhere.report.templating import digest

EVIL = "<img src=x onerror=alert(1)></script><b>'\"&amp;"


def decode(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), np.uint8)


def values(found) -> np.ndarray:
    return found["low"] + decode(found["data"]) / 255 * (found["high"] - found["low"])


def data_of(text: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1])


def with_one(site: SiteLook, mask=None, probabilities=(0.9, 0.1), **changes) -> Explanation:
    """One picture, one network, one site."""
    look = Look((0, 1), probabilities, torch.rand(2, 7, 7), {"layer1.0": site})
    shown = Shown("one.jpg", photograph(0, 64), "tench", mask, (look,))
    only = network("gated", (("layer1.0", 64, 56),))
    return replace(Explanation("one", "Grad-CAM", 1, (only,), [shown]), **changes)


def site_of(explanation: Explanation) -> dict:
    return embedded(explanation)["pictures"][0]["looks"][0]["sites"][0]


def test_a_hundred_pictures_of_a_resnet50_with_cbam_are_below_8_mb():
    explanation = large_explanation()
    assert len(explanation.pictures) == 100
    assert [tuple(site.positions.shape) for site in explanation.pictures[0].looks[0].sites.values()] == (
        [(56, 56)] * 3 + [(28, 28)] * 4 + [(14, 14)] * 6 + [(7, 7)] * 3
    )
    assert len(page(explanation).encode()) < 8_000_000


def test_a_map_keeps_its_values_to_half_a_step():
    positions = torch.rand(14, 10, generator=torch.Generator().manual_seed(0)) * 3 - 1
    found = site_of(with_one(SiteLook(positions, None)))["positions"]
    assert (found["h"], found["w"]) == (14, 10)
    step = float(positions.max() - positions.min()) / 255
    assert np.abs(values(found).reshape(14, 10) - positions.numpy()).max() <= step / 2 + 1e-5


def test_a_large_map_is_averaged_by_area():
    positions = torch.rand(112, 112, generator=torch.Generator().manual_seed(0))
    found = site_of(with_one(SiteLook(positions, None)))["positions"]
    small = positions.reshape(56, 2, 56, 2).mean((1, 3))
    assert (found["h"], found["w"]) == (56, 56)
    assert np.abs(values(found).reshape(56, 56) - small.numpy()).max() < 0.003


def test_a_constant_map_and_one_that_is_not_a_number():
    found = site_of(with_one(SiteLook(torch.full((2, 2), 0.25), torch.full((64,), torch.nan))))
    assert values(found["positions"]).tolist() == [0.25] * 4
    assert values(found["channels"]).tolist() == [0.0] * 64


def test_what_a_gate_does_not_weigh_is_not_there():
    assert site_of(with_one(SiteLook(None, torch.rand(64))))["positions"] is None
    assert site_of(with_one(SiteLook(torch.rand(7, 7), None)))["channels"] is None


@pytest.mark.parametrize("first", [False, True])
def test_a_mask_is_its_runs(first):
    mask = torch.rand(64, 64, generator=torch.Generator().manual_seed(0)) > 0.5
    mask[0, 0] = first
    runs = embedded(with_one(SiteLook(None, torch.rand(4)), mask))["pictures"][0]["mask"]
    again = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    assert np.array_equal(again, mask.flatten().numpy())
    assert (runs[0] == 0) is first


def test_the_picture_is_the_picture():
    explanation = with_one(SiteLook(None, torch.rand(4)))
    found = embedded(explanation)["pictures"][0]
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(found["jpeg"]))))
    assert image.shape == (64, 64, 3)
    assert np.abs(image - explanation.pictures[0].pixels.permute(1, 2, 0).numpy().astype(float)).mean() < 12


def test_right_wrong_and_neither():
    def right(label, probabilities=(0.9, 0.1)):
        explanation = with_one(SiteLook(None, torch.rand(4)), probabilities=probabilities)
        explanation.pictures[0] = replace(explanation.pictures[0], label=label)
        return embedded(explanation)["pictures"][0]["looks"][0]["right"]

    assert [right("tench"), right("church"), right(""), right("unheard of")] == [True, False, None, None]
    assert right(CLASSES[1], (0.1, 0.9)) is True


def test_the_colours_grow_evenly_brighter():
    table = decode(colours()).reshape(256, 3).astype(float)
    light = table @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(light) > -1).all()
    assert light[0] < 5
    assert light[-1] > 240


def test_the_headline_and_what_went_wrong():
    text = page(made_explanation(problems=["broken.jpg: not an image"]))
    assert "<h1>What resnet18 with cbam and resnet18 look at</h1>" in text
    assert "<p>a folder of photographs</p>" in text
    assert "<dt>pictures</dt><dd>200</dd>" in text
    assert "<dd>Grad-CAM</dd>" in text
    assert "<dt>recognised by resnet18</dt><dd>80.0 %</dd>" in text
    assert "<li>broken.jpg: not an image</li>" in text


def test_scores_with_their_interval_chance_and_n():
    one = (
        Score("cam", "pointing", describe([0.4, 0.5, 0.6]), 0.21),
        Score("layer1.0", "pointing", describe([0.5]), None),
        Score("cam", "road", describe([-0.5, 0.1]), 0.0),
    )
    gated = replace(network("gated"), scores=one)
    text = page(made_explanation(gated=gated, bare=replace(network("bare", ()), scores=())))
    assert re.findall(r'data-show="(\w+)"', text) == ["pointing", "road"]
    assert "pointing: how often the map&#39;s highest point lies on the object." in text
    assert "0.500 [0.252, 0.748]</td>" in text
    assert ">0.210</td>" in text
    assert re.search(r'data-v="layer1.0".*?0\.500</td>.*?–</td>.*?>1</td>', text, re.DOTALL)
    assert 'style="left:40.0%"' in text, "a mean of -0.2 from -1 to 1"


def test_a_diagnosis_has_the_columns_that_any_site_has():
    found = replace(diagnosis(0, "layer1.0", 64, 56), flipped=None, moved=None, saturated_high=0.25)
    text = page(with_one(SiteLook(None, torch.rand(4)), networks=(replace(network("gated"), diagnoses=(found,)),)))
    heads = re.findall(r"<button[^>]*>([a-z ]+)</button></th>", text.split('id="diagnoses"')[1])
    assert heads == ["site", "gate", "map", "mean", "over images", "within", "saturated", "entropy", "dead", "classes"]
    assert ">0.01, 0.25</td>" in text
    assert "<li><b>layer1.0</b>: nearly constant, spread over images 0.004; could be folded" in text


def test_without_pictures_scores_or_gates_there_is_still_a_page():
    bare = replace(network("bare", ()), scores=(), accuracy=None)
    text = page(Explanation("an empty folder", "Grad-CAM", 0, (bare,), [], ("nothing could be read",)))
    assert "No picture was kept for showing." in text
    assert "nothing could be read" in text
    assert 'id="scores"' not in text
    assert 'id="diagnoses"' not in text


def test_markup_in_names_stays_text():
    sites = ((EVIL, 64, 56),)
    gated = network(EVIL, sites, tuple(f"{name}{EVIL}" for name in CLASSES))
    explanation = with_one(SiteLook(None, torch.rand(4)), networks=(gated,), source=EVIL, problems=(EVIL,))
    look = Look((0, 1), (0.9, 0.1), torch.rand(2, 7, 7), {EVIL: SiteLook(None, torch.rand(4))})
    explanation.pictures[0] = replace(explanation.pictures[0], name=EVIL, label=EVIL, looks=(look,))
    text = page(explanation)
    assert "<img src=x" not in text
    assert text.count("</script>") == 2
    found = data_of(text)
    assert found["pictures"][0]["name"] == EVIL
    assert found["networks"][0]["sites"][0]["name"] == EVIL


def test_names_that_are_not_utf_8_are_shown_with_replacement_characters():
    name = b"caf\xe9 \xff.jpg".decode("utf-8", "surrogateescape")
    text = page(made_explanation(pictures=1, name=name, problems=[f"{name}: broken"]))
    assert text.encode("utf-8")
    assert "<li>caf\ufffd \ufffd.jpg: broken</li>" in text
    assert data_of(text)["pictures"][0]["name"] == "caf\ufffd \ufffd.jpg"


def test_only_the_pages_own_script_may_run_and_nothing_may_be_loaded():
    text = page(made_explanation(pictures=1))
    script = text.rsplit("<script>", 1)[1].split("</script>")[0]
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    assert policy == (
        "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest(script)}'"
    )
    assert "innerHTML" not in text
    assert not re.search(r'(?:src|href)="(?!data:|#)', text)


def test_the_same_explanation_gives_the_same_page():
    assert page(made_explanation(pictures=2)) == page(made_explanation(pictures=2))
