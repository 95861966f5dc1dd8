"""Verbs on a container's life once it has begun."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from dockerlab.commands import checks
from dockerlab.commands.call import Call, Outcome
from dockerlab.commands.columns import table
from dockerlab.commands.each import attempts, told
from dockerlab.commands.environment import variables
from dockerlab.commands.options import limits
from dockerlab.engine.container import Container
from dockerlab.engine.execution import ExecOptions
from dockerlab.engine.options import Attach
from dockerlab.engine.settings import host_environment
from dockerlab.errors import AlreadyExists, ExecError, InvalidArgument, InvalidRequest, NotFound, NotSupportedHere
from dockerlab.linux import signals
from dockerlab.runtime.detaching import DEFAULT
from dockerlab.runtime.world import Session

__all__ = ["attach", "exec_", "kill", "pause", "rename", "restart", "stop", "top", "unpause", "update", "wait"]

_AT_ONCE = 50  # docker's own number


def _signal(call: Call) -> int:
    word = call.flag("signal")
    try:
        return signals.number(word) if word else 0
    except ValueError:
        raise InvalidRequest(f"Invalid signal: {word}", hint="write a name such as TERM, or a number; `kill -l` lists them") from None


def _patience(call: Call) -> float | None:
    return next((float(call.flag(name)) for name in ("timeout", "time") if name in call.parsed.given), None)


def _each(call: Call, deed: Callable[[Container], object], *, at_once: bool = True) -> Outcome:
    """Does something to every container that is named, to all of them at once or one after another, and says the names of those where it was done, in their order."""

    def do(name: str) -> None:
        deed(call.engine.containers.get(name))

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        begun = iter([pool.submit(do, name) for name in call.args] if at_once and len(call.args) > 1 else [])

        def ended(name: str) -> None:
            if waited := next(begun, None):
                waited.result()
            else:
                do(name)
            call.out(name)

        return Outcome(exit_code=told(call, attempts(ended, call.args)))


def exec_(call: Call) -> Outcome:
    """docker exec."""
    tty, stdin = call.flag("tty"), call.flag("interactive")
    if tty and stdin and not call.flag("detach"):
        call.surface.check_terminal()
    env = variables(call.folder, call.flag("env-file"), call.flag("env"), host_environment())
    options = ExecOptions(env=env, workdir=call.flag("workdir"), user=call.flag("user"), tty=tty, detach_keys=call.flag("detach-keys") or DEFAULT)
    container, command = call.engine.containers.get(call.args[0]), call.args[1:]
    if call.flag("detach"):
        try:
            container.exec(command, options, detach=True).close()
        except ExecError as error:  # docker's daemon starts it, and tells its client
            raise InvalidRequest(error.message, hint=error.hint) from error
        return Outcome()

    def start(attach: Attach) -> Session:
        return container.exec(command, options, attach)

    return Outcome(exit_code=call.surface.attached(start, Attach(0 if stdin else None, 1, 2), interactive=tty, name=container.name))


def attach(call: Call) -> Outcome:
    """docker attach."""
    container = call.engine.containers.get(call.args[0])
    host = container.record.host
    stdin = host["interactive"] and not call.flag("no-stdin")
    if host["tty"] and stdin:
        call.surface.check_terminal()

    def start(wanted: Attach) -> Session:
        return container.attach(wanted, keys=call.flag("detach-keys") or DEFAULT)

    wanted = Attach(0 if stdin else None, 1, 2)
    return Outcome(exit_code=call.surface.attached(start, wanted, interactive=host["tty"], name=container.name, proxy=call.flag("sig-proxy")))


def pause(call: Call) -> Outcome:
    """docker pause."""
    return _each(call, Container.pause)


def unpause(call: Call) -> Outcome:
    """docker unpause."""
    return _each(call, Container.unpause)


def stop(call: Call) -> Outcome:
    """docker stop."""
    return _each(call, lambda container: container.stop(number=_signal(call), timeout=_patience(call)))


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
    return _each(call, lambda container: container.restart(number=_signal(call), timeout=_patience(call)), at_once=False)


def update(call: Call) -> Outcome:
    """docker update."""
    if not call.parsed.given:
        raise InvalidArgument("you must provide one or more flags when using this command", hint="docker update --help names them")
    changes, restart = limits(call), call.flag("restart") if "restart" in call.parsed.given else None
    checks.restart(restart or "")
    return _each(call, lambda container: container.update(changes, restart=restart))


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


def top(call: Call) -> Outcome:
    """docker top: the host's own ps(1), of whose lines those of the container are shown."""
    container = call.engine.containers.get(call.args[0])
    pids = {str(pid) for pid in container.processes()}
    words = list(call.args[1:]) or ["-ef"]
    try:
        done = subprocess.run(["ps", *words], capture_output=True, text=True, errors="replace", check=False)
    except FileNotFoundError:
        raise NotSupportedHere("this host has no ps", reason="ps(1) is missing", hint="an administrator installs the package procps") from None
    if done.returncode:
        raise InvalidRequest(f"ps: {' '.join(done.stderr.split())}", hint="ps(1) names the options")
    container.note("top")
    head, *lines = done.stdout.splitlines()
    titles = head.split()
    if "PID" not in titles:
        raise InvalidRequest("Couldn't find PID field in ps output", hint="name pid among the columns")
    cells = [line.split(None, len(titles) - 1) for line in lines]
    call.out(table(titles, [row for row in cells if row[titles.index("PID")] in pids], least=20).rstrip("\n"))
    return Outcome()
