"""`whatwhere explain` as a person meets it."""

import base64
import io
import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

import whatwhere
from whatwhere.cli.main import main
from whatwhere.hosts import build

NETWORKS = Path(whatwhere.__file__).parent / "explain" / "networks"
CBAM, BARE = str(NETWORKS / "cbam"), str(NETWORKS / "none")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, colour in (("a.png", "red"), ("b.jpg", "blue"), ("<b>c.png", "green")):
        Image.new("RGB", (40, 30), colour).save(folder / name)
    (folder / "broken.jpg").write_bytes(b"no picture")
    return folder


def test_the_demonstration(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["explain", "--demo", "--limit", "16"]) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[:2] == ["explained.html", "explained.json"]
    assert lines[2].startswith("scenes-resnet8-cbam: 16 pictures, ")
    assert any(line.startswith("  layer3.0.bn2: acts the other way round: strength -4.84") for line in lines)
    assert printed.err == ""
    found = json.loads(Path("explained.json").read_text())
    cbam, bare = found["networks"]
    assert cbam["accuracy"] > 0.9
    assert [gate["site"] for gate in cbam["gates"]] == [f"layer{i}.0.bn2" for i in (1, 2, 3)]
    assert bare["gates"] == []
    assert {score["map"] for score in cbam["scores"]} >= {"cam", "layer1.0.bn2", "layer3.0.bn2", "all gates"}
    assert len(found["shown"]) == found["pictures"] == 16
    assert found["shown"][0]["name"] == "scenes 0"
    assert found["shown"][0]["answers"][0][0]["probability"] > 0.1
    assert (found["method"], found["sanity"], found["target"]) == ("gradcam", True, None)
    assert Path("explained.html").read_text().startswith("<!doctype html>")


def test_figures_of_what_there_is(photos, tmp_path, capsys):
    out, folder = tmp_path / "a.html", tmp_path / "figures"
    assert main(["explain", str(photos / "a.png"), "--model", CBAM, "--out", str(out), "--figures", str(folder)]) == 0
    names = ("cams", "depth", "hierarchy", "profiles")
    wanted = [str(folder / f"{name}.{kind}") for name in names for kind in ("png", "pdf")]
    assert capsys.readouterr().out.splitlines()[-8:] == wanted
    assert all(Path(path).stat().st_size > 2_000 for path in wanted)


@pytest.mark.parametrize(("channels", "size"), [(1, (28, 28)), (3, (32, 48)), (1, (40, 24))])
def test_grey_and_oblong_networks(photos, tmp_path, channels, size):
    network = tmp_path / "network"
    torch.manual_seed(0)
    model = build("resnet8", num_classes=4, in_channels=channels, stem="small").eval()
    whatwhere.attach_(model, "bam", input_size=(channels, *size))
    facts = {"mean": (0.5,) * channels, "std": (0.2,) * channels, "in_channels": channels, "stem": "small"}
    whatwhere.save_network(model, network, host="resnet8", num_classes=4, image_size=size, **facts)
    out = tmp_path / "a.html"
    arguments = [str(photos), "--model", str(network), "--out", str(out), "--figures", str(tmp_path / "figures")]
    assert main(["explain", *arguments]) == 0
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', out.read_text(), re.DOTALL)
    picture = json.loads(data[1])["pictures"][0]
    assert (picture["height"], picture["width"]) == size
    with Image.open(io.BytesIO(base64.b64decode(picture["jpeg"]))) as jpeg:
        assert jpeg.size == size[::-1]


def test_photographs_of_which_one_is_broken(photos, tmp_path, capsys):
    out = tmp_path / "pages" / "photos.html"
    assert main(["explain", str(photos), "--model", CBAM, "--against", BARE, "--out", str(out)]) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines()[2] == f"{CBAM}: 3 pictures"
    assert printed.err.startswith("broken.jpg: UnidentifiedImageError: ")
    assert printed.err.endswith("; left out\n")
    assert "<b>c.png" not in out.read_text()  # as a text alone
    assert [one["name"] for one in json.loads(out.with_suffix(".json").read_text())["shown"]] == [
        "<b>c.png",
        "a.png",
        "b.jpg",
    ]


def test_the_same_network_twice_keeps_its_two_places(photos, tmp_path, capsys):
    out = tmp_path / "a.html"
    assert main(["explain", str(photos / "a.png"), "--model", BARE, "--against", BARE, "--out", str(out)]) == 0
    names = [one["name"] for one in json.loads(out.with_suffix(".json").read_text())["networks"]]
    assert names == [BARE, f"{BARE} (second)"]


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["explain", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    return printed.err


def test_messages(photos, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    nothing = "fix: whatwhere explain photos/*.jpg --model NETWORK; or whatwhere explain --demo\n"
    assert refused([], capsys) == f"explain: IMAGES and --model must be named\n  {nothing}"
    assert refused(["photos"], capsys) == f"explain: --model must be named\n  {nothing}"
    assert refused(["--model", CBAM], capsys) == f"explain: IMAGES must be named\n  {nothing}"
    assert refused(["photos", "--demo"], capsys) == (
        "explain --demo: it has networks and pictures of its own\n  fix: leave out IMAGES\n"
    )
    assert refused(["--demo", "--gate", "bam", "--image-size", "64"], capsys) == (
        "explain --demo: it has networks and pictures of its own\n  fix: leave out --gate and --image-size\n"
    )
    assert refused(["photos", "--model", CBAM, "--against-checkpoint", "a.pth"], capsys) == (
        "explain --against-checkpoint: no network is named for it\n  fix: name one by --against\n"
    )
    assert refused(["photos", "--model", CBAM, "--pretrained"], capsys) == (
        "explain --pretrained: no network is left to fetch weights for\n  fix: leave it out\n"
    )
    assert refused(["--demo", "--out", "photos"], capsys) == (
        "explain(out='photos'): this is a folder\n  fix: --out photos/explained.html\n"
    )
    assert refused(["--demo", "--out", "page.pdf"], capsys) == (
        "explain(out='page.pdf'): a page's name ends in .html\n  fix: --out page.html\n"
    )
    assert refused(["--demo", "--top", "0"], capsys) == "explain --top 0: it is 1 or more\n"
    assert refused(["--demo", "--faithful", "-1"], capsys) == "explain --faithful -1: it is 0 or more\n"
    assert (
        refused(["photos", "--model", "a", "--image-size", "0"], capsys) == "explain --image-size 0: it is 1 or more\n"
    )
    assert refused(["photos", "--model", CBAM, "--target", "stra"], capsys) == (
        f"explain(target='stra'): {CBAM!r} has no such class\n  got: 10 classes, numbered 0 to 9\n"
        "  closest: 'star', 'triangle'\n"
    )
    text = refused(["photos", "--model", CBAM, "--layer", "layer9"], capsys)
    assert text.splitlines()[1:] == [
        "  closest: 'layer3', 'layer2', 'layer1'",
        "  fix: leave layer out, and the last feature map is taken",
    ]
    assert "there is no method 'gradcm'\n  closest: 'gradcam'" in refused(
        ["photos", "--model", CBAM, "--method", "gradcm"], capsys
    )
    assert "'nowhere'" in refused(["nowhere", "--model", CBAM], capsys)
    assert not list(tmp_path.glob("*.html"))


def test_networks_of_two_sizes(photos, tmp_path, capsys):
    other = tmp_path / "other"
    shutil.copytree(BARE, other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "image_size": [40, 40]}))
    assert refused([str(photos), "--model", CBAM, "--against", str(other)], capsys) == (
        "explain: both networks must take images of one size\n"
        "  got: 3 x 32 x 32 and 3 x 40 x 40\n  fix: networks trained alike\n"
    )


def test_what_cannot_be_written_is_told_before_the_work(photos, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("whatwhere.explain.explain", None)
    (tmp_path / "file").write_text("")
    (tmp_path / "taken.json").mkdir()
    out = tmp_path / "file" / "page.html"
    assert refused([str(photos), "--model", BARE, "--out", str(out)], capsys) == (
        f"explain(out='{out}'): the folder cannot be written\n  got: File exists\n"
        "  fix: name a folder of your own with --out (out=)\n"
    )
    out = tmp_path / "taken.html"
    assert refused([str(photos), "--model", BARE, "--out", str(out)], capsys) == (
        f"explain(out='{out}'): its numbers would go where there is a folder\n  got: {tmp_path / 'taken.json'}\n"
        "  fix: another name by --out\n"
    )
    figures = ["--figures", str(tmp_path / "file")]
    assert "the folder cannot be written\n  got: File exists" in refused(
        [str(photos), "--model", BARE, "--out", str(tmp_path / "a.html"), *figures], capsys
    )


def test_pictures_that_are_all_broken(photos, tmp_path, capsys):
    out = tmp_path / "a.html"
    text = refused([str(photos / "broken.jpg"), "--model", BARE, "--out", str(out)], capsys)
    assert text.startswith("explain: there is no picture to look at\n  got: broken.jpg: UnidentifiedImageError: ")
    assert not out.exists()
