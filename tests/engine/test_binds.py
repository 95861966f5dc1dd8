from __future__ import annotations

import pytest

from dockerlab.engine.binds import Bind, parse
from dockerlab.errors import InvalidArgument, InvalidRequest


@pytest.mark.parametrize(
    ("word", "bind"),
    [("/d", Bind("", "/d")), ("v:/d", Bind("v", "/d")), ("/h:/d:ro", Bind("/h", "/d", True)), ("./h:/d:rw,z", Bind("./h", "/d"))],
)
def test_words(word: str, bind: Bind) -> None:
    assert parse(word) == bind
    assert bind.is_volume == (bind.source in ("", "v"))


@pytest.mark.parametrize(
    ("word", "kind", "said"),
    [
        (":/x", InvalidArgument, "invalid spec: :/x: empty section between colons"),
        ("a:b:c:d", InvalidRequest, "invalid volume specification: 'a:b:c:d'"),
        ("/a:/b:xx", InvalidRequest, "invalid mode: xx"),
        ("/a:b", InvalidRequest, "invalid mount config for type \"bind\": invalid mount path: 'b' mount path must be absolute"),
        ("a:/", InvalidRequest, "invalid mount config for type \"volume\": invalid specification: destination can't be '/'"),
    ],
)
def test_words_that_are_none(word: str, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind) as caught:
        parse(word)
    assert type(caught.value) is kind and said in str(caught.value)
