"""One trial, one run: a claim is a file that only one of many can create, and that its holder keeps renewing.

Clocks of two machines are never compared. Whether a process of another machine lives is judged by the counter in its
claim: it rises every ten seconds, and one that stood still for a minute of the observer's own clock is dead.
"""

import json
import os
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal

from whatwhere.errors import RunError
from whatwhere.experiments.processes import describe_self, lives

__all__ = ["ClaimLost", "Held", "Observer", "State", "claim", "holder"]

# A counter rises so often, and is given up for dead after so long: a few missed beats are no death.
_BEAT_SECONDS = 10.0
_SILENCE_SECONDS = 60.0

State = Literal["gone", "alive", "dead", "unsure", "untold"]


class ClaimLost(RunError):
    """Another process took this one to be dead and has its trial now; it was suspended, perhaps."""


class Observer:
    """What one process saw of others' claims, and when, by its own clock.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[Path, tuple[object, float]] = {}
        self._rose: dict[Path, float] = {}

    def state(self, path: Path) -> State:
        """What a claim is.

        Returns:
            "gone"; "alive" or "dead"; "unsure" as long as it was not watched for long enough; "untold" for one of
            another machine without a counter, as the first release wrote them.
        """
        found = _read(path)
        if found is None:  # being written, or left so by a crash
            text = _text(path)
            return "gone" if text is None else self._watched(path, text)
        known = lives(found)
        if known is not None:
            return "alive" if known else "dead"
        return self._watched(path, (found.get("token"), found["beat"])) if "beat" in found else "untold"

    def _watched(self, path: Path, mark: object) -> State:
        now = self._clock()
        before, since = self._seen.get(path, (None, now))
        if mark != before:
            self._seen[path] = mark, now
            if before is not None and now - since <= _SILENCE_SECONDS:  # else it may have died after it rose
                self._rose[path] = now
        elif now - since > _SILENCE_SECONDS:
            return "dead"
        return "alive" if now - self._rose.get(path, -float("inf")) <= _SILENCE_SECONDS else "unsure"


class Held:
    """A claim of this process, renewed by a thread until the block that holds it ends."""

    def __init__(self, path: Path, token: str) -> None:
        self._path, self._token = path, token
        self._beats = 0
        self._lost = ""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="whatwhere claim", daemon=True)
        # Only the main thread can be interrupted from another; elsewhere the loss is told at the next `check`.
        self._main = threading.current_thread() is threading.main_thread()

    def check(self) -> None:
        """Whether the claim is still ours; reads a file.

        Raises:
            ClaimLost: it is not.
        """
        self._look()
        if self._lost:
            raise self._error()

    @contextmanager
    def kept(self) -> Iterator["Held"]:
        """Renews the claim while the block runs, and gives it back at the end.

        Raises:
            ClaimLost: in the block, at the first beat after the loss.
        """
        try:
            try:
                self._thread.start()
                yield self
            finally:
                self._over.set()
                self._thread.join()
                found = _read(self._path)
                if found is not None and found.get("token") == self._token:
                    self._path.unlink(missing_ok=True)
        except KeyboardInterrupt:
            if self._lost:
                raise self._error() from None
            raise

    def _renew(self) -> None:
        while not self._over.wait(_BEAT_SECONDS):
            try:
                with _locked(self._path) as file:
                    self._look()
                    if file is not None and not self._lost:
                        self._beats += 1
                        _write(file, self._token, self._beats)
            except FileNotFoundError:
                self._look()
            except OSError:  # the disk is full or away: the next beat may do better
                continue
            if self._lost:
                if self._main and hasattr(signal, "pthread_kill"):
                    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)  # ends a sleep, too
                return

    def _look(self) -> None:
        found = _read(self._path)
        if found is None or found.get("token") != self._token:
            self._lost = self._lost or (f"{_words(found)} has it" if found else f"{self._path.name} is gone")

    def _error(self) -> ClaimLost:
        return ClaimLost(
            f"'{self._path.parent}': this process has lost the trial, for it did not renew {self._path.name} in time",
            got=self._lost,
            fix="make the same call again: it leaves the trial to whoever has it, or goes on from the last checkpoint",
        )


@contextmanager
def claim(path: Path, observer: Observer | None = None) -> Iterator[Held | None]:
    """Hold ``path`` while the block runs; it is removed at the end, Ctrl-C and errors included.

    Yields the claim when it is ours, and None when somebody else has it (``holder`` says who). A dead process's is
    taken over: of this machine at once, of another machine or container when ``observer`` saw its counter stand still
    for a minute.

    Args:
        path: the claim's file, in a folder that exists.
        observer: what was seen before; None when nothing was.

    Raises:
        ClaimLost: others took this process to be dead while it was in the block.
        OSError: the claim cannot be written.
    """
    token = secrets.token_hex(8)
    if _create(path, token) or _take_over(path, token, observer or Observer()):
        with Held(path, token).kept() as held:
            yield held
    else:
        yield None


def holder(path: Path) -> str:
    """Who holds the claim, in words."""
    return _words(_read(path))


def _words(found: dict[str, object] | None) -> str:
    return f"process {found.get('pid')} on {found.get('machine')}" if found else "an unknown process"


def _create(path: Path, token: str) -> bool:
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return False
    with os.fdopen(handle, "wb") as file:
        _make_ours(path, file, token)
    return True


def _take_over(path: Path, token: str, observer: Observer) -> bool:
    """Make a dead process's claim ours, under a lock on the claim itself, so that of two that see it dead one gets it.

    Without locks, or the right to write, it is left to its holder; so is one whose holder was stopped in the middle of
    a beat, lock in hand: waiting for it could take for ever.
    """
    state = observer.state(path)
    if state == "gone":
        return _create(path, token)
    if state != "dead" or os.name != "posix":
        return False
    try:
        with _locked(path) as file:
            if file is None:
                return False
            if _same(file.fileno(), path):
                if observer.state(path) != "dead":
                    return False
                _make_ours(path, file, token)
                return True
    except FileNotFoundError:  # given up meanwhile
        pass
    return _create(path, token)


@contextmanager
def _locked(path: Path) -> Iterator[BinaryIO | None]:
    """The claim's file, open for writing, which network file systems want before they lock; None if it cannot be had.

    Raises:
        FileNotFoundError: there is none.
    """
    try:
        handle = os.open(path, os.O_RDWR)
    except PermissionError:  # somebody else's, on a folder that is shared
        yield None
        return
    with os.fdopen(handle, "r+b") as file:
        if not _lock(file):
            yield None
            return
        try:
            yield file
        finally:
            file.flush()
            _unlock(file)


def _lock(file: BinaryIO) -> bool:
    if os.name != "posix":
        return True  # nobody here takes claims over, so the holder is alone with its own
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # another has it, or a file system without locks
        return False
    return True


def _unlock(file: BinaryIO) -> None:
    """Closing the file is not enough: a child that was forked meanwhile keeps it open, and the lock with it."""
    if os.name == "posix":
        import fcntl

        fcntl.flock(file, fcntl.LOCK_UN)


def _make_ours(path: Path, file: BinaryIO, token: str) -> None:
    """Half a claim would keep everybody out for a while, so it is removed."""
    try:
        _write(file, token, 0)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _write(file: BinaryIO, token: str, beat: int) -> None:
    file.write(json.dumps({**describe_self(), "token": token, "beat": beat}).encode())
    file.truncate()
    file.flush()
    os.fsync(file.fileno())


def _same(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _read(path: Path) -> dict[str, object] | None:
    try:
        found = json.loads(_text(path) or "")
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _text(path: Path) -> str | None:
    """None when there is no such file."""
    try:
        return path.read_text(errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        return str(error)
