"""`prune`: what nobody needs any more, of each kind and of all."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from dockerlab.commands.call import Call, Outcome
from dockerlab.commands.columns import human_size
from dockerlab.commands.filters import labelled
from dockerlab.commands.logs import when
from dockerlab.engine.system import Wanted
from dockerlab.errors import InvalidArgument, InvalidRequest
from dockerlab.oci.dates import moment

__all__ = ["agreed", "builder", "containers", "images", "system", "volumes", "wanted"]


def containers(call: Call) -> Outcome:
    """docker container prune."""
    if not agreed(call, "This will remove all stopped containers."):
        return Outcome()
    gone, freed = call.engine.system.prune_containers(wanted(call, "label", "until"))
    return _told(call, freed, Containers=gone)


def images(call: Call) -> Outcome:
    """docker image prune."""
    every = call.flag("all")
    what = "all images without at least one container associated to them" if every else "all dangling images"
    if not agreed(call, f"This will remove {what}."):
        return Outcome()
    lines, freed = call.engine.system.prune_images(wanted(call, "label", "until", "dangling"), every=every)
    return _told(call, freed, Images=lines)


def volumes(call: Call) -> Outcome:
    """docker volume prune."""
    every = call.flag("all")
    what = "all local volumes" if every else "anonymous local volumes"
    if not agreed(call, f"This will remove {what} not used by at least one container."):
        return Outcome()
    gone, freed = call.engine.system.prune_volumes(wanted(call, "label", "all"), every=every)
    return _told(call, freed, Volumes=gone)


def builder(call: Call) -> Outcome:
    """docker builder prune."""
    # Docker asks on the same line here, and only here.
    question = f"WARNING! This will remove all {'' if call.flag('all') else 'dangling '}build cache. Are you sure you want to continue? [y/N] "
    if not (call.flag("force") or call.surface.agreed(question)):
        return Outcome()
    meant = wanted(call, "until", "unused-for")
    freed = call.engine.builds.prune(lambda used: meant({}, datetime.fromtimestamp(used, UTC).isoformat().replace("+00:00", "Z")), keep=call.flag("keep-storage"), steps=call.flag("all"))
    call.out(f"Total reclaimed space: {human_size(freed)}")
    return Outcome()


def system(call: Call) -> Outcome:
    """docker system prune."""
    every, own = call.flag("all"), call.flag("volumes")
    kinds = ["all stopped containers", "all networks not used by at least one container", *(["all anonymous volumes not used by at least one container"] if own else []),
             "all images without at least one container associated to them" if every else "all dangling images"]  # fmt: skip
    words = call.flag("filter")
    if own and any(word.startswith("until=") for word in words):
        raise InvalidArgument('ERROR: The "until" filter is not supported with "--volumes"', hint="leave out one of them")
    listed = "".join(f"  - {kind}\n" for kind in kinds) + (f"\n  Items to be pruned will be filtered with:\n{''.join(f'  - {word}{chr(10)}' for word in words)}" if words else "")
    if not agreed(call, f"This will remove:\n{listed}"):
        return Outcome()
    meant, tidy = wanted(call, "label", "until"), call.engine.system
    gone, freed = tidy.prune_containers(meant)
    networks = call.engine.networks.prune(meant)
    named, more = tidy.prune_volumes(meant, every=False) if own else ([], 0)
    lines, most = tidy.prune_images(meant, every=every)
    tidy.collect()
    tidy.sweep()
    return _told(call, freed + more + most, Containers=gone, Networks=networks, Volumes=named, Images=lines)


def agreed(call: Call, warning: str) -> bool:
    """Tells whether a person wants this, asked unless they have said so."""
    return bool(call.flag("force")) or call.surface.agreed(f"WARNING! {warning}\nAre you sure you want to continue? [y/N] ")


def _told(call: Call, freed: int, **kinds: Sequence[str]) -> Outcome:
    for title, lines in kinds.items():
        if lines:
            call.out(f"Deleted {title}:\n" + "\n".join(lines) + "\n")
    call.out(f"Total reclaimed space: {human_size(freed)}")
    return Outcome()


def wanted(call: Call, *names: str) -> Wanted:
    """Gives what tells whether something with these labels, made then, is asked for; raises InvalidRequest."""
    tests: list[Wanted] = []
    for word in call.flag("filter"):
        name, _, value = word.partition("=")
        if name.removesuffix("!") not in names:
            raise InvalidRequest(f"Invalid filter '{name}'", hint=f"filter by {', '.join(names)}")
        if name in ("label", "label!"):
            tests.append(_labelled(value, wanted=name == "label"))
        elif name in ("until", "unused-for"):
            tests.append(_before(value))
    return lambda labels, created: all(test(labels, created) for test in tests)


def _labelled(condition: str, *, wanted: bool) -> Wanted:
    return lambda labels, _: labelled(labels, condition) is wanted


def _before(text: str) -> Wanted:
    try:
        limit = when(text)
    except InvalidArgument as error:
        raise InvalidRequest(error.message, hint=error.hint) from None
    return lambda _, created: limit is None or moment(created).timestamp() * 10**9 < limit
