"""The hub: one WSGI application. Doors for programs (registry, tokens, search, Git, webhooks, workers) and pages for people.

    /v2/…                          the registry (`registry.server`), which believes the hub's tokens
    /token                         who are you, and what may you do there?   Basic -> signed token
    /v1/search                     docker search
    /git/OWNER/NAME.git/…          Git over smart HTTP
    /hooks/OWNER/NAME              a signed message that begins builds
    /builds/ID/{log,state}         what a worker says
    /events                        what CNCF distribution says, where the registry is another one
    everything else                pages (`pages`, `forms`)

Who may do what stands in `rights`; docs/hub-access.md is the table of every door with its answers, and a test asks them all.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import ColumnElement, or_, select

from dockerlab.errors import DockerlabError, InvalidArgument, NotFound, RegistryError
from dockerlab.hub.automation import Automations
from dockerlab.hub.doors import Doors
from dockerlab.hub.gitserver import GitServer
from dockerlab.hub.granting import ISSUER, SERVICE, Key, answer
from dockerlab.hub.pages import Pages
from dockerlab.hub.passes import OWN, Passes
from dockerlab.hub.people import People, audited, namespace
from dockerlab.hub.queue import Queue, local
from dockerlab.hub.repositories import Repositories
from dockerlab.hub.rights import EVERYTHING, PREFIX, Identity, may_settle
from dockerlab.hub.routes import Routes
from dockerlab.hub.shelf import Shelf, Vouched
from dockerlab.hub.state import State
from dockerlab.hub.tables import Audit
from dockerlab.hub.webhooks import Webhooks
from dockerlab.hub.worker import Limits
from dockerlab.oci.manifest import INDEX, SCHEMA_2_LIST
from dockerlab.registry.access import TokenAccess
from dockerlab.registry.client import Registry
from dockerlab.registry.keychain import publish_secret
from dockerlab.registry.messages import Answer, Request
from dockerlab.registry.protocol import MANIFESTS, encode_error, refusal
from dockerlab.registry.server import Notice, RegistryApp
from dockerlab.registry.storage import Storage
from dockerlab.registry.transport import Direct, Sockets

__all__ = ["Hub"]

_LIMITS = Limits()
_ITSELF = ".hub"  # what no account can be called
_HOST = re.compile(r"[A-Za-z0-9.-]{1,253}(:\d{1,5})?|\[[0-9a-fA-F:]{2,45}\](:\d{1,5})?", re.ASCII)


@dataclass(frozen=True)
class _Bearer(TokenAccess):
    """Sends who has no token to this hub, by the name under which the hub was asked; takes nothing in for a repository that was just removed."""

    hub: Hub

    def check(self, request: Request, name: str, action: str) -> str:
        actor = super().check(request, name, action)
        if action != "pull" and name and self.hub.repositories.gone(name):
            raise refusal("DENIED", message="the repository was removed a moment ago: \"New repository\" on the hub makes it again at once, a push after six minutes")
        return actor

    def challenge(self, request: Request, name: str, action: str) -> str:
        inside = request.header("Host") == urlsplit(self.hub.inside).netloc
        here = f"{request.environ.get('wsgi.url_scheme', 'http')}://{request.header('Host')}" if inside or not self.realm else self.realm
        return TokenAccess(f"{here}/token", self.service, self.issuer, self.keys).challenge(request, name, action + ",pull" * (action == "push"))


class Hub:
    """A hub of a folder. All its parts can be used from Python; as an application it is called as PEP 3333 says.

    `database` is a URL of SQLAlchemy's, by default SQLite in the folder; `url` the address under which everybody reaches the hub, where that is not simply the
    one they ask for; `registry` the address of a CNCF registry that stands behind it instead of our own; `executor` makes what builds run in; `private` lets
    webhooks and sources be in this network; `cost` is bcrypt's; `workers` is how many builds run at a time; `proxy` is the address of a proxy whose
    X-Forwarded-For is believed.
    """

    def __init__(
        self, folder: Path, *, database: str = "", url: str = "", registry: str = "", signup: bool = True, private: bool = False,
        executor: Callable[[], Executor] = local, limits: Limits = _LIMITS, cost: int = 11, quota: int = 0, log: Callable[[Mapping[str, Any]], object] | None = None,
        workers: int = 1, proxy: str = "",
    ) -> None:  # fmt: skip
        if url and urlsplit(url).scheme not in ("http", "https"):
            raise InvalidArgument(f"{url!r} is no address of a hub", hint="write http://HOST:PORT or https://HOST")
        self.folder, self.url, self.signup, self._log, self._proxy = folder, url.rstrip("/"), signup, log, proxy
        self.behind = registry if not registry or "://" in registry else f"https://{registry}"
        self.state = State.of(folder, database)
        self.people, self.passes = People(self.state, cost=cost), Passes(self.state)
        self.repositories, self.automations = Repositories(self.state), Automations(self.state)
        self.webhooks, self.git = Webhooks(self.state, private=private), GitServer(folder / "git", quota)
        self.queue = Queue(self.state, folder, executor=executor, limits=limits, private=private, workers=workers, registry=self.behind, front=self.url)
        self.key, self.inside = Key(folder), ""
        self.registry = None if self.behind else self._own(quota, log)
        self.shelf = Shelf(self._beheld())
        self.events_secret = _kept(folder / "events.secret") if self.behind else ""
        self.pages, self.doors = Pages(self), Doors(self)
        self._routes = Routes(self)

    def _own(self, quota: int, log: Callable[[Mapping[str, Any]], object] | None) -> RegistryApp:
        access = _Bearer(self.url, SERVICE, ISSUER, {self.key.kid: self.key.public}, self)
        return RegistryApp(Storage(self.folder / "registry", quota=quota), access=access, told=self._told, log=log)

    def _beheld(self) -> Registry:
        """Gives the registry as its own hub sees it: everything may be read, and nothing of it is counted."""
        if self.registry:
            return Registry("hub", Direct({"hub": RegistryApp(self.registry.storage)}), insecure=True)
        return Registry(urlsplit(self.behind).netloc, Vouched(Sockets(), self._all), insecure=self.behind.startswith("http://"))

    def _all(self, name: str) -> str:
        granted = answer(self.key, Identity(name=_ITSELF), lambda identity, path: EVERYTHING, issuer=ISSUER, service=SERVICE, asked=[f"repository:{name}:pull,push,delete"] if name else [])
        return str(granted["token"])

    # What others ask of it.

    def host(self, request: Request) -> str:
        """Gives the name under which the hub is asked."""
        return urlsplit(self.url).netloc if self.url else request.header("Host")

    def registry_host(self, request: Request) -> str:
        """Gives the registry's name as it stands in an image's name."""
        return urlsplit(self.behind).netloc if self.behind else self.host(request)

    def base(self, request: Request) -> str:
        """Gives the hub's address."""
        return self.url or f"{request.environ.get('wsgi.url_scheme', 'http')}://{request.header('Host')}"

    def secure(self, request: Request) -> bool:
        """Tells whether browsers reach the hub by TLS."""
        return (urlsplit(self.url).scheme or request.environ.get("wsgi.url_scheme")) == "https"

    def settles(self, identity: Identity, name: str) -> bool:
        """Tells whether somebody decides about a namespace."""
        with self.state.reading() as db:
            whose = namespace(db, identity, name)
        return whose is not None and may_settle(identity, whose)

    def who(self, name: str, password: str, address: str) -> Identity | None:
        """Gives who shows a name with a password or a token; raises Throttled."""
        if found := self.passes.builder(name, password):
            return found
        if password.startswith(PREFIX):  # nobody guesses those: no reason to slow anybody down
            return self.passes.shown(name, password)
        return self.people.login(name, password, address=address)

    def audit(self, identity: Identity, limit: int = 50) -> list[Audit]:
        """Gives what somebody did, the newest first."""
        return self._audited(limit, Audit.actor == identity.name)

    def audit_of(self, identity: Identity, name: str, limit: int = 50) -> list[Audit]:
        """Gives what anybody did in a namespace, the newest first, to who decides about it; [] to others."""
        if not self.settles(identity, name):
            return []
        return self._audited(limit, Audit.action.not_in(OWN), or_(Audit.what == name, *(Audit.what.startswith(f"{name}{end}", autoescape=True) for end in "/ ")))

    def audit_all(self, limit: int) -> list[Audit]:
        """Gives what anybody did, the newest first, to who runs the hub."""
        return self._audited(limit)

    def _audited(self, limit: int, *conditions: ColumnElement[bool]) -> list[Audit]:
        with self.state.reading() as db:
            return list(db.scalars(select(Audit).where(*conditions).order_by(Audit.id.desc()).limit(limit)))

    def note(self, actor: str, address: str, action: str, *about: str) -> None:
        """Writes a line into the audit log for each thing that it is about."""
        with self.state.writing() as db:
            for what in about:
                audited(db, actor, address, action, what)

    def remove(self, identity: Identity, path: str, *, address: str = "") -> None:
        """Takes a repository away, with its images and its Git; raises NotFound."""
        found = self.repositories.get(identity, path, "settle")
        if self.registry:
            self.registry.storage.remove(path)
        else:
            self.shelf.clear(path)
        self.git.remove(path)
        gone = self.queue.of(found.id, limit=None)
        self.repositories.remove(identity, path, address=address)
        self.queue.forget([build.id for build in gone])
        if self.registry:
            self.registry.storage.remove(path)  # what came while the first was under way; from now on nothing comes

    def _told(self, notice: Notice) -> None:
        self.heard(notice.action, notice.repository, notice.digest, media_type=notice.media_type, tag=notice.tag, actor=notice.actor, address=notice.address)

    def heard(self, action: str, path: str, digest: str, *, media_type: str, tag: str, actor: str, address: str = "") -> None:
        """Takes in what happened in the registry: a manifest that was pulled or pushed, or anything that was deleted."""
        if actor == _ITSELF:
            return
        if action == "delete":
            self.note(actor, address, "removed", f"{path}:{tag}" if tag else f"{path}@{digest}")
        if media_type not in MANIFESTS:
            return
        if action == "pull" and media_type not in (INDEX, SCHEMA_2_LIST):  # its images are asked for next, and counted
            self.repositories.pulled(path)
        if action == "push" and (found := self.repositories.pushed(path, actor, tag=tag, address=address)):
            self.webhooks.tell(found, tag, digest, actor)
            if self.automations.based(path, self.queue.depth(actor)):
                self.queue.hand_out()

    # Requests.

    def open(self, address: str) -> None:
        """Begins to build, for workers that reach the hub at an address; that may be another one than everybody else's."""
        self.inside = address.rstrip("/")
        self.queue.open(self.inside)

    def close(self) -> None:
        """Ends what runs beside requests."""
        self.queue.close()
        self.webhooks.close()
        self.state.close()

    def __call__(self, environ: Mapping[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if self._proxy and environ.get("REMOTE_ADDR") == self._proxy and (last := environ.get("HTTP_X_FORWARDED_FOR", "").rpartition(",")[2].strip()):
            environ = {**environ, "REMOTE_ADDR": last[:64]}  # only the last one is the proxy's own word
        if self.registry and (path.startswith("/v2/") or path in ("/v2", "/healthz")):
            return self.registry(environ, start_response)
        began = time.perf_counter()
        request: Request | None = None
        try:
            request = Request(environ)
            if request.header("Host") and not _HOST.fullmatch(request.header("Host")):
                result = Answer(400, [("Content-Type", "text/plain")], b"the Host header is no name\n")
            else:
                result = self._routes.answer(request)
        except RegistryError as error:
            result = Answer(error.status or 400, [("Content-Type", "application/json")], encode_error(error))
            if isinstance(error.detail, dict) and "seconds" in error.detail:
                result.headers.append(("Retry-After", str(error.detail["seconds"])))
        except NotFound as error:
            result = Answer(404, [("Content-Type", "text/plain; charset=utf-8")], f"{error.message}\n".encode())
        except DockerlabError as error:
            result = Answer(400, [("Content-Type", "text/plain; charset=utf-8")], f"{error}\n".encode())
        except Exception:
            traceback.print_exc()
            result = Answer(500, [("Content-Type", "text/plain; charset=utf-8")], b"the hub has failed; its log says how\n")
        result.headers.append(("X-Content-Type-Options", "nosniff"))
        if self._log:
            facts = {"method": environ["REQUEST_METHOD"], "path": path, "status": result.status, "bytes": result.size, "seconds": round(time.perf_counter() - began, 6)}
            with contextlib.suppress(OSError):
                self._log(facts | {"remote": environ.get("REMOTE_ADDR", ""), "agent": str(environ.get("HTTP_USER_AGENT", ""))[:200]})
        return result.send(environ["REQUEST_METHOD"], start_response)


def _kept(path: Path) -> str:
    if not path.exists():
        publish_secret(path, secrets.token_urlsafe(24).encode())
    return path.read_text()
