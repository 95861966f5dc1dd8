"""The three small files of /etc that a container gets from outside: resolv.conf, hostname, hosts."""

from __future__ import annotations

from pathlib import Path

__all__ = ["places", "write"]

_HOSTS = (
    "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\nff00::0\tip6-mcastprefix\n"
    "ff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n127.0.1.1\t{hostname}\n"
)


def places(folder: Path) -> dict[str, Path]:
    """Gives, for each place in the container, the file of its folder that is bound there."""
    return {f"/etc/{name}": folder / name for name in ("resolv.conf", "hostname", "hosts")}


def write(folder: Path, hostname: str) -> None:
    """Writes the files into the container's folder."""
    try:
        resolver = Path("/etc/resolv.conf").read_text()
    except OSError:
        resolver = ""
    (folder / "resolv.conf").write_text(resolver)
    (folder / "hostname").write_text(hostname + "\n")
    (folder / "hosts").write_text(_HOSTS.format(hostname=hostname))
