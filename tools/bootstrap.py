"""Makes a virtual environment with pip in it, also where python3-venv and pip are missing (PEP 668 in force): `bootstrap.py FOLDER`.

Where ensurepip is absent, pip's own wheel is fetched from the package index and used only if its hash is the pinned one.
"""

from __future__ import annotations

import hashlib
import os
import re
import ssl
import subprocess
import sys
import urllib.parse
import urllib.request
import venv
from pathlib import Path

WHEEL = "pip-25.0.1-py3-none-any.whl"
OLDEST = (3, 11)
SHA256 = "c46efd13b6aa8279f33f2864459c8ce587ea6a1a59ee20de055868d8f7688f7f"


def main() -> None:
    """Makes the environment named on the command line, or finds it made."""
    folder = Path(sys.argv[1]).absolute()
    if sys.version_info[:2] < OLDEST:
        sys.exit("dockerlab needs Python 3.11 or newer: install it, then `make PYTHON=python3.11 …`")
    python = folder / "bin" / "python"
    if python.exists() and subprocess.run([python, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0:
        return
    venv.EnvBuilder(with_pip=False, symlinks=True, clear=True).create(folder)
    done = subprocess.run([python, "-m", "ensurepip", "--default-pip"], capture_output=True, check=False)
    if done.returncode:
        wheel = fetch(folder)
        subprocess.run([python, f"{wheel}/pip", "install", "--quiet", "--no-index", str(wheel)], check=True)


def fetch(folder: Path) -> Path:
    """Gives pip's wheel, its hash checked; ends with a clear word where it cannot be had."""
    index = (os.environ.get("PIP_INDEX_URL") or "https://pypi.org/simple").rstrip("/") + "/pip/"
    context = ssl.create_default_context(cafile=os.environ.get("PIP_CERT") or None)
    try:
        with urllib.request.urlopen(index, timeout=60, context=context) as page:
            found = re.search(rf'href="([^"]*{re.escape(WHEEL)})', page.read().decode())
        if found is None:
            sys.exit(f"{index} does not offer {WHEEL}: install python3-venv, then run make again")
        with urllib.request.urlopen(urllib.parse.urljoin(index, found[1]), timeout=60, context=context) as answer:
            data = answer.read()
    except OSError as error:
        sys.exit(f"pip cannot be fetched ({error}): install python3-venv, then run make again")
    if hashlib.sha256(data).hexdigest() != SHA256:
        sys.exit(f"{WHEEL} has the wrong hash; nothing was installed")
    wheel = folder / WHEEL
    wheel.write_bytes(data)
    return wheel


if __name__ == "__main__":
    main()
