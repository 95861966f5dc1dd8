from __future__ import annotations

import pytest

from dockerlab.commands.doctor import Page, abilities
from dockerlab.linux.probe import Finding
from dockerlab.runtime.chroot import ChrootSandbox
from dockerlab.runtime.proot import ProotSandbox
from dockerlab.runtime.root import RootSandbox
from dockerlab.runtime.sandbox import Capabilities
from dockerlab.runtime.userns import UserSandbox

HERE = {
    "root": RootSandbox("trusted", cgroups=True).capabilities,
    "ranged": UserSandbox("user", ranged=True, fresh_proc=True).capabilities,
    "single": UserSandbox("user", ranged=False, fresh_proc=True).capabilities,
    "single-chroot": UserSandbox("", ranged=False, fresh_proc=False, mounts=False).capabilities,
    "chroot": ChrootSandbox().capabilities,
    "proot": ProotSandbox().capabilities,
}
NAMESPACES = [Finding("user namespace", "", True)]


def state(able: Capabilities, name: str) -> str:
    return next(ability.state for ability in abilities(able, NAMESPACES) if ability.name == name)


def test_root_has_it_all() -> None:
    assert {ability.state for ability in abilities(HERE["root"], NAMESPACES)} == {"live"}
    assert "lift" not in str(Page("root", "", abilities(HERE["root"], NAMESPACES)))


@pytest.mark.parametrize(
    ("name", "ability", "wanted"),
    [
        ("ranged", "owners of files", "live"), ("single", "owners of files", "kept up"), ("chroot", "owners of files", "live"), ("proot", "owners of files", "kept up"),
        ("single", "set-uid programs", "kept up"), ("single-chroot", "set-uid programs", "kept up"), ("chroot", "set-uid programs", "missing"), ("proot", "set-uid programs", "missing"),
        ("single-chroot", "volumes", "kept up"), ("proot", "volumes", "live"), ("chroot", "a wall around it", "missing"), ("single-chroot", "a wall around it", "live"),
        ("ranged", "limits and counting", "kept up"), ("single-chroot", "processes of its own", "live"), ("proot", "processes of its own", "missing"),
    ],
)  # fmt: skip
def test_what_each_tier_can_do(name: str, ability: str, wanted: str) -> None:
    assert state(HERE[name], ability) == wanted


@pytest.mark.parametrize("name", list(HERE))
def test_what_is_not_live_has_a_cure(name: str) -> None:
    for ability in abilities(HERE[name], NAMESPACES):
        assert bool(ability.lift) == (ability.state != "live") or (ability.name, ability.state) == ("processes of its own", "live")


def test_the_page_is_escaped() -> None:
    page = Page("<b>", "<script>", abilities(HERE["proot"], []))
    html = page._repr_mimebundle_()["text/html"]
    assert "<script>" not in html and "&lt;script&gt;" in html
