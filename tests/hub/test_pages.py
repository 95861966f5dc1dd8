"""Pages as browsers get them: what they show, and what they never let through."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from urllib.parse import quote, urlencode

import pytest

from dockerlab.hub.app import Hub
from dockerlab.hub.pages import markdown
from dockerlab.hub.rights import ANYBODY
from dockerlab.hub.tables import Build
from tests.hub.conftest import PASSWORDS, SQLITE, Person
from tests.hub.test_repositories import who

EVIL = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "'-alert(1)-'", "{{ 1234567*9 }}", "\u202eevil", "javascript:alert(1)"]


class _Seen(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def harmless(body: bytes) -> None:
    """No script, no handler, no address that runs, no inline style: by an HTML parser, not by looking for words."""
    seen = _Seen()
    seen.feed(body.decode())
    for tag, attributes in seen.tags:
        assert tag not in ("script", "iframe", "object", "embed", "style", "svg", "base"), tag
        assert not [name for name in attributes if name.startswith("on") or name == "style"], attributes
        for name in ("href", "src", "action"):
            assert not re.match(r"\s*(javascript|data|vbscript):", attributes.get(name) or "", re.I), attributes


@pytest.fixture
def olga(town: Hub) -> Person:
    return Person(town, "olga").enter()


@pytest.mark.parametrize("days", ["0", "-5", "abc", "99999", "٣"])
def test_a_token_that_ends_never_was_asked_for(town: Hub, olga: Person, days: str) -> None:
    olga.submits("/settings/tokens", {"label": "odd", "scope": "repo:read", "days": days})
    assert "odd" not in {each.label for each in town.passes.tokens(who(town, "olga"))}


@pytest.mark.parametrize("evil", EVIL)
@SQLITE
def test_what_people_write_is_text(town: Hub, olga: Person, evil: str) -> None:
    olga.push("olga/app")
    said = olga.submits("/r/olga/app/settings", {"description": evil, "readme": f"# {evil}\n\n[link]({evil}) ![picture]({evil}) <b>{evil}</b>\n\n```\n{evil}\n```\n", "visibility": "public"})
    assert said.status == 303
    olga.submits("/settings/tokens", {"label": evil, "scope": "repo:read", "days": "1"})
    town.automations.configure(who(town, "olga"), "olga/app")
    with town.state.writing() as db:
        db.add(Build(repository_id=1, cause=evil, commit=evil, tag="latest", dockerfile="Dockerfile", folder="", state="failed"))
    (town.folder / "logs" / "1.log").write_text(f"{evil}\x1b[31m\x07\n")
    for path in ("/", "/search?q=" + quote(evil), "/r/olga/app", "/r/olga/app/tags/latest", "/r/olga/app/builds", "/r/olga/app/builds/1", "/r/olga/app/settings", "/settings", "/u/olga"):
        page = olga("GET", path)
        assert page.status == 200, path
        harmless(page.body)
        assert "\u202e" not in page.body.decode() and "11111103" not in page.body.decode() and b"\x1b" not in page.body
        assert "script-src" not in page.headers["Content-Security-Policy"] and "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert b"alert(1)" in olga("GET", "/r/olga/app").body or "alert" not in evil  # it is there, as text


@pytest.mark.parametrize("text", [
    "<script>x</script>", "<img src=x onerror=x>", "[x](javascript:alert)", "[x](JaVaScRiPt:alert)", "[x](vbscript:x)", "[x](data:text/html,x)", "![x](javascript:x)", "<javascript:x>",
    "[x]: javascript:x\n[x]", "<a href='x' onclick='y'>", "&lt;script&gt;", "`<script>`", "[a](<javascript:x>)", "[x](\x01javascript:x)", "<svg/onload=x>",
    "<!-- --><script>", "[x](&#106;avascript:x)",
])  # fmt: skip
def test_a_read_me_is_only_what_markdown_makes(text: str) -> None:
    harmless(str(markdown(text)).encode())


def test_a_read_mes_headings_stand_below_the_pages(town: Hub, olga: Person) -> None:
    olga.push("olga/app")
    olga.submits("/r/olga/app/settings", {"description": "", "readme": "# Top\n\n###### Deep\n\n| a | b |\n|---|---|\n| 1 | 2 |\n", "visibility": "public"})
    page = olga("GET", "/r/olga/app").body.decode()
    assert "<h3>Top</h3>" in page and "<h6>Deep</h6>" in page and "<td>1</td>" in page and page.count("<h1>") == 1


def test_pages_of_a_visit(town: Hub, olga: Person) -> None:
    assert b"Nothing was pushed yet" in Person(town)("GET", "/").body
    olga.push("olga/app", "1.0")
    page = Person(town)("GET", "/r/olga/app").body.decode()
    assert "docker pull h/olga/app" in page and ">1.0</a>" in page and "0 stars" in page
    assert olga.submits("/r/olga/app/star", {"liked": "yes"}).status == 303
    assert "★ 1 star " in Person(town)("GET", "/").body.decode()
    assert "RUN &lt;b&gt;x&lt;/b&gt;" in Person(town)("GET", "/r/olga/app/tags/1.0").body.decode()
    assert Person(town)("GET", "/r/olga/app/tags/2.0").status == 404
    assert b"Nothing matches" in Person(town)("GET", "/search?q=zzz").body
    assert Person(town)("HEAD", "/r/olga/app").body == b""


def test_lists_have_pages(town: Hub) -> None:
    for number in range(45):
        town.repositories.create(who(town, "olga"), f"olga/app{number:02}")
    first, third = (Person(town)("GET", f"/search?q=app&page={page}").body.decode() for page in (1, 3))
    assert "Page 1 of 3" in first and 'rel="next" href="/search?q=app&amp;page=2"' in first and "Previous" not in first
    assert third.count("/r/olga/app") == 5 and "Next" not in third
    for odd in ("0", "-1", "x", "99999999999999999999", "１"):
        assert Person(town)("GET", f"/search?q=app&page={quote(odd)}").status == 200


def test_tags_have_pages(town: Hub, olga: Person) -> None:
    for number in range(60):
        olga.push("olga/app", f"v{number:02}")
    first, second = (Person(town)("GET", f"/r/olga/app?page={page}").body.decode() for page in (1, 2))
    assert "Tags (60)" in first and ">v49</a>" in first and ">v50</a>" not in first and 'rel="next" href="/r/olga/app?page=2"' in first
    assert ">v59</a>" in second and ">v49</a>" not in second and "Page 2 of 2" in second


def test_who_decides_sees_what_happened(town: Hub) -> None:
    boss, mia = Person(town, "boss").enter(), Person(town, "mia").enter()
    digest = mia.push("acme/app", "1.0").headers["Docker-Content-Digest"]
    mia.push("acme/app", "2.0", b"another")
    mia.submits("/r/acme/app/star", {"liked": "yes"})
    boss.submits("/r/acme/app/tags/2.0/delete")
    boss.registry("DELETE", f"/v2/acme/app/manifests/{digest}")
    town.automations.configure(who(town, "boss"), "acme/app", source="https://git.example/x.git")
    assert boss.submits("/r/acme/app/builds", {"kind": "tag", "branch": "main"}).status == 400  # the rule is for a branch
    said = [(each.actor, each.action, each.what) for each in town.audit_of(who(town, "boss"), "acme")]
    assert {("mia", "push", "acme/app:1.0"), ("mia", "star", "acme/app"), ("boss", "removed", "acme/app:2.0"), ("boss", "removed", f"acme/app@{digest}")} <= set(said)
    assert ("boss", "build begun", "acme/app refs/tags/main") in said
    assert {each.address for each in town.audit_of(who(town, "boss"), "acme") if each.action in ("push", "removed")} == {"127.0.0.1"}
    assert b"What happened" in boss("GET", "/u/acme").body and b"acme/app:1.0" in boss("GET", "/u/acme").body
    assert b"What happened" not in mia("GET", "/u/acme").body and town.audit_of(who(town, "mia"), "acme") == []
    assert len(town.audit_all(3)) == 3
    for label in ("acme owner", "acme/app:latest"):
        town.passes.revoke(sam := who(town, "sam"), next(iter(town.passes.tokens(sam) if town.passes.issue(sam, label, "repo:read") else ())).id)
    assert "sam" not in {each.actor for each in town.audit_of(who(town, "boss"), "acme")} and "sam" in {each.actor for each in town.audit_all(9)}


def test_a_build_that_no_rule_is_for(town: Hub, olga: Person) -> None:
    olga.push("olga/app")
    town.automations.configure(who(town, "olga"), "olga/app", source="https://git.example/x.git")
    said = olga.submits("/r/olga/app/builds", {"kind": "branch", "branch": "other"})
    assert said.status == 400 and b"No rule matches the branch other." in said.body
    assert b"Nothing was built yet" in olga.submits("/r/olga/app/builds").body
    assert olga.submits("/r/olga/app/builds", {"kind": "branch", "branch": "main"}).status == 303
    made = olga.submits("/new", {"owner": "olga", "name": "Not A Name", "visibility": "public"})
    assert made.status == 400 and b"is no repository&#39;s name" in made.body


def test_signing_up_and_in_and_out(town: Hub) -> None:
    visitor = Person(town)
    form = {"Content_Type": "application/x-www-form-urlencoded"}
    said = visitor("POST", "/signup", urlencode({"name": "nina", "password": "nina's long password"}).encode(), **form)
    assert said.status == 303
    visitor.session = re.findall("hub_session=([^;]+)", said.headers["Set-Cookie"])[0]
    assert b"/u/nina" in visitor("GET", "/").body
    assert visitor.submits("/logout").status == 303
    assert visitor("GET", "/settings").status == 303
    for fields, status in (({"name": "nina", "password": "x"}, 400), ({"name": "N", "password": "a long password"}, 400), ({}, 400)):
        assert Person(town)("POST", "/signup", urlencode(fields).encode(), **form).status == status
    assert Person(town)("POST", "/login", urlencode({"name": "nina", "password": "wrong"}).encode(), **form).status == 401
    town.signup = False
    assert Person(town)("POST", "/signup", urlencode({"name": "max", "password": "a long password"}).encode(), **form).status == 403
    assert Person(town)("GET", "/signup").status == 403 and b"Sign up" not in Person(town)("GET", "/").body


def test_guessing_at_the_page_is_slowed_down(town: Hub) -> None:
    form, body = {"Content_Type": "application/x-www-form-urlencoded"}, urlencode({"name": "olga", "password": "guess"}).encode()
    told = [Person(town)("POST", "/login", body, **form) for _ in range(7)]
    assert [said.status for said in told] == [401] * 5 + [429] * 2 and int(told[-1].headers["Retry-After"]) > 0
    assert Person(town, "olga").says("GET", "/token").status == 429


@pytest.mark.parametrize("headers", [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec_Fetch_Site": "cross-site"}, {"Sec_Fetch_Site": "same-site"}, {"Referer": "http://evil.example/h"}])
@SQLITE
def test_a_form_of_another_site(town: Hub, olga: Person, headers: dict[str, str]) -> None:
    """CSRF: refused by where it comes from, even with the right field; and without the field from anywhere."""
    assert olga.submits("/orgs", {"name": "guild"}, **headers).status == 403
    body = urlencode({"name": "olga", "password": PASSWORDS["olga"]}).encode()
    assert Person(town)("POST", "/login", body, Content_Type="application/x-www-form-urlencoded", **headers).status == 403


@pytest.mark.parametrize("csrf", ["", "x", "0" * 64, "é"])
@SQLITE
def test_a_form_without_the_sessions_mark(town: Hub, olga: Person, csrf: str) -> None:
    said = olga.submits("/orgs", {"name": "guild", "csrf": csrf}, Origin="http://h")
    assert said.status == 403
    assert olga.submits("/orgs", {"name": "guild"}, Origin="http://h").status == 303


@pytest.mark.parametrize(("kind", "body", "status"), [
    ("application/json", b"{}", 415), ("multipart/form-data; boundary=x", b"x", 415), ("application/x-www-form-urlencoded", b"a=" + b"x" * 300_000, 413),
    ("application/x-www-form-urlencoded", b"&".join(b"a%d=1" % number for number in range(500)), 400), ("application/x-www-form-urlencoded", b"\xff\xfe", 400),
])  # fmt: skip
@SQLITE
def test_forms_that_are_none(olga: Person, kind: str, body: bytes, status: int) -> None:
    assert olga("POST", "/orgs", body, Content_Type=kind).status == status


@pytest.mark.parametrize("path", [
    "/r/../../etc/passwd", "/r/olga/%2e%2e", "/r/olga/app%00", "/static/../hub.key", "/static/hub.key", "/r/olga/app/tags/..", "/u/olga%0d%0aSet-Cookie:x", "/r/olga/app'--/builds",
    "/r/olga/app/builds/1e5",
    "/r/olga/app/builds/99999999999", "/r/olga/app/builds/-1", "/u/" + "x" * 5000, "//evil.example/", "/r/olga/' OR 1=1 --",
])  # fmt: skip
@SQLITE
def test_paths_that_are_none(olga: Person, path: str) -> None:
    said = olga("GET", path)
    assert said.status == 404
    assert "Set-Cookie" not in said.headers


@pytest.mark.parametrize("host", ["evil.example/x", "a b", "x\r\nSet-Cookie: y=1", '"><script>', "x" * 300])
@SQLITE
def test_a_host_that_is_no_name(town: Hub, host: str) -> None:
    assert Person(town)("GET", "/", Host=host).status == 400


def test_nothing_of_a_search_gets_into_sql(town: Hub) -> None:
    town.repositories.create(who(town, "olga"), "olga/hidden", private=True)
    for words in ("' OR '1'='1", "%' UNION SELECT * FROM accounts --", "\\", "_", "\0"):
        said = Person(town)("GET", "/v1/search?" + urlencode({"q": words}))
        assert said.status in (200, 400) and b"hidden" not in said.body
        assert Person(town)("GET", "/search?" + urlencode({"q": words})).status in (200, 400)


def test_settings_of_a_repository(town: Hub, olga: Person) -> None:
    olga.push("olga/app")
    fields = {"source": "", "kind": ["branch", "tag"], "pattern": ["main", "v*"], "tag": ["latest", "{1}"], "dockerfile": ["Dockerfile", "web.df"], "folder": ["", "web"], "bases": ""}
    assert olga.submits("/r/olga/app/automation", fields).status == 303
    found = town.repositories.get(ANYBODY, "olga/app")
    rules = [(rule.kind, rule.pattern, rule.tag, rule.dockerfile, rule.folder) for rule in town.automations.get(found.id)[1]]
    assert rules == [("branch", "main", "latest", "Dockerfile", ""), ("tag", "v*", "{1}", "web.df", "web")]
    wrong = olga.submits("/r/olga/app/automation", {**fields, "tag": ["a b", "x"]})
    assert wrong.status == 400 and b"is no tag" in wrong.body
    assert b"no such repository: sam/nothing" in olga.submits("/r/olga/app/automation", {**fields, "bases": "sam/nothing"}).body
    said = olga.submits("/r/olga/app/webhooks", {"url": "http://example.org/hook"})
    assert said.status == 200 and b"shown this once" in said.body
    assert b"shown this once" not in olga("GET", "/r/olga/app/settings").body
    assert olga.submits("/r/olga/app/delete", {"sure": "olga/ap"}).status == 400
    assert olga.submits("/r/olga/app/delete", {"sure": "olga/app"}).status == 303
    assert olga("GET", "/r/olga/app").status == 404


def test_a_badge(town: Hub, olga: Person) -> None:
    olga.push("olga/app")
    assert b"no builds" in olga("GET", "/r/olga/app/badge.svg").body
    with town.state.writing() as db:
        db.add(Build(repository_id=1, cause="x", commit="x", tag="latest", dockerfile="x", folder="", state="success"))
    said = olga("GET", "/r/olga/app/badge.svg")
    assert b">passing<" in said.body and said.headers["Content-Type"] == "image/svg+xml"


def test_a_page_of_a_build_that_runs_loads_itself_again(town: Hub, olga: Person) -> None:
    olga.push("olga/app")
    with town.state.writing() as db:
        db.add(Build(repository_id=1, cause="x", commit="x", tag="latest", dockerfile="x", folder="", state="running"))
    assert olga("GET", "/r/olga/app/builds/1").headers["Refresh"] == "2"
    still = olga("GET", "/r/olga/app/builds/1?still=1")
    assert "Refresh" not in still.headers and b'href="/r/olga/app/builds/1">follow it' in still.body and b"?still=1" in olga("GET", "/r/olga/app/builds/1").body
    assert "Refresh" not in olga("GET", "/r/olga/app").headers


def test_an_image_for_several_machines(town: Hub, olga: Person) -> None:
    digests = [olga.push("olga/app", name, layer).headers["Docker-Content-Digest"] for name, layer in (("amd64", bytes(5000)), ("arm64", bytes(9000)))]
    kind, image = "application/vnd.oci.image.index.v1+json", "application/vnd.oci.image.manifest.v1+json"
    platforms = [{"os": "linux", "architecture": "amd64"}, {"os": "linux", "architecture": "arm64", "variant": "v8"}, {"os": "unknown", "architecture": "unknown"}]
    entries = [{"mediaType": image, "digest": digest, "size": 400, "platform": platform} for digest, platform in zip([*digests, digests[0]], platforms, strict=True)]
    raw = json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": entries}).encode()
    assert olga("PUT", "/v2/olga/app/manifests/all", raw, Content_Type=kind, **olga.bearer("repository:olga/app:pull,push")).status == 201
    listed, first, second = (Person(town)("GET", f"/r/olga/app{rest}").body.decode() for rest in ("", "/tags/all", "/tags/all?platform=linux/arm64/v8"))
    assert ">up to 9.21kB</td><td>2 platforms" in listed
    assert '<strong aria-current="true">linux/amd64</strong>' in first and 'platform=linux/arm64/v8">linux/arm64/v8</a>' in first and "<dd>5.21kB, less" in first
    assert '<strong aria-current="true">linux/arm64/v8</strong>' in second and "<dd>9.21kB, less" in second
