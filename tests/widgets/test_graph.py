from __future__ import annotations

from dockerlab.widgets import graph
from dockerlab.widgets.graph import Label, Node

FOREST = [
    Node("base", 2_000_000, "base", (Label(("a:1", "a:2"), "111", 2_000_000),), (
        Node("left", 6_000_000, "RUN big", (), (Node("down", 0, "RUN rm", (Label(("big:removed",), "222", 8_000_000),)),)),
        Node("right", 10, "<b>\x1b", (Label((), "333", 2_000_010),), (Node("x", 1, ""), Node("y", 1, ""))),
    )),
    Node("other", 5, "import", (Label(("flat:latest",), "444", 5),)),
]  # fmt: skip


def test_text() -> None:
    assert graph.text(FOREST, "words") == (
        "words\n"
        "base      2MB  base\n"
        "│  ● a:1, a:2  2MB in all\n"
        "├─ left      6MB  RUN big\n"
        "│  down       0B  RUN rm\n"
        "│     ● big:removed  8MB in all\n"
        "└─ right      10B  <b>\\x1b\n"
        "   │  ○ <none> 333 (dangling)  2MB in all\n"
        "   ├─ x       1B\n"
        "   └─ y       1B\n"
        "other       5B  import\n"
        "   ● flat:latest  5B in all"
    )


def test_html_escapes_and_names_every_image() -> None:
    page = graph.html(FOREST, "<i>words</i>")
    assert "<i>" not in page and "\x1b" not in page and "<b>\\" not in page and "&lt;b&gt;" in page
    assert all(f"<b>{name}</b>" in page for name in ("a:1, a:2", "big:removed", "flat:latest")) and "&lt;none&gt; 333" in page


def test_picture() -> None:
    assert graph.png(FOREST, "words $x$").startswith(b"\x89PNG") and graph.png([], "nothing").startswith(b"\x89PNG")
    assert graph.alt(FOREST, "words").endswith("a:1, a:2 ends at 2MB; big:removed ends at 8MB; <none> 333 ends at 2MB; flat:latest ends at 5B")
    assert 'alt="words' in graph.img(FOREST, "words") and "<none>" not in graph.img(FOREST, "words")


def test_a_deep_chain_and_a_wide_store_are_cut() -> None:
    deep = Node("0", 1, "")
    for number in range(3000):
        deep = Node(str(number), 1, "", (), (deep,))
    assert len(list(graph.rows([deep]))) == 3001
    assert graph.text([deep], "w").splitlines()[-1].startswith("… and more layers") and "more layers" in graph.html([deep], "w")
