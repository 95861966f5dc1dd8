"""What docker's client asks of a flag's value before anything is done; each raises ValueError in its words."""

from __future__ import annotations

import ipaddress
import re

from dockerlab.errors import InvalidArgument
from dockerlab.linux.limits import NAMES
from dockerlab.oci.reference import Reference

__all__ = ["address", "build_context", "condition", "domain", "entitlement", "extra_host", "image_name", "label", "restart", "stream", "sysctl", "ulimit", "variable", "volume_driver"]


_SYSCTLS = ("kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced")


def image_name(text: str) -> None:
    """`build --tag`."""
    Reference.parse(text)


def variable(text: str) -> None:
    """`--env` and `--build-arg`."""
    if not text.partition("=")[0]:
        raise ValueError(f"invalid environment variable: {text}")


def label(text: str) -> None:
    """`--label`."""
    if not text.partition("=")[0]:
        raise ValueError(f"invalid label '{text}': empty name")


def build_context(text: str) -> None:
    """`build --build-context`."""
    name, equals, where = text.partition("=")
    if not (name and equals and where):
        raise ValueError(f"invalid context value: {text}, expected key=value")


def condition(text: str) -> None:
    """`--filter`."""
    if text and "=" not in text:
        raise ValueError("bad format of filter (expected name=value)")


def ulimit(text: str) -> tuple[str, int, int]:
    """`--ulimit`: gives name, soft and hard limit; -1 is none."""
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"invalid ulimit argument: {text}")
    if name not in NAMES:
        raise ValueError(f"invalid ulimit type: {name}")
    words = value.split(":")
    if len(words) > 2:
        raise ValueError(f"too many limit value arguments - {value}, can only have up to two, `soft[:hard]`")
    for word in words:
        if not re.fullmatch(r"[+-]?[0-9]+", word):
            raise ValueError(f'strconv.ParseInt: parsing "{word}": invalid syntax')
    soft, hard = int(words[0]), int(words[-1])
    if hard != -1 and (soft == -1 or soft > hard):
        raise ValueError(f"ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}")
    return name, soft, hard


def entitlement(text: str) -> str:
    """`--allow`: what a Dockerfile may ask for."""
    if text not in ("network.host", "security.insecure"):
        raise ValueError(f'unknown entitlement "{text}"')
    if text == "security.insecure":
        raise ValueError("RUN --security=insecure is not executed by dockerlab")
    return text


def extra_host(text: str) -> tuple[str, str]:
    """`--add-host`: gives the name and the address."""
    found = re.fullmatch(r"([^:=]+)[:=](.+)", text)
    if not found:
        raise ValueError(f'bad format for add-host: "{text}"')
    place = found[2].strip("[]")
    if not _address(place) and place != "host-gateway":
        raise ValueError(f'invalid IP address in add-host: "{found[2]}"')
    return found[1], place


def _address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def address(text: str) -> None:
    """`--dns`."""
    if not _address(text):
        raise ValueError(f"IP address is not correctly formatted: {text}")


def domain(text: str) -> None:
    """`--dns-search`."""
    if text != "." and not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?)*\.?", text):
        raise ValueError(f"{text} is not a valid domain")


def restart(text: str) -> str:
    """`--restart`: gives the policy, which may be none; what the engine makes of it is its affair. Raises InvalidArgument."""
    name, colon, most = text.partition(":")
    hint = "name no, always, unless-stopped or on-failure[:most]"
    if colon and not name:
        raise InvalidArgument("invalid restart policy format: no policy provided before colon", hint=hint)
    if colon and not re.fullmatch("[+-]?[0-9]+", most):
        raise InvalidArgument("invalid restart policy format: maximum retry count must be an integer", hint=hint)
    return text


def volume_driver(text: str) -> str:
    """`--driver`: there is one."""
    if text != "local":
        raise ValueError(f"plugin {text!r} not found: local is the only driver here")
    return text


def sysctl(text: str) -> None:
    """`--sysctl`."""
    name = text.partition("=")[0]
    if "=" not in text or not (name.startswith(("net.", "fs.mqueue.")) or name in _SYSCTLS):
        raise ValueError(f"sysctl '{text}' is not allowed")


def stream(text: str) -> None:
    """`--attach`."""
    if text.lower() not in ("stdin", "stdout", "stderr"):
        raise ValueError("valid streams are STDIN, STDOUT and STDERR")
