"""`inspect`: everything about one thing, in docker's field names."""

from __future__ import annotations

from typing import Any

from dockerlab.commands.call import Call, Outcome
from dockerlab.commands.rows import Text, indented
from dockerlab.commands.template import Template
from dockerlab.engine.containers import Container
from dockerlab.engine.images import Image
from dockerlab.errors import InvalidArgument, NotFound
from dockerlab.oci.config import EMPTY_TIME, Healthcheck, RunConfig
from dockerlab.oci.reference import Reference

__all__ = ["inspect"]


def inspect(call: Call) -> Outcome:
    """docker inspect."""
    found: list[dict[str, Any]] = []
    missing = ""
    for name in call.args:
        try:
            found.append(_one(call, name))
        except NotFound:
            missing = missing or name
    if call.flag("format"):
        template = Template(call.flag("format").replace("\\t", "\t").replace("\\n", "\n")) if call.flag("format") != "json" else None
        for value in found:
            call.out(template.render(value) if template else Template("{{json .}}").render(value))
    if missing:
        if not call.flag("format"):
            call.out(indented(found))
        kind = call.flag("type") or "object"
        call.surface.err(f"Error: No such {kind}: {missing}\n")
        return Outcome(exit_code=1)
    return Outcome(None if call.flag("format") else Text(indented(found)))


def _one(call: Call, name: str) -> dict[str, Any]:
    kind = call.flag("type")
    if kind not in ("", "container", "image"):
        raise InvalidArgument(f'unknown type: "{kind}"', hint="name container or image")
    if kind != "image":
        try:
            return container_facts(call.engine.containers.get(name))
        except NotFound:
            if kind == "container":
                raise
    try:
        return image_facts(call.engine.images.get(name))
    except ValueError as error:
        raise NotFound(str(error)) from error


def _config(run: RunConfig, **facts: Any) -> dict[str, Any]:
    config: dict[str, Any] = {
        "Hostname": "", "Domainname": "", "User": run.user, "AttachStdin": False, "AttachStdout": False, "AttachStderr": False,
        **({"ExposedPorts": {k: {} for k in run.exposed_ports}} if run.exposed_ports else {}),
        "Tty": False, "OpenStdin": False, "StdinOnce": False, "Env": list(run.env) or None, "Cmd": _listed(run.cmd),
        **({"Healthcheck": _health(run.healthcheck)} if run.healthcheck else {}),
        "Image": "", "Volumes": {k: {} for k in run.volumes} or None, "WorkingDir": run.working_dir, "Entrypoint": _listed(run.entrypoint),
        "OnBuild": list(run.on_build) or None, "Labels": dict(run.labels) or None,
        **({"StopSignal": run.stop_signal} if run.stop_signal else {}), **({"Shell": list(run.shell)} if run.shell else {}),
    }  # fmt: skip
    return config | facts


def _listed(words: tuple[str, ...] | None) -> list[str] | None:
    return None if words is None else list(words)


def _health(check: Healthcheck) -> dict[str, Any]:
    names = {"Interval": check.interval, "Timeout": check.timeout, "StartPeriod": check.start_period, "StartInterval": check.start_interval, "Retries": check.retries}
    return {"Test": list(check.test), **{name: value for name, value in names.items() if value}}


def image_facts(image: Image) -> dict[str, Any]:
    """Gives an image's facts."""
    config = image.config
    references = [Reference.parse(name) for name in image.record.names]
    return {
        "Id": image.id, "RepoTags": [r.familiar for r in references], "RepoDigests": [], "Parent": image.record.parent,
        "Comment": config.history[-1].comment if config.history else "", "Created": config.created, "DockerVersion": "", "Author": config.author,
        "Config": _config(config.config), "Architecture": config.architecture, "Os": config.os, "Size": image.size, "VirtualSize": image.size,
        "RootFS": {"Type": "layers", "Layers": list(config.rootfs.diff_ids)}, "Metadata": {"LastTagTime": EMPTY_TIME},
        "Descriptor": {"mediaType": image.record.manifest.media_type, "digest": image.record.manifest.digest, "size": image.record.manifest.size},
    }  # fmt: skip


def container_facts(container: Container) -> dict[str, Any]:
    """Gives a container's facts."""
    record, state, host = container.record, container.state, container.record.host
    running = state.status == "running"
    mounts = [
        {"Type": "volume" if "/volumes/" in m["source"] and m["source"].endswith("/_data") else "bind", "Source": m["source"], "Destination": m["target"],
         "Mode": "ro" if m["readonly"] else "", "RW": not m["readonly"], "Propagation": "rprivate"}
        for m in host["mounts"]
    ]  # fmt: skip
    return {
        "Id": container.id, "Created": record.created, "Path": record.path, "Args": list(record.args),
        "State": {
            "Status": state.status, "Running": running, "Paused": False, "Restarting": False, "OOMKilled": False, "Dead": False, "Pid": state.pid if running else 0,
            "ExitCode": state.exit_code, "Error": state.error, "StartedAt": state.started or EMPTY_TIME, "FinishedAt": state.finished or EMPTY_TIME,
        },
        "Image": record.image_id, "Name": f"/{record.name}", "RestartCount": 0, "Driver": record.snapshotter, "Platform": "linux",
        "HostConfig": {
            "Binds": host["binds"] or None, "NetworkMode": host["network"], "AutoRemove": host["rm"], "CapAdd": host["cap_add"] or None,
            "CapDrop": host["cap_drop"] or None, "Privileged": False, "ReadonlyRootfs": host["read_only"],
            "SecurityOpt": ["no-new-privileges"] if host["no_new_privileges"] else None, "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0}, "Runtime": "dockerlab",
        },
        "Mounts": mounts,
        "Config": _config(container.config, Hostname=container.id[:12], Tty=host["tty"], OpenStdin=host["interactive"], Image=record.image),
        "NetworkSettings": {"Networks": {host["network"]: {}}, "Ports": {}},
    }  # fmt: skip
