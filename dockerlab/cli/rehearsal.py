"""Command lines that are for nobody: what they compile and write to first is ready when somebody comes."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from dockerlab.commands.call import Surface
from dockerlab.commands.run import perform
from dockerlab.engine import Engine
from dockerlab.linux import loopback
from dockerlab.oci.runtime import Spec
from dockerlab.runtime.generate import Options, generate

__all__ = ["Rehearsal"]


class _Nowhere(Surface):
    def out(self, text: str) -> None:
        """Shows nothing."""

    def err(self, text: str) -> None:
        """Shows nothing."""


class Rehearsal:
    """A store of its own, for command lines that are for nobody.

    What they compile at first use (patterns, decoders, the grammar) every worker then has. A worker does a few itself while it waits: what a process
    writes to for the first time after fork(2) the kernel has to copy, and that takes longer than the command line.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        shutil.rmtree(folder, ignore_errors=True)

    def whole(self) -> None:
        """What the server does once."""
        context = self._folder / "context"
        context.mkdir(parents=True)
        (context / "Dockerfile").write_text('FROM scratch AS one\nARG A=1\nENV B=$A\nCOPY . /\nWORKDIR /w\nLABEL a=b\nCMD ["c"]\n')
        self._do("build -t a context", "images", "history a", "inspect a", "ps -a", "network ls", "volume ls")
        loopback.declare(self._folder / "ports", (5000,))
        # Nobody listens there, no network is asked, and nobody's helper for passwords.
        meanwhile = {loopback.VARIABLE: str(self._folder / "ports"), "DOCKER_CONFIG": str(self._folder)}
        before = {name: os.environ.get(name) for name in meanwhile}
        os.environ.update(meanwhile)
        self._do("tag a localhost:5000/a", "push localhost:5000/a")
        for name, value in before.items():
            os.environ.pop(name)
            os.environ.update({name: value} if value is not None else {})
        self._create()
        _ = self._engine().world

    def short(self) -> None:
        """What each worker does."""
        self._do("ps -a", "inspect a")
        self._create()

    def end(self) -> None:
        """Leaves nothing behind."""
        shutil.rmtree(self._engine().settings.runtime, ignore_errors=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _engine(self) -> Engine:
        return Engine(self._folder / "home")

    def _create(self) -> None:
        """What `run` and `create` do before anything is on disk."""
        self._do("run --rm --network host --bad-flag a true")
        Spec.decode(generate(self._engine().images.get("a").config.config, Options()).encode())

    def _do(self, *lines: str) -> None:
        for line in lines:
            # Whatever goes wrong here (a module that was changed since, a full disk) will be told by a command line that is somebody's.
            with contextlib.suppress(Exception):
                str(perform(line.split(), self._engine, _Nowhere(), folder=self._folder).value)
