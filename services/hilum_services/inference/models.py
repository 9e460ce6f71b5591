"""Which models there are, their versions and cards."""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from hilum.core.errors import NotFoundError, RequestError
from hilum.loop.answering.versions import Reference, Version, checkpoints_of, reference
from hilum_services.inference.access import Door
from hilum_services.inference.documented import refusals
from hilum_services.inference.service import Service
from hilum_services.refusals import refusal


def models_router(service: Service, door: Door) -> APIRouter:
    """``/v1/models`` and what is below it, but for predictions."""
    router = APIRouter(prefix="/v1/models", tags=["models"], responses=refusals(404, 422))

    @router.get("")
    async def models(request: Request) -> Response:
        """Every model that answers, with its champion."""
        holder = await door.admitted(request, "read")
        if isinstance(holder, Response):
            return holder
        found = await run_in_threadpool(service.models)
        return JSONResponse({"models": [_row(one) for name, one in found.items() if holder.allows("read", name)]})

    @router.get("/{model}")
    async def model(model: str, request: Request) -> Response:
        """The card of a model's champion, or of the version that is named: ``name@alias`` or ``name:checkpoint``."""
        return await _told(door, request, model, lambda asked: _card(service, service.version(asked)))

    @router.get("/{model}/versions")
    async def versions(model: str, request: Request) -> Response:
        """The checkpoints that can be asked for by ``name:checkpoint``, oldest first."""
        return await _told(door, request, model, lambda asked: _versions(service, asked))

    return router


async def _told(door: Door, request: Request, model: str, tell: Callable[[Reference], dict[str, Any]]) -> Response:
    """What is told of a model to who may read it."""
    try:
        asked = reference(model)
        holder = await door.admitted(request, "read", asked.model)
        if isinstance(holder, Response):
            return holder
        return JSONResponse(await run_in_threadpool(tell, asked))
    except NotFoundError as error:
        return refusal(404, str(error))
    except RequestError as error:
        return refusal(422, str(error))


def _versions(service: Service, asked: Reference) -> dict[str, Any]:
    champion = service.version(Reference(asked.model))
    found = checkpoints_of(service.store, service.ledger, asked.model)
    return {"model": asked.model, "champion": champion.checkpoint_id, "versions": found}


def _row(version: Version) -> dict[str, Any]:
    return {
        "model": version.model,
        "version": version.checkpoint_id,
        "question": version.question,
        "class_names": list(version.class_names),
        "num_channels": int(version.card["in_channels"]),
        "licence": version.licence,
    }


def _card(service: Service, version: Version) -> dict[str, Any]:
    prepare = version.prepare.model_dump(mode="json")
    spacing = prepare["spacing_mm_zyx"]
    return {
        **_row(version),
        "architecture": version.card["architecture"],
        "spatial_dims": int(version.card["spatial_dims"]),
        "patch_shape_zyx": list(version.card["patch_shape_zyx"]),
        "depths": service.shelf.depths(version),
        "prepare": {**prepare, "spacing_mm_zyx": spacing},
    }
