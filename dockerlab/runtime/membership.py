"""What a container's monitor does about its networks: it asks the switch for them at each start, keeps them, and gives them back."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import time
import zlib
from typing import TYPE_CHECKING, Any

from dockerlab.linux import loopback
from dockerlab.runtime.hostfiles import hosts, with_servers
from dockerlab.runtime.network import NetworkFailed, NetworkLease, SwitchGone
from dockerlab.store.files import first_time

if TYPE_CHECKING:
    from dockerlab.runtime.monitor import Monitor

__all__ = ["Membership"]


_RETRY = 5.0  # seconds


class Membership:
    """The networks of one container, and the socket that stands for its port; nothing where it has the host's, none, or another container's."""

    def __init__(self, monitor: Monitor, request: dict[str, Any]) -> None:
        self._monitor, self._launcher, self._activation = monitor, -1, request.get("activation")
        self.plan: dict[str, Any] | None = request.get("networks")
        if self.plan:
            with contextlib.suppress(OSError):  # its number may be somebody else's by the time that a switch is needed
                self._launcher = os.pidfd_open(os.getppid())
        self._lease: NetworkLease | None = None
        self._namespace = -1
        self._asked = False
        self._again = 0.0  # when to ask once more for what was lost
        self.facts: dict[str, dict[str, Any]] = {}
        self._had: dict[str, dict[str, Any]] = {}
        self.ports: list[list[Any]] = []

    def held(self) -> list[int]:
        """Gives the descriptors that are this process's alone."""
        return [*([self._lease.fileno()] if self._lease else []), *(descriptor for descriptor in (self._namespace, self._launcher) if descriptor >= 0)]

    def open(self) -> None:
        """Finds the switch, and listens where a socket stands for the port, before the program's parent is there; raises NetworkFailed."""
        self._find()
        if not self._activation:
            return
        try:
            self._monitor.streams.activation = loopback.listening(self._activation["path"]).detach()
        except OSError as error:
            why = "port is already allocated" if error.errno == errno.EADDRINUSE else (error.strerror or str(error)).lower()
            who = f"{self._monitor.about['name']} ({self._monitor.folder.name})"
            raise NetworkFailed(f"driver failed programming external connectivity on endpoint {who}: Bind for 0.0.0.0:{self._activation['port'][1]} failed: {why}") from error

    def _find(self) -> None:
        if self.plan and self._lease is None:
            self._lease = NetworkLease(self.plan["switch"], self._launcher)

    def introduce(self, sync: socket.socket) -> None:
        """In the parent: shows the supervisor the namespace that it has just made."""
        if self.plan:
            descriptor = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            socket.send_fds(sync, [b'{"namespace": true}'], [descriptor])
            os.close(descriptor)

    def meet(self, namespace: int) -> None:
        """Asks the switch to bring the container into its networks, and does not wait: meanwhile the container is built."""
        self._namespace = namespace
        try:
            self._ask_for_all((namespace,))
        except SwitchGone:  # `settle` asks another one
            self._drop()

    def _ask_for_all(self, descriptors: tuple[int, ...], *, again: bool = False) -> None:
        if self.plan is None or self._lease is None:
            return
        networks = [{**wanted, "prefer": self._had.get(wanted["id"], {}).get("ip", "")} for wanted in self.plan["networks"]]
        who = {"container": self._monitor.folder.name, "name": self._monitor.about["name"]}
        self._asked = True
        self._lease.send({"do": "attach", **who, **{key: self.plan[key] for key in ("ports", "links", "dns", "resolve")}, "networks": networks, "again": again}, descriptors)

    def settle(self) -> None:
        """Waits for the answer, and lets the container's files say what came of it; raises NetworkFailed."""
        if self.plan is None:
            return
        self._learn(self._obtained())
        for ident in self.facts:
            self._tell("connect", ident)

    def _obtained(self, *, again: bool = False) -> dict[str, Any]:
        """Gives the switch's answer, of the next one where this one is killed meanwhile; raises NetworkFailed."""
        for attempt in range(5):
            try:
                self._find()
                if not self._asked:
                    self._ask_for_all((self._namespace,) if self._namespace >= 0 else (), again=again or attempt > 0)
                self._asked = False
                if self._lease:
                    return self._lease.receive()
            except SwitchGone:
                self._drop()
                time.sleep(0.02 * (attempt + 1))
        raise NetworkFailed("the switch of this engine's networks is killed again and again")

    def _learn(self, answer: dict[str, Any]) -> None:
        plan = self.plan or {}
        self.facts = self._had = {each["network"]: each for each in answer["endpoints"]}
        self.ports = answer["ports"]
        for note in answer["notes"]:
            # It is the host's, and so the same for every container.
            if first_time(self._monitor.folder.parent.parent, f"network-{zlib.crc32(note.encode()):08x}"):
                self._monitor.tell_once(note, note)
        gateway = next((each["gateway"] for each in answer["endpoints"] if each["gateway"]), "")
        etc, hostname = plan["etc"], plan["hostname"]
        own = [(each["ip"], [hostname]) for each in answer["endpoints"]] if self._namespace >= 0 else []
        self._write("hosts", hosts([*(tuple(each) for each in etc["extra"]), *(tuple(each) for each in etc["linked"]), *own], gateway=answer["host"] or gateway))
        if answer["resolver"]:
            self._write("resolv.conf", with_servers(etc["resolver"], ["127.0.0.11"], inner=True))

    def _write(self, name: str, text: str) -> None:
        """Writes a file that is bound into the container in place, so that it is seen there."""
        with contextlib.suppress(FileNotFoundError):
            with open(self._monitor.folder / name, "r+", encoding="utf-8") as file:
                file.write(text)
                file.truncate()
            self._monitor.luggage.lay_again(f"/etc/{name}")

    def state(self) -> dict[str, Any]:
        """Gives what the container's state says of it."""
        return {"networks": {each["name"]: each for each in self.facts.values()}, "ports": [*self.ports, *([self._activation["port"]] if self._activation else [])]}

    def watch(self) -> None:
        """Learns from now on when the switch goes."""
        if self._lease:
            self._monitor.attend(self._lease.fileno(), self._lost)

    def _lost(self) -> None:
        """The switch was killed: another one gives the container what it had, as far as nobody else has it by then."""
        self._drop()
        try:
            self._learn(self._obtained(again=True))
        except (NetworkFailed, OSError) as error:
            self._drop()
            self.facts, self.ports = {}, []
            self._again = time.monotonic() + _RETRY
            self._monitor.tell_once("networks", f"the container has lost its networks, which are asked for again and again: {error}")
        else:
            self._again = 0.0
            self.watch()
        self._monitor.note_networks()

    def look(self) -> None:
        """Asks once more for networks that were lost."""
        if self._again and time.monotonic() > self._again:
            self._lost()

    def _drop(self) -> None:
        if self._lease:
            self._monitor.neglect(self._lease.fileno())
            self._lease.close()
            self._lease = None
        self._asked = False

    def obey(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """Connects to a network, or disconnects from one, or bears another name; gives what is told to who asked."""
        if self.plan is None:
            return {"failed": "container has no networks of its own"}
        if self._namespace < 0 and "rename" not in wanted:  # it has none this moment, or never: what is wanted holds from its next start on
            rest = [each for each in self.plan["networks"] if each["id"] != wanted.get("disconnect")]
            self.plan["networks"] = [*rest, *([wanted["connect"]] if "connect" in wanted else [])]
            return {}
        try:
            if self._lease is None and self._namespace >= 0:
                self._lost()
            self._find()
            if self._lease is None:
                return {}
            if "rename" in wanted:
                self._lease.ask({"do": "rename", "name": wanted["rename"]})
                return {}
            if "connect" in wanted:
                self._learn(self._lease.ask({"do": "connect", "network": wanted["connect"]}))
                self.plan["networks"].append(wanted["connect"])
                self._tell("connect", wanted["connect"]["id"])
            else:
                ident = wanted["disconnect"]
                self._tell("disconnect", ident)
                self._learn(self._lease.ask({"do": "disconnect", "network": ident}))
                self.plan["networks"] = [each for each in self.plan["networks"] if each["id"] != ident]
        except NetworkFailed as error:
            return {"failed": str(error)}
        self._monitor.note_networks()
        return {}

    def part(self) -> None:
        """Gives everything back at the program's end: who waits for that may want the same ports at once."""
        if self._lease is None:
            return
        self._monitor.neglect(self._lease.fileno())
        for ident in self.facts:
            self._tell("disconnect", ident)
        try:
            self._lease.ask({"do": "detach"})
        except NetworkFailed:
            self._drop()
        if self._namespace >= 0:
            os.close(self._namespace)
        self._namespace, self.facts, self.ports, self._again = -1, {}, [], 0.0

    def _tell(self, action: str, ident: str) -> None:
        monitor = self._monitor
        if self.facts.get(ident):
            monitor.journal.note("network", action, ident, {"container": monitor.folder.name, "name": self.facts[ident]["name"], "type": "bridge"})
