"""The busybox image: one static program under the name of every applet, as hard links, like the official image.

The program comes from the host where it is static, else from the host's Debian package, fetched with apt into a private folder as an
ordinary user may. Same program, same bytes: times, order and owners are fixed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from dockerlab.errors import NotSupportedHere
from dockerlab.layers.index import Entry
from dockerlab.layers.packing import Archive, Write
from dockerlab.recipes.apt import PrivateApt

__all__ = ["LABELS", "NAMES", "find_program", "layer", "make"]

NAMES = ("docker.io/library/busybox:latest", "docker.io/library/busybox:1")
LABELS = {"dockerlab.recipe": "busybox", "dockerlab.provenance": "static busybox of this host, every applet a hard link; not the image of Docker Hub"}
_TIME = 1_577_836_800  # 2020-01-01: a fixed time gives fixed bytes
_FOLDERS = ("bin", "dev", "etc", "home", "proc", "root", "sys", "tmp", "usr", "usr/bin", "usr/sbin", "var", "var/spool")
_FILES = {
    "etc/group": "root:x:0:\ndaemon:x:1:\nbin:x:2:\nsys:x:3:\nadm:x:4:\ntty:x:5:\nmail:x:8:\nwww-data:x:33:\nusers:x:100:\nnogroup:x:65534:\n",
    "etc/passwd": (
        "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\nbin:x:2:2:bin:/bin:/bin/false\nsys:x:3:3:sys:/dev:/bin/false\n"
        "mail:x:8:8:mail:/var/spool/mail:/bin/false\nwww-data:x:33:33:www-data:/var/www:/bin/false\nnobody:x:65534:65534:nobody:/home:/bin/false\n"
    ),
    "etc/shadow": "root:*:18262:0:99999:7:::\ndaemon:*:18262:0:99999:7:::\nnobody:*:18262:0:99999:7:::\n",
}


def find_program() -> Path:
    """Gives a static busybox; raises NotSupportedHere with what to install where none can be had."""
    for folder in ("/bin", "/usr/bin", "/usr/local/bin", "/usr/lib/busybox"):
        path = Path(folder) / "busybox"
        if path.exists() and not _needs_loader(path):
            return path.resolve()
    return _from_apt()


def _needs_loader(path: Path) -> bool:
    # An ELF program header of type 3 (PT_INTERP) names a dynamic loader; elf(5).
    data = path.read_bytes()[:4096]
    if data[:4] != b"\x7fELF" or data[4] != 2:
        return True
    start, size, count = (int.from_bytes(data[a:b], "little") for a, b in ((32, 40), (54, 56), (56, 58)))
    return any(int.from_bytes(data[start + n * size : start + n * size + 4], "little") == 3 for n in range(count))


def _from_apt() -> Path:
    if not shutil.which("apt-get"):
        raise NotSupportedHere("this host has no static busybox", reason="neither busybox-static nor apt", hint="install the package busybox-static")
    folder = Path(tempfile.mkdtemp(prefix="dockerlab-busybox-"))
    apt = PrivateApt(folder)
    apt.update()
    subprocess.run(["dpkg-deb", "-x", str(apt.download("busybox-static")), str(folder / "root")], check=True)
    return next(path for path in folder.glob("root/**/busybox") if path.is_file() and os.access(path, os.X_OK))


def make(write: Write) -> tuple[list[Entry], int]:
    """Writes the image's only layer as a tar; gives its table of contents and its time."""
    return layer(find_program(), write), _TIME


def layer(program: Path, write: Write) -> list[Entry]:
    """Writes the image's only layer as a tar and gives its table of contents."""
    listed = subprocess.run([str(program), "--list"], capture_output=True, text=True, check=True).stdout.split()
    archive = Archive(write)
    for entry, content in _entries(program.read_bytes(), sorted(set(listed) - {"busybox"})):
        archive.add(entry, (content,))
    return archive.end()


def _entries(program: bytes, applets: list[str]) -> Iterator[tuple[Entry, bytes]]:
    for path in _FOLDERS:
        mode = {"tmp": 0o1777, "root": 0o700}.get(path, 0o755)
        yield Entry(path, "dir", mode, 0, 0, 0, _TIME), b""
        if path == "bin":
            yield Entry("bin/busybox", "file", 0o755, 0, 0, len(program), _TIME), program
            for name in applets:
                yield Entry(f"bin/{name}", "link", 0o755, 0, 0, 0, _TIME, "bin/busybox"), b""
        if path == "etc":
            for name, text in _FILES.items():
                yield Entry(name, "file", 0o640 if name == "etc/shadow" else 0o644, 0, 0, len(text), _TIME), text.encode()
