"""`--mount`, `--tmpfs`, `--volumes-from`: their words, and what a container sees of them in every tier."""

from __future__ import annotations

from pathlib import Path

import pytest

from dockerlab.commands.mounting import mount as mount_word
from dockerlab.engine import Engine, RunOptions
from dockerlab.engine.mounts import MountWord, checked, tmpfs_options
from dockerlab.errors import ContainerError, InvalidArgument, InvalidRequest, NotFound, NotSupportedHere

pytestmark = pytest.mark.files


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("type=bind,src=/a,dst=/b,ro,bind-propagation=rslave", MountWord("bind", "/a", "/b", True, propagation="rslave")),
        ("source=v,target=/b,volume-nocopy,volume-label=a=b", MountWord("volume", "v", "/b", nocopy=True, labels={"a": "b"})),
        ("type=tmpfs,destination=/t,tmpfs-size=1m,tmpfs-mode=700", MountWord("tmpfs", "", "/t", tmpfs="size=1048576,mode=700")),
        ('type=bind,"source=/a,b",target=/b,readonly=false,consistency=cached', MountWord("bind", "/a,b", "/b")),
    ],
)
def test_words_of_mount(text: str, word: MountWord) -> None:
    assert mount_word(text) == word


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("foo", "invalid field 'foo' must be a key=value pair"),
        ("type=bind,foo=bar,dst=/x", "unexpected key 'foo' in 'foo=bar'"),
        ("src=/etc", "target is required"),
        ("dst=/x,ro=maybe", "invalid value for readonly: maybe"),
        ("type=tmpfs,dst=/x,tmpfs-size=big", "invalid value for tmpfs-size: big"),
        ("type=tmpfs,dst=/x,tmpfs-mode=9", "invalid value for tmpfs-mode: 9"),
        ("type=bind,src=/a,dst=/x,volume-nocopy", "cannot mix 'volume-\\*' options with mount type 'bind'"),
    ],
)
def test_words_that_are_none(text: str, said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        mount_word(text)


def test_what_is_not_done_is_refused_by_name() -> None:
    with pytest.raises(NotSupportedHere):
        mount_word("dst=/x,volume-driver=nfs")


def test_mounts_that_travel(engine: Engine, tmp_path: Path) -> None:
    here, shows = str(tmp_path), r"""grep ' /x ' /proc/self/mountinfo"""
    for word, out in (("rshared", True), ("slave", False)):
        if engine.capabilities.mounts and (engine.capabilities.direct or not out):
            # What pytest's folder lies on is whatever this host made of it.
            try:
                assert ("shared:" if out else "master:") in said(engine, shows, volume=(f"{here}:/x:{word}",))
            except ContainerError as error:
                assert error.exit_code == 125 and error.message.startswith(f"path {here} is mounted on /") and "but it is not a shared" in error.message
        else:
            with pytest.raises(NotSupportedHere, match=f"propagation {word} of /x"):
                said(engine, "true", volume=(f"{here}:/x:{word}",))
    for wrong in ("shared,slave", "rslave,rslave"):
        with pytest.raises(InvalidRequest, match=f"invalid mode: {wrong}"):
            said(engine, "true", volume=(f"{here}:/x:{wrong}",))
    with pytest.raises(InvalidRequest, match="field BindOptions must not be specified"):
        said(engine, "true", volume=("vol:/x:private",))
    with pytest.raises(InvalidRequest, match="invalid propagation mode: wrong"):
        said(engine, "true", mount=(MountWord("bind", here, "/x", propagation="wrong"),))


@pytest.mark.parametrize(
    ("word", "said"),
    [
        (MountWord("x", "", "/e"), 'invalid mount config for type "x": mount type unknown'),
        (MountWord("bind", "", "/e"), "field Source must not be empty"),
        (MountWord("bind", "rel", "/e"), "invalid mount path: 'rel' mount path must be absolute"),
        (MountWord("bind", "/nowhere/at/all", "/e"), "bind source path does not exist: /nowhere/at/all"),
        (MountWord("tmpfs", "/x", "/e"), "field Source must not be specified"),
        (MountWord("volume", "", "/e", readonly=True), "must not set ReadOnly mode when using anonymous volumes"),
        (MountWord("volume", "v", "/"), "destination can't be '/'"),
    ],
)
def test_what_the_daemon_refuses(word: MountWord, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        checked(word)


def test_options_of_a_tmpfs() -> None:
    assert tmpfs_options(["/a", "/b:size=1m,exec,mode=700"]) == {"/a": "", "/b": "size=1m,exec,mode=700"}
    for word, said in (("t", "must be absolute"), ("/t:foo", r'invalid tmpfs option \["foo"\]'), ("/t:loop=x", "invalid tmpfs option")):
        with pytest.raises(InvalidRequest, match=said):
            tmpfs_options([word])


def said(engine: Engine, script: str, **options: object) -> str:
    out: list[bytes] = []
    engine.containers.run("busybox", ["sh", "-c", script], RunOptions(**options), stdout=out.append)  # type: ignore[arg-type]
    return b"".join(out).decode()


def test_a_tmpfs_is_empty_and_forgotten(engine: Engine) -> None:
    container = engine.containers.create("busybox", ["sh", "-c", "ls -A /etc/init.d /t; stat -c %a /t; echo x > /t/f && echo y > /tmp/g; ls /t"],
                                         RunOptions(tmpfs=("/t",), mount=(MountWord("tmpfs", "", "/tmp", tmpfs="mode=700"),)))  # fmt: skip
    for _ in range(2):
        container.start(detach=True).close()
        container.wait(timeout=10)
    lines = b"".join(data for _, stream, data in container.logs() if stream == 1).decode().split("\n")
    assert lines.count("1777") == 2 and lines.count("f") == 2
    assert [str(change) for change in container.diff() if "/t/" in change.path or "/tmp/" in change.path] == []
    if engine.capabilities.mounts:
        seen = said(engine, "grep ' /t ' /proc/mounts; df -k /t /dev/shm | awk 'NR>1 {print $2}'", tmpfs=("/t:size=1m,exec",), shm_size=2 << 20)
        assert "noexec" not in seen and seen.split("\n")[1:3] == ["1024", "2048"]


def test_mounts_of_another_container(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("m\n")
    first = engine.containers.create("busybox", ["true"], RunOptions(volume=("data:/d", f"{tmp_path}:/h:ro", "/anon"), name="first"))
    said(engine, "echo kept > /d/f; echo a > /anon/f", volumes_from=("first",))
    assert said(engine, "cat /d/f /h/mine /anon/f; echo no > /h/mine; echo no > /d/f", volumes_from=("first:ro",)) == "kept\nm\na\n"
    assert (tmp_path / "mine").read_text() == "m\n"
    assert said(engine, "cat /d/f; ls /anon", volumes_from=("first",), volume=("other:/anon",)) == "kept\n"
    with pytest.raises(NotFound, match="No such container: nosuch"):
        said(engine, "true", volumes_from=("nosuch",))
    with pytest.raises(InvalidRequest, match="invalid mode: x"):
        said(engine, "true", volumes_from=("first:x",))
    first.remove(volumes=True)


def test_mounts_by_word(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("m\n")
    words = (MountWord("bind", str(tmp_path), "/h", True), MountWord("volume", "fresh", "/bin2"), MountWord("volume", "bare", "/etc/init.d", nocopy=True))
    assert said(engine, "cat /h/mine; echo x > /h/mine; echo v > /bin2/f; ls /etc/init.d", mount=words) == "m\n"
    assert (tmp_path / "mine").read_text() == "m\n" and said(engine, "cat /x/f", volume=("fresh:/x",)) == "v\n"
    with pytest.raises(InvalidRequest, match="Duplicate mount point: /h"):
        said(engine, "true", mount=words, volume=("vol:/h",))
    engine.containers.create("busybox", ["true"], RunOptions(mount=(MountWord("volume", "tagged", "/v", labels={"a": "b"}),)))
    assert engine.volumes.get("tagged").labels == {"a": "b"}
