"""Where images are taken in and answers given out: at once, or, of a large image, later."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fastapi import Request, Response
from starlette.concurrency import run_in_threadpool

from hilum.adapters.bodies import is_light
from hilum.core.errors import DataError, NotFoundError, RecipeError, RequestError
from hilum.core.sources import ReadImage
from hilum.loop.answering.answer import Answer, Question
from hilum.loop.answering.ensemble import Ensemble
from hilum.loop.answering.stored import StoredVolume, stored_volume
from hilum.loop.answering.under_way import UnderWay
from hilum.loop.answering.versions import Reference, Version, reference
from hilum.nn.engine import BusyError
from hilum_services.bodies import NoRoomError, Room, body_of, is_json, parsed
from hilum_services.inference.access import Door, Line, audited
from hilum_services.inference.asked import Asked, Verb
from hilum_services.inference.jobs import Jobs, told
from hilum_services.inference.keeping import CONSENT
from hilum_services.inference.replies import reply
from hilum_services.inference.service import Service, check_verb
from hilum_services.inference.shadow import Shadow
from hilum_services.refusals import refusal

if TYPE_CHECKING:
    from hilum.adapters.dicom_results import SourceImages

_CALLER_LEFT = 499
"""Nobody reads it; the audit does."""
_LIGHT_VOXELS = 1 << 16
_LONGEST_NAME = 4096
"""Bytes of JSON that names a stored volume."""


class Counter:
    """Takes images in and gives answers out. What can be refused before a body is read, is."""

    def __init__(self, service: Service, door: Door, jobs: Jobs) -> None:
        self._service, self._door, self._jobs = service, door, jobs
        self._shadow = Shadow(service)
        self._room = Room(service.limits.largest_bodies)
        self._reading = asyncio.Semaphore(service.limits.most_read_at_once)

    async def answer(self, request: Request, asked: Asked, *, later: bool) -> Response:
        """The answer, a job, or the refusal."""
        with audited(asked.verb) as line:
            try:
                response = await self._answered(request, asked, line, later=later)
            except NotFoundError as error:
                response = refusal(404, str(error))
            except (DataError, RecipeError, RequestError) as error:
                response = refusal(422, str(error))
            except (BusyError, NoRoomError, TimeoutError):
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

    async def _answered(self, request: Request, asked: Asked, line: Line, *, later: bool) -> Response:
        meant = reference(asked.model)
        holder = await self._door.admitted(request, "predict", meant.model)
        if isinstance(holder, Response):
            return holder
        line.say(caller=holder.name, model=meant.model)
        version, asked = await self._chosen(asked, meant, line.request_id)
        line.say(version=version.checkpoint_id, **({"beside": asked.beside} if asked.beside else {}))
        line.model = version.model
        check_verb(version, asked.verb)
        if later:
            _check_can_wait(asked)
        if self._service.engine.num_waiting >= self._service.limits.most_waiting:
            return _busy()
        is_named = is_json(request)
        asked = replace(asked, is_prepared=is_named)
        with self._room.share() as take:
            body = await body_of(request, _LONGEST_NAME if is_named else self._service.limits.largest_body, take)
            if isinstance(body, Response):
                return body
            line.say(num_bytes=len(body))
            named = stored_volume(parsed(body)) if is_named else None
            if named is not None and not holder.may_read(named.ingest_id):
                return refusal(403, "This key may not name volumes of that ingest; send the image itself.")
            if is_light(body) and not later and self._service.is_asked_at_once(version, asked):
                with self._timed(asked.verb, "read"):
                    read = self._read(body, named, version, asked, later=later)
            else:
                async with self._reading:
                    with self._timed(asked.verb, "read"):
                        read = await run_in_threadpool(self._read, body, named, version, asked, later=later)
            del body
        image, question, source = read
        line.say(shape_zyx=list(image.grid.shape_zyx))
        if question is None:
            return await self._kept(image, version, asked, holder.sha256)
        with self._timed(asked.verb, "answer"):
            if not await _seen(question, request):
                return Response(status_code=_CALLER_LEFT)
        with self._timed(asked.verb, "reply"):
            if _is_light(image, asked):
                answer, response = self._rendered(question, asked, source)
            else:
                answer, response = await run_in_threadpool(self._rendered, question, asked, source)
        if meant.alias is None and meant.checkpoint_id is None and not asked.beside:
            self._shadow.follow(image, replace(asked, depth=answer.depth), answer)
        if self._service.keeping.wants(answer, request.headers.get(CONSENT)):
            await run_in_threadpool(self._service.keeping.keep, image)
            line.say(kept=True)
        return response

    async def _chosen(self, asked: Asked, meant: Reference, request_id: str) -> tuple[Version, Asked]:
        lately = None if asked.beside else self._service.routed_lately(meant, request_id)
        if lately is not None:
            return lately, asked
        return await run_in_threadpool(self._service.chosen, asked, meant, request_id)

    def _read(
        self, body: bytes, named: StoredVolume | None, version: Version, asked: Asked, *, later: bool
    ) -> "tuple[ReadImage, Question | Ensemble | None, SourceImages | None]":
        """The image, and what is asked of it at once, on its way: nothing where the answer is to come later."""
        service = self._service
        image = service.read(body) if named is None else service.stored(named)
        if later or image.image_czyx.size > service.limits.at_once_voxels:
            _check_can_wait(asked)
            return image, None, None
        source = service.source(body) if _is_dicom(asked) else None
        question = service.question(image, version, service.shed(version, asked))
        question.submit(service.engine, seconds=service.limits.slowest_answer)
        return image, question, source

    async def _kept(self, image: ReadImage, version: Version, asked: Asked, owner: str) -> Response:
        job = await run_in_threadpool(self._jobs.add, image, version, asked, owner)
        return told(job, status_code=202)

    def _rendered(
        self, question: Question | Ensemble, asked: Asked, source: "SourceImages | None"
    ) -> tuple[Answer, Response]:
        answer = question.answer()
        self._service.note(question, answer)
        return answer, reply(asked, answer, source)

    @contextmanager
    def _timed(self, verb: Verb, stage: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self._service.meter.observe("hilum_inference_seconds", time.perf_counter() - began, verb=verb, stage=stage)


def _is_light(image: ReadImage, asked: Asked) -> bool:
    """Whether the answer is sooner told than a thread is woken: some numbers of a small image."""
    return asked.verb != "segment" and image.image_czyx.size <= _LIGHT_VOXELS


def _is_dicom(asked: Asked) -> bool:
    return asked.verb == "segment" and asked.format == "dicom-seg"


def _check_can_wait(asked: Asked) -> None:
    """RequestError where the answer needs what no job keeps: DICOM headers say whose image it is."""
    if _is_dicom(asked):
        raise RequestError(
            "A DICOM segmentation is not made later, for a job keeps no DICOM headers: send the image without later "
            "and small enough to be answered at once, ask for another format, or use `hilum predict`."
        )


async def _seen(question: UnderWay, request: Request) -> bool:
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
