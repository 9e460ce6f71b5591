"""Large images are answered later: kept without their identity, taken up by one replica, and by another if it dies."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from uuid import uuid4

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from hilum.core.errors import HilumError, NotFoundError
from hilum.core.sources import ReadImage
from hilum.loop.answering.under_way import UnderWay
from hilum.loop.answering.versions import Version, version_of
from hilum.loop.lease import claimed
from hilum.nn.engine import BusyError
from hilum.store.inference_jobs import Job, State, add_job, jobs
from hilum_services.inference.access import Door
from hilum_services.inference.asked import Asked
from hilum_services.inference.documented import files, refusals
from hilum_services.inference.replies import KINDS, reply
from hilum_services.inference.service import Service
from hilum_services.refusals import refusal

_log = logging.getLogger("hilum.services")
_LEASE_SECONDS = 10.0
_LOOK_SECONDS = 5.0
"""Until a replica looks for jobs that another left; its own it takes up at once."""
_TELL_SECONDS = 0.5
_ID = Path(pattern=r"^[0-9a-f]{32}$", description="What the 202 named.")


class Jobs:
    """The jobs of a store, and a thread that answers them one after the other while `running`."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._stopped, self._added = threading.Event(), threading.Event()

    def add(self, image: ReadImage, version: Version, asked: Asked, owner: str) -> Job:
        """Keep an image until it is answered by this very version; BusyError when too many are kept already."""
        limits = self._service.limits
        if sum(not job.state().is_over for job in jobs(self._service.store)) >= limits.most_jobs:
            raise BusyError("Too many jobs wait.")
        content = {
            "asked": asdict(asked),
            "model": version.model,
            "version": version.checkpoint_id,
            "owner": owner,
            "until": time.time() + limits.keep_jobs,
        }
        job = add_job(self._service.store, uuid4().hex, image, content)
        self._added.set()
        return job

    def owned(self, job_id: str, owner: str) -> Job:
        """The job, if it is this caller's; NotFoundError else."""
        job = Job(self._service.store, job_id)
        if job.asked()["owner"] != owner:
            raise NotFoundError(f"There is no job {job_id}.")
        return job

    @contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=self._run, name="jobs", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            self._added.set()
            thread.join(timeout=_LEASE_SECONDS)

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._added.clear()
            try:
                self._look_at_all()
            except Exception as error:
                _log.error("Jobs cannot be looked for now (%s).", type(error).__name__)
            self._added.wait(_LOOK_SECONDS)

    def _look_at_all(self) -> None:
        for job in list(jobs(self._service.store)):
            if self._stopped.is_set():
                return
            try:
                self._look_at(job)
            except (HilumError, OSError):
                continue  # another replica's, or gone meanwhile

    def _look_at(self, job: Job) -> None:
        if time.time() > job.asked()["until"]:
            job.remove()
        elif not job.state().is_over:
            with claimed(self._service.ledger, f"inference-job/{job.job_id}", seconds=_LEASE_SECONDS):
                if not job.state().is_over:
                    self._answer(job)

    def _answer(self, job: Job) -> None:
        said = job.asked()
        asked = Asked(**said["asked"])
        try:
            version = version_of(self._service.store, said["model"], said["version"])
            question = self._service.question(job.image(), version, asked)
            if not self._seen(job, question):
                return
            answer = question.answer()
            self._service.note(question, answer)
            response = reply(asked, answer)
        except HilumError as error:
            job.fail(str(error))
            return
        except Exception as error:
            job.fail(f"The image could not be answered ({type(error).__name__}).")
            return
        kept = {
            name: value for name, value in response.headers.items() if name not in ("content-length", "content-type")
        }
        job.finish(bytes(response.body), {"media_type": response.media_type, "headers": kept})

    def _seen(self, job: Job, question: UnderWay) -> bool:
        """Whether all windows were seen; not if it was cancelled, or the service stops: then it stays as it was."""
        while True:
            try:
                question.submit(self._service.engine)
                break
            except BusyError:
                if self._stopped.wait(_TELL_SECONDS):
                    return False
        while not all(one.done.done() for one in question.passes):
            job_ended = job.state().is_over
            if job_ended or self._stopped.is_set():
                question.cancel()
                return False
            job.write_state(State("running", round(question.progress, 4)))
            _wait(question, _TELL_SECONDS)
        return True


def jobs_router(kept: Jobs, door: Door) -> APIRouter:
    """``/v1/jobs/{job}``: how far it is, its result, and its end. A caller sees its own."""
    router = APIRouter(prefix="/v1/jobs", tags=["jobs"], responses=refusals(404))

    @router.get("/{job}")
    async def job_state(request: Request, job: str = _ID) -> Response:
        """How far it is."""
        holder = await door.admitted(request, "predict")
        if isinstance(holder, Response):
            return holder
        return told(await run_in_threadpool(kept.owned, job, holder.sha256))

    @router.get("/{job}/result", responses={**refusals(409), **files(*KINDS)}, response_class=Response)
    async def result(request: Request, job: str = _ID) -> Response:
        """The answer, as it would have come at once."""
        holder = await door.admitted(request, "predict")
        if isinstance(holder, Response):
            return holder
        return await run_in_threadpool(_result, kept, job, holder.sha256)

    @router.delete("/{job}")
    async def end(request: Request, job: str = _ID) -> Response:
        """Cancel it, or forget its result."""
        holder = await door.admitted(request, "predict")
        if isinstance(holder, Response):
            return holder
        return await run_in_threadpool(_ended, kept, job, holder.sha256)

    return router


def told(job: Job, *, status_code: int = 200) -> Response:
    """What is said of a job."""
    state, asked = job.state(), job.asked()
    content = {
        "job": job.job_id,
        "status": state.status,
        "progress": state.progress,
        "error": state.error,
        "model": asked["model"],
        "version": asked["version"],
        "url": f"/v1/jobs/{job.job_id}",
        "kept_until": asked["until"],
    }
    headers = {"Location": f"/v1/jobs/{job.job_id}"} if status_code == 202 else {}
    return JSONResponse(content, status_code, headers)


def _result(kept: Jobs, job_id: str, owner: str) -> Response:
    job = kept.owned(job_id, owner)
    state = job.state()
    if state.status != "done" or state.answer is None:
        return refusal(409, state.error or f"The job is {state.status}; it has no result.")
    about = state.answer
    return Response(job.answer(), media_type=about["media_type"], headers=about["headers"])


def _ended(kept: Jobs, job_id: str, owner: str) -> Response:
    job = kept.owned(job_id, owner)
    if job.state().is_over:
        job.remove()
        return JSONResponse({"job": job_id, "status": "forgotten"})
    job.cancel()
    return told(job)


def _wait(question: UnderWay, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and not all(one.done.done() for one in question.passes):
        time.sleep(0.02)
