"""`whatwhere explain` as a person meets it."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

import whatwhere
from whatwhere.cli.main import main

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
    assert main(["explain", "--demo", "--limit", "20", "--figures", "figures"]) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    names = ("cams", "depth", "hierarchy", "profiles")
    assert lines[:2] == ["explained.html", "explained.json"]
    assert lines[2:10] == [f"figures/{name}.{kind}" for name in names for kind in ("png", "pdf")]
    assert lines[10].startswith("scenes-resnet8-cbam: 20 pictures, ")
    assert printed.err == ""
    found = json.loads(Path("explained.json").read_text())
    cbam, bare = found["networks"]
    assert cbam["accuracy"] > 0.9
    assert [gate["site"] for gate in cbam["gates"]] == [f"layer{i}.0.bn2" for i in (1, 2, 3)]
    assert bare["gates"] == []
    assert {score["map"] for score in cbam["scores"]} >= {"cam", "layer1.0.bn2", "layer3.0.bn2", "all gates"}
    assert len(found["shown"]) == found["pictures"] == 20
    assert found["shown"][0]["name"] == "scenes 0"
    page = Path("explained.html").read_text()
    assert page.startswith("<!doctype html>")
    assert all(Path(line).stat().st_size > 5_000 for line in lines[2:10])


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
    assert refused([], capsys) == f"explain: --model must be named\n  {nothing}"
    assert refused(["--model", CBAM], capsys) == f"explain: IMAGES must be named\n  {nothing}"
    assert refused(["photos", "--demo"], capsys) == (
        "explain --demo: it has a network and pictures of its own\n  fix: leave out IMAGES and --model\n"
    )
    assert refused(["--demo", "--out", "photos"], capsys) == (
        "explain(out='photos'): this is a folder\n  fix: --out photos/explained.html\n"
    )
    assert refused(["--demo", "--out", "page.pdf"], capsys) == (
        "explain(out='page.pdf'): a page's name ends in .html\n  fix: --out page.html\n"
    )
    assert refused(["--demo", "--top", "0"], capsys) == "explain --top 0: it is 1 or more\n"
    assert refused(["--demo", "--faithful", "-1"], capsys) == "explain --faithful -1: it is 0 or more\n"
    assert refused(["--demo", "--image-size", "0"], capsys) == "explain --image-size 0: it is 1 or more\n"
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
        "  got: 32 x 32 and 40 x 40\n  fix: networks trained alike\n"
    )


def test_a_page_that_cannot_be_written(photos, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "page.html"
    assert refused([str(photos), "--model", BARE, "--out", str(out)], capsys) == (
        f"explain: cannot write '{out}': File exists\n"
        "  fix: move away what stands in the place of a file or folder, or choose another\n"
    )
