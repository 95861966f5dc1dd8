"""What nobody names, taken away while others push."""

from __future__ import annotations

import json
import os
import threading

import pytest

from dockerlab.oci.manifest import INDEX, MANIFEST
from dockerlab.registry.garbage import collect
from dockerlab.registry.server import RegistryApp
from dockerlab.registry.storage import Storage
from tests.registry.conftest import Client, sha


def aged(storage: Storage) -> None:
    for digest in storage.digests():
        os.utime(storage.blob(digest), (1, 1))


def test_what_a_manifest_reaches_stays(ask: Client, storage: Storage) -> None:
    ask.image("a", "v1", b"layer", b"other")
    lost = ask.blob("a", b"lost")
    aged(storage)
    told = collect(storage)
    assert (told.blobs, told.size, told.links) == (1, 4, 1)
    assert ask("GET", f"/v2/a/blobs/{lost}").status == 404
    assert ask("GET", f"/v2/a/blobs/{sha(b'layer')}").body == b"layer"
    assert collect(storage).blobs == 0


def test_what_is_young_stays(ask: Client, storage: Storage) -> None:
    ask.blob("a", b"young")
    assert collect(storage).blobs == 0


def test_what_was_asked_for_stays(ask: Client, storage: Storage) -> None:
    asked, other = ask.blob("a", b"asked"), ask.blob("b", b"other")
    aged(storage)
    assert ask("HEAD", f"/v2/a/blobs/{asked}").status == 200
    assert collect(storage).blobs == 1
    assert [ask("HEAD", f"/v2/{name}/blobs/{digest}").status for name, digest in (("a", asked), ("b", other))] == [200, 404]
    digest = ask.image("c", "", b"layer")
    aged(storage)
    assert ask("HEAD", f"/v2/c/manifests/{digest}").status == 200
    assert collect(storage, untagged=True).manifests == 0


def test_what_a_slow_push_brought_first_stays(ask: Client, storage: Storage) -> None:
    ask.blob("a", b"first")
    aged(storage)
    begun = ask("POST", "/v2/a/blobs/uploads/", b"")
    assert collect(storage).blobs == 0  # under way
    ask("DELETE", ask.place(begun))
    ask.blob("a", b"second")
    assert collect(storage).blobs == 0  # not yet named
    aged(storage)
    assert collect(storage).blobs == 2


def test_a_deleted_image_frees_its_blobs(ask: Client, storage: Storage) -> None:
    digest = ask.image("a", "v1", b"layer")
    ask.image("b", "v1", b"layer")
    ask("DELETE", f"/v2/a/manifests/{digest}")
    aged(storage)
    assert collect(storage).blobs == 0  # b has the same
    ask("DELETE", f"/v2/b/manifests/{digest}")
    aged(storage)
    assert collect(storage).blobs == 3
    assert list(storage.digests()) == []


def test_untagged_manifests(ask: Client, storage: Storage) -> None:
    first = ask.image("a", "v1", b"one")
    second = ask.image("a", "v1", b"two")
    about = ask.image("a", "", subject={"mediaType": MANIFEST, "digest": second, "size": 1})
    inside = ask.image("a", "", b"three")
    raw = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [{"mediaType": MANIFEST, "digest": inside, "size": 1}]}).encode()
    ask("PUT", "/v2/a/manifests/all", raw)
    aged(storage)
    assert collect(storage).manifests == 0
    assert collect(storage, untagged=True).manifests == 1
    statuses = [ask("GET", f"/v2/a/manifests/{digest}").status for digest in (first, second, about, inside)]
    assert statuses == [404, 200, 200, 200]


def test_uploads_that_were_given_up(ask: Client, storage: Storage) -> None:
    begun = ask("POST", "/v2/a/blobs/uploads/", b"")
    ask.image("a", "v1")
    assert collect(storage).uploads == 0
    for path in (storage.repository("a").folder / "_uploads" / begun.headers["Docker-Upload-UUID"]).iterdir():
        os.utime(path, (1, 1))
    assert collect(storage).uploads == 1
    assert ask("GET", ask.place(begun)).status == 404


@pytest.mark.parametrize("again", [False, True])
def test_while_others_push(storage: Storage, again: bool) -> None:
    """Whatever a client was told is pushed can be pulled, however the collection runs meanwhile."""
    stopped = threading.Event()
    if again:
        Client(RegistryApp(storage)).image("old", "v1", *(b"layer %d" % n for n in range(10)))
        aged(storage)

    def sweep() -> None:
        while not stopped.is_set():
            collect(storage, untagged=True, young=0.5)

    sweeper = threading.Thread(target=sweep)
    sweeper.start()
    try:
        ask = Client(RegistryApp(storage))
        for number in range(30):
            layers = [b"layer %d" % n for n in range(number % 10)]
            ask.image(f"r{number % 3}", f"v{number}", *layers)
            for layer in layers:
                assert ask("GET", f"/v2/r{number % 3}/blobs/{sha(layer)}").body == layer
    finally:
        stopped.set()
        sweeper.join()
