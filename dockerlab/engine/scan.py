"""`scan`: the set-uid, set-gid and other generous files of an image, with what an attacker gets."""

from __future__ import annotations

import contextlib
import json
import stat
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dockerlab.engine.imagefiles import ImageFiles
from dockerlab.errors import DockerlabError, InvalidArgument
from dockerlab.layers.audit import Found, Sifted, audit, file_capabilities, narrowed, reachers
from dockerlab.layers.index import Entry
from dockerlab.widgets import setid
from dockerlab.widgets.html import size_words

if TYPE_CHECKING:
    from dockerlab.engine import Engine
    from dockerlab.engine.images import Image

__all__ = ["Audit", "baseline", "scan"]

# What a program that runs as root gives whoever may start it: by its own purpose, before anybody has found a fault in it.
_ROOT = {
    "su": "becomes another user who knows the password; guessed passwords are tried here", "sudo": "runs what sudoers(5) grants as root",
    "mount": "mounts what fstab(5) marks as anybody's", "umount": "unmounts what fstab(5) marks as anybody's", "fusermount": "mounts file systems of one's own",
    "fusermount3": "mounts file systems of one's own", "passwd": "writes one's own password into /etc/shadow", "chsh": "changes one's login shell", "chfn": "changes one's entry in /etc/passwd",
    "newgrp": "starts a shell in another group", "gpasswd": "administers groups that one owns", "ping": "sends raw packets", "pkexec": "runs what polkit grants as root",
    "crontab": "has commands run later", "at": "has commands run later", "whoami": "prints root's name: harmless, and a sign that the bit works",
    "cp": "overwrites any file: /etc/shadow, /etc/sudoers", "mv": "replaces any file", "dd": "reads and writes any file and disk", "tee": "writes any file", "cat": "reads any file",
    "tail": "reads any file", "head": "reads any file", "tar": "reads and writes any file", "chmod": "makes any file anybody's", "chown": "makes any file one's own",
    "vi": "edits any file, and starts a shell as root", "vim": "edits any file, and starts a shell as root", "nano": "edits any file", "sed": "edits any file", "awk": "runs any program as root",
    "find": "runs any program as root: find . -exec", "env": "runs any program as root", "xargs": "runs any program as root", "nice": "runs any program as root",
    "bash": "is a root shell: bash -p", "sh": "is a root shell", "dash": "is a root shell", "busybox": "is a root shell, unless built to give the rights back", "ash": "is a root shell",
    "python3": "runs any code as root", "perl": "runs any code as root", "ruby": "runs any code as root", "node": "runs any code as root", "gdb": "runs any code as root",
    "git": "starts a pager, and that a shell, as root", "less": "starts a shell as root", "more": "starts a shell as root", "man": "starts a shell as root",
    "nmap": "sends raw packets, and older ones start a shell",
}  # fmt: skip
_GROUPS = {"shadow": "reads the password hashes in /etc/shadow", "tty": "writes to other people's terminals", "mail": "writes into other people's mailboxes", "utmp": "writes who is logged in",
           "disk": "reads and writes whole disks", "crontab": "writes other people's crontabs", "staff": "writes below /usr/local, whose programs root runs too"}  # fmt: skip
_CAPABILITIES = {
    "CAP_SETUID": "becomes any user, root too", "CAP_SETGID": "joins any group", "CAP_DAC_OVERRIDE": "reads and writes any file", "CAP_DAC_READ_SEARCH": "reads any file",
    "CAP_CHOWN": "makes any file one's own", "CAP_FOWNER": "changes any file's mode", "CAP_SYS_ADMIN": "mounts, and much else: as good as root", "CAP_SYS_PTRACE": "takes over other processes",
    "CAP_NET_RAW": "sends raw packets", "CAP_NET_BIND_SERVICE": "takes a port below 1024", "CAP_NET_ADMIN": "changes the network", "CAP_SYS_MODULE": "loads code into the kernel",
}  # fmt: skip


class Audit:
    """What an image's layers say; shows itself as text, as HTML and as JSON."""

    def __init__(self, image: Image, known: Iterable[str] | None = None) -> None:
        layers, record = image._engine.images.layers, image.record
        self._made = [_instruction(entry.created_by or entry.comment) for entry in image.made]
        with tempfile.TemporaryDirectory(prefix="dockerlab-") as folder:
            files = ImageFiles(layers, record, Path(folder), _that_matter(layers.sifted(record)))
            passwd, group = _rows(files, "etc/passwd"), _rows(files, "etc/group")
        self._union = files.union
        self._users = {int(row[2]): row[0] for row in reversed(passwd) if len(row) > 3 and _number(row[2])}
        self._groups = {int(row[2]): row[0] for row in reversed(group) if len(row) > 2 and _number(row[2])}
        self._who = [(row[0], int(row[2]), _gids(row, group)) for row in passwd if len(row) > 3 and _number(row[2]) and _number(row[3])]
        self.found: Sequence[Found] = audit(self._union)
        self._lines: dict[int, str] = {}
        with contextlib.suppress(DockerlabError):  # more than a scan needs: the steps below, and the cache of builds
            self._lines = image._engine.builds.lines(image) if self.found else {}
        rows = tuple(map(self._row, self.found))
        accepted = set(known or ())
        acting = {row.path for row in rows if row.fate == "acts" and not {row.path, _named(row.path, row.what)} & accepted}
        self.scan = setid.Scan(image.title, rows, None if known is None else frozenset(acting))

    @property
    def acting(self) -> list[str]:
        """The paths that give rights in the image as it is."""
        return sorted({row.path for row in self.scan.rows if row.fate == "acts"})

    @property
    def objected(self) -> list[str]:
        """Those of them that no baseline accepts."""
        return self.acting if self.scan.new is None else sorted(self.scan.new)

    def _row(self, found: Found) -> setid.Row:
        entry = found.entry
        user, group = self._users.get(entry.uid, str(entry.uid)), self._groups.get(entry.gid, str(entry.gid))
        what = " ".join(f"{trait} {user if trait == 'set-uid' else group if trait == 'set-gid' else ''}".strip() for trait in found.traits)
        acts = found.fate == "acts"
        return setid.Row(
            f"/{found.path}", what, _mode(entry), f"{user}:{group}", size_words(entry.size), found.layer, self._by(found.layer), self._lines.get(found.layer, ""), found.fate,
            "" if acts else "gone" if found.after is None else _mode(found.after), found.layer_after, self._by(found.layer_after), self._lines.get(found.layer_after, ""),
            self._reached(found) if acts else "", self._gives(found, user, group) if acts else "",
        )  # fmt: skip

    def _by(self, layer: int) -> str:
        return self._made[layer] if 0 <= layer < len(self._made) else ""

    def _reached(self, found: Found) -> str:
        bit, verb = (2, "write") if set(found.traits) <= {"world-writable", "no sticky bit"} else (1, "run")
        names = [name for name in reachers(self._union, found.path, self._who, bit) if name != "root"]
        others = [name for name, uid, _ in self._who if uid]
        if others and len(names) == len(others):
            return f"everybody may {verb} it"
        if not names:
            return f"only root may {verb} it"
        return f"{', '.join(names[:4])}{f' and {len(names) - 4} more' if len(names) > 4 else ''} may {verb} it"

    @staticmethod
    def _gives(found: Found, user: str, group: str) -> str:
        name, said = found.path.rpartition("/")[2], []
        for trait in found.traits:
            if trait == "set-uid" and user == "root":
                said.append(_ROOT.get(name, "runs as root whoever starts it: a fault in it is a way to be root"))
            elif trait == "set-uid":
                said.append(f"acts as {user}: reads and writes what is {user}'s")
            elif trait == "set-gid":
                said.append(_GROUPS.get(group, f"acts in the group {group}: reads and writes what is that group's"))
            elif trait == "capabilities":
                said += [_CAPABILITIES.get(cap, f"has {cap}") for cap in file_capabilities(found.entry)]
            elif trait == "world-writable":
                said.append("anybody may change what is in it, and who runs or reads it later gets that")
            else:
                said.append("anybody may remove and replace what others put there")
        return "; ".join(said)

    def facts(self) -> list[dict[str, Any]]:
        """Gives plain values, a file each."""
        return [{name: getattr(row, name) for name in setid.Row.__slots__} for row in self.scan.rows]

    def stepper(self) -> Any:
        """Gives the view with a choice of what to show and how to group it; needs ipywidgets."""
        return setid.stepper(self.scan)

    def __str__(self) -> str:
        return setid.text(self.scan)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return {"text/plain": str(self), "text/html": setid.html(self.scan)}


def scan(image: str, *, engine: Engine | None = None) -> Audit:
    """Gives the set-id view of an image. Raises NotFound, InvalidReference."""
    if engine is None:
        from dockerlab.engine.current import current

        engine = current()
    return engine.images.scan(image)


def baseline(path: Path) -> list[str]:
    """Gives what a file accepts: of `scan --json`'s own output each path with what it gives, of a plain JSON list the paths. Raises InvalidArgument."""
    hint = "write it with: dockerlab scan --json IMAGE > FILE"
    try:
        told = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidArgument(f"cannot read the baseline {path.name}: {getattr(error, 'strerror', None) or 'no JSON'}", hint=hint) from error
    acting = [each for each in told if not isinstance(each, dict) or each.get("fate") == "acts"] if isinstance(told, list) else [None]
    paths = [_named(each.get("path"), each.get("what")) if isinstance(each, dict) else each for each in acting]
    if any(not isinstance(each, str) for each in paths):
        raise InvalidArgument(f"the baseline {path.name} is no list of files", hint=hint)
    return [each for each in paths if each]


def _named(path: object, what: object) -> str | None:
    """Gives a finding's name: a file that gives more than it did is another."""
    return f"{path}\0{what}" if isinstance(path, str) and isinstance(what, str) else None


def _that_matter(layers: Sequence[Sifted]) -> Sequence[Sequence[Entry]]:
    """Gives the entries that a scan looks at; all of them where the names of users lie behind a symlink."""
    chosen = narrowed(layers, names := ("etc", "etc/passwd", "etc/group"))
    return [layer.table for layer in layers] if any(entry.kind == "symlink" and entry.path in names for table in chosen for entry in table) else chosen


def _instruction(words: str) -> str:
    """Gives a layer's instruction as the Dockerfile had it; history notes RUN as the command that it was."""
    rest = words.removeprefix("/bin/sh -c ")
    return words if rest == words else rest.removeprefix("#(nop)").strip() if rest.startswith("#(nop)") else f"RUN {rest}"


def _mode(entry: Entry) -> str:
    return stat.filemode((stat.S_IFDIR if entry.kind == "dir" else stat.S_IFREG) | entry.mode)


def _rows(files: ImageFiles, name: str) -> list[list[str]]:
    picked = files.look(name)
    if picked is None or picked.itself[0].kind != "file" or picked.itself[0].size > 1 << 20:
        return []
    picked.bring()
    return [line.split(":") for line in Path(picked.itself[1]).read_text(errors="replace").splitlines()]


def _number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 10


def _gids(row: Sequence[str], groups: Iterable[Sequence[str]]) -> frozenset[int]:
    more = {int(each[2]) for each in groups if len(each) > 3 and _number(each[2]) and row[0] in each[3].split(",")}
    return frozenset({int(row[3]), *more})
