"""Where blobs and manifests are known to be: in which repositories of which registries. A memory: what it says may be outdated, and losing it costs a transfer."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from pathlib import Path

from dockerlab.errors import InvalidReference
from dockerlab.oci.reference import Reference
from dockerlab.store.files import locked, mark, publish

__all__ = ["Places"]

_KEPT, _EACH = 5000, 5


class Places:
    """The file `places.json`: digest → repositories (`registry/name`), newest first; `image ID` → its names by digest; `registry HOST` → the scheme by which one of this machine answered."""

    def __init__(self, root: Path) -> None:
        self._path, self._lock = root / "places.json", root / "places.lock"
        self._seen: tuple[tuple[int, int, int], dict[str, list[str]]] = (0, 0, 0), {}

    def _known(self) -> dict[str, list[str]]:
        """Gives what the file says, to be looked at only; each change is a new file, so that one that is the same file says the same."""
        try:
            now = mark(self._path)
        except FileNotFoundError:
            return {}
        if self._seen[0] != now:
            self._seen = now, self._read()
        return self._seen[1]

    def _read(self) -> dict[str, list[str]]:
        try:
            document = json.loads(self._path.read_bytes())
        except (FileNotFoundError, ValueError):
            return {}
        return {str(key): [str(each) for each in value] for key, value in document.items() if isinstance(value, list)} if isinstance(document, dict) else {}

    def note(self, repository: str, digests: Iterable[str]) -> None:
        """Remembers that a repository has these."""
        digests, known = list(digests), self._known()
        if len(known) < _KEPT // 2 and all(known.get(digest, [])[:1] == [repository] for digest in digests):
            return
        with locked(self._lock):
            known, news = self._read(), False
            for digest in digests:
                news |= known.get(digest, [])[:1] != [repository]
                known[digest] = [repository, *(each for each in known.pop(digest, []) if each != repository)][:_EACH]
            if news or len(known) >= _KEPT // 2:  # what is used stays, once some have to go
                publish(self._path, json.dumps(dict(list(known.items())[-_KEPT:])).encode())

    def forget(self, repository: str, digest: str) -> None:
        """Remembers no more that a repository has this."""
        with locked(self._lock):
            known = self._read()
            if repository in known.get(digest, []):
                known[digest] = [each for each in known[digest] if each != repository]
                publish(self._path, json.dumps(known).encode())

    def digests(self, image: str) -> list[Reference]:
        """Gives the names by digest under which registries are known to have an image, as docker's RepoDigests."""
        found = []
        for place in self.of(f"image {image}"):
            with contextlib.suppress(InvalidReference):
                found.append(Reference.parse(place))
        return found

    def of(self, digest: str) -> tuple[str, ...]:
        """Gives the repositories that are known to have it."""
        return tuple(self._known().get(digest, ()))
