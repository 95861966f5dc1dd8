"""The three small files of /etc that a container gets from outside: resolv.conf, hostname, hosts."""

from __future__ import annotations

from pathlib import Path

from dockerlab.engine.options import RunOptions

__all__ = ["places", "write"]

_HOSTS = (
    "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\nff00::0\tip6-mcastprefix\n"
    "ff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n127.0.1.1\t{hostname}\n"
)


def places(folder: Path) -> dict[str, Path]:
    """Gives, for each place in the container, the file of its folder that is bound there."""
    return {f"/etc/{name}": folder / name for name in ("resolv.conf", "hostname", "hosts")}


def write(folder: Path, hostname: str, chosen: RunOptions) -> None:
    """Writes the files into the container's folder: resolv.conf(5) as this host has it, but for what was chosen."""
    (folder / "resolv.conf").write_text(_resolver(chosen))
    (folder / "hostname").write_text(hostname + "\n")
    (folder / "hosts").write_text(_HOSTS.format(hostname=hostname) + "".join(f"{address}\t{name}\n" for name, address in chosen.add_host))


def _resolver(chosen: RunOptions) -> str:
    try:
        text = Path("/etc/resolv.conf").read_text()
    except OSError:
        text = ""
    if not (chosen.dns or chosen.dns_search or chosen.dns_option):
        return text
    rows = [line.split() for line in text.splitlines()]
    search = [word for word in chosen.dns_search if word != "."] if chosen.dns_search else [word for row in rows if row[:1] == ["search"] for word in row[1:]]
    servers = chosen.dns or [row[1] for row in rows if row[:1] == ["nameserver"] and len(row) > 1]
    options = chosen.dns_option or [word for row in rows if row[:1] == ["options"] for word in row[1:]]
    lines = [f"search {' '.join(search)}"] if search else []
    return "".join(f"{line}\n" for line in (*lines, *(f"nameserver {server}" for server in servers), *([f"options {' '.join(options)}"] if options else [])))
