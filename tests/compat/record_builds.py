"""Records what real docker's classic builder says to every Dockerfile of `goldens/builds.df`: `python tests/compat/record_builds.py`, as root, into `goldens/builds.txt`.

A case begins with `=== name | options`. It is built twice, so that the cache has its say. Ids, times and sizes become words (`saying.plain`).
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.compat.conftest import IMPORT, Said, dockerd, rootfs  # noqa: E402
from tests.compat.saying import plain  # noqa: E402

__all__ = ["HERE", "cases", "context"]

HERE = Path(__file__).parent / "goldens"


def cases() -> list[tuple[str, str, str]]:
    """Gives name, options and Dockerfile of each case."""
    found = re.split(r"^=== (.*)\n", (HERE / "builds.df").read_text(), flags=re.M)[1:]
    return [(head.partition(" | ")[0], head.partition(" | ")[2], text) for head, text in zip(found[::2], found[1::2], strict=True)]


def context(folder: Path) -> None:
    """Makes the folder that every case is built in."""
    files = (("f", "f\n"), ("d/x.md", "x\n"), ("d/sub/y", "y\n"), ("e1", "1\n"), ("e2", "2\n"), ("secret", "no\n"), ("build/out.o", "o\n"), (".dockerignore", "secret\n**/*.o\nDockerfile\n"))
    for name, text in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    with tarfile.open(folder / "a.tar", "w") as tar:
        info = tarfile.TarInfo("inner/file")
        info.size, info.mode = 2, 0o644
        tar.addfile(info, io.BytesIO(b"a\n"))
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


def main() -> None:
    """Writes the file."""
    told = []
    with tempfile.TemporaryDirectory() as name, dockerd() as address:
        folder = Path(name)
        context(folder)
        env = {**os.environ, "LC_ALL": "C", "DOCKER_BUILDKIT": "0", "DOCKER_CLI_HINTS": "false", "DOCKER_HOST": address}
        subprocess.run(["docker", *IMPORT], env=env, input=rootfs(), stdout=subprocess.DEVNULL, check=True, timeout=60)
        for case, options, text in cases():
            (folder / "Dockerfile").write_text(text)
            line = f"docker build {options} -t golden .".replace("  ", " ")
            said = []
            for _ in range(2):
                done = subprocess.run(["bash", "-c", line], cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120, check=False)
                said.append(Said(line, done.stdout.decode(errors="replace").replace(str(folder), "/class"), done.returncode))
            told += [f"=== {case}", *plain(said, theirs=True)]
    (HERE / "builds.txt").write_text("\n".join(told) + "\n")


if __name__ == "__main__":
    main()
