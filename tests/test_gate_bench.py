"""The benchmark of gates: it runs, refuses to time what computes something else, and its figures are what they say."""

import dataclasses
import importlib
import importlib.util
import json
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

ROOT = Path(__file__).parents[1]
NAMES = ("agreement", "contenders", "memory", "modules", "networks", "peers", "report", "tables", "timing", "ways")
PLAIN = "reference"
SMALL = (4, 32, 7, 9)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """The benchmark's rooms, with our gates in plain torch alone, whatever is built here."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    monkeypatch.setenv("WHATWHERE_BACKEND", PLAIN)
    rooms = {name: importlib.import_module(f"gate_bench.{name}") for name in NAMES}
    for name in ("contenders", "networks"):
        monkeypatch.setattr(rooms[name], "backends", lambda: [PLAIN])
    # by its path: the tests have a folder of that name
    spec: Any = importlib.util.spec_from_file_location("benchmark_of_gates", ROOT / "benchmarks" / "gates.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    monkeypatch.setattr(script, "backends", lambda: [PLAIN])
    return SimpleNamespace(**rooms, main=script.main)


class _Tripled(nn.Module):
    """timm's SE and three times its output."""

    def __init__(self, gate: nn.Module) -> None:
        super().__init__()
        self.gate = gate

    def forward(self, x: Tensor) -> Tensor:
        return 3 * self.gate(x)  # type: ignore[no-any-return]


def _only(bench: Any, monkeypatch: pytest.MonkeyPatch, *peers: Any) -> None:
    for room in (bench.peers, bench.modules, bench.networks):
        monkeypatch.setattr(room, "PEERS", peers)


def _peer(bench: Any, library: str, gate: str) -> Any:
    return next(peer for peer in bench.peers.PEERS if (peer.library, peer.gate) == (library, gate))


def test_a_quick_run_ends_in_a_valid_file_and_tables(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _only(bench, monkeypatch, _peer(bench, "timm", "cbam"))
    bench.main(quick=True, out=tmp_path / "gates.json")
    report = bench.report.read(tmp_path / "gates.json")
    assert [cell.phase for cell in report.cells] == ["forward", "forward and backward"] * 2
    assert {row.library for row in report.cells[0].rows} == {"whatwhere", "timm"}
    assert [race.phase for race in report.networks] == ["inference", "training step", "inference, norms folded"]
    rows = [row for race in (*report.cells, *report.networks) for row in race.rows]
    assert [row.problem for row in rows if row.problem is not None] == []
    assert all(row.times.median > 0 for row in rows)
    printed = capsys.readouterr().out
    assert "### 4x32x7x9, bfloat16, channels_last" in printed
    assert "| resnet8 | cbam | timm | 3 | " in printed


@pytest.mark.parametrize("number", range(12))
def test_every_peer_agrees_with_its_form_of_ours(bench: Any, number: int) -> None:
    assert len(bench.peers.PEERS) == 12
    peer = bench.peers.PEERS[number]
    if peer.library not in bench.peers.found():
        pytest.skip(f"{peer.library} is installed by make bench")
    for layout in ("contiguous", "channels_last"):
        x = bench.modules.Case(peer.gate, (3, 32, 9, 6), "float32", layout).map()
        *_, one = bench.contenders.contenders(peer.gate, x, [peer], False)
        assert (one.library, one.problem) == (peer.library, None)
        assert 0 <= max(one.errors) < 1e-5


def test_what_computes_something_else_is_not_timed(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    timm = _peer(bench, "timm", "se")
    odd = dataclasses.replace(timm, make=lambda gate, c: _Tripled(timm.make(gate, c)))
    _only(bench, monkeypatch, odd)
    for cell in bench.modules.measure(bench.modules.Case("se", SMALL), 1, False):
        ours, theirs = cell.rows
        assert ours.times is not None
        assert theirs.times is theirs.against is theirs.share is None
        assert theirs.problem == (
            "outputs differ by 2.0e+00, 1e-05 is allowed; gradients differ by 2.0e+00, 1e-04 is allowed"
        )
    assert "- Not timed: timm, se: outputs differ by 2.0e+00" in bench.tables.all_maps(_report(bench, [cell, cell]))


def test_another_order_of_the_pools_is_seen(bench: Any) -> None:
    wrong = dataclasses.replace(_peer(bench, "timm", "cbam"), flipped=False)
    *_, one = bench.contenders.contenders("cbam", bench.modules.Case("cbam", SMALL).map(), [wrong], False)
    assert one.problem is not None
    assert one.problem.startswith("outputs differ by ")


def test_a_library_that_raises_is_a_row_and_no_crash(bench: Any) -> None:
    broken = dataclasses.replace(_peer(bench, "timm", "se"), where="timm.layers.NoSuchGate")
    *_, one = bench.contenders.contenders("se", bench.modules.Case("se", SMALL).map(), [broken], False)
    assert one.gate is None
    assert one.problem == "AttributeError: module 'timm.layers' has no attribute 'NoSuchGate'"


def test_layers_that_do_not_pair_are_refused(bench: Any) -> None:
    with pytest.raises(ValueError, match=r"^no pair: Linear"):
        bench.agreement.share(nn.Linear(2, 2), nn.Sequential(nn.BatchNorm1d(2)))
    with pytest.raises(ValueError, match=r"^no pair: None and Linear"):
        bench.agreement.share(nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)))
    with pytest.raises(ValueError, match=r"^no pair: weight of Linear"):
        bench.agreement.share(nn.Linear(2, 2), nn.Linear(2, 3))


def test_a_bias_that_one_of_them_lacks_becomes_zero(bench: Any) -> None:
    one, other = nn.Linear(2, 3), nn.Conv2d(2, 3, 1, bias=False)
    bench.agreement.share(one, other)
    assert torch.equal(one.bias, torch.zeros(3))
    nn.init.ones_(one.bias)
    assert torch.equal(other.weight.flatten(1), one.weight)
    bench.agreement.share(other, one)
    assert torch.equal(one.bias, torch.zeros(3))


def test_turns_alternate_and_every_round_has_one(bench: Any) -> None:
    seen: list[str] = []
    slow = {name: bench.timing.Turn(lambda name=name: [seen.append(name), _wait()]) for name in "abc"}
    found = bench.timing.race(slow, 3)
    assert "".join(seen) == "aabbcc" + "abc" + "cba" + "abc"
    assert {name: len(times) for name, times in found.items()} == {"a": 3, "b": 3, "c": 3}


def _wait() -> None:
    time.sleep(0.011)


def test_a_ratio_is_a_median_within_rounds_with_a_sign_interval(bench: Any) -> None:
    ones = [1.0] * 9
    nine = bench.timing.ratio([9, 1, 8, 2, 7, 3, 6, 4, 5], ones)
    assert (nine.median, nine.low, nine.high) == (5, 2, 8)
    assert nine.level == pytest.approx(1 - 2 * 10 / 512)
    six = bench.timing.ratio([6, 5, 4, 3, 2, 1], [1, 1, 1, 1, 1, 2])
    assert (six.low, six.high, six.level) == (0.5, 6, pytest.approx(1 - 2 / 64))
    assert bench.timing.ratio([3.0], [2.0]) == bench.report.Ratio(1.5, 1.5, 1.5, 0.0)
    assert bench.timing.times([0.001, 0.002, 0.003]) == bench.report.Times(2.0, 1.5, 2.5)


def test_bytes_kept_are_distinct_storages_without_parameters(bench: Any) -> None:
    x = torch.randn(2, 8, 4, 4, requires_grad=True)
    assert bench.memory.kept(nn.Sequential(nn.Conv2d(8, 8, 1), nn.Sigmoid()), x) == 2 * x.nbytes
    assert bench.memory.kept(nn.Identity(), x) == 0


def test_allocations_are_counted_and_the_peak_found(bench: Any) -> None:
    x = torch.randn(64, 64)
    assert bench.memory.allocated(x.clone, x.nbytes / 2) == (1, x.nbytes)
    assert bench.memory.allocated(lambda: (x + 1) * 2, x.nbytes / 2)[0] == 2
    blocks, most = bench.memory.allocated(lambda: x.add_(1), x.nbytes / 2)
    assert blocks == 0
    assert most < 64


def _report(bench: Any, cells: list[Any]) -> Any:
    where = bench.report.Where({"torch": "2"}, "cpu", 1, None, [])
    return bench.report.Report(bench.report.FORMAT, where, cells, [])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda data: data.update(format=2), "report.format: 2, not 1"),
        (lambda data: data.pop("where"), "report: where missing or unknown"),
        (lambda data: data.update(surplus=1), "report: surplus missing or unknown"),
        (lambda data: data["where"].update(threads="1"), "report.where.threads: '1' is no int"),
        (lambda data: data["where"]["versions"].update(torch=2), "report.where.versions.torch: 2 is no str"),
        (lambda data: data["cells"][0]["shape"].append(0.5), "report.cells[0].shape[4]: 0.5 is no int"),
        (lambda data: data["cells"][0]["clone"].update(low=None), "report.cells[0].clone.low: None is no float"),
        (lambda data: data.update(cells={}), "report.cells: {} is no list"),
    ],
)
def test_a_file_of_another_form_is_refused(bench: Any, tmp_path: Path, spoil: Any, message: str) -> None:
    times = bench.report.Times(1.0, 1.0, 1.0)
    row = bench.report.Row("whatwhere", "paper", PLAIN, False, None)
    shape = [1, 2, 3, 4]
    cell = bench.report.Cell("se", shape, "float32", "contiguous", "forward", 1, 3, PLAIN, times, times, [row])
    path = tmp_path / "gates.json"
    bench.report.write(_report(bench, [cell]), path)
    assert bench.report.read(path).cells == [cell]
    data = json.loads(path.read_text())
    spoil(data)
    path.write_text(json.dumps(data))
    with pytest.raises(ValueError, match="report") as caught:
        bench.report.read(path)
    assert str(caught.value) == message


def test_the_tables_of_the_document_are_those_of_the_result_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    readme = importlib.import_module("readme")
    text = (ROOT / "docs" / "speed.md").read_text()
    assert readme.filled(text, readme.SPEED_TABLES) == text
