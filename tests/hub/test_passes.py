"""Tokens and sessions."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select, update

from dockerlab.errors import InvalidArgument, NotFound
from dockerlab.hub.app import Hub
from dockerlab.hub.tables import Session, Token, now
from tests.hub.conftest import PASSWORDS, SQLITE, Person
from tests.hub.test_repositories import who


def test_a_token_is_a_password_with_bounds(town: Hub) -> None:
    olga = who(town, "olga")
    text = town.passes.issue(olga, "laptop", "repo:read", days=1)
    found = town.passes.shown("olga", text)
    assert found and (found.user, found.scope) == (olga.user, "repo:read")
    assert town.passes.shown("sam", text) is None and town.passes.shown("olga", text + "x") is None
    assert town.who("olga", text, "") == found
    with town.state.reading() as db:
        kept = db.scalars(select(Token)).one()
    assert text not in (kept.digest, kept.label) and kept.used is not None
    with town.state.writing() as db:
        db.execute(update(Token).values(expires=now() - timedelta(seconds=1)))
    assert town.passes.shown("olga", text) is None


def test_a_token_is_revoked_by_its_owner_alone(town: Hub) -> None:
    text = town.passes.issue(who(town, "olga"), "laptop", "repo:write")
    ident = town.passes.tokens(who(town, "olga"))[0].id
    with pytest.raises(NotFound):
        town.passes.revoke(who(town, "sam"), ident)
    town.passes.revoke(who(town, "olga"), ident)
    assert town.passes.shown("olga", text) is None


@SQLITE
@pytest.mark.parametrize(("label", "scope", "days"), [("", "repo:read", 1), ("x" * 101, "repo:read", 1), ("x", "root", 1), ("x", "repo:read", -1), ("x", "repo:read", 99999)])
def test_tokens_that_are_none(town: Hub, label: str, scope: str, days: int) -> None:
    with pytest.raises(InvalidArgument):
        town.passes.issue(who(town, "olga"), label, scope, days=days)


def test_nobody_hoards_tokens(town: Hub) -> None:
    with pytest.raises(InvalidArgument, match="more than 50"):
        for number in range(60):
            town.passes.issue(who(town, "olga"), str(number), "repo:read")


def test_a_session_ends_by_time_by_logout_and_with_the_password(town: Hub) -> None:
    olga = who(town, "olga")
    first, second, third = (town.passes.begin(olga) for _ in range(3))
    town.passes.end(first)
    assert town.passes.browsing(first) is None and town.passes.browsing(second)
    with town.state.writing() as db:
        assert second not in db.scalars(select(Session.digest)).all()
    town.people.change(olga, "another long password")
    assert town.passes.browsing(second) is None and town.passes.browsing(third) is None
    fourth = town.passes.begin(olga)
    with town.state.writing() as db:
        db.execute(update(Session).values(expires=now()))
    assert town.passes.browsing(fourth) is None


def test_a_page_gives_a_cookie_that_scripts_and_other_sites_do_not_get(town: Hub) -> None:
    said = Person(town, "olga")("POST", "/login", f"name=olga&password={PASSWORDS['olga'].replace(' ', '+')}".encode(), Content_Type="application/x-www-form-urlencoded")
    assert said.status == 303
    words = said.headers["Set-Cookie"]
    assert "HttpOnly" in words and "SameSite=Lax" in words and "Secure" not in words


def test_a_cookie_stays_with_tls_where_the_hub_has_it(town: Hub) -> None:
    town.url = "https://hub.example.org"
    said = Person(town, "olga")("POST", "/login", f"name=olga&password={PASSWORDS['olga'].replace(' ', '+')}".encode(), Content_Type="application/x-www-form-urlencoded")
    assert "; Secure" in said.headers["Set-Cookie"]
