"""What forms do. Each ends by sending the browser to a page (POST, redirect, GET), or shows its page again with what was wrong."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from dockerlab.errors import DockerlabError, NotFound, RegistryError
from dockerlab.hub.pages import Pages
from dockerlab.hub.people import Throttled
from dockerlab.hub.tables import Rule
from dockerlab.hub.visit import Refused, Visit, cookie, redirect
from dockerlab.registry.messages import Answer

if TYPE_CHECKING:
    from dockerlab.hub.app import Hub

__all__ = ["Forms"]

_RULES = 20


def _again(page: str) -> Callable[[Callable[..., Answer]], Callable[..., Answer]]:
    """Shows a page of `Pages` again, with what was wrong, where the form could not be taken."""

    def around(handler: Callable[..., Answer]) -> Callable[..., Answer]:
        @functools.wraps(handler)
        def guarded(self: Forms, visit: Visit, *words: str) -> Answer:
            try:
                return handler(self, visit, *words)
            except NotFound:
                raise
            except DockerlabError as error:
                return getattr(self._pages, page)(visit, *words[:1], status=400, said=f"{error.message}{f' ({error.hint})' if error.hint else ''}")  # type: ignore[no-any-return]

        return guarded

    return around


class Forms:
    """What can be changed."""

    def __init__(self, hub: Hub, pages: Pages) -> None:
        self._hub, self._pages = hub, pages

    # Who one is.

    def _entered(self, visit: Visit, identity: Any) -> Answer:
        headers = cookie(self._hub.passes.begin(identity, address=visit.address), secure=self._hub.secure(visit.request))
        return redirect("/", headers)

    def login(self, visit: Visit) -> Answer:
        """Begins a session."""
        name = visit.field("name")
        try:
            identity = self._hub.people.login(name, visit.form.get("password", [""])[0], address=visit.address)
        except Throttled as error:
            return self._pages.show(visit, "login", status=429, headers=[("Retry-After", str(error.seconds))], said=f"{error.message}: {error.hint}", name=name)
        if identity is None:
            return self._pages.plain(visit, "login", status=401, said="The name or the password is wrong.", name=name)
        return self._entered(visit, identity)

    def signup(self, visit: Visit) -> Answer:
        """Makes an account and begins a session."""
        if not self._hub.signup:
            raise Refused(403, "Accounts are made by whoever runs this hub")
        try:
            identity = self._hub.people.add(visit.field("name"), visit.form.get("password", [""])[0], address=visit.address)
        except DockerlabError as error:
            return self._pages.plain(visit, "signup", status=400, said=f"{error.message} ({error.hint})", name=visit.field("name"))
        return self._entered(visit, identity)

    def logout(self, visit: Visit) -> Answer:
        """Ends a session."""
        self._hub.passes.end(visit.session)
        return redirect("/", cookie("", secure=self._hub.secure(visit.request)))

    @_again("me")
    def password(self, visit: Visit) -> Answer:
        """Changes one's password; all sessions end."""
        try:
            known = self._hub.people.login(visit.identity.name, visit.form.get("old", [""])[0], address=visit.address)
        except Throttled as error:
            return self._pages.me(visit, status=429, said=f"{error.message}: {error.hint}")
        if known is None:
            return self._pages.me(visit, status=400, said="The old password is wrong.")
        self._hub.people.change(visit.identity, visit.form.get("new", [""])[0], address=visit.address)
        return redirect("/login", cookie("", secure=self._hub.secure(visit.request)))

    @_again("me")
    def token(self, visit: Visit) -> Answer:
        """Makes a token; it is shown this once."""
        days = visit.field("days")
        until = int(days) if re.fullmatch("[1-9][0-9]{0,3}", days) else -1 if days else 0
        text = self._hub.passes.issue(visit.identity, visit.field("label"), visit.field("scope"), days=until, address=visit.address)
        return self._pages.me(visit, token=text)

    def revoke(self, visit: Visit, ident: str) -> Answer:
        """Ends a token."""
        self._hub.passes.revoke(visit.identity, int(ident), address=visit.address)
        return redirect("/settings")

    @_again("me")
    def organise(self, visit: Visit) -> Answer:
        """Makes an organisation."""
        made = self._hub.people.organise(visit.field("name"), visit.identity, address=visit.address)
        return redirect(f"/u/{made.name}")

    def appoint(self, visit: Visit, organisation: str) -> Answer:
        """Changes who belongs to an organisation."""
        if not self._hub.settles(visit.identity, organisation):
            raise NotFound("no such organisation", kind="account", name=organisation)
        try:
            self._hub.people.appoint(organisation, visit.field("user"), visit.field("role"), actor=visit.identity.name, address=visit.address)
        except DockerlabError as error:
            return self._pages.error(visit, 400, f"{error.message}. {error.hint}")
        return redirect(f"/u/{organisation}")

    # Repositories.

    def create(self, visit: Visit) -> Answer:
        """Makes a repository."""
        path = f"{visit.field('owner')}/{visit.field('name')}"
        try:
            self._hub.repositories.create(visit.identity, path, private=visit.field("visibility") == "private", description=visit.field("description"), address=visit.address)
        except DockerlabError as error:
            owners = [visit.identity.name, *(each.name for each in self._hub.people.organisations(visit.identity.user))]
            return self._pages.plain(visit, "new", status=400, said=f"{error.message} ({error.hint})" if error.hint else error.message, owners=owners)
        return redirect(f"/r/{path}")

    def star(self, visit: Visit, path: str) -> Answer:
        """Likes a repository, or no longer."""
        self._hub.repositories.star(visit.identity, path, visit.field("liked") == "yes", address=visit.address)
        return redirect(f"/r/{path}")

    @_again("settings")
    def describe(self, visit: Visit, path: str) -> Answer:
        """Changes what is said about a repository."""
        readme = visit.form.get("readme", [""])[0].replace("\r\n", "\n")
        self._hub.repositories.describe(visit.identity, path, description=visit.field("description"), readme=readme, private=visit.field("visibility") == "private", address=visit.address)
        return redirect(f"/r/{path}")

    def remove(self, visit: Visit, path: str) -> Answer:
        """Takes a repository away with its images."""
        if visit.field("sure") != path:
            self._hub.repositories.get(visit.identity, path, "settle")
            return self._pages.settings(visit, path, status=400, said="Type the repository's whole name to remove it.")
        self._hub.remove(visit.identity, path, address=visit.address)
        return redirect(f"/u/{path.partition('/')[0]}")

    def untag(self, visit: Visit, path: str, tag: str) -> Answer:
        """Takes a tag away."""
        self._hub.repositories.get(visit.identity, path, "delete")
        try:
            self._hub.shelf.forget(path, tag)
        except RegistryError as error:
            return self._pages.error(visit, error.status or 409, f"{error.message}{f' ({error.hint})' if error.hint else ''}")
        self._hub.note(visit.identity.name, visit.address, "removed", f"{path}:{tag}")
        return redirect(f"/r/{path}")

    # Builds and webhooks.

    @_again("settings")
    def automate(self, visit: Visit, path: str) -> Answer:
        """Says how a repository is built."""
        columns = [visit.form.get(name, []) for name in ("kind", "pattern", "tag", "dockerfile", "folder")]
        rows = [tuple(each.strip() for each in row) for row in zip(*columns, strict=False)][:_RULES]
        rules = [Rule(kind=kind, pattern=pattern, tag=tag, dockerfile=dockerfile, folder=folder) for kind, pattern, tag, dockerfile, folder in rows if pattern]
        self._hub.automations.configure(visit.identity, path, source=visit.field("source"), rules=rules, bases=visit.field("bases").split(), address=visit.address)
        return redirect(f"/r/{path}/settings")

    def unautomate(self, visit: Visit, path: str) -> Answer:
        """Has a repository not be built any more."""
        self._hub.automations.stop(visit.identity, path, address=visit.address)
        return redirect(f"/r/{path}/settings")

    def build(self, visit: Visit, path: str) -> Answer:
        """Begins builds by hand."""
        branch = visit.field("branch")
        ref = branch if not branch or branch.startswith("refs/") else f"refs/tags/{branch}" if visit.field("kind") == "tag" else f"refs/heads/{branch}"
        begun = self._hub.automations.again(visit.identity, path, ref, address=visit.address)
        if not begun:
            return self._pages.builds(visit, path, status=400, said=f"No rule matches the {'tag' if ref.startswith('refs/tags/') else 'branch'} {branch}." if ref else "Nothing was built yet.")
        self._hub.queue.hand_out()
        return redirect(f"/r/{path}/builds/{begun[0].id}" if len(begun) == 1 else f"/r/{path}/builds")

    @_again("settings")
    def hook(self, visit: Visit, path: str) -> Answer:
        """Adds a webhook; its secret is shown this once."""
        secret = self._hub.webhooks.add(visit.identity, path, visit.field("url"), address=visit.address)
        return self._pages.settings(visit, path, secret=secret)

    def unhook(self, visit: Visit, path: str, ident: str) -> Answer:
        """Takes a webhook away."""
        self._hub.webhooks.remove(visit.identity, path, int(ident), address=visit.address)
        return redirect(f"/r/{quote(path)}/settings")
