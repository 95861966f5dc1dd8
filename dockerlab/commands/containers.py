"""Verbs on containers."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from dockerlab.commands import ports
from dockerlab.commands.call import Call, Outcome
from dockerlab.commands.columns import ellipsis, human_duration, human_size3
from dockerlab.commands.each import attempts, told
from dockerlab.commands.explanation import Explanation
from dockerlab.commands.filters import TRUTH, labelled, named, passes
from dockerlab.commands.following import quietly
from dockerlab.commands.go_text import NIL, quoted
from dockerlab.commands.options import noted, run_options, streams
from dockerlab.commands.rows import Rows, Text, ago, moment
from dockerlab.engine.containers import Attach, Container
from dockerlab.engine.drafts import as_dockerfile
from dockerlab.errors import Detached, InvalidArgument, InvalidRequest, NotFound
from dockerlab.oci import dates
from dockerlab.oci.reference import Reference
from dockerlab.runtime.detaching import DEFAULT
from dockerlab.runtime.world import Session
from dockerlab.store.containers import State
from dockerlab.store.volumes import volume_name

__all__ = ["CONTAINER_HEADS", "commit", "container_row", "create", "diff", "export", "ps", "rm", "run", "start"]


def _made(call: Call) -> Container:
    image = call.args[0]
    if not re.fullmatch("[0-9a-f]{64}", image):
        Reference.parse(image)
    if call.flag("quiet"):
        call.engine.follow = quietly
    return call.engine.containers.create(image, call.args[1:], run_options(call))


def create(call: Call) -> Outcome:
    """docker create."""
    with noted(call) as note:
        container = _made(call)
        note(container.id)
    call.out(container.id)
    return Outcome(container)


def run(call: Call) -> Outcome:
    """docker run."""
    if call.flag("tty") and call.flag("interactive") and not call.flag("detach"):
        call.surface.check_terminal()
    if call.flag("attach") and call.flag("detach"):
        raise InvalidArgument("conflicting options: cannot specify both --attach and --detach", hint="a container in the background has nobody at it")
    with noted(call) as note:
        container = _made(call)
        note(container.id)
    if not {"network", "net"} & call.parsed.given and not call.engine.capabilities.namespaces and call.engine.first_time("network"):
        call.surface.note("this host gives containers no network of their own: they share this machine's, and a port that is published leads to the same port of this machine")
    if call.flag("detach"):
        try:
            container.start(detach=True).close()
        finally:
            call.out(container.id)
        return Outcome(container)
    wanted = Attach(*(number if name in streams(call) else None for number, name in enumerate(("stdin", "stdout", "stderr"))))
    code = _begun(call, container, wanted, tty=call.flag("tty"), proxy=call.flag("sig-proxy"))
    if idle := container.record.host.get("idle"):
        call.surface.note(f"as foretold: {idle} did not act as a set-uid program here, and would have on other hosts")
    if call.flag("explain"):
        call.surface.aside(Explanation(container.explained()))
        if call.flag("rm"):
            container.remove(volumes=True)
    return Outcome(exit_code=code)


def _begun(call: Call, container: Container, wanted: Attach, *, tty: bool, proxy: bool = True) -> int:
    """Starts a container with its streams here; gives its exit code, 0 where its person let go of it."""
    keys = call.flag("detach-keys") or DEFAULT

    def start(given: Attach) -> Session:
        return (container.attach if container.state.status == "running" else container.start)(given, keys=keys)

    try:
        return call.surface.attached(start, wanted, interactive=tty, name=container.name, proxy=proxy)
    except Detached:
        return 0


def start(call: Call) -> Outcome:
    """docker start."""
    if call.flag("attach") or call.flag("interactive"):
        if len(call.args) > 1:
            raise InvalidArgument("you cannot start and attach multiple containers at once", hint="start them one by one, or without -a")
        container = call.engine.containers.get(call.args[0])
        tty = container.record.host["tty"]
        if tty and call.flag("interactive"):
            call.surface.check_terminal()
        return Outcome(exit_code=_begun(call, container, Attach(0 if call.flag("interactive") else None, 1, 2), tty=tty))

    def begin(name: str) -> None:
        container = call.engine.containers.get(name)
        if container.state.status not in ("running", "restarting"):
            container.start(detach=True).close()
        call.out(name)

    failed = attempts(begin, call.args)
    code = told(call, failed)
    if failed:
        call.surface.err(f"Error: failed to start containers: {', '.join(failed)}\n")
    return Outcome(exit_code=code)


def rm(call: Call) -> Outcome:
    """docker rm."""

    def remove(name: str) -> None:
        call.engine.containers.get(name).remove(force=call.flag("force"), volumes=call.flag("volumes"))
        call.out(name)

    return Outcome(exit_code=told(call, attempts(remove, call.args), forgive=call.flag("force")))


def _status(state: State) -> str:
    if state.status == "created":
        return "Created"
    if state.running:
        health = "" if state.health is None else state.health["Status"].replace("starting", "health: starting")
        mark = "Paused" if state.status == "paused" else health
        return "Up " + ago(state.started).removesuffix(" ago") + (f" ({mark})" if mark else "")
    how = "Restarting" if state.alive else "Exited"
    when = human_duration(max((dates.moment(_now()) - dates.moment(state.finished)).total_seconds(), 0)) if state.finished else "some time"
    return f"{how} ({state.exit_code}) {when} ago"


def _now() -> str:
    from dockerlab.engine.images import now

    return now()


CONTAINER_HEADS = {"ID": "CONTAINER ID", "Image": "IMAGE", "Command": "COMMAND", "RunningFor": "CREATED", "Status": "STATUS", "Ports": "PORTS", "Names": "NAMES",
       "CreatedAt": "CREATED AT", "State": "STATE", "Size": "SIZE", "Labels": "LABELS", "Mounts": "MOUNTS", "Networks": "NETWORKS", "LocalVolumes": "LOCAL VOLUMES"}  # fmt: skip


_RAW = (
    "container_id: {{.ID}}\nimage: {{.Image}}\ncommand: {{.Command}}\ncreated_at: {{.CreatedAt}}\nstate: {{- pad .State 1 0}}\nstatus: {{- pad .Status 1 0}}\n"
    "names: {{.Names}}\nlabels: {{- pad .Labels 1 0}}\nports: {{- pad .Ports 1 0}}\n"
)


def container_row(container: Container, state: State, full: bool) -> dict[str, Any]:
    """Gives one line of `ps`, without a size."""
    command = " ".join([container.record.path, *(f"'{word}'" if " " in word else word for word in container.record.args)])
    labels, wanted = container.record.config.get("Labels", {}), [word["name"] for word in container.record.host.get("networks", ())]
    mounted = [(volume_name(Path(mount["source"])), mount["source"]) for mount in container.record.host["mounts"]]
    return {
        "ID": container.id if full else container.short_id, "Image": container.record.image, "Command": quoted(command if full else ellipsis(command, 20)),
        "RunningFor": ago(container.record.created), "Status": _status(state), "Ports": ports.column(container, state), "Names": container.name,
        "CreatedAt": moment(container.record.created), "State": state.status, "Size": "0B", "Labels": ",".join(f"{k}={v}" for k, v in labels.items()),
        "Mounts": ",".join(name or source for name, source in mounted), "Networks": ",".join(sorted({*state.networks, *wanted})),
        "LocalVolumes": str(sum(bool(name) for name, _ in mounted)), "Platform": NIL, "Label": lambda name: labels.get(name, ""),
    }  # fmt: skip


def ps(call: Call) -> Outcome:
    """docker ps."""
    tests = [_test(call, word) for word in call.flag("filter")]
    every = call.flag("all") or call.flag("last") > 0 or call.flag("latest") or any(n == "status" for n, _ in tests)
    found = call.engine.containers.list(all=every)
    found = [c for c in found if passes(tests, partial(_passes, c))]
    count = 1 if call.flag("latest") else call.flag("last")
    found = found[:count] if count > 0 else found
    rows = [container_row(c, c.state, call.flag("no-trunc")) for c in found]
    if call.flag("size") or ".Size" in call.flag("format"):
        for row, container in zip(rows, found, strict=True):
            row["Size"] = _size(container)
    default = "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}" + ("\t{{.Size}}" if call.flag("size") else "")
    shown = "{{.ID}}" if call.flag("quiet") else call.flag("format")
    return Outcome(Rows(rows, CONTAINER_HEADS, default=default, format=shown, caption=f"containers: {len(rows)}", raw=_RAW + "size: {{.Size}}\n" * call.flag("size")))


def _size(container: Container) -> str:
    try:
        own, whole = container.size()
    except NotFound:  # its image is gone
        return "0B"
    return f"{human_size3(own)} (virtual {human_size3(whole)})"


_STATES = ("created", "running", "paused", "restarting", "removing", "exited", "dead")
_TESTS = ("ancestor", "before", "exited", "expose", "health", "id", "is-task", "isolation", "label", "name", "network", "publish", "since", "status", "volume")


def _test(call: Call, word: str) -> tuple[str, str]:
    name, _, value = word.partition("=")
    if name not in _TESTS:
        raise InvalidRequest(f"Invalid filter '{name}'", hint=f"filter by {', '.join(_TESTS)}")
    if name in ("before", "since"):
        try:
            return name, call.engine.containers.get(value).record.created
        except NotFound as error:
            raise NotFound(f"no such container {value}", hint=error.hint) from None
    if name in ("expose", "publish"):
        ports.span(value, name)
    if name == "exited" and not re.fullmatch("[+-]?[0-9]+", value):
        raise InvalidRequest(f'Invalid filter \'exited={value}\': strconv.Atoi: parsing "{value}": invalid syntax', hint="write a number")
    if name == "is-task" and value not in TRUTH:
        raise InvalidRequest(f"Invalid filter 'is-task={value}'", hint="write true or false")
    if name == "health" and value not in ("none", "starting", "healthy", "unhealthy"):
        raise InvalidRequest(f"Unrecognised filter value for health: {value}", hint="name none, starting, healthy or unhealthy")
    if name == "status" and value not in _STATES:
        raise InvalidRequest(f"Invalid filter 'status={value}'", hint=f"name one of {', '.join(_STATES)}")
    return name, value


def _passes(container: Container, name: str, value: str) -> bool:
    state = container.state
    if name == "label":
        return labelled(container.config.labels, value)
    if name in ("expose", "publish"):
        return bool(ports.numbers(container, state, name) & ports.span(value, name))
    if name == "network":
        return _in_network(container, state, value)
    if name == "volume":
        return any(value.rstrip("/") in (mount["target"].rstrip("/"), mount["source"], Path(mount["source"]).parent.name) for mount in container.record.host["mounts"])
    if name == "health":
        return (state.health["Status"] if state.health else "none") == value
    checks = {
        "before": container.record.created < value, "since": container.record.created > value,
        "name": named(value, container.name, f"/{container.name}"), "id": named(value, container.id),
        "status": state.status == value, "exited": state.status == "exited" and str(state.exit_code) == value.lstrip("+"), "is-task": not TRUTH.get(value), "isolation": value in ("default", ""),
        "ancestor": value in (container.record.image, container.record.image_id) or container.record.image_id.partition(":")[2].startswith(value),
    }  # fmt: skip
    return checks[name]


def _in_network(container: Container, state: State, value: str) -> bool:
    there = {facts["name"]: facts["network"] for facts in state.networks.values()} or dict.fromkeys((word["name"] for word in container.record.host.get("networks", ())), "")
    return any(value == name or (ident and ident.startswith(value)) for name, ident in there.items())


def diff(call: Call) -> Outcome:
    """docker diff."""
    container = call.engine.containers.get(call.args[0])
    if call.flag("as-dockerfile"):
        return Outcome(Text(as_dockerfile(container).rstrip("\n")))
    from dockerlab.commands.columns import escape

    for change in container.diff():
        call.out(escape(str(change)))
    return Outcome()


def commit(call: Call) -> Outcome:
    """docker commit."""
    from dockerlab.commands.changes import changed

    name = call.args[1] if len(call.args) > 1 else ""
    if name:
        Reference.parse(name)
    container = call.engine.containers.get(call.args[0])
    config = changed(container.config, call.flag("change")) if call.flag("change") else None
    with _paused(container) if call.flag("pause") else contextlib.nullcontext():
        image = container.commit(name, author=call.flag("author"), message=call.flag("message"), config=config)
    call.out(image.id)
    return Outcome(image)


@contextlib.contextmanager
def _paused(container: Container) -> Iterator[None]:
    """Holds a running container still, so that what is written together is seen together."""
    if container.state.status != "running":
        yield
        return
    container.pause()
    try:
        yield
    finally:
        with contextlib.suppress(InvalidRequest):
            container.unpause()


def export(call: Call) -> Outcome:
    """docker export."""
    container = call.engine.containers.get(call.args[0])
    if not call.flag("output"):
        container.export(call.surface.binary())
        return Outcome()
    path = call.folder / call.flag("output")
    try:
        with open(path, "wb", opener=partial(os.open, mode=0o600)) as file:
            container.export(file.fileno())
    except OSError as error:
        why = f"stat {Path(call.flag('output')).parent}: {(error.strerror or '').lower()}"
        raise InvalidArgument(f"failed to export container: invalid output path: {why}", hint="make the folder first, or choose another") from error
    return Outcome()
