"""Health checks in every tier."""

from __future__ import annotations

import msgspec
import pytest

from dockerlab.engine import Container, Engine, RunOptions
from dockerlab.errors import InvalidRequest
from dockerlab.oci.config import Healthcheck
from tests.conftest import until

SECOND = 10**9


def begun(engine: Engine, *test: str, script: str = "sleep 60", retries: int = 2, timeout: int = 2 * SECOND, **options: object) -> Container:
    check = Healthcheck(test=test, interval=SECOND // 5, timeout=timeout, retries=retries)
    container = engine.containers.create("busybox", ["sh", "-c", script], RunOptions(health=check, **options))  # type: ignore[arg-type]
    container.start(detach=True).close()
    return container


def health(container: Container) -> str:
    state = container.state
    return state.health["Status"] if state.health else ""


def test_health_follows_the_check(engine: Engine) -> None:
    container = begun(engine, "CMD-SHELL", "echo looking; test -e /ok && test $A = 1", env={"A": "1"})
    assert health(container) == "starting"
    until(lambda: health(container) == "unhealthy")
    facts = container.state.health
    assert facts and facts["FailingStreak"] >= 2 and {(result["ExitCode"], result["Output"]) for result in facts["Log"]} == {(1, "looking\n")}
    container.exec_run(["touch", "/ok"])
    until(lambda: health(container) == "healthy")
    container.pause()
    assert health(container) == "unhealthy" and container.state.status == "paused"
    container.unpause()
    until(lambda: health(container) == "healthy")
    container.stop(timeout=0)
    assert health(container) == "unhealthy" and container.state.status == "exited"
    container.start(detach=True).close()
    assert health(container) == "starting"


def test_a_check_that_takes_too_long_is_ended(engine: Engine) -> None:
    container = begun(engine, "CMD", "sleep", "77", timeout=SECOND // 5, retries=1)
    until(lambda: health(container) == "unhealthy")
    facts = container.state.health
    assert facts and facts["Log"][0]["ExitCode"] == -1 and facts["Log"][0]["Output"] == "Health check exceeded timeout (200ms)"
    # One check at a time, and none of those that were ended lives on: the program, or what brings it here, and a check.
    until(lambda: len(container.processes()) <= 3)


def test_a_program_that_is_not_there_is_a_failure(engine: Engine) -> None:
    container = begun(engine, "CMD", "nope", retries=1)
    until(lambda: health(container) == "unhealthy")
    facts = container.state.health
    assert facts and "nope" in facts["Log"][0]["Output"]


def test_much_output_is_cut(engine: Engine) -> None:
    container = begun(engine, "CMD-SHELL", "yes | head -c 300000")
    until(lambda: health(container) == "healthy")
    facts = container.state.health
    assert facts and len(facts["Log"][0]["Output"]) == 4096


def test_the_image_has_a_check_and_a_person_another(engine: Engine) -> None:
    source = engine.images.resolve("busybox")
    image = Healthcheck(test=("CMD", "true"), interval=7 * SECOND, retries=5)
    made = engine.images.create(source, [], msgspec.structs.replace(source.config.config, healthcheck=image), source.config.history[-1])
    assert engine.containers.create(made.id).config.healthcheck == image
    mixed = engine.containers.create(made.id, options=RunOptions(health=Healthcheck(interval=SECOND))).config.healthcheck
    assert mixed == Healthcheck(test=("CMD", "true"), interval=SECOND, retries=5)
    none = engine.containers.create(made.id, options=RunOptions(health=Healthcheck(test=("NONE",))))
    none.start(detach=True).close()
    none.wait(timeout=10)
    assert none.state.health is None
    with pytest.raises(InvalidRequest, match="Interval in Healthcheck cannot be less than 1ms"):
        engine.containers.create("busybox", options=RunOptions(health=Healthcheck(interval=1)))
