"""Callers over plain sockets, in a process of their own: so light that a service is measured and not they.

``python callers.py good URL BODY NUM_CALLERS NUM_OF_EACH`` prints the seconds of every answer as JSON;
``python callers.py bad URL BODY NUM_CALLERS 0`` asks wrongly, again and again, until it is killed, and tells how often.
"""

import asyncio
import itertools
import json
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

_NUM_WARM = 5


async def caller(url: str, bodies: list[bytes], statuses: tuple[int, ...]) -> "Caller":
    """One connection that stays."""
    place = urlsplit(url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    kind = "application/json" if bodies[0].startswith(b"{") else "application/octet-stream"
    head = f"POST {place.path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\n"
    heads = [f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body for body in bodies]
    return Caller(reader, writer, itertools.cycle(heads), statuses)


class Caller:
    """Asks one thing after the other."""

    def __init__(self, reader, writer, requests, statuses):
        self._reader, self._writer, self._requests, self._statuses = reader, writer, requests, statuses

    async def ask(self) -> float:
        """Seconds until the whole answer was there."""
        began = time.perf_counter()
        self._writer.write(next(self._requests))
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        status = int(head.split(b" ", 2)[1])
        await self._reader.readexactly(int(head.split(b"content-length:")[1].split(b"\r\n")[0]))
        assert status in self._statuses, status
        return time.perf_counter() - began


async def good(url: str, body: bytes, num_callers: int, num_each: int) -> None:
    callers = [await caller(url, [body], (200,)) for _ in range(num_callers)]

    async def all_of(one: Caller, times: int) -> list[float]:
        return [await one.ask() for _ in range(times)]

    await asyncio.gather(*(all_of(one, _NUM_WARM) for one in callers))
    began = time.perf_counter()
    seconds = await asyncio.gather(*(all_of(one, num_each) for one in callers))
    print(json.dumps({"wall": time.perf_counter() - began, "seconds": [s for one in seconds for s in one]}))


async def bad(url: str, body: bytes, num_callers: int) -> None:
    bodies = [b"", b"no image", b"\x89PNG\r\n\x1a\nbroken", body[:-100]]
    num_refused = 0

    async def annoying(number: int) -> None:
        nonlocal num_refused
        one = await caller(url, bodies[number % 4 :] + bodies[: number % 4], (422, 503))
        while True:
            await one.ask()
            num_refused += 1

    async def told() -> None:
        while True:
            await asyncio.sleep(1)
            print(num_refused, flush=True)

    await asyncio.gather(told(), *(annoying(number) for number in range(num_callers)))


if __name__ == "__main__":
    what, url, file, num_callers, num_each = sys.argv[1:]
    content = Path(file).read_bytes()
    asyncio.run(
        good(url, content, int(num_callers), int(num_each)) if what == "good" else bad(url, content, int(num_callers))
    )
