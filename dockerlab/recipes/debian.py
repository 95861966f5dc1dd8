"""The debian and ubuntu images: the essential packages of this host's own release, unpacked, with what their maintainer scripts would have left.

Same packages, same bytes: order, owners and times come from the packages. The image holds the lists that it was made from, so `apt-get install` works
without `apt-get update`, and names the host's mirror. Documentation is left out, as in Debian's slim images, and stays out of what is installed later.
"""

from __future__ import annotations

import fnmatch
import platform
import tempfile
from pathlib import Path

from dockerlab.errors import NotSupportedHere
from dockerlab.layers.index import Entry
from dockerlab.layers.packing import Write
from dockerlab.recipes import dpkg
from dockerlab.recipes.apt import PrivateApt, Source
from dockerlab.recipes.dpkg import Tree

__all__ = ["make", "names", "nearest", "provenance"]

_OUTSIDE = (
    "usr/share/doc/*", "usr/share/man/*", "usr/share/info/*", "usr/share/locale/*", "usr/share/groff/*", "usr/share/lintian/*", "usr/share/linda/*"
)  # fmt: skip
_SHELLS = "/bin/sh\n/usr/bin/sh\n/bin/bash\n/usr/bin/bash\n/bin/rbash\n/usr/bin/rbash\n/bin/dash\n/usr/bin/dash\n"
# What pam-auth-update(8) writes where pam_unix is the only way in.
_PAM = {
    "auth": "auth\t[success=1 default=ignore]\tpam_unix.so nullok\nauth\trequisite\tpam_deny.so\nauth\trequired\tpam_permit.so\n",
    "account": "account\t[success=1 new_authtok_reqd=done default=ignore]\tpam_unix.so\naccount\trequisite\tpam_deny.so\naccount\trequired\tpam_permit.so\n",
    "password": "password\t[success=1 default=ignore]\tpam_unix.so obscure yescrypt\npassword\trequisite\tpam_deny.so\npassword\trequired\tpam_permit.so\n",
    "session": "session\t[default=1]\tpam_permit.so\nsession\trequisite\tpam_deny.so\nsession\trequired\tpam_permit.so\nsession\trequired\tpam_unix.so\n",
}
_PAM["session-noninteractive"] = _PAM["session"]
# (alternative, its path, what it points to, priority), as update-alternatives(1) keeps them.
_ALTERNATIVES = (("awk", "/usr/bin/awk", "/usr/bin/mawk", 5), ("which", "/usr/bin/which", "/usr/bin/which.debianutils", 0), ("pager", "/usr/bin/pager", "/bin/more", 50))
_COPIED = {
    "etc/nsswitch.conf": ("usr/share/base-files/nsswitch.conf", "usr/share/libc-bin/nsswitch.conf"), "etc/profile": ("usr/share/base-files/profile",),
    "root/.profile": ("usr/share/base-files/dot.profile",), "root/.bashrc": ("usr/share/base-files/dot.bashrc",), "etc/motd": ("usr/share/base-files/motd",),
    "etc/passwd": ("usr/share/base-passwd/passwd.master",), "etc/group": ("usr/share/base-passwd/group.master",),
    "etc/adduser.conf": ("usr/share/adduser/adduser.conf",),
}  # fmt: skip
_APT = 'Dir::Cache::pkgcache "";\nDir::Cache::srcpkgcache "";\nAcquire::GzipIndexes "true";\nAcquire::Languages "none";\n'
_APT += 'APT::Update::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/archives/partial/*.deb || true"; };\n'


def _host() -> dict[str, str]:
    return platform.freedesktop_os_release()


def names() -> dict[str, str]:
    """Gives the references that this host can make, each with the suite that it stands for; {} on a host that is neither Debian nor Ubuntu."""
    try:
        host = _host()
    except OSError:
        return {}
    suite, own = host.get("VERSION_CODENAME", ""), host.get("ID", "")
    if own not in ("debian", "ubuntu") or not suite:
        return {}
    tags = {own: ("latest", suite, host.get("VERSION_ID", suite), f"{suite}-slim")}
    other = "ubuntu" if own == "debian" else "debian"
    return {f"docker.io/library/{name}:{tag}": suite for name, found in (tags | {other: ("latest",)}).items() for tag in found}


def nearest(reference: str) -> str:
    """Gives what to do for a release of Debian or Ubuntu that this host's sources lack; "" for any other name."""
    if not reference.startswith(("docker.io/library/debian:", "docker.io/library/ubuntu:")) or not (known := names()):
        return ""
    familiar, own = (word.removeprefix("docker.io/library/") for word in (reference, next(iter(known))))
    return f"this host's package sources have {known['docker.io/library/' + own]} only: use `{own}`, or give it this name yourself with `docker tag {own} {familiar}`"


def provenance(reference: str) -> dict[str, str]:
    """Gives the labels that say what the image is, and what it is not."""
    suite, host = names()[reference], _host()
    kind = reference.removeprefix("docker.io/library/").partition(":")[0]
    said = f"essential packages of {host['NAME']} {suite}, made on this machine; not the image of Docker Hub"
    if kind != host["ID"]:
        said = f"{said}, and not {kind.capitalize()}: this host has no sources of it, the course's name is kept"
    return {"dockerlab.recipe": "debian", "dockerlab.provenance": said}


def make(write: Write) -> tuple[list[Entry], int]:
    """Writes the image's only layer as a tar; gives its table of contents and its time. Raises NotSupportedHere where packages cannot be had."""
    with tempfile.TemporaryDirectory(prefix="dockerlab-debian-") as name, tempfile.TemporaryFile() as spool:
        apt = PrivateApt(Path(name))
        apt.update()
        sources = apt.sources()
        if not sources:
            raise NotSupportedHere("this host's package sources have no archive of Debian or Ubuntu", reason="no sources", hint="look into /etc/apt/sources.list.d")
        tree = Tree(spool, skip=_left_out)
        for package in apt.install_set("?essential", "apt", "adduser"):
            dpkg.add_package(tree, package)
        _finish(tree)
        _sources(tree, apt, sources)
        dpkg.write_database(tree)
        _alternatives(tree)
        return tree.write(write), tree.newest


def _left_out(path: str) -> bool:
    return any(fnmatch.fnmatchcase(path, pattern) for pattern in _OUTSIDE) and not (path.startswith("usr/share/doc/") and path.endswith("/copyright"))


def _finish(tree: Tree) -> None:
    """What the maintainer scripts of the essential packages make."""
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        if f"usr/{name}" in tree.entries:
            tree.link(name, f"usr/{name}")
    for path, sources in _COPIED.items():
        content = next((tree.content(source) for source in sources if source in tree.places), b"")
        tree.put(path, content)
    _users(tree)
    for name, text in _PAM.items():
        tree.put(f"etc/pam.d/common-{name}", text)
    tree.put("etc/shells", _SHELLS)
    tree.put("etc/environment")
    tree.put("etc/dpkg/dpkg.cfg.d/docker", "".join(f"path-exclude /{pattern}\n" for pattern in _OUTSIDE) + "path-include /usr/share/doc/*/copyright\nforce-unsafe-io\n")
    # No service is started inside an image that is being built.
    tree.put("usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n", mode=0o755)
    if "usr/share/zoneinfo/Etc/UTC" in tree.entries:
        tree.link("etc/localtime", "/usr/share/zoneinfo/Etc/UTC")
        tree.put("etc/timezone", "Etc/UTC\n")
    for path, mode, gid in (("root", 0o700, 0), ("tmp", 0o1777, 0), ("var/tmp", 0o1777, 0), ("srv", 0o755, 0), ("mnt", 0o755, 0), ("opt", 0o755, 0), ("media", 0o755, 0),
                            ("dev", 0o755, 0), ("proc", 0o755, 0), ("sys", 0o755, 0), ("run", 0o755, 0), ("home", 0o755, 0), ("var/mail", 0o2775, 8), ("var/local", 0o2775, 50)):  # fmt: skip
        tree.folder(path, mode, gid=gid)


def _users(tree: Tree) -> None:
    passwd = tree.text("etc/passwd")
    if "\n_apt:" not in passwd:
        passwd += "_apt:x:100:65534::/nonexistent:/usr/sbin/nologin\n"
        tree.put("etc/passwd", passwd)
    day = tree.newest // 86400
    tree.put("etc/shadow", "".join(f"{line.partition(':')[0]}:*:{day}:0:99999:7:::\n" for line in passwd.splitlines()), mode=0o640, gid=42)
    tree.put("etc/gshadow", "".join(f"{line.partition(':')[0]}:*::\n" for line in tree.text("etc/group").splitlines()), mode=0o640, gid=42)
    tree.put("etc/subuid")
    tree.put("etc/subgid")


def _sources(tree: Tree, apt: PrivateApt, sources: list[Source]) -> None:
    tree.put(f"etc/apt/sources.list.d/{sources[0].origin.lower()}.sources", "\n".join(map(str, sources)))
    tree.put("etc/apt/apt.conf.d/docker-clean", _APT)
    tree.put("etc/apt/apt.conf.d/90host", apt.settings())
    for path in apt.lists(sources):
        tree.put(f"var/lib/apt/lists/{path.name}", path.read_bytes())
    tree.folder("var/lib/apt/lists/partial", 0o700, uid=_apt_id(tree))
    tree.folder("var/cache/apt/archives/partial", 0o700, uid=_apt_id(tree))


def _apt_id(tree: Tree) -> int:
    return next(int(line.split(":")[2]) for line in tree.text("etc/passwd").splitlines() if line.startswith("_apt:"))


def _alternatives(tree: Tree) -> None:
    for name, path, target, priority in _ALTERNATIVES:
        inside = target[1:] if target.startswith("/usr") else f"usr{target}"
        if inside not in tree.entries:
            continue
        tree.link(f"etc/alternatives/{name}", target)
        tree.link(path[1:], f"/etc/alternatives/{name}")
        tree.put(f"var/lib/dpkg/alternatives/{name}", f"auto\n{path}\n\n{target}\n{priority}\n\n")
