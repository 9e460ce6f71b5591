"""Who asks wrongly is told so at a bounded pace: a thousand who ask wrongly again at once slow down nobody.

A refusal that waits costs nothing; answering one costs about what a small image does.
"""

import asyncio
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_LONGEST_WAIT_SECONDS = 10.0


class Pace:
    """When each of many may go, ``per_second`` on average: those of a second who kept quiet go at once."""

    def __init__(self, per_second: float) -> None:
        self._seconds_each, self._next = 1 / per_second, 0.0

    def wait(self) -> float:
        """Seconds until the turn of who asks, 10 at most. Every call is a turn."""
        now = time.monotonic()
        self._next = max(self._next, now - 1) + self._seconds_each
        return min(max(0.0, self._next - now), _LONGEST_WAIT_SECONDS)


class PacedRefusals:
    """Holds 4xx answers back until their turn. Plain ASGI, so that a caller who leaves is still seen."""

    def __init__(self, app: ASGIApp, pace: Pace) -> None:
        self._app, self._pace = app, pace

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def in_turn(message: Message) -> None:
            if message["type"] == "http.response.start" and 400 <= message["status"] < 500:
                await asyncio.sleep(self._pace.wait())
            await send(message)

        await self._app(scope, receive, in_turn if scope["type"] == "http" else send)
