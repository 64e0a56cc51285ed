"""One build in a process of its own, so that a library that cannot be loaded takes nobody's process with it."""

import json
import sys

__all__ = ["main"]


def main(arguments: str) -> None:
    """Have torch's loader compile, link and load; ``arguments`` are its own, as JSON.

    Raises:
        Exception: whatever torch says, the compiler's output included.
    """
    from torch.utils.cpp_extension import load

    import whatwhere.ops.operators  # noqa: F401  what the library implements is checked against their schemas

    load(**json.loads(arguments), is_python_module=False)


if __name__ == "__main__":
    main(sys.argv[1])
