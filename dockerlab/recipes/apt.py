"""The host's own apt, with a state of its own: packages of this machine's release, verified as apt verifies, without root and without touching the host."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from dockerlab.errors import NotSupportedHere

__all__ = ["PrivateApt", "Source"]

_ARCHIVES = {"Debian": "debian-archive-keyring", "Ubuntu": "ubuntu-keyring"}
_KEYRINGS = {"Debian": "/usr/share/keyrings/debian-archive-keyring.gpg", "Ubuntu": "/usr/share/keyrings/ubuntu-archive-keyring.gpg"}
# Settings of the host that apt needs inside an image as well to reach the same mirror.
_KEPT = ("Acquire::Check-Valid-Until", "Acquire::Check-Date", "Acquire::http::Proxy", "Acquire::https::Proxy")


@dataclass(frozen=True, slots=True)
class Source:
    """One release of a distribution's archive, as sources.list(5) names it."""

    uri: str
    suite: str
    components: tuple[str, ...]
    origin: str
    prefix: str

    def __str__(self) -> str:
        return f"Types: deb\nURIs: {self.uri}\nSuites: {self.suite}\nComponents: {' '.join(self.components)}\nSigned-By: {_KEYRINGS[self.origin]}\n"


class PrivateApt:
    """apt-get(8) with lists and downloads in `folder`. Every method raises NotSupportedHere with what to do where apt or its mirror cannot be reached."""

    def __init__(self, folder: Path) -> None:
        if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
            raise NotSupportedHere("this host has no apt", reason="no Debian, no Ubuntu", hint="`docker import` takes any root file system; `busybox` needs a static busybox only")
        self.folder = folder
        for name in ("state/lists/partial", "cache/archives/partial", "packages"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "status").touch()
        self._options = [
            f"Dir::State={folder}/state", f"Dir::Cache={folder}/cache", f"Dir::State::status={folder}/status", "Debug::NoLocking=1", "APT::Sandbox::User=",
            "Acquire::Languages=none", "Acquire::GzipIndexes=true", "Acquire::IndexTargets::deb::Packages::KeepCompressedAs=gz xz", "Acquire::Retries=2",
        ]  # fmt: skip

    def _run(self, *words: str, what: str) -> str:
        options = [word for option in self._options for word in ("-o", option)]
        done = subprocess.run(["apt-get", *options, "-qq", *words], cwd=self.folder / "packages", capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"})
        if done.returncode:
            reason = next((line for line in done.stderr.splitlines() if line.startswith("E:")), done.stderr.strip()[:200])
            raise NotSupportedHere(f"{what}: {reason}", reason=reason, hint="look whether `apt-get update` reaches a mirror from this host; `docker import` takes any root file system")
        return done.stdout

    def update(self) -> None:
        """Fetches the lists of what the host's sources offer."""
        self._run("update", what="the package lists cannot be fetched")

    def sources(self) -> list[Source]:
        """Gives the host's sources that are the distribution's own archive, and nothing that was added to them."""
        text = self._run("indextargets", "Created-By: Packages", "Trusted: yes", what="the host's package sources cannot be read")
        found: dict[tuple[str, str], Source] = {}
        for stanza in text.split("\n\n"):
            fields = dict(re.findall(r"(?m)^([\w-]+): (.*)$", stanza))
            if fields.get("Origin") not in _ARCHIVES or "Filename" not in fields:
                continue
            uri, suite, component = _plain(fields["Repo-URI"]), fields["Release"], fields["Component"]
            prefix = Path(fields["Filename"]).name.partition(f"_{component}_")[0]
            old = found.get((uri, suite))
            components = (*(old.components if old else ()), component)
            found[uri, suite] = Source(uri, suite, tuple(dict.fromkeys(components)), fields["Origin"], prefix)
        return sorted(found.values(), key=lambda source: (source.suite, source.uri))

    def lists(self, sources: list[Source]) -> list[Path]:
        """Gives the fetched lists of these sources."""
        prefixes = tuple(f"{source.prefix}_" for source in sources)
        return sorted(path for path in (self.folder / "state/lists").iterdir() if path.is_file() and path.name.startswith(prefixes))

    def install_set(self, *names: str) -> list[Path]:
        """Fetches packages with all that they need, as if nothing were installed; gives the files, by name."""
        self._run("install", "--download-only", "--no-install-recommends", "--yes", *names, what="packages cannot be fetched")
        return sorted((self.folder / "cache/archives").glob("*.deb"))

    def download(self, name: str) -> Path:
        """Fetches one package and gives the file."""
        self._run("download", name, what=f"{name} cannot be fetched")
        return next((self.folder / "packages").glob(f"{name}_*.deb"))

    @staticmethod
    def settings() -> str:
        """Gives the host's settings that reach its mirror, as apt.conf(5) text; a proxy that holds a password is left out."""
        lines = []
        for name in _KEPT:
            done = subprocess.run(["apt-config", "dump", "--format", "%f=%v%n", name], capture_output=True, text=True, check=False)
            for key, _, value in (line.partition("=") for line in done.stdout.splitlines()):
                if value and key in _KEPT and "@" not in value:
                    lines.append(f'{key} "{value}";\n')
        return "".join(lines)


def _plain(uri: str) -> str:
    """Gives an address without the name and password that it may hold: an image is for everybody."""
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
