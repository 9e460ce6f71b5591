"""``segment``, ``classify`` and ``score``: an image comes as the body, its answer goes back."""

from typing import Any

from fastapi import APIRouter, Request, Response

from hilum.loop.answering.stored import ID_PATTERN
from hilum_services.inference.asked import (
    Asked,
    BesideOf,
    BiomarkersOf,
    DepthOf,
    FormatOf,
    LaterOf,
    MirrorsOf,
    QualityOf,
)
from hilum_services.inference.counter import Counter
from hilum_services.inference.documented import Responses, files, refusals
from hilum_services.inference.replies import KINDS

_ID = {"type": "string", "pattern": ID_PATTERN}
_STORED: dict[str, Any] = {
    "type": "object",
    "properties": {"volume": _ID, "ingest": _ID},
    "required": ["volume", "ingest"],
    "additionalProperties": False,
}
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "One image: PNG, JPEG, TIFF, NIfTI, NRRD, DICOM (one file, or a zip of one series) or .npy; or, "
        "as JSON, a volume of the store, of an ingest that the key may read.",
        "content": {
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            "application/json": {"schema": _STORED},
        },
    }
}
_LATER: Responses = {202: {"description": "The image is answered later: a job, and where it is."}}
_ANY = {**refusals(404, 408, 413, 422, 503), **_LATER}
_SEGMENT = {**_ANY, **files(*KINDS)}


def predictions_router(counter: Counter) -> APIRouter:
    """``POST /v1/models/{model}/segment | classify | score``."""
    router = APIRouter(prefix="/v1/models", tags=["predictions"])

    @router.post("/{model}/segment", openapi_extra=_BODY, responses=_SEGMENT, response_class=Response)
    async def segment(
        request: Request,
        model: str,
        *,
        format_: FormatOf = "nifti",
        quality: QualityOf = None,
        depth: DepthOf = None,
        mirrors: MirrorsOf = None,
        beside: BesideOf = [],  # noqa: B006 (FastAPI copies it)
        biomarkers: BiomarkersOf = False,
        later: LaterOf = False,
    ) -> Response:
        """Where is it? The likeliest class of every voxel, on the image's own grid."""
        asked = Asked(model, "segment", format_, quality, depth, mirrors, biomarkers, beside)
        return await counter.answer(request, asked, later=later)

    @router.post("/{model}/classify", openapi_extra=_BODY, responses=_ANY)
    async def classify(
        request: Request,
        model: str,
        *,
        mirrors: MirrorsOf = None,
        beside: BesideOf = [],  # noqa: B006
        later: LaterOf = False,
    ) -> Response:
        """What is this? A probability for every class."""
        return await counter.answer(request, Asked(model, "classify", mirrors=mirrors, beside=beside), later=later)

    @router.post("/{model}/score", openapi_extra=_BODY, responses=_ANY)
    async def score(
        request: Request,
        model: str,
        *,
        mirrors: MirrorsOf = None,
        beside: BesideOf = [],  # noqa: B006
        later: LaterOf = False,
    ) -> Response:
        """How unsure is the model? What a campaign would rank this image by."""
        return await counter.answer(request, Asked(model, "score", mirrors=mirrors, beside=beside), later=later)

    return router
