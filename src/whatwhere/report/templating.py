"""What every page shares: the templates, and a policy that lets no script run but the page's own."""

import base64
import hashlib
import json
import re
from functools import cache
from typing import Any

__all__ = ["as_data", "as_unicode", "digest", "jinja", "source"]

_SURROGATES = re.compile("[\ud800-\udfff]")
# Okabe and Ito's eight colours are all there are; further arms get them again with broken lines.
_COLOURS = 8


@cache
def jinja() -> Any:
    """Jinja's templates, compiled once a process; every text that is put into them is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("whatwhere.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(mark=_mark)
    return environment


def source(*names: str) -> str:
    """The text of these files from the templates' folder, one after the other."""
    environment = jinja()
    return "".join(environment.loader.get_source(environment, name)[0] for name in names)


def digest(script: str) -> str:
    """What the page's policy knows its script by: SHA-256 in base64."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def as_data(values: Any) -> str:
    """Plain values as JSON that may stand inside a script element."""
    text = json.dumps(values, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def as_unicode(text: str) -> str:
    """A text that can be written as UTF-8: what a file's name has beside that becomes a replacement character."""
    return _SURROGATES.sub("\N{REPLACEMENT CHARACTER}", text)


def _mark(arm: int) -> str:
    """The classes that give an arm its colour and its dashes."""
    return f"c{arm % _COLOURS} d{min(arm // _COLOURS, 3)}"
