"""Other people's programs read our store and run our bundles."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dockerlab.engine import Container, Engine, RunOptions
from dockerlab.engine.containers import Attach

NAME = "docker.io/library/busybox:latest"
SCRIPT = "echo hi; id -u; hostname; cat /etc/hostname; grep CapEff /proc/self/status; pwd; echo $A; ls -d /proc/1; exit 7"


def tool(name: str) -> str:
    """Gives a program's path, or skips."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if not found:
        pytest.skip(f"{name} is not installed")
    return found


def output(*words: object) -> str:
    """Gives what a program wrote on stdout; fails with what it wrote on stderr."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False, timeout=60, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture
def shop(tmp_path: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """A store with busybox, and `changed`: one more layer, which adds, deletes and replaces."""
    if os.geteuid() and not shutil.which("newuidmap"):
        pytest.skip("neither root nor newuidmap: the store keeps owners elsewhere")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    engine = Engine(tmp_path / "home")
    made = engine.containers.run("busybox", ["sh", "-c", "echo x > /x; rm /bin/vi; rm -r /var; mkdir /var; chmod 700 /root; ln -s x /y; chown 1:1 /x"])
    made.commit("changed", message="for other tools")
    yield engine
    for container in engine.containers.list(all=True):
        container.remove(force=True)


def facts(engine: Engine, name: str) -> tuple[dict[str, Any], list[str]]:
    """Gives the config as it lies in the store, and its diff_ids."""
    image = engine.images.get(name)
    raw = json.loads(engine.content.read(image.manifest.config.digest))
    return raw, raw["rootfs"]["diff_ids"]


@pytest.mark.parametrize("name", ["busybox", "changed"])
def test_skopeo_inspects(shop: Engine, name: str) -> None:
    place = f"oci:{shop.home}:docker.io/library/{name}:latest"
    config, diff_ids = facts(shop, name)
    assert json.loads(output(tool("skopeo"), "inspect", "--config", "--raw", place)) == config
    seen = json.loads(output(tool("skopeo"), "inspect", place))
    image = shop.images.get(name)
    assert seen["Digest"] == image.record.manifest.digest
    assert seen["Layers"] == [layer.digest for layer in image.manifest.layers]
    assert seen["Env"] == config["config"]["Env"]
    assert (seen["Os"], seen["Architecture"]) == ("linux", image.config.architecture)
    assert len(seen["Layers"]) == len(diff_ids)


@pytest.mark.parametrize("target", ["dir", "docker-archive"])
def test_skopeo_copies(shop: Engine, tmp_path: Path, target: str) -> None:
    """To `docker-archive` every layer is decompressed and held against its diff_id."""
    config, diff_ids = facts(shop, "changed")
    copy = tmp_path / "copy"
    output(tool("skopeo"), "--insecure-policy", "copy", f"oci:{shop.home}:docker.io/library/changed:latest", f"{target}:{copy}")
    back = json.loads(output(tool("skopeo"), "inspect", "--config", "--raw", f"{target}:{copy}"))
    assert back["rootfs"]["diff_ids"] == diff_ids
    assert back["config"] == config["config"]


def test_umoci_lists(shop: Engine) -> None:
    assert sorted(output(tool("umoci"), "ls", "--layout", shop.home).split()) == ["docker.io/library/busybox:latest", "docker.io/library/changed:latest"]


_MADE = [word for path in ("/etc/resolv.conf", "/etc/mtab", "/.dockerenv") for word in ("!", "-path", path)]


def listed(text: str) -> list[str]:
    """Gives the lines of both `find`s without mount points."""
    return sorted(line for line in text.splitlines() if line.split()[0] not in ("/", "/proc", "/dev", "/sys", "/etc"))


def test_umoci_unpacks_what_our_container_sees(shop: Engine, tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("umoci sets owners only as root")
    bundle = tmp_path / "bundle"
    output(tool("umoci"), "unpack", "--image", f"{shop.home}:docker.io/library/changed:latest", bundle)
    config = json.loads((bundle / "config.json").read_text())
    assert config["process"]["env"][0] == facts(shop, "changed")[0]["config"]["Env"][0]
    listing = ["find", "/", "-xdev", "!", "-path", "/proc/*", "!", "-path", "/sys/*", "!", "-path", "/dev/*", "!", "-path", "/etc/hos*", *_MADE]
    seen: list[bytes] = []
    shop.containers.run("changed", [*listing, "-exec", "stat", "-c", "%n %a %u %g %F", "{}", "+"], RunOptions(rm=True), stdout=seen.append)
    theirs = output("chroot", bundle / "rootfs", "/bin/busybox", *listing, "-exec", "stat", "-c", "%n %a %u %g %F", "{}", "+")
    ours = listed(b"".join(seen).decode())
    assert ours == listed(theirs)
    assert any(line.startswith("/x 644 1 1 ") for line in ours)
    assert not any(line.startswith("/bin/vi ") for line in ours)


def bundle_of(container: Container, engine: Engine, folder: Path) -> Path:
    """Gives a copy of our container's bundle with the image's files in its rootfs."""
    shutil.copytree(engine.container_store.folder(container.id) / "bundle", folder)
    rootfs = folder / "rootfs"
    rootfs.mkdir(exist_ok=True)
    archive = folder / "all.tar"
    with open(archive, "wb") as file:
        container.export(file.fileno())
    output("tar", "-C", rootfs, "--numeric-owner", "-xpf", archive)
    archive.unlink()
    return folder


def run_crun(bundle: Path, state: Path) -> subprocess.CompletedProcess[str]:
    """Runs a bundle with crun; where it refuses a hybrid cgroup layout, in a mount namespace without the unified half."""
    words = [tool("crun"), "--root", str(state), "--cgroup-manager=disabled", "run", "-b", str(bundle), "dockerlab-compat"]
    done = _limited(words)
    if "hybrid" in done.stderr:
        return _limited([tool("unshare"), "-m", "--propagation", "private", "sh", "-c", 'umount -l /sys/fs/cgroup/unified; exec "$@"', "sh", *words])
    return done


def run_runc(bundle: Path, state: Path) -> subprocess.CompletedProcess[str]:
    """Runs a bundle with runc, which makes the cgroup that the bundle names."""
    return _limited([tool("runc"), "--root", str(state), "run", "-b", str(bundle), "dockerlab-compat"])


def _limited(words: list[str]) -> subprocess.CompletedProcess[str]:
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            out, err = process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(words, process.returncode, out, err)


CASES = {
    "plain": RunOptions(env={"A": "b"}),
    "settings": RunOptions(env={"A": "c"}, hostname="box", workdir="/tmp", cap_drop=("ALL",), cap_add=("CHOWN",), no_new_privileges=True, read_only=True),
    "own network": RunOptions(network="none"),
    "volume": RunOptions(volume=("data:/data:ro",)),
}


@pytest.mark.skipif(os.geteuid() != 0, reason="the bundle of another tier than root names a user namespace that its launcher holds")
@pytest.mark.parametrize("runner", [run_crun, run_runc], ids=["crun", "runc"])
@pytest.mark.parametrize("case", list(CASES))
def test_a_runtime_takes_our_bundle(shop: Engine, tmp_path: Path, runtime: Path, runner: Any, case: str) -> None:
    container = shop.containers.create("changed", ["sh", "-c", SCRIPT], CASES[case])
    done = runner(bundle_of(container, shop, tmp_path / "bundle"), runtime / "state")
    out_in, out = os.pipe()
    session = container.start(Attach(None, out, out))
    os.close(out)
    seen: list[bytes] = []
    code = container.watch(session, {out_in: seen.append})
    os.close(out_in)
    assert (done.returncode, done.stdout, done.stderr) == (code, b"".join(seen).decode(), "")
    assert code == 7
