"""What docker's classic builder said to seventy Dockerfiles, recorded (`record_builds.py`), and played again without it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dockerlab.cli.main import complaint
from dockerlab.commands.build import Kept
from dockerlab.commands.run import perform
from dockerlab.engine import Engine
from dockerlab.errors import DockerlabError
from tests.compat.conftest import Said, rootfs
from tests.compat.record_builds import HERE, cases, context
from tests.compat.saying import plain
from tests.conftest import strongest

RECORDED = dict(zip(*[iter(re.split(r"^=== (.*)\n", (HERE / "builds.txt").read_text(), flags=re.M)[1:])] * 2, strict=True))
# What differs on purpose, and why.
DIFFERENT = {
    "a base that is not here": "dockerlab has no registry to ask yet", "a stage that is not there": "the same",
    "variables with words": "BuildKit takes ${C-unset} as well", "an unclosed variable": "said as BuildKit says it",
    "an arg is no part of another stage": "with BuildKit it is, where one stands on the other",
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("goldens")
    context(made)
    return made


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    strongest()
    made = Engine(tmp_path_factory.mktemp("goldens-home"))
    place = tmp_path_factory.mktemp("goldens-tar") / "tar"
    place.write_bytes(rootfs())
    words = ["import", "-c", 'CMD ["sh"]', "-c", "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", str(place), "busybox:latest"]
    perform(words, lambda: made, Kept(), folder=place.parent)
    return made


def said(engine: Engine, folder: Path, line: str) -> Said:
    surface = Kept()
    try:
        code = perform(line.split()[1:], lambda: engine, surface, folder=folder).exit_code
    except DockerlabError as error:
        surface.err(complaint(error, "build", "docker"))
        code = error.exit_code
    return Said(line, surface.text.replace(str(folder), "/class"), code)


@pytest.mark.parametrize(("name", "options", "text"), cases(), ids=[name for name, _, _ in cases()])
def test_dockerlab_says_the_same(engine: Engine, folder: Path, name: str, options: str, text: str) -> None:
    (folder / "Dockerfile").write_text(text)
    line = f"docker build {options} -t golden .".replace("  ", " ")
    ours = "\n".join(plain([said(engine, folder, line) for _ in range(2)], theirs=False)) + "\n"
    if DIFFERENT.get(name):
        assert ours != RECORDED[name], f"no longer different: {DIFFERENT[name]}"
    else:
        assert ours == RECORDED[name]
