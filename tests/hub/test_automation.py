"""Rules, and messages that begin builds."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dockerlab.errors import InvalidArgument, NotFound, RegistryError
from dockerlab.hub.app import Hub
from dockerlab.hub.automation import Wanted, matched
from dockerlab.hub.tables import Rule
from dockerlab.hub.webhooks import headers, right, signature
from tests.hub.conftest import SQLITE, Person
from tests.hub.test_repositories import who


def rule(kind: str, pattern: str, tag: str, **facts: str) -> Rule:
    return Rule(**{"kind": kind, "pattern": pattern, "tag": tag, "dockerfile": "Dockerfile", "folder": "", **facts})


@pytest.mark.parametrize(("rules", "ref", "tags"), [
    ([("branch", "main", "latest")], "refs/heads/main", ["latest"]),
    ([("branch", "main", "latest")], "refs/heads/maine", []),
    ([("branch", "main", "latest")], "refs/tags/main", []),
    ([("tag", "v*", "{1}")], "refs/tags/v1.2.3", ["1.2.3"]),
    ([("tag", "v*.*", "{1}"), ("tag", "v*", "{ref}")], "refs/tags/v1.2", ["1", "v1.2"]),
    ([("branch", "*", "{ref}")], "refs/heads/feature/a b", ["feature-a-b"]),
    ([("branch", "*", "latest"), ("branch", "main", "latest")], "refs/heads/main", ["latest"]),
    ([("branch", "a.b", "x")], "refs/heads/axb", []),
    ([("branch", "*", "{2}x")], "refs/heads/main", []),
    ([("branch", "*", "{ref}")], "refs/heads/-", []),
    ([("branch", "*", "{ref}")], "refs/heads/" + "x" * 200, []),
    ([("branch", "*", "latest")], "HEAD", []),
])  # fmt: skip
def test_a_reference_becomes_tags(rules: list[tuple[str, str, str]], ref: str, tags: list[str]) -> None:
    assert [wanted.tag for wanted in matched([rule(*each) for each in rules], ref)] == tags


def test_a_rule_says_what_is_built() -> None:
    assert matched([rule("branch", "main", "latest", dockerfile="web.df", folder="web")], "refs/heads/main") == [Wanted("latest", "web.df", "web")]


def test_stars_do_not_take_for_ever() -> None:
    assert matched([rule("branch", "*a*a*b", "x")], "refs/heads/" + "a" * 250) == []


@SQLITE
@pytest.mark.parametrize("bad", [
    {"kind": "commit"}, {"pattern": ""}, {"pattern": "x" * 101}, {"pattern": "****"}, {"tag": ""}, {"tag": "a b"}, {"tag": "{x}"}, {"dockerfile": "../x"}, {"dockerfile": "/etc/passwd"},
    {"folder": "a/../../b"}, {"folder": "/"},
])  # fmt: skip
def test_rules_that_are_none(town: Hub, bad: dict[str, str]) -> None:
    town.repositories.create(who(town, "olga"), "olga/app")
    with pytest.raises(InvalidArgument):
        town.automations.configure(who(town, "olga"), "olga/app", rules=[rule(**{"kind": "branch", "pattern": "main", "tag": "latest", **bad})])


@SQLITE
@pytest.mark.parametrize("source", ["ftp://x/y", "file:///etc", "/etc", "http://me:secret@x/y", "git@x:y", "http://", "http://x/\ny", "x" * 600])
def test_sources_that_are_none(town: Hub, source: str) -> None:
    town.repositories.create(who(town, "olga"), "olga/app")
    with pytest.raises(InvalidArgument):
        town.automations.configure(who(town, "olga"), "olga/app", source=source)


def test_only_who_settles_automates(town: Hub) -> None:
    town.repositories.create(who(town, "boss"), "acme/app")
    for name in ("sam", "mia", "olga"):
        with pytest.raises(NotFound):
            town.automations.configure(who(town, name), "acme/app")
    with pytest.raises(InvalidArgument, match="no such repository"):
        town.automations.configure(who(town, "boss"), "acme/app", bases=["olga/secret"])


def test_githubs_own_example_of_a_signature() -> None:
    """GitHub, "Validating webhook deliveries", Testing the webhook payload validation."""
    told = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    assert signature("It's a Secret to Everybody", b"Hello, World!") == told
    assert right("It's a Secret to Everybody", b"Hello, World!", told)
    for wrong in ("", told[:-1], told.upper(), told.replace("sha256", "sha1"), "sha256=" + "0" * 64, "ä"):
        assert not right("It's a Secret to Everybody", b"Hello, World!", wrong)


def message(**facts: Any) -> bytes:
    return json.dumps({"ref": "refs/heads/main", "after": "1" * 40, "pusher": {"name": "olga"}, **facts}).encode()


@pytest.fixture
def built(town: Hub) -> tuple[Hub, str]:
    """A hub on which olga/app is built from elsewhere, and the secret of its webhook."""
    town.repositories.create(who(town, "olga"), "olga/app")
    automation = town.automations.configure(who(town, "olga"), "olga/app", source="https://example.org/app.git", rules=[rule("branch", "main", "latest"), rule("branch", "main", "edge")])
    return town, automation.secret


def send(hub: Hub, secret: str, body: bytes, **more: str) -> Any:
    sent = {name.replace("-", "_"): value for name, value in headers("push", secret, body).items()}
    return Person(hub)("POST", "/hooks/olga/app", body, **{**sent, **more})


def test_a_signed_message_begins_builds(built: tuple[Hub, str]) -> None:
    hub, secret = built
    said = send(hub, secret, message())
    assert (said.status, len(said.json["builds"])) == (202, 2)
    builds = hub.queue.of(hub.repositories.get(who(hub, "olga"), "olga/app").id)
    assert {(build.tag, build.commit, build.state) for build in builds} == {("latest", "1" * 40, "queued"), ("edge", "1" * 40, "queued")}


def test_it_is_taken_once(built: tuple[Hub, str]) -> None:
    hub, secret = built
    body = message()
    assert send(hub, secret, body, X_GitHub_Delivery="one").status == 202
    assert send(hub, secret, body, X_GitHub_Delivery="one").status == 409
    assert send(hub, secret, body, X_GitHub_Delivery="two").status == 409  # the signature does not cover the number
    assert send(hub, secret, message(after="2" * 40), X_GitHub_Delivery="one").status == 409
    assert send(hub, secret, message(after="2" * 40), X_GitHub_Delivery="three").status == 202


def test_it_has_to_be_signed(built: tuple[Hub, str]) -> None:
    hub, secret = built
    body = message()
    for wrong in ("", "sha256=", signature("other", body), signature(secret, body + b" "), signature(secret, body)[:-2]):
        assert send(hub, secret, body, X_Hub_Signature_256=wrong).status == 401
    assert hub.queue.of(hub.repositories.get(who(hub, "olga"), "olga/app").id) == []


@SQLITE
@pytest.mark.parametrize("body", [
    b"", b"[]", b"null", b"{", b"[" * 5000, b'{"ref": 1}', message(ref="main"), message(ref="refs/heads/a\nb"), message(after="x"), message(after="1" * 39),
], ids=lambda body: str(body[:20]))  # fmt: skip
def test_what_is_signed_may_still_be_nonsense(built: tuple[Hub, str], body: bytes) -> None:
    hub, secret = built
    assert send(hub, secret, body).status == 400


def test_what_begins_nothing(built: tuple[Hub, str]) -> None:
    hub, secret = built
    assert send(hub, secret, b'{"zen": "x"}', X_GitHub_Event="ping").json == {"builds": []}
    assert send(hub, secret, message(after="0" * 40)).json == {"builds": []}
    assert send(hub, secret, message(ref="refs/heads/other")).json == {"builds": []}


def test_a_push_of_the_base_builds_what_stands_on_it_but_not_endlessly(town: Hub) -> None:
    olga = who(town, "olga")
    for name, base in (("a", "b"), ("b", "a")):
        town.repositories.create(olga, f"olga/{name}")
    for name, base in (("a", "b"), ("b", "a")):
        town.automations.configure(olga, f"olga/{name}", bases=[f"olga/{base}"])
        town.automations.again(olga, f"olga/{name}", "refs/heads/main")
    begun = [town.automations.based("olga/b" if depth % 2 == 0 else "olga/a", depth) for depth in range(8)]
    assert [len(builds) for builds in begun] == [1, 1, 1, 1, 1, 0, 0, 0]
    assert begun[0][0].cause == "push of olga/b" and begun[0][0].depth == 1


def test_the_queue_has_an_end(town: Hub) -> None:
    olga = who(town, "olga")
    town.repositories.create(olga, "olga/app")
    town.automations.configure(olga, "olga/app", rules=[rule("branch", "*", "{ref}")])
    with pytest.raises(RegistryError, match="at most 50"):
        for number in range(60):
            town.automations.again(olga, "olga/app", f"refs/heads/b{number}")
