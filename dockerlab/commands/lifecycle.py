"""Verbs on a container's life once it has begun."""

from __future__ import annotations

from dockerlab.commands.call import Call, Outcome
from dockerlab.commands.each import attempts, told
from dockerlab.errors import AlreadyExists, InvalidArgument, InvalidRequest, NotFound
from dockerlab.linux import signals

__all__ = ["kill", "rename", "restart", "stop", "wait"]


def _signal(call: Call) -> int:
    word = call.flag("signal")
    try:
        return signals.number(word) if word else 0
    except ValueError:
        raise InvalidRequest(f"Invalid signal: {word}", hint="write a name such as TERM, or a number; `kill -l` lists them") from None


def _patience(call: Call) -> float | None:
    return float(call.flag("timeout")) if "timeout" in call.parsed.given else None


def stop(call: Call) -> Outcome:
    """docker stop."""

    def end(name: str) -> None:
        call.engine.containers.get(name).stop(number=_signal(call), timeout=_patience(call))
        call.out(name)

    return Outcome(exit_code=told(call, attempts(end, call.args)))


def kill(call: Call) -> Outcome:
    """docker kill."""

    def send(name: str) -> None:
        word = call.flag("signal")
        if word.isascii() and word.isdigit() and int(word) > 64:
            raise InvalidRequest(f"Cannot kill container: {name}: The linux daemon does not support signal {word}", hint="signals go up to 64; signal(7)")
        number = _signal(call) or signals.number("KILL")
        try:
            container = call.engine.containers.get(name)
        except NotFound as error:
            raise NotFound(f"Cannot kill container: {name}: {error.message}", hint=error.hint) from None
        container.kill(number)
        call.out(name)

    return Outcome(exit_code=told(call, attempts(send, call.args)))


def wait(call: Call) -> Outcome:
    """docker wait."""

    def watch(name: str) -> None:
        call.out(str(call.engine.containers.get(name).wait()))

    return Outcome(exit_code=told(call, attempts(watch, call.args)))


def restart(call: Call) -> Outcome:
    """docker restart."""

    def again(name: str) -> None:
        call.engine.containers.get(name).restart(number=_signal(call), timeout=_patience(call))
        call.out(name)

    return Outcome(exit_code=told(call, attempts(again, call.args)))


def rename(call: Call) -> Outcome:
    """docker rename."""
    old, new = call.args[0], call.args[1].removeprefix("/")
    if not old or not new:
        raise InvalidArgument("Error: Neither old nor new names may be empty", hint="docker rename OLD NEW")

    def again(name: str) -> None:
        try:
            call.engine.containers.get(name).rename(new)
        except AlreadyExists as error:
            raise InvalidRequest(f"Error when allocating new name: {error.message}") from None

    failed = attempts(again, [old])
    code = told(call, failed)
    if failed:
        call.surface.err(f"Error: failed to rename container named {old}\n")
    return Outcome(exit_code=code)
