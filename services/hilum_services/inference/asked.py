"""What a request asks for beside its image, as its query says; FastAPI checks it and documents it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import Query
from pydantic import Field

from hilum.loop.answering.shelf import Quality
from hilum.loop.answering.versions import BESIDE_PATTERN

Verb = Literal["segment", "classify", "score"]
MOST_BESIDE = 4
Format = Literal["nifti", "npy", "png", "ome-zarr", "dicom-seg", "json"]


@dataclass(frozen=True)
class Asked:
    """What is asked of an image, and how: of JSON's kinds only, so that a job can keep it."""

    model: str
    verb: Verb
    format: Format = "json"
    quality: Quality | None = None
    depth: int | None = None
    mirrors: int | None = None
    biomarkers: bool = False
    beside: Sequence[str] = ()
    """Other versions that answer together with this one, as ``@alias`` or ``:checkpoint``."""
    is_prepared: bool = False
    """Whether the image was prepared already, when its volume was stored."""


QualityOf = Annotated[
    Quality | None,
    Query(description="How deep a nested network answers: shallower is faster. Accurate if nothing is said."),
]
DepthOf = Annotated[int | None, Query(ge=1, le=16, description="The depth itself, one that the model has.")]
FormatOf = Annotated[
    Format,
    Query(
        alias="format",
        description="nifti: a label map on the image's grid; npy: the same as an array (Z, Y, X); png: the slice that "
        "holds most, tinted; ome-zarr: a zip of an OME-Zarr 0.5 label image; dicom-seg: a DICOM segmentation of the "
        "DICOM files that were sent, at once only; json: polygons and sizes.",
    ),
]
MirrorsOf = Annotated[
    int | None, Query(ge=2, le=8, description="Mean over so many mirror images; says where they disagree.")
]
BesideOf = Annotated[
    list[Annotated[str, Field(pattern=BESIDE_PATTERN)]],
    Query(
        max_length=MOST_BESIDE,
        description="Other versions of the model, as @alias or :checkpoint, that answer together with it: the mean of "
        "what all say, and where they disagree. May be repeated.",
    ),
]
BiomarkersOf = Annotated[bool, Query(description="Volume, diameters and surface of every class (json).")]
LaterOf = Annotated[
    bool, Query(description="Answer with 202 and a job, whatever the size; large images always become jobs.")
]
