"""The rules of the house, read off the source: which storey may import which, and what an import may cost."""

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import whatwhere

SOURCE = Path(whatwhere.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))

# Each storey and those below (or beside) it that it may import; what lies at the bottom is open to all.
MAY_IMPORT = {
    "errors": set(),
    "files": set(),
    "modes": set(),
    "moments": set(),
    "ops": set(),
    "gates": {"ops"},
    "cost": set(),
    "attach": {"gates", "cost"},
    "hosts": set(),
    "data": set(),
    "train": {"data"},
    "detect": {"cost", "data", "hosts", "train"},
    "hub": {"attach", "gates", "hosts"},
    "explain": {"attach", "data", "detect", "gates", "hosts", "hub", "ops"},
    "experiments": {"attach", "cost", "data", "detect", "explain", "gates", "hosts", "train"},
    "papers": {"attach", "cost", "data", "detect", "experiments", "gates", "hosts", "train"},
    "report": {"data", "detect", "experiments", "explain", "papers"},
    "cli": {
        "attach",
        "cost",
        "data",
        "detect",
        "experiments",
        "explain",
        "gates",
        "hosts",
        "hub",
        "ops",
        "papers",
        "report",
        "train",
        "whatwhere",
    },
    "__main__": {"cli"},
    "__init__": {"attach", "explain", "gates", "hub", "ops"},
}
HEAVY = {
    "torchvision",
    "timm",
    "accelerate",
    "matplotlib",
    "scipy",
    "rich",
    "PIL",
    "onnx",
    "pandas",
    "huggingface_hub",
} | {
    "jinja2",
    "pytorch_grad_cam",
    "torchcam",
    "webdataset",
    "faster_coco_eval",
    "pycocotools",
    "playwright",
    "tensorboard",
    "wandb",
}
LONGEST = 400


def storey(path: Path) -> str:
    """The room a file belongs to: a folder of the package, or a file at its top."""
    first = path.relative_to(SOURCE).parts[0]
    return first.removesuffix(".py")


def imported(tree: ast.AST) -> set[str]:
    """Dotted names of all modules that a file imports anywhere."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def at_module_level(tree: ast.Module) -> set[str]:
    """First parts of the modules that are imported when the file is."""
    statements = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    return {name.split(".")[0] for node in statements for name in imported(ast.Module([node], []))}


def wrong_arrows(path: Path, text: str) -> list[str]:
    """The imports of a file that point up or sideways."""
    here = storey(path)
    arrows = [name.split(".")[1] if "." in name else name for name in imported(ast.parse(text)) if is_ours(name)]
    return sorted(
        {
            there
            for there in arrows
            if there in MAY_IMPORT and there not in {here, "errors", "files", "modes", "moments"} | MAY_IMPORT[here]
        }
    )


def is_ours(name: str) -> bool:
    """Whether a dotted name is of this package."""
    return name.split(".")[0] == "whatwhere"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_down(path: Path) -> None:
    assert wrong_arrows(path, path.read_text()) == []


def test_an_arrow_that_points_up_is_seen() -> None:
    text = "from whatwhere.attach import attach_\nimport whatwhere.data\n"
    assert wrong_arrows(SOURCE / "hosts" / "new.py", text) == ["attach", "data"]
    assert wrong_arrows(SOURCE / "train" / "new.py", "def f():\n    from whatwhere.gates import BAM\n") == ["gates"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_nothing_heavy_at_module_level(path: Path) -> None:
    # detectors are torchvision's classes, so their files need it; they are imported when one is built
    allowed = {"torchvision"} if path.parent == SOURCE / "detect" / "networks" else set()
    assert at_module_level(ast.parse(path.read_text())) & HEAVY <= allowed


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_all_is_true(path: Path) -> None:
    name = ".".join(("whatwhere", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__")
    if name.endswith("__main__"):
        return
    module = importlib.import_module(name)
    missing = [public for public in module.__all__ if not hasattr(module, public)]
    assert missing == []
    tree = ast.parse(path.read_text())
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    assert {public for public in defined if not public.startswith("_")} <= set(module.__all__)


def test_no_room_is_crowded() -> None:
    long = {str(path): count for path in FILES if (count := len(path.read_text().splitlines())) > LONGEST}
    assert long == {}


def run(code: str) -> str:
    """Run some Python on its own and return what it printed."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_import_is_lean(record_property: pytest.FixtureRequest) -> None:
    """The import itself loads no torch, and all public names nothing heavy. Time is only reported."""
    added = json.loads(
        run(
            "import sys, json; before = set(sys.modules); import whatwhere; "
            "print(json.dumps(sorted(set(sys.modules) - before)))"
        )
    )
    assert [name for name in added if name.split(".")[0] in HEAVY | {"torch", "numpy", "tyro"}] == []
    seconds, loaded = json.loads(
        run(
            "import sys, json, time, torch; before = set(sys.modules); start = time.perf_counter(); import whatwhere; "
            "alone = time.perf_counter() - start; [getattr(whatwhere, name) for name in whatwhere.__all__]; "
            "print(json.dumps([[alone, time.perf_counter() - start], sorted(set(sys.modules) - before)]))"
        )
    )
    assert [name for name in loaded if name.split(".")[0] in HEAVY | {"tyro"}] == []
    alone, whole = (f"{1000 * value:.0f} ms" for value in seconds)
    record_property("measured", f"import whatwhere adds {alone} to import torch, all its public names {whole}")


def test_help_needs_no_torch(record_property: pytest.FixtureRequest) -> None:
    code = (
        "import sys, json, time, io, contextlib; start = time.perf_counter(); from whatwhere.cli.main import main\n"
        "with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit): main(['--help'])\n"
        "print(json.dumps([time.perf_counter() - start, 'compare' in out.getvalue(), sorted(sys.modules)]))"
    )
    seconds, helped, loaded = json.loads(run(code))
    assert helped
    assert {"torch", "torchvision", "timm", "accelerate", "matplotlib", "scipy"} & set(loaded) == set()
    record_property("measured", f"whatwhere --help answers in {1000 * seconds:.0f} ms")
