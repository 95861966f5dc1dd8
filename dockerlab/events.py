"""What happens, as it happens: frozen records that text output, widgets and tests all read."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Advised", "ArgumentsUnused", "CacheHit", "CacheMiss", "CheckOverridden", "Event", "ImageBuilt"]
__all__ += ["LayerCommitted", "StepEnded", "StepFailed", "StepOutput", "StepRunning", "StepStarted", "TriggersStarted"]
__all__ += ["HttpExchange", "LayerProgress", "LayerStatus", "TransferEnded", "TransferStarted"]


@dataclass(frozen=True, slots=True)
class Event:
    """Anything that happened."""


@dataclass(frozen=True, slots=True)
class StepStarted(Event):
    """Instruction `number` of `total` begins; `text` is the line as written, `trigger` says that it came from ONBUILD."""

    number: int
    total: int
    text: str
    trigger: bool = False


@dataclass(frozen=True, slots=True)
class TriggersStarted(Event):
    """The base image of FROM, which is instruction `number`, brought so many ONBUILD instructions along; they come now."""

    number: int
    count: int


@dataclass(frozen=True, slots=True)
class CacheHit(Event):
    """The step's image was there already; `place` is where the step stood that made it last, as FILE:LINE, "" where nobody knows."""

    number: int
    image: str
    trigger: bool = False
    place: str = ""


@dataclass(frozen=True, slots=True)
class CacheMiss(Event):
    """The step has to be done; `reason` says why. `telling`: this Dockerfile was built here before, and no earlier step is the cause."""

    number: int
    reason: str
    telling: bool = False


@dataclass(frozen=True, slots=True)
class StepRunning(Event):
    """A container runs the step's command."""

    number: int
    container: str


@dataclass(frozen=True, slots=True)
class StepOutput(Event):
    """Bytes that the command wrote: stream 1 is stdout, 2 stderr."""

    number: int
    stream: int
    data: bytes


@dataclass(frozen=True, slots=True)
class LayerCommitted(Event):
    """The step made a layer of so many bytes of files."""

    number: int
    size: int


@dataclass(frozen=True, slots=True)
class StepEnded(Event):
    """The step's image; `container` is the one that was removed again, if there was one."""

    number: int
    image: str
    container: str = ""
    trigger: bool = False


@dataclass(frozen=True, slots=True)
class CheckOverridden(Event):
    """A HEALTHCHECK takes the place of this one."""

    number: int
    test: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StepFailed(Event):
    """The step did not succeed; `container` ran it, if one did, and is `kept` to be looked into."""

    number: int
    container: str = ""
    kept: bool = False


@dataclass(frozen=True, slots=True)
class Advised(Event):
    """Something that the Dockerfile could do better, by the rule's name and the line that it stands on."""

    number: int
    rule: str
    line: int
    message: str


@dataclass(frozen=True, slots=True)
class ArgumentsUnused(Event):
    """Values were given with --build-arg that no ARG asked for."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ImageBuilt(Event):
    """The whole build's image and the names that it got."""

    image: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HttpExchange(Event):
    """One request and its answer, secrets replaced by names of variables; `sent` and `received` are the bytes of the bodies, `status` is 0 where no answer came.

    `about` says what it was for: a layer's label, config, manifest. `trust` says whose certificates were believed: "" is the system's word, `any`, or a file.
    """

    method: str
    url: str
    status: int
    seconds: float
    sent: int = 0
    received: int = 0
    request: tuple[tuple[str, str], ...] = ()
    response: tuple[tuple[str, str], ...] = ()
    error: str = ""
    about: str = ""
    trust: str = ""


@dataclass(frozen=True, slots=True)
class TransferStarted(Event):
    """An image begins to travel: `way` is push or pull."""

    way: str
    registry: str
    repository: str
    tag: str


@dataclass(frozen=True, slots=True)
class LayerStatus(Event):
    """What has become of a layer, in docker's words; `layer` is what docker calls it (diff_id on a push, digest on a pull), `size` its bytes as they travel.

    `sent` are the bytes of it that did travel, `note` where it was mounted from.
    """

    layer: str
    status: str
    size: int = 0
    sent: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class LayerProgress(Event):
    """So many of a layer's bytes have travelled."""

    layer: str
    done: int
    size: int


@dataclass(frozen=True, slots=True)
class TransferEnded(Event):
    """The manifest has arrived. `fresh`: the name did not stand for it here before (pull)."""

    tag: str
    digest: str
    size: int
    fresh: bool = True
