"""Accounts, passwords, organisations."""

from __future__ import annotations

import threading
import time

import pytest
from sqlalchemy import select, update

from dockerlab.errors import AlreadyExists, InvalidArgument, NotFound, StoreError
from dockerlab.hub.app import Hub
from dockerlab.hub.people import Throttled
from dockerlab.hub.state import State
from dockerlab.hub.tables import Account, Audit, Failure, Schema, now
from tests.hub.conftest import PASSWORDS, SQLITE


@SQLITE
@pytest.mark.parametrize("name", ["", "a", "A", "a b", "a/b", "a..b", "-a", "a-", "a--b", "x" * 31, "library", "v2", "a\nb", "é1", "a_b", "１２"])
def test_a_name_fits_into_an_images_name(hub: Hub, name: str) -> None:
    with pytest.raises(InvalidArgument, match="name"):
        hub.people.add(name, "a long password")


@SQLITE
@pytest.mark.parametrize("password", ["", "short", "somebody", "x" * 73, "ä" * 40, "with a \0 in it"])
def test_a_password_is_not_taken_lightly(hub: Hub, password: str) -> None:
    with pytest.raises(InvalidArgument, match="password"):
        hub.people.add("somebody", password)


def test_names_are_taken_once(town: Hub) -> None:
    olga = town.people.login("olga", PASSWORDS["olga"])
    assert olga
    for again in (lambda: town.people.add("olga", "a long password"), lambda: town.people.organise("sam", olga)):
        with pytest.raises(AlreadyExists):
            again()


def test_passwords_are_kept_as_hashes(town: Hub) -> None:
    with town.state.reading() as db:
        kept = db.scalars(select(Account.password).where(Account.kind == "user")).all()
    assert all(each.startswith("$2b$") for each in kept) and len(set(kept)) == len(kept)


def test_login(town: Hub) -> None:
    assert town.people.login("olga", PASSWORDS["olga"]).name == "olga"  # type: ignore[union-attr]
    for name, password in (("olga", "wrong"), ("nobody", PASSWORDS["olga"]), ("acme", ""), ("olga", PASSWORDS["olga"] + "x"), ("olga", "\0"), ("x" * 10_000, "y" * 10_000)):
        assert town.people.login(name, password) is None


def test_guessing_is_slowed_down_and_others_are_not(town: Hub) -> None:
    for _ in range(5):
        assert town.people.login("olga", "guess", address="10.0.0.1") is None
    with pytest.raises(Throttled) as caught:
        town.people.login("olga", PASSWORDS["olga"], address="10.0.0.1")
    assert 0 < caught.value.seconds <= 900
    assert town.people.login("olga", PASSWORDS["olga"], address="10.0.0.2")
    assert town.people.login("sam", PASSWORDS["sam"], address="10.0.0.1")
    with town.state.writing() as db:
        db.execute(update(Failure).values(until=now()))
    assert town.people.login("mia", PASSWORDS["mia"], address="10.0.0.1")


def test_a_list_of_names_is_slowed_down(town: Hub) -> None:
    with pytest.raises(Throttled):
        for number in range(300):
            town.people.login(f"user{number}", "guess", address="10.0.0.1")


def test_a_name_that_is_not_there_takes_as_long(town: Hub) -> None:
    town.people._cost = 8
    olga = town.people.login("olga", PASSWORDS["olga"])
    assert olga
    town.people.change(olga, "another long password")

    def spent(name: str) -> float:
        taken = []
        for number in range(5):
            began = time.process_time()
            town.people.login(name, "wrong", address=str(number))
            taken.append(time.process_time() - began)
        return sorted(taken)[2]

    spent("nobody")
    there, absent = spent("olga"), spent("nobody")
    assert 0.5 < there / absent < 2


def test_a_password_that_was_right_is_believed_until_it_changes(town: Hub) -> None:
    olga = town.people.login("olga", PASSWORDS["olga"])
    assert olga and town.people.login("olga", PASSWORDS["olga"])
    town.people.change(olga, "another long password")
    assert town.people.login("olga", PASSWORDS["olga"]) is None
    assert town.people.login("olga", "another long password")


def test_an_organisation_keeps_an_admin(town: Hub) -> None:
    with pytest.raises(InvalidArgument, match="needs an admin"):
        town.people.appoint("acme", "boss", "")
    with pytest.raises(InvalidArgument, match="needs an admin"):
        town.people.appoint("acme", "boss", "member")
    town.people.appoint("acme", "mia", "admin")
    town.people.appoint("acme", "boss", "")
    assert [(member.user.name, member.role) for member in town.people.members("acme")] == [("mia", "admin")]
    for organisation, user, role in (("acme", "olga", "king"), ("olga", "sam", "member"), ("acme", "acme", "member")):
        with pytest.raises(InvalidArgument):
            town.people.appoint(organisation, user, role)
    with pytest.raises(NotFound):
        town.people.appoint("acme", "nobody", "member")


def test_what_happened_is_written_down_on_one_line(town: Hub) -> None:
    town.people.login("evil\nadmin logged in", "x", address="10.0.0.9")
    with town.state.reading() as db:
        found = db.scalars(select(Audit).where(Audit.address == "10.0.0.9")).all()
    assert [(each.action, "\n" in each.what) for each in found] == [("login refused", False)]


def test_forty_sign_up_at_once(hub: Hub) -> None:
    failed: list[BaseException] = []

    def join(number: int) -> None:
        try:
            hub.people.add(f"student{number}", f"a long password {number}")
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=join, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    with hub.state.reading() as db:
        assert len(db.scalars(select(Account)).all()) == 40


def test_a_database_of_another_version_is_refused(hub: Hub) -> None:
    url = hub.state._engine.url.render_as_string(hide_password=False)
    with hub.state.writing() as db:
        db.execute(update(Schema).values(version=99))
    with pytest.raises(StoreError, match="schema 99"):
        State(url)


@pytest.mark.parametrize("url", ["nonsense", "mysql://x/y", "postgresql+nothing://x/y"])
def test_a_database_that_is_none(url: str) -> None:
    with pytest.raises(InvalidArgument, match="names no database"):
        State(url)


def test_a_password_in_a_databases_address_is_not_told() -> None:
    with pytest.raises((StoreError, InvalidArgument)) as caught:
        State("postgresql+psycopg://me:secret@127.0.0.1:1/x")
    assert "secret" not in str(caught.value)
