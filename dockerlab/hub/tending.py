"""What a worker does with its store besides building, in one process: `python -m dockerlab.hub.tending size NAME`, or `… sweep`."""

from __future__ import annotations

import contextlib
import sys
from hashlib import sha256

from dockerlab.engine import Engine
from dockerlab.errors import DockerlabError

__all__ = ["main"]


def main() -> None:
    """Tells an image's bytes, or has the next build ask for pushed and pulled images again while what they hold is kept for the cache."""
    engine = Engine()
    if sys.argv[1] == "size":
        sys.stdout.write(f"{engine.images.get(sys.argv[2]).size}\n")
        return
    for name in [name for image in engine.images.list() for name in image.tags if "/" in name]:
        with contextlib.suppress(DockerlabError):
            engine.images.tag(name, f"kept:{sha256(name.encode()).hexdigest()[:12]}")
            list(engine.images.remove(name))


if __name__ == "__main__":
    main()
