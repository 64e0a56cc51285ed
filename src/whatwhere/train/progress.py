"""One line on the terminal for the trial that is running."""

import sys
from types import TracebackType
from typing import Any, Self

__all__ = ["ProgressLine"]


class ProgressLine:
    """Epoch, loss, what is noted, images a second and time left, on stderr; nothing where stderr is no terminal.

    Args:
        name: what the line begins with.
        epochs: of the whole trial.
        steps: of one epoch.
        done: epochs finished before.
        shown: False for silence everywhere.
    """

    def __init__(self, name: str, epochs: int, steps: int, *, done: int, shown: bool) -> None:
        self._epochs, self._steps = epochs, steps
        self._bar: Any = None
        if shown and sys.stderr.isatty():
            self._bar, self._task = _bar(name, epochs * steps, done * steps)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, epoch: int, step: int, *, loss: float, noted: str, speed: float) -> None:
        """Sets the line after ``step`` (from 1) of ``epoch`` (from 1); ``speed`` is images a second."""
        if self._bar is not None:
            note = f"epoch {epoch}/{self._epochs}  loss {loss:.3f}  {noted}  {speed:,.0f} images/s"
            self._bar.update(self._task, completed=(epoch - 1) * self._steps + step, note=note)


def _bar(name: str, total: int, completed: int) -> tuple[Any, Any]:
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(20),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=Console(stderr=True))
    return bar, bar.add_task(escape(name), total=total, completed=completed, note="")
