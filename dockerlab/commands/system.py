"""Verbs on the engine itself."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import stat
import sys
from pathlib import Path
from typing import Any

from dockerlab.commands.call import Call, Outcome
from dockerlab.commands.columns import table
from dockerlab.commands.each import told
from dockerlab.commands.go_text import NilList, Struct, compact_json
from dockerlab.commands.rows import Text
from dockerlab.commands.template import Template
from dockerlab.errors import InvalidArgument, NotSupportedHere
from dockerlab.linux.probe import Finding
from dockerlab.oci.platforms import architecture
from dockerlab.registry.keychain import HUB
from dockerlab.version import __version__
from dockerlab.widgets import html

__all__ = ["check", "info", "resume", "shim_install", "shim_remove", "version"]


class Report:
    """What `info` shows: the tier, and how it was found out."""

    def __init__(self, facts: dict[str, Any], findings: list[Finding]) -> None:
        self.facts, self.findings = facts, findings

    def __str__(self) -> str:
        lines = [f"{name}: {value}" for name, value in self.facts.items()]
        rows = [[f.name, "✓ yes" if f.ok else "✕ no", f.how, f"{f.detail}" + (f" (errno {f.errno})" if f.errno else "")] for f in self.findings]
        return "\n".join(lines) + "\n\n" + table(["TRIED", "WORKS", "HOW", "REFUSED WITH"], rows).rstrip("\n")

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        rows = []
        for f in self.findings:
            mark = html.cell("✓ yes" if f.ok else "✕ no", tint="added" if f.ok else "deleted")
            rows.append(f"<tr>{html.cell(html.escape(f.name), tag='th', scope='row')}{mark}{html.cell(html.escape(f.how))}{html.cell(html.escape(f.detail))}</tr>")
        head = "".join(f"<li>{html.escape(name)}: <b>{html.escape(value)}</b></li>" for name, value in self.facts.items())
        shown = html.table(["tried", "works", "how", "refused with"], rows, caption="What this host allows, tried in a child process that is thrown away")
        return {"text/plain": str(self), "text/html": f"<ul>{head}</ul>{shown}"}


def info(call: Call) -> Outcome:
    """docker info."""
    engine = call.engine
    try:
        able = engine.capabilities
        tier, says = able.tier, able.says
        driver = engine.snapshotter.name + (f" ({able.overlay} marks)" if able.overlay else "")
    except NotSupportedHere as error:
        tier, says, driver = "none", error.message + "; " + error.hint, "none"
    containers = engine.containers.list(all=True)
    facts = {
        "Containers": len(containers), "Running": sum(c.state.status == "running" for c in containers),
        "Paused": sum(c.state.status == "paused" for c in containers), "Images": len(engine.images.list()),
        "Server Version": __version__, "Storage Driver": driver, "Tier": tier, "Isolation": says,
        "Network": " ".join(sorted({network.driver for network in engine.networks.list()})),
        "Kernel Version": platform.release(), "Architecture": platform.machine(), "Docker Root Dir": str(engine.home),
    }  # fmt: skip
    if call.flag("format"):
        return _rendered(call, _information({name.replace(" ", ""): value for name, value in facts.items()}, driver))
    return Outcome(Report(facts, engine.findings))


def _information(facts: dict[str, Any], driver: str) -> Struct:
    """Gives docker's fields (API 1.41, SystemInfo) that have a meaning here, and ours."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Struct(facts | {
        "ContainersStopped": facts["Containers"] - facts["Running"] - facts["Paused"], "ContainersRunning": facts["Running"], "ContainersPaused": facts["Paused"],
        "Driver": driver, "NCPU": os.cpu_count() or 1, "MemTotal": pages, "OSType": sys.platform,
        "OperatingSystem": _system(), "Name": platform.node(), "IndexServerAddress": HUB, "DefaultRuntime": "dockerlab", "LoggingDriver": "json-file",
        "Swarm": Struct({"LocalNodeState": "inactive"}), "SecurityOptions": ["name=seccomp,profile=builtin"], "Labels": [], "Warnings": NilList(), "ExperimentalBuild": False,
        "HttpProxy": os.environ.get("HTTP_PROXY", ""), "HttpsProxy": os.environ.get("HTTPS_PROXY", ""), "NoProxy": os.environ.get("NO_PROXY", ""),
    })  # fmt: skip


def _system() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return "Linux"


def _rendered(call: Call, facts: Struct) -> Outcome:
    """Shows one thing by `--format`."""
    text = call.flag("format")
    call.out(compact_json(facts, html=True) if text == "json" else Template(text).render(facts))
    return Outcome()


def version(call: Call) -> Outcome:
    """docker version."""
    facts = {"Version": __version__, "ApiVersion": "none: dockerlab has no daemon", "Os": sys.platform, "Arch": architecture(), "Python": platform.python_version()}
    if call.flag("format"):
        absent = {"APIVersion": facts["ApiVersion"], "GitCommit": "", "BuildTime": "", "GoVersion": "", "MinAPIVersion": "", "KernelVersion": platform.release(), "Context": "default"}
        return _rendered(call, Struct({"Client": Struct(facts, **absent), "Server": Struct(facts, **absent)}))
    return Outcome(Text("\n".join(["Client and engine: dockerlab", *(f" {name + ':':<12}{value}" for name, value in facts.items())])))


def check(call: Call) -> Outcome:
    """dockerlab system check."""
    problems = call.engine.system.check(repair=call.flag("repair"))
    for problem in problems:
        call.out(f"{problem.what}: {problem.detail}")
    call.out(f"{len(problems)} problems" + (" repaired" if problems and call.flag("repair") else "") if problems else "the store is sound")
    return Outcome(exit_code=1 if problems and not call.flag("repair") else 0)


def resume(call: Call) -> Outcome:
    """dockerlab system resume."""
    begun, failed = call.engine.system.resume()
    for container in begun:
        call.out(container.name)
    return Outcome(exit_code=told(call, {container.name: error for container, error in failed}))


# Installed packages are looked for (site) only when the command server cannot help.
_CODE = """# dockerlab shim: removed by `dockerlab shim remove`
import sys
sys.path.insert(0, {package!r})
sys.argv[0] = "docker"
from dockerlab.cli.client import main
main()
"""


def _shim_path() -> Path:
    return Path(sys.prefix) / "bin" / "docker"


def shim_install(call: Call) -> Outcome:
    """dockerlab shim install."""
    path, other = _shim_path(), shutil.which("docker")
    if other and Path(other) != path and not call.flag("force"):
        raise InvalidArgument(f"a docker is on the PATH already: {other}", hint="use --force to put the shim before it in this environment")
    if path.exists() and "dockerlab shim" not in path.read_text(errors="replace"):
        raise InvalidArgument(f"{path} is not dockerlab's", hint="remove it yourself, or use another environment")
    write_shim(path)
    call.out(str(path))
    return Outcome()


def write_shim(path: Path) -> None:
    """Writes a `docker` that means dockerlab."""
    path.parent.mkdir(parents=True, exist_ok=True)
    code, client = _CODE.format(package=str(Path(__file__).parents[2])), str(Path(__file__).parents[1] / "cli" / "client")
    ways = [(client, sys.executable)] if os.access(client, os.X_OK) else []
    ways.append((sys.executable, "-SP"))
    # The kernel reads 127 bytes of a first line at least, and ends the program's name at a blank; execve(2).
    first = next((line for way in ways if " " not in way[0] and len(os.fsencode(line := f"#!{' '.join(way)}\n")) < 128), "")
    path.write_text(first + code if first else f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -S -P -c {shlex.quote(code)} "$@"\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)


def shim_remove(call: Call) -> Outcome:
    """dockerlab shim remove."""
    path = _shim_path()
    if path.exists() and "dockerlab shim" in path.read_text(errors="replace"):
        os.unlink(path)
        call.out(str(path))
    return Outcome()
