"""What a registry wants to know before it answers: challenges, basic and bearer (RFC 9110 section 11; CNCF distribution's "Token Authentication")."""

from __future__ import annotations

import base64
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from dockerlab.errors import RegistryError
from dockerlab.registry.keychain import Login

__all__ = ["Challenge", "Tokens", "Wish", "basic", "challenges", "scope"]

_PARAMETER = re.compile(r"""\s*,?\s*([A-Za-z0-9_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))""")
_SCHEME = re.compile(r"\s*,?\s*([A-Za-z][A-Za-z0-9_-]*)(?=\s|,|$)(?!\s*=)")
_EARLY = 10  # seconds before its end that a token is not used any more
_DEFAULT_LIFE = 60  # seconds, where the server does not say


@dataclass(frozen=True, slots=True)
class Challenge:
    """One scheme of a WWW-Authenticate header, in lower case, with its parameters."""

    scheme: str
    parameters: Mapping[str, str]


def challenges(header: str) -> list[Challenge]:
    """Gives the challenges in a WWW-Authenticate header; what cannot be understood ends the list."""
    found, place = [], 0
    while match := _SCHEME.match(header, place):
        place, parameters = match.end(), {}
        while each := _PARAMETER.match(header, place):
            parameters[each[1].lower()] = re.sub(r"\\(.)", r"\1", each[2]) if each[2] is not None else each[3]
            place = each.end()
        found.append(Challenge(match[1].lower(), parameters))
    return found


def scope(repository: str, *actions: str) -> str:
    """Gives the scope that stands for actions on a repository.

    >>> scope("library/busybox", "pull", "push")
    'repository:library/busybox:pull,push'
    """
    return f"repository:{repository}:{','.join(actions)}"


@dataclass(frozen=True, slots=True)
class Wish:
    """What one is allowed to ask: the scopes of a token, if it comes to tokens."""

    repository: str = ""
    actions: tuple[str, ...] = ("pull",)
    besides: str = ""

    @property
    def scopes(self) -> tuple[str, ...]:
        """The scopes, in the token server's words."""
        own = (scope(self.repository, *self.actions),) if self.repository else ()
        return (*own, scope(self.besides, "pull")) if self.besides else own


class _Granted(msgspec.Struct):
    token: str = ""
    access_token: str = ""
    expires_in: float = _DEFAULT_LIFE
    refresh_token: str = ""


Ask = Callable[[str, str, Mapping[str, str], bytes | None], tuple[int, Mapping[str, str], bytes]]


class Tokens:
    """What was granted by whom for what, while it lasts."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, str, tuple[str, ...]], tuple[str, float]] = {}
        self._lock = threading.Lock()

    def answer(self, told: list[Challenge], scopes: tuple[str, ...], login: Login | None, ask: Ask) -> str:
        """Gives the Authorization header that satisfies a challenge; raises RegistryError (UNAUTHORIZED) where nothing can.

        `ask` sends (method, url, headers, body) and gives (status, headers, body).
        """
        for challenge in told:
            if challenge.scheme == "bearer":
                return f"Bearer {self._token(challenge, scopes, login, ask)}"
            if challenge.scheme == "basic":
                if login is None or login.token:
                    raise RegistryError("no basic auth credentials", code="UNAUTHORIZED", status=401, hint="docker login, with the registry's name")
                return f"Basic {basic(login)}"
        raise RegistryError("the registry asks for a way to log in that is not known here", code="UNAUTHORIZED", status=401, hint="known are basic and bearer")

    def _token(self, challenge: Challenge, scopes: tuple[str, ...], login: Login | None, ask: Ask) -> str:
        realm, service = challenge.parameters.get("realm", ""), challenge.parameters.get("service", "")
        if asked := challenge.parameters.get("scope"):
            scopes = tuple(dict.fromkeys([*scopes, *asked.split(" ")]))
        if urlsplit(realm).scheme not in ("http", "https"):
            raise RegistryError("the registry names no address that grants tokens", code="UNAUTHORIZED", status=401)
        key = realm, service, tuple(sorted(scopes))
        with self._lock:
            token, until = self._held.get(key, ("", 0.0))
            if time.monotonic() < until - _EARLY:
                return token
            granted = _granted(realm, service, scopes, login, ask)
            self._held[key] = granted.token or granted.access_token, time.monotonic() + max(granted.expires_in, _DEFAULT_LIFE)
            return self._held[key][0]

    def forget(self) -> None:
        """Believes in no token any more: the registry has refused one."""
        with self._lock:
            self._held.clear()


def _granted(realm: str, service: str, scopes: tuple[str, ...], login: Login | None, ask: Ask) -> _Granted:
    if login and login.token:
        form = {"grant_type": "refresh_token", "service": service, "client_id": "dockerlab", "scope": " ".join(scopes), "refresh_token": login.token}
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        status, told, body = ask("POST", realm, headers, urlencode(form).encode())
    else:
        words = [("service", service)] * bool(service) + [("scope", each) for each in scopes]
        if login:
            words.insert(0, ("account", login.username))
        joined = f"{realm}{'&' if '?' in realm else '?'}{urlencode(words, quote_via=quote)}"
        status, told, body = ask("GET", joined, {"Authorization": f"Basic {basic(login)}"} if login else {}, None)
    if status != 200:
        raise _not_granted(status, told, body)
    try:
        granted = msgspec.json.decode(body, type=_Granted, strict=False)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RegistryError("the token that was granted cannot be read", code="UNAUTHORIZED", status=401) from error
    if not re.fullmatch(r"[\x21-\x7e]+", granted.token or granted.access_token):
        raise RegistryError("authorization server did not include a token in the response", code="UNAUTHORIZED", status=401)
    return granted


def _not_granted(status: int, headers: Mapping[str, str], body: bytes) -> RegistryError:
    from dockerlab.registry.protocol import decode_errors
    from dockerlab.registry.replies import too_many

    said = next((message for _, message in decode_errors(body)), "")
    if status == 429:
        return too_many(headers, said)
    if status in (401, 403):
        return RegistryError(f"unauthorized: {said or 'incorrect username or password'}", code="UNAUTHORIZED", status=status, detail="token", hint="docker login, with the registry's name")
    return RegistryError(f"the server that grants tokens answered with status {status}", code="UNAUTHORIZED", status=status)


def basic(login: Login) -> str:
    """Gives the value of a Basic Authorization header; RFC 7617."""
    return base64.b64encode(f"{login.username}:{login.password}".encode()).decode()
