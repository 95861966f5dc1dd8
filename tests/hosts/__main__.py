"""Enters host shapes: `python -m tests.hosts SHAPE[,SHAPE…] [COMMAND…]`, as root. Without a command, a shell."""

from __future__ import annotations

import argparse
import os
import sys

from tests.hosts.room import Room, room, user
from tests.hosts.shapes import SHAPES, Shape, become

_PASSED_ON = ("DOCKERLAB_SOAK_ROUNDS", "DOCKERLAB_SERVER", "HYPOTHESIS_PROFILE", "PYTHONDONTWRITEBYTECODE", "SOURCE_DATE_EPOCH", "TERM")


def inside(where: Room, shape: Shape, command: list[str]) -> int:
    """Runs a command in a shape, in the room's copy of the project; `python` there is the room's. Gives the exit code."""
    uid, gid = user()
    home = where.home(shape, uid, gid)
    path = f"{where.python.parent}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
    environment = {"PATH": path, "HOME": str(home), "TMPDIR": str(home), "LANG": "C.UTF-8", "DOCKERLAB_SHAPE": shape.name, "DOCKERLAB_TIERS": "all"}
    environment |= {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    child = os.fork()
    if child == 0:
        try:
            become(shape, uid, gid)
            os.chdir(where.tree)
            os.execvpe(command[0], command, environment)
        except OSError as error:
            print(f"{command[0]}: {error}", file=sys.stderr)
        os._exit(127)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main() -> None:
    """Ends with the first exit code that is not 0, after all shapes had their turn."""
    parser = argparse.ArgumentParser(prog="python -m tests.hosts", description="\n".join(f"{s.name:13} {s.says}" for s in SHAPES.values()),
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("shapes", help="names with commas between them")
    parser.add_argument("--room", default="", help="a folder for the copy of the project that is kept and used again")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    chosen = parser.parse_args()
    if unknown := set(chosen.shapes.split(",")) - set(SHAPES):
        parser.error(f"no such shape: {', '.join(sorted(unknown))}; there are {', '.join(SHAPES)}")
    if os.geteuid():
        parser.error("only root can become other users")
    codes = []
    with room(chosen.room) as where:
        for name in chosen.shapes.split(","):
            print(f"== host shape: {name} ({SHAPES[name].says})", file=sys.stderr, flush=True)
            codes.append(inside(where, SHAPES[name], chosen.command or ["bash"]))
    sys.exit(next((code for code in codes if code), 0))


if __name__ == "__main__":
    main()
