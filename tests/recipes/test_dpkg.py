from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pytest

from dockerlab.errors import CorruptContent
from dockerlab.recipes import dpkg
from dockerlab.recipes.dpkg import Tree

pytestmark = pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="dpkg-deb is not installed")


def package(folder: Path, name: str, files: dict[str, str], control: dict[str, str] | None = None, *, fields: str = "", time: int = 1_700_000_000) -> Path:
    """Makes a package of files that were all written at one time, in seconds since 1970."""
    root = folder / name
    for path, text in ({f"DEBIAN/{k}": v for k, v in (control or {}).items()} | files).items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
        if path in ("DEBIAN/postinst",):
            (root / path).chmod(0o755)
    (root / "DEBIAN").mkdir(parents=True, exist_ok=True)
    (root / "DEBIAN/control").write_text(f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: nobody <n@example.org>\n{fields}Description: test\n")
    for path in (root, *root.rglob("*")):
        os.utime(path, (time, time))
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", str(root), str(folder / f"{name}.deb")], check=True, capture_output=True)
    return folder / f"{name}.deb"


def tree(*packages: Path) -> Tree:
    made = Tree(tempfile.TemporaryFile())  # noqa: SIM115
    for file in packages:
        dpkg.add_package(made, file)
    return made


def names(made: Tree) -> dict[str, tarfile.TarInfo]:
    out = io.BytesIO()
    made.write(out.write)
    return {member.name: member for member in tarfile.open(fileobj=io.BytesIO(out.getvalue()))}


def test_files_under_bin_lie_in_usr(tmp_path: Path) -> None:
    made = tree(package(tmp_path, "one", {"bin/tool": "x", "usr/bin/other": "y"}))
    assert {"usr/bin/tool", "usr/bin/other"} <= set(names(made))
    assert "bin/tool" not in names(made)


def test_a_folder_of_two_packages_stands_once(tmp_path: Path) -> None:
    made = tree(package(tmp_path, "one", {"etc/a": ""}), package(tmp_path, "two", {"etc/b": ""}))
    assert list(names(made)).count("etc") == 1


def test_the_database_is_what_dpkg_itself_reads(tmp_path: Path) -> None:
    sums = "d41d8cd98f00b204e9800998ecf8427e  usr/lib/x/f\n"
    conf = {"md5sums": sums, "conffiles": "/etc/one.conf\n", "triggers": "interest-noawait /usr/lib/x\ninterest y\n", "postinst": "#!/bin/sh\n"}
    made = tree(package(tmp_path, "one", {"etc/one.conf": "set\n", "usr/lib/x/f": ""}, conf), package(tmp_path, "two", {"etc/b": ""}, {"md5sums": ""}, fields="Depends: one\n"))
    dpkg.write_database(made)
    out = io.BytesIO()
    made.write(out.write)
    root = tmp_path / "root"
    tarfile.open(fileobj=io.BytesIO(out.getvalue())).extractall(root)  # noqa: S202  # our own, and the first Pythons of 3.11 have no filter
    asked = ["dpkg", f"--admindir={root}/var/lib/dpkg", f"--instdir={root}"]
    shown = subprocess.run([*asked, "-l"], capture_output=True, text=True, check=True).stdout
    assert "ii  one" in shown
    assert "ii  two" in shown
    assert subprocess.run([*asked, "--audit"], capture_output=True, text=True, check=True).stdout == ""
    assert subprocess.run([*asked, "-S", "/etc/one.conf"], capture_output=True, text=True, check=True).stdout.startswith("one:")
    assert subprocess.run([*asked, "--verify"], capture_output=True, text=True, check=True).stdout == ""
    assert (root / "var/lib/dpkg/triggers/File").read_text() == "/usr/lib/x one/noawait\n"
    assert (root / "var/lib/dpkg/triggers/y").read_text() == "one\n"


def test_a_broken_package_is_told(tmp_path: Path) -> None:
    broken = tmp_path / "broken.deb"
    broken.write_bytes(b"no package")
    with pytest.raises(CorruptContent, match="broken.deb cannot be unpacked"):
        tree(broken)


def test_the_same_packages_give_the_same_bytes(tmp_path: Path) -> None:
    files = [package(tmp_path, "one", {"etc/a": "1"}), package(tmp_path, "two", {"etc/b": "2"}, time=1_700_000_007)]
    written = []
    for order in (files, files[::-1]):
        made = tree(*order)
        dpkg.write_database(made)
        out = io.BytesIO()
        made.write(out.write)
        written.append(out.getvalue())
    assert written[0] == written[1]
