"""POST /v1/webhooks/label-studio: kept in the store first, acknowledged then.

Label Studio waits for the answer while a person waits for "Submit", asks once, and signs nothing: so the secret is
compared before the body is read, the body is capped, and what is done is one small file.
"""

import asyncio
import logging
from datetime import UTC, datetime, timedelta

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from hilum.adapters.label_studio.deliveries import WINDOW, StaleError, delivery_of, record
from hilum.adapters.label_studio.keys import Keys, is_one_of
from hilum.core.errors import DataError
from hilum.store.layout import Store
from hilum_services.bodies import body_of, is_json, parsed
from hilum_services.refusals import refusal

WEBHOOKS = "/v1/webhooks/label-studio"
LARGEST_BODY = 32 << 20
MOST_AT_ONCE = 8
"""Bodies held at a time. One that is turned away is found when Label Studio is asked."""

_log = logging.getLogger("hilum.services")


def webhooks_router(
    store: Store, secrets: Keys, *, largest_body: int = LARGEST_BODY, window: timedelta = WINDOW
) -> APIRouter:
    """The route. Without a secret every webhook is refused."""
    router = APIRouter()
    room = asyncio.Semaphore(MOST_AT_ONCE)

    @router.post(WEBHOOKS)
    async def webhook(request: Request) -> Response:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not is_one_of(given.strip(), secrets):
            return refusal(401, "The secret is missing or wrong.", {"WWW-Authenticate": "Bearer"})
        if not is_json(request):
            return refusal(415, "A webhook's body is application/json, not compressed.")
        if room.locked():
            return refusal(503, "Too many webhooks at once.", {"Retry-After": "1"})
        async with room:
            body = await body_of(request, largest_body)
            return body if isinstance(body, Response) else await run_in_threadpool(_keep, store, body, window)

    return router


def _keep(store: Store, body: bytes, window: timedelta) -> Response:
    try:
        delivery = delivery_of(parsed(body), now=datetime.now(UTC), window=window)
        outcome = "ignored" if delivery is None else record(store, delivery)
    except StaleError as error:
        return refusal(409, str(error))
    except DataError as error:
        return refusal(422, str(error))
    except OSError as error:
        # Not acknowledged: nothing is on the disk. What is missing is found by asking Label Studio.
        _log.error("a webhook could not be kept: %s", error.strerror)
        return refusal(507, "The webhook could not be kept.")
    return JSONResponse({"outcome": outcome})
