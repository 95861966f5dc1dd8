"""Git repositories over smart HTTP (dulwich), one for each repository that wants to be built from here: `http://HUB/git/OWNER/NAME.git`."""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dulwich.errors import GitProtocolError
from dulwich.refs import Ref
from dulwich.repo import Repo
from dulwich.server import DictBackend, ReceivePackHandler, UploadPackHandler
from dulwich.web import HTTPGitApplication

from dockerlab.registry.messages import Answer, Request, Slice
from dockerlab.registry.protocol import refusal
from dockerlab.store.files import locked

__all__ = ["Change", "GitServer", "needed"]

_LARGEST = 256 << 20  # bytes of a push
_SECONDS = 180  # for a push to be unpacked
_PLAIN = [("Content-Type", "text/plain")]
_EMPTY = ".empty/.empty"  # what no repository can be called
_HANDLERS = {b"git-upload-pack": UploadPackHandler, b"git-receive-pack": ReceivePackHandler}
_DOORS = {("GET", "/info/refs"), ("POST", "/git-upload-pack"), ("POST", "/git-receive-pack")}


@dataclass(frozen=True, slots=True)
class Change:
    """A reference that a push moved; `after` is "" where it was deleted."""

    ref: str
    before: str
    after: str


def needed(request: Request, door: str) -> str:
    """Gives the right that a request needs: pull or push; "" for what is no part of the protocol. Only smart HTTP is spoken (gitprotocol-http(5))."""
    if (request.method, door) not in _DOORS:
        return ""
    service = request.one("service") if door == "/info/refs" else door[1:]
    return {"git-upload-pack": "pull", "git-receive-pack": "push"}.get(service, "")


class _Bounded:
    """A body that ends in a refusal where it is too long."""

    def __init__(self, source: Any) -> None:
        self._source, self._left = source, _LARGEST

    def read(self, size: int = -1) -> bytes:
        data: bytes = self._source.read(min(size, 1 << 20) if size >= 0 else 1 << 20)
        self._left -= len(data)
        if self._left < 0:
            raise refusal("SIZE_INVALID", message=f"a push has at most {_LARGEST >> 20} MB", status=413)
        return data


class GitServer:
    """The Git repositories of a folder, which may take `quota` bytes together; 0 means no bound."""

    def __init__(self, folder: Path, quota: int = 0) -> None:
        self._folder, self._quota = folder, quota
        self._coming, self._counting = 0, threading.Lock()

    def place(self, path: str) -> Path:
        """Gives where a repository lies; `path` is owner/name, of names that were checked."""
        return self._folder / f"{path}.git"

    def exists(self, path: str) -> bool:
        """Tells whether there is a repository."""
        return (self.place(path) / "HEAD").exists()

    def made(self, path: str) -> Path:
        """Makes a bare repository where there is none, and gives its place."""
        place = self.place(path)
        self._folder.mkdir(parents=True, exist_ok=True)
        with locked(self._folder / "making.lock"):
            if not (place / "HEAD").exists():
                place.mkdir(parents=True, exist_ok=True)
                Repo.init_bare(str(place), default_branch=b"main").close()
        return place

    def remove(self, path: str) -> None:
        """Takes a repository away, if there is one."""
        shutil.rmtree(self.place(path), ignore_errors=True)

    def heads(self, path: str) -> dict[str, str]:
        """Gives the branches and tags with their commits; {} where there is no repository."""
        with contextlib.suppress(Exception), contextlib.closing(Repo(str(self.place(path)))) as repo:
            return {name.decode(): value.decode() for name, value in repo.get_refs().items() if name.startswith((b"refs/heads/", b"refs/tags/"))}
        return {}

    def answer(self, request: Request, path: str, door: str, changed: Callable[[list[Change]], object]) -> Answer:
        """Answers a request of the Git protocol; after a push `changed` is told what it moved. Raises RegistryError."""
        place = self.place(path)
        if not (place / "HEAD").exists():
            return Answer(404, _PLAIN, b"no Git repository here yet: push to it\n")
        if door != "/git-receive-pack":
            return self._spoken(request.environ, place, door)
        with locked(place / "push.lock"):
            before = self.heads(path)
            answer = self._received(request.environ, place)
            after = self.heads(path)
            _point(place, after)
        moved = [Change(ref, before.get(ref, ""), after.get(ref, "")) for ref in sorted({*before, *after}) if before.get(ref) != after.get(ref)]
        if moved:
            changed(moved)
        return answer

    def empty(self, request: Request, door: str) -> Answer:
        """Answers for a repository that a push would make: there is nothing in it yet."""
        return self._spoken(request.environ, self.made(_EMPTY), door)

    def _received(self, environ: Mapping[str, Any], place: Path) -> Answer:
        """Takes a push in, in a process of its own; see `receiving`."""
        if environ.get("CONTENT_TYPE") != "application/x-git-receive-pack-request":
            return Answer(403, _PLAIN, b"Invalid Content-Type\n")
        with tempfile.TemporaryFile(prefix="dockerlab-git-") as body, tempfile.NamedTemporaryFile(prefix="dockerlab-git-") as said:
            try:
                source = _body(environ)
                while block := source.read(1 << 20):
                    body.write(block)
            except (OSError, EOFError, zlib.error):
                return Answer(400, _PLAIN, b"the body cannot be read\n")
            size = body.tell()
            body.seek(0)
            try:
                with self._room(size):
                    done = subprocess.run([sys.executable, "-m", "dockerlab.hub.receiving", str(place)], stdin=body, stdout=said, stderr=subprocess.DEVNULL, timeout=_SECONDS, check=False)
            except subprocess.TimeoutExpired:
                return Answer(400, _PLAIN, b"the push takes too long\n")
            if done.returncode:
                return Answer(400, _PLAIN, b"this is no push, or one that becomes too large\n")
            return Answer(200, [("Content-Type", "application/x-git-receive-pack-result"), ("Cache-Control", "no-cache")], Slice.of(Path(said.name)))

    @contextlib.contextmanager
    def _room(self, size: int) -> Iterator[None]:
        """Holds room for a push while it is unpacked; raises DENIED where there is none."""
        with self._counting:
            if self._quota and _size(self._folder) + self._coming + size > self._quota:
                raise refusal("DENIED", {"quota": self._quota}, message="the hub's quota is used up")
            self._coming += size
        try:
            yield
        finally:
            with self._counting:
                self._coming -= size

    def _spoken(self, environ: Mapping[str, Any], place: Path, door: str) -> Answer:
        words = {name: value for name, value in environ.items() if name not in ("HTTP_TRANSFER_ENCODING", "HTTP_CONTENT_ENCODING")}  # both are undone here
        words |= {"PATH_INFO": door, "wsgi.input": _body(environ)}
        begun: list[Any] = []
        descriptor, name = tempfile.mkstemp(prefix="dockerlab-git-")
        try:
            with os.fdopen(descriptor, "wb") as file, contextlib.closing(Repo(str(place))) as repo:

                def start(status: str, told: list[tuple[str, str]]) -> Callable[[bytes], int]:
                    begun[:] = [int(status.split()[0]), [(key, value) for key, value in told if key.lower() != "content-length"]]
                    return file.write

                try:
                    for block in HTTPGitApplication(DictBackend({"/": repo}), handlers=_HANDLERS)(words, start):  # type: ignore[arg-type]
                        file.write(block)
                except (GitProtocolError, AssertionError, KeyError, ValueError, EOFError, OSError, zlib.error) as error:
                    return Answer(400, _PLAIN, f"{type(error).__name__}\n".encode())
            return Answer(begun[0], begun[1], Slice.of(Path(name)))
        finally:
            os.unlink(name)


def _size(folder: Path) -> int:
    sizes = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                sizes += os.lstat(os.path.join(place, name)).st_size
    return sizes


def _body(environ: Mapping[str, Any]) -> _Bounded:
    source: Any = environ["wsgi.input"]
    return _Bounded(gzip.GzipFile(fileobj=source) if environ.get("HTTP_CONTENT_ENCODING") == "gzip" else source)


def _point(place: Path, refs: Mapping[str, str]) -> None:
    """Has HEAD name a branch that there is, so that a clone checks something out."""
    with contextlib.closing(Repo(str(place))) as repo:
        head = dict(repo.refs.get_symrefs()).get(Ref(b"HEAD"), Ref(b"")).decode()
        branches = [name for name in ("refs/heads/main", "refs/heads/master", *sorted(refs)) if name in refs and name.startswith("refs/heads/")]
        if head not in refs and branches:
            repo.refs.set_symbolic_ref(Ref(b"HEAD"), Ref(branches[0].encode()))
