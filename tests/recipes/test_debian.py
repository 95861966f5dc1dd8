from __future__ import annotations

from collections.abc import Callable

import pytest

from dockerlab import recipes
from dockerlab.engine import Engine
from dockerlab.errors import NotFound, NotSupportedHere
from dockerlab.recipes import debian
from dockerlab.recipes.apt import _plain
from tests.conftest import strongest

BOOKWORM = {"ID": "debian", "NAME": "Debian GNU/Linux", "VERSION_CODENAME": "bookworm", "VERSION_ID": "12"}
NOBLE = {"ID": "ubuntu", "NAME": "Ubuntu", "VERSION_CODENAME": "noble", "VERSION_ID": "24.04"}


def on(monkeypatch: pytest.MonkeyPatch, host: dict[str, str]) -> None:
    monkeypatch.setattr(debian, "_host", lambda: host)


def test_a_debian_host_makes_its_release_and_the_name_of_the_course(monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, BOOKWORM)
    assert [name.removeprefix("docker.io/library/") for name in debian.names()] == ["debian:latest", "debian:bookworm", "debian:12", "debian:bookworm-slim", "ubuntu:latest"]
    assert "and not Ubuntu" in debian.provenance("docker.io/library/ubuntu:latest")["dockerlab.provenance"]
    assert "and not" not in debian.provenance("docker.io/library/debian:12")["dockerlab.provenance"].replace("not the image", "")


def test_an_ubuntu_host_makes_ubuntu(monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, NOBLE)
    assert "docker.io/library/ubuntu:24.04" in debian.names()
    assert "docker.io/library/ubuntu:22.04" not in debian.names()


def test_another_release_is_refused_with_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, BOOKWORM)
    with pytest.raises(NotFound) as caught:
        recipes.find("docker.io/library/debian:wheezy")
    assert "bookworm only: use `debian:latest`" in caught.value.hint


def test_other_hosts_make_none(monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, {"ID": "fedora"})
    assert debian.names() == {}
    assert recipes.find("docker.io/library/debian:latest") is None


def test_an_address_is_kept_without_its_password() -> None:
    assert _plain("https://me:secret@mirror.example.org:8080/debian/") == "https://mirror.example.org:8080/debian/"


@pytest.mark.timeout(300)
def test_the_image_is_a_debian_that_dpkg_and_apt_find_whole(make_engine: Callable[[str], Engine]) -> None:
    engine = make_engine(strongest())
    name = next(iter(debian.names()), "")
    if not name:
        pytest.skip("this host is neither Debian nor Ubuntu")
    try:
        engine.images.resolve(name)
    except NotSupportedHere as error:
        pytest.skip(f"no package mirror: {error.message}")
    check = "dpkg --audit; apt-get check -qq && dpkg-query -W dpkg apt adduser | wc -l; awk 'BEGIN { print \"awk\" }'; ls -d /usr/share/doc/apt/*"
    said: list[bytes] = []
    engine.containers.run(name, ["bash", "-c", check], stdout=said.append, stderr=said.append)
    assert b"".join(said).decode().splitlines() == ["3", "awk", "/usr/share/doc/apt/copyright"]
    table = {entry.path: entry for layer in engine.images.layers.tables(engine.images.get(name).record) for entry in layer}
    assert (table["etc/shadow"].gid, table["etc/shadow"].mode) == (42, 0o640)
    assert table["usr/bin/chage"].mode & 0o2000
