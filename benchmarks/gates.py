"""How fast are the gates, and how little do they keep, beside those of other libraries?

CBAM, BAM and SE on single maps, forward and with backward, and in whole networks, inference and a training step, on the
CPU. All contenders have the same weights, and nobody is timed whose results differ from those of our plain formulas.

    python benchmarks/gates.py                        benchmarks/results/gates.json; some twelve minutes
    python benchmarks/gates.py --only "bam 8x256" --out /tmp/x.json     the races whose names have these words in them
    python benchmarks/gates.py --quick --out /tmp/x.json                tiny maps, to see that it runs
"""

import os
import platform
import sys
from pathlib import Path

import torch
import tyro
from gate_bench import modules, networks, tables
from gate_bench.peers import found, missing
from gate_bench.report import FORMAT, Cell, Network, Report, Where, write
from gate_bench.ways import backends

from whatwhere.experiments.environment import environment

RESULTS = Path(__file__).parent / "results" / "gates.json"


def race(rounds: int, network_rounds: int, only: str, quick: bool, compiled: bool) -> Report:
    """All races whose names contain one of the words in ``only``, which commas separate."""
    words = only.split(",")
    cases = [case for case in (modules.QUICK if quick else modules.CASES) if any(word in case.name for word in words)]
    hosts = [host for host in (networks.QUICK if quick else networks.HOSTS) if any(word in host.name for word in words)]
    print(f"our backends: {', '.join(backends())}; libraries: {', '.join(found())}", file=sys.stderr)
    if missing():
        print(f"not installed: {', '.join(missing())} (pip install '.[bench]')", file=sys.stderr)
    cells: list[Cell] = []
    for number, case in enumerate(cases, 1):
        print(f"map {number} of {len(cases)}: {case.name}", file=sys.stderr)
        cells += modules.measure(case, rounds, compiled and case in modules.COMPILED)
    races: list[Network] = []
    for number, host in enumerate(hosts, 1):
        print(f"network {number} of {len(hosts)}: {host.name}", file=sys.stderr)
        races += networks.measure(host, network_rounds)
    return Report(FORMAT, where(), cells, races)


def where() -> Where:
    """Versions, device, threads and commit."""
    here = environment()
    versions = {
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        **found(),
    }
    return Where(versions, here["device"], here["threads"], here["commit"], missing())


def main(
    rounds: int = 9,
    network_rounds: int = 6,
    only: str = "",
    quick: bool = False,
    compiled: bool = False,
    out: Path | None = None,
) -> None:
    """Race the gates.

    Args:
        rounds: turns of each contender on a map.
        network_rounds: turns of each network.
        only: words, separated by commas, of the races to run.
        quick: tiny maps and two rounds, whose figures mean nothing.
        compiled: on the largest map, also through torch.compile, ours and the usually fastest peers; minutes more.
        out: the JSON file; only a whole run is written to its usual place.
    """
    report = race(2, 2, only, quick, compiled) if quick else race(rounds, network_rounds, only, quick, compiled)
    target = out or (None if only or quick else RESULTS)
    if target is not None:
        write(report, target)
    print(tables.everything(report))


if __name__ == "__main__":
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    tyro.cli(main)
