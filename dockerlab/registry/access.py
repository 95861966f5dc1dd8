"""Who may do what at a registry: a file of names and hashed passwords (htpasswd, as Apache and CNCF distribution have it), or tokens that somebody else signs.

Sources: RFC 7617 (Basic), CNCF distribution "Token Authentication Implementation" (JWT, ES256, claim `access`).
"""

from __future__ import annotations

import base64
import hashlib
import re
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dockerlab.errors import InvalidArgument, RegistryError
from dockerlab.registry.messages import Request
from dockerlab.registry.protocol import refusal

__all__ = ["LEEWAY", "Htpasswd", "TokenAccess", "credentials", "fingerprint", "granted", "signers"]

_REMEMBERED = 300.0  # seconds that a password which was right is not hashed again
_DECOY = b"$2b$%02d$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"
_BCRYPT = re.compile(rb"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}")
LEEWAY = 60  # seconds that clocks may differ


def credentials(request: Request) -> tuple[str, str] | None:
    """Gives name and password of a Basic header (RFC 7617), None where there is none that can be read."""
    scheme, _, packed = request.header("Authorization").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, colon, password = base64.b64decode(packed.strip(), validate=True).decode().partition(":")
    except ValueError:
        return None
    return (name, password) if colon else None


class Htpasswd:
    """Everybody in the file may do everything; bcrypt alone, as CNCF distribution. The file is read again when it changes."""

    def __init__(self, path: Path, realm: str = "dockerlab registry") -> None:
        self._path, self._realm = path, realm
        self._lock = threading.Lock()
        self._read: tuple[int, dict[str, bytes]] = (0, {})
        self._right: dict[bytes, float] = {}
        self._users()

    def _users(self) -> dict[str, bytes]:
        try:
            stamp = self._path.stat().st_mtime_ns
            if stamp != self._read[0]:
                lines = [line.partition(":") for line in self._path.read_text().splitlines() if line.strip() and not line.startswith("#")]
                self._read = stamp, {name: value.strip().encode() for name, _, value in lines}
                self._right.clear()
        except OSError as error:
            raise InvalidArgument(f"cannot read {self._path}: {(error.strerror or '').lower()}", hint="make it with `htpasswd -B -c FILE NAME`") from error
        return self._read[1]

    def _known(self) -> dict[str, bytes]:
        try:
            return self._users()
        except InvalidArgument as error:
            raise refusal("UNAVAILABLE", message="the file of passwords cannot be read") from error

    def check(self, request: Request, name: str, action: str) -> str:
        """See `server.Access`."""
        given = credentials(request)
        if given is None:
            raise refusal("UNAUTHORIZED")
        user, password = given
        with self._lock:
            users = self._known()
            stored = users.get(user)
            decoy = _DECOY % max((int(found[1]) for found in map(_BCRYPT.fullmatch, users.values()) if found), default=10)
            # bcrypt is slow on purpose, and a push asks a dozen times: what was right a moment ago is known by a hash that needs this process's memory.
            mark = hashlib.blake2b(f"{user}\0{password}".encode(), key=(stored or b"")[:64]).digest()
            if stored and self._right.get(mark, 0) > time.monotonic():
                return user
        if not _matches(password, stored, decoy):
            raise refusal("UNAUTHORIZED")
        with self._lock:
            self._right[mark] = time.monotonic() + _REMEMBERED
        return user

    def challenge(self, request: Request, name: str, action: str) -> str:
        """See `server.Access`."""
        return f'Basic realm="{self._realm}"'


def _matches(password: str, stored: bytes | None, decoy: bytes) -> bool:
    import bcrypt

    # Who is not known takes as long as who is: the time tells no names.
    known = stored if stored and _BCRYPT.fullmatch(stored) else decoy
    right = bcrypt.checkpw(password.encode()[:72], known.replace(b"$2y$", b"$2b$", 1))
    return right and known is not decoy


@dataclass(frozen=True, slots=True)
class TokenAccess:
    """Bearer tokens that somebody else signs. `keys` are public keys (joserfc) by their `kid`; "" stands for a token that names none."""

    realm: str
    service: str
    issuer: str
    keys: Mapping[str, Any]

    def check(self, request: Request, name: str, action: str) -> str:
        """See `server.Access`."""
        scheme, _, text = request.header("Authorization").partition(" ")
        if scheme.lower() != "bearer":
            raise refusal("UNAUTHORIZED")
        claims = self._claims(text.strip())
        kind, what = ("registry", "catalog") if action == "*" else ("repository", name)
        if not what:
            return str(claims.get("sub", ""))
        if action not in _actions(claims.get("access"), kind, what) and "*" not in _actions(claims.get("access"), kind, what):
            # Not "denied": with more rights asked for, another token may have them.
            raise refusal("UNAUTHORIZED", [{"Type": kind, "Name": what, "Action": action}])
        return str(claims.get("sub", ""))

    def _claims(self, text: str) -> dict[str, Any]:
        from joserfc import jwt
        from joserfc.errors import JoseError

        try:
            key = self.keys.get(_kid(text)) or self.keys.get("")
            if key is None:
                raise ValueError("unknown key")
            claims = dict(jwt.decode(text, key, algorithms=["ES256"]).claims)
            now = time.time()
            audience = claims.get("aud")
            right = claims.get("iss") == self.issuer and self.service in ([audience] if isinstance(audience, str) else audience or [])
            if not right or float(claims["exp"]) + LEEWAY < now or float(claims.get("nbf", 0)) - LEEWAY > now:
                raise ValueError("not for here, or not for now")
        except (JoseError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise refusal("UNAUTHORIZED", message="the token is not valid here") from error
        return claims

    def challenge(self, request: Request, name: str, action: str) -> str:
        """See `server.Access`."""
        asked = f',scope="repository:{name}:{action}"' if name else ',scope="registry:catalog:*"' if request.path == "/v2/_catalog" else ""
        return f'Bearer realm="{self.realm}",service="{self.service}"{asked}{self._why(request)}'

    def _why(self, request: Request) -> str:
        """RFC 6750, section 3.1."""
        if not request.header("Authorization"):
            return ""
        try:
            self._claims(request.header("Authorization").partition(" ")[2].strip())
        except RegistryError:
            return ',error="invalid_token"'
        return ',error="insufficient_scope"'


def fingerprint(public: Any) -> str:
    """Gives a public key's id (of `cryptography`) as CNCF distribution computes it (libtrust): 30 bytes of SHA-256 in base 32, in groups of four."""
    from cryptography.hazmat.primitives import serialization

    raw = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    text = base64.b32encode(hashlib.sha256(raw).digest()[:30]).decode()
    return ":".join(text[place : place + 4] for place in range(0, len(text), 4))


def signers(path: Path) -> Mapping[str, Any]:
    """Gives the keys of a file of certificates, for `TokenAccess`; raises InvalidArgument for one that cannot be read, or signs in another way than ES256."""
    from cryptography import x509
    from joserfc.jwk import ECKey

    try:
        keys = [each.public_key() for each in x509.load_pem_x509_certificates(path.read_bytes())]
        found = {fingerprint(key): ECKey.import_key(key) for key in keys}  # type: ignore[arg-type]
        if any(key.curve_name != "P-256" for key in found.values()):
            raise ValueError("no ES256 key")
    except OSError as error:
        raise InvalidArgument(f"open {path}: {(error.strerror or '').lower()}", hint="it holds the certificate of who signs tokens, PEM") from error
    except (ValueError, TypeError) as error:
        raise InvalidArgument(f"{path} holds no certificates with keys for ES256", hint="openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256") from error
    return found | ({"": next(iter(found.values()))} if len(found) == 1 else {})


def _kid(text: str) -> str:
    import json

    head = text.partition(".")[0][:2000]
    document = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    return str(document.get("kid", "")) if isinstance(document, dict) else ""


def _actions(access: Any, kind: str, name: str) -> set[str]:
    found: set[str] = set()
    for each in access if isinstance(access, list) else []:
        if isinstance(each, dict) and each.get("type") == kind and each.get("name") == name:
            found |= {str(action) for action in each.get("actions") or []}
    return found


def granted(key: Any, *, issuer: str, service: str, user: str, access: Iterable[Mapping[str, Any]], seconds: int = 300, kid: str = "") -> str:
    """Gives a signed token, as CNCF distribution's `token` auth accepts it."""
    import secrets

    from joserfc import jwt

    now = int(time.time())
    claims = {"iss": issuer, "sub": user, "aud": service, "exp": now + seconds, "nbf": now - 10, "iat": now, "jti": secrets.token_hex(16), "access": [dict(each) for each in access]}
    return jwt.encode({"alg": "ES256", "typ": "JWT", **({"kid": kid} if kid else {})}, claims, key)
