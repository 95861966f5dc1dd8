"""What happens in a store is told, in every tier."""

from __future__ import annotations

import signal

from dockerlab.engine import Engine, RunOptions
from dockerlab.oci.config import Healthcheck
from tests.conftest import until


def told(engine: Engine, kind: str = "container") -> list[str]:
    return [event.action for event in engine.journal.read() if event.type == kind]


def test_the_life_of_a_container(engine: Engine) -> None:
    container = engine.containers.create("busybox", ["sh", "-c", "trap 'exit 3' TERM; while :; do sleep 0.05; done"], RunOptions(label={"a": "b"}, volume=("data:/d",)))
    container.start(detach=True).close()
    container.exec_run(["sh", "-c", "exit 4"])
    container.pause()
    container.unpause()
    container.rename("other")
    container.kill(signal.SIGURG)
    container.stop()
    container.remove()
    life = ["create", "start", "exec_create: sh -c exit 4", "exec_start: sh -c exit 4", "exec_die", "pause", "unpause", "rename", "kill", "kill", "die", "stop", "destroy"]
    assert told(engine) == life and told(engine, "volume") == ["create", "mount", "unmount"] and told(engine, "image")
    events = {event.action: event for event in engine.journal.read() if event.type == "container"}
    assert events["die"].attributes == {"a": "b", **engine.images.resolve("busybox").config.config.labels, "image": "busybox", "name": "other", "exitCode": "3"}
    assert events["exec_die"].attributes["exitCode"] == "4" and events["rename"].attributes["oldName"] == f"/{events['create'].attributes['name']}"


def test_one_that_removes_itself_and_one_that_begins_again(engine: Engine) -> None:
    engine.containers.run("busybox", ["true"], RunOptions(rm=True))
    until(lambda: told(engine)[-1] == "destroy")
    assert told(engine) == ["create", "attach", "start", "die", "destroy"]
    container = engine.containers.create("busybox", ["false"], RunOptions(restart="on-failure:1"))
    container.start(detach=True).close()
    until(lambda: told(engine).count("die") == 3)
    assert told(engine)[5:] == ["create", "start", "die", "start", "die"]


def test_changes_of_health(engine: Engine) -> None:
    check = Healthcheck(test=("CMD", "test", "-e", "/ok"), interval=10**8, retries=1)
    container = engine.containers.create("busybox", ["sleep", "60"], RunOptions(health=check))
    container.start(detach=True).close()
    until(lambda: "health_status: unhealthy" in told(engine))
    container.exec_run(["touch", "/ok"])
    until(lambda: "health_status: healthy" in told(engine))
    assert [action for action in told(engine) if action.startswith("health")] == ["health_status: unhealthy", "health_status: healthy"]
