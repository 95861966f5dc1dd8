"""Which request goes where. A page that needs somebody sends who is nobody to log in; a form from nobody is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from dockerlab.errors import NotFound
from dockerlab.hub.forms import Forms
from dockerlab.hub.rights import ANYBODY
from dockerlab.hub.visit import Refused, Visit, held, redirect
from dockerlab.registry.messages import Answer, Request
from dockerlab.registry.protocol import TAG

if TYPE_CHECKING:
    from dockerlab.hub.app import Hub

__all__ = ["Routes"]

_ACCOUNT = r"(?P<account>[a-z0-9-]{1,40})"
_PATH = r"(?P<path>[a-z0-9-]{1,40}/[a-z0-9._-]{1,100})"
_ID = r"(?P<ident>[0-9]{1,9})"
_TAG = rf"(?P<tag>{TAG})"
Handler = Callable[..., Answer]


class Routes:
    """Three tables: doors for programs (method, pattern, handler), pages and forms ("known" where somebody is needed, pattern, handler)."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        forms, pages, doors = Forms(hub, hub.pages), hub.pages, hub.doors
        self._doors = _compiled([
            ("GET", "/token", doors.token), ("GET", "/v1/search", doors.search), ("GET", "/v1/_ping", doors.ping),
            ("*", rf"/git/{_PATH}\.git(?P<door>/.*)", doors.git), ("POST", f"/hooks/{_PATH}", doors.hook),
            ("POST", f"/builds/{_ID}/log", doors.log), ("POST", f"/builds/{_ID}/state", doors.report), ("POST", "/events", doors.events),
        ])  # fmt: skip
        self._pages = _compiled([
            ("", "/", pages.home), ("", "/search", pages.search), ("", f"/u/{_ACCOUNT}", pages.account),
            ("", f"/r/{_PATH}", pages.repository), ("", f"/r/{_PATH}/tags/{_TAG}", pages.tag), ("", f"/r/{_PATH}/builds", pages.builds),
            ("", f"/r/{_PATH}/builds/{_ID}", pages.build), ("", rf"/r/{_PATH}/badge\.svg", pages.badge),
            ("", "/login", lambda visit: pages.plain(visit, "login", name="")), ("", "/signup", self._signup),
            ("known", f"/r/{_PATH}/settings", pages.settings), ("known", "/settings", pages.me), ("known", "/new", self._new),
        ])  # fmt: skip
        self._forms = _compiled([
            ("", "/login", forms.login), ("", "/signup", forms.signup), ("known", "/logout", forms.logout),
            ("known", "/settings/password", forms.password), ("known", "/settings/tokens", forms.token), ("known", f"/settings/tokens/{_ID}/delete", forms.revoke),
            ("known", "/orgs", forms.organise), ("known", f"/u/{_ACCOUNT}/members", forms.appoint), ("known", "/new", forms.create),
            ("known", f"/r/{_PATH}/star", forms.star), ("known", f"/r/{_PATH}/settings", forms.describe), ("known", f"/r/{_PATH}/delete", forms.remove),
            ("known", f"/r/{_PATH}/tags/{_TAG}/delete", forms.untag), ("known", f"/r/{_PATH}/automation", forms.automate),
            ("known", f"/r/{_PATH}/automation/delete", forms.unautomate), ("known", f"/r/{_PATH}/builds", forms.build),
            ("known", f"/r/{_PATH}/webhooks", forms.hook), ("known", f"/r/{_PATH}/webhooks/{_ID}/delete", forms.unhook),
        ])  # fmt: skip

    def answer(self, request: Request) -> Answer:
        """Gives what a request gets."""
        if any("\0" in value for values in request.query.values() for value in values):
            return Answer(400, [("Content-Type", "text/plain")], b"no text has a zero in it\n")
        for method, pattern, handler in self._doors:
            if found := pattern.fullmatch(request.path):
                if method not in ("*", "GET" if request.method == "HEAD" else request.method):
                    return Answer(405, [("Allow", method), ("Content-Type", "text/plain")], b"not by this method\n")
                return handler(request, *found.groupdict().values())
        if request.path == "/static/hub.css":
            return self._hub.pages.stylesheet()
        if request.path == "/favicon.ico":
            return Answer(204)
        return self._page(request)

    def _page(self, request: Request) -> Answer:
        session = held(request)
        identity = self._hub.passes.browsing(session) if session else None
        visit = Visit(request, session if identity else "", identity or ANYBODY, host=self._hub.host(request))
        try:
            table = {"GET": self._pages, "HEAD": self._pages, "POST": self._forms}.get(request.method, [])
            for need, pattern, handler in table:
                if found := pattern.fullmatch(request.path):
                    return self._shown(visit, need, handler, tuple(found.groupdict().values()))
            if any(pattern.fullmatch(request.path) for _, pattern, _ in (*self._pages, *self._forms)):
                return self._hub.pages.error(visit, 405, "Not by this method")
            raise NotFound("There is nothing here")
        except NotFound:
            return self._hub.pages.error(visit, 404, "There is nothing here, or nothing that you may see.")
        except Refused as refused:
            return self._hub.pages.error(visit, refused.status, refused.words)

    @staticmethod
    def _shown(visit: Visit, need: str, handler: Handler, words: tuple[str, ...]) -> Answer:
        post = visit.request.method == "POST"
        if need and not visit.identity.known:
            if post:
                raise Refused(403, "Log in first.")
            return redirect("/login")
        if post:
            visit.read()
        return handler(visit, *words)

    def _signup(self, visit: Visit) -> Answer:
        if not self._hub.signup:
            raise Refused(403, "Accounts are made by whoever runs this hub")
        return self._hub.pages.plain(visit, "signup", name="")

    def _new(self, visit: Visit) -> Answer:
        owners = [visit.identity.name, *(each.name for each in self._hub.people.organisations(visit.identity.user))]
        return self._hub.pages.plain(visit, "new", owners=owners)


def _compiled(rows: list[tuple[str, str, Handler]]) -> list[tuple[str, re.Pattern[str], Handler]]:
    return [(first, re.compile(pattern, re.ASCII), handler) for first, pattern, handler in rows]
