"""``segment``, ``classify`` and ``score``: an image comes as the body, its answer goes back."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from hilum.core.errors import DataError, NotFoundError, RecipeError, RequestError
from hilum.loop.answering.answer import Answer, Question
from hilum.loop.answering.versions import Version, reference
from hilum.nn.engine import BusyError
from hilum_services.bodies import body_of
from hilum_services.inference.access import Door, Line, audited
from hilum_services.inference.asked import BiomarkersOf, DepthOf, FormatOf, MirrorsOf, QualityOf
from hilum_services.inference.replies import classified, scored, segmented
from hilum_services.inference.service import Service, Verb, Wishes
from hilum_services.refusals import refusal

_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "One image: PNG, JPEG, TIFF, NIfTI, NRRD, DICOM (one file, or a zip of one series) or .npy.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
_REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"description": "The body was cut short, or the request is not one that is understood here."},
    401: {"description": "A key is missing or wrong."},
    403: {"description": "The key may not do that."},
    404: {"description": "There is no such model or version."},
    408: {"description": "The body did not come in time."},
    413: {"description": "The body is too long."},
    422: {"description": "The image or what is wished cannot be answered; the sentence says why."},
    429: {"description": "Too many requests; Retry-After says when."},
    503: {"description": "Too many images wait, or the answer took too long; Retry-After says when."},
}
_CALLER_LEFT = 499
"""Nobody reads it; the audit does."""


def predictions_router(service: Service, door: Door) -> APIRouter:
    """``POST /v1/models/{model}/segment | classify | score``."""
    router = APIRouter(prefix="/v1/models", tags=["predictions"])
    counter = Counter(service, door)

    @router.post("/{model}/segment", openapi_extra=_BODY, responses=_REFUSALS)
    async def segment(
        request: Request,
        model: str,
        *,
        format_: FormatOf = "nifti",
        quality: QualityOf = None,
        depth: DepthOf = None,
        mirrors: MirrorsOf = None,
        biomarkers: BiomarkersOf = False,
    ) -> Response:
        """Where is it? The likeliest class of every voxel, on the image's own grid."""
        render = partial(segmented, wanted=format_, measured=biomarkers)
        return await counter.answer(request, Asked(model, "segment", Wishes(quality, depth, mirrors), render))

    @router.post("/{model}/classify", openapi_extra=_BODY, responses=_REFUSALS)
    async def classify(request: Request, model: str, mirrors: MirrorsOf = None) -> Response:
        """What is this? A probability for every class."""
        return await counter.answer(request, Asked(model, "classify", Wishes(mirrors=mirrors), classified))

    @router.post("/{model}/score", openapi_extra=_BODY, responses=_REFUSALS)
    async def score(request: Request, model: str, mirrors: MirrorsOf = None) -> Response:
        """How unsure is the model? What a campaign would rank this image by."""
        return await counter.answer(request, Asked(model, "score", Wishes(mirrors=mirrors), scored))

    return router


@dataclass(frozen=True)
class Asked:
    """What is asked of an image that is still to come."""

    model: str
    verb: Verb
    wishes: Wishes
    render: Callable[[Answer], Response]


class Counter:
    """Takes images in and gives answers out. What can be refused before a body is read, is."""

    def __init__(self, service: Service, door: Door) -> None:
        self._service, self._door = service, door
        self._reading = asyncio.Semaphore(service.limits.most_read_at_once)

    async def answer(self, request: Request, asked: Asked) -> Response:
        """The answer, or the refusal."""
        with audited(asked.verb) as line:
            try:
                response = await self._answered(request, asked, line)
            except NotFoundError as error:
                response = refusal(404, str(error))
            except (DataError, RecipeError, RequestError) as error:
                response = refusal(422, str(error))
            except (BusyError, TimeoutError):
                response = _busy()
            line.say(status=response.status_code)
            self._service.meter.count(
                "hilum_inference_requests_total",
                verb=asked.verb,
                model=line.model,
                status=str(response.status_code),
            )
            response.headers["Hilum-Request"] = line.request_id
            return response

    async def _answered(self, request: Request, asked: Asked, line: Line) -> Response:
        meant = reference(asked.model)
        holder = self._door.admitted(request, "predict", meant.model)
        if isinstance(holder, Response):
            return holder
        line.say(caller=holder.name, model=meant.model)
        version = await run_in_threadpool(self._service.version, meant)
        line.say(version=version.checkpoint_id)
        line.model = version.model
        if self._service.engine.num_waiting >= self._service.limits.most_waiting:
            return _busy()
        body = await body_of(request, self._service.limits.largest_body)
        if isinstance(body, Response):
            return body
        async with self._reading:
            with self._timed(asked.verb, "read"):
                question = await run_in_threadpool(self._question, version, asked, body)
        line.say(num_bytes=len(body), shape_zyx=list(question.image.grid.shape_zyx))
        with self._timed(asked.verb, "answer"):
            question.submit(self._service.engine, seconds=self._service.limits.slowest_answer)
            if not await _seen(question, request):
                return Response(status_code=_CALLER_LEFT)
        with self._timed(asked.verb, "reply"):
            return await run_in_threadpool(self._rendered, question, asked)

    def _question(self, version: Version, asked: Asked, body: bytes) -> Question:
        return self._service.question(self._service.read(body), version, asked.verb, asked.wishes)

    def _rendered(self, question: Question, asked: Asked) -> Response:
        answer = question.answer()
        whose = {"model": answer.version.model, "version": answer.version.checkpoint_id}
        self._service.meter.observe("hilum_inference_uncertainty", answer.uncertainty, **whose)
        return asked.render(answer)

    @contextmanager
    def _timed(self, verb: Verb, stage: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self._service.meter.observe("hilum_inference_seconds", time.perf_counter() - began, verb=verb, stage=stage)


async def _seen(question: Question, request: Request) -> bool:
    """Whether all of it was seen before its caller left."""
    everything: asyncio.Future[Any] = asyncio.gather(*(asyncio.wrap_future(one.done) for one in question.passes))
    leaving: asyncio.Future[Any] = asyncio.create_task(_gone(request))
    try:
        await asyncio.wait([everything, leaving], return_when=asyncio.FIRST_COMPLETED)
        if not everything.done():
            question.cancel()
            return False
        everything.result()
        return True
    finally:
        leaving.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _busy() -> Response:
    return refusal(503, "Too many images wait; try again in a moment.", {"Retry-After": "1"})
