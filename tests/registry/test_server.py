"""The registry, case by case from the specification's text (distribution-spec 1.1); `tests/compat/test_oci_conformance.py` runs the official program."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dockerlab.errors import RegistryError
from dockerlab.oci.manifest import CONFIG, INDEX, MANIFEST, SCHEMA_2
from dockerlab.registry.garbage import collect
from dockerlab.registry.server import Notice, RegistryApp
from dockerlab.registry.storage import Storage
from dockerlab.registry.uploads import Uploads
from tests.registry.conftest import Client, Said, sha

BLOB = bytes(range(256)) * 8


def test_determining_support(ask: Client) -> None:
    assert ask("GET", "/v2/").status == 200


# Pull.


def test_a_manifest_comes_as_it_was_pushed(ask: Client) -> None:
    raw = b'{ "schemaVersion":2,\n "mediaType":"%s", "config": {"mediaType":"a/b","size":2,"digest":"%s"}, "layers":[], "extra": 1.50 }' % (MANIFEST.encode(), ask.blob("a", b"{}").encode())
    assert ask("PUT", "/v2/a/manifests/v1", raw, Content_Type=MANIFEST).status == 201
    for reference in ("v1", sha(raw)):
        said = ask("GET", f"/v2/a/manifests/{reference}")
        assert (said.status, said.body, said.headers["Content-Type"], said.headers["Docker-Content-Digest"]) == (200, raw, MANIFEST, sha(raw))
        head = ask("HEAD", f"/v2/a/manifests/{reference}")
        assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", str(len(raw)))


def test_schema_2_is_taken_as_it_is(ask: Client) -> None:
    digest = ask.blob("a", b"{}")
    raw = json.dumps({"schemaVersion": 2, "mediaType": SCHEMA_2, "config": {"mediaType": "c", "size": 2, "digest": digest}, "layers": []}).encode()
    assert ask("PUT", "/v2/a/manifests/v1", raw, Content_Type=SCHEMA_2).status == 201
    assert ask("GET", "/v2/a/manifests/v1").headers["Content-Type"] == SCHEMA_2


@pytest.mark.parametrize("path", ["/v2/a/manifests/none", f"/v2/a/manifests/sha256:{'0' * 64}", f"/v2/a/blobs/sha256:{'0' * 64}"])
def test_what_is_not_there(ask: Client, path: str) -> None:
    ask.image("a", "v1", b"layer")
    for method in ("GET", "HEAD"):
        assert ask(method, path).status == 404


def test_a_repository_that_is_not_there(ask: Client) -> None:
    assert ask("GET", "/v2/no/manifests/v1").code == "NAME_UNKNOWN"
    assert ask("GET", "/v2/no/tags/list").status == 404


def test_a_blob(ask: Client) -> None:
    digest = ask.blob("a/b/c", BLOB)
    said = ask("GET", f"/v2/a/b/c/blobs/{digest}")
    assert (said.status, said.body, said.headers["Docker-Content-Digest"], said.headers["Content-Length"]) == (200, BLOB, digest, "2048")
    assert ask("HEAD", f"/v2/a/b/c/blobs/{digest}").headers["Content-Length"] == "2048"


def test_a_blob_of_another_repository_is_not_told(ask: Client) -> None:
    assert ask("GET", f"/v2/b/blobs/{ask.blob('a', BLOB)}").status == 404


@pytest.mark.parametrize(
    ("asked", "status", "first", "last"),
    [("0-", 206, 0, 2047), ("500-1499", 206, 500, 1499), ("-500", 206, 1548, 2047), ("2000-5000", 206, 2000, 2047), ("-5000", 206, 0, 2047), ("x", 200, 0, 2047), ("0-1,5-6", 200, 0, 2047)],
)
def test_ranges(ask: Client, asked: str, status: int, first: int, last: int) -> None:
    digest = ask.blob("a", BLOB)
    said = ask("GET", f"/v2/a/blobs/{digest}", Range=f"bytes={asked}")
    assert (said.status, said.body) == (status, BLOB[first : last + 1])
    assert said.headers.get("Content-Range") == (f"bytes {first}-{last}/2048" if status == 206 else None)


@pytest.mark.parametrize("asked", ["500-0", "5000-6000", "2048-", "-0"])
def test_ranges_that_cannot_be(ask: Client, asked: str) -> None:
    said = ask("GET", f"/v2/a/blobs/{ask.blob('a', BLOB)}", Range=f"bytes={asked}")
    assert (said.status, said.headers["Content-Range"]) == (416, "bytes */2048")


# Push.


def test_conditions_of_a_blob(ask: Client) -> None:
    path = f"/v2/a/blobs/{(digest := ask.blob('a', BLOB))}"
    assert ask("HEAD", path, Range="bytes=0-9").status == 200  # a range has a meaning for GET alone
    for given, status in ((f'"{digest}"', 206), ('"another"', 200), ("Sun, 29 Nov 2026 10:00:00 GMT", 200)):
        assert ask("GET", path, Range="bytes=0-9", If_Range=given).status == status
    for place in (path, f"/v2/a/manifests/{ask.image('a', 'v1')}"):
        tag = ask("HEAD", place).headers["ETag"]
        for given, status in ((tag, 304), (f'"another", W/{tag}', 304), ("*", 304), ('"another"', 200)):
            assert ask("GET", place, If_None_Match=given).status == status


def test_a_single_post(ask: Client) -> None:
    said = ask("POST", f"/v2/a/blobs/uploads/?digest={sha(BLOB)}", BLOB)
    assert said.status == 201
    assert ask("GET", ask.place(said)).body == BLOB


def test_chunks(ask: Client) -> None:
    said = ask("POST", "/v2/a/blobs/uploads/", b"")
    assert said.status == 202
    for start, stop in ((0, 500), (500, 1000)):
        said = ask("PATCH", ask.place(said), BLOB[start:stop], Content_Range=f"{start}-{stop - 1}")
        assert (said.status, said.headers["Range"]) == (202, f"0-{stop - 1}")
    progress = ask("GET", ask.place(said))
    assert (progress.status, progress.headers["Range"]) == (204, "0-999")
    said = ask("PUT", f"{ask.place(said)}?digest={sha(BLOB)}", BLOB[1000:], Content_Range="1000-2047")
    assert said.status == 201
    assert ask("GET", ask.place(said)).body == BLOB


def test_a_chunk_out_of_order(ask: Client) -> None:
    begun = ask("POST", "/v2/a/blobs/uploads/", b"")
    assert ask("PATCH", ask.place(begun), BLOB[:500], Content_Range="0-499").status == 202
    refused = ask("PATCH", ask.place(begun), BLOB[600:700], Content_Range="600-699")
    assert (refused.status, refused.headers["Range"]) == (416, "0-499")
    assert ask("PUT", f"{ask.place(begun)}?digest={sha(BLOB)}", BLOB[600:], Content_Range="600-2047").status == 416
    # The session lives on, and goes on where it stands.
    assert ask("PUT", f"{ask.place(begun)}?digest={sha(BLOB)}", BLOB[500:], Content_Range="500-2047").status == 201


def test_a_chunk_whose_range_is_not_its_length(ask: Client) -> None:
    begun = ask("POST", "/v2/a/blobs/uploads/", b"")
    assert ask("PATCH", ask.place(begun), BLOB[:500], Content_Range="0-99").code == "SIZE_INVALID"
    assert ask("PATCH", ask.place(begun), BLOB[:500], Content_Range="nonsense").status == 400


def test_a_stream_without_length(ask: Client) -> None:
    begun = ask("POST", "/v2/a/blobs/uploads/", b"")
    said = ask("PATCH", ask.place(begun), BLOB, Transfer_Encoding="chunked", Content_Length="")
    assert said.status == 202
    assert ask("PUT", f"{ask.place(said)}?digest={sha(BLOB)}", b"").status == 201


def test_fewer_bytes_than_were_said(ask: Client) -> None:
    begun = ask("POST", "/v2/a/blobs/uploads/", b"")
    assert ask("PATCH", ask.place(begun), BLOB[:100], Content_Length="500").code == "SIZE_INVALID"
    assert ask("GET", ask.place(begun)).headers["Range"] == "0-99"  # what came may be gone on from
    assert ask("PUT", f"{ask.place(begun)}?digest={sha(BLOB)}", BLOB[100:], Content_Range="100-2047").status == 201


@pytest.mark.parametrize("digest", [sha(b"another"), "sha256:baddigeststring", "md5:0123", "", "sha256:" + "A" * 64])
def test_a_digest_that_is_not_the_blobs(ask: Client, digest: str) -> None:
    begun = ask("POST", "/v2/a/blobs/uploads/", b"")
    assert ask("PUT", f"{ask.place(begun)}?digest={digest}", BLOB).code == "DIGEST_INVALID"
    assert ask("GET", f"/v2/a/blobs/{sha(BLOB)}").status == 404


def test_sha512(ask: Client) -> None:
    digest = "sha512:" + hashlib.sha512(BLOB).hexdigest()
    begun = ask("POST", "/v2/a/blobs/uploads/?digest-algorithm=sha512", b"")
    said = ask("PATCH", ask.place(begun), BLOB)
    assert ask("PUT", f"{ask.place(said)}?digest={digest}", b"").status == 201
    assert ask("GET", f"/v2/a/blobs/{digest}").body == BLOB
    assert ask("POST", "/v2/a/blobs/uploads/?digest-algorithm=md5", b"").status == 400


def test_a_session_that_is_cancelled(ask: Client) -> None:
    begun = ask("POST", "/v2/a/blobs/uploads/", b"")
    assert ask("DELETE", ask.place(begun)).status == 204
    for method in ("GET", "PATCH", "DELETE"):
        assert ask(method, ask.place(begun), b"").code == "BLOB_UPLOAD_UNKNOWN"


def test_a_session_of_another_repository(ask: Client) -> None:
    begun = ask("POST", "/v2/a/blobs/uploads/", b"")
    assert ask("PATCH", ask.place(begun).replace("/a/", "/b/"), BLOB).status == 404


def test_mounts(ask: Client) -> None:
    digest = ask.blob("a", BLOB)
    said = ask("POST", f"/v2/b/blobs/uploads/?mount={digest}&from=a", b"")
    assert (said.status, ask.place(said)) == (201, f"/v2/b/blobs/{digest}")
    assert ask("GET", f"/v2/b/blobs/{digest}").body == BLOB
    assert ask("POST", f"/v2/c/blobs/uploads/?mount={digest}", b"").status == 201  # from anywhere
    assert ask("POST", f"/v2/c/blobs/uploads/?mount={sha(b'x')}&from=a", b"").status == 202
    assert ask("POST", f"/v2/c/blobs/uploads/?mount={digest}&from=../a", b"").status == 202


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"{}", "MANIFEST_INVALID"), (b"[]", "MANIFEST_INVALID"), (b"nonsense", "MANIFEST_INVALID"), (b'{"schemaVersion":1}', "MANIFEST_INVALID"), (b"[" * 5000, "MANIFEST_INVALID"),
        (json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": "x", "layers": "y"}).encode(), "MANIFEST_INVALID"),
        (json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": {"digest": "../../x"}, "layers": []}).encode(), "MANIFEST_INVALID"),
        (json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": {"digest": 5}, "layers": [{}]}).encode(), "MANIFEST_INVALID"),
        (json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [{"digest": sha(b"no"), "size": 2}]}).encode(), "MANIFEST_BLOB_UNKNOWN"),
        (json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": {"digest": sha(b"no"), "size": 2}, "layers": []}).encode(), "MANIFEST_BLOB_UNKNOWN"),
    ],
)  # fmt: skip
def test_manifests_that_are_refused(ask: Client, raw: bytes, code: str) -> None:
    said = ask("PUT", "/v2/a/manifests/v1", raw)
    assert said.code == code
    assert ask("GET", "/v2/a/manifests/v1").status == 404


def test_a_type_that_is_not_the_one_inside(ask: Client) -> None:
    raw = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": {"digest": ask.blob("a", b"{}"), "size": 2}, "layers": []}).encode()
    assert ask("PUT", "/v2/a/manifests/v1", raw, Content_Type=INDEX).code == "MANIFEST_INVALID"
    assert ask("PUT", "/v2/a/manifests/v1", raw, Content_Type=f"{MANIFEST}; charset=utf-8").status == 201


def test_a_manifest_that_is_too_large(ask: Client) -> None:
    raw = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [], "annotations": {"a": "x" * (4 << 20)}}).encode()
    assert ask("PUT", "/v2/a/manifests/v1", raw).status == 413
    small = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [], "annotations": {"a": "x" * ((4 << 20) - 200)}}).encode()
    assert ask("PUT", "/v2/a/manifests/v1", small).status == 201


def test_layers_that_are_elsewhere_need_not_be_here(ask: Client) -> None:
    digest = ask.blob("a", b"{}")
    foreign = {"mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", "digest": sha(b"not here"), "size": 3}
    raw = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": {"digest": digest, "size": 2}, "layers": [foreign]}).encode()
    assert ask("PUT", "/v2/a/manifests/v1", raw).status == 201


def test_a_manifest_by_digest_with_tags(ask: Client) -> None:
    digest = ask.image("a", "")
    raw = ask("GET", f"/v2/a/manifests/{digest}").body
    assert ask("GET", "/v2/a/tags/list").json["tags"] == []
    said = ask("PUT", f"/v2/a/manifests/{digest}?tag=1.2&tag=latest", raw)
    assert (said.status, said.headers["OCI-Tag"]) == (201, "1.2, latest")
    assert ask("GET", "/v2/a/tags/list").json["tags"] == ["1.2", "latest"]
    assert ask("PUT", f"/v2/a/manifests/{digest}?tag=../x", raw).code == "TAG_INVALID"
    assert ask("PUT", f"/v2/a/manifests/{sha(b'else')}", raw).code == "DIGEST_INVALID"


# Content discovery.


def test_tags_in_order_and_in_pages(ask: Client) -> None:
    for tag in ("b", "a", "C", "z", "10", "9"):
        ask.image("a", tag)
    assert ask("GET", "/v2/a/tags/list").json == {"name": "a", "tags": ["10", "9", "C", "a", "b", "z"]}
    found, path, pages = [], "/v2/a/tags/list?n=4", 0
    while path:
        said, pages = ask("GET", path), pages + 1
        found += said.json["tags"]
        path = said.headers.get("Link", "").partition(">")[0].lstrip("<")
    assert (found, pages) == (["10", "9", "C", "a", "b", "z"], 2)
    assert ask("GET", "/v2/a/tags/list?last=a").json["tags"] == ["b", "z"]
    empty = ask("GET", "/v2/a/tags/list?n=0")
    assert (empty.json["tags"], "Link" in empty.headers) == ([], False)
    assert ask("GET", "/v2/a/tags/list?n=-1").status == 400


def test_the_catalog(ask: Client) -> None:
    for name in ("b", "a/c", "a"):
        ask.image(name, "v1")
    assert ask("GET", "/v2/_catalog").json == {"repositories": ["a", "a/c", "b"]}
    assert ask("GET", "/v2/_catalog?n=1&last=a").json == {"repositories": ["a/c"]}


def test_referrers(ask: Client) -> None:
    subject = ask.image("a", "v1", b"layer")
    listed = ask("GET", f"/v2/a/referrers/{subject}")
    assert (listed.status, listed.headers["Content-Type"], listed.json["manifests"]) == (200, INDEX, [])
    about = {"mediaType": MANIFEST, "digest": subject, "size": 1}
    signature = ask.image("a", "", artifactType="a/signature", annotations={"by": "me"}, subject=about)
    ask.image("a", "", subject=about)
    found = {each["digest"]: each for each in ask("GET", f"/v2/a/referrers/{subject}").json["manifests"]}
    assert len(found) == 2
    assert found[signature]["artifactType"] == "a/signature"
    assert found[signature]["annotations"] == {"by": "me"}
    assert {each["artifactType"] for each in found.values()} == {"a/signature", CONFIG}
    filtered = ask("GET", f"/v2/a/referrers/{subject}?artifactType=a/signature")
    assert (filtered.headers["OCI-Filters-Applied"], [each["digest"] for each in filtered.json["manifests"]]) == ("artifactType", [signature])
    ask("DELETE", f"/v2/a/manifests/{signature}")
    assert len(ask("GET", f"/v2/a/referrers/{subject}").json["manifests"]) == 1
    assert ask("GET", "/v2/a/referrers/nonsense").status == 400


def test_a_subject_need_not_exist(ask: Client) -> None:
    digest = ask.blob("a", b"{}")
    config, subject = {"digest": digest, "size": 2, "mediaType": CONFIG}, {"mediaType": MANIFEST, "digest": sha(b"?"), "size": 1}
    raw = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [], "subject": subject})
    said = ask("PUT", f"/v2/a/manifests/{sha(raw.encode())}", raw.encode())
    assert (said.status, said.headers["OCI-Subject"]) == (201, sha(b"?"))


# Content management.


def test_deleting_a_tag_leaves_the_manifest(ask: Client) -> None:
    digest = ask.image("a", "v1")
    ask.image("a", "v2")
    assert ask("DELETE", "/v2/a/manifests/v1").status == 202
    assert ask("GET", "/v2/a/manifests/v1").status == 404
    assert ask("GET", f"/v2/a/manifests/{digest}").status == 200
    assert ask("GET", "/v2/a/tags/list").json["tags"] == ["v2"]
    assert ask("DELETE", "/v2/a/manifests/v1").status == 404


def test_deleting_a_manifest_takes_its_tags(ask: Client) -> None:
    digest = ask.image("a", "v1")
    assert ask.image("a", "v2") == digest
    assert ask("DELETE", f"/v2/a/manifests/{digest}").status == 202
    for reference in ("v1", "v2", digest):
        assert ask("GET", f"/v2/a/manifests/{reference}").status == 404
    assert ask("DELETE", f"/v2/a/manifests/{digest}").status == 404


def test_deleting_a_blob(ask: Client) -> None:
    digest = ask.blob("a", BLOB)
    ask("POST", f"/v2/b/blobs/uploads/?mount={digest}&from=a", b"")
    assert ask("DELETE", f"/v2/a/blobs/{digest}").status == 202
    assert ask("GET", f"/v2/a/blobs/{digest}").status == 404
    assert ask("DELETE", f"/v2/a/blobs/{digest}").status == 404
    assert ask("GET", f"/v2/b/blobs/{digest}").body == BLOB


# What nobody should ask.


@pytest.mark.parametrize("name", ["A", "a/../b", "a//b", "_a", "a/_layers", "a/-b", "a.", "é", "." * 3, "a" * 300])
def test_names_that_are_none(ask: Client, name: str) -> None:
    for path in (f"/v2/{name}/manifests/v1", f"/v2/{name}/blobs/{sha(b'x')}", f"/v2/{name}/tags/list"):
        said = ask("GET", path)
        assert said.status in (400, 404), path
    assert ask("POST", f"/v2/{name}/blobs/uploads/", b"").status in (400, 404)


@pytest.mark.parametrize("tag", ["..", ".", "-a", "a b", "a%0d%0aX: y", "x" * 129, "a:b"])
def test_tags_that_are_none(ask: Client, tag: str) -> None:
    assert ask("PUT", f"/v2/a/manifests/{tag}", b"{}").status in (400, 404)
    assert ask("GET", f"/v2/a/manifests/{tag}").status in (400, 404)


def test_methods_that_are_none(ask: Client) -> None:
    assert ask("POST", "/v2/a/manifests/v1", b"").code == "UNSUPPORTED"
    assert (refused := ask("PUT", "/v2/", b"")).status == 405 and refused.headers["Allow"] == "HEAD, GET"
    assert ask("GET", "/elsewhere").status == 404


def test_read_only(storage: Storage) -> None:
    digest = Client(RegistryApp(storage)).image("a", "v1")
    ask = Client(RegistryApp(storage, read_only=True))
    assert ask("GET", f"/v2/a/manifests/{digest}").status == 200
    for method, path in (("POST", "/v2/a/blobs/uploads/"), ("PUT", "/v2/a/manifests/v2"), ("DELETE", "/v2/a/manifests/v1")):
        assert ask(method, path, b"").status == 405


def test_quota(tmp_path) -> None:  # type: ignore[no-untyped-def]
    ask = Client(RegistryApp(Storage(tmp_path, quota=3000)))
    ask.blob("a", BLOB)
    begun = ask("POST", "/v2/a/blobs/uploads/", b"")
    refused: Said = ask("PUT", f"{ask.place(begun)}?digest={sha(BLOB[1:])}", BLOB[1:])
    assert (refused.status, refused.code) == (403, "DENIED")
    assert ask.blob("b", BLOB) == sha(BLOB)  # what is there takes no more room


def test_a_quota_is_one_for_all_processes(tmp_path: Path) -> None:
    asks = [Client(RegistryApp(Storage(tmp_path, quota=10_000))) for _ in range(4)]

    def push(number: int) -> int:
        ask, data = asks[number % 4], bytes([number]) * 1000
        return ask("POST", f"/v2/r{number}/blobs/uploads/?digest={sha(data)}", data).status

    with ThreadPoolExecutor(8) as threads:
        assert Counter(threads.map(push, range(24))) == {201: 10, 403: 14}
    gone = next(number for number in range(24) if asks[0]("DELETE", f"/v2/r{number}/blobs/{sha(bytes([number]) * 1000)}").status == 202)
    collect(Storage(tmp_path), young=-1)
    assert push(24 + gone % 4) == 201  # what was freed is counted at once


def test_quota_bounds_uploads_that_have_not_ended(tmp_path: Path) -> None:
    storage = Storage(tmp_path, quota=3000)
    ask = Client(RegistryApp(storage))
    chunk = bytes(1000)
    places = [ask.place(ask("POST", f"/v2/{name}/blobs/uploads/", b"")) for name in "abcd"]
    said = [ask("PATCH", place, chunk) for place in places]
    assert [each.status for each in said] == [202, 202, 202, 403]
    assert "have not ended" in said[-1].json["errors"][0]["message"]
    with pytest.raises(RegistryError, match="have not ended"):  # a body whose length was not told
        Uploads(storage.repository("d")).get(places[3].rpartition("/")[2]).append(io.BytesIO(chunk).read)
    for file in Uploads(storage.repository("a")).get(places[0].rpartition("/")[2]).folder.iterdir():  # the one that nobody came back to gives way
        os.utime(file, (1, 1))
    assert ask("PATCH", places[3], chunk).status == 202
    assert collect(storage, abandoned=-1).uploads == 3  # also where a repository has nothing else
    assert not list(storage.uploads())


def test_health_and_what_is_told(storage: Storage) -> None:
    notices: list[Notice] = []
    lines: list[object] = []
    ask = Client(RegistryApp(storage, told=notices.append, log=lines.append))
    assert ask("GET", "/healthz").json == {"status": "ok"}
    digest = ask.image("a", "v1", b"layer")
    ask("GET", "/v2/a/manifests/v1")
    ask("DELETE", f"/v2/a/manifests/{digest}")
    told = [(each.action, each.repository, each.tag) for each in notices if each.media_type == MANIFEST or each.action == "delete"]
    assert told == [("push", "a", "v1"), ("pull", "a", "v1"), ("delete", "a", "")]
    assert {"method", "path", "status", "bytes", "seconds", "remote", "agent"} <= set(lines[0])  # type: ignore[call-overload]
