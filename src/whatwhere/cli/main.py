"""The `whatwhere` command: picks the verb, and turns errors into messages and exit statuses."""

import os
import sys
from collections.abc import Sequence

import tyro

from whatwhere.cli.compare import Compare
from whatwhere.cli.plan import Plan
from whatwhere.errors import WhatwhereError
from whatwhere.files import way_out

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    0 when it did what it was asked to; 2 for a mistake the user can mend, with the message on standard error and no
    traceback; 130 after Ctrl-C. A failure of the program itself keeps its traceback.
    """
    command = tyro.cli(
        Compare | Plan,
        prog="whatwhere",
        description="Attention gates for convolutional networks: what to look at, and where.",
        args=arguments,
        config=(tyro.conf.OmitSubcommandPrefixes,),
    )
    try:
        return int(command.run())
    except WhatwhereError as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        fix = way_out(error)
        if error.errno is None or not fix:
            raise
        rule = f"{type(command).__name__.lower()}: {os.strerror(error.errno).lower()}"
        fix = f"{fix}, then run the same command again; what is finished is kept"
        print(WhatwhereError(rule, got=str(error.filename or ""), fix=fix), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; run the same command again to go on", file=sys.stderr)
        return 130
