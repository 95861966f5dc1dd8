"""One program more in a container that runs: `docker exec`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from dockerlab.engine.options import Attach, detach_keys
from dockerlab.errors import ContainerError, DockerlabError, ExecError, InvalidRequest
from dockerlab.oci.runtime import Spec
from dockerlab.runtime import control
from dockerlab.runtime.detaching import DEFAULT
from dockerlab.runtime.failing import told
from dockerlab.runtime.generate import environment, sets
from dockerlab.runtime.world import Session

if TYPE_CHECKING:
    from dockerlab.engine.container import Container

__all__ = ["ExecOptions", "ExecResult", "begin", "health_plan", "restarting", "unless_removed"]


@dataclass(frozen=True, slots=True)
class ExecOptions:
    """What `docker exec` may say beside container and command; names are docker's flags."""

    env: Mapping[str, str] = field(default_factory=dict)
    workdir: str = ""
    user: str = ""
    tty: bool = False
    detach_keys: str = DEFAULT


class ExecResult(NamedTuple):
    """What came of a program that ran to its end."""

    exit_code: int
    output: bytes


def restarting(container: Container) -> InvalidRequest:
    """Gives the error for a container that has no program this moment."""
    return InvalidRequest(f"Container {container.id} is restarting, wait until the container is running", hint=f"docker logs {container.name} tells why it ended")


@contextlib.contextmanager
def unless_removed(container: Container) -> Iterator[None]:
    """Raises InvalidRequest for whatever goes wrong in the block where somebody removed the container meanwhile."""
    try:
        yield
    except DockerlabError:
        if container.record.host.get("rm") or container.folder.exists():  # one of --rm goes with its failure, which is what has to be told
            raise
        raise InvalidRequest("container is marked for removal and cannot be started", hint="it was removed this moment") from None


def begin(container: Container, command: Sequence[str], chosen: ExecOptions, attach: Attach, *, detach: bool) -> Session:
    """Starts the program; raises InvalidRequest where the container does not run, ExecError (126) where the program cannot be started."""
    state = container.state
    if state.status == "paused":
        raise InvalidRequest(f"Container {container.name} is paused, unpause the container before exec", hint=f"docker unpause {container.name}")
    if state.status == "restarting":
        raise restarting(container)
    if state.status != "running":
        raise InvalidRequest(f"Container {container.id} is not running", hint=f"docker start {container.name}")
    given = attach.given()
    connection = control.call(container.folder, {"exec": _wanted(container, command, chosen, list(given), detach)}, list(given.values()), timeout=10)
    if connection is None:
        raise ExecError("the container's monitor does not answer", hint="it ended this moment, or its store lies on a file system without sockets")
    connection.settimeout(None)
    session = Session(connection)
    try:
        message = session.next()
    except BaseException:
        session.close()
        raise
    if "failed" in message or "exit" in message:
        session.close()
        raise ExecError(message.get("failed", told("the container has ended")).replace("failed to create task", "OCI runtime exec failed: exec failed", 1))
    return session


def health_plan(container: Container) -> dict[str, Any] | None:
    """Gives how the container's health is checked, in seconds and with the program as its monitor wants it; None where it is not."""
    config, check = container.config, container.config.healthcheck
    if check is None or not check.test or check.test[0] == "NONE":
        return None
    shell = config.shell or ("/bin/sh", "-c")
    command = (*shell, *check.test[1:]) if check.test[0] == "CMD-SHELL" else check.test[1:]
    return {
        "interval": (check.interval or 30 * 10**9) / 10**9, "timeout": (check.timeout or 30 * 10**9) / 10**9, "start_period": check.start_period / 10**9,
        "start_interval": (check.start_interval or 5 * 10**9) / 10**9, "retries": check.retries,
        "exec": _wanted(container, command, ExecOptions(), ["stdout", "stderr"], detach=False),
    }  # fmt: skip


def _wanted(container: Container, command: Sequence[str], chosen: ExecOptions, attached: list[str], detach: bool) -> dict[str, Any]:
    spec = Spec.decode((container.folder / "bundle" / "config.json").read_bytes())
    config, user = container.config, chosen.user or container.config.user
    if not chosen.workdir.startswith("/") and chosen.workdir:
        raise ExecError("OCI runtime exec failed: exec failed: Cwd must be an absolute path: unknown", hint=f"write -w /{chosen.workdir}")
    try:
        only_id = container.only_id(user)
    except ContainerError as error:
        raise ExecError(error.message) from None
    bounding = spec.process.capabilities.bounding if spec.process.capabilities else ()
    return {
        "args": list(command), "env": [*environment(config, spec.hostname, terminal=chosen.tty, more=chosen.env)], "cwd": chosen.workdir or config.working_dir or "/",
        "user": user, "capabilities": msgspec.to_builtins(sets(bounding, user)), "terminal": chosen.tty, "attach": attached, "detach": detach,
        "only_id": only_id, "keys": detach_keys(chosen.detach_keys),
    }  # fmt: skip
