"""Trials of these tests run on the CPU, where the same seed gives the same bits."""

import pytest


@pytest.fixture(autouse=True, scope="session")
def _on_the_cpu():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACCELERATE_USE_CPU", "true")
        yield
