"""Repositories: whose, seen by whom, found how; and that the two ways to ask who may see something agree."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockerlab.errors import AlreadyExists, InvalidArgument, NotFound
from dockerlab.hub.app import Hub
from dockerlab.hub.passes import Passes
from dockerlab.hub.rights import ANYBODY, EVERYTHING, SCOPES, Identity, Namespace, allowed, may_settle
from tests.hub.conftest import PASSWORDS, SQLITE, Person


def who(hub: Hub, name: str) -> Identity:
    found = hub.people.login(name, PASSWORDS[name])
    assert found
    return found


def test_a_push_makes_a_public_repository(town: Hub) -> None:
    assert Person(town, "olga").push("olga/app").status == 201
    found = town.repositories.get(ANYBODY, "olga/app")
    assert (found.path, found.private, found.pushed is not None) == ("olga/app", False, True)
    assert town.repositories.pushed("nobody/app", "x") is None


@SQLITE
@pytest.mark.parametrize("name", ["", "A", "a/b", "..", ".", "a b", "-a", "a-", "x" * 101, "a\n"])
def test_names(town: Hub, name: str) -> None:
    with pytest.raises((InvalidArgument, NotFound)):
        town.repositories.create(who(town, "olga"), f"olga/{name}")


def test_one_makes_repositories_at_home_alone(town: Hub) -> None:
    olga = who(town, "olga")
    town.repositories.create(olga, "olga/app")
    with pytest.raises(AlreadyExists):
        town.repositories.create(olga, "olga/app")
    for path in ("sam/app", "acme/app", "library/app", "nobody/app"):
        with pytest.raises(NotFound):
            town.repositories.create(olga, path)
    town.repositories.create(who(town, "mia"), "acme/app")


def test_search(town: Hub) -> None:
    olga, boss = who(town, "olga"), who(town, "boss")
    for path, private, description in (("olga/web", False, "A server of pages"), ("olga/100%_sure", False, ""), ("olga/hidden-web", True, "secret"), ("acme/web-app", True, "ours")):
        town.repositories.create(olga if path.startswith("olga") else boss, path.replace("%", ""), private=private, description=description)
    town.repositories.star(who(town, "sam"), "olga/web", True)

    def found(identity: Identity, words: str) -> list[str]:
        return [each.repository.path for each in town.repositories.search(identity, words)[1]]

    assert found(ANYBODY, "web") == found(who(town, "sam"), "web") == ["olga/web"]
    assert found(olga, "WEB") == ["olga/web", "olga/hidden-web"]
    assert found(who(town, "mia"), "web") == ["olga/web", "acme/web-app"]
    assert found(ANYBODY, "server olga") == ["olga/web"] and found(ANYBODY, "server acme") == []
    assert found(ANYBODY, "%") == [] and found(ANYBODY, "0_s") == ["olga/100_sure"] and found(ANYBODY, "1__s") == []
    assert town.repositories.search(olga, "", limit=1, offset=1)[0] == 3
    assert town.repositories.search(ANYBODY, "web")[1][0].stars == 1


def test_stars_are_each_users(town: Hub) -> None:
    town.repositories.create(who(town, "olga"), "olga/app")
    for liked in (True, True, False, True):
        town.repositories.star(who(town, "sam"), "olga/app", liked)
    assert town.repositories.stars(town.repositories.get(ANYBODY, "olga/app")) == {who(town, "sam").user}


def test_pulls_are_counted_once(town: Hub) -> None:
    person = Person(town, "olga")
    person.push("olga/app")
    for method in ("HEAD", "GET", "GET"):
        assert Person(town).registry(method, "/v2/olga/app/manifests/latest").status == 200
    assert person("GET", "/r/olga/app").status == 200  # the hub's own look counts for nothing
    assert town.repositories.get(ANYBODY, "olga/app").pulls == 2


def test_removing_takes_everything(town: Hub) -> None:
    olga = who(town, "olga")
    Person(town, "olga").push("olga/app")
    town.automations.configure(olga, "olga/app")
    town.git.made("olga/app")
    town.webhooks.add(olga, "olga/app", "http://example.org/")
    town.repositories.star(olga, "olga/app", True)
    town.remove(olga, "olga/app")
    with pytest.raises(NotFound):
        town.repositories.get(olga, "olga/app")
    assert town.shelf.tags("olga/app") == (0, []) and not town.git.place("olga/app").exists()
    town.repositories.create(olga, "olga/app")
    assert town.automations.get(town.repositories.get(olga, "olga/app").id)[0] is None


_ROLES = st.sampled_from(["", "member", "admin", "owner"])
_WHO = st.builds(Identity, user=st.sampled_from([0, 1]), scope=st.sampled_from(["", *SCOPES]), only=st.sampled_from([0, 1, 2]))


@given(_WHO, _ROLES, st.booleans(), st.sampled_from([1, 2]))
def test_nobody_gets_more_than_the_namespace_gives(identity: Identity, role: str, private: bool, repository: int) -> None:
    may = allowed(identity, Namespace("x", role), private=private, repository=repository)
    assert may <= allowed(Identity(identity.user), Namespace("x", role), private=private, repository=repository)
    assert ("pull" in may) or not may
    if role == "":
        assert may == (frozenset() if private else {"pull"})
    if identity.only or identity.scope:
        assert "settle" not in may
        assert not may_settle(identity, Namespace("x", role))
    if identity.only and repository != identity.only:
        assert may <= {"pull"}
    assert may <= EVERYTHING


def test_lists_show_what_rights_allow(town: Hub) -> None:
    """`_visible` says in SQL what `allowed` says in Python."""
    for owner, private in itertools.product(("olga", "boss", "acme"), (False, True)):
        town.repositories.create(who(town, "boss" if owner == "acme" else owner), f"{owner}/{'closed' if private else 'open'}", private=private)
    passes = Passes(town.state)
    seen = [ANYBODY, *(who(town, name) for name in PASSWORDS)]
    for name, scope in itertools.product(PASSWORDS, SCOPES):
        token = passes.shown(name, passes.issue(who(town, name), scope, scope))
        assert token
        seen.append(token)
    for identity in seen:
        listed = {each.repository.path for each in town.repositories.search(identity, "")[1]}
        assert listed == {f"{owner}/{name}" for owner in ("olga", "boss", "acme") for name in ("open", "closed") if "pull" in town.repositories.rights(identity, f"{owner}/{name}")}
        for owner in ("olga", "boss", "acme"):
            assert {each.path for each in town.repositories.of(identity, owner)} == {path for path in listed if path.startswith(f"{owner}/")}
