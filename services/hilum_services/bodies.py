"""Bodies of requests, read within bounds: of bytes (one's and all's), of time, and of JSON as it is written down."""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from fastapi import Request, Response
from starlette.requests import ClientDisconnect

from hilum.core.errors import DataError
from hilum_services.refusals import refusal

SLOWEST_SECONDS = 10.0


class NoRoomError(Exception):
    """The bodies that are held already fill the room."""


class Room:
    """What bodies may take of memory together, in bytes. Used in one event loop."""

    def __init__(self, largest: int) -> None:
        self._largest, self._held = largest, 0

    @contextmanager
    def share(self) -> Iterator[Callable[[int], None]]:
        """To be told of every part of a body; NoRoomError from one that does not fit. All is given back at the end."""
        mine = 0

        def take(num_bytes: int) -> None:
            nonlocal mine
            if self._held + num_bytes > self._largest:
                raise NoRoomError
            mine += num_bytes
            self._held += num_bytes

        try:
            yield take
        finally:
            self._held -= mine


async def body_of(request: Request, largest: int, take: Callable[[int], None] = lambda _: None) -> bytes | Response:
    """The body, or the refusal of one that is too long (whatever it says of its length), too slow or cut short.

    ``take`` is told of every part before it is kept.
    """
    if _is_said_longer(request, largest):
        return _too_large(largest)
    try:
        async with asyncio.timeout(SLOWEST_SECONDS):
            body = await _read(request, largest, take)
    except TimeoutError:
        return refusal(408, "The body did not come in time.", {"Connection": "close"})
    except ClientDisconnect:
        return refusal(400, "The body was cut short.")
    return _too_large(largest) if body is None else body


def is_json(request: Request) -> bool:
    """Whether the body is plain JSON by its headers."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return content_type == "application/json" and request.headers.get("content-encoding", "identity") == "identity"


def parsed(body: bytes) -> Any:
    """The body's JSON; DataError for anything else, NaN and unbounded nesting among it."""
    try:
        return json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError):  # also of bytes that are no UTF-8
        raise DataError("The body is not JSON.") from None


async def _read(request: Request, largest: int, take: Callable[[int], None]) -> bytes | None:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > largest:
            return None
        take(len(part))
        parts.append(part)
    return b"".join(parts)


def _is_said_longer(request: Request, largest: int) -> bool:
    length = request.headers.get("content-length", "0")
    return not (length.isascii() and length.isdecimal()) or int(length[:20]) > largest


def _too_large(largest: int) -> Response:
    # The rest is not read: the connection is of no more use.
    return refusal(413, f"A body has {largest:,} bytes at most.", {"Connection": "close"})


def _no_number(word: str) -> NoReturn:
    raise ValueError(word)
