"""What each of two processes does in the tests of shared trials; started as a script, once a rank."""

import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn
from train.toy import RECIPE, toy_splits

import whatwhere as ww
from whatwhere import hosts
from whatwhere.errors import RunError
from whatwhere.train import train

__all__ = ["finish", "run", "start"]


def gated() -> nn.Module:
    """A host with batch norms over maps, whose gates have batch norms over vectors too."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = hosts.build("resnet8", num_classes=2)
        ww.attach_(model, "bam:reduction=4", input_size=(3, 8, 8))
    return model


def run(folder: Path, *, strike: tuple[str, int, int] | None = None, images: int = 72, **changes: object) -> str:
    """One trial; "" when it went well, else its error's first line.

    Args:
        folder: of the trial.
        strike: a signal's name, or "memory", which ends in the middle of the backward; the rank that it strikes; and
            the training step (from 1) it comes in.
        images: to train on; the last of five batches of 72 has 8, so that it is short and still shared.
        changes: of the recipe.
    """
    model = gated()
    if strike:
        _strike(*strike, model)
    recipe = replace(RECIPE, **{"epochs": 2, "lr": 0.02, "sync_norm": True, **changes})
    try:
        train(model, toy_splits(images), recipe, seed=0, folder=folder, progress=False)
    except RunError as error:
        return error.rule
    return ""


def _strike(kind: str, rank: int, step: int, model: nn.Module) -> None:
    steps = 0

    def due() -> bool:
        return model.training and steps == step and int(os.environ.get("RANK", "0")) == rank

    def look(module: nn.Module, inputs: object) -> None:
        nonlocal steps
        steps += module.training
        if due() and kind != "memory":
            os.kill(os.getpid(), signal.Signals[kind])

    def end(gradient: torch.Tensor) -> None:
        raise torch.OutOfMemoryError("no memory")

    def trap(module: nn.Module, inputs: object, output: torch.Tensor) -> None:
        if due() and kind == "memory":
            output.register_hook(end)

    model.register_forward_pre_hook(look)
    model.get_submodule("layer2").register_forward_hook(trap)


def start(*jobs: dict[str, object]) -> list["subprocess.Popen[str]"]:
    """Starts two processes that do the ``jobs``, keyword arguments of `run`, together."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    here = Path(__file__).resolve()
    places = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    paths = os.pathsep.join([str(here.parents[1]), *filter(None, sys.path)])
    common = {**os.environ, **places, "PYTHONPATH": paths, "ACCELERATE_USE_CPU": "true"}
    return [
        subprocess.Popen(
            [sys.executable, str(here), json.dumps(jobs, default=str)],
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]


def finish(started: list["subprocess.Popen[str]"]) -> list[tuple[int, list[str], str]]:
    """Exit status, what `run` gave for each job, and what was said, of both; neither outlives the call."""
    ends = []
    try:
        for process in started:
            said, warned = process.communicate(timeout=120)
            ends.append((process.returncode, json.loads(said or "[]"), warned))
    finally:
        for process in started:
            process.kill()
            process.wait()
    return ends


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps([run(Path(job.pop("folder")), **job) for job in json.loads(sys.argv[1])]))
