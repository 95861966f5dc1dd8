"""`docker exec`: one program more in a container that runs, seen through by a process that the container's monitor forks.

The monitor forks it, and not the launcher: a later launcher lives in another user namespace than the container, and may not enter its neighbour's (setns(2)).
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

from dockerlab.linux import cgroups, syscalls
from dockerlab.oci.config import env_map, env_words
from dockerlab.oci.runtime import Capabilities
from dockerlab.runtime.detaching import Keys
from dockerlab.runtime.failing import told
from dockerlab.runtime.streams import Person
from dockerlab.runtime.supervisor import Supervisor

if TYPE_CHECKING:
    from dockerlab.runtime.monitor import Monitor

__all__ = ["Execution"]


class Execution(Supervisor):
    """Runs in a child of the monitor. `wanted` names the program: args, env, cwd, user, capabilities, terminal, and which streams are attached."""

    def __init__(self, monitor: Monitor, wanted: dict[str, Any], connection: socket.socket, descriptors: list[int], ident: str) -> None:
        _let_go({0, 1, 2, connection.fileno(), *descriptors})
        connection.settimeout(None)
        sets = Capabilities(**{name: tuple(words) for name, words in wanted["capabilities"].items()})
        env = env_words({**env_map(monitor.request.get("variables", ())), **env_map(wanted["env"])})
        process = msgspec.structs.replace(
            monitor.spec.process, args=tuple(wanted["args"]), env=env, cwd=wanted["cwd"], capabilities=sets, terminal=wanted["terminal"]
        )
        request = {**monitor.request, **wanted, "joins": True, "explain": False, "init": False, "fresh": (), "owned": True, "once": True}
        given = dict(zip(wanted["attach"], descriptors, strict=False))
        keys = Keys(wanted["keys"]) if wanted.get("keys") and wanted["terminal"] and "stdin" in given else None
        super().__init__(monitor.folder, msgspec.structs.replace(monitor.spec, process=process), request, connection, Person(given, keys=keys), None)
        self._container, self._monitor, self._ident = monitor.program, monitor, ident

    def run(self) -> NoReturn:
        """Sees the program through."""
        code = 126
        try:
            self.become()
            group = self.request.get("cgroup", "")
            begun = self.begin(cgroups.folders(group) if group else [])
            if failure := begun.failure:
                self.say({"failed": failure["message"], "code": 126})
            else:
                self.say_started()
                code = self.watch(begun)
                self._monitor.tell("exec_die", execID=self._ident, exitCode=str(code))
                self.say({"exit": code})
        except OSError as error:
            self.say({"failed": told(f"{error.filename or ''}: {error.strerror}".removeprefix(": ")), "code": code})
        finally:
            os._exit(0)

    def enter(self, kinds: int) -> None:
        """Joins the container's namespaces."""
        container = os.pidfd_open(self._container)
        try:
            syscalls.setns(container, kinds)
        finally:
            os.close(container)


def _let_go(kept: set[int]) -> None:
    """Closes every descriptor but those: what is the monitor's stays the monitor's."""
    low = 0
    for descriptor in (*sorted(kept), os.sysconf("SC_OPEN_MAX")):
        if low < descriptor:  # an empty range from 0 on would be taken for all there are
            os.closerange(low, descriptor)
        low = descriptor + 1
