"""`scan`: the set-uid, set-gid and other generous files of an image, with what an attacker gets."""

from __future__ import annotations

import contextlib
import json
import stat
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dockerlab.engine.gains import gain, known
from dockerlab.engine.imagefiles import ImageFiles
from dockerlab.errors import DockerlabError, InvalidArgument
from dockerlab.layers.audit import Found, Sifted, audit, file_capabilities, narrowed, permitted, reachers
from dockerlab.layers.index import Entry
from dockerlab.layers.union import UnionView
from dockerlab.oci.visible import some
from dockerlab.widgets import hardening, setid
from dockerlab.widgets.html import size_words

if TYPE_CHECKING:
    from dockerlab.engine import Engine
    from dockerlab.engine.images import Image

__all__ = ["Audit", "Beside", "baseline", "scan"]

_NOBODY_LISTED = 1 << 30  # a user's and a group's number that no image gives anything to


class Audit:
    """What an image's layers say; shows itself as text, as HTML and as JSON."""

    def __init__(self, image: Image, accepted: Iterable[str] | None = None, perm: str = "") -> None:
        self._image = image
        meant = _permitted(perm)
        layers, record = image._engine.images.layers, image.record
        self._made = [_instruction(entry.created_by or entry.comment) for entry in image.made]
        with tempfile.TemporaryDirectory(prefix="dockerlab-") as folder:
            files = ImageFiles(layers, record, Path(folder), _that_matter(layers.sifted(record)))
            passwd, group = _rows(files, "etc/passwd"), _rows(files, "etc/group")
            self._union = files.union
            self.found: Sequence[Found] = [found for found in audit(self._union) if meant(found.entry.mode)]
        self._scripts = {found.path for found in self.found if found.fate == "acts" and self._is_script(found)}
        self._users = {0: "root", **{int(row[2]): row[0] for row in reversed(passwd) if len(row) > 3 and _number(row[2])}}
        self._groups = {0: "root", **{int(row[2]): row[0] for row in reversed(group) if len(row) > 2 and _number(row[2])}}
        self._who = [(row[0], int(row[2]), _gids(row, group)) for row in passwd if len(row) > 3 and _number(row[2]) and _number(row[3])]
        self._who += _unlisted(image.config.config.user, self._who, {row[0]: int(row[2]) for row in group if len(row) > 2 and _number(row[2])})
        self._lines: dict[int, str] = {}
        with contextlib.suppress(DockerlabError):  # more than a scan needs: the steps below, and the cache of builds
            self._lines = image._engine.builds.lines(image) if self.found else {}
        rows = tuple(map(self._row, self.found))
        fine = set(accepted or ())
        acting = {row.path for row in rows if row.fate == "acts" and not {row.path, _named(row.path, row.what)} & fine}
        self.scan = setid.Scan(image.title, rows, None if accepted is None else frozenset(acting))

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
        more = {"set-uid": user, "set-gid": group, "capabilities": ",".join(file_capabilities(found.entry))}
        what = " ".join(f"{trait} {more.get(trait, '')}".strip() for trait in found.traits)
        acts = found.fate == "acts"
        return setid.Row(
            f"/{found.path}", what, _mode(entry), f"{user}:{group}", size_words(entry.size), found.layer, self._by(found.layer), self._lines.get(found.layer, ""), found.fate,
            "" if acts else "gone" if found.after is None else _mode(found.after), found.layer_after, self._by(found.layer_after), self._lines.get(found.layer_after, ""),
            self._reached(found) if acts else "", *(gain(found, user, group, script=found.path in self._scripts) if acts else ("", "")),
        )  # fmt: skip

    def _by(self, layer: int) -> str:
        return self._made[layer] if 0 <= layer < len(self._made) else ""

    def _reached(self, found: Found) -> str:
        bit, verb = (2, "write") if set(found.traits) <= {"world-writable", "no sticky bit"} else (1, "run")
        names = [name for name in reachers(self._union, found.path, self._who, bit) if name != "root"]
        anybody = bool(reachers(self._union, found.path, [("", _NOBODY_LISTED, frozenset({_NOBODY_LISTED}))], bit))
        shut = [name for name, uid, _ in self._who if uid and name not in names]
        if anybody:
            return f"everybody{f' but {some(shut, 4)}' if shut else ''} may {verb} it"
        if not names:
            return f"only root may {verb} it"
        return f"{some(names, 4)} may {verb} it"

    def facts(self) -> list[dict[str, Any]]:
        """Gives plain values, a file each."""
        return [{name: getattr(row, name) for name in setid.Row.__slots__} for row in self.scan.rows]

    def beside(self, before: Audit, perm: str = "") -> Beside:
        """Gives what gave rights in another image, `before`, and what became of it in this one: of the files that had, or have, the modes that `perm` means."""
        return Beside(before, self, perm)

    @cached_property
    def files(self) -> UnionView:
        """All files of the image, those that give no rights too."""
        return UnionView(self._image._engine.images.layers.tables(self._image.record))

    def entry(self, path: str) -> Entry | None:
        """Gives a file of the image by its whole path, None where there is none."""
        seen = self.files.resolved(path.lstrip("/"))
        return seen.entry if seen else None

    def _is_script(self, found: Found) -> bool:
        """Tells whether a file begins with `#!`; programs that are known by name are none, and their bytes are left where they are."""
        seen = None if known(found.path) or found.entry.kind != "file" else self._union.resolved(found.path)
        if seen is None or not {"set-uid", "set-gid", "capabilities"} & set(found.traits):
            return False
        with contextlib.suppress(DockerlabError, OSError):  # a layer that is damaged: the tables say all but this
            for _, blocks in self._image._engine.images.layers.contents(self._image.record, seen.layer, [seen.entry]):
                return next(iter(blocks), b"")[:2] == b"#!"
        return False

    def stepper(self) -> Any:
        """Gives the view with a choice of what to show and how to group it; needs ipywidgets."""
        return setid.stepper(self.scan)

    def __str__(self) -> str:
        return setid.text(self.scan)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return {"text/plain": str(self), "text/html": setid.html(self.scan)}


class Beside:
    """Two images' set-id views side by side; shows itself as text, as HTML and as JSON."""

    def __init__(self, before: Audit, after: Audit, perm: str = "") -> None:
        self.before, self.after = before.scan, after.scan
        first, second = ({row.path: row for row in audit.scan.rows if row.fate == "acts"} for audit in (before, after))
        sealed = {row.path: row for row in after.scan.rows if row.fate != "acts"}
        meant, changes = _permitted(perm), []
        for path in first.keys() | second.keys():
            entries = before.entry(path), after.entry(path)
            if any(entry and meant(entry.mode) for entry in entries):
                changes.append(_change(path, (first.get(path), second.get(path)), entries, sealed.get(path)))
        self.changes = sorted(changes, key=_worst)

    @property
    def objected(self) -> list[str]:
        """The paths that give rights which they did not give before."""
        return [change.path for change in self.changes if change.state in ("acts now", "acts otherwise")]

    def facts(self) -> list[dict[str, Any]]:
        """Gives plain values, a file each."""
        return [{name: getattr(change, name) for name in hardening.Change.__slots__} for change in self.changes]

    def stepper(self) -> Any:
        """Gives both views and the comparison to choose from; needs ipywidgets."""
        return hardening.stepper(self.before, self.after, self.changes)

    def __str__(self) -> str:
        return hardening.text(self.before.title, self.after.title, self.changes)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return {"text/plain": str(self), "text/html": hardening.html(self.before.title, self.after.title, self.changes)}


def _change(path: str, rows: tuple[setid.Row | None, setid.Row | None], entries: tuple[Entry | None, Entry | None], sealed: setid.Row | None) -> hardening.Change:
    first, second = rows
    shown = second or first
    assert shown
    how = _differences(first, second, entries) if first and second else ""
    state = "acts no more" if second is None else "acts now" if first is None else "acts otherwise" if how else "still acts"
    by = setid.brought(second) if second and state != "still acts" else setid.ended(sealed) if sealed and not second else ""
    before, after = (_mode(entry) if entry else "gone" for entry in entries)
    return hardening.Change(path, state, shown.what, before, after, shown.owner, shown.who, shown.gives, how, by)


def _differences(first: setid.Row, second: setid.Row, entries: tuple[Entry | None, Entry | None]) -> str:
    """Gives in words what is another of a file that gives rights in both images, "" for nothing."""
    told = [f"{name} {old} → {new}" for name, old, new in (("mode", first.mode, second.mode), ("owner", first.owner, second.owner), ("gives", first.what, second.what)) if old != new]
    told += [second.who] if first.who != second.who else []
    return ", ".join(told + (["other content"] if entries[0] and entries[1] and entries[0].digest != entries[1].digest else []))


def _worst(change: hardening.Change) -> tuple[int, str]:
    return list(hardening.STATES).index(change.state), change.path


def scan(image: str, *, before: str = "", engine: Engine | None = None) -> Audit | Beside:
    """Gives the set-id view of an image, side by side with the one that it was `before` where that is named. Raises NotFound, InvalidReference."""
    if engine is None:
        from dockerlab.engine.current import current

        engine = current()
    found = engine.images.scan(image)
    return found.beside(engine.images.scan(before)) if before else found


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


def _permitted(word: str) -> Callable[[int], bool]:
    try:
        return permitted(word or "/0")
    except ValueError:
        raise InvalidArgument(f"invalid mode '{word}'", hint="write it as find does: /6000 or +6000 for any of the bits, -4000 for all of them") from None


def _unlisted(user: str, who: Sequence[tuple[str, int, frozenset[int]]], groups: Mapping[str, int]) -> list[tuple[str, int, frozenset[int]]]:
    """Gives the user that the image's settings name by a number, where passwd does not: USER and `run --user` take any."""
    number, _, group = user.partition(":")
    if not _number(number) or any(uid == int(number) for _, uid, _ in who):
        return []
    return [(number, int(number), frozenset({int(group) if _number(group) else groups.get(group, 0)}))]


def _number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 10


def _gids(row: Sequence[str], groups: Iterable[Sequence[str]]) -> frozenset[int]:
    more = {int(each[2]) for each in groups if len(each) > 3 and _number(each[2]) and row[0] in each[3].split(",")}
    return frozenset({int(row[3]), *more})
