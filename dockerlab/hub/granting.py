"""Tokens for a registry: who asks says who it is, and gets a signed list of what it may do there (CNCF distribution, "Token Authentication").

The registry needs nothing but the hub's certificate: it may be ours in this process, or CNCF distribution's on another machine.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from dockerlab.hub.rights import Identity
from dockerlab.hub.tables import now
from dockerlab.registry.access import fingerprint, granted
from dockerlab.registry.keychain import publish_secret
from dockerlab.registry.protocol import NAME
from dockerlab.store.files import locked, publish

__all__ = ["ISSUER", "LIFE", "SERVICE", "Key", "answer", "scopes"]

SERVICE = ISSUER = "dockerlab-hub"

LIFE = 300  # seconds for which a token is good, and so for which a right that was taken away may still be used
_SCOPE = re.compile(rf"repository(?:\([a-z]+\))?:({NAME}):([a-z*]+(?:,[a-z*]+)*)")
_MOST = 20  # scopes of one token


class Key:
    """The hub's key pair for ES256, made in a folder where there is none: `hub.key` (0600) and `hub.crt`, which a registry is given."""

    def __init__(self, folder: Path) -> None:
        from cryptography.hazmat.primitives import serialization
        from joserfc.jwk import ECKey

        self.certificate = folder / "hub.crt"
        path = folder / "hub.key"
        with locked(folder / "hub.key.lock"):
            if not path.exists():
                _make(path)
            private = serialization.load_pem_private_key(path.read_bytes(), None)
            if not self.certificate.exists():
                publish(self.certificate, _certificate(private))
        public = private.public_key()
        self.private = ECKey.import_key(private)  # type: ignore[arg-type]
        self.public = ECKey.import_key(public)  # type: ignore[arg-type]
        self.kid = fingerprint(public)


def _make(path: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    raw = ec.generate_private_key(ec.SECP256R1()).private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    publish_secret(path, raw)


def _certificate(private: Any) -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "dockerlab hub")])
    made = x509.CertificateBuilder(name, name, private.public_key(), x509.random_serial_number(), now() - timedelta(days=1), now() + timedelta(days=3650))
    return made.sign(private, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def scopes(asked: Iterable[str]) -> list[tuple[str, tuple[str, ...]]]:
    """Gives (repository, actions) of each scope that can be read; a scope parameter may hold several."""
    found = [_SCOPE.fullmatch(each) for words in asked for each in words.split(" ")]
    return [(each[1], tuple(each[2].split(","))) for each in found if each and len(each[1]) <= 255][:_MOST]


def answer(key: Key, identity: Identity, rights: Callable[[Identity, str], frozenset[str]], *, issuer: str, service: str, asked: Iterable[str]) -> Mapping[str, Any]:
    """Gives the document that a registry's client expects: what was asked for, as far as it is allowed. What is not allowed is left out, not refused."""
    access = []
    for name, actions in scopes(asked):
        may = rights(identity, name)
        wanted = sorted(set(actions) & may | ({"delete"} & may if "*" in actions else set()))
        access.append({"type": "repository", "name": name, "actions": wanted})
    text = granted(key.private, issuer=issuer, service=service, user=identity.name, access=access, seconds=LIFE, kid=key.kid)
    moment = now().strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"token": text, "access_token": text, "expires_in": LIFE, "issued_at": moment}
