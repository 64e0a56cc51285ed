"""A scheduler's wish that the run end soon, taken note of and obeyed at the next step."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["StopRequest", "stop_requests"]

_NAMES = ("SIGTERM", "SIGUSR1")


class StopRequest:
    """The name of the signal that came, ``""`` as long as none has."""

    def __init__(self) -> None:
        self.name = ""

    def take(self, number: int, frame: FrameType | None) -> None:
        """What `signal.signal` is given."""
        self.name = signal.Signals(number).name


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Listens to SIGTERM and SIGUSR1 inside the block and puts back what was there.

    A block inside such a block gets the same request, so that none is forgotten on the way in or out of it.

    Python lets the main thread alone listen; in another the request is never made. A handler that other than Python
    code installed is left in place.
    """
    owner = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    if isinstance(owner, StopRequest):
        yield owner
        return
    request = StopRequest()
    before = {}
    if threading.current_thread() is threading.main_thread():
        known = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
        before = {each: signal.getsignal(each) for each in known if signal.getsignal(each) is not None}
    try:
        for each in before:
            signal.signal(each, request.take)
        yield request
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
