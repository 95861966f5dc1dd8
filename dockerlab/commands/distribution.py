"""Verbs that speak to registries: push, pull, login, logout."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from dockerlab import recipes
from dockerlab.commands.call import Call, Outcome
from dockerlab.commands.following import Screen, closing
from dockerlab.engine.transferring import Transfer
from dockerlab.errors import InvalidArgument, NotFound, RegistryError
from dockerlab.events import Event, TransferEnded, TransferStarted
from dockerlab.oci.reference import DEFAULT_REGISTRY, Reference
from dockerlab.registry.keychain import HUB, Login
from dockerlab.widgets import transfer as view

__all__ = ["login", "logout", "pull", "push"]


def _followed(call: Call, events: Iterator[Event], transfer: Transfer, *, quiet: bool) -> None:
    """Shows a transfer as it goes, one image after another; one that is refused shows what was said until then."""
    try:
        _told(call, events, transfer, quiet=quiet)
    except RegistryError:
        if transfer.story.exchanges and not quiet:
            _refused(call, transfer)
        raise


def _told(call: Call, events: Iterator[Event], transfer: Transfer, *, quiet: bool) -> None:
    screen = Screen(call.out, call.surface.live(), call.surface.columns)
    for event in events:
        transfer.hear(event)
        if isinstance(event, TransferStarted):
            screen = Screen(call.out, call.surface.live(), call.surface.columns)
            if not quiet and event.way == "pull":
                call.out(view.line(event))
        elif quiet:
            continue
        elif isinstance(event, TransferEnded):
            _close(call, event, transfer)
        else:
            screen.take(event)


def _close(call: Call, event: TransferEnded, transfer: Transfer) -> None:
    if transfer.story.way == "push":
        call.out(view.ended(event))
        return
    for line in closing(event, Reference.parse(call.args[0])):
        call.out(line)


def _default_tag(call: Call, reference: Reference) -> None:
    if not reference.tag and not reference.digest and not call.flag("all-tags") and not call.flag("quiet"):
        call.out("Using default tag: latest")


def push(call: Call) -> Outcome:
    """docker push."""
    reference = Reference.parse(call.args[0])
    if call.flag("all-tags") and reference.tag:
        raise InvalidArgument("tag can't be used with --all-tags/-a", hint="leave out the tag, or --all-tags")
    if reference.digest:
        raise InvalidArgument("cannot push a digest reference", hint="push a name: what it stands for has this digest at the other end too")
    _default_tag(call, reference)
    transfer = Transfer(reference.familiar if call.flag("all-tags") else reference.tagged().familiar)
    if not call.flag("quiet"):
        call.out(f"The push refers to repository [{'docker.io/' if reference.registry == DEFAULT_REGISTRY else ''}{_path(reference)}]")
    events = call.engine.images.push(call.args[0], all_tags=call.flag("all-tags"), tell=transfer.heard if call.surface.wide or call.flag("explain") else None)
    _followed(call, events, transfer, quiet=call.flag("quiet"))
    if call.flag("quiet"):
        tag = "" if call.flag("all-tags") else f":{reference.tagged().tag}"
        call.out(f"{'docker.io/' if reference.registry == DEFAULT_REGISTRY else ''}{_path(reference)}{tag}")
    return _shown(call, transfer)


def _path(reference: Reference) -> str:
    return reference.repository if reference.registry == DEFAULT_REGISTRY else f"{reference.registry}/{reference.repository}"


def _shown(call: Call, transfer: Transfer) -> Outcome:
    call.engine.distribution.transfers.append(transfer)
    if call.flag("explain"):
        return Outcome(transfer)
    call.surface.below(transfer)
    return Outcome()


def _refused(call: Call, transfer: Transfer) -> None:
    call.engine.distribution.transfers.append(transfer)
    if call.surface.wide:
        call.surface.below(transfer)
    elif call.flag("explain"):
        call.out(str(transfer))


def pull(call: Call) -> Outcome:
    """docker pull."""
    reference = Reference.parse(call.args[0])
    if call.flag("all-tags") and (reference.tag or reference.digest):
        raise InvalidArgument("tag can't be used with --all-tags/-a", hint="leave out the tag, or --all-tags")
    _default_tag(call, reference)
    transfer = Transfer(reference.familiar if call.flag("all-tags") else reference.tagged().familiar, "pull")
    told = transfer.heard if call.surface.wide or call.flag("explain") else None
    events = call.engine.images.pull(call.args[0], platform=call.flag("platform"), all_tags=call.flag("all-tags"), tell=told)
    try:
        _followed(call, events, transfer, quiet=call.flag("quiet"))
    except RegistryError as error:
        if error.status or call.flag("all-tags") or not _made_here(call, reference):
            raise
        call.surface.note(f"{error.message}: the image is one that can be made on this machine, and it was")
    call.out(str(reference) if call.flag("all-tags") else str(reference.tagged()))
    return _shown(call, transfer)


def _made_here(call: Call, reference: Reference) -> bool:
    """Makes an image of the course where Docker Hub cannot be asked for it; False where there is no recipe."""
    with contextlib.suppress(NotFound):
        if not recipes.find(str(reference.tagged())):
            return False
    call.engine.images.resolve(str(reference.tagged()))
    return True


def _server(call: Call) -> str:
    """Gives the registry that was named, as a host; where none was, Docker Hub or what stands in its place."""
    name = call.args[0] if call.args else ""
    host = name.removeprefix("https://").removeprefix("http://").partition("/")[0]
    return call.engine.distribution.host(DEFAULT_REGISTRY if not host or host in ("index.docker.io", "docker.io", "registry-1.docker.io") else host)


def login(call: Call) -> Outcome:
    """docker login."""
    host, user, password = _server(call), call.flag("username"), call.flag("password")
    if call.flag("password-stdin"):
        if password:
            raise InvalidArgument("conflicting options: cannot specify both --password and --password-stdin")
        if not user:
            raise InvalidArgument("the --password-stdin option requires --username to be set", hint="docker login -u NAME --password-stdin")
        password = call.surface.stdin().decode(errors="replace").rstrip("\r\n")
    elif password:
        call.surface.err("WARNING! Using --password via the CLI is insecure. Use --password-stdin.\n")
    if not user and not password and _known(call, host):
        return Outcome()
    user = user or call.surface.asked("Username: ", secret=False)
    password = password or call.surface.asked("Password: ", secret=True)
    if not user or not password:
        raise InvalidArgument(f"{'password' if user else 'username'} is empty", hint="docker login -u NAME --password-stdin, with the password on standard input")
    keychain = call.engine.distribution.keychain
    try:
        call.engine.distribution.login(host, Login(user, password))
    except RegistryError as error:
        if error.status == 401:
            address = HUB if host == DEFAULT_REGISTRY else f"{call.engine.distribution.registry(host).base}/v2/"
            if error.detail == "token":  # it was not the registry that refused, but who grants its tokens
                raise RegistryError(f'Get "{address}": {error.message}', code=error.code, status=401, hint="look at the name and the password") from error
            raise RegistryError(f"login attempt to {address} failed with status: 401 Unauthorized", code=error.code, status=401, hint="look at the name and the password") from error
        raise
    if keychain.plain(host):
        call.surface.err(
            f"\nWARNING! Your credentials are stored unencrypted in '{keychain.path}'.\nConfigure a credential helper to remove this warning. See\n"
            "https://docs.docker.com/go/credential-store/\n\n"
        )
    call.out("Login Succeeded")
    return Outcome()


def _known(call: Call, host: str) -> bool:
    """Logs in as who is logged in already; False where nobody is, or is no longer."""
    kept = call.engine.distribution.keychain.get(host)
    if kept is None:
        return False
    call.out("Authenticating with existing credentials...")
    try:
        call.engine.distribution.login(host, kept)
    except RegistryError as error:
        call.surface.err("Stored credentials invalid or expired\n" if error.status == 401 else f"Login did not succeed, error: {error.message}\n")
        return False
    call.out("Login Succeeded")
    return True


def logout(call: Call) -> Outcome:
    """docker logout."""
    host = _server(call)
    shown = HUB if host == DEFAULT_REGISTRY else host
    call.engine.distribution.keychain.remove(host)
    call.out(f"Removing login credentials for {shown}")
    return Outcome()
