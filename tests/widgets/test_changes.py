from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dockerlab.engine import Engine
from dockerlab.engine.views import text_changes
from dockerlab.errors import NotFound
from dockerlab.widgets import changes
from dockerlab.widgets.changes import Version
from tests.conftest import strongest
from tests.engine.test_builds import build

VERSIONS = [
    Version(0, "base", ("a", "b", "c")), Version(1, "RUN <i>", ("a", "B\x1b", "c")), Version(2, "RUN chmod", ("a", "B\x1b", "c")), Version(3, "RUN rm", None, "deleted"), Version(4, "COPY", ("new",)),
]  # fmt: skip


def test_text() -> None:
    assert changes.text("/f", VERSIONS) == (
        "/f: 5 layers hold it\n\nlayer 0  base\n  +a\n  +b\n  +c\n\nlayer 1  RUN <i>\n  @@ -1,3 +1,3 @@\n   a\n  -b\n  +B\\x1b\n   c\n\n"
        "layer 2  RUN chmod\n  the text is the same; mode, owner or time is not\n\nlayer 3  RUN rm\n  deleted\n\nlayer 4  COPY\n  +new"
    )


def test_html_escapes() -> None:
    page = changes.html("/<b>", VERSIONS)
    assert "<i>" not in page and "\x1b" not in page and "/<b>" not in page and "+B<span>\\</span>x1b" in page


def test_long_texts_are_cut() -> None:
    assert changes.text("/f", [Version(0, "", tuple(map(str, range(1000))))]).splitlines()[-1] == "  … 600 more lines"


def test_of_an_image(make_engine: Callable[[str], Engine], tmp_path: Path) -> None:
    engine = make_engine(strongest())
    build(engine, "FROM busybox\nRUN echo one > /f; ln -s f /l\nRUN echo two >> /f; head -c 9 /dev/urandom > /g; printf '\\0' >> /g\nRUN rm /f\n", tmp_path, tags=("texts",))
    found = text_changes(engine, "texts", "/f")
    assert [(v["layer"], v["lines"], v["word"]) for v in found.facts()["versions"]] == [(1, ["one"], ""), (2, ["one", "two"], ""), (3, None, "deleted")]
    assert "+two" in str(found) and "<table" in found._repr_mimebundle_()["text/html"]
    assert [v.word for path in ("l", "g", "bin") for v in text_changes(engine, "texts", path).versions] == ["a symlink", "no text, 10B", "a folder"]
    with pytest.raises(NotFound, match="no layer of texts:latest knows /nosuch"):
        text_changes(engine, "texts", "/nosuch")
