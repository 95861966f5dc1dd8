"""A transfer, told while it goes: docker's lines, in place where the surface can."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from dockerlab.commands.call import Surface
from dockerlab.errors import RegistryError
from dockerlab.events import Event, LayerProgress, LayerStatus, TransferEnded, TransferStarted
from dockerlab.oci.reference import Reference
from dockerlab.widgets import transfer as view

__all__ = ["Screen", "closing", "followed", "quietly"]

_NARROW = 110  # columns; docker's jsonmessage


class Screen:
    """The layers' lines of one image: drawn over by `live`, else each as it comes by `out`."""

    def __init__(self, out: Callable[[str], object], live: Callable[[list[str], bool], None] | None, columns: Callable[[], int] = lambda: 0) -> None:
        self._out, self._live, self._columns = out, live, columns
        self._states: dict[str, tuple[str, int, int]] = {}

    def take(self, event: Event) -> None:
        """Shows what an event changes."""
        if isinstance(event, LayerStatus) and event.layer:
            self._states[event.layer] = (f"{event.status} {event.note}".strip(), 0, event.size)
        elif isinstance(event, LayerProgress):
            known = self._states.get(event.layer, ("", 0, 0))[0]
            doing = "Downloading" if known in ("Pulling fs layer", "Downloading") else "Pushing"
            self._states[event.layer] = (doing, event.done, event.size)
        if self._live:
            self._live(view.meters(self._states, width=0 if 0 < self._columns() <= _NARROW else 50), isinstance(event, LayerStatus))
        elif line := view.line(event):
            self._out(line)


def closing(event: TransferEnded, reference: Reference) -> list[str]:
    """Gives docker's last lines of a pull."""
    name = f"{reference.familiar_name}@{reference.digest}" if reference.digest else f"{reference.familiar_name}:{event.tag}"
    return [f"Digest: {event.digest}", f"Status: {'Downloaded newer image' if event.fresh else 'Image is up to date'} for {name}"]


def quietly(why: str, reference: Reference, events: Iterable[Event]) -> None:
    """Lets an image be pulled without a word."""
    for _ in events:
        pass


def followed(surface: Surface, why: str, reference: Reference, events: Iterable[Event]) -> None:
    """Tells of an image that is pulled because something needs it, on standard error: the output is the program's."""

    def out(line: str) -> None:
        surface.err(f"{line}\n")

    screen = Screen(out, None)
    try:
        for event in events:
            if isinstance(event, TransferStarted):
                out(f"{why}\n{view.line(event)}" if why else view.line(event))
            elif isinstance(event, TransferEnded):
                for line in closing(event, reference):
                    out(line)
            else:
                screen.take(event)
    except RegistryError as error:
        if why and error.status:  # else nobody was asked, and that it is not here is all that there is to say
            out(why)
        raise
