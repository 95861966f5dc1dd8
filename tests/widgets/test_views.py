from __future__ import annotations

from html.parser import HTMLParser

import pytest

from dockerlab.widgets import hardening, html, picture, setid, union

EVIL = "<script>alert(1)</script>\x1b[31m\u202eevil"
STACK = union.Stack(
    EVIL,
    ("/note", f"/{EVIL}"),
    (
        union.Layer("base", EVIL, "2MB", ("A", "A")),
        union.Layer("layer", "echo", "1B", ("C", "")),
        union.Layer("layer", "rm", "0B", ("D", "")),
    ),
)


class Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.mark.parametrize("text", [union.html(STACK), *union.frames(STACK), picture.img(EVIL, [picture.Bar(EVIL, 1, 2)])])
def test_images_are_untrusted_input(text: str) -> None:
    reader = Reader()
    reader.feed(text)
    assert "script" not in reader.tags and set(reader.attributes) <= {"style", "scope", "alt", "src"}
    assert "\x1b" not in text and "\u202e" not in text


def test_nothing_is_typeset_as_mathematics() -> None:
    # MathJax takes what stands between two dollars of one text node, or two brackets with backslashes, unless it is code.
    words = r"RUN for i in $(find / \( -perm 4000 \)); do echo $i $$ \begin{x}; done"
    reader = Reader()
    reader.feed(html.escape(words))
    assert "".join(reader.texts) == words and all(len(text) == 1 or not {"$", "\\"} & set(text) for text in reader.texts)
    assert html.attribute(words) == words, "an attribute is no text, and holds no element"


def test_text_escapes_too() -> None:
    text = union.text(STACK)
    assert "\x1b" not in text and "\u202e" not in text and r"\u202e" in text


def test_who_provides_a_path_as_time_goes_by() -> None:
    assert [STACK.provider(0, upto) for upto in (1, 2, 3)] == [0, 1, None]
    assert STACK.provider(1, 3) == 0
    assert "hidden by layer 2" in union.html(STACK) and "no such file" in union.html(STACK)
    assert "not yet" in union.html(STACK, upto=1)


def test_every_meaning_has_a_word_beside_its_colour() -> None:
    for _, word, tint in union.MARKS.values():
        assert word and tint in html.TINTS


def test_the_picture_says_itself_in_words() -> None:
    assert "2 of them hidden" in picture.alt("t", [picture.Bar("x", 1, 2)])
    assert picture.png("t", [picture.Bar("$x$", 1, 2)]).startswith(b"\x89PNG")


ROWS = (
    setid.Row("/su", "set-uid root", "-rwsr-xr-x", "root:root", "1B", 0, "base", who="everybody may run it", gives="becomes another user"),
    setid.Row("/x", "set-uid root set-gid mail", "-rwsr-sr-x", "root:mail", "2B", 1, "RUN a $(b) $c", "Dockerfile:2", "cleared", "-rwxr-xr-x", 2, "RUN chmod", "Dockerfile:3"),
    setid.Row("/open", "world-writable", "-rw-rw-rw-", "root:root", "3B", 1, "RUN a $(b) $c", "Dockerfile:2", who="everybody may write it", gives="anybody may change what is in it"),
)


def test_set_id_files_by_kind_and_by_layer() -> None:
    scan = setid.Scan("app", ROWS)
    assert scan.kinds() == ["acts", "set-gid", "set-uid", "world-writable"]
    assert [row.path for row in scan.only("acts").rows] == ["/su", "/open"] and [row.path for row in scan.only("set-uid").rows] == ["/su", "/x"]
    assert [(heading, [row.path for row in rows]) for heading, rows in scan.groups("layer")] == [
        ("layer 0: base", ["/su"]), ("layer 1, Dockerfile:2: RUN a $(b) $c", ["/open", "/x"]),
    ]  # fmt: skip
    assert "cleared later, by layer 2, Dockerfile:3: nobody any more" in setid.html(scan, "layer") and "cleared later, by layer 2, Dockerfile:3: RUN chmod" in setid.html(scan)


def test_the_choice_of_set_id_files_is_linked_in_the_browser() -> None:
    pytest.importorskip("ipywidgets")
    box = setid.stepper(setid.Scan("app", ROWS))
    (show, group), shown = box.children[0].children, box.children[1]
    assert show.options == ("everything", "acts", "set-gid", "set-uid", "world-writable") and group.options == setid.GROUPINGS
    assert [len(stack.children) for stack in shown.children] == [5, 5] and "/x" not in shown.children[1].children[1].value


def test_two_images_side_by_side_in_the_browser() -> None:
    pytest.importorskip("ipywidgets")
    changes = [hardening.Change("/<su>", "acts no more", "set-uid root", "-rwsr-xr-x", "gone", "root:root", "everybody may run it", "becomes another user", "", "layer 2: RUN rm")]
    box = hardening.stepper(setid.Scan("<one>", ROWS), setid.Scan("two", ()), changes)
    choice, pages = box.children
    assert choice.options == ("side by side", "before", "after") and len(pages.children) == 3 and "&lt;one&gt; → two: 1 acts no more" in pages.children[0].value
    assert "<su>" not in pages.children[0].value and hardening.summary("a", "b", []) == "a → b: no file gives rights in either"


def test_the_stepper_is_linked_in_the_browser() -> None:
    pytest.importorskip("ipywidgets")
    box = union.stepper(STACK)
    slider, pages = box.children[0].children[1], box.children[1]
    assert slider.max == 2 and len(pages.children) == 3 and pages.selected_index == 2
