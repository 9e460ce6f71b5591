"""``/metrics`` of a process, for who may read it: a key or token that may ``metrics``, or everybody."""

from collections.abc import Callable

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from hilum.adapters.api_keys import KeyFile
from hilum.cli.settings import Settings
from hilum_services.inference.access import Door
from hilum_services.inference.tokens import tokens_of

TEXT_FORMAT = "text/plain; version=0.0.4"


def metrics_door(settings: Settings) -> Door | None:
    """Who may read; None where neither keys nor an issuer of tokens are set, and not everybody is let in."""
    if settings.metrics_open:
        return Door(is_open=True)
    file, tokens = settings.api_keys_file, tokens_of(settings)
    if file is None and tokens is None:
        return None
    return Door(None if file is None else KeyFile(file.expanduser()), tokens)


def metrics_router(exposition: Callable[[], bytes], door: Door) -> APIRouter:
    """The route. What is told is in memory: asking often costs nothing."""
    router = APIRouter()

    @router.get("/metrics")
    async def metrics(request: Request) -> Response:
        holder = await door.admitted(request, "metrics")
        if isinstance(holder, Response):
            return holder
        return Response(await run_in_threadpool(exposition), media_type=TEXT_FORMAT)

    return router
