"""One family of exceptions: the rule that was broken, what was got, the closest names, the fix."""

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = [
    "AttachError",
    "DataError",
    "GateError",
    "HostError",
    "KernelError",
    "RunError",
    "Stopped",
    "WhatwhereError",
    "closest",
    "first_line",
]


def closest(name: str, known: Iterable[str], most: int = 3) -> tuple[str, ...]:
    """The known names that look most like ``name``, best first; empty when nothing comes near."""
    known = list(dict.fromkeys(known))
    by_lower = {word.lower(): word for word in known}
    return tuple(by_lower[match] for match in get_close_matches(name.lower(), by_lower, most, cutoff=0.5))


def first_line(error: BaseException) -> str:
    """The first line of what another library says, which may go on for pages or say nothing."""
    return str(error).strip().partition("\n")[0]


class WhatwhereError(Exception):
    """A mistake the caller can mend.

    Args:
        rule: the call as the user wrote it, a colon, and the rule it broke, in plain words.
        got: the offending values or shapes.
        closest: names that look like the unknown one.
        fix: what to do instead.

    The text is ``rule`` on the first line, then one indented ``got:``, ``closest:`` and ``fix:`` line each, as given.
    """

    def __init__(self, rule: str, *, got: str = "", closest: Iterable[str] = (), fix: str = "") -> None:
        self.rule, self.got, self.closest, self.fix = rule, got, tuple(closest), fix
        lines = [rule]
        if got:
            lines.append(f"  got: {got}")
        if self.closest:
            lines.append("  closest: " + ", ".join(repr(name) for name in self.closest))
        if fix:
            lines.append(f"  fix: {fix}")
        super().__init__("\n".join(lines))

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.rule, self.got, self.closest, self.fix)


def _rebuild(kind: type[WhatwhereError], rule: str, got: str, near: tuple[str, ...], fix: str) -> WhatwhereError:
    return kind(rule, got=got, closest=near, fix=fix)


class GateError(WhatwhereError, ValueError):
    """A gate that cannot be built, or an input it cannot take."""


class AttachError(WhatwhereError, ValueError):
    """Gates that cannot be put into, read from or taken out of a host."""


class HostError(WhatwhereError, ValueError):
    """A network that cannot be named or built."""


class KernelError(WhatwhereError, RuntimeError):
    """Kernels that cannot be built, loaded or run here."""


class DataError(WhatwhereError, ValueError):
    """Images, labels or files that cannot be read as what they claim to be."""


class RunError(WhatwhereError, RuntimeError):
    """A training or an experiment that cannot start or go on."""


class Stopped(RunError):
    """A run that was asked to end, by SIGTERM or SIGUSR1, and did: nothing is lost, and the same call goes on."""
