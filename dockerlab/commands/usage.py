"""`docker system df`: what is on disk, as four lines or as four lists."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dockerlab.commands.call import Call, Outcome
from dockerlab.commands.columns import human_size, human_size3
from dockerlab.commands.containers import CONTAINER_HEADS, container_row
from dockerlab.commands.go_text import Struct, compact_json
from dockerlab.commands.images import IMAGE_HEADS, image_rows
from dockerlab.commands.rows import Rows, ago
from dockerlab.commands.template import Template
from dockerlab.commands.volumes import VOLUME_HEADS, volume_row
from dockerlab.engine import buildmounts
from dockerlab.errors import NotFound

__all__ = ["df"]

_CACHES = {"ID": "CACHE ID", "CacheType": "CACHE TYPE", "Size": "SIZE", "CreatedSince": "CREATED", "LastUsedSince": "LAST USED", "UsageCount": "USAGE", "Shared": "SHARED"}


def df(call: Call) -> Outcome:
    """docker system df."""
    if call.flag("verbose"):
        return _whole(call)
    rows = []
    for usage in call.engine.system.usage():
        share = f" ({100 * usage.reclaimable // usage.size}%)" if usage.size else ""
        rows.append({"Type": usage.type, "TotalCount": str(usage.total), "Active": str(usage.active), "Size": human_size(usage.size), "Reclaimable": human_size(usage.reclaimable) + share})
    headers = {"Type": "TYPE", "TotalCount": "TOTAL", "Active": "ACTIVE", "Size": "SIZE", "Reclaimable": "RECLAIMABLE"}
    default = "table {{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}"
    return Outcome(Rows(rows, headers, default=default, format=call.flag("format"), caption="disk usage"))


class _Lists:
    """What `-v` shows: one list under another."""

    def __init__(self, lists: Mapping[str, Rows]) -> None:
        self._lists = lists

    def __str__(self) -> str:
        return "\n\n".join(f"{title}\n\n{rows}" for title, rows in self._lists.items())

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        parts = [rows._repr_mimebundle_()["text/html"] for rows in self._lists.values()]
        return {"text/plain": str(self), "text/html": "\n".join(parts)}


def _whole(call: Call) -> Outcome:
    text = call.flag("format")
    full = bool(text) and not text.startswith("table")
    kept = buildmounts.kept(call.engine)
    images, containers, volumes, caches = _images(call, full), _containers(call, full), _volumes(call), [_cache(*each) for each in kept]
    if text not in ("", "table"):
        lists = {"Images": images, "Containers": containers, "Volumes": volumes, "BuildCache": caches}
        facts = Struct({name: [Struct({key: row[key] for key in sorted(row) if not callable(row[key])}) for row in rows] for name, rows in lists.items()})
        call.surface.out(compact_json(facts, html=True) if text == "json" else Template.typed(text.removeprefix("table").strip()).render(facts))
        return Outcome()
    return Outcome(_Lists({
        "Images space usage:": _rows(images, IMAGE_HEADS, "Repository", "Tag", "ID", "CreatedSince", "Size", "SharedSize", "UniqueSize", "Containers"),
        "Containers space usage:": _rows(containers, CONTAINER_HEADS, "ID", "Image", "Command", "LocalVolumes", "Size", "RunningFor", "Status", "Names"),
        "Local Volumes space usage:": _rows(volumes, VOLUME_HEADS, "Name", "Links", "Size"),
        f"Build cache usage: {human_size(sum(size for _, _, size in kept))}": _rows(caches, _CACHES, *_CACHES),
    }))  # fmt: skip


def _rows(rows: list[dict[str, Any]], headers: Mapping[str, str], *names: str) -> Rows:
    return Rows(rows, headers, default="table " + "\t".join(f"{{{{.{name}}}}}" for name in names))


def _images(call: Call, full: bool) -> list[dict[str, Any]]:
    rows = []
    for share in call.engine.system.shares():
        row = image_rows(share.image, full, [])[0]
        rows.append(row | {"SharedSize": human_size(share.shared), "UniqueSize": human_size(share.own), "Containers": str(share.containers), "Digest": ""})
        del rows[-1]["Note"]
    return rows


def _containers(call: Call, full: bool) -> list[dict[str, Any]]:
    rows = []
    for container in call.engine.containers.list(all=True):
        try:
            own, _ = container.size()
        except NotFound:  # it was removed this moment, or its image is gone
            own = 0
        rows.append(container_row(container, container.state, full) | {"Size": human_size3(own)})
    return rows


def _volumes(call: Call) -> list[dict[str, Any]]:
    sizes, users = call.engine.volumes.sizes(), call.engine.volumes.users()
    return [volume_row(volume) | {"Links": str(len(users.get(volume.name, ()))), "Size": human_size(sizes[volume.name])} for volume in call.engine.volumes.list() if volume.name in sizes]


def _cache(place: Path, used: float, size: int) -> dict[str, Any]:
    made, last = (ago(datetime.fromtimestamp(moment, UTC).isoformat()) for moment in (place.stat().st_ctime, used))
    return {"ID": place.name[:12], "CacheType": "exec.cachemount", "Size": human_size(size), "CreatedSince": made, "LastUsedSince": last, "UsageCount": "", "Shared": "true"}
