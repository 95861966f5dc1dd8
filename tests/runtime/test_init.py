"""The order of the kernel's calls, without the kernel."""

from __future__ import annotations

import pytest

from dockerlab.linux.door import Door
from dockerlab.oci.config import RunConfig
from dockerlab.runtime import init
from dockerlab.runtime.generate import Options, generate
from dockerlab.store.snapshots import Mount


def calls(monkeypatch: pytest.MonkeyPatch, options: Options) -> list[str]:
    """Gives the names of the calls that build a world, none of which reaches the kernel."""
    for name in ("mask", "make_readonly", "loopback_up"):
        monkeypatch.setattr(init, name, lambda k, *_: None)
    monkeypatch.setattr(init.os, "close", lambda _: None)
    k = Door(dry=True)
    start = init.Start(generate(RunConfig(cmd=("true",)), options), "/rootfs", (Mount("overlay", "overlay", ("lowerdir=a",), "/store"),))
    init.build_the_world(k, start)
    return [f"{call.name} {call.args[1] if call.name == 'mount' else ''}".strip() for call in k.calls]


def test_the_world_is_built_in_the_kernels_order(monkeypatch: pytest.MonkeyPatch) -> None:
    order = calls(monkeypatch, Options(hostname="box", readonly=True))
    steps = ["setsid", "mount /", "chdir", "mount /rootfs", "fchdir", "pivot_root", "umount2", "mount_setattr_readonly", "sethostname"]
    places = [order.index(step) for step in steps]
    assert places == sorted(places)


def test_every_call_is_noted_with_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    k = Door()
    with pytest.raises(OSError):
        k.rmdir("/no/such/folder")
    (call,) = k.calls
    assert (call.name, call.errno, call.args) == ("rmdir", 2, ("/no/such/folder",)) and call.line > 0 and b'"rmdir"' in k.notes()


def test_a_spec_is_dockers_by_default() -> None:
    spec = generate(RunConfig(cmd=("true",)), Options(hostname="box", network="none", cap_drop=("ALL",), cap_add=("NET_RAW",)))
    assert [n.type for n in spec.linux.namespaces] == ["mount", "pid", "ipc", "uts", "network"]
    assert spec.process.capabilities is not None and spec.process.capabilities.bounding == ("CAP_NET_RAW",)
    assert "/proc/kcore" in spec.linux.masked_paths and "/proc/sys" in spec.linux.readonly_paths
    assert {m.destination for m in spec.mounts} >= {"/proc", "/dev", "/dev/pts", "/sys", "/dev/shm", "/dev/null"}
