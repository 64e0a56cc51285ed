"""The command line: one file a verb, each of which parses, calls and prints."""

__all__: list[str] = []
