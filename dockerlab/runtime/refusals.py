"""Why a call fails where a host gives a container one user id: said where it happens, once for each kind of call.

The kernel answers chown(2) and setuid(2) to an id that the user namespace does not map with EINVAL, "Invalid argument": true, and no help to anybody.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["WATCHED", "why"]

# Where in a call's arguments the ids stand.
WATCHED: dict[str, tuple[int, ...]] = {
    "chown": (1, 2), "lchown": (1, 2), "fchown": (1, 2), "fchownat": (2, 3),
    "setuid": (0,), "setgid": (0,), "setreuid": (0, 1), "setregid": (0, 1), "setresuid": (0, 1, 2), "setresgid": (0, 1, 2),
}  # fmt: skip
_UNCHANGED = 0xFFFFFFFF
_LIFT = "a range of ids for you in /etc/subuid and the package uidmap lift this"


def why(name: str, args: Sequence[int], own: tuple[int, int]) -> str:
    """Gives the reason why this host will refuse the call to a container whose only user and group are `own`; "" where none but root may do it anyway."""
    if own[0]:
        return ""
    ids = [args[place] & 0xFFFFFFFF for place in WATCHED[name]]
    mine = own if "chown" in name else own[:1] if "uid" in name else own[1:]
    owners = mine if "chown" in name else mine * len(ids)
    if all(wanted in (have, _UNCHANGED) for wanted, have in zip(ids, owners, strict=True)):
        return ""
    shown = ":".join("" if number == _UNCHANGED else str(number) for number in ids)
    if "chown" in name:
        return f"chown to {shown} was refused: this host gives a container one user id, so no file on disk can be another's. Images keep owners (COPY --chown); {_LIFT}"
    kind = "user" if "uid" in name else "group"
    return f"{name} to {kind} {next(n for n in ids if n != _UNCHANGED)} was refused: this host gives a container one user id. Start it as that user (run -u); {_LIFT}"
