"""The `whatwhere` command: picks the verb, and turns errors into messages and exit statuses."""

import os
import sys
from collections.abc import Sequence

import tyro

from whatwhere.cli.cells import Cells
from whatwhere.cli.compare import Compare
from whatwhere.cli.pack import Pack
from whatwhere.cli.plan import Plan
from whatwhere.cli.report import Report
from whatwhere.cli.reproduce import Reproduce
from whatwhere.cli.shards import Shards
from whatwhere.errors import Stopped, WhatwhereError
from whatwhere.files import way_out

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    0 when it did what it was asked to; 2 for a mistake the user can mend, with the message on standard error and no
    traceback; 75 when a signal stopped a training that the same command will continue, so that a scheduler can requeue
    it; 130 after Ctrl-C. A failure of the program itself keeps its traceback.
    """
    command = tyro.cli(
        Compare | Reproduce | Cells | Report | Plan | Pack | Shards,
        prog="whatwhere",
        description="Attention gates for convolutional networks: what to look at, and where.",
        args=arguments,
        config=(tyro.conf.OmitSubcommandPrefixes,),
    )
    try:
        return int(command.run())
    except WhatwhereError as error:
        _tell(str(error))
        return 75 if isinstance(error, Stopped) else 2
    except OSError as error:
        fix = way_out(error)
        if error.errno is None or not fix:
            raise
        rule = f"{type(command).__name__.lower()}: {os.strerror(error.errno).lower()}"
        fix = f"{fix}, then run the same command again; what is finished is kept"
        _tell(str(WhatwhereError(rule, got=str(error.filename or ""), fix=fix)))
        return 2
    except KeyboardInterrupt:
        _tell("stopped; run the same command again to go on")
        return 130


def _tell(message: str) -> None:
    """On standard error; of several processes that train together, the first speaks for all."""
    if os.environ.get("RANK", "0") == "0":
        print(message, file=sys.stderr)
