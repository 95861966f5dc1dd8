"""Containers on disk: names are one holder's, and a killed process leaves nothing half made."""

from __future__ import annotations

import os
import random
import signal
import struct
import threading
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dockerlab.errors import AlreadyExists, CorruptContent, NotFound, StoreError
from dockerlab.linux import syscalls
from dockerlab.store.containers import ContainerStore, Record, State, new_id, started_at
from dockerlab.store.logs import Log, read_log


def record(name: str, ident: str = "") -> Record:
    return Record(
        id=ident or new_id(),
        name=name,
        created="2024-01-01T00:00:00Z",
        image_id="sha256:" + "0" * 64,
        image="app",
        path="/bin/true",
        args=(),
        config={},
        host={},
        snapshotter="native",
    )


def write_state(store: ContainerStore, ident: str, text: str) -> None:
    (store.folder(ident) / "state.json").write_text(text)


def test_create_find_discard(tmp_path: Path) -> None:
    store = ContainerStore(tmp_path)
    made = record("web", "ab" * 32)
    store.create(made, b"{}")
    store.create(record("db", "ac" * 32), b"{}")
    for text in ("web", "/web", made.id, made.id[:12], "ab"):
        assert store.find(text) == made
    for text in ("", "/", "a", "w", "zz", "../web", ".", "..", "names", "web/", "we\0b", "x" * 300):
        with pytest.raises(NotFound):
            store.find(text)
    store.discard(made)
    assert [r.name for r in store.records()] == ["db"]
    store.discard(made)
    with pytest.raises(NotFound, match="No such container: web"):
        store.find("web")


def test_a_taken_name_leaves_nothing(tmp_path: Path) -> None:
    store = ContainerStore(tmp_path)
    first, second = record("web"), record("web")
    store.create(first, b"{}")
    with pytest.raises(AlreadyExists, match=f'already in use by container "{first.id}"'):
        store.create(second, b"{}")
    assert sorted(os.listdir(store.root)) == sorted([first.id, "names"]) and os.listdir(store.names) == ["web"]
    store.discard(second)
    assert store.find("web") == first


def test_forty_processes_want_ten_names(tmp_path: Path) -> None:
    ContainerStore(tmp_path)
    children = []
    for number in range(40):
        child = os.fork()
        if child == 0:
            try:
                store, wins = ContainerStore(tmp_path), 0
                for turn in range(5):
                    made = record(f"n{(number + turn) % 10}")
                    try:
                        store.create(made, b"{}")
                        assert store.find(made.name) == made
                        if turn % 2:
                            store.discard(made)
                    except AlreadyExists:
                        wins += 0
                    list(store.records())
                os._exit(0)
            except BaseException as error:
                print(repr(error))
                os._exit(1)
        children.append(child)
    assert {os.waitpid(child, 0)[1] for child in children} == {0}
    store = ContainerStore(tmp_path)
    held = [store.holder(name) for name in os.listdir(store.names)]
    assert len(held) == len(set(held)) <= 10
    assert sorted(os.listdir(store.root)) == sorted([*held, "names"])


@pytest.mark.parametrize("turn", range(20))
def test_a_killed_creator_leaves_whole_containers(tmp_path: Path, turn: int) -> None:
    store = ContainerStore(tmp_path)
    child = os.fork()
    if child == 0:
        for number in range(10_000):
            made = record(f"n{number}")
            store.create(made, b"{}")
            if number % 3 == 0:
                store.discard(made)
    time.sleep(random.Random(turn).uniform(0.005, 0.03))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    found = list(store.records())
    assert len({r.name for r in found}) == len(found) == len(store.ids())
    for one in found:
        assert (store.folder(one.id) / "bundle" / "config.json").read_bytes() == b"{}" and store.state(one.id) == State()
    for folder in store.root.iterdir():
        os.utime(folder, (1, 1))
    left = store.leftovers()
    assert len(left) <= 1 and not set(left) & set(store.ids())
    store.create(record("after"), b"{}")


@pytest.mark.parametrize("text", ["", "{", "null", "[]", '{"status":7}', '{"pid":"x"}', "\x00", '{"status":"running"'])
def test_a_damaged_state_counts_as_killed(tmp_path: Path, text: str) -> None:
    store = ContainerStore(tmp_path)
    made = record("web")
    store.create(made, b"{}")
    write_state(store, made.id, text)
    assert (store.state(made.id).status, store.state(made.id).exit_code) == ("exited", 137)
    (store.folder(made.id) / "container.json").write_text(text)
    with pytest.raises(CorruptContent, match="damaged container.json"):
        store.get(made.id)


def test_a_state_whose_monitor_is_gone(tmp_path: Path) -> None:
    store = ContainerStore(tmp_path)
    made = record("web")
    store.create(made, b"{}")
    here = os.getpid()
    write_state(store, made.id, f'{{"status":"running","pid":{here},"monitor":{here},"monitor_began":{started_at(here)}}}')
    assert store.state(made.id).status == "running"
    write_state(store, made.id, f'{{"status":"running","pid":{here},"monitor":{here},"monitor_began":{started_at(here) - 1}}}')
    assert (store.state(made.id).status, store.state(made.id).error) == ("exited", "its monitor was killed")
    assert started_at(2**22 + 1) == 0


def test_a_log_is_read_to_its_last_whole_chunk(tmp_path: Path) -> None:
    log = Log(tmp_path / "log")
    for stream, data in ((1, b"out"), (2, b""), (2, b"err" * 1000)):
        log.write(stream, data)
    log.close()
    whole = (tmp_path / "log").read_bytes()
    for size in range(0, len(whole) + 1, 7):
        (tmp_path / "log").write_bytes(whole[:size])
        read = [(stream, data) for _, stream, data in read_log(tmp_path / "log")]
        assert read == [(1, b"out"), (2, b""), (2, b"err" * 1000)][: len(read)]
    (tmp_path / "log").write_bytes(whole)
    assert len(list(read_log(tmp_path / "log"))) == 3 and list(read_log(tmp_path / "none")) == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.binary(max_size=200))
def test_a_log_of_noise_ends(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "log").write_bytes(raw + struct.pack("<QBI", 1, 1, 0xFFFFFFFF))
    assert sum(len(data) for *_, data in read_log(tmp_path / "log")) <= len(raw) + 13


@pytest.mark.parametrize("flags", [0, syscalls.MS_RDONLY], ids=["full", "read-only"])
def test_a_disk_that_takes_nothing_is_said(tmp_path: Path, flags: int) -> None:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        answer = "nothing"
        try:
            syscalls.unshare(syscalls.CLONE_NEWNS)
            syscalls.mount(None, "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
            syscalls.mount("tmpfs", str(tmp_path), "tmpfs", 0, "size=256k")
        except OSError:
            os.write(writer, b"refused")
            os._exit(0)
        try:
            store = ContainerStore(tmp_path)
            if flags:
                syscalls.mount("tmpfs", str(tmp_path), "tmpfs", flags | syscalls.MS_REMOUNT)
            for number in range(2000):
                store.create(record(f"n{number}"), b"{}")
        except StoreError as error:
            answer = (
                f"{len(list(store.records())) == number and not [n for n in os.listdir(store.names) if n.startswith('.')]} {error.message}"
            )
        except BaseException as error:
            answer = repr(error)
        os.write(writer, answer.encode())
        os._exit(0)
    os.close(writer)
    with open(reader) as file:
        answer = file.read()
    os.waitpid(child, 0)
    if answer == "refused":
        pytest.skip("a tmpfs cannot be mounted here")
    assert answer.startswith("True cannot write") and ("read-only" if flags else "no space left") in answer


@pytest.mark.parametrize("content", [b"", b"../../x", b"\xff\xfe", b"ab" * 31])
def test_a_damaged_name_leads_nowhere(tmp_path: Path, content: bytes) -> None:
    store = ContainerStore(tmp_path)
    store.create(record("web"), b"{}")
    (store.names / "web").write_bytes(content)
    assert (store.holder("web"), store.ids()) == ("", [])
    with pytest.raises(NotFound):
        store.find("web")


def test_changes_of_several_are_all_kept(tmp_path: Path) -> None:
    store = ContainerStore(tmp_path)
    made = record("one")
    store.create(made, b"{}")
    ident = made.id

    def renames() -> None:
        for number in range(30):
            store.rename(store.get(ident), f"name{number}")

    def counts(key: str) -> None:
        for _ in range(30):
            store.revise(ident, lambda now: msgspec.structs.replace(now, host={**now.host, key: now.host.get(key, 0) + 1}))

    working = [threading.Thread(target=renames), *(threading.Thread(target=counts, args=(key,)) for key in "ab")]
    for thread in working:
        thread.start()
    for thread in working:
        thread.join()
    found = store.get(ident)
    assert (found.name, found.host["a"], found.host["b"]) == ("name29", 30, 30)
    assert [name.name for name in store.names.iterdir() if not name.name.startswith(".")] == ["name29"]
    with pytest.raises(NotFound):
        store.revise("0" * 64, lambda now: now)
