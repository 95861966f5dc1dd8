"""Networks on disk: names, subnets that do not meet, and who moves out of whose way."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path

import pytest

from dockerlab.errors import AlreadyExists, CorruptContent, InvalidArgument, InvalidRequest, NotFound
from dockerlab.store.networks import Network, NetworkStore, checked


def store(folder: Path, *routes: str) -> NetworkStore:
    return NetworkStore(folder, lambda: [IPv4Network(route) for route in routes])


def draft(name: str, subnet: str = "", **more: object) -> Network:
    return Network(id="", name=name, created="", subnet=subnet, chosen=bool(subnet), **more)  # type: ignore[arg-type]


def test_three_are_always_there(tmp_path: Path) -> None:
    first = store(tmp_path).all()
    assert [(n.name, n.driver, bool(n.subnet)) for n in first] == [("bridge", "bridge", True), ("host", "host", False), ("none", "null", False)]
    assert store(tmp_path).all() == first and first[0].subnet == "172.17.0.0/16" and first[0].gateway == "172.17.0.1"


def test_subnets_keep_clear_of_the_hosts_and_of_each_other(tmp_path: Path) -> None:
    networks = store(tmp_path, "172.17.0.0/16", "172.18.5.0/24", "10.0.0.0/8")
    assert networks.find("bridge").subnet == "172.19.0.0/16"
    assert [networks.create(draft(f"n{number}")).subnet for number in range(3)] == ["172.20.0.0/16", "172.21.0.0/16", "172.22.0.0/16"]
    networks.remove(networks.find("n1"))
    assert networks.create(draft("again")).subnet == "172.21.0.0/16"
    with pytest.raises(InvalidRequest, match="Pool overlaps"):
        networks.create(draft("mine", "172.21.9.0/24"))
    with pytest.raises(AlreadyExists, match="network with name again already exists"):
        networks.create(draft("again"))


def test_all_pools_may_be_taken(tmp_path: Path) -> None:
    networks = store(tmp_path, "172.16.0.0/12", "192.168.0.0/17")
    assert [networks.create(draft(f"n{number}")).subnet for number in range(2)] == ["192.168.144.0/20", "192.168.160.0/20"]
    with pytest.raises(InvalidRequest, match="could not find an available, non-overlapping IPv4 address pool"):
        store(tmp_path, "172.16.0.0/12", "192.168.0.0/16").create(draft("none-left"))


def test_who_was_not_chosen_moves(tmp_path: Path) -> None:
    networks = store(tmp_path)
    auto, mine = networks.create(draft("auto")), networks.create(draft("mine", "10.7.0.0/24"))
    busy = [IPv4Network(auto.subnet), IPv4Network("10.7.0.0/16")]
    moved = networks.settled(auto.id, busy)
    assert moved.subnet not in (auto.subnet, networks.find("bridge").subnet) and moved.gateway == moved.subnet.replace(".0.0/16", ".0.1") and networks.find("auto") == moved
    assert networks.settled(mine.id, busy) == mine and networks.settled(moved.id, []) == moved
    with pytest.raises(NotFound):
        networks.settled("0" * 64, [])


def test_found_by_name_id_and_its_beginning(tmp_path: Path) -> None:
    networks = store(tmp_path)
    made = networks.create(draft("lab"))
    assert networks.find("lab") == networks.find(made.id) == networks.find(made.id[:12]) == made and made.device == f"dl-{made.id[:12]}" and len(made.device) == 15
    with pytest.raises(NotFound, match="network nosuch not found"):
        networks.find("nosuch")
    (tmp_path / "networks.json").write_text("{")
    with pytest.raises(CorruptContent, match="networks.json is damaged"):
        networks.all()


def test_addresses_that_containers_get() -> None:
    assert list(draft("n", "10.1.2.0/29", gateway="10.1.2.1").hosts()) == [f"10.1.2.{n}" for n in range(2, 7)]
    assert list(draft("n", "10.1.2.0/24", gateway="10.1.2.129", ip_range="10.1.2.128/30").hosts()) == ["10.1.2.128", "10.1.2.130", "10.1.2.131"]


@pytest.mark.parametrize(("given", "error"), [
    (("10.77", "", ""), "Invalid subnet 10.77 : invalid CIDR address"), (("", "10.1.2.1", ""), "must have a corresponding subnet"), (("10.1.2.0/24", "10.1.3.1", ""), "no matching subnet for gateway"),
    (("10.1.2.0/24", "", "10.1.3.0/25"), "no matching subnet for range"), (("10.1.2.0/31", "", ""), r"failed to allocate gateway \(\): No available addresses on this pool"),
    (("10.1.2.0/24", "10.1.2.255", ""), "Address already in use"), (("10.1.2.0/24", "x", ""), "no matching subnet for gateway x"),
    (("10.1.2.0/24", "", "x"), "invalid range x"), (("fd00::/64", "", ""), "Invalid subnet"),
])  # fmt: skip
def test_what_is_no_subnet(given: tuple[str, str, str], error: str) -> None:
    with pytest.raises(InvalidArgument, match=error):
        checked(*given)
