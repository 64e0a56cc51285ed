"""How fast are the gates beside those of other libraries: peers, agreement, timing, memory, networks, tables."""
