"""`scan` says what `find` finds in a container, and what no find can: which layer, what became of it, who may use it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from dockerlab.engine import Engine, RunOptions
from dockerlab.engine.scan import baseline
from dockerlab.engine.views import union
from dockerlab.errors import InvalidArgument
from dockerlab.widgets import setid
from tests.conftest import strongest

pytestmark = pytest.mark.files

DOCKERFILE = """FROM busybox
RUN adduser -D example; cp /bin/busybox /root-shell; chmod 4755 /root-shell; chmod 2755 /var; echo x > /note; chmod 666 /note; mkdir -m 777 /open
RUN cp /root-shell /twice; chmod 6755 /twice; chown 0:42 /twice; chmod 4755 /twice; mkdir -m 700 /shut; cp /note /shut/f; chmod 4777 /shut/f
RUN chmod u-s /root-shell; rm /note
"""


@pytest.fixture
def one(make_engine: Callable[[str], Engine]) -> Engine:
    """An engine in the strongest tier: what layers say is the same in all."""
    return make_engine(strongest())


def made(engine: Engine, tmp_path: Path) -> str:
    (tmp_path / "context").mkdir()
    engine.builds.build(DOCKERFILE, tmp_path / "context", tags=("app",))
    return "app"


def test_what_find_finds(engine: Engine, tmp_path: Path) -> None:
    name = made(engine, tmp_path)
    found = engine.images.scan(name)
    out: list[bytes] = []
    apart = " -o ".join(f"-path {path}" for path in ("/proc", "/sys", "/dev", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"))
    script = rf"find / -xdev \( {apart} \) -prune -o -type f \( -perm -4000 -o -perm -2010 -o -perm -2 \) -print"
    engine.containers.run(name, ["sh", "-c", script], RunOptions(), stdout=out.append)
    folders = {"/open"}
    assert sorted(b"".join(out).decode().split()) == sorted(set(found.acting) - folders) == ["/shut/f", "/twice"]
    assert folders < set(found.acting)


def test_what_is_told(one: Engine, tmp_path: Path) -> None:
    found = one.images.scan(made(one, tmp_path))
    rows = {row.path: row for row in found.scan.rows}
    assert rows["/twice"].what == "set-uid root" and rows["/twice"].layer == 2 and rows["/twice"].made_by.startswith("RUN cp /root-shell /twice") and rows["/twice"].who == "everybody may run it"
    assert rows["/shut/f"].who == "only root may run it" and rows["/open"].what == "no sticky bit"
    assert (rows["/root-shell"].fate, rows["/root-shell"].mode, rows["/root-shell"].mode_after, rows["/root-shell"].layer_after) == ("cleared", "-rwsr-xr-x", "-rwxr-xr-x", 3)
    assert (rows["/note"].fate, rows["/note"].mode_after) == ("deleted", "gone")
    assert "was set-uid root" in str(found) and "still ship in layer 1" in str(found)
    assert json.loads(json.dumps(found.facts()))[0]["fate"] == "acts"


def test_the_line_that_brought_a_file(one: Engine, tmp_path: Path) -> None:
    def lines(name: str) -> set[tuple[str, str, str]]:
        return {(row.path, row.line, row.line_after) for row in one.images.scan(name).scan.rows}

    name = made(one, tmp_path)
    assert {("/twice", "Dockerfile:3", ""), ("/root-shell", "Dockerfile:2", "Dockerfile:4"), ("/note", "Dockerfile:2", "Dockerfile:4")} <= lines(name)
    assert "layer 2, Dockerfile:3  RUN cp" in str(one.images.scan(name)) and "cleared later, by layer 3, Dockerfile:4: RUN chmod" in str(one.images.scan(name))
    one.builds.build("# moved\n\n" + DOCKERFILE, tmp_path / "context", name="other.df")
    assert ("/twice", "other.df:5", "") in lines(name), "every step was there, and stands elsewhere now"
    one.builds.build("FROM app\nRUN touch /own; chmod 4755 /own\n", tmp_path / "context", name="own.df", tags=("below",))
    assert {("/own", "own.df:2", ""), ("/twice", "other.df:5", "")} <= lines("below"), "a base image's steps keep their own file"
    one.builds.build(DOCKERFILE, tmp_path / "context", tags=("app",))
    assert ("/twice", "Dockerfile:3", "") in lines(name), "the last build of a step says where it stands"
    (one.home / "build-cache.db").unlink()
    assert {line for _, line, _ in lines(name)} == {""}, "nobody knows any more"
    (one.home / "build-cache.db").unlink()
    (one.home / "build-cache.db").mkdir()
    assert {line for _, line, _ in lines(name)} == {""}, "a scan needs no cache of builds"


def test_a_baseline(one: Engine, tmp_path: Path) -> None:
    name, file = made(one, tmp_path), tmp_path / "known.json"
    file.write_text(json.dumps(one.images.scan(name).facts()))
    assert one.images.scan(name, known=baseline(file)).objected == []
    weaker = [{**facts, "what": "world-writable"} if facts["path"] == "/twice" else facts for facts in one.images.scan(name).facts()]
    file.write_text(json.dumps(weaker))
    assert one.images.scan(name, known=baseline(file)).objected == ["/twice"], "a file that gives more than was accepted is another"
    file.write_text('["/twice"]')
    again = one.images.scan(name, known=baseline(file))
    assert again.objected == ["/open", "/shut/f"] and str(again).count("  new") == 2
    for text in ("{}", "[1]", "no", "[" * 10000):
        file.write_text(text)
        with pytest.raises(InvalidArgument, match="baseline known.json"):
            baseline(file)


def test_hostile_names(one: Engine, tmp_path: Path) -> None:
    evil = "/<img src=x onerror=alert(1)>\u202e"
    one.containers.run("busybox", ["sh", "-c", f"cp /bin/busybox '{evil}'; chmod 4755 '{evil}'"]).commit("evil")
    found = one.images.scan("evil")
    html = found._repr_mimebundle_()["text/html"]
    assert "<img" not in html and "\u202e" not in html + str(found) and "&lt;img" in html


def test_a_hostile_passwd(one: Engine, tmp_path: Path) -> None:
    """Names and numbers in it are the image's: no escape reaches a terminal, no digit that is none of ASCII's is a number."""
    script = r"""printf 'root:x:0:0::/:\nu:x:\302\262:7::/:\nlong:x:%s:7::/:\n\033]0;pwn\007:x:77:0::/:\n' $(printf '9%.0s' $(seq 5000)) > /etc/passwd
cp /bin/busybox /mine; chown 77 /mine; chmod 4755 /mine"""
    one.containers.run("busybox", ["sh", "-c", script]).commit("odd")
    found = one.images.scan("odd")
    assert found.acting == ["/mine"] and "\x1b" not in str(found) + json.dumps(found.facts()) + found._repr_mimebundle_()["text/html"]
    assert "set-uid \\x1b]0;pwn\\x07" in str(found)


def test_what_layers_say(one: Engine, tmp_path: Path) -> None:
    found = union(made(one, tmp_path), engine=one)
    facts = found.facts()
    assert [layer["layer"] for layer in facts["layers"]] == [0, 1, 2, 3] and facts["bytes"] == sum(layer["bytes"] for layer in facts["layers"])
    assert facts["layers"][3]["deleted"] == 1 and facts["layers"][1]["hidden"] > 1_000_000 and 0 < facts["efficiency"] < 1
    assert "are hidden by later layers, and ship all the same" in str(found) and json.loads(json.dumps(facts)) == facts
    assert "no layer holds bytes that a later one hides" in str(union("busybox", engine=one))


def test_an_image_without_any() -> None:
    scan = setid.Scan("x", ())
    assert setid.text(scan) == "x: no file gives rights to whoever runs or writes it" and "no file gives" in setid.html(scan)


def test_a_layer_that_ships_the_same_bytes_again_says_so(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"content\n" * 1000)
    engine.builds.build("FROM busybox\nCOPY big /big\nRUN chmod 600 /big\nRUN echo x >> /big\n", tmp_path, tags=("twice",))
    seen = union("twice", "/big", engine=engine)
    lines = [line for line in str(seen).splitlines() if "changed" in line]
    assert ["same content" in line for line in lines] == [False, True] and "same content, mode 644 → 600" in str(seen)
    digests = [each["digest"] for each in seen.facts()["paths"]["/big"]]
    assert digests[0] == digests[1] == "sha256:" + hashlib.sha256(b"content\n" * 1000).hexdigest() != digests[2]


def test_side_by_side(one: Engine, tmp_path: Path) -> None:
    before = made(one, tmp_path)
    one.builds.build("FROM app\nRUN chmod u-s,g-s /twice; rm /shut/f; chmod 6711 /root-shell; cp /bin/busybox /new; chmod 4755 /new\n", tmp_path / "context", name="own.df", tags=("later",))
    found = one.images.scan("later").beside(one.images.scan(before))
    assert [(change.path, change.state, change.before, change.after) for change in found.changes] == [
        ("/new", "acts now", "gone", "-rwsr-xr-x"), ("/root-shell", "acts now", "-rwxr-xr-x", "-rws--s--x"), ("/open", "still acts", "drwxrwxrwx", "drwxrwxrwx"),
        ("/shut/f", "acts no more", "-rwsrwxrwx", "gone"), ("/twice", "acts no more", "-rwsr-xr-x", "-rwxr-xr-x"),
    ]  # fmt: skip
    assert found.objected == ["/new", "/root-shell"] and {change.by.partition(":")[0] for change in found.changes if change.path != "/open"} == {"layer 4, own.df"}
    assert str(found).startswith("app:latest → later:latest: 2 act now, 1 still acts, 2 act no more\n+ acts now") and json.loads(json.dumps(found.facts()))[0]["path"] == "/new"
    page = found._repr_mimebundle_()["text/html"]
    assert "✓ acts no more, by layer 4" in page and "was: everybody may run it" in page
    assert one.images.scan("later").beside(one.images.scan("later")).objected == []


def test_modes_as_find_takes_them(one: Engine, tmp_path: Path) -> None:
    name = made(one, tmp_path)
    assert one.images.scan(name, perm="/6000").acting == one.images.scan(name, perm="+6000").acting == ["/shut/f", "/twice"]
    assert one.images.scan(name, perm="-4777").acting == ["/shut/f"] and one.images.scan(name, perm="777").acting == ["/open"]
    assert one.images.scan(name, perm="/0").acting == one.images.scan(name).acting
    with pytest.raises(InvalidArgument, match="invalid mode 'u=s'"):
        one.images.scan(name, perm="u=s")


def test_an_image_that_lists_no_users(one: Engine, tmp_path: Path) -> None:
    (tmp_path / "context").mkdir()
    text = "FROM scratch\nCOPY --chmod=4755 f /su\nCOPY --chmod=4700 f /shut\nCOPY --chmod=666 f /ww\nCOPY --chmod=4750 --chown=0:7 f /ours\nUSER 1234:7\n"
    (tmp_path / "context" / "f").write_bytes(b"\x7fELF")
    one.builds.build(text, tmp_path / "context", tags=("bare",))
    rows = {row.path: row for row in one.images.scan("bare").scan.rows}
    assert {path: row.who for path, row in rows.items()} == {"/su": "everybody may run it", "/shut": "only root may run it", "/ww": "everybody may write it", "/ours": "1234 may run it"}
    assert rows["/su"].gives.startswith("becomes another user") and rows["/su"].source == "su(1)" and rows["/shut"].source == "credentials(7)" and rows["/su"].owner == "root:root"


def test_the_kernel_takes_no_rights_from_a_script(one: Engine, tmp_path: Path) -> None:
    (tmp_path / "context").mkdir()
    one.builds.build("FROM busybox\nRUN printf '#!/bin/sh\\nid -u\\n' > /s; chmod 4755 /s; cp /bin/busybox /b; chmod 4755 /b\n", tmp_path / "context", tags=("script",))
    rows = {row.path: row for row in one.images.scan("script").scan.rows}
    assert rows["/s"].gives.startswith("nothing: ") and rows["/s"].source == "execve(2)" and rows["/b"].gives.startswith("runs as root")


def test_another_file_in_its_place_is_no_cleared_one(one: Engine, tmp_path: Path) -> None:
    (tmp_path / "context").mkdir()
    one.builds.build("FROM busybox\nRUN cp /bin/busybox /a; cp /a /b; chmod 4755 /a /b\nRUN rm /a; echo x > /a; chmod 755 /b\n", tmp_path / "context", tags=("other",))
    assert {row.path: row.fate for row in one.images.scan("other").scan.rows} == {"/a": "replaced", "/b": "cleared"}


def compared(one: Engine, folder: Path, before: str, after: str, perm: str = "") -> list[tuple[str, ...]]:
    """Two images that have nothing but their base in common."""
    for name, lines in (("first", before), ("second", after)):
        one.builds.build(f"FROM busybox\nRUN {lines}\n", folder, tags=(name,))
    return [(c.path, c.state, c.before, c.after, c.how) for c in one.images.scan("second").beside(one.images.scan("first"), perm).changes]


def test_side_by_side_whatever_is_another(one: Engine, tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    put = "cp /bin/busybox /y; chmod"
    assert compared(one, tmp_path / "c", f"{put} 755 /y", f"{put} 4755 /y") == [("/y", "acts now", "-rwxr-xr-x", "-rwsr-xr-x", "")]
    assert compared(one, tmp_path / "c", f"{put} 4755 /y", f"{put} 755 /y") == [("/y", "acts no more", "-rwsr-xr-x", "-rwxr-xr-x", "")]
    [(_, state, _, _, how)] = compared(one, tmp_path / "c", "mkdir -m 700 /d; cp /bin/busybox /d/y; chmod 4755 /d/y", "mkdir -m 755 /d; cp /bin/busybox /d/y; chmod 4755 /d/y")
    assert (state, how) == ("acts otherwise", "everybody may run it")
    [(_, state, _, _, how)] = compared(one, tmp_path / "c", f"{put} 4755 /y", f"{put} 4755 /y; echo >> /y; chmod 4755 /y")
    assert (state, how) == ("acts otherwise", "other content")
    assert compared(one, tmp_path / "c", f"{put} 4755 /y", f"{put} 4711 /y", "4755") == [("/y", "acts otherwise", "-rwsr-xr-x", "-rws--x--x", "mode -rwsr-xr-x → -rws--x--x")]
    assert compared(one, tmp_path / "c", f"{put} 4755 /y", f"{put} 4711 /y", "/2000") == []


def test_a_mode_that_is_none_is_refused_where_nothing_is_found(one: Engine) -> None:
    with pytest.raises(InvalidArgument, match="invalid mode 'zzz'"):
        one.images.scan("busybox", perm="zzz")
