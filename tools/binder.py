"""Plays what happens behind a Binder link, on this machine: builds the environment as repo2docker would, then runs the lessons as a visitor's pod would.

`python tools/binder.py [binder|hub|colab]…`, as root. Every step is a line with its seconds. A pod has one processor, 2 GB, no rights, and reaches
ports 80 and 443 outside only; the kind of host is a shape of `tests/hosts`.
"""

from __future__ import annotations

import ctypes
import json
import os
import shlex
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from dockerlab.linux import capabilities, cgroups, syscalls  # noqa: E402
from tests.hosts.room import user  # noqa: E402
from tests.hosts.shapes import SHAPES, Shape, become  # noqa: E402

PLACES = {"binder": "no-mount", "hub": "single", "colab": "limited-root"}
MEMORY, PORTS, FIRST, WHOLE = 2 << 30, (80, 443), 60, 300
PLAY = """
import json, sys, time
import nbformat
from nbclient import NotebookClient
begun, seen = float(sys.argv[2]), []
book = nbformat.read(sys.argv[1], 4)
def done(cell, cell_index, execute_reply):
    if not seen and any("sha256:" in str(o.get("text", "")) for o in cell["outputs"]):
        seen.append(time.time() - begun)
client = NotebookClient(book, timeout=300, kernel_name="python3", on_cell_executed=done)
km = client.create_kernel_manager()
km.transport = "ipc"  # the pod's ports are closed
client.execute()
print(json.dumps({"first": seen[0], "whole": time.time() - begun}))
"""


def main() -> None:
    """Ends with 1 where a lesson fails or takes longer than a visitor waits."""
    if os.geteuid():
        sys.exit("only root can play another host")
    failed = False
    with tempfile.TemporaryDirectory(prefix="dockerlab-binder-", dir="/var/tmp", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        built(folder)
        for place in sys.argv[1:] or list(PLACES):
            failed |= not visited(folder, place)
    sys.exit(failed)


def step(what: str, words: list[str], **options: object) -> str:
    """Runs one step and prints its seconds; ends the script where it fails."""
    begun = time.monotonic()
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **options)  # type: ignore[call-overload]
    print(f"{time.monotonic() - begun:7.1f} s  {what}", flush=True)
    if done.returncode:
        sys.exit(f"failed: {' '.join(map(str, words))[:200]}\n{done.stdout[-3000:]}")
    return str(done.stdout)


def built(folder: Path) -> None:
    """What repo2docker does with binder/: packages, an interpreter, the requirements, then postBuild as the user; no right of root's in the end."""
    uid, gid = user()
    home = folder / "home"
    home.mkdir()
    packed = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", str(home)], input=packed, check=True)
    packages = (home / "binder" / "apt.txt").read_text().split()
    missing = [package for package in packages if subprocess.run(["dpkg", "-s", package], capture_output=True, check=False).returncode]
    if missing:
        step(f"apt.txt: {' '.join(missing)}", ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing])
    wanted = (home / "binder" / "runtime.txt").read_text().strip().replace("-", "")
    python = shutil.which(wanted, path="/usr/bin:/usr/local/bin") or "/usr/bin/python3"
    print(f"           runtime.txt asks for {wanted}, this machine has {python}")
    step("an environment", [python, str(home / "tools" / "bootstrap.py"), str(folder / "env")])
    pip = [str(folder / "env/bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    step("what every Jupyter image has", [*pip, "jupyterlab", "nbclient", "ipykernel"], cwd=home)
    step("requirements.txt", [*pip, "-r", "binder/requirements.txt"], cwd=home)
    subprocess.run(["chown", "-R", f"{uid}:{gid}", str(home)], check=True)
    step("postBuild", inside(folder, SHAPES["no-userns"], [str(home / "binder" / "postBuild")]), cwd=home)


def inside(folder: Path, shape: Shape, command: list[str]) -> list[str]:
    """Gives the command line that runs a command in a shape, with the environment that was built and nothing else."""
    words = {"PATH": f"{folder}/env/bin:/usr/local/bin:/usr/bin:/bin", "HOME": str(folder / "home"), "LANG": "C.UTF-8"}
    variables = [f"{name}={shlex.quote(value)}" for name, value in words.items()]
    code = f"import sys; sys.path[:0] = [{str(ROOT)!r}]; from tools.binder import entered; entered({shape.name!r}, sys.argv[1:])"
    return ["env", "-i", *[word.replace("'", "") for word in variables], sys.executable, "-c", code, *command]


def entered(name: str, command: list[str]) -> None:
    """Becomes a visitor's process and the command."""
    become(SHAPES[name], *user())
    closed()
    os.execvp(command[0], command)


def closed() -> None:
    """Leaves TCP to the ports that a pod reaches; landlock(7), network rules. The name service asks by UDP."""
    capabilities.no_new_privileges()
    connect, refer = 1 << 1, 1 << 13
    # Moving files between folders is refused by every ruleset that does not allow it.
    attributes = struct.pack("QQ", refer, connect)
    try:
        ruleset = syscalls.raw("landlock_create_ruleset", ctypes.c_char_p(attributes), len(attributes), 0)
    except OSError:
        return
    everywhere = os.open("/", os.O_PATH)
    syscalls.raw("landlock_add_rule", ruleset, 1, ctypes.c_char_p(struct.pack("=Qi", refer, everywhere)), 0)
    os.close(everywhere)
    for port in PORTS:
        syscalls.raw("landlock_add_rule", ruleset, 2, ctypes.c_char_p(struct.pack("QQ", connect, port)), 0)
    syscalls.raw("landlock_restrict_self", ruleset, 0)
    os.close(ruleset)


def visited(folder: Path, place: str) -> bool:
    """Runs both parts of lesson one as a visitor and says how long they took; tells whether a visitor would have waited."""
    shape = SHAPES[PLACES[place]]
    home, group = folder / "home", f"dockerlab-binder-{os.getpid()}"
    print(f"== {place}: {shape.says}; 1 processor, {MEMORY >> 30} GB, ports {PORTS}")
    lessons = home if shape.user else folder / "home-root"
    if not shape.user:
        subprocess.run(["cp", "-a", f"{home}/.", str(lessons)], check=True)  # with the sockets of those who visited before
        subprocess.run(["chown", "-R", "0:0", str(lessons)], check=True)
    well = True
    for book in sorted((lessons / "notebooks").glob("01-*.ipynb"), reverse=True):
        words = inside(folder if shape.user else Path(str(folder)), shape, [f"{folder}/env/bin/python", "-c", PLAY, str(book), str(time.time())])
        words = [word.replace(f"HOME={home}", f"HOME={lessons}") for word in words]
        folders = limited(group)
        out = step(book.stem, ["taskset", "-c", "0", *words], cwd=lessons / "notebooks", preexec_fn=lambda folders=folders: cgroups.enter(cgroups.doors(folders)))
        times = json.loads(out.strip().splitlines()[-1])
        well &= times["first"] < FIRST and times["whole"] < WHOLE
        print(f"           first insight after {times['first']:.1f} s (< {FIRST}), whole lesson {times['whole']:.1f} s (< {WHOLE})")
    cgroups.remove(group, patience=5)
    return well


def limited(group: str) -> list[Path]:
    """Gives the folders of a control group with a pod's memory."""
    folders = cgroups.create(group)
    for folder in folders:
        for name in ("memory.max", "memory.limit_in_bytes"):
            if (folder / name).exists():
                (folder / name).write_text(str(MEMORY))
    return folders


if __name__ == "__main__":
    main()
