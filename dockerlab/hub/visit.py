"""A browser's request: who it is, what its form says, and whether that form was ours (OWASP, "Cross-Site Request Forgery Prevention")."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from dockerlab.hub.rights import ANYBODY, Identity
from dockerlab.registry.messages import Answer, Request

__all__ = ["COOKIE", "Refused", "Visit", "cookie", "held", "redirect"]

COOKIE = "hub_session"
_FORM = 256 << 10


class Refused(Exception):
    """A page that is not shown: status and words."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status, self.words = status, words


@dataclass(slots=True)
class Visit:
    """One request for a page."""

    request: Request
    session: str = ""
    identity: Identity = ANYBODY
    form: dict[str, list[str]] = field(default_factory=dict)
    host: str = ""  # how everybody calls the hub, whatever a proxy makes of it

    @property
    def address(self) -> str:
        """From where."""
        return self.request.address

    @property
    def csrf(self) -> str:
        """What a form of this session carries; nobody else can compute it."""
        return hmac.digest(self.session.encode(), b"form", hashlib.sha256).hex()

    def field(self, name: str) -> str:
        """Gives a field of the form, without blanks around it, or ""."""
        return self.form.get(name, [""])[0].strip()

    def read(self) -> None:
        """Reads a form and makes sure that it came from a page of ours; raises Refused."""
        if "application/x-www-form-urlencoded" not in self.request.header("Content-Type"):
            raise Refused(415, "a form is expected")
        length = self.request.length
        if length is None or length > _FORM:
            raise Refused(413, "the form is too long")
        self._came_from_here()
        blocks = []
        while block := self.request.read(1 << 16):
            blocks.append(block)
        try:
            self.form = parse_qs(b"".join(blocks).decode(), keep_blank_values=True, max_num_fields=200)
        except ValueError:
            raise Refused(400, "the form cannot be read") from None
        if any("\0" in value for values in self.form.values() for value in values):
            raise Refused(400, "the form cannot be read")
        if self.session and not hmac.compare_digest(self.field("csrf").encode(), self.csrf.encode()):
            raise Refused(403, "the form is not of this session: load the page again")

    def _came_from_here(self) -> None:
        site, origin = self.request.header("Sec-Fetch-Site"), self.request.header("Origin") or self.request.header("Referer")
        if site and site not in ("same-origin", "none"):
            raise Refused(403, "the form came from another site")
        try:
            place = urlsplit(origin).netloc
        except ValueError:
            place = "nowhere"
        if origin and place not in (self.request.header("Host"), self.host):
            raise Refused(403, "the form came from another site")


def held(request: Request) -> str:
    """Gives the session cookie, or ""."""
    try:
        found = SimpleCookie(request.header("Cookie")).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found and len(found.value) < 100 else ""


def cookie(value: str, *, secure: bool) -> tuple[str, str]:
    """Gives the header that sets the session cookie, "" takes it away."""
    return "Set-Cookie", f"{COOKIE}={value}; Path=/; HttpOnly; SameSite=Lax{'; Secure' if secure else ''}; Max-Age={14 * 86400 if value else 0}"


def redirect(place: str, *headers: tuple[str, str]) -> Answer:
    """Sends a browser to another page of the hub."""
    return Answer(303, [("Location", place), *headers])
