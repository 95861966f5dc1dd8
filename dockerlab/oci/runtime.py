"""The part of the OCI runtime specification that dockerlab writes (config.md, config-linux.md); crun and runc accept it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

__all__ = ["Capabilities", "Device", "IdMapping", "Linux", "Mount", "Namespace", "Process", "Rlimit", "Root", "Spec", "User"]


class _Value(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    pass


class User(_Value, frozen=True, kw_only=True):
    """Numeric ids inside the container."""

    uid: int = 0
    gid: int = 0
    additional_gids: tuple[int, ...] = ()


class Capabilities(_Value, frozen=True, kw_only=True):
    """Capability names (`CAP_CHOWN`, …) in each of a process's sets; capabilities(7)."""

    bounding: tuple[str, ...] = ()
    effective: tuple[str, ...] = ()
    permitted: tuple[str, ...] = ()
    inheritable: tuple[str, ...] = ()
    ambient: tuple[str, ...] = ()


class Rlimit(_Value, frozen=True, kw_only=True):
    """One resource limit; getrlimit(2)."""

    type: str
    soft: int
    hard: int


class Process(_Value, frozen=True, kw_only=True):
    """What is executed."""

    terminal: bool = False
    user: User = User()
    args: tuple[str, ...]
    env: tuple[str, ...] = ()
    cwd: str = "/"
    capabilities: Capabilities | None = None
    rlimits: tuple[Rlimit, ...] = ()
    no_new_privileges: bool = False
    oom_score_adj: int | None = None


class Root(_Value, frozen=True, kw_only=True):
    """The root file system; a bundle may say so by a relative path."""

    path: str = "rootfs"
    readonly: bool = False


class Mount(_Value, frozen=True, kw_only=True):
    """One mount, in order; mount(8) option words."""

    destination: str
    type: str = "bind"
    source: str = ""
    options: tuple[str, ...] = ()


class Namespace(_Value, frozen=True, kw_only=True):
    """A namespace to make, or with a path to join."""

    type: str
    path: str = ""


class IdMapping(_Value, frozen=True, kw_only=True, rename={"container_id": "containerID", "host_id": "hostID", "size": "size"}):
    """`size` ids from `container_id` inside are those from `host_id` outside; user_namespaces(7)."""

    container_id: int
    host_id: int
    size: int


class Device(_Value, frozen=True, kw_only=True):
    """A device node to make."""

    path: str
    type: str
    major: int
    minor: int
    file_mode: int = 0o666
    uid: int = 0
    gid: int = 0


class Linux(_Value, frozen=True, kw_only=True):
    """What only Linux has."""

    namespaces: tuple[Namespace, ...] = ()
    uid_mappings: tuple[IdMapping, ...] = ()
    gid_mappings: tuple[IdMapping, ...] = ()
    devices: tuple[Device, ...] = ()
    cgroups_path: str = ""
    resources: Mapping[str, Any] = {}
    sysctl: Mapping[str, str] = {}
    seccomp: Mapping[str, Any] | None = None
    masked_paths: tuple[str, ...] = ()
    readonly_paths: tuple[str, ...] = ()
    rootfs_propagation: str = ""


class Spec(_Value, frozen=True, kw_only=True):
    """A bundle's config.json."""

    oci_version: str = msgspec.field(default="1.0.2", name="ociVersion")
    process: Process
    root: Root = Root()
    hostname: str = ""
    domainname: str = ""
    mounts: tuple[Mount, ...] = ()
    linux: Linux = Linux()
    annotations: Mapping[str, str] = {}

    def owns(self, kind: str) -> bool:
        """Tells whether the container has a namespace of this kind (`pid`, `network`, …) to itself."""
        return any(namespace.type == kind and not namespace.path for namespace in self.linux.namespaces)

    def joins(self, kind: str) -> bool:
        """Tells whether it has another container's namespace of this kind."""
        return any(namespace.type == kind and namespace.path for namespace in self.linux.namespaces)

    def encode(self) -> bytes:
        """Gives the document's bytes, indented for a reader."""
        fields = {"ociVersion": self.oci_version, **msgspec.to_builtins(self)}
        fields["process"] = {"user": {"uid": self.process.user.uid, "gid": self.process.user.gid}, "cwd": self.process.cwd, **fields["process"]}
        fields["root"] = {"path": self.root.path, "readonly": self.root.readonly}
        # Both runtimes of reference insist on uid and gid, even where they are the default.
        fields["process"]["user"] = {"uid": self.process.user.uid, "gid": self.process.user.gid, **fields["process"]["user"]}
        return msgspec.json.format(msgspec.json.encode(fields), indent=2)

    @classmethod
    def decode(cls, raw: bytes) -> Spec:
        """Gives the spec in `raw`; raises msgspec.DecodeError."""
        return msgspec.json.decode(raw, type=cls)
