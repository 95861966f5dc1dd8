"""Runs a command that may bind no TCP port: `python tests/hosts/portless.py COMMAND…`; landlock(7), LANDLOCK_ACCESS_NET_BIND_TCP."""

from __future__ import annotations

import ctypes
import os
import struct
import sys

from dockerlab.linux import capabilities, syscalls

ABI = 4
_BIND_TCP, _REFER = 1, 1 << 13


def restrict() -> None:
    """Leaves this process, and all that it starts, no way to bind a TCP port. Raises OSError."""
    capabilities.no_new_privileges()
    attributes = struct.pack("QQ", _REFER, _BIND_TCP)
    rules, root = syscalls.raw("landlock_create_ruleset", ctypes.c_char_p(attributes), len(attributes), 0), os.open("/", os.O_PATH)
    # Below a later rule on files this one forbids to move them between folders, whether or not it speaks of that, unless it allows it.
    syscalls.raw("landlock_add_rule", rules, 1, ctypes.c_char_p(struct.pack("=Qi", _REFER, root)), 0)
    syscalls.raw("landlock_restrict_self", rules, 0)
    os.close(root)
    os.close(rules)


if __name__ == "__main__":
    restrict()
    os.execvp(sys.argv[1], sys.argv[1:])
