"""`inspect`: everything about one thing, in docker's field names."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from dockerlab.commands import networks, ports, volumes
from dockerlab.commands.call import Call, Outcome
from dockerlab.commands.go_text import NIL, NilList, NilMap, Struct, Time, quoted
from dockerlab.commands.showing import shown
from dockerlab.engine import logging
from dockerlab.engine.containers import Container
from dockerlab.engine.images import Image
from dockerlab.errors import InvalidArgument, InvalidRequest, NotFound
from dockerlab.oci.config import EMPTY_TIME, Healthcheck, RunConfig
from dockerlab.oci.reference import Reference
from dockerlab.runtime.generate import MASKED, READONLY
from dockerlab.store.volumes import volume_name

__all__ = ["container", "image", "inspect"]

_OBJECTS = ("config", "container", "image", "network", "node", "plugin", "secret", "service", "task", "volume")


def inspect(call: Call) -> Outcome:
    """docker inspect."""
    kind = call.flag("type")
    if kind not in ("", *_OBJECTS):
        raise InvalidArgument(f'unknown type: "{kind}": must be one of {", ".join(map(quoted, _OBJECTS))}', hint="name container or image")
    return shown(call, {"": _any, "container": _container, "image": _image, "network": networks.look, "volume": volumes.look}.get(kind, partial(_none, kind)))


def container(call: Call) -> Outcome:
    """docker container inspect."""
    return shown(call, _container)


def image(call: Call) -> Outcome:
    """docker image inspect."""
    return shown(call, _image)


def _container(call: Call, name: str) -> dict[str, Any]:
    try:
        return _sized(call, call.engine.containers.get(name))
    except NotFound as error:
        raise NotFound(f"Error response from daemon: {error.message}") from None


def _sized(call: Call, container: Container) -> dict[str, Any]:
    if not call.flag("size"):
        return container_facts(container)
    own, whole = container.size()
    return Struct({**container_facts(container), "SizeRw": own, "SizeRootFs": whole})


def _image(call: Call, name: str) -> dict[str, Any]:
    try:
        return _of_image(call, name)
    except NotFound as error:
        raise NotFound(f"Error response from daemon: no such image: {name}: {error.message}") from None


def _any(call: Call, name: str) -> dict[str, Any]:
    with suppress(NotFound):
        return _sized(call, call.engine.containers.get(name))
    if call.flag("size"):
        call.surface.err("WARNING: --size ignored for image\n")
    with suppress(NotFound, InvalidRequest):
        return _of_image(call, name)
    with suppress(NotFound):
        return networks.facts(call, call.engine.networks.get(name))
    with suppress(NotFound):
        return volumes.volume_facts(call.engine.volumes.get(name))
    raise NotFound(f"Error: No such object: {name}")


def _none(kind: str, call: Call, name: str) -> dict[str, Any]:
    raise NotFound(f"Error: No such {kind}: {name}")


def _config(run: RunConfig, **facts: Any) -> dict[str, Any]:
    config: dict[str, Any] = {
        "Hostname": "", "Domainname": "", "User": run.user, "AttachStdin": False, "AttachStdout": False, "AttachStderr": False,
        **({"ExposedPorts": {k: Struct({}) for k in sorted(run.exposed_ports)}} if run.exposed_ports else {}),
        "Tty": False, "OpenStdin": False, "StdinOnce": False, "Env": list(run.env) or NilList(), "Cmd": _listed(run.cmd),
        **({"Healthcheck": _health(run.healthcheck)} if run.healthcheck else {}),
        "Image": "", "Volumes": {k: Struct({}) for k in sorted(run.volumes)} or NilMap(), "WorkingDir": run.working_dir, "Entrypoint": _listed(run.entrypoint),
        "OnBuild": list(run.on_build) or NilList(), "Labels": dict(sorted(run.labels.items())) or NilMap(),
        **({"StopSignal": run.stop_signal} if run.stop_signal else {}), **({"Shell": list(run.shell)} if run.shell else {}),
    }  # fmt: skip
    return Struct(config | facts, ExposedPorts=NilMap(), Healthcheck=NIL, StopSignal="", StopTimeout=NIL, Shell=NilList())


def _listed(words: tuple[str, ...] | None) -> list[str]:
    return NilList() if words is None else list(words)


def _health(check: Healthcheck) -> dict[str, Any]:
    names = {"Interval": check.interval, "Timeout": check.timeout, "StartPeriod": check.start_period, "StartInterval": check.start_interval, "Retries": check.retries}
    return {**({"Test": list(check.test)} if check.test else {}), **{name: value for name, value in names.items() if value}}


def _policy(text: str) -> dict[str, Any]:
    name, _, most = text.partition(":")
    return Struct({"Name": name, "MaximumRetryCount": int(most or 0)})


def _mount(mount: dict[str, Any]) -> dict[str, Any]:
    source, readonly = Path(mount["source"]), mount["readonly"]
    place = {"Source": str(source), "Destination": mount["target"]}
    name = volume_name(source)
    if not name:
        return Struct({"Type": "bind", **place, "Mode": mount.get("mode", ""), "RW": not readonly, "Propagation": mount.get("propagation") or "rprivate"}, Name="", Driver="")
    return Struct({"Type": "volume", "Name": name, **place, "Driver": "local", "Mode": mount.get("mode", ""), "RW": not readonly, "Propagation": ""})


def _tmpfs(word: dict[str, Any]) -> dict[str, Any]:
    return Struct({"Type": "tmpfs", "Source": "", "Destination": word["Target"], "Mode": "", "RW": not word.get("ReadOnly", False), "Propagation": ""}, Name="", Driver="")


def _limits(container: Container) -> dict[str, Any]:
    limits = container.resources
    return {
        "CpuShares": limits.cpu_shares, "Memory": limits.memory, "NanoCpus": limits.nano_cpus, "CpuPeriod": limits.cpu_period, "CpuQuota": limits.cpu_quota,
        "CpusetCpus": limits.cpuset_cpus, "CpusetMems": limits.cpuset_mems, "MemoryReservation": limits.memory_reservation, "MemorySwap": limits.swap,
        "MemorySwappiness": limits.memory_swappiness, "PidsLimit": limits.pids_limit or NIL,
    }  # fmt: skip


def _of_image(call: Call, name: str) -> dict[str, Any]:
    image = call.engine.images.get(name)
    return image_facts(image, [where.familiar for where in call.engine.places.digests(image.id)])


def image_facts(image: Image, digests: Sequence[str] = ()) -> dict[str, Any]:
    """Gives an image's facts; `digests` are the names by digest that registries know it by."""
    config = image.config
    references = [Reference.parse(name) for name in image.record.names]
    return Struct({
        "Id": image.id, "RepoTags": [r.familiar for r in references], "RepoDigests": list(digests), "Parent": image.record.parent,
        "Comment": config.history[-1].comment if config.history else "", "Created": config.created, "DockerVersion": "", "Author": config.author,
        "Config": _config(config.config), "Architecture": config.architecture, "Os": config.os, "Size": image.size, "VirtualSize": image.size,
        "RootFS": {"Type": "layers", "Layers": list(config.rootfs.diff_ids)}, "Metadata": {"LastTagTime": Time(image.record.tagged or EMPTY_TIME)},
        "Descriptor": {"mediaType": image.record.manifest.media_type, "digest": image.record.manifest.digest, "size": image.record.manifest.size},
    })  # fmt: skip


def container_facts(container: Container) -> dict[str, Any]:
    """Gives a container's facts."""
    record, state, host = container.record, container.state, container.record.host
    words, attached = host.get("mount_words", []), host.get("attached", ())
    running, shown = state.alive, host.get("privileged", False) or "systempaths=unconfined" in host.get("security_opt", ())
    return Struct({
        "Id": container.id, "Created": record.created, "Path": record.path, "Args": list(record.args),
        "State": Struct({
            "Status": state.status, "Running": running, "Paused": state.status == "paused", "Restarting": state.status == "restarting", "OOMKilled": state.oom_killed, "Dead": False,
            "Pid": state.pid if state.running else 0,
            "ExitCode": state.exit_code, "Error": state.error, "StartedAt": state.started or EMPTY_TIME, "FinishedAt": state.finished or EMPTY_TIME,
            **({"Health": Struct(state.health)} if state.health else {}),
        }, Health=NIL),
        "Image": record.image_id, "Name": f"/{record.name}", "RestartCount": state.restarts, "Driver": record.snapshotter, "Platform": "linux",
        **{f"{name}Path": str(container.folder / file) for name, file in (("ResolvConf", "resolv.conf"), ("Hostname", "hostname"), ("Hosts", "hosts"), ("Log", "log"))},
        "MountLabel": "", "ProcessLabel": "", "AppArmorProfile": "", "ExecIDs": NilList(), "GraphDriver": Struct({"Name": record.snapshotter, "Data": NilMap()}),
        "HostConfig": Struct({
            "Binds": host["binds"] or NilList(), "VolumesFrom": host.get("volumes_from") or NilList(), "ContainerIDFile": "", "VolumeDriver": "",
            "ShmSize": host.get("shm_size") or 64 << 20, "OomScoreAdj": host.get("oom_score_adj", 0), "PidMode": host.get("pid", ""), "IpcMode": host.get("ipc") or "private",
            "UTSMode": host.get("uts", ""), "Sysctls": host.get("sysctl") or {}, "NetworkMode": host["network"], "AutoRemove": host["rm"], "PortBindings": ports.asked(container),
            "PublishAllPorts": host.get("publish_all", False),
            "Links": [f"/{name}:/{record.name}/{alias}" for _, name, alias in host.get("links", ())] or NilList(), "CapAdd": host["cap_add"] or NilList(),
            "CapDrop": host["cap_drop"] or NilList(), "CgroupnsMode": "private", "Cgroup": "", "CgroupParent": "", "UsernsMode": "", "Isolation": "", "OomKillDisable": NIL, "BlkioWeight": 0,
            "MaskedPaths": NilList() if shown else list(MASKED), "ReadonlyPaths": NilList() if shown else list(READONLY), "Privileged": host.get("privileged", False),
            "ReadonlyRootfs": host["read_only"], "SecurityOpt": host.get("security_opt") or NilList(), "LogConfig": Struct(logging.described(record)), "Devices": host.get("devices", []),
             **_limits(container), "RestartPolicy": _policy(host.get("restart", "")), "Runtime": "dockerlab",
            **({"Init": True} if host.get("init") else {}), **({"Mounts": words} if words else {}), **({"Tmpfs": host["tmpfs"]} if host.get("tmpfs") else {}),
            "ExtraHosts": host.get("extra_hosts") or NilList(), "GroupAdd": host.get("group_add") or NilList(), "Dns": host.get("dns", []), "DnsSearch": host.get("dns_search", []),
            "DnsOptions": host.get("dns_options", []), "Ulimits": [{"Name": name, "Hard": hard, "Soft": soft} for name, soft, hard in host.get("ulimits", [])],
        }, Init=NIL, Mounts=NilList(), Tmpfs=NilMap(), StorageOpt=NilMap()),
        "Mounts": [*map(_mount, host["mounts"]), *(_tmpfs(word) for word in words if word["Type"] == "tmpfs")],
        "Config": _config(container.config, Hostname=host.get("hostname") or container.id[:12], Domainname=host.get("domainname", ""),
                          Tty=host["tty"], OpenStdin=host["interactive"], StdinOnce=host["interactive"] and "stdin" in attached, Image=record.image,
                          **{f"Attach{name.title()}": name in attached for name in ("stdin", "stdout", "stderr")},
                          Labels=dict(sorted(container.config.labels.items())), **({"StopTimeout": host["stop_timeout"]} if host.get("stop_timeout") is not None else {})),
        "NetworkSettings": networks.settings(container, state),
    }, SizeRw=NIL, SizeRootFs=NIL)  # fmt: skip
