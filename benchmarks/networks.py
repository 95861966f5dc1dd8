"""Networks beside the real docker's: a container's start with one of its own, and bytes through a published port."""

from __future__ import annotations

import http.client
import socket
import statistics
import time

from benchmarks.containers import Client, Place

__all__ = ["networks"]

BIG = 500_000_000
SERVE = f"mkdir /srv; head -c {BIG} /dev/zero > /srv/big; exec httpd -f -p 80 -h /srv"


def networks(place: Place) -> None:
    """Adds all rows; busybox is in both stores."""
    place.add("run --rm busybox true in a network of its own", *(_started(place, client) for client in (place.cli, ("docker",))), 0.3)
    place.add("500 MB through a published port, docker-proxy's other end", *(_carried(place, client) for client in (place.cli, ("docker",))), 1)


def _started(place: Place, client: Client) -> float:
    times = []
    for number in range(place.rounds + 1):
        begin = time.perf_counter()
        place.do(*client, "run", "--rm", "busybox", "true")
        if number:
            times.append(time.perf_counter() - begin)
    return statistics.median(times)


def _carried(place: Place, client: Client) -> float:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    place.do(*client, "run", "-d", "--name", "serves", "-p", f"127.0.0.1:{port}:80", "busybox", "sh", "-c", SERVE)
    try:
        times, deadline = list[float](), time.monotonic() + 60
        while len(times) < 4:
            begin = time.perf_counter()
            try:
                if _fetched(port) != BIG:
                    raise RuntimeError("bytes were lost")
            except OSError:
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{client[0]}: nobody answers at the published port") from None
                time.sleep(0.1)
                continue
            times.append(time.perf_counter() - begin)
        return statistics.median(times[1:])
    finally:
        place.do(*client, "rm", "-f", "serves")


def _fetched(port: int) -> int:
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    line.request("GET", "/big")
    answer = line.getresponse()
    size, buffer = 0, bytearray(1 << 20)
    while count := answer.readinto(buffer):
        size += count
    line.close()
    if answer.status != 200:
        raise OSError(f"status {answer.status}")
    return size
