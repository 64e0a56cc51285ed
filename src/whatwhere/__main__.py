"""``python -m whatwhere``: the same as the ``whatwhere`` command."""

import sys

from whatwhere.cli.main import main

sys.exit(main())
