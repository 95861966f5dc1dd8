"""All containers of an engine: find them, make one."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from dockerlab.engine import binds, devices, joining, logging, mounts
from dockerlab.engine.container import NAME, Container, Sink
from dockerlab.engine.images import Image, now
from dockerlab.engine.names import invent, refuse_lines
from dockerlab.engine.options import Attach, RunOptions, check_health, check_modes, check_restart, merged
from dockerlab.errors import InvalidRequest, NotFound, NotSupportedHere
from dockerlab.linux import signals
from dockerlab.oci.config import RunConfig
from dockerlab.oci.digest import ChainId
from dockerlab.oci.reference import Reference
from dockerlab.runtime import hostfiles
from dockerlab.runtime.generate import Options, Volume, generate
from dockerlab.store.containers import Record, new_id

if TYPE_CHECKING:
    from dockerlab.engine import Engine

__all__ = ["Attach", "Container", "Containers", "RunOptions"]


class Containers:
    """`engine.containers`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def list(self, *, all: bool = False) -> list[Container]:
        """Gives the running containers, with `all` every one, newest first."""
        found = [Container(self._engine, record) for record in self._engine.container_store.records()]
        shown = [c for c in found if all or c.state.alive]
        return sorted(shown, key=lambda c: c.record.created, reverse=True)

    def get(self, name: str) -> Container:
        """Gives a container by name, id or start of an id; raises NotFound."""
        return Container(self._engine, self._engine.container_store.find(name))

    def _image(self, name: str, policy: str) -> Image:
        images = self._engine.images
        if policy == "always":
            self._engine.follow("", Reference.parse(name).tagged(), images.pull(name))
        return images.get(name) if policy == "never" else images.resolve(name)

    def create(self, image: str, command: Sequence[str] = (), options: RunOptions | None = None) -> Container:
        """Makes a container without starting it; raises NotFound, AlreadyExists, InvalidArgument, NotSupportedHere."""
        chosen = options or RunOptions()
        source = self._image(image, chosen.pull)
        actual = f"{source.config.os}/{source.config.architecture}"
        if chosen.platform and chosen.platform != actual:
            raise InvalidRequest(f"image with reference {image} was found but does not match the specified platform: wanted {chosen.platform}, actual: {actual}", hint="leave out --platform")
        if source.config.architecture != _own_architecture():
            raise NotSupportedHere(
                f"image {image} is for {source.config.os}/{source.config.architecture}, this machine is {_own_architecture()}",
                reason="another architecture", hint="build or import the image on such a machine",
            )  # fmt: skip
        chosen = replace(chosen, name=chosen.name.removeprefix("/"))  # as `inspect` has it
        if chosen.name and not NAME.fullmatch(chosen.name):
            raise InvalidRequest(f"Invalid container name ({chosen.name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
        config = merged(source.config.config, command, chosen)
        if not (config.entrypoint or config.cmd):
            raise InvalidRequest("No command specified", hint="name a program behind the image: docker run IMAGE PROGRAM")
        if chosen.workdir and not chosen.workdir.startswith("/"):
            raise InvalidRequest(f"the working directory '{chosen.workdir}' is invalid, it needs to be an absolute path", hint=f"write -w /{chosen.workdir}")
        if chosen.stop_signal:
            try:
                signals.number(chosen.stop_signal)
            except ValueError:
                raise InvalidRequest(f"Invalid signal: {chosen.stop_signal}", hint="write a name such as TERM, or a number; `kill -l` lists them") from None
        check_restart(chosen.restart)
        check_health(config.healthcheck)
        check_modes(chosen)
        logging.check(chosen.log_driver, chosen.log_opt)
        chosen.resources.checked()
        if chosen.replace and chosen.name:
            with contextlib.suppress(NotFound):
                self.get(chosen.name).remove(force=True)
        return self._create(image, source, config, chosen)

    def _create(self, image: str, source: Image, config: RunConfig, chosen: RunOptions) -> Container:
        ident, engine = new_id(), self._engine
        refuse_lines("hostname", (chosen.hostname, chosen.domainname))
        refuse_lines("name of a host", (*(name for name, _ in chosen.add_host), *chosen.link))
        refuse_lines("option of the resolver", (*chosen.dns_option, *chosen.dns_search))
        refuse_lines("alias", (alias for network in chosen.networks for alias in network.aliases))
        chain = engine.images.layers.ensure_unpacked(source.record)
        networks = joining.planned(engine, chosen)
        pid, ipc = (joining.mode(engine, kind, word) for kind, word in (("pid", chosen.pid), ("ipc", chosen.ipc)))
        nodes = (*devices.given(chosen.device, engine.capabilities), *(devices.every() if chosen.privileged and engine.capabilities.mounts else ()))
        volumes, anonymous, tmpfs = self._mounts(chosen, config)
        donor = joining.donor(engine, networks["network"])
        hostname = joining.hostname(donor) if donor else chosen.hostname or (os.uname().nodename if chosen.uts == "host" else ident[:12])
        group = f"dockerlab/{ident}" if engine.capabilities.cgroups else ""
        options = Options(
            hostname=hostname, network=self._network(networks["network"]), terminal=chosen.tty, readonly=chosen.read_only, cap_add=chosen.cap_add, cap_drop=chosen.cap_drop,
            no_new_privileges=chosen.no_new_privileges, privileged=chosen.privileged, seccomp=chosen.seccomp, unmasked=chosen.unmasked, devices=nodes,
            volumes=volumes, limits=chosen.ulimit, domainname=chosen.domainname, oom_score_adj=chosen.oom_score_adj, sysctl=chosen.sysctl, pid=pid,
            ipc=ipc, uts=chosen.uts, tmpfs=tmpfs, shm_size=chosen.shm_size or 64 << 20, cgroup=f"/{group}" if group else "",
            resources=chosen.resources.described(), files={f"/etc/{name}": (donor.folder if donor else engine.container_store.folder(ident)) / name for name in ("resolv.conf", "hostname", "hosts")},
        )  # fmt: skip
        idle = [] if engine.capabilities.set_uid or config.user.partition(":")[0] in ("", "0", "root") else engine.images.layers.set_ids(source.record)
        names = ", ".join(idle[:3]) + (", …" if len(idle) > 3 else "")
        if idle:
            engine.say(f"no set-uid program acts on this host: {names} would run as their owner on others")
        spec = engine.sandbox.adapt(generate(config, options))
        words = (*(config.entrypoint or ()), *(config.cmd or ()))
        engine.snapshotter.prepare(ident, tuple(ChainId(c) for c in chain))
        try:
            if chosen.privileged or chosen.pid or any(word.upper().removeprefix("CAP_") in ("ALL", "SYS_TIME") for word in chosen.cap_add):
                engine.snapshotter.distrust(ident)
            record = Record(
                id=ident, name=chosen.name or self._free_name(), created=now(), image_id=source.id, image=image, path=words[0], args=words[1:],
                config=msgspec.to_builtins(config), snapshotter=engine.snapshotter.name, chain=chain, volumes=anonymous,
                host={**_host_facts(chosen, group, volumes, tmpfs), **networks, "pid": pid, "ipc": ipc, "idle": names},
            )  # fmt: skip
            engine.container_store.create(record, spec.encode())
            engine.journal.note("container", "create", ident, record.about)
            self._write_files(Container(engine, record), hostname)
        except BaseException:
            engine.snapshotter.remove(ident)
            raise
        return Container(engine, record)

    def _network(self, mode: str) -> str:
        """Gives what the container has of its own: `host` for nothing, which is all that some hosts give."""
        return mode if self._engine.capabilities.namespaces or mode == "none" else "host"

    def _write_files(self, container: Container, hostname: str) -> None:
        """Writes what is bound into the container's /etc; what its networks make of that comes at its start."""
        host, folder = container.record.host, container.folder
        own = self._engine.capabilities.namespaces and host["network"] != "host"
        (folder / "resolv.conf").write_text(hostfiles.resolver(dns=host["dns"], search=host["dns_search"], options=host["dns_options"]))
        (folder / "hostname").write_text(hostname + "\n")
        (folder / "hosts").write_text(hostfiles.hosts([(address, names) for address, names in joining.extra_hosts(container, isolated=own)]))

    def _mounts(self, chosen: RunOptions, config: RunConfig) -> tuple[tuple[Volume, ...], tuple[str, ...], dict[str, str]]:
        """Gives all that is mounted beside the image and the kernel's own: volumes, the names of those that nobody named, and each tmpfs with its options."""
        words = [mounts.checked(word) for word in chosen.mount]
        tmpfs = mounts.tmpfs_options(chosen.tmpfs)
        asked = [binds.parse(word) for word in dict.fromkeys(chosen.volume)]
        binds.refuse_twice([*asked, *(binds.Bind("tmpfs", target) for target in tmpfs)])
        asked += [binds.Bind(word.source, word.target, word.readonly, word.nocopy, word.labels, word.propagation, "z" if word.type == "volume" else "") for word in words if word.type != "tmpfs"]
        memory = [binds.Bind("tmpfs", word.target, word.readonly) for word in words if word.type == "tmpfs"]
        binds.refuse_twice([*asked, *memory])
        tmpfs |= {word.target: ",".join(filter(None, (word.tmpfs, "ro" if word.readonly else ""))) for word in words if word.type == "tmpfs"}
        asked = [bind for bind in asked if bind.target not in tmpfs]
        for bind in asked:
            binds.refuse_travel(bind, self._engine.capabilities)
        taken = {*tmpfs, *(bind.target for bind in asked)}
        lent = [mount for mount in mounts.borrowed(chosen.volumes_from, lambda name: self.get(name).record.host["mounts"]) if mount["target"] not in taken]
        volumes, anonymous = binds.made(self._engine.volume_store, asked, config.volumes, [*tmpfs, *(mount["target"] for mount in lent)])
        borrowed = [Volume(each["source"], each["target"], each["readonly"], propagation=each.get("propagation", ""), mode=each.get("mode", "")) for each in lent]
        return (*volumes, *borrowed), anonymous, tmpfs

    def _free_name(self) -> str:
        for _ in range(50):
            name = invent()
            if not self._engine.container_store.holder(name):
                return name
        return f"{invent()}_{new_id()[:6]}"

    def run(self, image: str, command: Sequence[str] = (), options: RunOptions | None = None, *, stdout: Sink | None = None, stderr: Sink | None = None) -> Container:
        """Creates a container, starts it, waits for its end; what it writes goes to the sinks as it comes. Read `.state.exit_code`."""
        container = self.create(image, command, options)
        out_in, out = os.pipe()
        err_in, err = os.pipe()
        try:
            session = container.start(Attach(None, out, err))
            os.close(out)
            os.close(err)
            out = err = -1
            told = stderr or (lambda _: None)
            code = container.watch(session, {out_in: stdout or (lambda _: None), err_in: told}, note=lambda text: told(f"note: {text}\n".encode()))
        finally:
            for descriptor in (out_in, err_in, out, err):
                if descriptor >= 0:
                    os.close(descriptor)
        container.exit_code = code
        return container


def _own_architecture() -> str:
    from dockerlab.oci.platforms import architecture

    return architecture()


def _host_facts(chosen: RunOptions, group: str, volumes: tuple[Volume, ...], tmpfs: Mapping[str, str]) -> dict[str, Any]:
    return {
        "explain": chosen.explain, "restart": chosen.restart, "init": chosen.init, "resources": chosen.resources.kept(), "tty": chosen.tty,
        "interactive": chosen.interactive, **({} if chosen.attached is None else {"attached": list(chosen.attached)}), "rm": chosen.rm,
        "cgroup": group,
        "hostname": chosen.hostname, "domainname": chosen.domainname, "oom_score_adj": chosen.oom_score_adj, "sysctl": dict(chosen.sysctl),
        "uts": chosen.uts, "fresh": [v.source for v in volumes if v.fresh], "binds": list(chosen.volume), "mount_words": [word.described() for word in chosen.mount],
        "tmpfs": dict(tmpfs), "shm_size": chosen.shm_size, "volumes_from": list(chosen.volumes_from), "read_only": chosen.read_only,
        "stop_timeout": chosen.stop_timeout, "group_add": list(chosen.group_add), "ulimits": list(chosen.ulimit),
        "extra_hosts": [f"{name}:{address}" for name, address in chosen.add_host],
        "dns": list(chosen.dns), "dns_search": list(chosen.dns_search), "dns_options": list(chosen.dns_option), "cap_add": list(chosen.cap_add),
        "cap_drop": list(chosen.cap_drop), "no_new_privileges": chosen.no_new_privileges,
        "privileged": chosen.privileged, "security_opt": list(chosen.security_opt), "log_driver": chosen.log_driver, "log_opt": dict(chosen.log_opt),
        "devices": [{"PathOnHost": d.source, "PathInContainer": d.target, "CgroupPermissions": d.mode} for d in chosen.device],
        "mounts": [{"source": v.source, "target": v.target, "readonly": v.readonly, "propagation": v.propagation, "mode": v.mode} for v in volumes],
    }  # fmt: skip
