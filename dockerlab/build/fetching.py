"""What ADD and `docker build URL` bring from elsewhere: a file over HTTP, or a Git repository.

A Git address is `https://host/x.git`, `git://…`, `git@host:x.git` or `github.com/…`, and may end in `#ref:folder`
(docker build reference, "Git repositories").
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
import shutil
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from dockerlab.build.context import Context, Picked
from dockerlab.errors import BuildFailed, NotSupportedHere
from dockerlab.layers.index import Entry
from dockerlab.linux import dialling

if TYPE_CHECKING:
    from urllib3 import PoolManager

__all__ = ["Repository", "checkout", "cloned", "fetched", "file_name", "is_git", "is_remote", "repository"]

_PREFIXES = ("http://", "https://", "git@", "git://", "github.com/", "ssh://")
_COMMIT = re.compile(r"[0-9a-f]{7,40}")
_BLOCK = 1 << 18


@dataclass(frozen=True, slots=True)
class Repository:
    """Where a repository is, which branch, tag or commit of it ("" for its own choice), and which folder."""

    url: str
    ref: str = ""
    folder: str = ""


def is_remote(word: str) -> bool:
    """Tells whether a word names something elsewhere."""
    return word.startswith(_PREFIXES)


def is_git(word: str) -> bool:
    """Tells whether it is a Git repository, as docker tells: by `.git` at the address's end, or by its kind."""
    path, _, _ = word.partition("#")
    return word.startswith(("git@", "git://", "github.com/", "ssh://")) or (word.startswith(("http://", "https://")) and path.endswith(".git"))


def repository(word: str) -> Repository:
    """Gives the parts of a Git address."""
    url, _, fragment = word.partition("#")
    ref, _, folder = fragment.partition(":")
    return Repository(f"https://{url}" if url.startswith("github.com/") else url, ref, folder)


def file_name(url: str) -> str:
    """Gives the name that a URL's file has, "" for none."""
    try:
        return posixpath.basename(unquote(urlsplit(url).path))
    except ValueError as error:
        raise BuildFailed(f"invalid address {url}: {error}", hint="write http://host/path") from error


def fetched(url: str, folder: Path, *, checksum: str = "") -> Picked:
    """Fetches a file into a folder, as docker keeps it: mode 600, the server's date; raises BuildFailed. Proxies are those of the environment."""
    place = folder / "fetched"
    file_name(url)
    try:
        when = _stream(url, place)
    except OSError as error:
        raise BuildFailed(f"ADD failed: {url}: {error.strerror or error}", hint="is there room in the folder for temporary files?") from error
    if checksum:
        _check(checksum, place, url)
    return Picked(file_name(url), (Entry("", "file", 0o600, size=place.stat().st_size, mtime=_moment(when)), str(place)))


def _moment(text: str) -> int:
    try:
        return max(int(parsedate_to_datetime(text).timestamp()), 0)
    except (ValueError, TypeError, OverflowError):  # no date, or none that is one
        return 0


def _check(checksum: str, place: Path, url: str) -> None:
    algorithm, _, wanted = checksum.partition(":")
    if algorithm not in ("sha256", "sha384", "sha512") or not re.fullmatch(r"[0-9a-f]{64,128}", wanted):
        raise BuildFailed(f"invalid checksum digest format: {checksum}", hint="write --checksum=sha256: and 64 digits")
    with open(place, "rb") as file:
        found = hashlib.file_digest(file, algorithm).hexdigest()
    if found != wanted:
        raise BuildFailed(f"digest mismatch {algorithm}:{found}: {checksum}", hint=f"{url} is not what the Dockerfile expects: look at it before you change the checksum")


def _stream(url: str, place: Path) -> str:
    """Writes what a URL gives to a file; gives its Last-Modified, "" for none."""
    import urllib3

    try:
        with _pool(url).request("GET", url, preload_content=False, timeout=urllib3.Timeout(connect=10, read=60), retries=urllib3.Retry(2, redirect=10)) as answer:
            if answer.status != 200:
                raise BuildFailed(f"ADD failed: failed to GET {_without_user(url)} with status {answer.status} {answer.reason or ''}: ".rstrip(": "), hint="open the address in a browser")
            with open(place, "wb") as file:
                for block in answer.stream(_BLOCK):
                    file.write(block)
            return str(answer.headers.get("Last-Modified", ""))
    except urllib3.exceptions.HTTPError as error:
        raise BuildFailed(f"ADD failed: Get {_without_user(url)}: {dialling.why(error)}", hint="is this machine on a network that reaches it?") from error


def _pool(url: str) -> PoolManager:
    import urllib3

    if dialling.restricted():
        return dialling.guarded()
    proxy = dialling.proxy(url)
    return dialling.through(proxy) if proxy else urllib3.PoolManager()


def checkout(word: str, folder: Path, *, keep_git: bool = False, checksum: str = "") -> Path:
    """Clones a repository into a folder and gives the folder of it that is meant, without its `.git` unless that is wanted; `checksum` is the commit that it has to be at.

    Raises BuildFailed, NotSupportedHere.
    """
    try:
        from dulwich import porcelain
        from dulwich.client import HTTPUnauthorized
        from dulwich.errors import GitProtocolError, NotGitRepository
    except ImportError:
        raise NotSupportedHere("a Git repository as a source needs dulwich", reason="dulwich", hint="pip install 'dockerlab[git]'") from None
    wanted = repository(word)
    if dialling.restricted() and not wanted.url.startswith(("http://", "https://")):
        raise BuildFailed(f"{_without_user(wanted.url)}: only http and https are spoken here")
    exact = bool(_COMMIT.fullmatch(wanted.ref))
    target, shown = folder / "repository", _without_user(wanted.url)
    try:
        with open(os.devnull, "wb") as nowhere:
            guard = {"pool_manager": dialling.guarded()} if dialling.restricted() else {}
            cloned = porcelain.clone(wanted.url, str(target), checkout=not exact, branch=None if exact or not wanted.ref else wanted.ref, errstream=nowhere, **guard)  # type: ignore[arg-type]
            if exact:
                porcelain.reset(cloned, "hard", wanted.ref)
            head = cloned.head().decode()
            cloned.close()
    except HTTPUnauthorized as error:  # which some hosts also answer where there is no such repository
        raise BuildFailed(f"unable to clone {shown}: there is none, or it is private", hint="clone it yourself, and build from the folder") from error
    except (GitProtocolError, NotGitRepository, KeyError, OSError, ValueError) as error:
        said = dialling.why(error).replace(wanted.url, shown)
        raise BuildFailed(f"unable to clone {shown}{'#' + wanted.ref if wanted.ref else ''}: {said}", hint="look at its address: git ls-remote URL") from error
    if checksum and not head.startswith(checksum):
        raise BuildFailed(f"expected checksum to match {checksum}, got {head}", hint="the branch has moved: look at it before you change the checksum")
    if not keep_git:  # its settings may hold a password
        shutil.rmtree(target / ".git")
    inner = Path(os.path.realpath(target / wanted.folder.lstrip("/")))
    if not inner.is_relative_to(os.path.realpath(target)) or not inner.is_dir():
        raise BuildFailed(f"{wanted.folder}: no such folder in {shown}", hint="write URL#branch:folder")
    return inner


def _without_user(url: str) -> str:
    """Gives an address as it may be shown."""
    return re.sub(r"://[^/@]*@", "://", url)


def cloned(word: str, folder: Path, *, keep_git: bool = False, checksum: str = "") -> Picked:
    """Gives a repository's folder as a source of ADD. Raises BuildFailed."""
    found = Context(checkout(word, folder, keep_git=keep_git, checksum=checksum)).look(".")
    assert found is not None
    return found
