"""The hub's pages that only show something. Templates escape everything; a page needs no script."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from dockerlab.hub.rights import SCOPES
from dockerlab.hub.shelf import SHOWN
from dockerlab.hub.tables import Build, now
from dockerlab.hub.visit import Visit
from dockerlab.oci.visible import visible
from dockerlab.registry.messages import Answer
from dockerlab.widgets.html import size_words

if TYPE_CHECKING:
    from dockerlab.hub.app import Hub

__all__ = ["PAGE", "Pages", "markdown"]

PAGE = 20  # repositories on a page
_POLICY = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
_SAFE = [("Content-Security-Policy", _POLICY), ("Referrer-Policy", "same-origin"), ("X-Frame-Options", "DENY"), ("Cache-Control", "no-store")]
_COLOURS = {"success": "#1a7f37", "failed": "#b3261e", "running": "#7a5c00", "queued": "#57606a"}


@functools.cache
def _templates() -> Environment:
    made = Environment(loader=FileSystemLoader(Path(__file__).with_name("templates")), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_plain)
    made.filters.update(size=size_words, ago=_ago, query=urlencode)
    return made


def _plain(value: Any) -> Any:
    """Spells out what would not be seen, or would change how the rest is seen; lines stay lines."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _ago(moment: datetime | None) -> str:
    if moment is None:
        return "never"
    seconds = int((now() - moment).total_seconds())
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            count = seconds // length
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now" if seconds >= 0 else "soon"


@functools.cache
def _markdown() -> Any:
    from markdown_it import MarkdownIt

    # No HTML of the author's gets through; headings stand below the page's own.
    made = MarkdownIt("commonmark", {"html": False}).enable("table")

    def lower(self: Any, tokens: Any, index: int, options: Any, env: Any) -> str:
        token = tokens[index]
        token.tag = f"h{min(int(token.tag[1]) + 2, 6)}"
        return str(self.renderToken(tokens, index, options, env))

    made.add_render_rule("heading_open", lower)
    made.add_render_rule("heading_close", lower)
    return made


@functools.lru_cache(maxsize=256)
def markdown(text: str) -> Markup:
    """Gives a README as HTML that holds nothing but what Markdown makes."""
    return Markup(_markdown().render(_plain(text)))


class Pages:
    """What can be looked at."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def show(self, visit: Visit, template: str, /, *, status: int = 200, headers: list[tuple[str, str]] | None = None, **values: Any) -> Answer:
        """Gives a page of a template."""
        here = visit.request
        common: Mapping[str, Any] = {
            "me": visit.identity, "csrf": visit.csrf if visit.session else "", "here": here.path, "host": self._hub.registry_host(here), "base": self._hub.base(here), "signup": self._hub.signup,
        }  # fmt: skip
        page = _templates().get_template(f"{template}.html").render({**common, **values})
        return Answer(status, [("Content-Type", "text/html; charset=utf-8"), *_SAFE, *(headers or [])], page.encode())

    def home(self, visit: Visit) -> Answer:
        """What is liked best."""
        total, found = self._hub.repositories.search(visit.identity, "", limit=PAGE)
        return self.show(visit, "list", title="Repositories", words="", found=found, total=total, page=1, pages=-(-total // PAGE) or 1)

    def search(self, visit: Visit) -> Answer:
        """Repositories whose path or description holds all words."""
        words, page = visit.request.one("q")[:100], _page(visit)
        total, found = self._hub.repositories.search(visit.identity, words, limit=PAGE, offset=(page - 1) * PAGE)
        return self.show(visit, "list", title=f"Search: {words}" if words else "Repositories", words=words, found=found, total=total, page=page, pages=-(-total // PAGE) or 1)

    def account(self, visit: Visit, name: str) -> Answer:
        """A user's or an organisation's repositories."""
        account = self._hub.people.get(name)
        members = self._hub.people.members(name) if account.kind == "organisation" else []
        role = next((member.role for member in members if member.user_id == visit.identity.user), "")
        organisations = self._hub.people.organisations(account.id) if account.id == visit.identity.user else []  # members are an organisation's own business
        audit = self._hub.audit_of(visit.identity, name) if account.kind == "organisation" else []
        return self.show(
            visit, "account", audit=audit, account=account, repositories=self._hub.repositories.of(visit.identity, name), members=members if role else [], role=role, organisations=organisations,
        )  # fmt: skip

    def repository(self, visit: Visit, path: str) -> Answer:
        """What a repository is about, and its tags."""
        found = self._hub.repositories.get(visit.identity, path)
        stars = self._hub.repositories.stars(found)
        automation, _, _ = self._hub.automations.get(found.id)
        builds = self._hub.queue.of(found.id)[:1]
        page = _page(visit)
        total, tags = self._hub.shelf.tags(path, page)
        return self.show(
            visit, "repository", repository=found, may=self._hub.repositories.rights(visit.identity, path), tags=tags, total=total, page=page, pages=-(-total // SHOWN) or 1, stars=len(stars),
            liked=visit.identity.user in stars, automation=automation, builds=builds, readme=markdown(found.readme), heads=self._hub.git.heads(path),
        )  # fmt: skip

    def tag(self, visit: Visit, path: str, tag: str) -> Answer:
        """An image's steps and layers."""
        found = self._hub.repositories.get(visit.identity, path)
        platform = visit.request.one("platform")
        shown = self._hub.shelf.layers(path, tag, platform)
        if shown is None:
            return self.error(visit, 404, "There is no such tag")
        largest = max((layer.size for layer in shown[1]), default=0)
        may, names = self._hub.repositories.rights(visit.identity, path), shown[0].platforms
        chosen = platform if platform in names else next(iter(names), "")
        return self.show(visit, "tag", repository=found, tag=shown[0], layers=shown[1], largest=largest, may=may, chosen=chosen)

    def builds(self, visit: Visit, path: str, *, status: int = 200, said: str = "") -> Answer:
        """A repository's builds."""
        found = self._hub.repositories.get(visit.identity, path)
        automation, rules, bases = self._hub.automations.get(found.id)
        bases = [base for base in bases if "pull" in self._hub.repositories.rights(visit.identity, base)]
        may = self._hub.repositories.rights(visit.identity, path)
        return self.show(visit, "builds", status=status, said=said, repository=found, builds=self._hub.queue.of(found.id), automation=automation, rules=rules, bases=bases, may=may)

    def build(self, visit: Visit, path: str, number: str) -> Answer:
        """A build's log; while it runs the page loads itself again, unless one asks it to keep `still` (WCAG 2.2.2)."""
        found = self._hub.repositories.get(visit.identity, path)
        build, log = self._hub.queue.get(visit.identity, path, int(number))
        running, still = build.state in ("queued", "running"), bool(visit.request.one("still"))
        again = [("Refresh", "2")] if running and not still else []
        return self.show(visit, "build", headers=again, repository=found, build=build, log=log.replace("\r\n", "\n"), running=running, still=still)

    def badge(self, visit: Visit, path: str) -> Answer:
        """The state of the last build as a picture, for a README elsewhere."""
        found = self._hub.repositories.get(visit.identity, path)
        return Answer(200, [("Content-Type", "image/svg+xml"), *_SAFE], _badge(self._hub.queue.of(found.id)).encode())

    def settings(self, visit: Visit, path: str, *, status: int = 200, said: str = "", secret: str = "") -> Answer:
        """What its owner may change."""
        found = self._hub.repositories.get(visit.identity, path, "settle")
        automation, rules, bases = self._hub.automations.get(found.id)
        return self.show(
            visit, "settings", status=status, repository=found, automation=automation, rules=rules, bases=bases, webhooks=self._hub.webhooks.of(found.id), said=said, secret=secret,
        )  # fmt: skip

    def me(self, visit: Visit, *, status: int = 200, said: str = "", token: str = "") -> Answer:
        """One's own tokens, organisations and what happened."""
        return self.show(
            visit, "me", status=status, tokens=self._hub.passes.tokens(visit.identity), scopes=list(SCOPES), organisations=self._hub.people.organisations(visit.identity.user),
            audit=self._hub.audit(visit.identity), said=said, token=token, moment=now(),
        )  # fmt: skip

    def plain(self, visit: Visit, template: str, /, *, status: int = 200, said: str = "", **values: Any) -> Answer:
        """A page with a form alone."""
        return self.show(visit, template, status=status, said=said, **values)

    def error(self, visit: Visit, status: int, words: str) -> Answer:
        """A page that says why there is none."""
        return self.show(visit, "error", status=status, words=words, status_code=status)

    @staticmethod
    def stylesheet() -> Answer:
        """The one stylesheet."""
        return Answer(200, [("Content-Type", "text/css; charset=utf-8"), ("Cache-Control", "max-age=3600")], Path(__file__).with_name("templates").joinpath("hub.css").read_bytes())


def _page(visit: Visit) -> int:
    text = visit.request.one("page")
    return int(text) if re.fullmatch("[1-9][0-9]{0,4}", text) else 1


def _badge(builds: list[Build]) -> str:
    state = next((build.state for build in builds if build.state != "superseded"), "none")
    word = {"success": "passing", "none": "no builds"}.get(state, state)
    width = 48 + 8 * len(word)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="20" role="img" aria-label="build: {word}"><title>build: {word}</title>'
        f'<rect width="42" height="20" fill="#444"/><rect x="42" width="{width - 42}" height="20" fill="{_COLOURS.get(state, "#57606a")}"/>'
        f'<g fill="#fff" font-family="Verdana,sans-serif" font-size="11"><text x="7" y="14">build</text><text x="49" y="14">{word}</text></g></svg>'
    )
