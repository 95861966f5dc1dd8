"""Mutated input for every reader: whatever it is, it is read or refused in words, soon, and nothing lies outside its root.

Seconds for each reader: $DOCKERLAB_FUZZ_SECONDS (60). A case that fails is printed, and belongs into the reader's own tests.
"""

from __future__ import annotations

import io
import os
import random
import shutil
import signal
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dockerlab.build import advice, parser, words
from dockerlab.build import instructions as ins
from dockerlab.build.ignore import IgnoreRules
from dockerlab.commands.template import Template
from dockerlab.errors import DockerlabError
from dockerlab.layers import archive, index
from dockerlab.oci.config import ImageConfig
from dockerlab.oci.manifest import Index, Manifest
from dockerlab.oci.reference import Reference
from dockerlab.store import opening

SECONDS, SLOW = float(os.environ.get("DOCKERLAB_FUZZ_SECONDS", "60")), 5
_WORDS = (
    b"FROM",
    b"RUN",
    b"COPY --from=",
    b"<<EOF\n",
    b"${",
    b"}",
    b'["',
    b'"]',
    b"\\\n",
    b"# check=",
    b"--mount=type=",
    b",",
    b"**/",
    b"!",
    b"{{",
    b"}}",
    b"|",
    b"range",
    b"\x00",
    b"\xff",
    b"../",
    b"/",
    b"-1",
    b"9" * 30,
    b'"digest":"sha256:',
    b"'",
    b'"',
    b"=",
    b"\n",
    b" ",
    b"ONBUILD ",
    b"HEALTHCHECK --interval=",
    b"1e999",
    b"\xe2\x80\xae",
    b":-",
    b":+",
    b"%",
    b"#",
)


def mutated(seed: bytes, chance: random.Random) -> bytes:
    data = bytearray(seed)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        place = chance.randrange(len(data) + 1)
        match chance.randrange(6):
            case 0 if data:
                data[place % len(data)] ^= 1 << chance.randrange(8)
            case 1:
                data[place:place] = chance.choice(_WORDS)
            case 2:
                del data[place : place + chance.choice((1, 2, 8, 64, 512))]
            case 3:
                length = chance.choice((1, 8, 64, 512))
                data[place:place] = data[place : place + length] * chance.choice((1, 2, 50))
            case 4:
                other = chance.randrange(len(data) + 1)
                data[place:place] = data[other : other + chance.choice((4, 32, 512))]
            case _:
                data[place : place + 1] = bytes([chance.randrange(256)])
    return bytes(data[: 1 << 20])


def dockerfile(data: bytes, _: Path) -> None:
    steps = ins.instructions(parser.parse(data.decode("utf-8", "surrogateescape")))
    list(advice.stated(steps))


def expansion(data: bytes, _: Path) -> None:
    text = data.decode("utf-8", "surrogateescape")
    words.expand(text, {"a": "1", "b": "x/y*z", "c": ""})
    words.split(text, {"a": "1 2", "b": "'"})


def ignored(data: bytes, _: Path) -> None:
    rules = IgnoreRules.from_text(data.decode("utf-8", "surrogateescape"))
    for path in ("a", "a/b/c.txt", "node_modules/x/y/z", "a" * 300, "/".join("ab" * 40)):
        rules.ignores(path)
        rules.may_hold_exceptions(path)


def template(data: bytes, _: Path) -> None:
    Template(data.decode("utf-8", "replace")).render({"ID": "x", "Names": ["a", "b"], "Labels": {"k": "v"}, "Size": 3})


def documents(data: bytes, _: Path) -> None:
    for kind in (Manifest, Index, ImageConfig):
        try:
            kind.decode(data)
        except DockerlabError:
            continue
    try:
        index.decode(data)
    except DockerlabError:
        pass
    Reference.parse(data[:300].decode("utf-8", "replace"))


def layer(data: bytes, folder: Path) -> None:
    root = folder / "root"
    root.mkdir(exist_ok=True)
    try:
        archive.apply(opening.open_layer(io.BufferedReader(io.BytesIO(data))), str(root), archive.Style(owners=False, devices=False))  # type: ignore[arg-type]
    finally:
        assert sorted(path.name for path in folder.iterdir()) == ["root"], "something lies outside"
        shutil.rmtree(root)


def tarred() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, kind, link in (
            ("d", tarfile.DIRTYPE, ""),
            ("d/f", tarfile.REGTYPE, ""),
            ("d/l", tarfile.SYMTYPE, "../.."),
            ("d/h", tarfile.LNKTYPE, "d/f"),
            ("d/.wh.x", tarfile.REGTYPE, ""),
            ("d/.wh..wh..opq", tarfile.REGTYPE, ""),
            ("ü" * 90 + "/" + "y" * 90, tarfile.REGTYPE, ""),
            ("p", tarfile.FIFOTYPE, ""),
            ("d/l/e", tarfile.REGTYPE, ""),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.mode, info.mtime = kind, link, 0o755, 1.5
            info.size = 700 if kind == tarfile.REGTYPE and name == "d/f" else 0
            info.pax_headers = {"SCHILY.xattr.user.a": "b"} if name == "d/f" else {}
            tar.addfile(info, io.BytesIO(b"z" * info.size))
    return buffer.getvalue()


_DOCKERFILES = (
    b"# syntax=x\n# escape=\\\n# check=skip=a;error=false\nARG B=1\nFROM --platform=$X busybox:$B AS one\nRUN --mount=type=bind,from=one,target=/x,rw --network=none <<EOF bash\necho $a\nEOF\n"
    b"COPY --from=one --chown=1:2 --exclude=*.x --parents a b/ /c/\n",
    b'FROM a\nENV a=b "c d"=\'e f\' g=${h:-i}\nLABEL x y\nENTRYPOINT ["a", "b\\u0041"]\nCMD echo "x\\\n  # c\n  y"\n'
    b'HEALTHCHECK --interval=1m30s --retries=3 CMD ["x"]\nONBUILD ADD --checksum=sha256:1 http://x/y#z /a\nEXPOSE 80/udp 1-9\nVOLUME ["/a"]\nSHELL ["a"]\n',
)
TARGETS: dict[str, tuple[Callable[[bytes, Path], None], tuple[bytes, ...]]] = {
    "dockerfile": (dockerfile, _DOCKERFILES),
    "expansion": (expansion, (b"${a:-${b:+x}}", b"${b#*/}${b%%z}${b//x/y}", b'\'$a\'"$b\\"" \\$c', b"${a:?no}")),
    "ignore": (ignored, (b"**/*.log\n!a/b\n# c\nnode_modules\n[a-z]*?\\*\n", b"*/**/x/**\n!**/y[!a]\n")),
    "template": (
        template,
        (
            b"table {{.ID}}\t{{json .Labels}}",
            b'{{range $i, $e := .Names}}{{if eq $e "a"}}{{upper $e}}{{else}}{{len .}}{{end}}{{end}}',
            b'{{printf "%-10s|%d" .ID .Size}}{{index .Labels "k"}}',
        ),
    ),
    "documents": (
        documents,
        (
            b'{"schemaVersion":2,"config":{"mediaType":"a","digest":"sha256:' + b"0" * 64 + b'","size":1},"layers":[]}',
            b'{"architecture":"amd64","os":"linux","config":{"Env":["A=1"],"Healthcheck":{"Test":["NONE"]}},"rootfs":{"type":"layers","diff_ids":[]},"history":[{"created":"2020-01-01T00:00:00Z"}]}',
            b'["a","file",420,0,0,3,0,"",[0,0],{}]\n',
            b"docker.io/library/busybox:1@sha256:" + b"0" * 64,
        ),
    ),
    "layer": (layer, (tarred(),)),
}


@pytest.mark.soak
@pytest.mark.timeout(SECONDS * 2 + 60)
@pytest.mark.parametrize("name", list(TARGETS))
def test_a_reader(name: str, tmp_path: Path) -> None:
    read, seeds = TARGETS[name]
    seed = int(os.environ.get("DOCKERLAB_FUZZ_SEED", time.time_ns() % 10**6))
    chance, kept, count = random.Random(seed), list(seeds), 0
    begun = time.process_time()

    def late(*_: object) -> None:
        raise TimeoutError(f"more than {SLOW} s")

    before = signal.signal(signal.SIGALRM, late)
    try:
        while time.process_time() - begun < SECONDS:
            case, count = mutated(chance.choice(kept), chance), count + 1
            signal.alarm(SLOW)
            try:
                read(case, tmp_path)
                if len(kept) < 400 and len(case) < 8192:
                    kept.append(case)  # what is read at all is worth going on from
            except DockerlabError:
                pass
            except BaseException as error:
                raise AssertionError(f"{name}, seed {seed}, case {count}: {type(error).__name__}: {error}: {case!r}"[:4000]) from error
            finally:
                signal.alarm(0)
    finally:
        signal.signal(signal.SIGALRM, before)
    print(f"{name}: {count} cases in {SECONDS:.0f} s of processor time, seed {seed}")
