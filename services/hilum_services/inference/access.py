"""Who asks, whether they may, and a line about every request for the audit, which holds nothing of an image."""

import json
import logging
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request, Response

from hilum.adapters.api_keys import KeyFile
from hilum.adapters.callers import RIGHTS, Caller, Right
from hilum.adapters.published_keys import UnreachableIssuerError
from hilum_services.inference.limits import Rates
from hilum_services.inference.tokens import Tokens
from hilum_services.refusals import refusal

_log = logging.getLogger("hilum.audit")
_ids = random.Random()  # noqa: S311 (names of requests are no secrets; to ask the system for each lets others in)
ANYBODY = Caller(name="anybody", sha256="0" * 64, may=RIGHTS, reads=("*",))


class Door:
    """Lets in who has a key or a token, or everybody where the service was opened explicitly."""

    def __init__(self, keys: KeyFile | None = None, tokens: Tokens | None = None, *, is_open: bool = False) -> None:
        self._keys, self._tokens, self._is_open = keys, tokens, is_open
        self._rates = Rates()

    async def admitted(self, request: Request, right: Right, model: str | None = None) -> Caller | Response:
        """Who asks, or the refusal of who may not, or not so often."""
        try:
            holder = await self._holder(request)
        except UnreachableIssuerError:
            return refusal(503, "Tokens cannot be checked now: their issuer does not answer.", {"Retry-After": "10"})
        if holder is None:
            said = "A key or token is missing or wrong: Authorization: Bearer KEY."
            return refusal(401, said, {"WWW-Authenticate": "Bearer"})
        if not holder.allows(right, model):
            return refusal(403, "This key or token may not do that, or not with this model, or not any more.")
        seconds = self._rates.wait_for(holder.sha256, holder.per_minute)
        if seconds:
            return refusal(429, "Too many requests in a minute.", {"Retry-After": str(max(1, round(seconds)))})
        return holder

    async def _holder(self, request: Request) -> Caller | None:
        if self._is_open:
            return ANYBODY
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        given = given.strip()
        if scheme.lower() != "bearer" or not given:
            return None
        holder = None if self._keys is None else self._keys.holder(given)
        return await self._tokens.caller(given) if holder is None and self._tokens is not None else holder


@dataclass
class Line:
    """What the audit is told of one request. ``model`` is the one that answers, once it is known that there is one."""

    verb: str
    model: str = "unknown"
    request_id: str = field(default_factory=lambda: f"{_ids.getrandbits(64):016x}")
    said: dict[str, Any] = field(default_factory=dict)

    def say(self, **more: Any) -> None:
        self.said.update(more)


@contextmanager
def audited(verb: str) -> Iterator[Line]:
    """One JSON line when the request is over, whatever became of it."""
    line, began = Line(verb), time.perf_counter()
    try:
        yield line
    except BaseException:
        line.say(outcome="failed")
        raise
    finally:
        seconds = round(time.perf_counter() - began, 4)
        content = {"request": line.request_id, "verb": line.verb, "seconds": seconds, **line.said}
        _log.info(json.dumps(content, sort_keys=True))
