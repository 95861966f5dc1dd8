"""`registry:2` without a registry: our own server in an image, with the interpreter that runs it; and Debian's docker-registry, where this host has it.

What goes in is the closure of the program: the modules that it has loaded when it listens, and the libraries that these load. Modules are compiled beforehand, marked
as never to be compared with their source (PEP 552): an image's files have no times that mean anything.
"""

from __future__ import annotations

import importlib.util
import json
import marshal
import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Mapping
from pathlib import Path

from dockerlab.errors import NotSupportedHere
from dockerlab.layers.index import Entry
from dockerlab.layers.packing import Write
from dockerlab.recipes import closure

__all__ = ["CNCF", "ENVIRONMENT", "OURS", "cncf_layers", "layers"]

OURS = ("docker.io/library/registry:2", "docker.io/library/registry:latest")
CNCF = "docker.io/library/registry:debian"
_LIB = f"usr/lib/python{sys.version_info[0]}.{sys.version_info[1]}"
_OWN, _CONFIG = "opt/registry", "etc/docker/registry/config.yml"
# Where CNCF's image has it: `docker exec … registry garbage-collect /etc/docker/registry/config.yml`.
_PROGRAM = b"#!/usr/bin/python3\nfrom dockerlab.registry.__main__ import main\n\nmain()\n"
ENVIRONMENT = ("PYTHONHOME=/usr", f"PYTHONPATH=/{_OWN}", "PYTHONUNBUFFERED=1", "PYTHONDONTWRITEBYTECODE=1")
_PEOPLE = {"etc/passwd": (b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n", 0o644), "etc/group": (b"root:x:0:\nnogroup:x:65534:\n", 0o644)}
# Says which files the server has loaded once it could answer; some it would only load with the first request.
_LISTING = """
import json, sys
import dockerlab.registry.__main__, bcrypt, ssl, urllib3, encodings.idna, encodings.latin_1, encodings.ascii, http.client, multiprocessing
print(json.dumps({name: getattr(module, "__file__", None) or "" for name, module in sys.modules.items()}))
"""
Files = dict[str, tuple[bytes, int]]
Layer = Callable[[Write], tuple[list[Entry], int]]


def _loaded() -> dict[str, Path]:
    code = f"import sys; sys.path[:] = {[entry or os.getcwd() for entry in sys.path]!r}\n{_LISTING}"
    done = subprocess.run([sys.executable, "-S", "-E", "-X", "frozen_modules=off", "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotSupportedHere("this host lacks what the registry's server needs", reason="not installed", hint="install dockerlab anew, with its dependencies")
    return {name: Path(place) for name, place in json.loads(done.stdout).items() if place and name != "__main__"}


def _compiled(path: Path, place: str) -> tuple[str, bytes]:
    source = path.read_bytes()
    code = compile(source, f"/{place}", "exec", dont_inherit=True)
    # PEP 552: flags 0b01 say that the hash stands for the source, and is not to be checked.
    head = importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little") + importlib.util.source_hash(source)
    folder, _, name = place.rpartition("/")
    return f"{folder}/__pycache__/{name.removesuffix('.py')}.{sys.implementation.cache_tag}.pyc", head + marshal.dumps(code)


def _standard(path: Path) -> str:
    """Gives the place below the standard library's folder, "" for what belongs elsewhere."""
    for name in ("stdlib", "platstdlib"):
        folder = Path(os.path.realpath(sysconfig.get_path(name)))
        real = Path(os.path.realpath(path))
        if real.is_relative_to(folder) and not {"site-packages", "dist-packages"} & set(real.parts):
            return str(real.relative_to(folder))
    return ""


def _parts() -> tuple[Files, Files, Files]:
    """Gives the files of the interpreter, of other people's packages, and ours."""
    python, others, own = dict[str, tuple[bytes, int]](), dict[str, tuple[bytes, int]](), dict[str, tuple[bytes, int]]()
    libraries = closure.closure(Path(sys.executable).resolve())
    for name, path in _loaded().items():
        parts = name.split(".")
        target, place = (python, f"{_LIB}/{_standard(path)}") if _standard(path) else (own if parts[0] == "dockerlab" else others, f"{_OWN}/{_inside(parts, path)}")
        target[place] = (path.read_bytes(), 0o644)
        if path.suffix == ".py":
            compiled, code = _compiled(path, place)
            target[compiled] = (code, 0o644)
        elif ".so" in path.name:
            libraries |= closure.closure(path) - {path}
    program = Path(sys.executable).resolve()
    for path in libraries - {program}:
        python[str(path).lstrip("/")] = (path.read_bytes(), 0o755)
    python["usr/bin/python3"] = (program.read_bytes(), 0o755)
    own[f"{_OWN}/dockerlab/registry/config.yml"] = (_config(), 0o644)
    own["bin/registry"] = (_PROGRAM, 0o755)
    return python | _PEOPLE | {_CONFIG: (_config(), 0o644)}, others, own


def _config() -> bytes:
    return (Path(__file__).parents[1] / "registry" / "config.yml").read_bytes()


def _inside(parts: list[str], path: Path) -> str:
    package = path.name.startswith("__init__.")
    return "/".join([*(parts if package else parts[:-1]), path.name])


def layers() -> tuple[Layer, ...]:
    """Gives the layers of our registry: the interpreter, other people's packages, our server. Raises NotSupportedHere."""
    parts: list[Files] = []

    def layer(number: int) -> Layer:
        def write(out: Write) -> tuple[list[Entry], int]:
            if not parts:
                parts.extend(_parts())
            return closure.make(out, [], parts[number], {})

        return write

    return (layer(0), layer(1), layer(2))


def cncf_layers() -> tuple[Layer, ...]:
    """Gives the layer of Debian's docker-registry with its libraries and a configuration for /var/lib/registry."""
    files: Mapping[str, tuple[bytes, int]] = {_CONFIG: (_config(), 0o644), **_PEOPLE}
    names = ("/etc/ssl/certs/ca-certificates.crt",)
    return (lambda write: closure.make(write, ["docker-registry"], files, {}, names),)
