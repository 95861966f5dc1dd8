"""Where COPY, ADD and RUN --mount take from: heredocs, other stages, URLs, Git, and what is left out or kept of it."""

from __future__ import annotations

import hashlib
import http.server
import io
import os
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dockerlab.engine import Engine
from dockerlab.engine.executing import Around
from dockerlab.errors import BuildFailed
from dockerlab.events import CacheHit, StepStarted
from tests.conftest import strongest
from tests.engine.test_builds import build, output


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    context = tmp_path / "context"
    for name in ("x/y/a.txt", "x/y/b.md", "x/c.txt", "f.txt", "g.txt"):
        (context / name).parent.mkdir(parents=True, exist_ok=True)
        (context / name).write_text(name)
    return context


@pytest.fixture
def engine(make_engine: Callable[[str], Engine]) -> Engine:
    return make_engine(strongest())


def files(engine: Engine, image: str) -> set[str]:
    return {path for path, seen in engine.images.layers.union(engine.images.get(image).record).walk() if seen.entry.kind != "dir"}


def copied(engine: Engine, folder: Path, line: str) -> set[str]:
    return files(engine, build(engine, f"FROM scratch\n{line}\n", folder)[0])


def test_files_that_stand_in_the_dockerfile(engine: Engine, folder: Path) -> None:
    text = 'FROM busybox\nARG who=me\nCOPY --chmod=600 --chown=1:2 <<one <<"two" f.txt /d/\n"$who" \\$x\none\n$who\ntwo\nCOPY <<-EOF /e\n\tindented\nEOF\nRUN cat /d/one /e\n'
    image, events = build(engine, text, folder)
    assert files(engine, image) >= {"d/one", "d/two", "d/f.txt", "e"}
    assert output(engine, image, "cat", "/d/one", "/d/two", "/e") == '"me" $x\n$who\nindented\n'
    again, events = build(engine, text, folder)
    assert again == image and len([e for e in events if isinstance(e, CacheHit)]) == 4
    changed, _ = build(engine, text.replace("indented", "other"), folder)
    assert output(engine, changed, "cat", "/e") == "other\n"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("COPY --exclude=*.md x/y /d/", {"d/a.txt"}),
        ("COPY --exclude=*.txt x /d/", {"d/y/a.txt", "d/y/b.md"}),
        ("COPY --exclude=**/*.txt x /d/", {"d/y/b.md"}),
        ("COPY --exclude=y x /d/", {"d/c.txt"}),
        ("COPY --exclude=g* *.txt /d/", {"d/f.txt"}),
        ("COPY --exclude=y --exclude=!y/b.md x /d/", {"d/c.txt", "d/y/b.md"}),
        ("COPY --parents x/y/a.txt f.txt /d/", {"d/x/y/a.txt", "d/f.txt"}),
        ("COPY --parents ./x/./y/a.txt /d/", {"d/y/a.txt"}),
        ("COPY --parents x/y/*.txt /d/", {"d/x/y/a.txt"}),
        ("COPY --parents x/y /d/", {"d/x/y/a.txt", "d/x/y/b.md"}),
        ("COPY --parents x/./y /d/", {"d/y/a.txt", "d/y/b.md"}),
        ("COPY --link x/y /d", {"d/a.txt", "d/b.md"}),
        ("ADD --exclude=*.md x/y /d/", {"d/a.txt"}),
    ],
)
def test_what_is_left_out_or_kept_of_a_path(engine: Engine, folder: Path, line: str, found: set[str]) -> None:
    assert copied(engine, folder, line) == found


def test_link_looks_at_nothing_below(engine: Engine, folder: Path) -> None:
    text = "FROM busybox\nRUN mkdir /real && ln -s real /to\n{} f.txt /to/f\n"
    assert "real/f" in files(engine, build(engine, text.format("COPY"), folder)[0])
    assert "to/f" in files(engine, build(engine, text.format("COPY --link"), folder)[0])


def test_archives_are_laid_out_or_not(engine: Engine, folder: Path) -> None:
    with tarfile.open(folder / "a.tgz", "w:gz") as tar:
        tar.add(folder / "x", "inner")
    assert copied(engine, folder, "ADD a.tgz /d/") == {"d/inner/c.txt", "d/inner/y/a.txt", "d/inner/y/b.md"}
    assert copied(engine, folder, "ADD --unpack=false a.tgz /d/") == {"d/a.tgz"} == copied(engine, folder, "COPY a.tgz /d/")


class _Handler(http.server.BaseHTTPRequestHandler):
    served: dict[str, bytes] = {}

    def do_GET(self) -> None:
        if self.path == "/moved/x.txt":
            self.send_response(302)
            self.send_header("Location", "/x.txt")
            self.end_headers()
            return
        body = self.served.get(self.path)
        self.send_response(200 if body is not None else 404)
        self.send_header("Content-Length", str(len(body or b"")))
        self.send_header("Last-Modified", "Wed, 01 Jan 2020 00:00:00 GMT")
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, dict[str, bytes]]]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    served: dict[str, bytes] = {}
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"served": served}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", served
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_url(engine: Engine, folder: Path, web: tuple[str, dict[str, bytes]]) -> None:
    url, served = web
    served["/x.txt"] = b"hello\n"
    text = f"FROM busybox\nADD {url}/x.txt /d/\nADD --chmod=644 {url}/moved/x.txt /e\n"
    image, _ = build(engine, text, folder)
    assert output(engine, image, "stat", "-c", "%a %Y %n", "/d/x.txt", "/e") == "600 1577836800 /d/x.txt\n644 1577836800 /e\n"
    assert build(engine, text, folder)[0] == image
    served["/x.txt"] = b"changed\n"
    changed, _ = build(engine, text, folder)
    assert output(engine, changed, "cat", "/d/x.txt") == "changed\n"
    digest = hashlib.sha256(b"changed\n").hexdigest()
    build(engine, f"FROM scratch\nADD --checksum=sha256:{digest} {url}/x.txt /\n", folder)
    for line, words in (
        (f"ADD --checksum=sha256:{'0' * 64} {url}/x.txt /", f"digest mismatch sha256:{digest}: sha256:{'0' * 64}"),
        (f"ADD --checksum=md5:0 {url}/x.txt /", "invalid checksum digest format: md5:0"),
        (f"ADD {url}/nosuch /", f"failed to GET {url}/nosuch with status 404 Not Found"),
        (f"ADD {url}/ /d/", "cannot determine filename from url"),
    ):
        with pytest.raises(BuildFailed) as caught:
            build(engine, f"FROM scratch\n{line}\n", folder)
        assert words in str(caught.value)


def test_an_archive_from_a_url_is_laid_out_when_asked(engine: Engine, folder: Path, web: tuple[str, dict[str, bytes]]) -> None:
    url, served = web
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.add(folder / "x", "inner")
    served["/a.tgz"] = buffer.getvalue()
    assert copied(engine, folder, f"ADD {url}/a.tgz /d/") == {"d/a.tgz"}
    assert copied(engine, folder, f"ADD --unpack=true {url}/a.tgz /d/") == {"d/inner/c.txt", "d/inner/y/a.txt", "d/inner/y/b.md"}


def test_a_git_repository(engine: Engine, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    porcelain = pytest.importorskip("dulwich.porcelain", reason="dulwich is not installed")
    from dulwich.server import DictBackend
    from dulwich.web import HTTPGitApplication, WSGIRequestHandlerLogger, WSGIServerLogger, make_server

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    work = tmp_path / "work"
    repo = porcelain.init(str(work))
    (work / "sub").mkdir()
    (work / "sub" / "s").write_text("1\n")
    who = {"author": b"a <a@b>", "committer": b"a <a@b>"}
    porcelain.add(str(work), [str(work / "sub" / "s")])
    first = porcelain.commit(str(work), message=b"one", **who).decode()
    porcelain.branch_create(str(work), "old")
    (work / "sub" / "s").write_text("2\n")
    porcelain.add(str(work), [str(work / "sub" / "s")])
    porcelain.commit(str(work), message=b"two", **who)

    class Quiet(WSGIRequestHandlerLogger):
        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    server = make_server("127.0.0.1", 0, HTTPGitApplication(DictBackend({"/r.git": repo})), handler_class=Quiet, server_class=WSGIServerLogger)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/r.git"
        text = "FROM busybox\nADD {} /r\n"
        assert output(engine, build(engine, text.format(url), folder)[0], "sh", "-c", "cat /r/sub/s; ls -a /r") == "2\n.\n..\nsub\n"
        assert output(engine, build(engine, text.format(f"{url}#old"), folder)[0], "cat", "/r/sub/s") == "1\n"
        assert output(engine, build(engine, text.format(f"{url}#{first}:sub"), folder)[0], "cat", "/r/s") == "1\n"
        kept, _ = build(engine, text.format(f"--keep-git-dir=true --checksum={first} {url}#old"), folder)
        assert output(engine, kept, "ls", "/r/.git/HEAD") == "/r/.git/HEAD\n"
        for line, words in ((f"--checksum={first} {url}", "expected checksum to match"), (f"{url}#nosuch", "unable to clone"), (f"{url}#old:../..", "no such folder")):
            with pytest.raises(BuildFailed) as caught:
                build(engine, text.format(line), folder)
            assert words in str(caught.value)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_stages_that_nobody_needs_are_left_out(engine: Engine, folder: Path) -> None:
    text = "FROM busybox AS base\nFROM base AS unused\nRUN exit 1\nFROM base AS tool\nCOPY f.txt /f\nFROM busybox\nCOPY --from=2 /f /f\n"
    image, events = build(engine, text, folder)
    assert [e.text for e in events if isinstance(e, StepStarted)] == ["FROM busybox AS base", "FROM base AS tool", "COPY f.txt /f", "FROM busybox", "COPY --from=2 /f /f"]
    assert output(engine, image, "cat", "/f") == "f.txt"
    build(engine, "FROM busybox\nONBUILD COPY --from=tool /f /g\n", folder, tags=("triggers",))
    child, _ = build(engine, "FROM busybox AS tool\nCOPY f.txt /f\nFROM triggers\n", folder)
    assert output(engine, child, "cat", "/g") == "f.txt"


def test_arguments_that_nobody_has_to_declare(engine: Engine, folder: Path) -> None:
    text = "FROM --platform=$BUILDPLATFORM busybox AS a-$TARGETARCH\n"
    with pytest.raises(Exception, match="invalid name for build stage"):
        build(engine, text, folder)
    image, _ = build(engine, "FROM --platform=$BUILDPLATFORM busybox\nARG TARGETOS TARGETARCH\nRUN echo $TARGETOS/$TARGETARCH > /p; echo -$BUILDOS- >> /p\n", folder)
    assert output(engine, image, "cat", "/p").split("\n")[1:] == ["--", ""] and output(engine, image, "cat", "/p").startswith("linux/")


def test_contexts_with_names(engine: Engine, folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "o").write_text("other\n")
    (other / "no").write_text("no\n")
    (other / ".dockerignore").write_text("no\n")
    build(engine, "FROM busybox\nCOPY f.txt /from-image\n", folder, tags=("mine",))
    around = Around(contexts={"here": other, "alpine": "docker-image://mine"})
    image, _ = build(engine, "FROM alpine\nCOPY --from=here . /here/\nRUN --mount=from=here,target=/m cat /m/o > /read\n", folder, around=around)
    assert {"from-image", "here/o", "read"} <= files(engine, image) and "here/no" not in files(engine, image)
    with pytest.raises(BuildFailed, match="here is a folder"):
        build(engine, "FROM here\nRUN true\n", folder, around=around)


def test_a_label_from_outside(engine: Engine, folder: Path) -> None:
    labels = {"a": 'x "y" $z', "b.c": ""}
    image, events = build(engine, "FROM busybox\nCOPY f.txt /\n", folder, labels=labels)
    assert engine.images.get(image).config.config.labels.items() >= labels.items() and [e.total for e in events if isinstance(e, StepStarted)] == [4, 4, 4, 4]


def test_a_filter_on_the_cache(engine: Engine, folder: Path) -> None:
    text = "FROM busybox AS one\nCOPY f.txt /f\nFROM busybox\nCOPY --from=one /f /f\n"
    build(engine, text, folder)
    _, events = build(engine, text, folder, no_cache_filter=("one",))
    assert [e.number for e in events if isinstance(e, CacheHit)] == [4]
    assert os.path.exists(folder)
