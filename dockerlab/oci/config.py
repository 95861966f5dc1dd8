"""What an image is: how to run it, which layers, how it came about (OCI image-spec, config.md, with docker's extra fields)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import msgspec

from dockerlab.errors import CorruptContent
from dockerlab.oci.digest import ChainId, DiffId, ImageId, chain_ids, digest_of, parse_digest

__all__ = ["EMPTY_TIME", "Healthcheck", "History", "ImageConfig", "RootFS", "RunConfig", "env_map", "env_words"]

EMPTY_TIME = "0001-01-01T00:00:00Z"


_Int64 = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]


class Healthcheck(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How to ask a container whether it is well; durations in nanoseconds (docker's extension)."""

    test: tuple[str, ...] = msgspec.field(default=(), name="Test")
    interval: _Int64 = msgspec.field(default=0, name="Interval")
    timeout: _Int64 = msgspec.field(default=0, name="Timeout")
    start_period: _Int64 = msgspec.field(default=0, name="StartPeriod")
    start_interval: _Int64 = msgspec.field(default=0, name="StartInterval")
    retries: _Int64 = msgspec.field(default=0, name="Retries")


class RunConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="pascal"):
    """The defaults with which a container of the image runs."""

    user: str = ""
    exposed_ports: Mapping[str, Mapping[str, str]] = {}
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    volumes: Mapping[str, Mapping[str, str]] = {}
    working_dir: str = ""
    labels: Mapping[str, str] = {}
    stop_signal: str = ""
    healthcheck: Healthcheck | None = None
    on_build: tuple[str, ...] = ()
    shell: tuple[str, ...] = ()

    @property
    def ports(self) -> tuple[tuple[int, str], ...]:
        """The exposed ports as number and protocol; "80" is tcp."""
        return tuple((int(number), protocol or "tcp") for number, _, protocol in (word.partition("/") for word in self.exposed_ports))


class RootFS(msgspec.Struct, frozen=True, kw_only=True):
    """The layers by the digests of their tars, base first."""

    type: str = "layers"
    diff_ids: tuple[DiffId, ...] = ()


class History(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How one layer, or one change of settings, came about."""

    created: str = EMPTY_TIME
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False


class ImageConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An image's config; its digest is the image id."""

    created: str = EMPTY_TIME
    author: str = ""
    architecture: str
    os: str = "linux"
    variant: str = ""
    config: RunConfig = RunConfig()
    rootfs: RootFS = RootFS()
    history: tuple[History, ...] = ()

    @classmethod
    def decode(cls, raw: bytes) -> ImageConfig:
        """Gives the config in `raw`; raises CorruptContent with the JSON path of what is wrong."""
        try:
            config = msgspec.json.decode(raw, type=_WireConfig).settled()
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise CorruptContent(f"image config cannot be read: {error}") from error
        for diff_id in config.rootfs.diff_ids:
            parse_digest(diff_id)
        return config

    def encode(self) -> bytes:
        """Gives the canonical bytes. `created` is always written: umoci cannot do without it."""
        fields: dict[str, object] = {"created": self.created}
        fields |= {"author": self.author} if self.author else {}
        fields |= {"architecture": self.architecture, "os": self.os}
        fields |= {"variant": self.variant} if self.variant else {}
        fields["config"] = msgspec.to_builtins(self.config)
        fields["rootfs"] = {"type": self.rootfs.type, "diff_ids": list(self.rootfs.diff_ids)}
        fields["history"] = [{"created": entry.created, **msgspec.to_builtins(entry)} for entry in self.history]
        return msgspec.json.encode(fields)

    @property
    def image_id(self) -> ImageId:
        """The digest of the config as dockerlab writes it; a pulled image keeps the digest of its own bytes instead."""
        return ImageId(digest_of(self.encode()))

    @property
    def chain(self) -> tuple[ChainId, ...]:
        """The chain id of each layer, base first."""
        return chain_ids(self.rootfs.diff_ids)


class _WireRun(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    # Docker writes null for what is empty; the specification leaves it out.
    user: str | None = None
    exposed_ports: Mapping[str, Mapping[str, str]] | None = None
    env: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    volumes: Mapping[str, Mapping[str, str]] | None = None
    working_dir: str | None = None
    labels: Mapping[str, str] | None = None
    stop_signal: str | None = None
    healthcheck: Healthcheck | None = None
    on_build: tuple[str, ...] | None = None
    shell: tuple[str, ...] | None = None


class _WireConfig(msgspec.Struct, frozen=True, kw_only=True):
    created: str | None = None
    author: str | None = None
    architecture: str
    os: str
    variant: str | None = None
    config: _WireRun | None = None
    rootfs: RootFS
    history: tuple[History, ...] | None = None

    def settled(self) -> ImageConfig:
        run = self.config or _WireRun()
        given = {name: value for name in _WireRun.__struct_fields__ if (value := getattr(run, name)) is not None}
        return ImageConfig(
            created=self.created or EMPTY_TIME,
            author=self.author or "",
            architecture=self.architecture,
            os=self.os,
            variant=self.variant or "",
            config=RunConfig(**given),
            rootfs=self.rootfs,
            history=self.history or (),
        )


def env_map(words: tuple[str, ...] | list[str]) -> dict[str, str]:
    """Gives `NAME=value` words as a mapping, in order; the last of a name counts."""
    return {name: value for name, _, value in (word.partition("=") for word in words)}


def env_words(variables: Mapping[str, str]) -> tuple[str, ...]:
    """Gives a mapping as `NAME=value` words."""
    return tuple(f"{name}={value}" for name, value in variables.items())
