from __future__ import annotations

import pytest

from dockerlab.errors import NotSupportedHere
from dockerlab.linux.probe import Finding
from dockerlab.runtime import sandbox

ALL = ("kernel", "root", "user namespace", "id range", "mount", "overlay", "overlay userxattr", "fresh proc", "landlock", "cgroups")


def findings(*missing: str) -> list[Finding]:
    return [Finding(name, "tried", name not in missing, 1 if name in missing else 0, "Operation not permitted" if name in missing else "") for name in ALL]


@pytest.mark.parametrize(
    ("missing", "tier", "overlay", "owners"),
    [
        ((), "root", "trusted", True),
        (("overlay", "cgroups"), "root", "", True),
        (("root",), "ranged", "user", True),
        (("root", "id range"), "single", "user", False),
        (("root", "id range", "overlay userxattr"), "single", "", False),
    ],
)
def test_the_strongest_tier_that_works_is_chosen(missing: tuple[str, ...], tier: str, overlay: str, owners: bool) -> None:
    able = sandbox.choose(findings(*missing)).capabilities
    assert (able.tier, able.overlay, able.owners) == (tier, overlay, owners)


@pytest.mark.parametrize("missing", [("root", "user namespace"), ("root", "mount"), ("kernel", "root", "user namespace")])
def test_where_nothing_works_the_reason_and_the_cure_are_said(missing: tuple[str, ...]) -> None:
    with pytest.raises(NotSupportedHere) as caught:
        sandbox.choose(findings(*missing))
    assert "Operation not permitted" in caught.value.message and ("administrator" in caught.value.hint or "Linux machine" in caught.value.hint)


@pytest.mark.parametrize(
    ("number", "detail", "cure"),
    [
        (28, "unshare: No space left on device", "user.max_user_namespaces"),
        (1, "unshare: Operation not permitted", "kernel.unprivileged_userns_clone=1"),
        (1, "/proc/self/uid_map: Operation not permitted", "apparmor_restrict_unprivileged_userns=0"),
        (13, "/proc/self/setgroups: Permission denied", "apparmor_restrict_unprivileged_userns=0"),
        (1, "sethostname: Operation not permitted", "apparmor_restrict_unprivileged_userns=0"),
    ],
)
def test_the_cure_depends_on_what_was_refused(number: int, detail: str, cure: str) -> None:
    found = [Finding("root", "tried", False, 1, "no"), Finding("user namespace", "tried", False, number, detail)]
    with pytest.raises(NotSupportedHere) as caught:
        sandbox.choose(found)
    assert cure in caught.value.hint
