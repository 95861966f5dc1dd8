"""`engine.networks`: what networks there are, and who is in them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from dockerlab.engine.joining import endpoint, switch
from dockerlab.engine.names import refuse_lines
from dockerlab.errors import AlreadyExists, InUse, InvalidRequest, NotFound, NotSupportedHere
from dockerlab.linux.routes import reached
from dockerlab.runtime import control, network
from dockerlab.store.networks import Network, NetworkStore, checked

if TYPE_CHECKING:
    from dockerlab.engine import Engine
    from dockerlab.engine.container import Container
    from dockerlab.engine.system import Wanted

__all__ = ["Networks"]

class Networks:
    """All networks of an engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.store = NetworkStore(engine.home, reached)

    def list(self) -> list[Network]:
        """Gives all networks by name."""
        return self.store.all()

    def get(self, name: str) -> Network:
        """Gives a network by name, id or start of an id; raises NotFound."""
        return self.store.find(name)

    def create(
        self, name: str, *, driver: str = "bridge", subnet: str = "", gateway: str = "", ip_range: str = "", internal: bool = False, attachable: bool = False,
        labels: Mapping[str, str] | None = None, options: Mapping[str, str] | None = None,
    ) -> Network:  # fmt: skip
        """Makes a network; raises AlreadyExists, InvalidRequest, NotSupportedHere."""
        if name in ("bridge", "host", "none", "default"):
            raise InvalidRequest(f"operation is not permitted on predefined {name} network", hint="choose another name")
        if not name:
            raise AlreadyExists("network with name  already exists", kind="network", name=name, hint="name the network")
        if not name.strip():
            raise InvalidRequest(f"invalid name: {name}", hint="name the network")
        if driver in ("host", "null"):
            raise InvalidRequest(f'only one instance of "{driver}" network is allowed', hint="use the one that there is")
        if driver != "bridge":
            raise InvalidRequest(f'plugin "{driver}" not found', hint="dockerlab has the driver bridge")
        for option in options or {}:
            raise NotSupportedHere(f"the option {option} of a network is not supported here", reason="not done yet", hint="leave it out")
        net, way, part = checked(subnet, gateway, ip_range)
        return self.store.create(Network(
            id="", name=name, created="", subnet=net, gateway=way, ip_range=part, internal=internal, attachable=attachable, chosen=bool(net), labels=labels or {},
        ))  # fmt: skip

    def remove(self, name: str) -> None:
        """Removes a network that no running container is in; raises NotFound, InvalidRequest, InUse."""
        found = self.get(name)
        if found.built_in:
            raise InvalidRequest(f"{found.name} is a pre-defined network and cannot be removed")
        there = self.members(found)
        answer = None if there else self._forgotten(found)
        if there or (answer and answer.get("used")):
            by = there[0][0].name if there else ""
            raise InUse(
                f"error while removing network: network {found.name} id {found.id} has active endpoints", by=by, hint=f"docker network disconnect {found.name} {by or 'CONTAINER'}",
            )  # fmt: skip
        if answer is None:  # no network is up, and so none is about to be joined
            self.store.remove(found)
        elif "failed" in answer:
            raise InvalidRequest(answer["failed"])

    def _forgotten(self, found: Network) -> dict[str, Any] | None:
        """Has the switch remove a network; gives its answer, None where none runs. One that was killed meanwhile is followed by another, or by none."""
        for attempt in range(5):
            with suppress(network.SwitchGone):
                return network.call(switch(self._engine)["path"], {"do": "forget", "network": found.id})
            time.sleep(0.02 * (attempt + 1))
        raise InvalidRequest("the switch of this engine's networks does not answer", hint="try again")

    def prune(self, wanted: Wanted) -> Sequence[str]:
        """Removes the networks of which no running container is a member, and which are wanted gone; gives their names."""
        gone = []
        for each in self.list():
            if not each.built_in and wanted(each.labels, each.created):
                with suppress(InUse, NotFound):
                    self.remove(each.id)
                    gone.append(each.name)
        return gone

    def members(self, found: Network) -> Sequence[tuple[Container, dict[str, Any]]]:
        """Gives the running containers that are in a network, and what each has there."""
        every = self._engine.containers.list()
        return [(container, facts) for container in every for facts in container.state.networks.values() if facts["network"] == found.id]

    # Containers that are there

    def connect(self, name: str, container: Container, *, aliases: Sequence[str] = (), ip: str = "", links: Sequence[str] = ()) -> None:
        """Brings a container into a network, at once if it runs; raises NotFound, InvalidRequest."""
        refuse_lines("alias", aliases)
        found, host = self.get(name), container.record.host
        if found.name == "host" or host["network"] == "host":
            raise InvalidRequest("container cannot be disconnected from host network or connected to host network")
        if found.name == "none" or any(word["name"] == "none" for word in host.get("networks", ())):
            raise InvalidRequest("container cannot be connected to multiple networks with one of the networks in private (none) mode")
        if host["network"].startswith("container:"):
            raise InvalidRequest("container sharing network namespace with another container or host cannot be connected to any other network")
        word = {"name": found.name, "aliases": list(aliases), "ip": ip}
        state = container.state
        if state.alive and found.name in state.networks:
            raise InvalidRequest(f"endpoint with name {container.name} already exists in network {found.name}")
        asked = endpoint(self._engine, container, word)
        if found.built_in and aliases:
            raise InvalidRequest("network-scoped alias is supported only for containers in user defined networks")
        if state.alive:
            self._ask(container, {"connect": asked})
        self._keep(container, [*(w for w in host.get("networks", ()) if w["name"] not in (found.name, found.id)), word])

    def disconnect(self, name: str, container: Container, *, force: bool = False) -> None:
        """Takes a container out of a network, at once if it runs; raises NotFound, InvalidRequest."""
        host, state = container.record.host, container.state
        with suppress(NotFound):
            name = self.get(name).name
        words = host.get("networks", [])
        if host["network"] == "host":
            raise InvalidRequest("container cannot be disconnected from host network or connected to host network")
        if state.alive:
            # What the container has counts, also where somebody has removed the network's file meanwhile.
            ident = state.networks[name]["network"] if name in state.networks else self.get(name).id
            if name not in state.networks and name not in [word["name"] for word in words]:
                raise InvalidRequest(f"container {container.id} is not connected to network {name}")
            self._ask(container, {"disconnect": ident})
        elif name not in [word["name"] for word in words]:
            raise InvalidRequest(f"container {container.id} is not connected to the network {name}")
        self._keep(container, [word for word in words if word["name"] != name])

    def _keep(self, container: Container, words: Sequence[Mapping[str, Any]]) -> None:
        container.record = self._engine.container_store.revise(container.id, lambda record: msgspec.structs.replace(record, host={**record.host, "networks": [*words]}))

    @staticmethod
    def _ask(container: Container, what: dict[str, Any]) -> None:
        answer = control.ask(container.folder, {"network": what}, timeout=60)
        if answer and "failed" in answer:
            raise InvalidRequest(answer["failed"])

    def renamed(self, container: Container) -> None:
        """Has a running container found by its new name."""
        if container.state.alive and container.record.host.get("networks"):
            control.ask(container.folder, {"network": {"rename": container.name}}, timeout=10)
