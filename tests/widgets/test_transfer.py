"""The push and pull view, from plain values."""

from __future__ import annotations

from dockerlab.events import HttpExchange, LayerStatus, TransferEnded, TransferStarted
from dockerlab.registry import replies
from dockerlab.widgets import transfer
from dockerlab.widgets.transfer import Row, Story

DIGEST = "sha256:" + "a" * 64
PUT = HttpExchange("PUT", f"http://localhost:5000/v2/a/blobs/uploads/1?digest={DIGEST}", 201, 0.0042, sent=5, request=(("Authorization", "Basic $LOGIN"), ("Content-Length", "5")))
STORY = Story("push", "localhost:5000/a:1", DIGEST, (Row("c0ffee", "Pushed", 10, 5, (("HEAD", 404), ("PUT", 201))), Row("manifest", "1", 20, 20)), (PUT,))


def test_lines_as_docker_has_them() -> None:
    assert transfer.line(TransferStarted("pull", "r", "library/a", "1")) == "1: Pulling from library/a"
    assert transfer.line(TransferStarted("push", "r", "library/a", "1")) == ""
    assert transfer.line(LayerStatus("c0ffee", "Mounted from", note="b")) == "c0ffee: Mounted from b"
    assert transfer.line(LayerStatus("", "Pushed")) == ""
    assert transfer.ended(TransferEnded("1", DIGEST, 20)) == f"1: digest: {DIGEST} size: 20"


def test_meters() -> None:
    states = {"a": ("Pushing", 500_000, 1_000_000), "b": ("Preparing", 0, 10), "c": ("Pushed", 10, 10)}
    assert transfer.meters(states, width=10) == ["a: Pushing [=====>     ]  500kB/1MB", "b: Preparing", "c: Pushed"]
    assert transfer.meters(states, width=0)[0] == "a: Pushing  500kB/1MB"


def test_curl_names_no_secret() -> None:
    line = transfer.curl(PUT)
    assert line == f"curl -i -X PUT -H \"Authorization: Basic $LOGIN\" --data-binary @blob 'http://localhost:5000/v2/a/blobs/uploads/1?digest={DIGEST}'"
    assert transfer.curl(HttpExchange("HEAD", "http://r/v2/", 200, 0)) == "curl -I http://r/v2/"
    hidden = replies.hidden("https://me:pw@r/v2/a/blobs/uploads/1?_state=s3cret&digest=x$LOGIN&$(rm -rf /)=1")
    assert transfer.curl(HttpExchange("PUT", hidden, 201, 0, sent=1, trust="/a b/ca.crt")) == (
        "curl -i -X PUT --data-binary @blob --cacert '/a b/ca.crt' 'https://r/v2/a/blobs/uploads/1?_state='\"$STATE\"'&digest=x%24LOGIN&%24(rm -rf /)='\"$RM_RF\""
    )
    assert transfer.curl(HttpExchange("GET", "https://r/v2/a/blobs/x", 200, 0, trust="any")) == "curl -D - -o blob -k https://r/v2/a/blobs/x"


def test_the_text() -> None:
    text = transfer.text(STORY)
    assert text.startswith("push localhost:5000/a:1: 5B on the wire for an image of 30B (17 %)\n")
    assert "HEAD 404 · PUT 201" in text
    assert "PUT /v2/a/blobs/uploads/1?digest=sha256:aaaaaaaaaaaa…" in text
    assert "curl -i" not in transfer.text(STORY, exchanges=False)


def test_hostile_words_stay_words() -> None:
    evil = "<img src=x onerror=alert(1)>\x1b[2J\u202e"
    exchange = HttpExchange("GET", f"http://r/v2/{evil}", 0, 0, error=evil, request=((evil, evil),), response=((evil, evil),))
    story = Story("pull", evil, evil, (Row(evil, evil, 1, 1, ((evil, 5),)),), (exchange,))
    for shown in (transfer.html(story), transfer.compared(story, STORY)):
        assert "<img" not in shown and "\x1b" not in shown and "\u202e" not in shown
    assert "\x1b" not in transfer.text(story) and "\u202e" not in transfer.text(story)
    assert "\x1b" not in transfer.line(LayerStatus("a", "b", note=evil))


def test_how_much_more_may_be_pulled() -> None:
    def told(**headers: str) -> str:
        answer = tuple((name.replace("_", "-"), value) for name, value in headers.items())
        return transfer.allowance(Story("pull", "a:1", exchanges=(PUT, HttpExchange("GET", "http://r/v2/a/manifests/1", 200, 0, response=answer))))

    assert told(RateLimit_Limit="100;w=21600", RateLimit_Remaining="76;w=21600") == "the registry allows 100 pulls in 6 hours, 76 are left"
    assert told(RateLimit_Limit="5;w=90") == "the registry allows 5 pulls in 90 seconds"
    assert told(RateLimit_Limit="7") == "the registry allows 7 pulls"
    assert told() == told(RateLimit_Limit="<b>") == told(RateLimit_Remaining="3") == ""
    story = Story("pull", "a:1", exchanges=(HttpExchange("GET", "http://r/", 200, 0, response=(("RateLimit-Limit", "100;w=21600"),)),))
    assert "100 pulls in 6 hours" in transfer.text(story) and "100 pulls in 6 hours" in transfer.html(story)
