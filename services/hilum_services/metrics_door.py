"""``/metrics`` of a process, for who may read it: a key of HILUM_API_KEYS_FILE that may ``metrics``, or everybody."""

from collections.abc import Callable

from fastapi import APIRouter, Request, Response

from hilum.adapters.api_keys import KeyFile
from hilum.cli.settings import Settings
from hilum_services.inference.access import Door

TEXT_FORMAT = "text/plain; version=0.0.4"


def metrics_door(settings: Settings) -> Door | None:
    """Who may read; None where neither keys are set nor everybody is let in."""
    if settings.metrics_open:
        return Door(None)
    file = settings.api_keys_file
    return None if file is None else Door(KeyFile(file.expanduser()))


def metrics_router(exposition: Callable[[], bytes], door: Door) -> APIRouter:
    """The route. What is told is in memory: asking often costs nothing."""
    router = APIRouter()

    @router.get("/metrics")
    def metrics(request: Request) -> Response:
        holder = door.admitted(request, "metrics")
        if isinstance(holder, Response):
            return holder
        return Response(exposition(), media_type=TEXT_FORMAT)

    return router
