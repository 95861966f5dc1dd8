"""Who may do what: one table of a few lines, asked by every door of the hub (registry, Git, pages).

                        public repository    private repository
    anybody             pull                 –
    its owner           everything           everything
    a member            pull, push           pull, push            (of the organisation that owns it)
    an admin            everything           everything            (of that organisation)

A token has at most its owner's rights, and at most what its scope says. A name that one may not pull looks like one that is not there.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ANYBODY", "EVERYTHING", "PREFIX", "SCOPES", "Identity", "Namespace", "allowed", "may_settle"]

PULL, PUSH, DELETE, SETTLE = "pull", "push", "delete", "settle"
PREFIX = "dlp_"  # of tokens, so that one that was published by mistake can be looked for; no password begins so
EVERYTHING = frozenset((PULL, PUSH, DELETE, SETTLE))
# Docker Hub's names for what a token may do; the first one sees public repositories alone.
SCOPES = {
    "repo:public_read": frozenset((PULL,)),
    "repo:read": frozenset((PULL,)),
    "repo:write": frozenset((PULL, PUSH)),
    "repo:admin": frozenset((PULL, PUSH, DELETE)),
}


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks: a user (id and name), what a token restricts it to, and `only` where it is a build that may touch one repository; user 0 is anybody."""

    user: int = 0
    name: str = ""
    scope: str = ""
    only: int = 0

    @property
    def known(self) -> bool:
        """Whether this is somebody."""
        return bool(self.user)


ANYBODY = Identity()


@dataclass(frozen=True, slots=True)
class Namespace:
    """An account that owns repositories, and the role of whoever asks in it: owner, admin, member, or "" for none."""

    name: str
    role: str = ""


def allowed(identity: Identity, namespace: Namespace, *, private: bool, repository: int = 0) -> frozenset[str]:
    """Gives the actions that are allowed on a repository; one that is not there counts as private."""
    own = {"owner": EVERYTHING, "admin": EVERYTHING, "member": frozenset((PULL, PUSH))}.get(namespace.role, frozenset())
    public = frozenset() if private else frozenset((PULL,))
    if identity.only:
        # A build reads what its owner may read, and writes its own repository.
        return (own | public) & (frozenset((PULL, PUSH)) if repository == identity.only else frozenset((PULL,)))
    if identity.scope == "repo:public_read":
        return public
    if identity.scope:
        return (own & SCOPES[identity.scope]) | public
    return own | public


def may_settle(identity: Identity, namespace: Namespace) -> bool:
    """Tells whether somebody may decide about a namespace: make repositories, and for an organisation say who belongs to it. Tokens never may."""
    return not identity.scope and not identity.only and namespace.role in ("owner", "admin")
